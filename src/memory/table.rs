//! A private array whose length is a power of two, so that every index, masked, has a value.

use std::ops::{Index, IndexMut};

/// One value for each of at least so many ids or page numbers. An index is masked instead of
/// compared: whoever has an id that is in range, as all here have, pays for no branch.
#[derive(Debug)]
pub(crate) struct Table<T> {
    values: Box<[T]>,
    mask: u32,
}

impl<T> Table<T> {
    /// A table for the indices below `len`, at most 2^31, rounded up to a power of two; `value`
    /// makes them, those of the surplus too.
    pub(crate) fn new(len: u32, value: impl FnMut(u32) -> T) -> Self {
        let len = len.next_power_of_two();
        Self { values: (0..len).map(value).collect(), mask: len - 1 }
    }

    /// The value of an index that may be anything, if the table, surplus included, has one.
    #[inline(always)]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        // SAFETY: at most `mask`, and there are `mask + 1` values.
        (index <= self.mask).then(|| unsafe { self.values.get_unchecked(index as usize) })
    }

    /// The same, to be changed.
    #[inline(always)]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        if index > self.mask {
            return None;
        }
        // SAFETY: as above.
        Some(unsafe { self.values.get_unchecked_mut(index as usize) })
    }
}

impl<T> Index<u32> for Table<T> {
    type Output = T;
    #[inline(always)]
    fn index(&self, index: u32) -> &T {
        // SAFETY: a masked index is at most `mask`, and there are `mask + 1` values.
        unsafe { self.values.get_unchecked((index & self.mask) as usize) }
    }
}

impl<T> IndexMut<u32> for Table<T> {
    #[inline(always)]
    fn index_mut(&mut self, index: u32) -> &mut T {
        // SAFETY: as above.
        unsafe { self.values.get_unchecked_mut((index & self.mask) as usize) }
    }
}
