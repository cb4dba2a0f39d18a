//! Big, eager: an skb with a linear part, and F pages behind it.

use super::RecvList;
use crate::memory::{PAGE_SIZE, Page, PageArena, PageChain, Slot};
use crate::receive::config::{MAX_PACKET_LEN, RxConfig};
use crate::receive::policy::{Completions, Policy, Shape, Supply, whole_page};
use crate::receive::skb::{Packet, Skb};
use crate::ring::{Head, Segment};
use crate::virtio::HeaderBytes;

#[derive(Debug)]
pub(crate) struct Big {
    shape: Shape,
    recv: RecvList,
}

/// A posted buffer: the skb with its linear part, and the pages of its frags.
#[derive(Debug)]
pub(crate) struct SkbAndPages {
    skb: Slot<Skb>,
    pages: PageChain,
}

impl Policy for Big {
    type Buffer = SkbAndPages;

    fn new(config: &RxConfig) -> Self {
        let shape = Shape::new(config);
        Self { shape, recv: RecvList::new(shape.ring_size) }
    }

    #[inline]
    fn make(&mut self, supply: &mut Supply) -> Option<SkbAndPages> {
        let skb = supply.linear_skb(self.shape.data_offset)?;
        let Some(pages) = supply.pool.get_pages(self.shape.max_frags) else {
            supply.skbs.free(skb);
            return None;
        };
        Some(SkbAndPages { skb, pages })
    }

    #[inline]
    fn arena_pages(&self, buffers: usize, pooled: usize) -> usize {
        buffers + (buffers * self.shape.max_frags).saturating_sub(pooled)
    }

    #[inline]
    fn posted(&mut self, head: Head) {
        self.recv.link(head);
    }

    #[inline]
    fn segments<'a>(
        &self,
        arena: &'a PageArena,
        buffer: &SkbAndPages,
    ) -> impl Iterator<Item = Segment> + use<'a> {
        let linear = buffer.skb.linear_page();
        let linear = linear.map(|page| self.shape.linear_segments(arena.address(page)));
        linear
            .into_iter()
            .flatten()
            .chain(buffer.pages.indices(arena).map(|page| whole_page(arena, page)))
    }

    #[inline]
    fn header_page<'b>(&self, buffer: &'b SkbAndPages) -> Option<&'b Page> {
        buffer.skb.linear_page()
    }

    #[inline(always)]
    fn deliver(
        &mut self,
        supply: &mut Supply,
        header: HeaderBytes,
        completions: &mut Completions<'_, SkbAndPages>,
    ) -> Option<Packet> {
        let (head, SkbAndPages { mut skb, mut pages }, len) = completions.next()?;
        self.recv.unlink(head);
        let len = len - self.shape.header_len;
        skb.fill_linear(len);
        if len <= MAX_PACKET_LEN {
            // One by one, as the frags were released: the last ends on top.
            supply.pool.give_each(pages);
        } else {
            while skb.len() < len {
                // R3 bounds the packet by what the chain holds.
                let Some(page) = pages.pop(&supply.arena) else { break };
                let n = (len - skb.len()).min(PAGE_SIZE);
                skb.push_frag(page, 0, n);
            }
            supply.arena.put_pages(pages);
        }
        skb.set_header(header, 1);
        Some(Packet::new(skb))
    }

    fn discard(
        &mut self,
        supply: &mut Supply,
        head: Head,
        buffer: SkbAndPages,
        chain: &mut PageChain,
    ) {
        self.recv.unlink(head);
        supply.skbs.free(buffer.skb);
        chain.append(buffer.pages, &supply.arena);
    }

    fn pages(&self, arena: &PageArena, buffer: &SkbAndPages) -> impl Iterator<Item = u32> {
        let linear = buffer.skb.linear_page().map(Page::index);
        linear.into_iter().chain(buffer.pages.indices(arena))
    }
}
