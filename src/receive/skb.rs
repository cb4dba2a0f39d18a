//! The skb: a packet's private head, its pages, and what is known about it.

use std::fmt;
use std::sync::Arc;

use super::config::{GOOD_COPY_LEN, MAX_PACKET_LEN};
use crate::memory::{PAGE_SIZE, Page, PageArena, PageChain, Recycle, Slot};
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
/// Its bytes are, in this order: the private head or the linear part, then the frags.
pub(crate) struct Skb {
    header: HeaderBytes,
    len: usize,
    head: [u8; GOOD_COPY_LEN],
    head_len: usize,
    /// Small and eager big: the device-visible linear part takes the head's place.
    linear: Option<PagePart>,
    frags: Vec<PagePart>,
    arena: Arc<PageArena>,
}

impl Skb {
    pub(crate) fn new(arena: Arc<PageArena>, max_frags: u16) -> Self {
        Self {
            header: HeaderBytes::default(),
            len: 0,
            head: [0; GOOD_COPY_LEN],
            head_len: 0,
            linear: None,
            frags: Vec::with_capacity(usize::from(max_frags)),
            arena,
        }
    }

    /// Gives the skb a linear part: 1518 bytes of `page` from `offset` on, none of them filled.
    pub(crate) fn set_linear(&mut self, page: Page, offset: usize) {
        self.linear = Some(PagePart { page, offset: offset as u16, len: 0 });
    }

    /// The page of the linear part.
    pub(crate) fn linear_page(&self) -> Option<&Page> {
        self.linear.as_ref().map(|part| &part.page)
    }

    /// Says how many bytes of the linear part the packet fills.
    pub(crate) fn fill_linear(&mut self, len: usize) {
        if let Some(part) = &mut self.linear {
            part.len = len.min(MAX_PACKET_LEN) as u16;
            self.len = usize::from(part.len);
        }
    }

    /// Copies the packet's first bytes, at most 128 of the `len` at `offset` of `page`, into the
    /// private head; returns how many.
    #[inline]
    pub(crate) fn copy_head(&mut self, page: &Page, offset: usize, len: usize) -> usize {
        let n = len.min(GOOD_COPY_LEN);
        self.arena.read(page, offset, &mut self.head[..n]);
        (self.head_len, self.len) = (n, n);
        n
    }

    /// Appends a frag: `len` bytes of `page` from `offset` on. The page is the skb's from now on.
    #[inline]
    pub(crate) fn push_frag(&mut self, page: Page, offset: usize, len: usize) {
        debug_assert!(offset + len <= PAGE_SIZE && len > 0, "a frag of {len} bytes at {offset}");
        self.frags.push(PagePart { page, offset: offset as u16, len: len as u16 });
        self.len += len;
    }

    /// Packet bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// What the device wrote of the packet's metadata, and the number of buffers really used.
    #[inline]
    pub(crate) fn set_header(&mut self, header: HeaderBytes, buffers: u16) {
        self.header = header.delivered(buffers);
    }
}

impl Skb {
    /// Makes the skb as good as new; its pages go in front of `pages`, frag 0 first and the linear
    /// part last. (A packet begins with a head or a linear part: whichever it is sets the lengths.)
    #[inline]
    pub(crate) fn empty_into(&mut self, pages: &mut PageChain) {
        if self.linear.is_some() || !self.frags.is_empty() {
            self.pages_into(pages);
        }
    }

    fn pages_into(&mut self, pages: &mut PageChain) {
        if let Some(part) = self.linear.take() {
            pages.push_front(part.page, &self.arena);
        }
        while let Some(part) = self.frags.pop() {
            pages.push_front(part.page, &self.arena);
        }
    }
}

impl Recycle for Skb {
    #[inline]
    fn recycle(&mut self) {
        let mut pages = PageChain::new();
        self.empty_into(&mut pages);
        self.arena.put_pages(pages);
    }
}

impl fmt::Debug for Skb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Skb")
            .field("len", &self.len)
            .field("head_len", &self.head_len)
            .field("linear", &self.linear)
            .field("frags", &self.frags)
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
                arena.read(&part.page, usize::from(part.offset), &mut to[..n]);
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
        self.skb.len
    }

    /// The packet's metadata: as written by the device, `flags` limited to the two known bits,
    /// `hdr_len` 0, `num_buffers` the number of buffers really used.
    pub fn header(&self) -> VnetHeader {
        self.skb.header.decode()
    }

    /// Bytes in the private head or the linear part.
    pub fn head_len(&self) -> usize {
        self.skb.linear.as_ref().map_or(self.skb.head_len, |part| usize::from(part.len))
    }

    /// The part of a page that stands in the place of a private head: small mode, eager big mode.
    pub fn linear(&self) -> Option<Frag> {
        self.skb.linear.as_ref().map(Frag::from)
    }

    /// The frags, in packet order.
    pub fn frags(&self) -> impl ExactSizeIterator<Item = Frag> + '_ {
        self.skb.frags.iter().map(Frag::from)
    }

    /// Memory that the packet pins: 128 (private head) or 1518 (linear part) bytes, and a whole page
    /// for each frag (L5).
    pub fn truesize(&self) -> usize {
        let head = if self.skb.linear.is_some() { MAX_PACKET_LEN } else { GOOD_COPY_LEN };
        head + PAGE_SIZE * self.skb.frags.len()
    }

    /// The packet's bytes, segment by segment; empty segments are left out.
    pub fn segments(&self) -> impl Iterator<Item = SegmentRef<'_>> {
        let arena = &*self.skb.arena;
        let private = SegmentRef::Private(&self.skb.head[..self.skb.head_len]);
        let parts = self.skb.linear.iter().chain(&self.skb.frags);
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
