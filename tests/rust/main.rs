//! The engine's tests: one module per subject, rules and faults by name.

mod rig;

mod capture;
mod checksum;
mod driver_faults;
mod ethernet;
mod laws;
mod memory;
mod metadata;
mod notify;
mod pages;
mod refill;
mod round_trip;
mod rules;
mod scenario;
mod section9;
#[cfg(feature = "vhost-user")]
mod vhost_user;
