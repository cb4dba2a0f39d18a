//! Mergeable, deferred: one page per buffer.

use crate::memory::{PAGE_SIZE, Page, PageArena, PageChain};
use crate::receive::config::RxConfig;
use crate::receive::policy::{Completions, Policy, Shape, Supply};
use crate::receive::skb::Packet;
use crate::ring::{Head, Segment};
use crate::virtio::HeaderBytes;

/// A whole page; the address is filled in.
const PAGE: Segment = Segment { addr: 0, len: PAGE_SIZE as u32 };

#[derive(Debug)]
pub(crate) struct Mergeable {
    shape: Shape,
    segment: [Segment; 1],
}

impl Policy for Mergeable {
    type Buffer = Page;

    fn new(config: &RxConfig) -> Self {
        Self { shape: Shape::new(config), segment: [PAGE; 1] }
    }

    #[inline]
    fn make(&mut self, supply: &mut Supply) -> Option<Page> {
        let page = supply.pool.get_a_page()?;
        self.segment[0].addr = supply.arena.address(&page);
        Some(page)
    }

    #[inline]
    fn segments(&self) -> &[Segment] {
        &self.segment
    }

    #[inline]
    fn header_page<'b>(&self, page: &'b Page) -> Option<&'b Page> {
        Some(page)
    }

    #[inline]
    fn deliver(
        &mut self,
        supply: &mut Supply,
        header: HeaderBytes,
        completions: &mut Completions<'_, Page>,
    ) -> Option<Packet> {
        let mut skb = supply.skbs.alloc()?;
        let (_, page, len) = completions.next()?;
        let h = self.shape.header_len;
        supply.first_buffer(&mut skb, page, h, len - h);
        let mut buffers = 1;
        for (_, page, len) in completions {
            skb.push_frag(page, 0, len);
            buffers += 1;
        }
        skb.finish(header, buffers);
        Some(Packet::new(skb))
    }

    fn discard(&mut self, supply: &mut Supply, _: Head, page: Page, chain: &mut PageChain) {
        chain.push(page, &supply.arena);
    }

    fn pages(&self, _: &PageArena, page: &Page) -> impl Iterator<Item = u32> {
        std::iter::once(page.index())
    }
}
