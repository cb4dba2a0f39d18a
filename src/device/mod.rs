//! The other end of the ring: devices, and where their frames come from.

mod host;
mod host_thread;
pub mod source;

pub use host::{Host, HostError, MAX_FRAME_LEN, Offer, Undeliverable};
pub use host_thread::{HostThread, Served};
