//! The ring: where buffers are posted and completions come back.
//!
//! Each half of a ring knows only its own side of the shared memory. What a receive queue needs of
//! a driver half is small, and says nothing of how the ring is laid out, so that a packed ring can
//! take the split one's place:
//!
//! | step | call | guarantee |
//! |---|---|---|
//! | post | `add` | the buffer's token is kept until its completion, or handed back in the error |
//! | tell the device | `publish` | everything added so far is visible to it; says whether to kick |
//! | look | `refresh` | says how many completions there are; refuses an impossible number |
//! | judge | `claim` | one completion, checked against what is outstanding, nothing consumed |
//! | take | `take` | the token of a claimed completion; its descriptors are free again |
//! | sleep | `arm`, `recheck` | after `recheck` said no, a completion will notify |
//! | give up | `stop`, `detach_unused_buf` | each outstanding token once |

mod notify;
pub mod split;

pub use notify::{EventFd, need_event};

/// A piece of memory that a descriptor shall describe, for the device to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Guest address.
    pub addr: u64,
    /// Length in bytes.
    pub len: u32,
}

/// The head of an outstanding chain, as the ring has checked it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Head(u16);

impl Head {
    pub(crate) fn new(id: u16) -> Self {
        Self(id)
    }

    /// The descriptor id.
    pub fn id(self) -> u16 {
        self.0
    }
}

/// One completion: a chain that is outstanding, and what the device says it wrote into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The chain, checked.
    pub head: Head,
    /// Bytes written, **unchecked**: whatever the device says.
    pub len: u32,
}

/// Why a buffer could not be added. The token comes back with the reason.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddError<T> {
    /// Fewer free descriptors than segments.
    #[error("the ring has too few free descriptors for the buffer")]
    RingFull(T),
    /// A buffer of no segment cannot be posted.
    #[error("a buffer needs at least one segment")]
    NoSegments(T),
    /// The ring was stopped.
    #[error("the ring is stopped: restart it before adding buffers")]
    Stopped(T),
}

impl<T> AddError<T> {
    /// The token that was refused.
    pub fn into_token(self) -> T {
        match self {
            Self::RingFull(token) | Self::NoSegments(token) | Self::Stopped(token) => token,
        }
    }
}

/// `detach_unused_buf` was called on a ring that the device may still use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ring is running: stop it before detaching its buffers")]
pub struct RingRunning;

/// What the ring itself can find wrong with a device (RECEIVE.md, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingFault {
    /// The used index moved by more than is outstanding, or went back.
    #[error("the used index moved by more than is outstanding, or went back")]
    IndexJump,
    /// A used id is out of range, or not the head of an outstanding chain.
    #[error("a used id is not the head of an outstanding chain")]
    BadUsedId,
}
