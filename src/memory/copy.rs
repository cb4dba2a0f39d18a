//! The copy of bulk bytes between shared and private memory.
//!
//! What a short packet or the head of a long one takes is not worth a call.

use std::ptr;

/// One raw copy: this and [`copy_in`] are the only ways bulk bytes cross between shared and private
/// memory.
///
/// # Safety
/// Both ranges are valid for `len` bytes and do not overlap. Another process may write the shared
/// one meanwhile: the copy then holds some mixture of bytes, which is all that is promised.
#[inline]
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: promised by the caller; the widths fit the lengths.
    unsafe {
        if len > 128 {
            ptr::copy_nonoverlapping(from, to, len);
        } else if len > 64 {
            copy_ends::<64>(from, to, len);
        } else if len >= 32 {
            copy_ends::<32>(from, to, len);
        } else if len >= 16 {
            copy_ends::<16>(from, to, len);
        } else if len >= 8 {
            copy_ends::<8>(from, to, len);
        } else {
            (0..len).for_each(|i| to.add(i).write(from.add(i).read()));
        }
    }
}

/// [`copy`] into shared memory. Each store to a cache line that another core has waits in a short
/// queue that drains in order, so what counts is how few there are.
///
/// # Safety
/// As for [`copy`].
#[inline(always)]
pub(super) unsafe fn copy_in(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: promised by the caller; the widths fit the lengths.
    unsafe {
        if !(32..=128).contains(&len) || !wide::available() {
            copy(from, to, len);
        } else if len > 64 {
            wide::copy_ends_64(from, to, len);
        } else {
            wide::copy_ends_32(from, to, len);
        }
    }
}

/// Copies N bytes from either end of the range, which together are all of it.
///
/// # Safety
/// As for [`copy`], and `len` is N to 2 N.
#[inline(always)]
unsafe fn copy_ends<const N: usize>(from: *const u8, to: *mut u8, len: usize) {
    let last = len - N;
    // SAFETY: promised by the caller.
    unsafe {
        ptr::copy_nonoverlapping(from, to, N);
        ptr::copy_nonoverlapping(from.add(last), to.add(last), N);
    }
}

/// 32 bytes at a time where the processor can, though the crate is compiled for any x86-64. Compiled
/// for one that can, `copy_ends` does the same.
///
/// Sanitizers do not see what `asm!` reads and writes: built for one, with `--cfg plain_copy`, there
/// is none.
#[cfg(all(target_arch = "x86_64", not(target_feature = "avx"), not(plain_copy)))]
mod wide {
    use std::arch::{asm, is_x86_feature_detected};

    #[inline(always)]
    pub(super) fn available() -> bool {
        is_x86_feature_detected!("avx")
    }

    /// Instructions that copy by `ymm0` to `ymm3`, with `from`, `to` and `len` at hand. The function
    /// this ends up in may be compiled for AVX all the same: `vzeroupper` changes all sixteen
    /// registers, and says so.
    macro_rules! by_ymm {
        ($from:ident, $to:ident, $len:ident, $($line:literal),+) => {
            asm!(
                $($line,)+
                "vzeroupper",
                from = in(reg) $from,
                to = in(reg) $to,
                len = in(reg) $len,
                out("xmm0") _,
                out("xmm1") _,
                out("xmm2") _,
                out("xmm3") _,
                out("xmm4") _,
                out("xmm5") _,
                out("xmm6") _,
                out("xmm7") _,
                out("xmm8") _,
                out("xmm9") _,
                out("xmm10") _,
                out("xmm11") _,
                out("xmm12") _,
                out("xmm13") _,
                out("xmm14") _,
                out("xmm15") _,
                options(nostack, preserves_flags),
            )
        };
    }

    /// # Safety
    /// As for [`copy`](super::copy), `len` is 32 to 64, and AVX is there.
    #[inline(always)]
    pub(super) unsafe fn copy_ends_32(from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: reads and writes the first and the last 32 bytes, as the caller allows.
        unsafe {
            by_ymm!(
                from,
                to,
                len,
                "vmovdqu ymm0, [{from}]",
                "vmovdqu ymm1, [{from} + {len} - 32]",
                "vmovdqu [{to}], ymm0",
                "vmovdqu [{to} + {len} - 32], ymm1"
            );
        }
    }

    /// # Safety
    /// As for [`copy`](super::copy), `len` is 64 to 128, and AVX is there.
    #[inline(always)]
    pub(super) unsafe fn copy_ends_64(from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: reads and writes the first and the last 64 bytes, as the caller allows.
        unsafe {
            by_ymm!(
                from,
                to,
                len,
                "vmovdqu ymm0, [{from}]",
                "vmovdqu ymm1, [{from} + 32]",
                "vmovdqu ymm2, [{from} + {len} - 64]",
                "vmovdqu ymm3, [{from} + {len} - 32]",
                "vmovdqu [{to}], ymm0",
                "vmovdqu [{to} + 32], ymm1",
                "vmovdqu [{to} + {len} - 64], ymm2",
                "vmovdqu [{to} + {len} - 32], ymm3"
            );
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", not(target_feature = "avx"), not(plain_copy))))]
mod wide {
    pub(super) use super::copy as copy_ends_32;
    pub(super) use super::copy as copy_ends_64;

    #[inline(always)]
    pub(super) fn available() -> bool {
        false
    }
}
