//! WAIT: a packet whose buffers have not all completed (R7).

use std::time::{Duration, Instant};

use super::config::IncompleteLimit;
use crate::ring::Completion;
use crate::virtio::HeaderBytes;

/// A packet whose later buffers have not completed yet. What was read of it is never read again.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub first: Completion,
    pub header: HeaderBytes,
    pub buffers: u16,
    /// Completions there were when it was last looked at.
    completed: u16,
    /// Polls in a row that found it no further, and the serial number of the last of them.
    polls: u32,
    last_poll: u64,
    since: Instant,
}

impl Waiting {
    /// A packet of `buffers` buffers, `completed` of which have completed, first met in poll number
    /// `poll`.
    pub(crate) fn new(
        first: Completion,
        header: HeaderBytes,
        buffers: u16,
        completed: u16,
        poll: u64,
    ) -> Self {
        let since = Instant::now();
        Self { first, header, buffers, completed, polls: 1, last_poll: poll, since }
    }

    /// Looks again, in poll number `poll`. A poll counts once however often it looks; progress
    /// starts the count, and the clock, anew.
    pub(crate) fn look(&mut self, completed: u16, poll: u64) {
        if completed > self.completed {
            self.completed = completed;
            self.polls = 1;
            self.since = Instant::now();
        } else if self.last_poll != poll {
            self.polls += 1;
        }
        self.last_poll = poll;
    }

    /// Whether anything completed since it was last looked at.
    pub(crate) fn has_news(&self, completed: u16) -> bool {
        completed > self.completed
    }

    /// Whether it has taken too long.
    pub(crate) fn is_overdue(&self, limit: IncompleteLimit) -> bool {
        match limit {
            IncompleteLimit::Polls(most) => self.polls >= most,
            IncompleteLimit::Time(most) => self.since.elapsed() >= most,
        }
    }

    /// How long until it has taken too long, where that is a matter of time.
    pub(crate) fn time_left(&self, limit: IncompleteLimit) -> Option<Duration> {
        match limit {
            IncompleteLimit::Polls(_) => None,
            IncompleteLimit::Time(most) => Some(most.saturating_sub(self.since.elapsed())),
        }
    }
}
