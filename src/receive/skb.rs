//! The skb: a packet's private head, its pages, and what is known about it.

use std::fmt;
use std::mem::offset_of;
use std::sync::Arc;

use super::config::{GOOD_COPY_LEN, MAX_PACKET_LEN};
use crate::memory::{ChainFront, PAGE_SIZE, Page, PageArena, PageBytes, Recycle, Slot};
use crate::virtio::{HeaderBytes, VnetHeader};

/// Part of a page that holds packet bytes. The page belongs to the skb.
#[derive(Debug)]
pub(crate) struct PagePart {
    page: Page,
    offset: u16,
    len: u16,
}

/// A packet under construction, posted (eager), or delivered.
///
/// Its bytes are, in this order: the private head or the linear part, then the frags. What every
/// packet touches comes first, so that it shares one cache line with the slab's words, and the head
/// begins the next.
#[repr(C)]
pub(crate) struct Skb {
    /// The frags in packet order, and behind them the linear part, if there is one: device-visible,
    /// in the head's place (small and eager big).
    parts: Vec<PagePart>,
    arena: Arc<PageArena>,
    header: HeaderBytes,
    lens: Lens,
    head: [u8; GOOD_COPY_LEN],
}

const _: () = assert!(
    offset_of!(Skb, head) == 64 - 2 * size_of::<usize>() || !cfg!(target_pointer_width = "64")
);

/// Bytes of a packet, and of its head, in one word.
#[derive(Clone, Copy)]
struct Lens(u32);

impl Lens {
    /// In the place of a head's length: there is a linear part.
    const LINEAR: usize = 0xff;

    #[inline]
    fn new(packet: usize, head: usize) -> Self {
        // A packet has less than 2^24 bytes, however many frags there may be, a head 128 at most.
        Self((packet as u32) << 8 | head as u32)
    }

    #[inline]
    fn packet(self) -> usize {
        (self.0 >> 8) as usize
    }

    /// Bytes of the private head; `None` if there is a linear part.
    #[inline]
    fn head(self) -> Option<usize> {
        let head = (self.0 & 0xff) as usize;
        (head != Self::LINEAR).then_some(head)
    }
}

impl Skb {
    pub(crate) fn new(arena: Arc<PageArena>, max_frags: u16) -> Self {
        Self {
            parts: Vec::with_capacity(usize::from(max_frags) + 1),
            arena,
            header: HeaderBytes::default(),
            lens: Lens::new(0, 0),
            head: [0; GOOD_COPY_LEN],
        }
    }

    /// Makes this the skb of a packet of `len` bytes that begins with a private head: the first
    /// `head_len` of them, at most 128, copied from `offset` of `page`. The frags that hold the rest
    /// follow. `header` is what the device wrote, with the number of buffers that were used.
    #[inline(always)]
    pub(crate) fn begin(
        &mut self,
        header: HeaderBytes,
        len: usize,
        page: PageBytes<'_>,
        offset: usize,
        head_len: usize,
    ) {
        self.header = header;
        page.read_into(offset, &mut self.head[..head_len]);
        self.lens = Lens::new(len, head_len);
    }

    /// The same for a packet that begins with a linear part, 1518 bytes at most from `offset` of
    /// `page`. Its frags are there already.
    #[inline(always)]
    pub(crate) fn begin_linear(
        &mut self,
        header: HeaderBytes,
        len: usize,
        page: Page,
        offset: usize,
    ) {
        self.header = header;
        self.push_frag(page, offset, len.min(MAX_PACKET_LEN));
        self.lens = Lens::new(len, Lens::LINEAR);
    }

    /// Appends a frag: `len` bytes of `page` from `offset` on. The page is the skb's from now on.
    #[inline(always)]
    pub(crate) fn push_frag(&mut self, page: Page, offset: usize, len: usize) {
        debug_assert!(offset + len <= PAGE_SIZE && len > 0, "a frag of {len} bytes at {offset}");
        self.parts.push(PagePart { page, offset: offset as u16, len: len as u16 });
    }

    /// The packet has `len` bytes more than was said.
    #[inline(always)]
    pub(crate) fn grow(&mut self, len: usize) {
        self.lens = Lens(self.lens.0 + ((len as u32) << 8));
    }

    fn linear(&self) -> Option<&PagePart> {
        self.parts.last().filter(|_| self.lens.head().is_none())
    }

    fn frags(&self) -> &[PagePart] {
        &self.parts[..self.parts.len() - usize::from(self.lens.head().is_none())]
    }

    /// Takes all pages off; they go in front of `pages`, frag 0 first and the linear part last.
    #[inline(always)]
    pub(crate) fn empty_into(&mut self, pages: &mut ChainFront<'_>) {
        take_off(&mut self.parts, pages);
    }
}

#[inline(always)]
fn take_off(parts: &mut Vec<PagePart>, pages: &mut ChainFront<'_>) {
    while let Some(part) = parts.pop() {
        pages.push(part.page);
    }
}

impl Recycle for Skb {
    #[inline]
    fn recycle(&mut self) {
        let Self { parts, arena, .. } = self;
        let mut pages = ChainFront::new(arena);
        take_off(parts, &mut pages);
        pages.put_pages();
    }
}

impl fmt::Debug for Skb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Skb")
            .field("len", &self.lens.packet())
            .field("head_len", &self.lens.head())
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

