//! Mergeable, eager: one page per buffer, and an skb with a private head whose frag 0 it is.

use super::RecvList;
use crate::memory::{PAGE_SIZE, Page, PageArena, PageChain, Slot};
use crate::receive::config::RxConfig;
use crate::receive::policy::{Completions, Policy, Shape, Supply};
use crate::receive::skb::{Packet, Skb};
use crate::ring::{Head, Segment};
use crate::virtio::HeaderBytes;

/// A whole page; the address is filled in.
const PAGE: Segment = Segment { addr: 0, len: PAGE_SIZE as u32 };

#[derive(Debug)]
pub(crate) struct Mergeable {
    shape: Shape,
    segment: [Segment; 1],
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

    fn new(config: &RxConfig) -> Self {
        let shape = Shape::new(config);
        Self { shape, segment: [PAGE; 1], recv: RecvList::new(shape.ring_size) }
    }

    #[inline]
    fn make(&mut self, supply: &mut Supply) -> Option<SkbAndPage> {
        let skb = supply.skbs.alloc()?;
        let Some(page) = supply.pool.get_a_page() else {
            supply.skbs.free(skb);
            return None;
        };
        self.segment[0].addr = supply.arena.address(&page);
        Some(SkbAndPage { skb, page })
    }

    #[inline]
    fn posted(&mut self, head: Head) {
        self.recv.link(head);
    }

    #[inline]
    fn segments(&self) -> &[Segment] {
        &self.segment
    }

    #[inline]
    fn header_page<'b>(&self, buffer: &'b SkbAndPage) -> Option<&'b Page> {
        Some(&buffer.page)
    }

    #[inline]
    fn deliver(
        &mut self,
        supply: &mut Supply,
        header: HeaderBytes,
        completions: &mut Completions<'_, SkbAndPage>,
    ) -> Option<Packet> {
        let (head, SkbAndPage { mut skb, page }, len) = completions.next()?;
        self.recv.unlink(head);
        let h = self.shape.header_len;
        supply.first_buffer(&mut skb, page, h, len - h);
        let mut buffers = 1;
        for (head, SkbAndPage { skb: spare, page }, len) in completions {
            self.recv.unlink(head);
            supply.skbs.free(spare);
            skb.push_frag(page, 0, len);
            buffers += 1;
        }
        skb.finish(header, buffers);
        Some(Packet::new(skb))
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
