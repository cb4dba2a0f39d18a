//! Big, deferred: a chain of F + 1 pages per buffer, the virtio-net header in front of the first.

use crate::memory::{PAGE_SIZE, Page, PageArena, PageChain};
use crate::receive::config::RxConfig;
use crate::receive::policy::{Completions, Policy, Shape, Supply, whole_page};
use crate::receive::skb::Packet;
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

    fn new(config: &RxConfig) -> Self {
        Self { shape: Shape::new(config) }
    }

    #[inline]
    fn make(&mut self, supply: &mut Supply) -> Option<BigBuffer> {
        let mut rest = supply.pool.get_pages(self.shape.max_frags + 1)?;
        let first = rest.pop(&supply.arena)?;
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
    fn header_page<'b>(&self, buffer: &'b BigBuffer) -> Option<&'b Page> {
        Some(&buffer.first)
    }

    #[inline(always)]
    fn deliver(
        &mut self,
        supply: &mut Supply,
        header: HeaderBytes,
        completions: &mut Completions<'_, BigBuffer>,
    ) -> Option<Packet> {
        let mut skb = supply.skbs.alloc()?;
        let (_, buffer, len) = completions.next()?;
        let start = self.shape.data_offset;
        let len = len - self.shape.header_len;
        let in_first = len.min(PAGE_SIZE - start);
        let copied = supply.copy_head(&mut skb, &buffer.first, start, in_first);
        if len == copied {
            let spent = buffer.into_chain(&supply.arena);
            supply.give(spent);
        } else {
            let BigBuffer { first, mut rest } = buffer;
            skb.push_frag(first, start + copied, in_first - copied);
            while skb.len() < len {
                // R3 bounds the packet by what the chain holds.
                let Some(page) = rest.pop(&supply.arena) else { break };
                let n = (len - skb.len()).min(PAGE_SIZE);
                skb.push_frag(page, 0, n);
            }
            supply.give(rest);
        }
        skb.set_header(header, 1);
        Some(Packet::new(skb))
    }

    fn discard(&mut self, supply: &mut Supply, _: Head, buffer: BigBuffer, chain: &mut PageChain) {
        chain.append(buffer.into_chain(&supply.arena), &supply.arena);
    }

    fn pages(&self, arena: &PageArena, buffer: &BigBuffer) -> impl Iterator<Item = u32> {
        std::iter::once(buffer.first.index()).chain(buffer.rest.indices(arena))
    }
}
