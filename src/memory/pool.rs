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
    len: usize,
    arena: Arc<PageArena>,
    gets: u64,
    gives: u64,
}

impl PagePool {
    /// An empty pool over `arena`.
    pub fn new(arena: Arc<PageArena>) -> Self {
        Self { head: NIL, len: 0, arena, gets: 0, gives: 0 }
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

    #[inline]
    fn sew(&mut self, first: u32, last: u32, len: u32) {
        self.arena.set_link(last, self.head);
        self.head = first;
        self.len += len as usize;
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

    /// Takes the head, which there must be.
    #[inline]
    fn pop(&mut self) -> Page {
        let page = self.head;
        self.head = self.arena.link(page);
        self.len -= 1;
        self.arena.set_link(page, NIL);
        Page::from_parts(page, self.arena.id())
    }

    /// Puts every page of the pool back into the arena.
    pub fn drain(&mut self) {
        let mut chain = PageChain::new();
        while self.head != NIL {
            let page = self.pop();
            chain.push(page, &self.arena);
        }
        self.arena.put_pages(chain);
    }

    /// Number of pages in the pool.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the pool has no page.
    pub fn is_empty(&self) -> bool {
        self.head == NIL
    }

    /// The numbers of the pages, in the order in which they would be taken.
    pub fn indices(&self) -> impl Iterator<Item = u32> + '_ {
        let links = std::iter::successors(Some(self.head), |&page| Some(self.arena.link(page)));
        links.take(self.len)
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
