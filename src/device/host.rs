//! An honest device: fills posted buffers as the standard says (5.1.6.3, 5.1.6.4).
//!
//! It serves anybody's ring, given the memory, the addresses and the negotiated features.

use std::sync::Arc;

use super::source::Frame;
use crate::memory::SharedMemory;
use crate::ring::EventFd;
use crate::ring::split::{Chain, DriverFault, LayoutError, SplitDevice};
use crate::virtio::{Features, GsoType, HeaderBytes, HeaderFlags, SplitLayout, VnetHeader};

/// The longest frame a device may have to deliver: the largest receive buffer that the standard
/// asks for (65,601 bytes, 5.1.6.3.1 of version 1.4) less the 12-byte header.
pub const MAX_FRAME_LEN: usize = 65_589;

/// Where `num_buffers` stands in a header that has it (5.1.6.1).
const NUM_BUFFERS_AT: usize = 10;

/// Buffers that were read and not taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gathered {
    /// How many.
    pub(super) buffers: u16,
    /// Bytes that they have room for.
    pub(super) room: usize,
    /// Buffers that were available.
    pub(super) available: u16,
}

/// What became of a frame that was offered to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It lies in this many buffers.
    Delivered(u16),
    /// The driver has posted too few buffers for now, just so many; the frame was not touched.
    NoBuffers(u16),
    /// It can never reach this driver.
    Undeliverable(Undeliverable),
}

/// Why a frame can never reach a driver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undeliverable {
    /// Longer than the buffers of the mode, or than all buffers of a full ring.
    #[error("a frame of {len} bytes does not fit: the driver's buffers hold {room}")]
    TooLong {
        /// Bytes of the frame.
        len: usize,
        /// Bytes of a frame that the driver has room for.
        room: usize,
    },
    /// Longer than anything that virtio-net carries.
    #[error("a frame of {0} bytes is longer than the {MAX_FRAME_LEN} that virtio-net carries")]
    NotAFrame(usize),
    /// Shorter than an Ethernet header.
    #[error("a frame of {0} bytes is shorter than an Ethernet header, 14")]
    Runt(usize),
    /// Its header needs an offload that was not negotiated.
    #[error("the frame needs {0}, which was not negotiated")]
    NeedsOffload(&'static str),
}

/// Why a host cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The ring does not lie in its memory.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The driver broke the rules of the ring.
    #[error("the driver's ring is broken: {0}")]
    Driver(#[from] DriverFault),
}

/// An honest virtio-net device, receive side.
#[derive(Debug)]
pub struct Host {
    device: SplitDevice,
    features: Features,
    header_len: usize,
    /// The line on which the driver is notified.
    call: Option<Arc<EventFd>>,
    notifications: u64,
    /// Chains of the frame being delivered, kept to save allocations.
    chains: Vec<Chain>,
}

impl Host {
    /// A host for the ring at `layout`, going on from the indices it finds there.
    ///
    /// # Errors
    /// [`HostError::Layout`].
    pub fn new(
        memory: &Arc<SharedMemory>,
        layout: SplitLayout,
        features: Features,
    ) -> Result<Self, HostError> {
        Ok(Self {
            device: SplitDevice::new(memory, layout, features.contains(Features::EVENT_IDX))?,
            features,
            header_len: features.header_len(),
            call: None,
            notifications: 0,
            chains: Vec::new(),
        })
    }

    /// Offers one frame and makes it visible to the driver at once.
    ///
    /// # Errors
    /// [`HostError::Driver`] when the driver's ring makes no sense.
    pub fn offer(&mut self, frame: &Frame) -> Result<Offer, HostError> {
        let offer = self.stage(frame)?;
        self.flush();
        Ok(offer)
    }

    /// Puts a frame into the driver's buffers without telling it; [`flush`](Self::flush) tells.
    /// All buffers of a frame become visible together.
    ///
    /// # Errors
    /// [`HostError::Driver`].
    #[inline]
    pub fn stage(&mut self, frame: &Frame) -> Result<Offer, HostError> {
        if self.stage_singles(std::slice::from_ref(frame), |_| ()) == 1 {
            return Ok(Offer::Delivered(1));
        }
        self.stage_any(frame)
    }

