//! The control channel: the messages of the vhost-user protocol, in an order that works with DPDK
//! and Open vSwitch, each answered within the timeout or given up.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vhost::vhost_user::message::{
    VhostUserHeaderFlag, VhostUserProtocolFeatures as Protocol, VhostUserVirtioFeatures,
};
use vhost::vhost_user::{Error as Message, Frontend, VhostUserFrontend};
use vhost::{Error, VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vmm_sys_util::eventfd::EventFd as Line;

use super::deadline::Deadline;
use super::error::VhostUserError;
use crate::memory::{GUEST_BASE, SharedMemory};
use crate::ring::EventFd;
use crate::virtio::{Features, SplitLayout};

/// The receive queue and the transmit queue of the one pair; no device delivers with only one.
const RINGS: u64 = 2;
/// The feature that says that there are protocol features (the vhost-user specification).
const PROTOCOL_FEATURES: u64 = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();

const COPYING: &str = "copying a descriptor";

/// What woke a sleeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The device notified.
    Called,
    /// The device hung up, or sent what nobody asked for.
    Gone,
    /// The time is over, or a Unix signal arrived.
    TimedOut,
}

/// One of the two rings, as the device needs to know it.
pub(super) struct Ring<'a> {
    pub layout: SplitLayout,
    /// The line on which the driver notifies.
    pub kick: &'a EventFd,
    /// The line on which the device notifies.
    pub call: &'a Arc<EventFd>,
}

/// A connection to a device that has accepted our memory and rings.
pub struct Session {
    socket: Arc<UnixStream>,
    /// `None` once the device was stopped.
    frontend: Mutex<Option<Frontend>>,
    timeout: Duration,
    /// The line on which the device notifies the receive queue, and how often it did so.
    call: Arc<EventFd>,
    notifications: AtomicU64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("running", &self.is_running()).finish_non_exhaustive()
    }
}

/// A connection on which nothing but the features has been talked about.
pub(super) struct Opening {
    frontend: Frontend,
    socket: Arc<UnixStream>,
    deadline: Deadline,
    timeout: Duration,
    offered: u64,
}

impl Opening {
    /// Asks the device what it is and can do, and makes us its owner. The whole handshake, up to
    /// the end of [`finish`](Self::finish), may take until `until`.
    pub(super) fn begin(
        stream: UnixStream,
        until: Instant,
        timeout: Duration,
    ) -> Result<Self, VhostUserError> {
        let socket = Arc::new(stream);
        let deadline = start_deadline(&socket, until)?;
        let frontend = || {
            let copy = socket.try_clone().map_err(VhostUserError::system(COPYING))?;
            Ok::<_, VhostUserError>(Frontend::from_stream(copy, RINGS))
        };
        let step = Steps { deadline: &deadline, timeout };
        let mut asking = frontend()?;
        let (offered, protocol) = step.features(&mut asking)?;
        if !protocol.contains(Protocol::REPLY_ACK) {
            return Err(VhostUserError::Lacks("the protocol feature REPLY_ACK"));
        }
        if protocol.contains(Protocol::MQ) {
            // The crate takes the answer for a bound of ring numbers, though for a network device
            // it counts pairs: the rest is said by another frontend, which has not heard it.
            step.is("SET_PROTOCOL_FEATURES", asking.set_protocol_features(Protocol::MQ))?;
            let pairs = step.is("GET_QUEUE_NUM", asking.get_queue_num())?;
            if pairs == 0 {
                return Err(VhostUserError::QueueCount(pairs));
            }
        }
        let mut frontend = frontend()?;
        step.features(&mut frontend)?;
        let accepted = frontend.set_protocol_features(Protocol::REPLY_ACK);
        step.is("SET_PROTOCOL_FEATURES", accepted)?;
        // From here on each message is answered, and each answer looked at: going on after a
        // refusal can crash a device.
        frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        step.is("SET_OWNER", frontend.set_owner())?;
        Ok(Self { frontend, socket, deadline, timeout, offered })
    }

