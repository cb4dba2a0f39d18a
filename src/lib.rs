#![doc = include_str!("../README.md")]

pub mod device;
pub mod memory;
#[cfg(feature = "python")]
mod python;
pub mod receive;
pub mod replay;
pub mod ring;
mod sync;
pub mod virtio;
