//! The device half of a split ring: serves anybody's ring, given where it lies.
//!
//! A device trusts its driver no more than the driver trusts it: ids, addresses and chains are
//! checked, and following a chain takes at most as many steps as the ring has descriptors.

use std::sync::Arc;

use super::{Areas, LayoutError};
use crate::memory::{OutOfRange, SharedMemory};
use crate::ring::{Segment, need_event};
use crate::sync::{Ordering, Site, at, full_fence};
use crate::virtio::{
    AVAIL_F_NO_INTERRUPT, DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, HEADER_LEN_LEGACY,
    HeaderBytes, SplitLayout, USED_F_NO_NOTIFY, UsedElement,
};

/// What a device can find wrong with a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DriverFault {
    /// `avail.idx` is further ahead than the ring is large.
    #[error("avail.idx is {ahead} entries ahead on a ring of {size}")]
    IndexJump {
        /// Entries between the device's position and `avail.idx`.
        ahead: u16,
        /// Ring size.
        size: u16,
    },
    /// An avail entry or a `next` field names no descriptor.
    #[error("descriptor id {id} on a ring of {size}")]
    BadDescriptor {
        /// The id.
        id: u16,
        /// Ring size.
        size: u16,
    },
    /// A chain has more descriptors than the ring, so it is a loop.
    #[error("a descriptor chain loops")]
    Loop,
    /// A descriptor that the device may not write, or an indirect one, in a receive buffer.
    #[error("descriptor flags {0:#x}: a receive buffer is device-writable and not indirect")]
    Flags(u16),
    /// A descriptor of no byte. Refusing it bounds the work of gathering buffers for a frame.
    #[error("a receive descriptor of 0 bytes")]
    NoRoom,
    /// A buffer outside the shared memory.
    #[error("a buffer outside the memory: {0}")]
    OutOfRange(#[from] OutOfRange),
}

/// A posted buffer, as the device half read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The id to complete it with.
    pub head: u16,
    /// Its parts, in order; all device-writable and inside the memory.
    pub segments: Vec<Segment>,
}

impl Chain {
    /// Bytes that it has room for.
    pub fn capacity(&self) -> usize {
        self.segments.iter().map(|segment| segment.len as usize).sum()
    }
}

/// A batch of buffers being filled, one after the other: what moves with each is at hand, and goes
/// back to the ring at the end.
///
/// What limits a device whose driver runs on another core is its stores. Those to the driver's cache
/// lines wait in a short queue that drains in order until the lines have come, so each store made
/// beside them keeps another line from being asked for.
pub(crate) struct Filling<'a> {
    ring: &'a mut SplitDevice,
    /// Buffers that there are to be filled.
    most: u16,
    /// Buffers filled.
    done: u16,
}

impl Filling<'_> {
    /// Buffers that there are to be filled, those that have been among them.
    #[inline(always)]
    pub(crate) fn most(&self) -> usize {
        self.most.into()
    }

    /// Buffers filled so far.
    #[inline(always)]
    pub(crate) fn done(&self) -> usize {
        self.done.into()
    }

    /// Writes a header, of 10 or 12 bytes as `header_len` says, and a frame into the next buffer,
    /// which there must be, and completes it. `false`, and nothing has happened, unless the buffer is
    /// well formed, of one segment and large enough; [`SplitDevice::peek`] tells what it is.
    #[inline(always)]
    pub(crate) fn fill(&mut self, header: HeaderBytes, header_len: usize, frame: &[u8]) -> bool {
        debug_assert!(self.done < self.most);
        let SplitDevice { areas, memory, next_avail, next_used, .. } = &*self.ring;
        let head = areas.avail_entry(next_avail.wrapping_add(self.done));
        if head >= areas.size {
            return false;
        }
        let desc = areas.read_desc(head);
        let kind = desc.flags.get() & (DESC_F_WRITE | DESC_F_INDIRECT | DESC_F_NEXT);
        if kind != DESC_F_WRITE {
            return false;
        }
        let (addr, room) = (desc.addr.get(), desc.len.get() as usize);
        let written = if header_len == HEADER_LEN_LEGACY {
            memory.write_headed(addr, room, header.legacy(), frame)
        } else {
            memory.write_headed(addr, room, header, frame)
        };
        if !written {
            return false;
        }
        let len = (header_len + frame.len()) as u32;
        let element = UsedElement { id: u32::from(head).into(), len: len.into() };
        areas.set_used_entry(next_used.wrapping_add(self.done), element);
        self.done += 1;
        true
    }
}

