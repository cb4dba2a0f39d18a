//! Where a device's frames come from.

mod capture;
mod capture_writer;
mod checksum;
mod ethernet;
mod generator;
mod header_comment;
mod tap;

pub use capture::{Capture, CaptureError, CaptureFormat};
pub use capture_writer::CaptureWriter;
pub use checksum::complete_checksum;
pub use ethernet::derive_header;
pub use generator::{Generator, Sizes};
pub use tap::{Tap, TapError};

use crate::virtio::VnetHeader;

/// One frame, and the virtio-net header that shall stand before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The header; `num_buffers` is the device's to fill in.
    pub header: VnetHeader,
    /// The Ethernet frame, without preamble and checksum.
    pub bytes: Vec<u8>,
}
