//! Mergeable, eager: one page per buffer, and an skb with a private head whose frag 0 it is.

use super::RecvList;
use crate::memory::{Page, PageArena, PageBytes, PageChain, Slot};
use crate::receive::config::RxConfig;
use crate::receive::policy::{Policy, Shape, Stock, Supply, whole_page};
use crate::receive::skb::Skb;
use crate::ring::{Head, Segment};
use crate::virtio::HeaderBytes;

#[derive(Debug)]
pub(crate) struct Mergeable {
    shape: Shape,
    recv: RecvList,
}

/// A posted buffer: the skb, and the page that is its frag 0.
#[derive(Debug)]
pub(crate) struct SkbAndPage {
    skb: Slot<Skb>,
    page: Page,
}

impl Policy for Mergeable {
    type Buffer = SkbAndPage;
    const MERGEABLE: bool = true;

    fn new(config: &RxConfig) -> Self {
        let shape = Shape::new(config);
        Self { shape, recv: RecvList::new(shape.ring_size) }
    }

    #[inline]
    fn make(&mut self, stock: &mut Stock<'_>) -> Option<SkbAndPage> {
        let skb = stock.skbs.alloc()?;
        let Some(page) = stock.pages.get_a_page() else {
            stock.skbs.free(skb);
            return None;
        };
        Some(SkbAndPage { skb, page })
    }

    #[inline]
    fn arena_pages(&self, buffers: usize, pooled: usize) -> usize {
        buffers.saturating_sub(pooled)
    }

    #[inline]
    fn posted(&mut self, head: Head) {
        self.recv.link(head);
    }

    #[inline]
    fn segments<'a>(
        &self,
        arena: &'a PageArena,
        buffer: &SkbAndPage,
    ) -> impl Iterator<Item = Segment> + use<'a> {
        std::iter::once(whole_page(arena, buffer.page.index()))
    }

    #[inline]
    fn segment(&self, arena: &PageArena, buffer: &SkbAndPage) -> Option<Segment> {
        Some(whole_page(arena, buffer.page.index()))
    }

    #[inline]
    fn header_page<'b>(&self, buffer: &'b SkbAndPage) -> &'b Page {
        &buffer.page
    }

    #[inline(always)]
    fn first(
        &mut self,
        supply: &mut Supply,
        header: HeaderBytes,
        (head, SkbAndPage { mut skb, page }): (Head, SkbAndPage),
        bytes: PageBytes<'_>,
        len: usize,
    ) -> Result<Slot<Skb>, SkbAndPage> {
        self.recv.unlink(head);
        supply.first_buffer(&mut skb, header, (page, bytes), self.shape.header_len, len);
        Ok(skb)
    }

    #[inline(always)]
    fn later(
        &mut self,
        supply: &mut Supply,
        skb: &mut Skb,
        (head, SkbAndPage { skb: spare, page }): (Head, SkbAndPage),
        len: usize,
    ) {
        self.recv.unlink(head);
        supply.skbs.free(spare);
        skb.push_frag(page, 0, len);
    }

    fn discard(
        &mut self,
        supply: &mut Supply,
        head: Head,
        buffer: SkbAndPage,
        chain: &mut PageChain,
    ) {
        self.recv.unlink(head);
        supply.skbs.free(buffer.skb);
        chain.push(buffer.page, &supply.arena);
    }

    fn pages(&self, _: &PageArena, buffer: &SkbAndPage) -> impl Iterator<Item = u32> {
        std::iter::once(buffer.page.index())
    }
}