impl Drop for Filling<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.ring.next_avail = self.ring.next_avail.wrapping_add(self.done);
        self.ring.next_used = self.ring.next_used.wrapping_add(self.done);
    }
}

/// The device half of a split ring (RECEIVE.md, section 6; the standard, 2.7).
#[derive(Debug)]
pub struct SplitDevice {
    areas: Areas,
    memory: Arc<SharedMemory>,
    event_idx: bool,
    /// Index of the next avail entry to take.
    next_avail: u16,
    /// `avail.idx` as last looked at.
    seen: u16,
    /// Index of the next used entry to write.
    next_used: u16,
    /// `used.idx` as the driver was last told.
    published: u16,
}

impl SplitDevice {
    /// A device half for the ring at `layout`. It goes on from the `used.idx` it finds there, as
    /// real devices do, so a ring must be zeroed or resumed before it is handed over.
    ///
    /// # Errors
    /// [`LayoutError`] when the ring cannot lie there.
    pub fn new(
        memory: &Arc<SharedMemory>,
        layout: SplitLayout,
        event_idx: bool,
    ) -> Result<Self, LayoutError> {
        let areas = Areas::new(memory, layout)?;
        let first = areas.used_idx(Ordering::Acquire);
        Ok(Self {
            areas,
            memory: Arc::clone(memory),
            event_idx,
            next_avail: first,
            seen: first,
            next_used: first,
            published: first,
        })
    }

    /// Number of descriptors.
    pub fn size(&self) -> u16 {
        self.areas.size
    }

    /// The memory that the ring and its buffers lie in.
    pub fn memory(&self) -> &Arc<SharedMemory> {
        &self.memory
    }

    /// How many buffers are posted and not taken yet.
    ///
    /// # Errors
    /// [`DriverFault::IndexJump`].
    #[inline]
    pub fn available(&self) -> Result<u16, DriverFault> {
        // Acquire: the avail entries and descriptors behind the index were written before it.
        let idx = self.areas.avail_idx(at(Site::SeeAvail, Ordering::Acquire));
        let ahead = idx.wrapping_sub(self.next_avail);
        let size = self.areas.size;
        if ahead > size { Err(DriverFault::IndexJump { ahead, size }) } else { Ok(ahead) }
    }

    /// How many buffers are certainly available, `most` at most: the driver's index is looked at only
    /// if fewer were when it was last. It shares a cache line with the driver, who writes it often.
    ///
    /// # Errors
    /// [`DriverFault::IndexJump`].
    #[inline]
    pub fn available_at_most(&mut self, most: u16) -> Result<u16, DriverFault> {
        let known = self.seen.wrapping_sub(self.next_avail);
        if known >= most {
            return Ok(most);
        }
        let available = self.available()?;
        self.seen = self.next_avail.wrapping_add(available);
        Ok(available.min(most))
    }