    /// The features that the device offers.
    pub(super) fn offered(&self) -> Features {
        Features::from_bits(self.offered & !PROTOCOL_FEATURES)
    }

    /// Hands memory and rings over and lets the device run.
    pub(super) fn finish(
        self,
        features: Features,
        memory: &SharedMemory,
        rings: [Ring<'_>; RINGS as usize],
    ) -> Result<Session, VhostUserError> {
        let Self { mut frontend, socket, deadline, timeout, offered } = self;
        let step = Steps { deadline: &deadline, timeout };
        for (index, ring) in rings.iter().enumerate() {
            step.is("SET_VRING_CALL", frontend.set_vring_call(index, &line(ring.call)?))?;
        }
        let accepted = features.bits() | (offered & PROTOCOL_FEATURES);
        step.is("SET_FEATURES", frontend.set_features(accepted))?;
        let base = memory.as_ptr() as u64;
        let region = VhostUserMemoryRegionInfo {
            guest_phys_addr: GUEST_BASE,
            memory_size: memory.len() as u64,
            userspace_addr: base,
            mmap_offset: 0,
            mmap_handle: memory.fd().as_raw_fd(),
        };
        step.is("SET_MEM_TABLE", frontend.set_mem_table(&[region]))?;
        for (index, ring) in rings.iter().enumerate() {
            // Ring addresses are those of our process, buffer addresses those of the guest.
            let ours = |guest: u64| base + (guest - GUEST_BASE);
            let size = ring.layout.size as u16;
            step.is("SET_VRING_NUM", frontend.set_vring_num(index, size))?;
            step.is("SET_VRING_BASE", frontend.set_vring_base(index, 0))?;
            let addresses = VringConfigData {
                queue_max_size: size,
                queue_size: size,
                flags: 0,
                desc_table_addr: ours(ring.layout.desc),
                used_ring_addr: ours(ring.layout.used),
                avail_ring_addr: ours(ring.layout.avail),
                log_addr: None,
            };
            step.is("SET_VRING_ADDR", frontend.set_vring_addr(index, &addresses))?;
            // Last: a ring is ready once it can be kicked.
            step.is("SET_VRING_KICK", frontend.set_vring_kick(index, &line(ring.kick)?))?;
        }
        for index in 0..rings.len() {
            step.is("SET_VRING_ENABLE", frontend.set_vring_enable(index, true))?;
        }
        if deadline.end() {
            return Err(VhostUserError::Silent { message: "SET_VRING_ENABLE", timeout });
        }
        let session = Session {
            socket,
            frontend: Mutex::new(Some(frontend)),
            timeout,
            call: Arc::clone(rings[0].call),
            notifications: AtomicU64::new(0),
        };
        // An answer with more bytes than it should have leaves some behind.
        match session.look() {
            events if events.is_empty() => Ok(session),
            events if events.intersects(PollFlags::HUP | PollFlags::RDHUP) => {
                Err(VhostUserError::Closed("SET_VRING_ENABLE"))
            }
            _ => Err(VhostUserError::Garbled("SET_VRING_ENABLE")),
        }
    }
}

impl Session {
    /// Stops the device: disables both rings and asks for their positions. When it has answered,
    /// the buffers are ours again; what it completed before can still be polled. The connection
    /// ends in any case.
    ///
    /// # Errors
    /// [`VhostUserError`] when the device does not answer as it should, or was gone: it may still
    /// write into its buffers then. [`VhostUserError::Gone`] if it was stopped before.
    pub fn stop(&self) -> Result<(), VhostUserError> {
        let taken = self.frontend.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut frontend) = taken else { return Err(VhostUserError::Gone) };
        let deadline = start_deadline(&self.socket, Instant::now() + self.timeout)?;
        let step = Steps { deadline: &deadline, timeout: self.timeout };
        let stopped = (0..RINGS as usize).try_for_each(|index| {
            step.is("SET_VRING_ENABLE", frontend.set_vring_enable(index, false))?;
            step.is("GET_VRING_BASE", frontend.get_vring_base(index)).map(drop)
        });
        // Hanging up on a socket that is closed already is no worse.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        stopped
    }