    /// Puts frames into a buffer each for as long as the next frame can be delivered, and the next
    /// buffer is of one segment and large enough: what most frames come to, and nothing has to be
    /// gathered for them. `delivered` is told of each; returns how many they were. What is wrong with
    /// the next, if anything is, [`stage_any`](Self::stage_any) finds out.
    #[inline(always)]
    fn stage_singles(&mut self, frames: &[Frame], mut delivered: impl FnMut(usize)) -> usize {
        let (features, header_len) = (self.features, self.header_len);
        let mut filling = self.device.filling(u16::try_from(frames.len()).unwrap_or(u16::MAX));
        for frame in &frames[..filling.most()] {
            let header = HeaderBytes::from(VnetHeader { num_buffers: 1, ..frame.header });
            if undeliverable(frame, features).is_some()
                || !filling.fill(header, header_len, &frame.bytes)
            {
                break;
            }
            delivered(filling.done() - 1);
        }
        filling.done()
    }

    /// [`stage`](Self::stage) for any frame and any buffers.
    #[inline(never)]
    fn stage_any(&mut self, frame: &Frame) -> Result<Offer, HostError> {
        if let Some(why) = undeliverable(frame, self.features) {
            return Ok(Offer::Undeliverable(why));
        }
        let needed = self.header_len + frame.bytes.len();
        let mergeable = self.features.contains(Features::MRG_RXBUF);
        let Gathered { buffers, room, available } = self.gather(needed, usize::MAX)?;
        if room < needed {
            // With every buffer of the driver in hand, waiting for more is of no use.
            let all = if mergeable { buffers == self.device.size() } else { buffers > 0 };
            if all {
                let room = room.saturating_sub(self.header_len);
                let len = frame.bytes.len();
                return Ok(Offer::Undeliverable(Undeliverable::TooLong { len, room }));
            }
            return Ok(Offer::NoBuffers(available));
        }
        self.fill(frame, buffers)?;
        self.device.take(buffers);
        Ok(Offer::Delivered(buffers))
    }

    /// Reads as many of the available buffers as `needed` bytes take, or as one frame may take and
    /// there are, of no more than `segments` segments together. None of them is taken.
    pub(super) fn gather(
        &mut self,
        needed: usize,
        segments: usize,
    ) -> Result<Gathered, DriverFault> {
        let available = self.device.available_at_most(u16::MAX)?;
        let most = if self.features.contains(Features::MRG_RXBUF) { available } else { 1 };
        let most = most.min(available);
        let (mut buffers, mut room, mut left) = (0u16, 0, segments);
        while room < needed && buffers < most {
            if self.chains.len() <= usize::from(buffers) {
                self.chains.push(Chain::default());
            }
            let chain = &mut self.chains[usize::from(buffers)];
            self.device.peek(buffers, chain)?;
            let Some(rest) = left.checked_sub(chain.segments.len()) else { break };
            left = rest;
            room += chain.capacity();
            buffers += 1;
        }
        Ok(Gathered { buffers, room, available })
    }

    /// The first `buffers` of the buffers that were gathered last.
    pub(super) fn gathered(&self, buffers: u16) -> &[Chain] {
        self.chains.get(..usize::from(buffers)).unwrap_or_default()
    }

    /// Completes those of the first `gathered` buffers that a frame of `len` bytes, its header
    /// included, was written to by somebody else; returns how many. The rest stay available.
    pub(super) fn complete(&mut self, len: usize, gathered: u16) -> Result<u16, DriverFault> {
        let mut rest = len;
        let mut buffers = 0;
        for chain in self.chains.iter().take(gathered.into()) {
            if rest == 0 {
                break;
            }
            let filled = rest.min(chain.capacity());
            self.device.push_used(chain.head.into(), filled as u32);
            rest -= filled;
            buffers += 1;
        }
        if let Some(first) = self.chains.first().filter(|_| self.header_len > NUM_BUFFERS_AT) {
            self.device.write(first, NUM_BUFFERS_AT, &u16::to_le_bytes(buffers))?;
        }
        self.device.take(buffers);
        Ok(buffers)
    }

