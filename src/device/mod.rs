//! The other end of the ring: devices, and where their frames come from.

mod action;
#[cfg(not(loom))]
mod faulty;
mod host;
mod host_thread;
pub mod source;
mod tap_host;

pub use action::{Action, Area, Sending};
#[cfg(not(loom))]
pub use faulty::{FaultyDevice, pattern};
pub use host::{Host, HostError, MAX_FRAME_LEN, Offer, Undeliverable};
pub use host_thread::{HostThread, Served};
pub use tap_host::{TapHost, TapHostError};
