//! What differs between modes and strategies, and what they draw on.
//!
//! The queue's drain loop is one and generic; a [`Policy`] says what a buffer is made of and what a
//! completion becomes. There are five: small, and big and mergeable in either strategy.

use std::sync::Arc;

use super::config::{MAX_PACKET_LEN, RxConfig};
use super::skb::{Packet, Skb};
use super::verdict::data_offset;
use crate::memory::{PAGE_SIZE, Page, PageArena, PageChain, PagePool, Slab, Slot};
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

    /// Readies the `n` pages that a refill will take from the arena, in one step. Not while a
    /// failure is planned: then pages may be left over.
    #[inline]
    pub(crate) fn reserve(&mut self, n: usize) {
        if !self.skbs.may_fail() {
            self.pool.reserve(n);
        }
    }

    /// An skb with a linear part: 1518 bytes of a page from the arena, at `offset`. One allocation,
    /// which fails as a whole.
    #[inline]
    pub(crate) fn linear_skb(&mut self, offset: usize) -> Option<Slot<Skb>> {
        let mut skb = self.skbs.alloc()?;
        let Some(page) = self.pool.alloc_page() else {
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

    /// Takes packets back whose owner is done with them; those of other queues go home by themselves.
    /// The arena is left as it would be by dropping them one after the other, but their pages reach
    /// it in one step.
    #[inline]
    pub(crate) fn release(&mut self, packets: impl Iterator<Item = Packet>) {
        let (arena, mut pages) = (&self.arena, PageChain::new());
        self.skbs.free_all(packets.map(Packet::into_skb), |skb| skb.empty_into(&mut pages));
        arena.put_pages(pages);
    }

    /// Copies a packet's first bytes into its skb's private head; returns how many.
    #[inline(always)]
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
    pub ring_size: u32,
}

impl Shape {
    pub(crate) fn new(config: &RxConfig) -> Self {
        Self {
            header_len: config.features.header_len(),
            data_offset: data_offset(config.dialect()),
            max_frags: usize::from(config.max_frags),
            ring_size: config.ring_size,
        }
    }

    /// The segments of a linear part in the page at `addr`.
    #[inline]
    pub(crate) fn linear_segments(&self, addr: u64) -> impl Iterator<Item = Segment> + use<> {
        self.header_segments(addr, self.data_offset + MAX_PACKET_LEN)
    }

    /// The segments of the first `len` bytes of the page at `addr`, which begin with a header: one
    /// where the dialect lets header and data be contiguous, else two.
    #[inline]
    pub(crate) fn header_segments(
        &self,
        addr: u64,
        len: usize,
    ) -> impl Iterator<Item = Segment> + use<> {
        let (header, data) = (self.header_len, self.data_offset);
        let split = (data != header).then_some(Segment { addr, len: header as u32 });
        let start = if split.is_some() { data } else { 0 };
        let data = Segment { addr: addr + start as u64, len: (len - start) as u32 };
        split.into_iter().chain(std::iter::once(data))
    }
}

/// The whole of page number `page`.
#[inline]
pub(crate) fn whole_page(arena: &PageArena, page: u32) -> Segment {
    Segment { addr: arena.address_of(page), len: PAGE_SIZE as u32 }
}

/// The completions of one packet, first buffer first. Taking one consumes it from the ring.
pub(crate) struct Completions<'a, B> {
    ring: &'a mut SplitDriver<B>,
    first: Option<Completion>,
    later: std::slice::Iter<'a, Completion>,
}

impl<'a, B> Completions<'a, B> {
    #[inline]
    pub(crate) fn new(
        ring: &'a mut SplitDriver<B>,
        first: Completion,
        later: &'a [Completion],
    ) -> Self {
        Self { ring, first: Some(first), later: later.iter() }
    }

    /// The number of buffers, before any is taken.
    #[inline]
    pub(crate) fn buffers(&self) -> u16 {
        // No more than a ring has descriptors.
        1 + self.later.len() as u16
    }
}

/// Yields each buffer's head, the buffer, and the bytes the device wrote into it (judged).
impl<B> Iterator for Completions<'_, B> {
    type Item = (Head, B, usize);

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let entry = match self.first.take() {
            Some(first) => first,
            None => *self.later.next()?,
        };
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

    /// How many pages the next `buffers` buffers will take from the arena while the pool has
    /// `pooled`.
    fn arena_pages(&self, buffers: usize, pooled: usize) -> usize;

    /// What the descriptors of a buffer shall describe.
    fn segments<'a>(
        &self,
        arena: &'a PageArena,
        buffer: &Self::Buffer,
    ) -> impl Iterator<Item = Segment> + use<'a, Self>;

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
