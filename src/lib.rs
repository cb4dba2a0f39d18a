#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod device;
pub mod memory;
#[cfg(feature = "python")]
mod python;
pub mod receive;
pub mod replay;
pub mod ring;
#[cfg(not(loom))]
pub mod scenario;
#[cfg(loom)]
pub mod sync;
#[cfg(not(loom))]
mod sync;
#[cfg(all(feature = "vhost-user", not(loom)))]
pub mod vhost_user;
pub mod virtio;
