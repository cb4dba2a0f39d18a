//! The virtio-net receive path, as a library.
#![doc = include_str!("../README.md")]

pub mod device;
pub mod memory;
pub mod receive;
pub mod ring;
mod sync;
pub mod virtio;
