//! Checksums that were left to be completed.

use etherparse::checksum::Sum16BitWords;

use crate::virtio::{GsoType, HeaderFlags, VnetHeader};

/// `csum_offset` of UDP, where 0 means that there is no checksum.
const UDP: u16 = 6;

/// Completes the checksum of a frame whose header says NEEDS_CSUM (5.1.6.2): the one's-complement
/// sum from `csum_start` on goes to `csum_start + csum_offset`, where the sum of the pseudo header
/// lies. Returns the header that the frame has then: DATA_VALID, with nothing left to do, and so
/// without segmentation. A frame without NEEDS_CSUM, or with a position outside, is left as it is.
pub fn complete_checksum(header: VnetHeader, frame: &mut [u8]) -> VnetHeader {
    if header.flags & HeaderFlags::NEEDS_CSUM == 0 {
        return header;
    }
    let summed = frame.get_mut(usize::from(header.csum_start)..).unwrap_or_default();
    let sum = Sum16BitWords::new().add_slice(summed);
    let sum = match header.csum_offset {
        UDP => sum.to_ones_complement_with_no_zero(),
        _ => sum.ones_complement(),
    };
    let at = usize::from(header.csum_offset);
    let Some(field) = summed.get_mut(at..at + 2) else { return header };
    // The sum is of words as they lie in memory, so it is stored as it is.
    field.copy_from_slice(&sum.to_ne_bytes());
    VnetHeader {
        flags: header.flags & !HeaderFlags::NEEDS_CSUM | HeaderFlags::DATA_VALID,
        gso_type: GsoType::NONE,
        num_buffers: header.num_buffers,
        ..VnetHeader::default()
    }
}
