//! The receive queue's own pages: a LIFO linked through the pages' private words.
//!
//! ```text
//!   pool.head ─► p7 ─► p3 ─► p9            give_pages(a ─► b ─► c):
//!                                          pool.head ─► a ─► b ─► c ─► p7 ─► p3 ─► p9
//! ```
//!
//! Giving a chain costs the same however long it is: one link is written.

use std::mem;
use std::sync::Arc;

use super::arena::{ArenaId, Page, PageArena};
use super::free_list::{NIL, Pushed};

/// Pages linked through their private words, owned by whoever has this token.
#[must_use = "pages that are not given back are lost"]
#[derive(Debug, Default)]
pub struct PageChain {
    /// First page, last page, number of pages, owner; `None` when there is no page.
    pages: Option<(u32, u32, u32, ArenaId)>,
}

impl PageChain {
    /// A chain without pages.
    pub const fn new() -> Self {
        Self { pages: None }
    }

    /// Number of pages.
    pub fn len(&self) -> usize {
        self.pages.map_or(0, |(_, _, len, _)| len as usize)
    }

    /// Whether there is no page.
    pub fn is_empty(&self) -> bool {
        self.pages.is_none()
    }

    /// Appends a page of `arena`.
    #[inline]
    pub fn push(&mut self, page: Page, arena: &PageArena) {
        let index = arena.own(page);
        arena.set_link(index, NIL);
        self.sew(index, index, 1, arena);
    }

    /// Pages that are linked from `first` to `last`.
    #[inline]
    pub(super) fn from_list(first: u32, last: u32, len: u32, arena: &PageArena) -> Self {
        arena.set_link(last, NIL);
        Self { pages: Some((first, last, len, arena.id())) }
    }

    /// Appends all pages of another chain, in their order.
    pub fn append(&mut self, other: Self, arena: &PageArena) {
        if let Some((first, last, len)) = other.into_list(arena) {
            self.sew(first, last, len, arena);
        }
    }

    #[inline]
    fn sew(&mut self, first: u32, last: u32, len: u32, arena: &PageArena) {
        self.pages = Some(match self.pages {
            None => (first, last, len, arena.id()),
            Some((head, tail, n, owner)) => {
                arena.check(owner);
                arena.set_link(tail, first);
                (head, last, n + len, owner)
            }
        });
    }

    /// Takes the first page.
    #[inline]
    pub fn pop(&mut self, arena: &PageArena) -> Option<Page> {
        let (first, last, len, owner) = self.pages?;
        arena.check(owner);
        self.pages = (len > 1).then(|| (arena.link(first), last, len - 1, owner));
        Some(Page::from_parts(first, owner))
    }

    /// The numbers of the pages, first to last.
    pub fn indices<'a>(&self, arena: &'a PageArena) -> impl Iterator<Item = u32> + use<'a> {
        let (first, len) = self.pages.map_or((NIL, 0), |(first, _, len, _)| (first, len));
        std::iter::successors(Some(first), |&page| Some(arena.link(page))).take(len as usize)
    }

    /// Ends the token's life: first page, last page, number of pages.
    pub(super) fn into_list(mut self, arena: &PageArena) -> Option<(u32, u32, u32)> {
        let (first, last, len, owner) = self.pages.take()?;
        arena.check(owner);
        Some((first, last, len))
    }
}

/// A chain that grows at its front, at hand while it does.
#[must_use = "pages that are not given back are lost"]
pub(crate) struct ChainFront<'a> {
    arena: &'a PageArena,
    first: u32,
    last: u32,
    len: u32,
}

impl<'a> ChainFront<'a> {
    /// A chain of pages of `arena`, without any yet.
    #[inline]
    pub(crate) fn new(arena: &'a PageArena) -> Self {
        Self { arena, first: NIL, last: NIL, len: 0 }
    }

    /// Puts a page in front, which is known to be the arena's: it comes from an skb of the queue's.
    #[inline(always)]
    pub(crate) fn push(&mut self, page: Page) {
        let page = self.arena.known(page);
        self.arena.set_link(page, self.first);
        if self.len == 0 {
            self.last = page;
        }
        (self.first, self.len) = (page, self.len + 1);
    }

    /// Puts every page back into the arena, in one step.
    #[inline]
    pub(crate) fn put_pages(self) -> Option<Pushed> {
        let (arena, first, last, len) = (self.arena, self.first, self.last, self.len);
        mem::forget(self);
        (len > 0).then(|| arena.put_list(first, last, len))
    }
}

