//! The page allocator: N device-visible pages on a lock-free free list.

use std::fmt;
use std::mem;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32 as SerialNumber, AtomicU64, Ordering};

use super::PAGE_SIZE;
use super::address::{GUEST_BASE, MemoryError, OutOfRange};
use super::failure::FailPlan;
use super::free_list::{FreeList, NIL, Pushed};
use super::pool::PageChain;
use super::ring_area::{RING_ROOM, RingSpace};
use super::shared::{PageBytes, Pages, SharedMemory};

/// Tells pages of different arenas apart.
pub(super) type ArenaId = NonZeroU32;

/// One page, owned by whoever has this token.
///
/// It goes back with [`PageArena::put_page`] or, on a [`PageChain`], with
/// [`PagePool::give_pages`](super::PagePool::give_pages).
#[must_use = "a page that is not given back is lost"]
#[derive(PartialEq, Eq)]
pub struct Page {
    /// The arena's id in the upper half, the page's number in the lower: one word, to be moved at
    /// once.
    bits: NonZeroU64,
}

impl Page {
    #[inline]
    pub(super) fn from_parts(index: u32, arena: ArenaId) -> Self {
        Self { bits: in_upper_half(arena) | u64::from(index) }
    }

    /// The page's number in its arena, from 0.
    #[inline]
    pub fn index(&self) -> u32 {
        self.bits.get() as u32
    }

    fn arena(&self) -> u32 {
        (self.bits.get() >> 32) as u32
    }

    /// Ends the token's life; the caller answers for the page.
    #[inline]
    pub(super) fn into_index(self) -> u32 {
        let index = self.index();
        mem::forget(self);
        index
    }
}

#[inline]
fn in_upper_half(arena: ArenaId) -> NonZeroU64 {
    // The id is not 0; said so, nothing is checked when this is compiled.
    NonZeroU64::new(u64::from(arena.get()) << 32).unwrap_or(NonZeroU64::MIN)
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").field("index", &self.index()).field("arena", &self.arena()).finish()
    }
}

#[cfg(debug_assertions)]
impl Drop for Page {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            debug_assert!(false, "page {} was dropped instead of given back", self.index());
        }
    }
}

/// N pages of shared memory, and room for rings in front of them; stands for the kernel's page
/// allocator (RECEIVE.md, section 2).
///
/// `alloc_page` and `put_page` are lock-free and may be called from any thread.
#[derive(Debug)]
pub struct PageArena {
    list: FreeList,
    id: ArenaId,
    pages: Pages,
    first_page: u64,
    allocs: AtomicU64,
    frees: AtomicU64,
    failures: FailPlan,
    rings: RingSpace,
}

const NOT_OURS: &str = "a page was given to an arena that it does not belong to";

/// The most pages there can be: a table of them has a power of two.
const MAX_PAGES: u32 = 1 << 31;
const _: () = assert!(MAX_PAGES < NIL);

/// Why an arena could not be made.
fn too_many(pages: usize) -> MemoryError {
    MemoryError::Length((pages as u64).saturating_mul(PAGE_SIZE as u64))
}

