//! Named places in a poll where a test may let the device act (RECEIVE.md, section 11).

/// A place that a poll passes.
///
/// A hook given to [`RxQueue::poll_with`](super::RxQueue::poll_with) is called at each passage; the
/// one that [`poll`](super::RxQueue::poll) gives does nothing and compiles to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// `used.idx` was read and accepted; no used entry was.
    UsedIdxRead,
    /// A packet's header was copied; nothing was decided.
    HeaderCopied,
    /// The queue is about to ask for notifications.
    BeforeRearm,
    /// The queue has asked for notifications and is about to look again.
    AfterRearm,
}

impl Point {
    /// All points, in the order in which a poll passes them.
    pub const ALL: [Self; 4] =
        [Self::UsedIdxRead, Self::HeaderCopied, Self::BeforeRearm, Self::AfterRearm];

    /// The point's name, as RECEIVE.md and Python spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UsedIdxRead => "used_idx_read",
            Self::HeaderCopied => "header_copied",
            Self::BeforeRearm => "before_rearm",
            Self::AfterRearm => "after_rearm",
        }
    }
}
