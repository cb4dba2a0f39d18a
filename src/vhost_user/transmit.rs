//! The transmit queue of the pair. A device wants both queues before it delivers anything; this one
//! can send, so that ARP and ping can be answered.

use std::sync::Arc;

use super::error::VhostUserError;
use crate::memory::{PAGE_SIZE, Page, PageArena, RingArea};
use crate::receive::ConfigError;
use crate::ring::split::SplitDriver;
use crate::ring::{EventFd, RingFault, Segment};
use crate::virtio::{Features, HEADER_LEN_MERGEABLE, SplitLayout};

/// Descriptors of the transmit ring.
pub const TX_RING_SIZE: u32 = 256;
/// The longest frame that a page holds behind its header.
const MAX_FRAME: usize = PAGE_SIZE - HEADER_LEN_MERGEABLE;
/// An Ethernet header.
const MIN_FRAME: usize = 14;

/// Why a frame was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Not a frame that can be sent.
    #[error("a frame of {0} bytes cannot be sent: give {MIN_FRAME} to {MAX_FRAME}")]
    Length(usize),
    /// The device has not read earlier frames yet, or no page is free.
    #[error("the transmit queue is full: try again once the device has read what it has")]
    Full,
    /// The device wrote nonsense into the transmit ring.
    #[error("the transmit ring cannot be trusted any more ({0}): reconnect() to go on")]
    Broken(RingFault),
}

/// A transmit queue of one page per frame, without offloads.
#[derive(Debug)]
pub struct TxQueue {
    ring: SplitDriver<Page>,
    area: RingArea,
    kick: EventFd,
    call: Arc<EventFd>,
    broken: Option<RingFault>,
    sent: u64,
}

impl TxQueue {
    /// A queue over `arena`, with a ring in the arena's memory. It takes no page until it sends.
    ///
    /// # Errors
    /// [`VhostUserError`] when the arena has no room for the ring, or no descriptor is left.
    pub(super) fn new(arena: &Arc<PageArena>, features: Features) -> Result<Self, VhostUserError> {
        let area =
            RingArea::new(arena, TX_RING_SIZE).ok_or(ConfigError::NoRingRoom(TX_RING_SIZE))?;
        let event_idx = features.contains(Features::EVENT_IDX);
        let ring = SplitDriver::new(arena.memory(), area.layout(), event_idx, 0);
        let mut ring = ring.map_err(ConfigError::from)?;
        // Completions are looked for when the next frame is sent; nobody waits for them.
        ring.disarm();
        let line = || EventFd::new().map_err(VhostUserError::system("making an eventfd"));
        let (kick, call) = (line()?, Arc::new(line()?));
        Ok(Self { ring, area, kick, call, broken: None, sent: 0 })
    }

    /// Copies a frame into a page and gives it to the device, without waiting for it to be read.
    ///
    /// # Errors
    /// [`SendError`]; the frame was not sent then.
    pub fn send(&mut self, frame: &[u8]) -> Result<(), SendError> {
        if !(MIN_FRAME..=MAX_FRAME).contains(&frame.len()) {
            return Err(SendError::Length(frame.len()));
        }
        self.reclaim()?;
        if self.ring.free() == 0 {
            return Err(SendError::Full);
        }
        let arena = Arc::clone(self.area.arena());
        let page = arena.alloc_page().ok_or(SendError::Full)?;
        let addr = arena.address(&page);
        // A header of zeroes asks for nothing. The page was checked when the arena was made.
        let written = arena.memory().write(addr, &[0; HEADER_LEN_MERGEABLE]);
        let frame_at = addr + HEADER_LEN_MERGEABLE as u64;
        let written = written.and_then(|()| arena.memory().write(frame_at, frame));
        debug_assert!(written.is_ok(), "a page lies in its arena");
        let segment = Segment { addr, len: (HEADER_LEN_MERGEABLE + frame.len()) as u32 };
        match self.ring.add_readable(&[segment], page) {
            Ok(_) => {}
            Err(refused) => {
                arena.put_page(refused.into_token());
                return Err(SendError::Full);
            }
        }
        self.sent += 1;
        if self.ring.publish() {
            self.kick.signal();
        }
        Ok(())
    }

    /// Takes back the pages of the frames that the device has read; how many.
    ///
    /// # Errors
    /// [`SendError::Broken`], from then on for ever.
    pub fn reclaim(&mut self) -> Result<usize, SendError> {
        let taken = match self.broken {
            Some(fault) => Err(fault),
            None => self.drain(),
        };
        taken.map_err(|fault| {
            self.broken = Some(fault);
            SendError::Broken(fault)
        })
    }

    fn drain(&mut self) -> Result<usize, RingFault> {
        self.ring.refresh()?;
        let pending = self.ring.pending();
        for _ in 0..pending {
            let read = self.ring.claim(0)?;
            if let Some(page) = self.ring.take(read.head) {
                self.area.arena().put_page(page);
            }
        }
        Ok(usize::from(pending))
    }

    /// Frames given to the device so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Frames, and so pages, that the device has.
    pub fn outstanding(&self) -> u16 {
        self.ring.outstanding()
    }

    pub(super) fn layout(&self) -> SplitLayout {
        self.area.layout()
    }

    pub(super) fn kick(&self) -> &EventFd {
        &self.kick
    }

    pub(super) fn call(&self) -> &Arc<EventFd> {
        &self.call
    }
}

impl Drop for TxQueue {
    fn drop(&mut self) {
        self.ring.stop();
        while let Ok(Some((_, page))) = self.ring.detach_unused_buf() {
            self.area.arena().put_page(page);
        }
    }
}
