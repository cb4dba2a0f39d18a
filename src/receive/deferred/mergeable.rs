//! Mergeable, deferred: one page per buffer.

use crate::memory::{Page, PageArena, PageBytes, PageChain, Slot};
use crate::receive::config::RxConfig;
use crate::receive::policy::{Policy, Shape, Stock, Supply, whole_page};
use crate::receive::skb::Skb;
use crate::ring::{Head, Segment};
use crate::virtio::HeaderBytes;

#[derive(Debug)]
pub(crate) struct Mergeable {
    shape: Shape,
}

impl Policy for Mergeable {
    type Buffer = Page;
    const MERGEABLE: bool = true;

    fn new(config: &RxConfig) -> Self {
        Self { shape: Shape::new(config) }
    }

    #[inline]
    fn make(&mut self, stock: &mut Stock<'_>) -> Option<Page> {
        stock.pages.get_a_page()
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
    fn segment(&self, arena: &PageArena, page: &Page) -> Option<Segment> {
        Some(whole_page(arena, page.index()))
    }

    #[inline]
    fn header_page<'b>(&self, page: &'b Page) -> &'b Page {
        page
    }

    #[inline(always)]
    fn first(
        &mut self,
        supply: &mut Supply,
        header: HeaderBytes,
        (_, page): (Head, Page),
        bytes: PageBytes<'_>,
        len: usize,
    ) -> Result<Slot<Skb>, Page> {
        let Some(mut skb) = supply.skbs.alloc() else { return Err(page) };
        supply.first_buffer(&mut skb, header, (page, bytes), self.shape.header_len, len);
        Ok(skb)
    }

    #[inline(always)]
    fn later(&mut self, _: &mut Supply, skb: &mut Skb, (_, page): (Head, Page), len: usize) {
        skb.push_frag(page, 0, len);
    }

    fn discard(&mut self, supply: &mut Supply, _: Head, page: Page, chain: &mut PageChain) {
        chain.push(page, &supply.arena);
    }

    fn pages(&self, _: &PageArena, page: &Page) -> impl Iterator<Item = u32> {
        std::iter::once(page.index())
    }
}
