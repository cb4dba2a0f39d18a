//! The receive queue's own pages: a LIFO linked through the pages' private words.
//!
//! ```text
//!   pool.head ─► p7 ─► p3 ─► p9            give_pages(a ─► b ─► c):
//!                                          pool.head ─► a ─► b ─► c ─► p7 ─► p3 ─► p9
//! ```
//!
//! Giving a chain costs the same however long it is: one link is written.

use std::sync::Arc;

use super::arena::{ArenaId, Page, PageArena};
use super::free_list::NIL;

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

    /// Puts pages of `arena` in front, `first` and then as many as `more` has; the last of them
    /// ends as the first.
    #[inline]
    pub fn push_front(
        &mut self,
        first: Page,
        mut more: impl FnMut() -> Option<Page>,
        arena: &PageArena,
    ) {
        let mut front = arena.own(first);
        let (last, mut len) = match self.pages {
            None => {
                arena.set_link(front, NIL);
                (front, 1)
            }
            Some((behind, last, len, owner)) => {
                arena.check(owner);
                arena.set_link(front, behind);
                (last, len + 1)
            }
        };
        while let Some(page) = more() {
            let page = arena.own(page);
            arena.set_link(page, front);
            (front, len) = (page, len + 1);
        }
        self.pages = Some((front, last, len, arena.id()));
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
    /// First of the linked pages that were allocated ahead for the refill at hand, and how many
    /// they are; none otherwise.
    reserve: u32,
    reserved: u32,
}

impl PagePool {
    /// An empty pool over `arena`.
    pub fn new(arena: Arc<PageArena>) -> Self {
        Self { head: NIL, arena, gets: 0, gives: 0, drained: 0, reserve: NIL, reserved: 0 }
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
        let (page, arena) = page.into_parts();
        debug_assert!(arena == self.arena.id());
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
    #[inline(always)]
    pub fn get_a_page(&mut self) -> Option<Page> {
        let page = self.head;
        if page == NIL {
            return self.alloc_page();
        }
        self.gets += 1;
        self.head = self.unlink(page);
        Some(Page::from_parts(page, self.arena.id()))
    }

    /// Takes `n` pages, as so many calls of [`get_a_page`](Self::get_a_page) would, as one chain.
    /// If there are not so many, those taken go back as one chain.
    pub fn get_pages(&mut self, n: usize) -> Option<PageChain> {
        if n > 0 && n <= self.len() {
            self.gets += n as u64;
            return Some(Self::cut(&self.arena, &mut self.head, n));
        }
        if n > 0 && self.head == NIL && n <= self.reserved as usize {
            self.reserved -= n as u32;
            return Some(Self::cut(&self.arena, &mut self.reserve, n));
        }
        let mut chain = PageChain::new();
        for _ in 0..n {
            let Some(page) = self.get_a_page() else {
                self.give_pages(chain);
                return None;
            };
            chain.push(page, &self.arena);
        }
        Some(chain)
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

    /// Readies up to `n` pages of the arena, taken in one step, for
    /// [`alloc_page`](Self::alloc_page). Only for who will allocate so many at once: what is left
    /// over is not free for others.
    pub(crate) fn reserve(&mut self, n: usize) {
        debug_assert!(self.reserve == NIL, "the last reserve was not used up");
        if n > 1 {
            let pages = self.arena.alloc_pages(u32::try_from(n).unwrap_or(u32::MAX));
            let pages = pages.into_list(&self.arena);
            (self.reserve, self.reserved) = pages.map_or((NIL, 0), |(first, _, len)| (first, len));
        }
    }

    /// Takes a page from the arena, by way of the reserve.
    #[inline(always)]
    pub(crate) fn alloc_page(&mut self) -> Option<Page> {
        let page = self.reserve;
        if page == NIL {
            return self.arena.alloc_page();
        }
        self.reserve = self.unlink(page);
        self.reserved -= 1;
        Some(Page::from_parts(page, self.arena.id()))
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
        Page::from_parts(page, self.arena.id())
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

impl Drop for PagePool {
    fn drop(&mut self) {
        self.drain();
    }
}
