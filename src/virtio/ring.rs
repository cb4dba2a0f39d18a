//! The split ring's layout in memory (2.7).

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The smallest ring a receive queue can use.
pub const MIN_RING_SIZE: u32 = 2;
/// The largest split ring (2.7).
pub const MAX_RING_SIZE: u32 = 32768;

/// The chain goes on in the descriptor named by `next` (2.7.5).
pub const DESC_F_NEXT: u16 = 1;
/// The device may write the buffer (2.7.5).
pub const DESC_F_WRITE: u16 = 2;
/// The buffer holds a table of descriptors (2.7.5.3).
pub const DESC_F_INDIRECT: u16 = 4;
/// `avail.flags`: the driver asks for no interrupt (2.7.7).
pub const AVAIL_F_NO_INTERRUPT: u16 = 1;
/// `used.flags`: the device asks for no kick (2.7.10).
pub const USED_F_NO_NOTIFY: u16 = 1;

/// One entry of the descriptor table (2.7.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Descriptor {
    /// Guest address of the buffer.
    pub addr: U64,
    /// Its length in bytes.
    pub len: U32,
    /// `DESC_F_*` bits.
    pub flags: U16,
    /// The next descriptor of the chain, if `flags` says that there is one.
    pub next: U16,
}

/// One entry of the used ring (2.7.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UsedElement {
    /// Head of the chain that was used; 32 bits wide though ids have 16.
    pub id: U32,
    /// Bytes written into it.
    pub len: U32,
}

const _: () = assert!(size_of::<Descriptor>() == 16);
const _: () = assert!(size_of::<UsedElement>() == 8);

/// Where the parts of one split ring lie, as guest addresses.
///
/// ```text
///  desc   16 * size bytes, aligned to 16
///  avail  flags u16 | idx u16 | ring u16 * size | used_event u16     aligned to 2
///  used   flags u16 | idx u16 | (id u32, len u32) * size | avail_event u16   aligned to 4
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitLayout {
    /// Number of descriptors, a power of two.
    pub size: u32,
    /// Guest address of the descriptor table.
    pub desc: u64,
    /// Guest address of the avail ring (the driver area).
    pub avail: u64,
    /// Guest address of the used ring (the device area).
    pub used: u64,
}

/// What the driver writes and what the device writes must not share a page, let alone a cache
/// line; the legacy interface requires the same of the used ring (2.7.2).
const USED_ALIGN: u64 = 4096;
/// One cache line.
const AVAIL_ALIGN: u64 = 64;

impl SplitLayout {
    /// The layout of a ring of `size` descriptors that starts at guest address `base`.
    pub const fn at(base: u64, size: u32) -> Self {
        let avail = (base + Self::desc_len(size)).next_multiple_of(AVAIL_ALIGN);
        let used = (avail + Self::avail_len(size)).next_multiple_of(USED_ALIGN);
        Self { size, desc: base, avail, used }
    }

    /// The first guest address behind the ring.
    pub const fn end(&self) -> u64 {
        self.used + Self::used_len(self.size)
    }

    /// Bytes of a descriptor table.
    pub const fn desc_len(size: u32) -> u64 {
        16 * size as u64
    }

    /// Bytes of an avail ring, `used_event` included.
    pub const fn avail_len(size: u32) -> u64 {
        6 + 2 * size as u64
    }

    /// Bytes of a used ring, `avail_event` included.
    pub const fn used_len(size: u32) -> u64 {
        6 + 8 * size as u64
    }
}
