//! Small mode, both strategies: one skb with a linear part per buffer; there is nothing to defer.

use super::config::{RxConfig, Strategy};
use super::eager::RecvList;
use super::policy::{LinearSkb, Policy, Shape, Stock, Supply};
use super::skb::Skb;
use crate::memory::{Page, PageArena, PageBytes, PageChain, Slot};
use crate::ring::{Head, Segment};
use crate::virtio::HeaderBytes;

#[derive(Debug)]
pub(crate) struct Small {
    shape: Shape,
    /// Eager only: all posted skbs.
    recv: Option<RecvList>,
}

impl Small {
    #[inline]
    fn unlink(&mut self, head: Head) {
        if let Some(recv) = &mut self.recv {
            recv.unlink(head);
        }
    }
}

impl Policy for Small {
    type Buffer = LinearSkb;
    const MERGEABLE: bool = false;

    fn new(config: &RxConfig) -> Self {
        let shape = Shape::new(config);
        let eager = config.strategy == Strategy::Eager;
        Self { shape, recv: eager.then(|| RecvList::new(shape.ring_size)) }
    }

    #[inline]
    fn make(&mut self, stock: &mut Stock<'_>) -> Option<LinearSkb> {
        stock.linear_skb()
    }

    #[inline]
    fn arena_pages(&self, buffers: usize, _pooled: usize) -> usize {
        buffers
    }

    #[inline]
    fn posted(&mut self, head: Head) {
        if let Some(recv) = &mut self.recv {
            recv.link(head);
        }
    }

    #[inline]
    fn segments<'a>(
        &self,
        arena: &'a PageArena,
        linear: &LinearSkb,
    ) -> impl Iterator<Item = Segment> + use<'a> {
        self.shape.linear_segments(arena.address(&linear.page))
    }

    #[inline]
    fn segment(&self, arena: &PageArena, linear: &LinearSkb) -> Option<Segment> {
        self.shape.linear_segment(arena.address(&linear.page))
    }

    #[inline]
    fn header_page<'b>(&self, linear: &'b LinearSkb) -> &'b Page {
        &linear.page
    }

    #[inline(always)]
    fn first(
        &mut self,
        _: &mut Supply,
        header: HeaderBytes,
        (head, LinearSkb { mut skb, page }): (Head, LinearSkb),
        _: PageBytes<'_>,
        len: usize,
    ) -> Result<Slot<Skb>, LinearSkb> {
        self.unlink(head);
        skb.begin_linear(header.in_one_buffer(), len, page, self.shape.data_offset);
        Ok(skb)
    }

    fn discard(&mut self, supply: &mut Supply, head: Head, linear: LinearSkb, _: &mut PageChain) {
        self.unlink(head);
        supply.free_linear(linear);
    }

    fn pages(&self, _: &PageArena, linear: &LinearSkb) -> impl Iterator<Item = u32> {
        std::iter::once(linear.page.index())
    }
}
