//! Big, deferred: a chain of F + 1 pages per buffer, the virtio-net header in front of the first.

use crate::memory::{PAGE_SIZE, Page, PageArena, PageChain};
use crate::receive::config::RxConfig;
use crate::receive::policy::{Completions, Policy, Shape, Supply};
use crate::receive::skb::Packet;
use crate::ring::{Head, Segment};
use crate::virtio::HeaderBytes;

#[derive(Debug)]
pub(crate) struct Big {
    shape: Shape,
    segments: Vec<Segment>,
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
        Self { shape: Shape::new(config), segments: Vec::new() }
    }

    #[inline]
    fn make(&mut self, supply: &mut Supply) -> Option<BigBuffer> {
        self.segments.clear();
        let mut rest = supply.get_pages(self.shape.max_frags + 1)?;
        let first = rest.pop(&supply.arena)?;
        let addr = supply.arena.address(&first);
        let start = self.shape.data_offset;
        if start == self.shape.header_len {
            self.segments.push(Segment { addr, len: PAGE_SIZE as u32 });
        } else {
            self.segments.push(Segment { addr, len: self.shape.header_len as u32 });
            self.segments
                .push(Segment { addr: addr + start as u64, len: (PAGE_SIZE - start) as u32 });
        }
        self.segments.extend(
            rest.indices(&supply.arena)
                .map(|page| Segment { addr: supply.arena.address_of(page), len: PAGE_SIZE as u32 }),
        );
        Some(BigBuffer { first, rest })
    }

    #[inline]
    fn segments(&self) -> &[Segment] {
        &self.segments
    }

    #[inline]
    fn header_page<'b>(&self, buffer: &'b BigBuffer) -> Option<&'b Page> {
        Some(&buffer.first)
    }

    #[inline]
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
        skb.finish(header, 1);
        Some(Packet::new(skb))
    }

    fn discard(&mut self, supply: &mut Supply, _: Head, buffer: BigBuffer, chain: &mut PageChain) {
        chain.append(buffer.into_chain(&supply.arena), &supply.arena);
    }

    fn pages(&self, arena: &PageArena, buffer: &BigBuffer) -> impl Iterator<Item = u32> {
        std::iter::once(buffer.first.index()).chain(buffer.rest.indices(arena))
    }
}
