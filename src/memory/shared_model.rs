//! Shared memory for the model checker, with the interface of `shared.rs`.
//!
//! Ring words are loom atomics. For all other bytes loom is told of every access, four bytes at a
//! time, so that it reports a descriptor, a used entry or packet bytes that are read without being
//! ordered behind their writing: a lost Release or Acquire shows as a race.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::PAGE_SIZE;
use super::address::{MemoryError, OutOfRange, ReadError, offset_in};
use crate::sync::{AtomicU16, Ordering, UnsafeCell};

/// Bytes that one race detector stands for: every bulk access is aligned to it.
const GRAIN: usize = 4;

/// The alignments of an avail ring and a used ring, which hold words.
const WORD_ALIGNS: [usize; 2] = [2, 4];

/// One region of memory that a device shares with the driver.
#[derive(Debug)]
pub struct SharedMemory {
    len: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    words: HashMap<usize, Arc<AtomicU16>>,
    grains: HashMap<usize, Arc<UnsafeCell<()>>>,
    bytes: HashMap<usize, u8>,
}

// SAFETY: a model runs in one thread of the system; what its threads do to the cells is what loom
// checks.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// A region of `len` bytes, all 0.
    ///
    /// # Errors
    /// [`MemoryError`] when `len` is 0 or too large.
    pub fn new(len: usize) -> Result<Arc<Self>, MemoryError> {
        if len == 0 || len > isize::MAX as usize {
            return Err(MemoryError::Length(len as u64));
        }
        Ok(Arc::new(Self { len, state: Mutex::default() }))
    }

    /// Bytes in the region.
    #[allow(clippy::len_without_is_empty, reason = "a region is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The atomic at `offset`. The lock is not held while it is used: loom may switch threads then.
    fn word(&self, offset: usize) -> Arc<AtomicU16> {
        Arc::clone(self.state().words.entry(offset).or_insert_with(|| Arc::new(AtomicU16::new(0))))
    }

    fn grains(&self, offset: usize, len: usize) -> Vec<Arc<UnsafeCell<()>>> {
        let state = &mut *self.state();
        let covered = offset / GRAIN..(offset + len).div_ceil(GRAIN);
        let grain =
            |i| Arc::clone(state.grains.entry(i).or_insert_with(|| UnsafeCell::new(()).into()));
        covered.map(grain).collect()
    }

    fn copy_out(&self, offset: usize, bytes: &mut [u8]) {
        self.grains(offset, bytes.len()).iter().for_each(|grain| grain.with(|_| ()));
        let state = self.state();
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = state.bytes.get(&(offset + i)).copied().unwrap_or(0);
        }
    }

    fn copy_in(&self, offset: usize, bytes: &[u8]) {
        self.grains(offset, bytes.len()).iter().for_each(|grain| grain.with_mut(|_| ()));
        let mut state = self.state();
        state.bytes.extend(bytes.iter().enumerate().map(|(i, &byte)| (offset + i, byte)));
    }

    /// Whether `len` bytes at `addr` are inside the region.
    ///
    /// # Errors
    /// [`OutOfRange`] when they are not.
    pub fn check(&self, addr: u64, len: usize) -> Result<(), OutOfRange> {
        offset_in(self.len, addr, len, 1).map(|_| ())
    }

    /// A checked view of `len` bytes at `addr`.
    pub(crate) fn window(
        self: &Arc<Self>,
        addr: u64,
        len: usize,
        align: usize,
    ) -> Result<Window, OutOfRange> {
        let start = offset_in(self.len, addr, len, align)?;
        if WORD_ALIGNS.contains(&align) {
            // Now, because loom takes the making of an atomic for an access by the thread that
            // happens to make it.
            (start..start + len - 1).step_by(2).for_each(|at| drop(self.word(at)));
        }
        Ok(Window { start, len, memory: Arc::clone(self) })
    }

    /// A checked view of `count` pages from `addr` on.
    pub(crate) fn pages(self: &Arc<Self>, addr: u64, count: u32) -> Result<Pages, OutOfRange> {
        let start = offset_in(self.len, addr, count as usize * PAGE_SIZE, PAGE_SIZE)?;
        Ok(Pages { start, count, memory: Arc::clone(self) })
    }

    /// Copies bytes at `addr` out into `bytes`.
    ///
    /// # Errors
    /// [`OutOfRange`]; nothing is copied then.
    pub fn read(&self, addr: u64, bytes: &mut [u8]) -> Result<(), OutOfRange> {
        self.copy_out(offset_in(self.len, addr, bytes.len(), 1)?, bytes);
        Ok(())
    }

    /// Reads from `file` once into the parts, and what finds no room there into `rest`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read_from(
        &self,
        file: impl AsFd,
        parts: impl IntoIterator<Item = (u64, usize)>,
        rest: &mut [u8],
    ) -> Result<usize, ReadError> {
        let parts: Vec<_> = parts.into_iter().collect();
        let room: usize = parts.iter().map(|(_, len)| len).sum();
        let mut bytes = vec![0; room + rest.len()];
        let read = rustix::io::read(file, &mut bytes[..]).map_err(std::io::Error::from)?;
        let mut left = &bytes[..read];
        for (addr, len) in parts {
            let (now, later) = left.split_at(len.min(left.len()));
            self.write(addr, now)?;
            left = later;
        }
        rest[..left.len()].copy_from_slice(left);
        Ok(read)
    }

    /// Copies `bytes` to `addr`.
    ///
    /// # Errors
    /// [`OutOfRange`]; nothing is copied then.
    pub fn write(&self, addr: u64, bytes: &[u8]) -> Result<(), OutOfRange> {
        self.copy_in(offset_in(self.len, addr, bytes.len(), 1)?, bytes);
        Ok(())
    }

    /// Stores a plain value at the start of the `room` bytes at `addr`, and `bytes` behind it.
    /// `false`, and nothing is stored, unless they fit and all of the room is inside.
    pub(crate) fn write_headed<T: IntoBytes + Immutable>(
        &self,
        addr: u64,
        room: usize,
        header: T,
        bytes: &[u8],
    ) -> bool {
        let Ok(offset) = offset_in(self.len, addr, room, 1) else { return false };
        let value = header.as_bytes();
        if value.len() + bytes.len() > room {
            return false;
        }
        self.copy_in(offset, value);
        self.copy_in(offset + value.len(), bytes);
        true
    }
}

