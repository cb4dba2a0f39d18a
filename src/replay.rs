//! A capture through host and queue, every byte checked, the driver's work timed.
//!
//! Both ends run in the caller's thread, in rounds: the host fills buffers, the queue is polled,
//! the packets are checked, the packets are dropped. Only polling (refills included) and dropping
//! are the driver's work, and only they are timed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::device::source::Frame;
use crate::device::{Host, HostError, Offer};
use crate::memory::PageArena;
use crate::receive::{ConfigError, DeviceFault, Packet, RxConfig, RxError, RxQueue, Stats};
use crate::virtio::{HeaderFlags, VnetHeader};

/// Packets per poll, unless asked otherwise: the weight of a NAPI poll.
pub const DEFAULT_BUDGET: usize = 64;

/// Why a replay cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The queue cannot exist.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The queue refused to go on.
    #[error(transparent)]
    Queue(#[from] RxError),
    /// The host found the driver's ring broken.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The queue found the host untrustworthy.
    #[error("the queue broke on an honest host: {0}")]
    Broken(DeviceFault),
    /// Neither side can go on though frames are left.
    #[error("host and queue wait for each other with frame {0} to be delivered")]
    Stuck(usize),
}

/// What replaying came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Frames that were offered.
    pub offered: u64,
    /// Packets that were delivered.
    pub delivered: u64,
    /// Frames that cannot reach a driver of this configuration.
    pub undeliverable: u64,
    /// Packets that were not what had been offered, and frames that never arrived.
    pub mismatched: u64,
    /// Time spent on the driver's work.
    pub driver_time: Duration,
}

/// A queue and a host, and frames to replay between them.
#[derive(Debug)]
pub struct Replay {
    frames: Arc<[Frame]>,
    queue: RxQueue,
    host: Host,
    budget: usize,
    total: Replayed,
    /// What is on its way: the frame's place, and the buffers it took.
    sent: Vec<(usize, u16)>,
    packets: Vec<Packet>,
    bytes: Vec<u8>,
}

impl Replay {
    /// A fresh queue and host, over an arena of `pages` pages or of twice what a full ring holds,
    /// with the ring filled.
    ///
    /// # Errors
    /// [`ReplayError::Config`]; a `budget` of 0 is [`RxError::ZeroBudget`].
    pub fn new(
        config: RxConfig,
        frames: Arc<[Frame]>,
        budget: usize,
        pages: Option<usize>,
    ) -> Result<Self, ReplayError> {
        if budget == 0 {
            return Err(RxError::ZeroBudget.into());
        }
        // Before anything is made of the configuration, so that an impossible one is named as such.
        config.validate(usize::MAX)?;
        let pages = pages.unwrap_or_else(|| 2 * config.pages_per_ring());
        let arena = PageArena::new(pages).map_err(ConfigError::from)?;
        let mut queue = RxQueue::new(config, &arena)?;
        let host = Host::new(arena.memory(), queue.layout(), config.features)?;
        queue.refill()?;
        let total = Replayed::default();
        let (sent, packets, bytes) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { frames, queue, host, budget, total, sent, packets, bytes })
    }

    /// Replays all frames once.
    ///
    /// # Errors
    /// [`ReplayError`] when one of the two sides fails; a packet that is not what was sent is no
    /// error but counted.
    pub fn pass(&mut self) -> Result<(), ReplayError> {
        let frames = Arc::clone(&self.frames);
        let mut next = 0;
        while next < frames.len() {
            let before = next;
            // No more than one poll's worth at a time: what it reads is still warm, as it is
            // behind a device that keeps pace.
            let end = frames.len().min(next + self.budget);
            let (sent, total) = (&mut self.sent, &mut self.total);
            next += self.host.offer_all(&frames[next..end], |i, offer| {
                total.offered += 1;
                match offer {
                    Offer::Delivered(buffers) => sent.push((before + i, buffers)),
                    Offer::Undeliverable(_) | Offer::NoBuffers(_) => total.undeliverable += 1,
                }
            })?;
            if self.receive(&frames)? == 0 && next == before {
                return Err(ReplayError::Stuck(next));
            }
        }
        Ok(())
    }

    /// Receives what was sent, checks it, and lets go of it; returns how many packets there were.
    fn receive(&mut self, frames: &[Frame]) -> Result<usize, ReplayError> {
        let started = Instant::now();
        let polled = self.queue.poll(self.budget, &mut self.packets)?;
        self.total.driver_time += started.elapsed();
        if let Some(fault) = polled.broken {
            return Err(ReplayError::Broken(fault));
        }
        self.total.delivered += polled.delivered as u64;
        let mut right = 0;
        for (packet, &(at, buffers)) in self.packets.iter().zip(&self.sent) {
            packet.copy_to(&mut self.bytes);
            let frame = &frames[at];
            if self.bytes == frame.bytes && packet.header() == delivered(frame.header, buffers) {
                right += 1;
            }
        }
        let most = self.packets.len().max(self.sent.len());
        self.total.mismatched += (most - right) as u64;
        self.sent.clear();
        let started = Instant::now();
        self.packets.clear();
        self.total.driver_time += started.elapsed();
        Ok(polled.received)
    }

    /// What all passes so far came to.
    pub fn total(&self) -> Replayed {
        self.total
    }

    /// The queue's counters.
    pub fn stats(&self) -> Stats {
        self.queue.stats()
    }
}

/// The header that a frame's packet carries when it is delivered (RECEIVE.md, section 7).
fn delivered(header: VnetHeader, buffers: u16) -> VnetHeader {
    let known = HeaderFlags::NEEDS_CSUM | HeaderFlags::DATA_VALID;
    VnetHeader { flags: header.flags & known, hdr_len: 0, num_buffers: buffers, ..header }
}