    /// Writes header and frame over the first `buffers` chains: all but the last are filled.
    fn fill(&mut self, frame: &Frame, buffers: u16) -> Result<(), HostError> {
        let header = VnetHeader { num_buffers: buffers, ..frame.header }.to_bytes();
        let mut rest = &frame.bytes[..];
        for (i, chain) in self.chains[..usize::from(buffers)].iter().enumerate() {
            let mut written = 0;
            if i == 0 {
                written = self.device.write(chain, 0, &header[..self.header_len])?;
            }
            let n = self.device.write(chain, written, rest)?;
            rest = &rest[n..];
            self.device.push_used(chain.head.into(), (written + n) as u32);
        }
        Ok(())
    }

    /// Makes staged frames visible to the driver and notifies it if it asked for that.
    pub fn flush(&mut self) {
        if self.device.publish() {
            self.notifications += 1;
            if let Some(line) = &self.call {
                line.signal();
            }
        }
    }

    /// Offers frames until the driver has no buffer left for the next one, then makes them visible
    /// together. Undeliverable frames are passed over; `judged` is told of each frame that is done
    /// with. Returns how many frames that was.
    ///
    /// # Errors
    /// [`HostError::Driver`]; frames staged so far are visible.
    pub fn offer_all(
        &mut self,
        frames: &[Frame],
        mut judged: impl FnMut(usize, Offer),
    ) -> Result<usize, HostError> {
        let mut done = 0;
        let result = loop {
            let delivered = |i| judged(done + i, Offer::Delivered(1));
            match self.stage_singles(&frames[done..], delivered) {
                0 => {}
                singles => {
                    done += singles;
                    continue;
                }
            }
            let Some(frame) = frames.get(done) else { break Ok(done) };
            match self.stage_any(frame) {
                Ok(Offer::NoBuffers(_)) => break Ok(done),
                Ok(offer) => judged(done, offer),
                Err(fault) => break Err(fault),
            }
            done += 1;
        };
        self.flush();
        result
    }

    /// The line on which the driver is notified; `None` (the default) only counts notifications.
    pub fn set_call(&mut self, line: Option<Arc<EventFd>>) {
        self.call = line;
    }

    /// Notifications sent so far.
    pub fn notifications(&self) -> u64 {
        self.notifications
    }

    /// The negotiated features.
    pub fn features(&self) -> Features {
        self.features
    }

    /// The device half of the ring, for those who want to do something special.
    pub fn device(&mut self) -> &mut SplitDevice {
        &mut self.device
    }
}

/// What keeps a frame from ever reaching a driver, its length in buffers aside.
#[inline]
fn undeliverable(frame: &Frame, features: Features) -> Option<Undeliverable> {
    let len = frame.bytes.len();
    if len > MAX_FRAME_LEN {
        return Some(Undeliverable::NotAFrame(len));
    }
    if len < 14 {
        return Some(Undeliverable::Runt(len));
    }
    missing_offload(&frame.header, features).map(Undeliverable::NeedsOffload)
}

/// The first offload that `header` needs and `features` lacks.
#[inline]
fn missing_offload(header: &VnetHeader, features: Features) -> Option<&'static str> {
    if header.flags & HeaderFlags::NEEDS_CSUM == 0 && header.gso_type == GsoType::NONE {
        return None;
    }
    let lacks = |feature| !features.intersects(feature);
    if header.flags & HeaderFlags::NEEDS_CSUM != 0 && lacks(Features::GUEST_CSUM) {
        return Some("GUEST_CSUM");
    }
    let needed = match header.gso_type & !GsoType::ECN {
        GsoType::TCPV4 => Some((Features::GUEST_TSO4, "GUEST_TSO4")),
        GsoType::TCPV6 => Some((Features::GUEST_TSO6, "GUEST_TSO6")),
        GsoType::UDP => Some((Features::GUEST_UFO, "GUEST_UFO")),
        GsoType::UDP_L4 => {
            Some((Features::GUEST_USO4 | Features::GUEST_USO6, "GUEST_USO4 or GUEST_USO6"))
        }
        _ => None,
    };
    match needed {
        Some((feature, name)) if lacks(feature) => Some(name),
        _ if header.gso_type & GsoType::ECN != 0 && lacks(Features::GUEST_ECN) => Some("GUEST_ECN"),
        _ => None,
    }
}
