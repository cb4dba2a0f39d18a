//! What differs between modes and strategies, and what they draw on.
//!
//! The queue's drain loop is one and generic; a [`Policy`] says what a buffer is made of and what a
//! completion becomes. There are five: small, and big and mergeable in either strategy.

use std::sync::Arc;

use super::config::RxConfig;
use super::skb::{Packet, Skb};
use super::verdict::data_offset;
use crate::memory::{Page, PageArena, PageChain, PagePool, Slab, Slot};
use crate::ring::split::SplitDriver;
use crate::ring::{Completion, Head, Segment};
use crate::virtio::HeaderBytes;

/// Where buffers and packets come from and go back to.
#[derive(Debug)]
pub(crate) struct Supply {
    pub arena: Arc<PageArena>,
    pub pool: PagePool,
    pub skbs: Slab<Skb>,
    pub bytes_copied: u64,
}

impl Supply {
    pub(crate) fn new(arena: Arc<PageArena>, max_frags: u16) -> Self {
        let of_skbs = Arc::clone(&arena);
        Self {
            pool: PagePool::new(Arc::clone(&arena)),
            skbs: Slab::new(move || Skb::new(Arc::clone(&of_skbs), max_frags)),
            arena,
            bytes_copied: 0,
        }
    }

    /// Takes `n` pages from the pool. If there are not so many, those taken go back as one chain.
    pub(crate) fn get_pages(&mut self, n: usize) -> Option<PageChain> {
        let mut chain = PageChain::new();
        for _ in 0..n {
            let Some(page) = self.pool.get_a_page() else {
                self.give(chain);
                return None;
            };
            chain.push(page, &self.arena);
        }
        Some(chain)
    }

    /// An skb with a linear part: 1518 bytes of a page from the arena, at `offset`. One allocation,
    /// which fails as a whole.
    pub(crate) fn linear_skb(&mut self, offset: usize) -> Option<Slot<Skb>> {
        let mut skb = self.skbs.alloc()?;
        let Some(page) = self.arena.alloc_page() else {
            self.skbs.cancel(skb);
            return None;
        };
        skb.set_linear(page, offset);
        Some(skb)
    }

    /// Gives a chain to the pool, if there is anything on it.
    #[inline]
    pub(crate) fn give(&mut self, chain: PageChain) {
        // An empty chain may be dropped.
        if !chain.is_empty() {
            self.pool.give_pages(chain);
        }
    }

    /// Copies a packet's first bytes into its skb's private head; returns how many.
    #[inline]
    pub(crate) fn copy_head(
        &mut self,
        skb: &mut Skb,
        page: &Page,
        offset: usize,
        len: usize,
    ) -> usize {
        let copied = skb.copy_head(page, offset, len);
        self.bytes_copied += copied as u64;
        copied
    }

    /// Makes a packet's first mergeable buffer, `len` bytes at `offset` of `page`, the skb's: what
    /// fits into the private head is copied, what is left is frag 0, a fully copied page goes to
    /// the pool.
    #[inline(always)]
    pub(crate) fn first_buffer(&mut self, skb: &mut Skb, page: Page, offset: usize, len: usize) {
        let copied = self.copy_head(skb, &page, offset, len);
        if len > copied {
            skb.push_frag(page, offset + copied, len - copied);
        } else {
            self.pool.give_page(page);
        }
    }
}

/// What a policy needs to know of the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// h, bytes of the virtio-net header.
    pub header_len: usize,
    /// Where packet data starts in a small or big buffer's first page.
    pub data_offset: usize,
    /// F.
    pub max_frags: usize,
    pub ring_size: usize,
}

impl Shape {
    pub(crate) fn new(config: &RxConfig) -> Self {
        Self {
            header_len: config.features.header_len(),
            data_offset: data_offset(config.dialect()),
            max_frags: usize::from(config.max_frags),
            ring_size: config.ring_size as usize,
        }
    }
}

/// The completions of one packet, first buffer first. Taking one consumes it from the ring.
pub(crate) struct Completions<'a, B> {
    ring: &'a mut SplitDriver<B>,
    entries: std::slice::Iter<'a, Completion>,
}

impl<'a, B> Completions<'a, B> {
    pub(crate) fn new(ring: &'a mut SplitDriver<B>, entries: &'a [Completion]) -> Self {
        Self { ring, entries: entries.iter() }
    }
}

/// Yields each buffer's head, the buffer, and the bytes the device wrote into it (judged).
impl<B> Iterator for Completions<'_, B> {
    type Item = (Head, B, usize);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entries.next()?;
        let buffer = self.ring.take(entry.head)?;
        Some((entry.head, buffer, entry.len as usize))
    }
}

/// One mode in one strategy.
pub(crate) trait Policy {
    /// What the driver keeps of a posted buffer.
    type Buffer: std::fmt::Debug;

    fn new(config: &RxConfig) -> Self;

    /// Makes a buffer. `None` when memory ran out; everything taken has gone back then.
    fn make(&mut self, supply: &mut Supply) -> Option<Self::Buffer>;

    /// The segments of the buffer that was made last.
    fn segments(&self) -> &[Segment];

    /// The buffer has been posted as `head`.
    #[inline]
    fn posted(&mut self, _head: Head) {}

    /// The page at whose start the device writes the virtio-net header.
    fn header_page<'b>(&self, buffer: &'b Self::Buffer) -> Option<&'b Page>;

    /// Makes the packet out of its buffers. `None` when no skb could be had; nothing has been
    /// consumed then (R10).
    fn deliver(
        &mut self,
        supply: &mut Supply,
        header: HeaderBytes,
        completions: &mut Completions<'_, Self::Buffer>,
    ) -> Option<Packet>;

    /// Takes the buffer posted as `head` apart, which becomes no packet: its pages are appended to
    /// `chain`, its skb is freed, a linear page goes to the arena.
    fn discard(
        &mut self,
        supply: &mut Supply,
        head: Head,
        buffer: Self::Buffer,
        chain: &mut PageChain,
    );

    /// The numbers of the pages that a buffer holds, first page first.
    fn pages(&self, arena: &PageArena, buffer: &Self::Buffer) -> impl Iterator<Item = u32>;
}
