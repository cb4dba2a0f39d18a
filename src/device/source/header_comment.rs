//! A virtio-net header as a comment.
//!
//! Neither capture format has a place for one. In pcapng it is kept in the packet's comment
//! (`opt_comment`), which every tool keeps and shows:
//!
//! ```text
//! virtio_net_hdr flags=0x01 gso_type=0x01 hdr_len=66 gso_size=1448 csum_start=34 csum_offset=16
//! ```
//!
//! `num_buffers` is never kept; it is the device's to fill in.

use crate::virtio::VnetHeader;

/// The first word of a comment that holds a header.
const COMMENT: &str = "virtio_net_hdr";

/// Whether a comment should hold a header.
pub(super) fn is_header(comment: &str) -> bool {
    comment.split_ascii_whitespace().next() == Some(COMMENT)
}

/// Reads a header from a comment, which must name every field once.
pub(super) fn parse(comment: &str) -> Option<VnetHeader> {
    let mut header = VnetHeader::default();
    let mut seen = 0u8;
    for word in comment.split_ascii_whitespace().skip(1) {
        let (name, value) = word.split_once('=')?;
        let value = match value.strip_prefix("0x") {
            Some(hex) => u16::from_str_radix(hex, 16).ok()?,
            None => value.parse().ok()?,
        };
        let bit = match name {
            "flags" => {
                header.flags = value.try_into().ok()?;
                0
            }
            "gso_type" => {
                header.gso_type = value.try_into().ok()?;
                1
            }
            "hdr_len" => {
                header.hdr_len = value;
                2
            }
            "gso_size" => {
                header.gso_size = value;
                3
            }
            "csum_start" => {
                header.csum_start = value;
                4
            }
            "csum_offset" => {
                header.csum_offset = value;
                5
            }
            _ => return None,
        };
        if seen & (1 << bit) != 0 {
            return None;
        }
        seen |= 1 << bit;
    }
    (seen == 0b11_1111).then_some(header)
}

/// The comment that keeps a header.
pub(super) fn write(header: &VnetHeader) -> String {
    let VnetHeader { flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, .. } = header;
    format!(
        "{COMMENT} flags=0x{flags:02x} gso_type=0x{gso_type:02x} hdr_len={hdr_len} \
         gso_size={gso_size} csum_start={csum_start} csum_offset={csum_offset}"
    )
}