/// Part of a page that a delivered packet holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frag {
    /// The page's number in its arena.
    pub page: u32,
    /// First byte of the packet in the page.
    pub offset: u16,
    /// Bytes of the packet in the page.
    pub len: u16,
}

impl From<&PagePart> for Frag {
    fn from(part: &PagePart) -> Self {
        Self { page: part.page.index(), offset: part.offset, len: part.len }
    }
}

/// A delivered packet (RECEIVE.md, section 4, step 5).
///
/// Its pages are its own until it is dropped, which may happen in any thread and after the queue
/// is gone. Bytes of the private head never change; bytes in pages are shared with the device, and
/// a hostile one may still write them (fault F29).
#[derive(Debug)]
pub struct Packet {
    skb: Slot<Skb>,
}

/// Consecutive bytes of a packet.
#[derive(Clone, Copy, Debug)]
pub enum SegmentRef<'a> {
    /// Private bytes.
    Private(&'a [u8]),
    /// Bytes in a page that the device can still write.
    Shared(SharedSegment<'a>),
}

/// See [`SegmentRef::Shared`].
#[derive(Clone, Copy, Debug)]
pub struct SharedSegment<'a> {
    part: &'a PagePart,
    arena: &'a PageArena,
}

impl SegmentRef<'_> {
    /// Bytes in the segment.
    #[allow(clippy::len_without_is_empty, reason = "segments are never empty")]
    pub fn len(&self) -> usize {
        match self {
            Self::Private(bytes) => bytes.len(),
            Self::Shared(shared) => usize::from(shared.part.len),
        }
    }

    /// Copies the segment's first bytes out, as many as `to` has room for; returns how many.
    pub fn copy_to(&self, to: &mut [u8]) -> usize {
        let n = self.len().min(to.len());
        match self {
            Self::Private(bytes) => to[..n].copy_from_slice(&bytes[..n]),
            Self::Shared(SharedSegment { part, arena }) => {
                arena.bytes(&part.page).read_into(usize::from(part.offset), &mut to[..n]);
            }
        }
        n
    }

    /// Where the segment lies. Valid for as long as the packet; shared bytes may change at any
    /// time, so no reference to them may be made.
    #[cfg(feature = "python")]
    pub(crate) fn as_ptr(&self) -> *const u8 {
        match self {
            Self::Private(bytes) => bytes.as_ptr(),
            Self::Shared(SharedSegment { part, arena }) => {
                arena.pointer(&part.page, usize::from(part.offset), usize::from(part.len))
            }
        }
    }
}

impl Packet {
    pub(crate) fn new(skb: Slot<Skb>) -> Self {
        Self { skb }
    }

    pub(crate) fn into_skb(self) -> Slot<Skb> {
        self.skb
    }

    /// Bytes in the packet, the virtio-net header not among them.
    #[allow(clippy::len_without_is_empty, reason = "R1: a delivered packet has 14 bytes or more")]
    pub fn len(&self) -> usize {
        self.skb.lens.packet()
    }

    /// The packet's metadata: as written by the device, `flags` limited to the two known bits,
    /// `hdr_len` 0, `num_buffers` the number of buffers really used.
    pub fn header(&self) -> VnetHeader {
        self.skb.header.delivered()
    }

    /// Bytes in the private head or the linear part.
    pub fn head_len(&self) -> usize {
        let linear = || self.skb.linear().map_or(0, |part| part.len.into());
        self.skb.lens.head().unwrap_or_else(linear)
    }

    /// The part of a page that stands in the place of a private head: small mode, eager big mode.
    pub fn linear(&self) -> Option<Frag> {
        self.skb.linear().map(Frag::from)
    }

    /// The frags, in packet order.
    pub fn frags(&self) -> impl ExactSizeIterator<Item = Frag> + '_ {
        self.skb.frags().iter().map(Frag::from)
    }

    /// Memory that the packet pins: 128 (private head) or 1518 (linear part) bytes, and a whole page
    /// for each frag (L5).
    pub fn truesize(&self) -> usize {
        let head = if self.skb.linear().is_some() { MAX_PACKET_LEN } else { GOOD_COPY_LEN };
        head + PAGE_SIZE * self.skb.frags().len()
    }

    /// The packet's bytes, segment by segment; empty segments are left out.
    pub fn segments(&self) -> impl Iterator<Item = SegmentRef<'_>> {
        let arena = &*self.skb.arena;
        let private = SegmentRef::Private(&self.skb.head[..self.skb.lens.head().unwrap_or(0)]);
        let parts = self.skb.linear().into_iter().chain(self.skb.frags());
        std::iter::once(private)
            .chain(parts.map(move |part| SegmentRef::Shared(SharedSegment { part, arena })))
            .filter(|segment| segment.len() > 0)
    }

    /// Copies the packet's bytes out; `bytes` is resized to [`len`](Self::len).
    pub fn copy_to(&self, bytes: &mut Vec<u8>) {
        bytes.resize(self.len(), 0);
        self.copy_into(bytes);
    }

    /// Copies as many of the packet's bytes out as `bytes` has room for.
    pub fn copy_into(&self, bytes: &mut [u8]) {
        let mut at = 0;
        for segment in self.segments() {
            at += segment.copy_to(&mut bytes[at..]);
        }
    }

    /// A private copy of the packet's bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.copy_to(&mut bytes);
        bytes
    }
}
