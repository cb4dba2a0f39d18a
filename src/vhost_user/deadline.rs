//! An end to waiting for answers.
//!
//! The crate that speaks the protocol takes a socket's own timeout (`SO_RCVTIMEO`) for a reason to
//! try again, for ever. So a thread ends what takes too long by shutting the socket down, which
//! every blocked call notices.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

/// Shuts a socket down at some time, unless it was dropped before.
pub(super) struct Deadline {
    over: Arc<AtomicBool>,
    /// The thread, and what wakes it before its time. `None` once it has ended.
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Deadline {
    pub(super) fn start(socket: Arc<UnixStream>, until: Instant) -> io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let (wake, woken) = channel::<()>();
        let run = {
            let over = Arc::clone(&over);
            move || {
                let left = until.saturating_duration_since(Instant::now());
                if woken.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                    over.store(true, Ordering::Release);
                    // Whoever is blocked on a socket that is closed already is blocked no more.
                    let _ = socket.shutdown(Shutdown::Both);
                }
            }
        };
        let thread = Builder::new().name("vhost-user deadline".into()).spawn(run)?;
        Ok(Self { over, thread: Some((wake, thread)) })
    }

    /// Whether the time is over and the socket shut down.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Calls it off; true if it was too late for that.
    pub(super) fn end(mut self) -> bool {
        self.join();
        self.is_over()
    }

    fn join(&mut self) {
        if let Some((wake, thread)) = self.thread.take() {
            drop(wake);
            // The thread cannot panic.
            let _ = thread.join();
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.join();
    }
}