/// A checked part of a [`SharedMemory`], accessed by byte offset.
#[derive(Debug)]
pub(crate) struct Window {
    start: usize,
    len: usize,
    memory: Arc<SharedMemory>,
}

impl Window {
    fn at(&self, offset: usize, len: usize) -> usize {
        assert!(offset <= self.len && len <= self.len - offset, "access outside a checked window");
        self.start + offset
    }

    /// Loads a ring word.
    pub(crate) fn load_u16(&self, offset: usize, order: Ordering) -> u16 {
        self.memory.word(self.at(offset, 2)).load(order)
    }

    /// Stores a ring word.
    pub(crate) fn store_u16(&self, offset: usize, value: u16, order: Ordering) {
        self.memory.word(self.at(offset, 2)).store(value, order);
    }

    /// Sets every byte to 0, before anybody else knows of them.
    pub(crate) fn zero(&self) {
        let inside = self.start..self.start + self.len;
        let mut state = self.memory.state();
        for (_, word) in state.words.iter_mut().filter(|(at, _)| inside.contains(at)) {
            *word = Arc::new(AtomicU16::new(0));
        }
        state.bytes.retain(|at, _| !inside.contains(at));
    }

    /// The `count` values of type `T` from `offset` on, a power of two.
    pub(crate) fn slots<T>(&self, offset: usize, count: u16) -> Slots<T> {
        let start = self.at(offset, usize::from(count) * size_of::<T>());
        Slots { start, mask: count - 1, memory: Arc::clone(&self.memory), of: PhantomData }
    }
}

/// A checked row of pages in a [`SharedMemory`], addressed by number and offset.
#[derive(Debug)]
pub(crate) struct Pages {
    start: usize,
    count: u32,
    memory: Arc<SharedMemory>,
}

impl Pages {
    /// The bytes of a page.
    pub(crate) fn bytes(&self, page: u32) -> PageBytes<'_> {
        assert!(page < self.count, "there is no such page");
        PageBytes { start: self.start + page as usize * PAGE_SIZE, of: self }
    }

    /// The region that the pages lie in.
    pub(crate) fn memory(&self) -> &Arc<SharedMemory> {
        &self.memory
    }
}

/// The bytes of a page that there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageBytes<'a> {
    start: usize,
    of: &'a Pages,
}

impl PageBytes<'_> {
    fn at(&self, offset: usize, len: usize) -> usize {
        assert!(offset + len <= PAGE_SIZE, "an access would leave the page");
        self.start + offset
    }

    /// Copies the plain value that the page begins with out.
    pub(crate) fn read_start<T: FromBytes + IntoBytes>(&self) -> T {
        let mut value = T::new_zeroed();
        self.of.memory.copy_out(self.at(0, size_of::<T>()), value.as_mut_bytes());
        value
    }

    /// Copies bytes out, from `offset` on.
    pub(crate) fn read_into(&self, offset: usize, bytes: &mut [u8]) {
        self.of.memory.copy_out(self.at(offset, bytes.len()), bytes);
    }
}

/// A checked array of 2^n values in a [`SharedMemory`], addressed by free-running index.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    start: usize,
    mask: u16,
    memory: Arc<SharedMemory>,
    of: PhantomData<T>,
}

impl<T> Slots<T> {
    fn slot(&self, index: u16) -> usize {
        self.start + usize::from(index & self.mask) * size_of::<T>()
    }
}

impl<T: FromBytes + IntoBytes + Immutable> Slots<T> {
    /// Copies a value out.
    pub(crate) fn read(&self, index: u16) -> T {
        let mut value = T::new_zeroed();
        self.memory.copy_out(self.slot(index), value.as_mut_bytes());
        value
    }

    /// Copies a value in.
    pub(crate) fn write(&self, index: u16, value: T) {
        self.memory.copy_in(self.slot(index), value.as_bytes());
    }
}

impl Slots<u16> {
    /// Loads a ring word.
    pub(crate) fn load(&self, index: u16) -> u16 {
        self.memory.word(self.slot(index)).load(Ordering::Relaxed)
    }

    /// Stores a ring word.
    pub(crate) fn store(&self, index: u16, value: u16) {
        self.memory.word(self.slot(index)).store(value, Ordering::Relaxed);
    }
}