impl PageArena {
    /// An arena of `pages` pages, all free; page 0 is handed out first.
    ///
    /// # Errors
    /// [`MemoryError`] when `pages` is 0, more than 2^31, or does not fit into memory.
    pub fn new(pages: usize) -> Result<Arc<Self>, MemoryError> {
        static SERIAL: SerialNumber = SerialNumber::new(1);
        let count = u32::try_from(pages).ok().filter(|n| (1..=MAX_PAGES).contains(n));
        let count = count.ok_or_else(|| too_many(pages))?;
        let len = pages.checked_mul(PAGE_SIZE).and_then(|n| n.checked_add(RING_ROOM));
        let memory = SharedMemory::new(len.ok_or_else(|| too_many(pages))?)?;
        let first_page = GUEST_BASE + RING_ROOM as u64;
        let view = memory.pages(first_page, count);
        let view = view.map_err(|_: OutOfRange| too_many(pages))?;
        // 0 comes up after four thousand million arenas; a fixed stand-in is as good as any other.
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Self {
            list: FreeList::full(count),
            id: NonZeroU32::new(serial).unwrap_or(NonZeroU32::MAX),
            pages: view,
            first_page,
            allocs: AtomicU64::new(0),
            frees: AtomicU64::new(0),
            failures: FailPlan::default(),
            rings: RingSpace::default(),
        }))
    }

    /// Takes a page; `None` when no page is free or an injected failure strikes.
    #[inline(never)]
    pub fn alloc_page(&self) -> Option<Page> {
        if self.failures.strikes() {
            return None;
        }
        let page = self.list.pop()?;
        self.allocs.fetch_add(1, Ordering::Relaxed);
        Some(self.page(page))
    }

    /// Takes up to `most` pages in one step, as so many calls of [`alloc_page`](Self::alloc_page)
    /// would; fewer when fewer are free. While an injected failure is planned it takes none: a
    /// failure strikes a single allocation.
    pub fn alloc_pages(&self, most: u32) -> PageChain {
        self.alloc_list(most, None).map_or(PageChain::new(), |(first, last, len)| {
            PageChain::from_list(first, last, len, self)
        })
    }

    /// The same: first page, last page, number of pages.
    pub(super) fn alloc_list(&self, most: u32, pushed: Option<Pushed>) -> Option<(u32, u32, u32)> {
        if self.failures.is_armed() {
            return None;
        }
        let list = self.list.pop_many(most, pushed)?;
        self.allocs.fetch_add(u64::from(list.2), Ordering::Relaxed);
        Some(list)
    }

    /// Puts a page back.
    ///
    /// # Panics
    /// When the page belongs to another arena, a mistake of the caller.
    pub fn put_page(&self, page: Page) {
        let index = self.own(page);
        self.put_list(index, index, 1);
    }

    /// Puts every page of a chain back in one step; the chain's first page is handed out next.
    ///
    /// # Panics
    /// When the chain's pages belong to another arena, a mistake of the caller.
    pub fn put_pages(&self, chain: PageChain) {
        if let Some((first, last, len)) = chain.into_list(self) {
            self.put_list(first, last, len);
        }
    }

    pub(super) fn put_list(&self, first: u32, last: u32, len: u32) -> Pushed {
        self.frees.fetch_add(u64::from(len), Ordering::Relaxed);
        self.list.push(first, last, len)
    }

    /// The token of a page that the caller answers for.
    #[inline]
    pub(super) fn page(&self, index: u32) -> Page {
        Page::from_parts(index, self.id)
    }

    /// The page's number, once it is clear that it is one of ours.
    #[inline]
    pub(super) fn own(&self, page: Page) -> u32 {
        assert!(page.arena() == self.id.get(), "{NOT_OURS}");
        page.into_index()
    }

    /// The number of a page that is known to be one of ours.
    #[inline]
    pub(super) fn known(&self, page: Page) -> u32 {
        if cfg!(debug_assertions) { self.own(page) } else { page.into_index() }
    }

    #[inline]
    pub(super) fn check(&self, arena: ArenaId) {
        assert!(arena == self.id, "{NOT_OURS}");
    }

    #[inline]
    pub(super) fn id(&self) -> ArenaId {
        self.id
    }

    /// The private word of a page: its successor on the list that holds it.
    #[inline]
    pub(super) fn link(&self, page: u32) -> u32 {
        self.list.link(page)
    }

    #[inline]
    pub(super) fn set_link(&self, page: u32, next: u32) {
        self.list.set_link(page, next);
    }

    /// Makes chosen allocations fail: lets `skip` further ones through, then fails `count`.
    pub fn fail_allocs(&self, skip: u64, count: u64) {
        self.failures.set(skip, count);
    }

    /// Number of pages in the arena.
    #[allow(clippy::len_without_is_empty, reason = "an arena is never without pages")]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Pages that were free at some moment of the call.
    pub fn free(&self) -> usize {
        let allocs = self.allocs.load(Ordering::Relaxed);
        let frees = self.frees.load(Ordering::Relaxed);
        (self.list.len() as u64).saturating_add(frees).saturating_sub(allocs) as usize
    }

    /// Pages handed out so far (`page_allocs`).
    pub fn page_allocs(&self) -> u64 {
        self.allocs.load(Ordering::Relaxed)
    }

    /// Pages put back so far (`page_frees`).
    pub fn page_frees(&self) -> u64 {
        self.frees.load(Ordering::Relaxed)
    }

    /// The numbers of the free pages in the order in which they would be handed out.
    ///
    /// For tests: exact while no other thread allocates or frees. It never takes more than
    /// [`len`](Self::len) steps.
    pub fn free_pages(&self) -> Vec<u32> {
        self.list.free()
    }

    /// Guest address of a page.
    #[inline]
    pub fn address(&self, page: &Page) -> u64 {
        self.first_page + u64::from(page.index()) * PAGE_SIZE as u64
    }

    /// Guest address of page number `index`, whoever owns it.
    pub fn address_of(&self, index: u32) -> u64 {
        self.first_page + u64::from(index) * PAGE_SIZE as u64
    }

    /// The shared memory that the pages and the rings lie in.
    pub fn memory(&self) -> &Arc<SharedMemory> {
        self.pages.memory()
    }

    /// The bytes of a page.
    #[inline]
    pub(crate) fn bytes(&self, page: &Page) -> PageBytes<'_> {
        self.pages.bytes(page.index())
    }

    /// A pointer to `len` bytes of a page, for those that export a view of it.
    #[cfg(feature = "python")]
    pub(crate) fn pointer(&self, page: &Page, offset: usize, len: usize) -> *const u8 {
        self.pages.pointer(page.index(), offset, len)
    }

    pub(super) fn ring_space(&self) -> &RingSpace {
        &self.rings
    }
}
