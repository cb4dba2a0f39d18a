//! What differs between modes and strategies, and what they draw on.
//!
//! The queue's drain loop is one and generic; a [`Policy`] says what a buffer is made of and what a
//! completion becomes. There are five: small, and big and mergeable in either strategy.

use std::sync::Arc;

use super::config::{GOOD_COPY_LEN, MAX_PACKET_LEN, RxConfig};
use super::skb::{Packet, Skb};
use super::verdict::data_offset;
use crate::memory::{
    ChainFront, Draw, PAGE_SIZE, Page, PageArena, PageBytes, PageChain, PagePool, Slab, Slot,
};
use crate::ring::{Head, Segment};
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

    /// Frees an skb that was posted with a linear part: its page goes to the arena.
    pub(crate) fn free_linear(&mut self, linear: LinearSkb) {
        linear.free(&self.arena, &mut self.skbs);
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
        let mut pages = ChainFront::new(&self.arena);
        self.skbs.free_all(packets.map(Packet::into_skb), |skb| skb.empty_into(&mut pages));
        self.pool.release(pages);
    }

    /// Begins the skb of a packet whose first buffer, a mergeable one, holds `len` bytes behind a
    /// header of `header_len`: what fits into the private head is copied, what is left is frag 0, a
    /// fully copied page goes to the pool.
    #[inline(always)]
    pub(crate) fn first_buffer(
        &mut self,
        skb: &mut Skb,
        header: HeaderBytes,
        (page, bytes): (Page, PageBytes<'_>),
        header_len: u8,
        len: usize,
    ) {
        let start = usize::from(header_len);
        if len <= GOOD_COPY_LEN {
            skb.begin(header, len, bytes, start, len);
            self.bytes_copied += len as u64;
            self.pool.give_back(page);
        } else {
            skb.begin(header, len, bytes, start, GOOD_COPY_LEN);
            self.bytes_copied += GOOD_COPY_LEN as u64;
            skb.push_frag(page, start + GOOD_COPY_LEN, len - GOOD_COPY_LEN);
        }
    }
}

/// What buffers are made of.
pub(crate) struct Stock<'a> {
    pub pages: Draw<'a>,
    pub skbs: &'a mut Slab<Skb>,
}

impl<'a> Stock<'a> {
    /// What is taken for a refill that will take `from_arena` pages from the arena: all of these in
    /// one step. Not while a failure is planned, when some may not be needed.
    #[inline]
    pub(crate) fn new(supply: &'a mut Supply, from_arena: usize) -> Self {
        let from_arena = if supply.skbs.may_fail() { 0 } else { from_arena };
        Self { pages: supply.pool.draw(from_arena), skbs: &mut supply.skbs }
    }

    /// An skb with a linear part: a page from the arena. One allocation, which fails as a whole.
    #[inline(always)]
    pub(crate) fn linear_skb(&mut self) -> Option<LinearSkb> {
        let skb = self.skbs.alloc()?;
        let Some(page) = self.pages.alloc_page() else {
            self.skbs.cancel(skb);
            return None;
        };
        Some(LinearSkb { skb, page })
    }
}

/// An skb posted with the page of its linear part: small mode, eager big mode.
#[derive(Debug)]
pub(crate) struct LinearSkb {
    pub skb: Slot<Skb>,
    pub page: Page,
}

impl LinearSkb {
    /// The page goes to the arena, the skb to the slab.
    pub(crate) fn free(self, arena: &PageArena, skbs: &mut Slab<Skb>) {
        arena.put_page(self.page);
        skbs.free(self.skb);
    }
}

/// What a policy needs to know of the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// h, bytes of the virtio-net header.
    pub header_len: u8,
    /// Where packet data starts in a small or big buffer's first page.
    pub data_offset: usize,
    /// F.
    pub max_frags: usize,
    pub ring_size: u32,
}

