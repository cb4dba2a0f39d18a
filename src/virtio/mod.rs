//! What the standard says, and nothing else: feature bits, header layouts, ring layouts.
//!
//! Section numbers refer to *Virtual I/O Device (VIRTIO) Version 1.3*.

pub(crate) mod features;
mod header;
mod ring;

pub use features::{Dialect, Features, Mode, UnknownName};
pub(crate) use header::HeaderBytes;
pub use header::{GsoType, HEADER_LEN_LEGACY, HEADER_LEN_MERGEABLE, HeaderFlags, VnetHeader};
pub use ring::{
    AVAIL_F_NO_INTERRUPT, DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, Descriptor, MAX_RING_SIZE,
    MIN_RING_SIZE, SplitLayout, USED_F_NO_NOTIFY, UsedElement,
};
