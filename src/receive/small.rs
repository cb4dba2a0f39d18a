//! Small mode, both strategies: one skb with a linear part per buffer; there is nothing to defer.

use super::config::{MAX_PACKET_LEN, RxConfig, Strategy};
use super::eager::RecvList;
use super::policy::{Completions, Policy, Shape, Supply};
use super::skb::{Packet, Skb};
use crate::memory::{Page, PageArena, PageChain, Slot};
use crate::ring::{Head, Segment};
use crate::virtio::HeaderBytes;

#[derive(Debug)]
pub(crate) struct Small {
    shape: Shape,
    segments: Vec<Segment>,
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

/// The segments of a header and a linear part of 1518 bytes in the page at `addr`: one where the
/// dialect lets them be contiguous, else two.
pub(crate) fn linear_segments(shape: &Shape, addr: u64, segments: &mut Vec<Segment>) {
    let (header, data) = (shape.header_len, MAX_PACKET_LEN);
    if shape.data_offset == header {
        segments.push(Segment { addr, len: (header + data) as u32 });
    } else {
        segments.push(Segment { addr, len: header as u32 });
        segments.push(Segment { addr: addr + shape.data_offset as u64, len: data as u32 });
    }
}

impl Policy for Small {
    type Buffer = Slot<Skb>;

    fn new(config: &RxConfig) -> Self {
        let shape = Shape::new(config);
        let eager = config.strategy == Strategy::Eager;
        Self { shape, segments: Vec::new(), recv: eager.then(|| RecvList::new(shape.ring_size)) }
    }

    #[inline]
    fn make(&mut self, supply: &mut Supply) -> Option<Slot<Skb>> {
        self.segments.clear();
        let skb = supply.linear_skb(self.shape.data_offset)?;
        if let Some(page) = skb.linear_page() {
            linear_segments(&self.shape, supply.arena.address(page), &mut self.segments);
        }
        Some(skb)
    }

    #[inline]
    fn posted(&mut self, head: Head) {
        if let Some(recv) = &mut self.recv {
            recv.link(head);
        }
    }

    #[inline]
    fn segments(&self) -> &[Segment] {
        &self.segments
    }

    #[inline]
    fn header_page<'b>(&self, skb: &'b Slot<Skb>) -> Option<&'b Page> {
        skb.linear_page()
    }

    #[inline]
    fn deliver(
        &mut self,
        _: &mut Supply,
        header: HeaderBytes,
        completions: &mut Completions<'_, Slot<Skb>>,
    ) -> Option<Packet> {
        let (head, mut skb, len) = completions.next()?;
        self.unlink(head);
        skb.fill_linear(len - self.shape.header_len);
        skb.finish(header, 1);
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
