//! When to notify, and how.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;

/// Whether the other side, which asked to be told when the index passes `event`, must be told now
/// that it went from `old` to `new` (2.7.10).
///
/// `event = X` asks for a notification when the index becomes X + 1. All arithmetic wraps at 2^16.
#[inline]
pub const fn need_event(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

/// A notification line between the two sides of a ring: an eventfd.
#[derive(Debug)]
pub struct EventFd {
    file: OwnedFd,
}

impl EventFd {
    /// A line that has not been signalled.
    ///
    /// # Errors
    /// The kernel's, when no descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { file: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    /// Signals the line. A line that is already signalled stays so.
    pub fn signal(&self) {
        // EAGAIN means that the counter is full, hence that the line is signalled; no other error
        // is possible on an eventfd that we own.
        let _ = rustix::io::write(&self.file, &1u64.to_ne_bytes());
    }

    /// Takes the signal back; true if there was one.
    pub fn clear(&self) -> bool {
        self.take() > 0
    }

    /// Takes the signal back and says how often it was given.
    pub fn take(&self) -> u64 {
        let mut count = [0; 8];
        match rustix::io::read(&self.file, &mut count) {
            Ok(_) => u64::from_ne_bytes(count),
            Err(_) => 0,
        }
    }

    /// Sleeps until the line is signalled or `timeout` is over; true if it is signalled. The signal
    /// stays until [`clear`](Self::clear).
    ///
    /// # Errors
    /// `Interrupted` when a Unix signal arrived.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
        let timeout = timeout.try_into().map_err(|_| io::Error::from(Errno::INVAL))?;
        Ok(poll(&mut fds, Some(&timeout))? > 0)
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
