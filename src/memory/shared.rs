//! The only file that touches device-visible bytes, with `copy.rs`, which copies them.
//!
//! Two rules hold here and nowhere need to be thought of elsewhere:
//!
//! 1. No reference or slice to shared memory is ever made: another process may write it at any
//!    time, and Rust promises that what a reference points to does not change.
//! 2. Every ring word is one atomic access of its own width; bulk bytes are one raw copy (`copy.rs`).
//!
//! A [`Window`] is checked once, when it is made; its accessors then check only the offset. A
//! [`Slots`] is an array of 2^n values, whose accessors have nothing left to check.
//!
//! Under `--cfg loom` the file `shared_model.rs` takes this one's place, with the same interface.

use std::fs::File;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::PAGE_SIZE;
use super::address::{MAX_PARTS, MemoryError, OutOfRange, ReadError, offset_in};
use super::copy::{copy, copy_in};

#[cfg(target_endian = "big")]
compile_error!("vnet-rx supports little-endian targets only: ring words are stored as they are");

/// One region of memory that a device shares with the driver: a memfd, mapped once, sealed so that
/// no peer can shrink it under us (fault F39).
///
/// Methods take guest addresses and refuse what lies outside. They are for devices and tests; the
/// driver's own paths use windows that were checked beforehand.
#[derive(Debug)]
pub struct SharedMemory {
    file: OwnedFd,
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is owned, stays where it is until drop, and every access to it is either
// atomic or a raw copy whose exclusiveness the ring protocol provides.
unsafe impl Send for SharedMemory {}
// SAFETY: as above; no method hands out a reference into the mapping.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Maps a new zeroed region of `len` bytes.
    ///
    /// # Errors
    /// [`MemoryError`] when `len` is 0 or too large, or the kernel refuses.
    pub fn new(len: usize) -> Result<Arc<Self>, MemoryError> {
        if len == 0 || len > isize::MAX as usize {
            return Err(MemoryError::Length(len as u64));
        }
        let failed =
            |what| move |e: rustix::io::Errno| MemoryError::System { what, len, source: e.into() };
        let file = memfd_create("vnet-rx", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(failed("memfd_create"))?;
        ftruncate(&file, len as u64).map_err(failed("ftruncate"))?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
            .map_err(failed("sealing"))?;
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing.
        let base = unsafe {
            mmap(
                ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::NORESERVE,
                &file,
                0,
            )
        }
        .map_err(failed("mmap"))?;
        let base = NonNull::new(base.cast()).ok_or(MemoryError::Length(len as u64))?;
        Ok(Arc::new(Self { file, base, len }))
    }

    /// Bytes in the region.
    #[allow(clippy::len_without_is_empty, reason = "a region is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The memfd behind the region, to hand to a device in another process.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// A second descriptor for the memfd, as a [`File`] that another crate can map.
    ///
    /// # Errors
    /// The kernel's, when no descriptor is left.
    pub fn try_clone_file(&self) -> std::io::Result<File> {
        Ok(File::from(self.file.try_clone()?))
    }

    /// Where the region is mapped in this process.
    ///
    /// Using the pointer is `unsafe` in the plainest sense: bytes behind it change at any time, no
    /// reference may be made to them, and it dangles once the last `Arc` of the region is gone.
    pub fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// The offset of `addr` in the region, if `len` bytes from there are inside and aligned.
    #[inline]
    fn offset(&self, addr: u64, len: usize, align: usize) -> Result<usize, OutOfRange> {
        offset_in(self.len, addr, len, align)
    }

    /// Whether `len` bytes at `addr` are inside the region.
    ///
    /// # Errors
    /// [`OutOfRange`] when they are not.
    #[inline]
    pub fn check(&self, addr: u64, len: usize) -> Result<(), OutOfRange> {
        self.offset(addr, len, 1).map(|_| ())
    }

    /// A checked view of `len` bytes at `addr`.
    pub(crate) fn window(
        self: &Arc<Self>,
        addr: u64,
        len: usize,
        align: usize,
    ) -> Result<Window, OutOfRange> {
        let offset = self.offset(addr, len, align)?;
        // SAFETY: `offset + len` is inside the mapping, as just checked.
        let start = unsafe { self.base.add(offset) };
        Ok(Window { start, len, memory: Arc::clone(self) })
    }

    /// A checked view of `count` pages from `addr` on.
    pub(crate) fn pages(self: &Arc<Self>, addr: u64, count: u32) -> Result<Pages, OutOfRange> {
        let Window { start, memory, .. } =
            self.window(addr, count as usize * PAGE_SIZE, PAGE_SIZE)?;
        Ok(Pages { start, count, memory })
    }

    /// Loads the 16-bit word at `addr` (aligned to 2) in one Acquire access.
    ///
    /// # Errors
    /// [`OutOfRange`], also for the other accessors below.
    pub fn load16(&self, addr: u64) -> Result<u16, OutOfRange> {
        let offset = self.offset(addr, 2, 2)?;
        // SAFETY: inside the mapping and aligned, as checked.
        Ok(unsafe { word16(self.base.add(offset)) }.load(Ordering::Acquire))
    }

    /// Stores the 16-bit word at `addr` (aligned to 2) in one Release access.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn store16(&self, addr: u64, value: u16) -> Result<(), OutOfRange> {
        let offset = self.offset(addr, 2, 2)?;
        // SAFETY: inside the mapping and aligned, as checked.
        unsafe { word16(self.base.add(offset)) }.store(value, Ordering::Release);
        Ok(())
    }