    /// Starts filling up to `most` of the buffers that are known to be available; the driver's index
    /// is looked at if none is. With an index that makes no sense, there is none.
    #[inline(always)]
    pub(crate) fn filling(&mut self, most: u16) -> Filling<'_> {
        let known = self.seen.wrapping_sub(self.next_avail);
        let most = match known {
            0 => self.available_at_most(most).unwrap_or(0),
            known => known.min(most),
        };
        Filling { ring: self, most, done: 0 }
    }

    /// A descriptor of a receive buffer, checked, and the one behind it.
    #[inline]
    fn read_segment(&self, id: u16) -> Result<(Segment, Option<u16>), DriverFault> {
        let size = self.areas.size;
        if id >= size {
            return Err(DriverFault::BadDescriptor { id, size });
        }
        let desc = self.areas.read_desc(id);
        let flags = desc.flags.get();
        if flags & DESC_F_WRITE == 0 || flags & DESC_F_INDIRECT != 0 {
            return Err(DriverFault::Flags(flags));
        }
        let segment = Segment { addr: desc.addr.get(), len: desc.len.get() };
        if segment.len == 0 {
            return Err(DriverFault::NoRoom);
        }
        self.memory.check(segment.addr, segment.len as usize)?;
        Ok((segment, (flags & DESC_F_NEXT != 0).then(|| desc.next.get())))
    }

    /// Reads the `k`-th available buffer into `chain` without taking it. `k` must be below
    /// [`available`](Self::available); a stale entry is read otherwise.
    ///
    /// # Errors
    /// [`DriverFault`] when the chain is malformed.
    #[inline]
    pub fn peek(&self, k: u16, chain: &mut Chain) -> Result<(), DriverFault> {
        let size = self.areas.size;
        chain.head = self.areas.avail_entry(self.next_avail.wrapping_add(k));
        chain.segments.clear();
        let mut id = chain.head;
        loop {
            if chain.segments.len() == usize::from(size) {
                return Err(DriverFault::Loop);
            }
            let (segment, next) = self.read_segment(id)?;
            chain.segments.push(segment);
            let Some(next) = next else { return Ok(()) };
            id = next;
        }
    }

    /// Takes the next `n` available buffers; they are the device's until it completes them.
    #[inline]
    pub fn take(&mut self, n: u16) {
        self.next_avail = self.next_avail.wrapping_add(n);
    }

    /// Gives the last `n` taken buffers back untouched.
    pub fn untake(&mut self, n: u16) {
        self.next_avail = self.next_avail.wrapping_sub(n);
    }

    /// Writes a used entry, which the driver sees after the next [`publish`](Self::publish). An
    /// honest device passes the head of a chain it took and the bytes it wrote; nothing is checked
    /// here.
    #[inline]
    pub fn push_used(&mut self, id: u32, len: u32) {
        self.areas.set_used_entry(self.next_used, UsedElement { id: id.into(), len: len.into() });
        self.next_used = self.next_used.wrapping_add(1);
    }

    /// Moves the used index by `n`, mod 2^16, without writing an entry, which no honest device does.
    pub fn skip_used(&mut self, n: u16) {
        self.next_used = self.next_used.wrapping_add(n);
    }

    /// Makes the used entries written so far visible and says whether the driver wants to be
    /// notified. With nothing new, does nothing and says no.
    #[inline]
    pub fn publish(&mut self) -> bool {
        let (old, new) = (self.published, self.next_used);
        if old == new {
            return false;
        }
        self.published = new;
        // Release: the used entries and the packet bytes come before the index that announces them.
        self.areas.set_used_idx(new, at(Site::PublishUsed, Ordering::Release));
        // The mirror of the driver's kick: our store, then a load of what the driver asked for.
        full_fence(Site::CallFence);
        if self.event_idx {
            need_event(self.areas.used_event(), new, old)
        } else {
            self.areas.avail_flags() & AVAIL_F_NO_INTERRUPT == 0
        }
    }

    /// Index of the next used entry, and of the next avail entry to take.
    pub fn position(&self) -> (u16, u16) {
        (self.next_used, self.next_avail)
    }

    /// Asks the driver for a kick when it posts more than the `seen` buffers that are known to be
    /// available. Returns whether it has done so already: then no kick may come.
    ///
    /// # Errors
    /// [`DriverFault::IndexJump`].
    pub fn arm(&mut self, seen: u16) -> Result<bool, DriverFault> {
        if self.event_idx {
            self.areas.set_avail_event(self.next_avail.wrapping_add(seen));
        } else {
            self.areas.set_used_flags(0);
        }
        // Our store, then a load of `avail.idx`: without a full fence both sides may go to sleep.
        full_fence(Site::ArmFence);
        Ok(self.available()? > seen)
    }

    /// Asks the driver for no kicks. With EVENT_IDX nothing is written: an index that has been
    /// passed does not ask again.
    pub fn disarm(&mut self) {
        if !self.event_idx {
            self.areas.set_used_flags(USED_F_NO_NOTIFY);
        }
    }

    /// Writes `bytes` into the chain, `at` bytes behind its start; returns how many found room.
    ///
    /// # Errors
    /// [`DriverFault::OutOfRange`] when the chain is not inside the memory.
    #[inline]
    pub fn write(
        &self,
        chain: &Chain,
        mut at: usize,
        mut bytes: &[u8],
    ) -> Result<usize, DriverFault> {
        let all = bytes.len();
        for segment in &chain.segments {
            let len = segment.len as usize;
            if at >= len {
                at -= len;
                continue;
            }
            let (now, later) = bytes.split_at(bytes.len().min(len - at));
            self.write_segment(*segment, at, now)?;
            bytes = later;
            at = 0;
            if bytes.is_empty() {
                break;
            }
        }
        Ok(all - bytes.len())
    }

    /// Writes `bytes`, `at` bytes behind the start of a segment that has room for them.
    #[inline]
    fn write_segment(&self, segment: Segment, at: usize, bytes: &[u8]) -> Result<(), DriverFault> {
        debug_assert!(at + bytes.len() <= segment.len as usize);
        Ok(self.memory.write(segment.addr.wrapping_add(at as u64), bytes)?)
    }
}
