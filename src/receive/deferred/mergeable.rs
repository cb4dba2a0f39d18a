//! Mergeable, deferred: one page per buffer.

use crate::memory::{Page, PageArena, PageChain};
use crate::receive::config::RxConfig;
use crate::receive::policy::{Completions, Policy, Shape, Supply, whole_page};
use crate::receive::skb::Packet;
use crate::ring::{Head, Segment};
use crate::virtio::HeaderBytes;

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
    fn make(&mut self, supply: &mut Supply) -> Option<Page> {
        supply.pool.get_a_page()
    }

    #[inline]
    fn arena_pages(&self, buffers: usize, pooled: usize) -> usize {
        buffers.saturating_sub(pooled)
    }

    #[inline]
    fn segments<'a>(
        &self,
        arena: &'a PageArena,
        page: &Page,
    ) -> impl Iterator<Item = Segment> + use<'a> {
        std::iter::once(whole_page(arena, page.index()))
    }

    #[inline]
    fn header_page<'b>(&self, page: &'b Page) -> Option<&'b Page> {
        Some(page)
    }

    #[inline(always)]
    fn deliver(
        &mut self,
        supply: &mut Supply,
        header: HeaderBytes,
        completions: &mut Completions<'_, Page>,
    ) -> Option<Packet> {
        let buffers = completions.buffers();
        let mut skb = supply.skbs.alloc()?;
        let (_, page, len) = completions.next()?;
        skb.set_header(header, buffers);
        let h = self.shape.header_len;
        supply.first_buffer(&mut skb, page, h, len - h);
        for (_, page, len) in completions {
            skb.push_frag(page, 0, len);
        }
        Some(Packet::new(skb))
    }

    fn discard(&mut self, supply: &mut Supply, _: Head, page: Page, chain: &mut PageChain) {
        chain.push(page, &supply.arena);
    }

    fn pages(&self, _: &PageArena, page: &Page) -> impl Iterator<Item = u32> {
        std::iter::once(page.index())
    }
}