    /// Loads the 32-bit word at `addr` (aligned to 4) in one Acquire access.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn load32(&self, addr: u64) -> Result<u32, OutOfRange> {
        let offset = self.offset(addr, 4, 4)?;
        // SAFETY: inside the mapping and aligned, as checked.
        Ok(unsafe { word32(self.base.add(offset)) }.load(Ordering::Acquire))
    }

    /// Stores the 32-bit word at `addr` (aligned to 4) in one Release access.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn store32(&self, addr: u64, value: u32) -> Result<(), OutOfRange> {
        let offset = self.offset(addr, 4, 4)?;
        // SAFETY: inside the mapping and aligned, as checked.
        unsafe { word32(self.base.add(offset)) }.store(value, Ordering::Release);
        Ok(())
    }

    /// Loads the 64-bit word at `addr` (aligned to 8) in one Acquire access.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn load64(&self, addr: u64) -> Result<u64, OutOfRange> {
        let offset = self.offset(addr, 8, 8)?;
        // SAFETY: inside the mapping and aligned, as checked; mapped for as long as `self`.
        let word = unsafe { AtomicU64::from_ptr(self.base.add(offset).as_ptr().cast()) };
        Ok(word.load(Ordering::Acquire))
    }

    /// Stores the 64-bit word at `addr` (aligned to 8) in one Release access.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn store64(&self, addr: u64, value: u64) -> Result<(), OutOfRange> {
        let offset = self.offset(addr, 8, 8)?;
        // SAFETY: inside the mapping and aligned, as checked; mapped for as long as `self`.
        let word = unsafe { AtomicU64::from_ptr(self.base.add(offset).as_ptr().cast()) };
        word.store(value, Ordering::Release);
        Ok(())
    }

    /// Copies bytes at `addr` out into `bytes`.
    ///
    /// # Errors
    /// [`OutOfRange`]; nothing is copied then.
    pub fn read(&self, addr: u64, bytes: &mut [u8]) -> Result<(), OutOfRange> {
        let offset = self.offset(addr, bytes.len(), 1)?;
        // SAFETY: the source is inside the mapping, as checked; the target is an exclusive borrow
        // of private memory, so the two cannot overlap.
        unsafe { copy(self.base.add(offset).as_ptr(), bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    /// Reads from `file` once, as `readv` does, straight into the `(address, length)` parts, and what
    /// finds no room there into `rest`; returns the bytes read. Parts beyond [`MAX_PARTS`] are refused.
    ///
    /// # Errors
    /// [`ReadError`]; nothing is read then.
    pub fn read_from(
        &self,
        file: impl AsFd,
        parts: impl IntoIterator<Item = (u64, usize)>,
        rest: &mut [u8],
    ) -> Result<usize, ReadError> {
        let none = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        let mut vectors = [none; MAX_PARTS + 1];
        let mut used = 0;
        for (addr, len) in parts {
            if used == MAX_PARTS {
                return Err(ReadError::TooManyParts);
            }
            let offset = self.offset(addr, len, 1)?;
            // SAFETY: `offset + len` is inside the mapping, as just checked.
            let at = unsafe { self.base.add(offset) };
            vectors[used] = libc::iovec { iov_base: at.as_ptr().cast(), iov_len: len };
            used += 1;
        }
        vectors[used] = libc::iovec { iov_base: rest.as_mut_ptr().cast(), iov_len: rest.len() };
        // SAFETY: every vector lies inside the mapping or in `rest`, which is exclusively borrowed;
        // the kernel writes raw bytes and no reference to shared ones is made. `used < 65`.
        let read = unsafe {
            libc::readv(file.as_fd().as_raw_fd(), vectors.as_ptr(), used as libc::c_int + 1)
        };
        usize::try_from(read).map_err(|_| ReadError::System(std::io::Error::last_os_error()))
    }

    /// Copies `bytes` to `addr`.
    ///
    /// # Errors
    /// [`OutOfRange`]; nothing is copied then.
    #[inline]
    pub fn write(&self, addr: u64, bytes: &[u8]) -> Result<(), OutOfRange> {
        let offset = self.offset(addr, bytes.len(), 1)?;
        // SAFETY: the target is inside the mapping, as checked; the source is private memory.
        unsafe { copy_in(bytes.as_ptr(), self.base.add(offset).as_ptr(), bytes.len()) };
        Ok(())
    }

    /// Stores a plain value at the start of the `room` bytes at `addr`, and `bytes` behind it.
    /// `false`, and nothing is stored, unless they fit and all of the room is inside.
    ///
    /// The value goes there from registers. Put together in memory by narrow stores and copied by
    /// wide loads, it could be loaded only once all stores before it are done, those to cache lines
    /// of another core too.
    #[inline(always)]
    pub(crate) fn write_headed<T: IntoBytes + Immutable>(
        &self,
        addr: u64,
        room: usize,
        header: T,
        bytes: &[u8],
    ) -> bool {
        let Ok(offset) = self.offset(addr, room, 1) else { return false };
        if size_of::<T>() > room || bytes.len() > room - size_of::<T>() {
            return false;
        }
        // SAFETY: value and bytes end inside the room, and that in the mapping, as checked; `T:
        // IntoBytes` has no padding to leak; the source is private memory.
        unsafe {
            let at = self.base.add(offset);
            at.cast::<T>().write_unaligned(header);
            copy_in(bytes.as_ptr(), at.add(size_of::<T>()).as_ptr(), bytes.len());
        }
        true
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; windows hold an `Arc`, so none is left.
        // Unmapping what is mapped does not fail.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// A checked part of a [`SharedMemory`], accessed by byte offset.
///
/// An offset outside the window is a bug of this crate, never a matter of what a device wrote, and
/// panics.
#[derive(Debug)]
pub(crate) struct Window {
    start: NonNull<u8>,
    len: usize,
    /// Keeps the mapping alive.
    memory: Arc<SharedMemory>,
}

// SAFETY: see `SharedMemory`, which the window keeps alive and adds nothing to.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}

impl Window {
    /// The pointer at `offset`, from which `len` bytes are inside the window.
    #[inline]
    fn at(&self, offset: usize, len: usize) -> NonNull<u8> {
        assert!(offset <= self.len && len <= self.len - offset, "access outside a checked window");
        // SAFETY: inside the window, as just asserted, and so inside the mapping.
        unsafe { self.start.add(offset) }
    }

    /// Loads a ring word.
    #[inline]
    pub(crate) fn load_u16(&self, offset: usize, order: Ordering) -> u16 {
        debug_assert!(offset.is_multiple_of(2), "a ring word at an odd offset");
        // SAFETY: `at` checked the range; windows of ring words start aligned, offsets are even.
        unsafe { word16(self.at(offset, 2)) }.load(order)
    }

    /// Stores a ring word.
    #[inline]
    pub(crate) fn store_u16(&self, offset: usize, value: u16, order: Ordering) {
        debug_assert!(offset.is_multiple_of(2), "a ring word at an odd offset");
        // SAFETY: `at` checked the range; windows of ring words start aligned, offsets are even.
        unsafe { word16(self.at(offset, 2)) }.store(value, order);
    }

    /// Sets every byte to 0.
    pub(crate) fn zero(&self) {
        // SAFETY: exactly the window.
        unsafe { ptr::write_bytes(self.start.as_ptr(), 0, self.len) };
    }

    /// The `count` values of type `T` from `offset` on, a power of two.
    pub(crate) fn slots<T>(&self, offset: usize, count: u16) -> Slots<T> {
        assert!(count.is_power_of_two(), "an index wraps at a power of two only");
        let start = self.at(offset, usize::from(count) * size_of::<T>()).cast();
        Slots { start, mask: count - 1, _memory: Arc::clone(&self.memory) }
    }
}

/// A checked row of pages in a [`SharedMemory`], addressed by number and offset.
///
/// A page that is not there, or an offset outside of it, is a bug of this crate and panics.
#[derive(Debug)]
pub(crate) struct Pages {
    start: NonNull<u8>,
    count: u32,
    memory: Arc<SharedMemory>,
}

// SAFETY: see `SharedMemory`, which the pages keep alive and add nothing to.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    /// The bytes of a page.
    #[inline]
    pub(crate) fn bytes(&self, page: u32) -> PageBytes<'_> {
        assert!(page < self.count, "there is no such page");
        // SAFETY: all `count` pages are inside the mapping.
        PageBytes { start: unsafe { self.start.add(page as usize * PAGE_SIZE) }, of: PhantomData }
    }

    /// A pointer to `len` bytes at `offset` of a page, for those that export a view of it.
    #[cfg(feature = "python")]
    pub(crate) fn pointer(&self, page: u32, offset: usize, len: usize) -> *const u8 {
        self.bytes(page).part(offset, len).as_ptr()
    }

    /// The region that the pages lie in.
    pub(crate) fn memory(&self) -> &Arc<SharedMemory> {
        &self.memory
    }
}

/// The bytes of a page that there is. An offset outside of it is a bug of this crate and panics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageBytes<'a> {
    start: NonNull<u8>,
    /// Keeps the mapping alive.
    of: PhantomData<&'a Pages>,
}

impl PageBytes<'_> {
    /// The byte at `offset`, from which `len` bytes are inside the page.
    #[inline(always)]
    fn part(&self, offset: usize, len: usize) -> NonNull<u8> {
        assert!(offset + len <= PAGE_SIZE, "an access would leave the page");
        // SAFETY: inside the page, as just asserted; neither number is near overflowing.
        unsafe { self.start.add(offset) }
    }

    /// Copies the plain value that the page begins with out.
    #[inline(always)]
    pub(crate) fn read_start<T: FromBytes>(&self) -> T {
        const { assert!(size_of::<T>() <= PAGE_SIZE) };
        // SAFETY: inside the page.
        unsafe { read_once(self.start) }
    }

    /// Copies bytes out, from `offset` on.
    #[inline(always)]
    pub(crate) fn read_into(&self, offset: usize, bytes: &mut [u8]) {
        let from = self.part(offset, bytes.len());
        // SAFETY: the source is inside the page, the target an exclusive borrow of private memory.
        unsafe { copy(from.as_ptr(), bytes.as_mut_ptr(), bytes.len()) };
    }
}

