//! A receive queue whose device is at the other end of a socket.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::endpoint::Endpoint;
use super::error::VhostUserError;
use super::session::{Opening, Ring, Session, Wake};
use super::settings::Settings;
use super::transmit::{SendError, TxQueue};
use crate::memory::PageArena;
use crate::receive::{ConfigError, DeviceFault, Packet, Polled, Readiness, RxError, RxQueue};
use crate::ring::EventFd;
use crate::virtio::Features;

/// How often a driver that only polls looks whether its device is still there.
const LOOK: Duration = Duration::from_millis(10);
/// How long a sleeper goes without a look at the ring, should a notification be lost (F22, F33).
const WATCHDOG: Duration = Duration::from_millis(500);

/// Everything that one connection consists of. Each part may be used by itself; the memory lives as
/// long as any of them, or any packet.
pub(crate) struct Parts {
    pub rx: RxQueue,
    pub tx: TxQueue,
    pub link: Link,
}

impl Parts {
    /// The whole handshake on a fresh connection, over memory of its own. The receive ring is full
    /// of buffers when the device gets to see it.
    pub(crate) fn establish(
        stream: UnixStream,
        settings: &Settings,
        until: Instant,
    ) -> Result<Self, VhostUserError> {
        let opening = Opening::begin(stream, until, settings.timeout)?;
        let features = settings.negotiate(opening.offered())?;
        let config = settings.config(features);
        let arena = PageArena::new(settings.arena_pages(&config)).map_err(ConfigError::from)?;
        let mut rx = RxQueue::new(config, &arena)?;
        let tx = TxQueue::new(&arena, features)?;
        let line = || EventFd::new().map_err(VhostUserError::system("making an eventfd"));
        let (kick, call) = (Arc::new(line()?), Arc::new(line()?));
        rx.set_kick(Some(Arc::clone(&kick)));
        // A new queue is neither broken nor closed, which is all that could be wrong here.
        let _ = rx.refill();
        let rings = [
            Ring { layout: rx.layout(), kick: &kick, call: &call },
            Ring { layout: tx.layout(), kick: tx.kick(), call: tx.call() },
        ];
        let session = Arc::new(opening.finish(features, arena.memory(), rings)?);
        Ok(Self { rx, tx, link: Link { session, looked: Instant::now() } })
    }
}

/// What a receive queue needs of its connection.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub session: Arc<Session>,
    looked: Instant,
}

impl Link {
    /// After a poll: a queue that finds nothing any more and whose device is gone breaks, with what
    /// was completed before delivered. The look costs a system call, so it is taken now and then.
    #[inline]
    pub(crate) fn after_poll(&mut self, queue: &mut RxQueue, polled: &mut Polled) {
        if polled.received == 0 && self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            if self.session.is_gone() && queue.disconnect().is_ok() {
                polled.broken = Some(DeviceFault::Disconnected);
            }
        }
    }
}

/// A receive queue and a transmit queue, with a device behind a vhost-user socket.
///
/// The device is met with [`open`](Self::open) and let go with [`stop`](Self::stop) or by dropping
/// this. When it hangs up, packets that it completed before are still delivered; then the queue
/// breaks with [`DeviceFault::Disconnected`] (F36), and [`reconnect`](Self::reconnect) makes a new
/// one over new memory, in which the old device has no part.
#[derive(Debug)]
pub struct VhostUser {
    // In this order: the device is stopped before its buffers are taken away.
    link: Link,
    rx: RxQueue,
    tx: TxQueue,
    endpoint: Endpoint,
    settings: Settings,
}

impl VhostUser {
    /// Meets the device: connects, or waits for it to connect, and does the handshake, all within
    /// `settings.timeout`. Receiving starts at once.
    ///
    /// # Errors
    /// [`VhostUserError`] naming what is wrong and what to do; nothing is left open then.
    pub fn open(endpoint: Endpoint, settings: Settings) -> Result<Self, VhostUserError> {
        settings.validate()?;
        let until = Instant::now() + settings.timeout;
        let stream = endpoint.open(settings.timeout)?;
        let Parts { rx, tx, link } = Parts::establish(stream, &settings, until)?;
        Ok(Self { link, rx, tx, endpoint, settings })
    }