impl Shape {
    pub(crate) fn new(config: &RxConfig) -> Self {
        Self {
            header_len: config.features.header_len() as u8,
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

    /// The same where it is one.
    #[inline]
    pub(crate) fn linear_segment(&self, addr: u64) -> Option<Segment> {
        let len = (self.data_offset + MAX_PACKET_LEN) as u32;
        self.is_contiguous().then_some(Segment { addr, len })
    }

    /// Whether the dialect lets header and data be contiguous.
    #[inline]
    fn is_contiguous(&self) -> bool {
        self.data_offset == usize::from(self.header_len)
    }

    /// The segments of the first `len` bytes of the page at `addr`, which begin with a header.
    #[inline]
    pub(crate) fn header_segments(
        &self,
        addr: u64,
        len: usize,
    ) -> impl Iterator<Item = Segment> + use<> {
        let header = Segment { addr, len: self.header_len.into() };
        let header = (!self.is_contiguous()).then_some(header);
        let start = if header.is_some() { self.data_offset } else { 0 };
        let data = Segment { addr: addr + start as u64, len: (len - start) as u32 };
        header.into_iter().chain(std::iter::once(data))
    }
}

/// The whole of page number `page`.
#[inline]
pub(crate) fn whole_page(arena: &PageArena, page: u32) -> Segment {
    Segment { addr: arena.address_of(page), len: PAGE_SIZE as u32 }
}

/// Makes the first pages of `rest`, as many as `len` bytes fill, frags. R3 bounds the packet by what
/// the chain holds.
#[inline]
pub(crate) fn push_frags(skb: &mut Skb, rest: &mut PageChain, mut len: usize, arena: &PageArena) {
    while len > 0
        && let Some(page) = rest.pop(arena)
    {
        let n = len.min(PAGE_SIZE);
        skb.push_frag(page, 0, n);
        len -= n;
    }
}

/// One mode in one strategy.
pub(crate) trait Policy {
    /// What the driver keeps of a posted buffer.
    type Buffer: std::fmt::Debug;

    /// Whether a packet may take several buffers.
    const MERGEABLE: bool;

    fn new(config: &RxConfig) -> Self;

    /// Makes a buffer. `None` when memory ran out; everything taken has gone back then.
    fn make(&mut self, stock: &mut Stock<'_>) -> Option<Self::Buffer>;

    /// How many pages the next `buffers` buffers will take from the arena while the pool has
    /// `pooled`.
    fn arena_pages(&self, buffers: usize, pooled: usize) -> usize;

    /// What the descriptors of a buffer shall describe.
    fn segments<'a>(
        &self,
        arena: &'a PageArena,
        buffer: &Self::Buffer,
    ) -> impl Iterator<Item = Segment> + use<'a, Self>;

    /// The same where it is one segment.
    fn segment(&self, arena: &PageArena, buffer: &Self::Buffer) -> Option<Segment>;

    /// The buffer has been posted as `head`.
    #[inline]
    fn posted(&mut self, _head: Head) {}

    /// The page at whose start the device writes the virtio-net header.
    fn header_page<'b>(&self, buffer: &'b Self::Buffer) -> &'b Page;

    /// Makes an skb out of a packet's first buffer, in which `len` bytes follow the virtio-net header;
    /// `bytes` are those of its header page. Gives the buffer back when no skb could be had (R10).
    fn first(
        &mut self,
        supply: &mut Supply,
        header: HeaderBytes,
        buffer: (Head, Self::Buffer),
        bytes: PageBytes<'_>,
        len: usize,
    ) -> Result<Slot<Skb>, Self::Buffer>;

    /// Appends a later buffer of a packet in mergeable mode, a frag of `len` bytes. In the others no packet has one.
    #[inline]
    fn later(
        &mut self,
        supply: &mut Supply,
        _skb: &mut Skb,
        buffer: (Head, Self::Buffer),
        _len: usize,
    ) {
        self.drop_one(supply, buffer);
    }

    /// Takes a buffer apart which becomes no packet.
    #[cold]
    #[inline(never)]
    fn drop_one(&mut self, supply: &mut Supply, (head, buffer): (Head, Self::Buffer)) {
        let mut chain = PageChain::new();
        self.discard(supply, head, buffer, &mut chain);
        supply.give(chain);
    }

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
