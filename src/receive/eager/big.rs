//! Big, eager: an skb with a linear part, and F pages behind it.

use super::RecvList;
use crate::memory::{Page, PageArena, PageBytes, PageChain, Slot};
use crate::receive::config::{MAX_PACKET_LEN, RxConfig};
use crate::receive::policy::{LinearSkb, Policy, Shape, Stock, Supply, push_frags, whole_page};
use crate::receive::skb::Skb;
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
    linear: LinearSkb,
    pages: PageChain,
}

impl Policy for Big {
    type Buffer = SkbAndPages;
    const MERGEABLE: bool = false;

    fn new(config: &RxConfig) -> Self {
        let shape = Shape::new(config);
        Self { shape, recv: RecvList::new(shape.ring_size) }
    }

    #[inline]
    fn make(&mut self, stock: &mut Stock<'_>) -> Option<SkbAndPages> {
        let linear = stock.linear_skb()?;
        let Some(pages) = stock.pages.get_pages(self.shape.max_frags) else {
            linear.free(stock.pages.arena(), stock.skbs);
            return None;
        };
        Some(SkbAndPages { linear, pages })
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
        let linear = self.shape.linear_segments(arena.address(&buffer.linear.page));
        linear.chain(buffer.pages.indices(arena).map(|page| whole_page(arena, page)))
    }

    #[inline]
    fn segment(&self, _: &PageArena, _: &SkbAndPages) -> Option<Segment> {
        None
    }

    #[inline]
    fn header_page<'b>(&self, buffer: &'b SkbAndPages) -> &'b Page {
        &buffer.linear.page
    }

    #[inline(always)]
    fn first(
        &mut self,
        supply: &mut Supply,
        header: HeaderBytes,
        (head, SkbAndPages { linear, mut pages }): (Head, SkbAndPages),
        _: PageBytes<'_>,
        len: usize,
    ) -> Result<Slot<Skb>, SkbAndPages> {
        self.recv.unlink(head);
        let LinearSkb { mut skb, page } = linear;
        if len <= MAX_PACKET_LEN {
            // One by one, as the frags were released: the last ends on top.
            supply.pool.give_each(pages);
        } else {
            push_frags(&mut skb, &mut pages, len - MAX_PACKET_LEN, &supply.arena);
            supply.arena.put_pages(pages);
        }
        skb.begin_linear(header.in_one_buffer(), len, page, self.shape.data_offset);
        Ok(skb)
    }

    fn discard(
        &mut self,
        supply: &mut Supply,
        head: Head,
        buffer: SkbAndPages,
        chain: &mut PageChain,
    ) {
        self.recv.unlink(head);
        supply.free_linear(buffer.linear);
        chain.append(buffer.pages, &supply.arena);
    }

    fn pages(&self, arena: &PageArena, buffer: &SkbAndPages) -> impl Iterator<Item = u32> {
        std::iter::once(buffer.linear.page.index()).chain(buffer.pages.indices(arena))
    }
}
