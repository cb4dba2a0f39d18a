//! Small mode, both strategies: one skb with a linear part per buffer; there is nothing to defer.

use super::config::{RxConfig, Strategy};
use super::eager::RecvList;
use super::policy::{Completions, Policy, Shape, Supply};
use super::skb::{Packet, Skb};
use crate::memory::{Page, PageArena, PageChain, Slot};
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
    type Buffer = Slot<Skb>;

    fn new(config: &RxConfig) -> Self {
        let shape = Shape::new(config);
        let eager = config.strategy == Strategy::Eager;
        Self { shape, recv: eager.then(|| RecvList::new(shape.ring_size)) }
    }

    #[inline]
    fn make(&mut self, supply: &mut Supply) -> Option<Slot<Skb>> {
        supply.linear_skb(self.shape.data_offset)
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
        skb: &Slot<Skb>,
    ) -> impl Iterator<Item = Segment> + use<'a> {
        let page = skb.linear_page();
        page.map(|page| self.shape.linear_segments(arena.address(page))).into_iter().flatten()
    }

    #[inline]
    fn header_page<'b>(&self, skb: &'b Slot<Skb>) -> Option<&'b Page> {
        skb.linear_page()
    }

    #[inline(always)]
    fn deliver(
        &mut self,
        _: &mut Supply,
        header: HeaderBytes,
        completions: &mut Completions<'_, Slot<Skb>>,
    ) -> Option<Packet> {
        let (head, mut skb, len) = completions.next()?;
        self.unlink(head);
        skb.fill_linear(len - self.shape.header_len);
        skb.set_header(header, 1);
        Some(Packet::new(skb))
    }

    fn discard(&mut self, supply: &mut Supply, head: Head, skb: Slot<Skb>, _: &mut PageChain) {
        self.unlink(head);
        supply.skbs.free(skb);
    }

    fn pages(&self, _: &PageArena, skb: &Slot<Skb>) -> impl Iterator<Item = u32> {
        skb.linear_page().map(Page::index).into_iter()
    }
}
