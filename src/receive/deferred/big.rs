//! Big, deferred: a chain of F + 1 pages per buffer, the virtio-net header in front of the first.

use crate::memory::{PAGE_SIZE, Page, PageArena, PageBytes, PageChain, Slot};
use crate::receive::config::{GOOD_COPY_LEN, RxConfig};
use crate::receive::policy::{Policy, Shape, Stock, Supply, push_frags, whole_page};
use crate::receive::skb::Skb;
use crate::ring::{Head, Segment};
use crate::virtio::HeaderBytes;

#[derive(Debug)]
pub(crate) struct Big {
    shape: Shape,
}

/// A posted buffer: its first page, and the others in order.
#[derive(Debug)]
pub(crate) struct BigBuffer {
    first: Page,
    rest: PageChain,
}

impl BigBuffer {
    /// All pages as one chain, in order.
    fn into_chain(self, arena: &PageArena) -> PageChain {
        let mut chain = PageChain::new();
        chain.push(self.first, arena);
        chain.append(self.rest, arena);
        chain
    }
}

impl Policy for Big {
    type Buffer = BigBuffer;
    const MERGEABLE: bool = false;

    fn new(config: &RxConfig) -> Self {
        Self { shape: Shape::new(config) }
    }

    #[inline]
    fn make(&mut self, stock: &mut Stock<'_>) -> Option<BigBuffer> {
        let mut rest = stock.pages.get_pages(self.shape.max_frags + 1)?;
        let first = rest.pop(stock.pages.arena())?;
        Some(BigBuffer { first, rest })
    }

    #[inline]
    fn arena_pages(&self, buffers: usize, pooled: usize) -> usize {
        (buffers * (self.shape.max_frags + 1)).saturating_sub(pooled)
    }

    #[inline]
    fn segments<'a>(
        &self,
        arena: &'a PageArena,
        buffer: &BigBuffer,
    ) -> impl Iterator<Item = Segment> + use<'a> {
        let first = self.shape.header_segments(arena.address(&buffer.first), PAGE_SIZE);
        first.chain(buffer.rest.indices(arena).map(|page| whole_page(arena, page)))
    }

    #[inline]
    fn segment(&self, _: &PageArena, _: &BigBuffer) -> Option<Segment> {
        None
    }

    #[inline]
    fn header_page<'b>(&self, buffer: &'b BigBuffer) -> &'b Page {
        &buffer.first
    }

    #[inline(always)]
    fn first(
        &mut self,
        supply: &mut Supply,
        header: HeaderBytes,
        (_, buffer): (Head, BigBuffer),
        bytes: PageBytes<'_>,
        len: usize,
    ) -> Result<Slot<Skb>, BigBuffer> {
        let Some(mut skb) = supply.skbs.alloc() else { return Err(buffer) };
        let start = self.shape.data_offset;
        let copied = len.min(GOOD_COPY_LEN);
        skb.begin(header.in_one_buffer(), len, bytes, start, copied);
        supply.bytes_copied += copied as u64;
        if len == copied {
            let spent = buffer.into_chain(&supply.arena);
            supply.give(spent);
        } else {
            let BigBuffer { first, mut rest } = buffer;
            let in_first = len.min(PAGE_SIZE - start);
            skb.push_frag(first, start + copied, in_first - copied);
            push_frags(&mut skb, &mut rest, len - in_first, &supply.arena);
            supply.give(rest);
        }
        Ok(skb)
    }

    fn discard(&mut self, supply: &mut Supply, _: Head, buffer: BigBuffer, chain: &mut PageChain) {
        chain.append(buffer.into_chain(&supply.arena), &supply.arena);
    }

    fn pages(&self, arena: &PageArena, buffer: &BigBuffer) -> impl Iterator<Item = u32> {
        std::iter::once(buffer.first.index()).chain(buffer.rest.indices(arena))
    }
}
