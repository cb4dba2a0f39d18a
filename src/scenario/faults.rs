//! The catalogue of what a faulty or hostile device does, F01 to F38, as scenarios and as actions.
//!
//! Not among them: F37, which is every other fault with `first_index` shortly before 65535; F39,
//! which sealed memory rules out; F40, which is a matter of vhost-user.

use super::operation::Operation;
use crate::device::Action;
use crate::receive::DeviceFault;

/// What the receive path owes a device that misbehaves so (RECEIVE.md, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The packet is dropped and counted; the next good one arrives.
    Drop(DeviceFault),
    /// The queue breaks; it works again after a reset.
    Break(DeviceFault),
    /// Packets are delivered, nothing is dropped.
    Deliver,
    /// It cannot be told from what an honest device does: nothing is lost, nothing is unsafe.
    Undetectable,
}

/// One way in which a device commits a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultCase {
    /// What happens to a fresh queue, its first refill included.
    pub operations: Vec<Operation>,
    /// The packets that are delivered on the way: their length, and how many of their bytes are
    /// known, from the first on: those of [`pattern`](crate::device::pattern) with seed 0.
    pub delivered: Vec<(usize, usize)>,
    /// What it comes to.
    pub answer: Answer,
}

impl FaultCase {
    pub(super) fn new(answer: Answer) -> Self {
        Self { operations: vec![Operation::Refill], delivered: Vec::new(), answer }
    }

    /// The device acts, and the queue is polled.
    pub(super) fn act(mut self, actions: impl IntoIterator<Item = Action>) -> Self {
        self.operations.push(Operation::Device { actions: actions.into_iter().collect() });
        self.then(POLL)
    }

    pub(super) fn then(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    /// A packet of `size` bytes is delivered.
    pub(super) fn delivers(mut self, size: usize) -> Self {
        self.delivered.push((size, size));
        self
    }

    /// All that the device does, in order.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        self.operations.iter().flat_map(|operation| match operation {
            Operation::Device { actions } => actions.iter().collect(),
            Operation::Poll { at, .. } => at.iter().flat_map(|place| &place.actions).collect(),
            _ => Vec::new(),
        })
    }
}

pub(super) const POLL: Operation = Operation::Poll { budget: 64, at: Vec::new() };

macro_rules! faults {
    ($($name:ident $summary:literal,)*) => {
        /// A fault of the catalogue.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Fault {
            $(#[doc = $summary] $name,)*
        }

        impl Fault {
            /// All faults.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The fault's id in the catalogue.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// What the device does, in words.
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$name => $summary),* }
            }
        }
    };
}

faults! {
    F01 "A used id that is not below the ring size.",
    F02 "A used id with high bits set over a valid low half.",
    F03 "A used id that is not outstanding: a duplicate completion.",
    F04 "A duplicate completion after the driver has posted that id again.",
    F05 "The id of a descriptor inside a chain.",
    F06 "A used length beyond the buffer.",
    F07 "A used length too short for a header and an Ethernet header.",
    F08 "The shortest packet there can be.",
    F09 "`num_buffers` is 0.",
    F10 "`num_buffers` is garbage though buffers are not mergeable.",
    F11 "`num_buffers` is more than is outstanding.",
    F12 "`num_buffers` around the most frags that an skb has.",
    F13 "The buffers of a packet complete one by one, with polls in between.",
    F14 "The rest of a packet never comes.",
    F15 "A later buffer is empty.",
    F16 "A buffer is not full though not the last.",
    F17 "A later buffer has a bad id or an over-long length.",
    F18 "The used index jumps by more than is outstanding.",
    F19 "The used index goes back.",
    F20 "The descriptor table is overwritten while buffers are posted.",
    F21 "The avail ring and its index are overwritten.",
    F22 "`used.flags` and `avail_event` are garbage.",
    F23 "A `gso_type` that is unknown, or ECN alone.",
    F24 "Segmentation without a size, or without a checksum to complete.",
    F25 "A checksum position outside the packet.",
    F26 "Offloads that were not negotiated.",
    F27 "Unknown flag bits, nonsense in `hdr_len`.",
    F28 "The header is rewritten between two reads.",
    F29 "The payload is rewritten after its completion.",
    F30 "Bytes are written beyond the used length, and into buffers that are posted.",
    F31 "The used length says more than was written.",
    F32 "Notifications without a reason.",
    F33 "Notifications that get lost.",
    F34 "Nothing is ever completed.",
    F35 "Bad packets without end.",
    F36 "The device goes away with buffers outstanding.",
    F38 "Memory runs out at a single allocation.",
}