    /// Stops the device if it is still there, and meets it again, waiting for it for at most
    /// `settings.timeout`. The queues are new, and so are their memory and counters; packets that
    /// are held live on.
    ///
    /// # Errors
    /// As for [`open`](Self::open); the queue is broken or stopped then, and it can be tried again.
    pub fn reconnect(&mut self) -> Result<(), VhostUserError> {
        // It does not matter how the old connection ends.
        let _ = self.stop();
        let until = Instant::now() + self.settings.timeout;
        let stream = self.endpoint.open_patiently(self.settings.timeout)?;
        let Parts { rx, tx, link } = Parts::establish(stream, &self.settings, until)?;
        (self.rx, self.tx, self.link) = (rx, tx, link);
        Ok(())
    }

    /// Receives at most `budget` packets, without asking to be notified of more, which
    /// [`wait`](Self::wait) does; see [`RxQueue::poll_busy`].
    ///
    /// # Errors
    /// [`RxError`].
    #[inline]
    pub fn poll(&mut self, budget: usize, packets: &mut Vec<Packet>) -> Result<Polled, RxError> {
        let mut polled = self.rx.poll_busy(budget, packets)?;
        self.link.after_poll(&mut self.rx, &mut polled);
        Ok(polled)
    }

    /// Takes packets back that are done with; see [`RxQueue::release`].
    #[inline]
    pub fn release(&mut self, packets: &mut Vec<Packet>) {
        self.rx.release(packets);
    }

    /// Sleeps until there is something to poll for: true, or false when `timeout` is over first or
    /// a Unix signal arrived.
    ///
    /// # Errors
    /// [`RxError::Broken`] with `Disconnected` when the device went away, [`RxError::Stopped`] after
    /// [`stop`](Self::stop) once everything was polled.
    pub fn wait(&mut self, timeout: Duration) -> Result<bool, RxError> {
        let until = Instant::now() + timeout;
        loop {
            let limit = match self.rx.prepare_to_sleep()? {
                Readiness::Ready => return Ok(true),
                Readiness::Sleep(limit) => limit.unwrap_or(WATCHDOG).min(WATCHDOG),
            };
            if !self.link.session.is_running() {
                return Err(RxError::Stopped);
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.link.session.wait(limit.min(left)) {
                Wake::Called => {}
                Wake::Gone => {
                    if self.rx.prepare_to_sleep()? == Readiness::Ready {
                        return Ok(true);
                    }
                    self.rx.disconnect()?;
                    return Err(RxError::Broken(DeviceFault::Disconnected));
                }
                Wake::TimedOut if left <= limit => return Ok(false),
                Wake::TimedOut => {
                    self.rx.watchdog();
                }
            }
        }
    }

    /// Sends a frame: see [`TxQueue::send`].
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send(&mut self, frame: &[u8]) -> Result<(), SendError> {
        self.tx.send(frame)
    }

    /// Stops the device. What it completed before can still be polled; then there is
    /// [`reconnect`](Self::reconnect).
    ///
    /// # Errors
    /// [`VhostUserError`] when it is gone or does not answer as it should: the queue is broken then.
    /// [`VhostUserError::Gone`] when it was stopped before.
    pub fn stop(&mut self) -> Result<(), VhostUserError> {
        let stopped = self.link.session.stop();
        if !matches!(stopped, Ok(()) | Err(VhostUserError::Gone)) {
            // Broken or closed before is as good.
            let _ = self.rx.disconnect();
        }
        stopped
    }

    /// The negotiated features.
    pub fn features(&self) -> Features {
        self.rx.config().features
    }

    /// The receive queue.
    pub fn rx(&self) -> &RxQueue {
        &self.rx
    }

    /// The transmit queue.
    pub fn tx(&self) -> &TxQueue {
        &self.tx
    }
}