    /// Whether the device has not been stopped by us.
    pub fn is_running(&self) -> bool {
        self.frontend.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether the device hung up, or sent something though nothing was asked. Never waits.
    pub fn is_gone(&self) -> bool {
        !self.look().is_empty() && self.is_running()
    }

    /// What has happened on the socket.
    fn look(&self) -> PollFlags {
        let mut fds = [self.watch()];
        match poll(&mut fds, Some(&Timespec::default())) {
            Ok(1..) => fds[0].revents(),
            _ => PollFlags::empty(),
        }
    }

    /// Sleeps until the device notifies, is gone, or `timeout` is over.
    pub fn wait(&self, timeout: Duration) -> Wake {
        let mut fds = [self.watch(), PollFd::new(&*self.call, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout.try_into().unwrap_or_default())) {
            Ok(0) | Err(_) => Wake::TimedOut,
            Ok(_) if fds[0].revents().is_empty() => {
                self.notifications();
                Wake::Called
            }
            Ok(_) if self.is_running() => Wake::Gone,
            // It answers to being stopped, in another thread.
            Ok(_) => Wake::TimedOut,
        }
    }

    /// How often the device has notified the receive queue so far.
    pub fn notifications(&self) -> u64 {
        let new = self.call.take();
        self.notifications.fetch_add(new, Ordering::Relaxed) + new
    }

    /// The line on which the device notifies the receive queue.
    pub fn call(&self) -> &Arc<EventFd> {
        &self.call
    }

    /// Anything that happens on the socket while nothing is asked is the end.
    fn watch(&self) -> PollFd<'_> {
        PollFd::new(&self.socket, PollFlags::IN | PollFlags::RDHUP)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = self.stop();
    }
}

/// Names the message that went wrong.
struct Steps<'a> {
    deadline: &'a Deadline,
    timeout: Duration,
}

impl Steps<'_> {
    /// The features and the protocol features that the device offers.
    fn features(&self, frontend: &mut Frontend) -> Result<(u64, Protocol), VhostUserError> {
        let offered = self.is("GET_FEATURES", frontend.get_features())?;
        if offered & PROTOCOL_FEATURES == 0 {
            return Err(VhostUserError::Lacks("VHOST_USER_F_PROTOCOL_FEATURES"));
        }
        let protocol = frontend.get_protocol_features();
        Ok((offered, self.is("GET_PROTOCOL_FEATURES", protocol)?))
    }

    fn is<T>(&self, message: &'static str, answer: vhost::Result<T>) -> Result<T, VhostUserError> {
        answer.map_err(|error| {
            if self.deadline.is_over() {
                return VhostUserError::Silent { message, timeout: self.timeout };
            }
            match error {
                Error::VhostUserProtocol(Message::BackendInternalError) => {
                    VhostUserError::Rejected(message)
                }
                Error::VhostUserProtocol(
                    Message::Disconnected | Message::PartialMessage | Message::SocketBroken(_),
                ) => VhostUserError::Closed(message),
                Error::VhostUserProtocol(Message::InvalidMessage | Message::IncorrectFds) => {
                    VhostUserError::Garbled(message)
                }
                Error::VhostUserProtocol(
                    Message::SocketError(source) | Message::SocketConnect(source),
                ) => VhostUserError::System { what: message, source },
                other => VhostUserError::System { what: message, source: io::Error::other(other) },
            }
        })
    }
}

fn start_deadline(socket: &Arc<UnixStream>, until: Instant) -> Result<Deadline, VhostUserError> {
    Deadline::start(Arc::clone(socket), until).map_err(VhostUserError::system("starting a thread"))
}

/// A copy of a line for the crate that sends it.
fn line(line: &EventFd) -> Result<Line, VhostUserError> {
    let copy = line.as_fd().try_clone_to_owned();
    let copy = copy.map_err(VhostUserError::system(COPYING))?;
    // SAFETY: the descriptor is an eventfd, and nobody else owns it.
    Ok(unsafe { Line::from_raw_fd(copy.into_raw_fd()) })
}