#[cfg(debug_assertions)]
impl Drop for ChainFront<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            debug_assert!(self.len == 0, "{} pages were dropped, not given back", self.len);
        }
    }
}

#[cfg(debug_assertions)]
impl Drop for PageChain {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            debug_assert!(self.is_empty(), "{} pages were dropped, not given back", self.len());
        }
    }
}

/// The pool of one receive queue (`vi->pages`; RECEIVE.md, section 2).
///
/// Its pages go back to the arena when it is dropped.
#[derive(Debug)]
pub struct PagePool {
    head: u32,
    arena: Arc<PageArena>,
    gets: u64,
    gives: u64,
    /// Pages put back by [`drain`](Self::drain).
    drained: u64,
    /// What the queue has put into the arena since the last [`draw`](Self::draw).
    pushed: Option<Pushed>,
}

impl PagePool {
    /// An empty pool over `arena`.
    pub fn new(arena: Arc<PageArena>) -> Self {
        Self { head: NIL, arena, gets: 0, gives: 0, drained: 0, pushed: None }
    }

    /// Sews a whole chain, in its own order, in front of the pool.
    ///
    /// # Panics
    /// When the chain's pages belong to another arena, a mistake of the caller.
    #[inline]
    pub fn give_pages(&mut self, chain: PageChain) {
        if let Some((first, last, len)) = chain.into_list(&self.arena) {
            self.sew(first, last, len);
        }
    }

    /// Gives one page: a chain of one.
    ///
    /// # Panics
    /// As for [`give_pages`](Self::give_pages).
    #[inline]
    pub fn give_page(&mut self, page: Page) {
        let page = self.arena.own(page);
        self.sew(page, page, 1);
    }

    /// Gives a page that is known to be the arena's: one that a buffer of the queue's was made of.
    #[inline(always)]
    pub(crate) fn give_back(&mut self, page: Page) {
        let page = self.arena.known(page);
        self.sew(page, page, 1);
    }

    #[inline]
    fn sew(&mut self, first: u32, last: u32, len: u32) {
        self.arena.set_link(last, self.head);
        self.head = first;
        self.gives += u64::from(len);
    }

    /// Takes the head and clears its link; an empty pool falls through to
    /// [`PageArena::alloc_page`].
    #[inline]
    pub fn get_a_page(&mut self) -> Option<Page> {
        if self.head == NIL {
            return self.arena.alloc_page();
        }
        self.gets += 1;
        Some(self.pop())
    }

    /// Takes `n` pages, as so many calls of [`get_a_page`](Self::get_a_page) would, as one chain.
    /// If there are not so many, those taken go back as one chain.
    pub fn get_pages(&mut self, n: usize) -> Option<PageChain> {
        self.draw(0).get_pages(n)
    }

    /// Starts taking a batch of pages, `from_arena` of which will come from the arena, if it has
    /// them: these are allocated at once.
    #[inline]
    pub(crate) fn draw(&mut self, from_arena: usize) -> Draw<'_> {
        let (mut reserve, mut reserved) = (NIL, 0);
        let pushed = self.pushed.take();
        if from_arena > 1 {
            let most = u32::try_from(from_arena).unwrap_or(u32::MAX);
            if let Some((first, last, len)) = self.arena.alloc_list(most, pushed) {
                self.arena.set_link(last, NIL);
                (reserve, reserved) = (first, len);
            }
        }
        Draw { head: self.head, gets: 0, reserve, reserved, pool: self }
    }

    /// Gives every page of a chain by itself, first page first: the last ends on top.
    ///
    /// # Panics
    /// As for [`give_pages`](Self::give_pages).
    pub fn give_each(&mut self, chain: PageChain) {
        let Some((mut page, _, len)) = chain.into_list(&self.arena) else { return };
        for _ in 0..len {
            let next = self.arena.link(page);
            self.sew(page, page, 1);
            page = next;
        }
    }

    /// Clears the link of a page; returns what it was.
    #[inline]
    fn unlink(&self, page: u32) -> u32 {
        let next = self.arena.link(page);
        self.arena.set_link(page, NIL);
        next
    }

    /// Takes the head, which there must be.
    #[inline]
    fn pop(&mut self) -> Page {
        let page = self.head;
        self.head = self.unlink(page);
        self.arena.page(page)
    }

    /// Puts every page of the pool back into the arena.
    pub fn drain(&mut self) {
        let mut chain = PageChain::new();
        while self.head != NIL {
            let page = self.pop();
            self.drained += 1;
            chain.push(page, &self.arena);
        }
        self.arena.put_pages(chain);
    }

    /// Puts the pages of released packets into the arena, whence the next draw may take them.
    #[inline]
    pub(crate) fn release(&mut self, pages: ChainFront<'_>) {
        self.pushed = pages.put_pages();
    }

    /// Puts pages back that were allocated ahead and not needed after all.
    #[cold]
    fn put_back(&mut self, mut first: u32, len: u32) {
        let chain = cut(&self.arena, &mut first, len as usize);
        self.arena.put_pages(chain);
    }

    /// Number of pages in the pool.
    #[inline]
    pub fn len(&self) -> usize {
        (self.gives - self.gets - self.drained) as usize
    }

    /// Whether the pool has no page.
    pub fn is_empty(&self) -> bool {
        self.head == NIL
    }

    /// The numbers of the pages, in the order in which they would be taken.
    pub fn indices(&self) -> impl Iterator<Item = u32> + '_ {
        let links = std::iter::successors(Some(self.head), |&page| Some(self.arena.link(page)));
        links.take(self.len())
    }

    /// Pages taken from the pool so far; a get that fell through to the arena does not count.
    pub fn gets(&self) -> u64 {
        self.gets
    }

    /// Pages given to the pool so far.
    pub fn gives(&self) -> u64 {
        self.gives
    }

    /// The arena behind the pool.
    pub fn arena(&self) -> &Arc<PageArena> {
        &self.arena
    }
}

