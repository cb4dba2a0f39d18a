//! The virtio-net header that stands before every packet (5.1.6.1).

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a header without `num_buffers`: the legacy layout when buffers are not mergeable.
pub const HEADER_LEN_LEGACY: usize = 10;
/// Bytes of a header with `num_buffers`: mergeable buffers in either dialect, and always in the
/// modern one.
pub const HEADER_LEN_MERGEABLE: usize = 12;

const _: () = assert!(size_of::<WireHeader>() == HEADER_LEN_MERGEABLE);

/// The header's layout in memory: all fields little endian.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WireHeader {
    flags: u8,
    gso_type: u8,
    hdr_len: U16,
    gso_size: U16,
    csum_start: U16,
    csum_offset: U16,
    num_buffers: U16,
}

/// Bits of [`VnetHeader::flags`] (5.1.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderFlags;

impl HeaderFlags {
    /// The checksum from `csum_start` on is still to be computed.
    pub const NEEDS_CSUM: u8 = 1;
    /// The device has checked the packet's checksum.
    pub const DATA_VALID: u8 = 2;
}

/// Values of [`VnetHeader::gso_type`] (5.1.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GsoType;

impl GsoType {
    /// An ordinary packet.
    pub const NONE: u8 = 0;
    /// A TCP over IPv4 super-packet.
    pub const TCPV4: u8 = 1;
    /// A UDP datagram to be fragmented by IP (UFO).
    pub const UDP: u8 = 3;
    /// A TCP over IPv6 super-packet.
    pub const TCPV6: u8 = 4;
    /// A train of UDP datagrams (USO).
    pub const UDP_L4: u8 = 5;
    /// Set beside a TCP type: the segments carry explicit congestion notification.
    pub const ECN: u8 = 0x80;
}

/// A virtio-net header, its fields in host order (5.1.6.1).
///
/// As a device's source of frames sees it, this is what shall be written before the frame; on a
/// delivered packet it is what the device wrote, `flags` limited to the two known bits, `hdr_len`,
/// which is ignored, 0, and `num_buffers` the number of buffers that were really used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VnetHeader {
    /// Bits of [`HeaderFlags`].
    pub flags: u8,
    /// One of [`GsoType`], with [`GsoType::ECN`] possibly set.
    pub gso_type: u8,
    /// Length of the headers to repeat before each segment, in bytes. A hint only.
    pub hdr_len: u16,
    /// Payload bytes of one segment.
    pub gso_size: u16,
    /// Where checksumming starts, in bytes from the start of the packet.
    pub csum_start: u16,
    /// Where the 16-bit sum goes, in bytes from `csum_start`.
    pub csum_offset: u16,
    /// Buffers that this packet occupies; exists only in the 12-byte layout.
    pub num_buffers: u16,
}

impl VnetHeader {
    /// The header in its 12-byte wire layout; the first [`HEADER_LEN_LEGACY`] bytes are the legacy
    /// one.
    pub fn to_bytes(self) -> [u8; HEADER_LEN_MERGEABLE] {
        zerocopy::transmute!(HeaderBytes::from(self))
    }

    /// Reads a header from the first 10 or 12 bytes of `bytes`; fields that are not there are 0.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut wire = WireHeader::new_zeroed();
        let n = bytes.len().min(HEADER_LEN_MERGEABLE);
        wire.as_mut_bytes()[..n].copy_from_slice(&bytes[..n]);
        Self::from_wire(wire)
    }

    /// Reads the 12-byte layout.
    pub fn from_array(bytes: [u8; HEADER_LEN_MERGEABLE]) -> Self {
        Self::from_wire(zerocopy::transmute!(bytes))
    }

    fn from_wire(wire: WireHeader) -> Self {
        Self {
            flags: wire.flags,
            gso_type: wire.gso_type,
            hdr_len: wire.hdr_len.get(),
            gso_size: wire.gso_size.get(),
            csum_start: wire.csum_start.get(),
            csum_offset: wire.csum_offset.get(),
            num_buffers: wire.num_buffers.get(),
        }
    }
}

/// A header as a device writes it, copied once and decoded where it is looked at: the first eight
/// bytes and the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct HeaderBytes {
    start: U64,
    rest: U32,
}

/// The 10 bytes of the legacy layout.
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct LegacyHeaderBytes {
    start: U64,
    rest: U16,
}

const _: () = assert!(size_of::<HeaderBytes>() == HEADER_LEN_MERGEABLE);
const _: () = assert!(size_of::<LegacyHeaderBytes>() == HEADER_LEN_LEGACY);

/// Two numbers, put together in registers.
impl From<VnetHeader> for HeaderBytes {
    #[inline]
    fn from(header: VnetHeader) -> Self {
        let start = u64::from(header.flags)
            | u64::from(header.gso_type) << 8
            | u64::from(header.hdr_len) << 16
            | u64::from(header.gso_size) << 32
            | u64::from(header.csum_start) << 48;
        let rest = u32::from(header.csum_offset) | u32::from(header.num_buffers) << 16;
        Self { start: start.into(), rest: rest.into() }
    }
}

impl HeaderBytes {
    /// The bits of `flags` and `gso_type`, the first two bytes, that ask for something to be done.
    const NOT_PLAIN: u64 = u64::from_le_bytes([HeaderFlags::NEEDS_CSUM, 0xff, 0, 0, 0, 0, 0, 0]);
    /// What is delivered of the first eight bytes: only the two known flags, and no `hdr_len`.
    const DELIVERED: u64 = {
        let flags = HeaderFlags::NEEDS_CSUM | HeaderFlags::DATA_VALID;
        u64::from_le_bytes([flags, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff])
    };

    /// Whether there is nothing to check or to segment: no checksum to complete, no GSO type.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        const { assert!(GsoType::NONE == 0) };
        self.start.get() & Self::NOT_PLAIN == 0
    }

    /// Means something in the 12-byte layout only.
    #[inline]
    pub(crate) fn num_buffers(&self) -> u16 {
        (self.rest.get() >> 16) as u16
    }

    /// The header of a packet in one buffer whose `num_buffers`, if there is one, means nothing.
    #[inline]
    pub(crate) fn in_one_buffer(self) -> Self {
        Self { rest: (self.rest.get() & 0xffff | 1 << 16).into(), ..self }
    }

    /// The header as it is delivered with a packet: only the two known flags, and no `hdr_len`.
    pub(crate) fn delivered(self) -> VnetHeader {
        Self { start: (self.start.get() & Self::DELIVERED).into(), ..self }.decode()
    }

    /// The legacy layout, which ends before `num_buffers`.
    #[inline]
    pub(crate) fn legacy(self) -> LegacyHeaderBytes {
        LegacyHeaderBytes { start: self.start, rest: (self.rest.get() as u16).into() }
    }

    pub(crate) fn decode(&self) -> VnetHeader {
        VnetHeader::from_array(zerocopy::transmute!(*self))
    }
}
