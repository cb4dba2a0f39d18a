//! The lock-free list of free pages, and the private word of every page.
//!
//! ```text
//!   head: AtomicU64 = | tag (32) | first free page (32) |
//!                                        │ private[page]
//!                                        ▼
//!                                   next free page ──► ... ──► NIL
//! ```
//!
//! A Treiber stack of indices. Between a pop's load of `head` and its compare-exchange the first
//! page may be taken, used and put back, so that `head` names it again with another successor (the
//! ABA problem); the tag grows with every change of `head` and makes that compare-exchange fail.
//! (It would have to come round by exactly 2^32 changes within one pop to be fooled.)

use super::table::Table;
use crate::sync::{AtomicU32, AtomicU64, Ordering, Site, at, tag_step};

/// The end of a list of pages.
pub(super) const NIL: u32 = u32::MAX;

/// Free pages by number, and a private word for each page, free or not.
#[derive(Debug)]
pub struct FreeList {
    head: AtomicU64,
    private: Table<AtomicU32>,
    len: u32,
}

/// What a push left behind: while the head is still this, tag and all, the list begins with the pages
/// that were pushed, and nobody needs to walk along them.
#[derive(Clone, Copy, Debug)]
pub struct Pushed {
    head: u64,
    last: u32,
    len: u32,
}

impl FreeList {
    /// A list on which pages 0 to `count` - 1 are free, 0 the first to be taken.
    pub fn full(count: u32) -> Self {
        let word = |page| AtomicU32::new(if page + 1 < count { page + 1 } else { NIL });
        let first = if count > 0 { 0 } else { NIL };
        let head = AtomicU64::new(u64::from(first));
        Self { head, private: Table::new(count, word), len: count }
    }

    /// Number of pages, free or not.
    #[allow(clippy::len_without_is_empty, reason = "it is the number of words, not of free pages")]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Takes a page.
    #[inline]
    pub fn pop(&self) -> Option<u32> {
        self.pop_many(1, None).map(|(page, _, _)| page)
    }

    /// Takes up to `most` pages in one step: the first, the last, to which the others are linked in
    /// the order in which single pops would have taken them, and how many. `None` if there is none.
    ///
    /// `pushed` is what the caller's last push left, if that was a moment ago: the older, the nearer
    /// comes a tag that has been all the way round.
    #[inline]
    pub fn pop_many(&self, most: u32, pushed: Option<Pushed>) -> Option<(u32, u32, u32)> {
        // Acquire, here and on failure: the word of the page that `head` names was written before
        // the Release that put it there. (So were the words behind it: each push of a page is
        // followed by nothing but read-modify-writes, which carry its Release on.)
        let mut head = self.head.load(at(Site::Pop, Ordering::Acquire));
        loop {
            let first = head as u32;
            if first == NIL || most == 0 {
                return None;
            }
            // These words may be stale or foreign if another thread took a page meanwhile; then the
            // tag has moved on and the exchange fails. Each is a page's number or NIL all the same.
            let (mut last, mut count) = match pushed {
                Some(pushed) if pushed.head == head && pushed.len <= most => {
                    (pushed.last, pushed.len)
                }
                _ => (first, 1),
            };
            let mut rest = self.link(last);
            while count < most && rest != NIL {
                (last, rest) = (rest, self.link(rest));
                count += 1;
            }
            // Relaxed on success: nothing is published, and the Acquire that read this very value
            // has already been done. As a read-modify-write it carries on earlier Releases.
            match self.head.compare_exchange_weak(
                head,
                retag(head, rest),
                Ordering::Relaxed,
                at(Site::PopAgain, Ordering::Acquire),
            ) {
                Ok(_) => return Some((first, last, count)),
                Err(now) => head = now,
            }
        }
    }

    /// Puts `len` pages back that are linked from `first` to `last`; `first` will be taken next.
    #[inline]
    pub fn push(&self, first: u32, last: u32, len: u32) -> Pushed {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            self.set_link(last, head as u32);
            let pushed = retag(head, first);
            // Release: publishes the links just written, and our last use of the pages' bytes, to
            // whoever takes them next.
            match self.head.compare_exchange_weak(
                head,
                pushed,
                at(Site::Push, Ordering::Release),
                Ordering::Relaxed,
            ) {
                Ok(_) => return Pushed { head: pushed, last, len },
                Err(now) => head = now,
            }
        }
    }

    /// The private word of a page: its successor on the list that holds it.
    ///
    /// Relaxed: whoever walks a list owns it, or (in `pop`) is told by the tag.
    #[inline]
    pub fn link(&self, page: u32) -> u32 {
        self.private[page].load(Ordering::Relaxed)
    }

    /// Sets the private word of a page that the caller owns.
    #[inline]
    pub fn set_link(&self, page: u32, next: u32) {
        self.private[page].store(next, Ordering::Relaxed);
    }

    /// The free pages in the order in which they would be taken; exact while nobody else takes or
    /// puts. Never takes more than [`len`](Self::len) steps.
    pub fn free(&self) -> Vec<u32> {
        let mut page = self.head.load(Ordering::Acquire) as u32;
        let mut free = Vec::new();
        while page != NIL && free.len() < self.len() {
            free.push(page);
            page = self.link(page);
        }
        free
    }
}

/// `head` with its tag moved on and naming `page`.
#[inline]
fn retag(head: u64, page: u32) -> u64 {
    ((head >> 32).wrapping_add(tag_step(Site::Tag)) << 32) | u64::from(page)
}