/// A checked array of 2^n values in a [`SharedMemory`], addressed by free-running index: it wraps,
/// so every index has a slot.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    start: NonNull<T>,
    mask: u16,
    /// Keeps the mapping alive.
    _memory: Arc<SharedMemory>,
}

// SAFETY: see `SharedMemory`, which the slots keep alive and add nothing to; values are copied.
unsafe impl<T: Copy + Send> Send for Slots<T> {}
// SAFETY: as above.
unsafe impl<T: Copy + Send> Sync for Slots<T> {}

impl<T> Slots<T> {
    #[inline]
    fn slot(&self, index: u16) -> NonNull<T> {
        // SAFETY: the masked index is below the number of slots, all of which are in the window.
        unsafe { self.start.add(usize::from(index & self.mask)) }
    }
}

impl<T: FromBytes + IntoBytes + Immutable> Slots<T> {
    /// Copies a value out.
    #[inline]
    pub(crate) fn read(&self, index: u16) -> T {
        // SAFETY: a slot is inside the mapping.
        unsafe { read_once(self.slot(index).cast()) }
    }

    /// Copies a value in.
    #[inline]
    pub(crate) fn write(&self, index: u16, value: T) {
        let slot = self.slot(index);
        #[cfg(target_arch = "x86_64")]
        if size_of::<T>() == 16 {
            use std::arch::x86_64::{__m128i, _mm_storeu_si128};
            // SAFETY: as below; in one store.
            unsafe {
                let value: __m128i = std::mem::transmute_copy(&value);
                _mm_storeu_si128(slot.as_ptr().cast(), value);
            }
            return;
        }
        // SAFETY: a slot is inside the mapping; `T: IntoBytes` has no padding to leak.
        unsafe { slot.write_unaligned(value) };
    }
}

