//! Guest addresses, and what can be wrong with one.

/// Guest address of the region's first byte. Far from 0 and from every offset, so that an offset
/// taken for an address never lands in the region by luck.
pub const GUEST_BASE: u64 = 0x1_0000_0000;

/// Why shared memory could not be had.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The region would have no byte, or more than an address can hold.
    #[error("a shared memory region of {0} bytes cannot be made: give 1 to {max}", max = isize::MAX)]
    Length(u64),
    /// The kernel refused.
    #[error("{what} of {len} bytes failed: {source}")]
    System {
        /// The step that failed.
        what: &'static str,
        /// Bytes asked for.
        len: usize,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

/// An access that is not wholly inside the region, or not aligned for its width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "guest address {addr:#x} + {len} bytes is not an aligned range inside {GUEST_BASE:#x}..{end:#x}"
)]
pub struct OutOfRange {
    /// First guest address of the access.
    pub addr: u64,
    /// Its length in bytes.
    pub len: u64,
    /// The first guest address behind the region.
    pub end: u64,
}

/// The most parts that one read into the region can have; a frame of any mode takes fewer.
pub const MAX_PARTS: usize = 64;

/// Why nothing was read from a file into the region.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A part that is not inside.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// Too many parts.
    #[error("more than {MAX_PARTS} parts cannot be read into at once")]
    TooManyParts,
    /// The kernel's answer.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// The offset of `addr` in a region of `region` bytes, if `len` bytes from there are inside it and
/// `addr` is aligned to `align`.
pub(super) fn offset_in(
    region: usize,
    addr: u64,
    len: usize,
    align: usize,
) -> Result<usize, OutOfRange> {
    let end = GUEST_BASE + region as u64;
    let outside = OutOfRange { addr, len: len as u64, end };
    let offset = addr.checked_sub(GUEST_BASE).ok_or(outside)?;
    if offset % align as u64 != 0 || offset > region as u64 {
        return Err(outside);
    }
    let offset = offset as usize;
    if len > region - offset {
        return Err(outside);
    }
    Ok(offset)
}
