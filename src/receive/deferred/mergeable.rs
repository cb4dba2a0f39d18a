//! Mergeable, deferred: one page per buffer.

use crate::memory::{PAGE_SIZE, Page, PageArena, PageChain};
use crate::receive::config::RxConfig;
use crate::receive::policy::{Completions, Policy, Shape, Supply};
use crate::receive::skb::Packet;
use crate::ring::{Head, Segment};
use crate::virtio::VnetHeader;

#[derive(Debug)]
pub(crate) struct Mergeable {
    shape: Shape,
}

impl Policy for Mergeable {
    type Buffer = Page;

    fn new(config: &RxConfig) -> Self {
        Self { shape: Shape::new(config) }
    }

    #[inline]
    fn make(&mut self, supply: &mut Supply, segments: &mut Vec<Segment>) -> Option<Page> {
        let page = supply.pool.get_a_page()?;
        segments.push(Segment { addr: supply.arena.address(&page), len: PAGE_SIZE as u32 });
        Some(page)
    }

    #[inline]
    fn header_page<'b>(&self, page: &'b Page) -> Option<&'b Page> {
        Some(page)
    }

    #[inline]
    fn deliver(
        &mut self,
        supply: &mut Supply,
        header: &VnetHeader,
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

    fn pages(&self, _: &PageArena, page: &Page) -> Vec<u32> {
        vec![page.index()]
    }
}