impl Slots<u16> {
    /// Loads a ring word in one Relaxed access.
    #[inline]
    pub(crate) fn load(&self, index: u16) -> u16 {
        // SAFETY: a slot is inside the mapping; windows of ring words start aligned.
        unsafe { word16(self.slot(index).cast()) }.load(Ordering::Relaxed)
    }

    /// Stores a ring word in one Relaxed access.
    #[inline]
    pub(crate) fn store(&self, index: u16, value: u16) {
        // SAFETY: a slot is inside the mapping; windows of ring words start aligned.
        unsafe { word16(self.slot(index).cast()) }.store(value, Ordering::Relaxed);
    }
}

/// Copies a value out, each word of it with one load that is neither repeated nor put off: what was
/// checked is what is used, though another process may write the memory meanwhile.
///
/// # Safety
/// `at` is inside the mapping, as far as a `T` reaches.
#[inline(always)]
unsafe fn read_once<T: FromBytes>(at: NonNull<u8>) -> T {
    #[repr(C, packed)]
    struct Unaligned<W>(W);
    const { assert!(size_of::<T>().is_multiple_of(4)) };
    let mut value = MaybeUninit::<T>::uninit();
    let to = value.as_mut_ptr().cast::<u8>();
    let mut done = 0;
    // SAFETY: both sides reach as far as a `T`; any bytes are a valid `T: FromBytes`.
    unsafe {
        while done + 8 <= size_of::<T>() {
            let word = at.add(done).cast::<Unaligned<u64>>().read_volatile();
            to.add(done).cast::<Unaligned<u64>>().write(word);
            done += 8;
        }
        if done < size_of::<T>() {
            let word = at.add(done).cast::<Unaligned<u32>>().read_volatile();
            to.add(done).cast::<Unaligned<u32>>().write(word);
        }
        value.assume_init()
    }
}

/// The 16-bit ring word at `at`.
///
/// # Safety
/// `at` is aligned to 2 and inside a mapping that outlives the use of the result.
#[inline]
unsafe fn word16<'a>(at: NonNull<u8>) -> &'a AtomicU16 {
    // SAFETY: promised by the caller; all accesses to ring words are atomic.
    unsafe { AtomicU16::from_ptr(at.as_ptr().cast()) }
}

/// The 32-bit ring word at `at`.
///
/// # Safety
/// As for [`word16`], aligned to 4.
#[inline]
unsafe fn word32<'a>(at: NonNull<u8>) -> &'a AtomicU32 {
    // SAFETY: promised by the caller; all accesses to ring words are atomic.
    unsafe { AtomicU32::from_ptr(at.as_ptr().cast()) }
}
