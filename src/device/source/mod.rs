//! Where a device's frames come from.

mod capture;
mod ethernet;
mod generator;

pub use capture::{Capture, CaptureError, CaptureFormat, CaptureWriter};
pub use ethernet::derive_header;
pub use generator::{Generator, Sizes};

use crate::virtio::VnetHeader;

/// One frame, and the virtio-net header that shall stand before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The header; `num_buffers` is the device's to fill in.
    pub header: VnetHeader,
    /// The Ethernet frame, without preamble and checksum.
    pub bytes: Vec<u8>,
}
