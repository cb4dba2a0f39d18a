//! The engine's tests: one module per subject, rules and faults by name.

mod rig;

mod bad_scenarios;
mod capture;
mod checksum;
mod corpus;
mod driver_faults;
mod ethernet;
mod faults;
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