/// A batch of pages being taken: what moves with each is at hand, and goes back to the pool at the
/// end.
pub(crate) struct Draw<'a> {
    pool: &'a mut PagePool,
    head: u32,
    gets: u32,
    /// First of the pages that were allocated ahead, which are linked, and how many they are.
    reserve: u32,
    reserved: u32,
}

impl Draw<'_> {
    /// The arena behind the pool.
    pub(crate) fn arena(&self) -> &PageArena {
        &self.pool.arena
    }

    /// See [`PagePool::get_a_page`]. The link is left as it is: a page that is on no list has none.
    #[inline(always)]
    pub(crate) fn get_a_page(&mut self) -> Option<Page> {
        let page = self.head;
        if page == NIL {
            return self.alloc_page();
        }
        self.head = self.pool.arena.link(page);
        self.gets += 1;
        Some(self.pool.arena.page(page))
    }

    /// Takes a page from the arena.
    #[inline(always)]
    pub(crate) fn alloc_page(&mut self) -> Option<Page> {
        let page = self.reserve;
        if page == NIL {
            return self.pool.arena.alloc_page();
        }
        self.reserve = self.pool.arena.link(page);
        self.reserved -= 1;
        Some(self.pool.arena.page(page))
    }

    /// See [`PagePool::get_pages`].
    pub(crate) fn get_pages(&mut self, n: usize) -> Option<PageChain> {
        let pooled = self.pool.len() - self.gets as usize;
        if n > 0 && n <= pooled {
            self.gets += n as u32;
            return Some(cut(&self.pool.arena, &mut self.head, n));
        }
        if n > 0 && pooled == 0 && n <= self.reserved as usize {
            self.reserved -= n as u32;
            return Some(cut(&self.pool.arena, &mut self.reserve, n));
        }
        let mut chain = PageChain::new();
        for _ in 0..n {
            let Some(page) = self.get_a_page() else {
                self.give_pages(chain);
                return None;
            };
            chain.push(page, &self.pool.arena);
        }
        Some(chain)
    }

    /// See [`PagePool::give_pages`].
    fn give_pages(&mut self, chain: PageChain) {
        self.pool.head = self.head;
        self.pool.give_pages(chain);
        self.head = self.pool.head;
    }
}

impl Drop for Draw<'_> {
    #[inline]
    fn drop(&mut self) {
        self.pool.head = self.head;
        self.pool.gets += u64::from(self.gets);
        if self.reserved > 0 {
            self.pool.put_back(self.reserve, self.reserved);
        }
    }
}

/// Cuts off the first `n` pages, which there must be, of the list that starts at `head`.
fn cut(arena: &PageArena, head: &mut u32, n: usize) -> PageChain {
    let (first, mut last) = (*head, *head);
    for _ in 1..n {
        last = arena.link(last);
    }
    *head = arena.link(last);
    PageChain::from_list(first, last, n as u32, arena)
}

impl Drop for PagePool {
    fn drop(&mut self) {
        self.drain();
    }
}
