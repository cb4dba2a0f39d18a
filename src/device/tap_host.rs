//! A TAP at the other end of a ring, in the caller's thread.
//!
//! ```text
//!   gather ─► readv(posted buffers ..., rest) ─┬─ it all fitted ──► complete what was filled
//!   (peeked at, not taken)                     └─ some is in rest ─► put together, offered later
//! ```
//!
//! The kernel writes each frame straight into the posted buffers. Only the part of one that finds
//! no room there is read into private memory: a read that is too small would lose it silently.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::host::{Gathered, Host, HostError, MAX_FRAME_LEN, Offer};
use super::source::{Frame, Tap, TapError};
use crate::memory::{MAX_PARTS, ReadError, SharedMemory};
use crate::ring::EventFd;
use crate::ring::split::{Chain, DriverFault};
use crate::virtio::VnetHeader;

/// How long a host without a buffer sleeps before it looks again.
const NAP: Duration = Duration::from_millis(20);

/// Why a TAP host cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TapHostError {
    /// The driver is to blame.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The TAP is.
    #[error(transparent)]
    Tap(#[from] TapError),
}

impl From<DriverFault> for TapHostError {
    fn from(fault: DriverFault) -> Self {
        Self::Host(fault.into())
    }
}

/// A host whose frames come from a TAP.
#[derive(Debug)]
pub struct TapHost {
    host: Host,
    tap: Arc<Tap>,
    memory: Arc<SharedMemory>,
    header_len: usize,
    /// A frame that was read while the driver had too few buffers for it.
    pending: Option<Frame>,
    /// Where the end of such a frame is read to.
    rest: Box<[u8]>,
    delivered: u64,
    undeliverable: u64,
}

/// What became of one attempt.
enum Step {
    /// A frame is done with.
    Frame,
    /// No frame, or no room for one.
    Nothing,
}

impl TapHost {
    /// Feeds `host`'s ring from `tap`, which was opened for the same features.
    pub fn new(mut host: Host, tap: Arc<Tap>) -> Self {
        let memory = Arc::clone(host.device().memory());
        let header_len = host.features().header_len();
        let rest = vec![0; header_len + MAX_FRAME_LEN + 1].into();
        Self { host, tap, memory, header_len, pending: None, rest, delivered: 0, undeliverable: 0 }
    }

    /// Moves at most `most` frames from the TAP to the driver and makes them visible together;
    /// returns how many are done with. Never waits.
    ///
    /// # Errors
    /// [`TapHostError`]. Frames that were moved before are visible, and counted.
    pub fn pump(&mut self, most: usize) -> Result<usize, TapHostError> {
        let mut done = 0;
        let result = loop {
            if done == most {
                break Ok(());
            }
            match self.step() {
                Ok(Step::Frame) => done += 1,
                Ok(Step::Nothing) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.host.flush();
        result.map(|()| done)
    }

    fn step(&mut self) -> Result<Step, TapHostError> {
        if self.pending.is_some() {
            return self.offer_pending();
        }
        let largest = self.header_len + MAX_FRAME_LEN;
        let Gathered { buffers, room, available } = self.host.gather(largest, MAX_PARTS)?;
        if available == 0 {
            return Ok(Step::Nothing);
        }
        let chains = self.host.gathered(buffers);
        let read = match self.memory.read_from(&*self.tap, parts(chains), &mut self.rest) {
            Ok(read) => read,
            Err(ReadError::System(error)) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => return Ok(Step::Nothing),
                _ => return Err(self.tap.broken("reading", error).into()),
            },
            // The chains were checked, and no more parts were gathered than fit.
            Err(error) => return Err(self.tap.broken("reading", io::Error::other(error)).into()),
        };
        if read == 0 {
            return Ok(Step::Nothing);
        }
        if read <= room {
            self.host.complete(read, buffers)?;
            self.delivered += 1;
            return Ok(Step::Frame);
        }
        self.pending = Some(self.put_together(buffers, read)?);
        self.offer_pending()
    }

    /// The frame of which a part was read into `buffers` posted buffers and the end into `rest`.
    fn put_together(&self, buffers: u16, read: usize) -> Result<Frame, TapHostError> {
        let mut bytes = Vec::with_capacity(read);
        for (addr, len) in parts(self.host.gathered(buffers)) {
            let at = bytes.len();
            bytes.resize(at + len, 0);
            let part = bytes.get_mut(at..).unwrap_or_default();
            self.memory.read(addr, part).map_err(DriverFault::from)?;
        }
        let left = read.saturating_sub(bytes.len()).min(self.rest.len());
        bytes.extend_from_slice(self.rest.get(..left).unwrap_or_default());
        let header = VnetHeader::from_bytes(bytes.get(..self.header_len).unwrap_or(&bytes));
        bytes.drain(..self.header_len.min(bytes.len()));
        Ok(Frame { header, bytes })
    }

    fn offer_pending(&mut self) -> Result<Step, TapHostError> {
        let Some(frame) = self.pending.take() else { return Ok(Step::Nothing) };
        match self.host.stage(&frame)? {
            Offer::Delivered(_) => self.delivered += 1,
            Offer::Undeliverable(_) => self.undeliverable += 1,
            Offer::NoBuffers(_) => {
                self.pending = Some(frame);
                return Ok(Step::Nothing);
            }
        }
        Ok(Step::Frame)
    }

    /// Sleeps until there is a frame and a buffer to read it into, until `wake` is signalled, or
    /// until `timeout` is over: true if a pump may move something. While the driver has too few
    /// buffers, at most 20 ms.
    ///
    /// # Errors
    /// `Interrupted` when a Unix signal arrived.
    pub fn wait(&mut self, wake: &EventFd, timeout: Option<Duration>) -> io::Result<bool> {
        let starved = self.pending.is_some() || self.host.device().available() == Ok(0);
        if starved {
            wake.wait(timeout.map_or(NAP, |timeout| timeout.min(NAP)))?;
            return Ok(false);
        }
        self.tap.wait(wake, timeout)
    }

    /// Frames delivered.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Frames that were too long for the driver's buffers.
    pub fn undeliverable(&self) -> u64 {
        self.undeliverable
    }

    /// Notifications sent.
    pub fn notifications(&self) -> u64 {
        self.host.notifications()
    }

    /// The TAP.
    pub fn tap(&self) -> &Arc<Tap> {
        &self.tap
    }
}

/// The parts of these buffers, in order.
fn parts(chains: &[Chain]) -> impl Iterator<Item = (u64, usize)> {
    let segments = chains.iter().flat_map(|chain| &chain.segments);
    segments.map(|segment| (segment.addr, segment.len as usize))
}
