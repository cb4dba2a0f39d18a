//! What a queue's calls come to.

use std::time::Duration;

use super::fault::DeviceFault;

/// Why a queue refuses to do something. It has done nothing then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RxError {
    /// The ring cannot be trusted since this fault was met.
    #[error("the queue is broken ({0}): reset() it to go on")]
    Broken(DeviceFault),
    /// The device was stopped.
    #[error("the queue is stopped: reset() it to go on")]
    Stopped,
    /// The queue was closed.
    #[error("the queue is closed")]
    Closed,
    /// A poll for no packet.
    #[error("budget 0 is not possible: choose at least 1")]
    ZeroBudget,
    /// Buffers can be detached only after the device was stopped.
    #[error("the queue is running: stop() it before detaching its buffers")]
    Running,
}

/// What one poll came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Polled {
    /// Packets received, good or bad: at most the budget.
    pub received: usize,
    /// Packets delivered.
    pub delivered: usize,
    /// The fault that broke the queue in this poll.
    pub broken: Option<DeviceFault>,
}

/// Whether there is something to poll for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Poll now.
    Ready,
    /// Nothing yet. The queue is armed: a completion will notify. Look again after this long even
    /// if none did, where there is a reason to: memory may be back, or a packet overdue.
    Sleep(Option<Duration>),
}
