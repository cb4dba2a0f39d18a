//! What a device can do wrong, by name (RECEIVE.md, section 5).

use std::fmt;

use crate::ring::RingFault;

/// A fault of the device. All but [`PartialBuffer`](Self::PartialBuffer) made the queue drop a
/// packet or break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceFault {
    /// R1: shorter than a virtio-net header and an Ethernet header.
    ShortPacket,
    /// R2, R3: longer than the buffer it was written to.
    LengthOverrun,
    /// R5: the packet needs more frags than an skb has.
    TooManyFrags,
    /// R4: `num_buffers` is 0.
    ZeroBuffers,
    /// R6: a later buffer of a packet is empty.
    EmptyBuffer,
    /// R7: the rest of a packet never came.
    IncompletePacket,
    /// R8: `num_buffers` is more than is outstanding.
    BufferCount,
    /// A used id that is not the head of an outstanding chain (section 6).
    BadUsedId,
    /// The used index jumped or went back (section 6).
    IndexJump,
    /// The device went away.
    Disconnected,
    /// A checksum position outside the packet (section 7, step 1).
    BadChecksum,
    /// An unknown or inconsistent segmentation type (section 7, steps 2 and 4).
    BadGso,
    /// An offload that was not negotiated (section 7, steps 1 and 3).
    NotNegotiated,
    /// A buffer that is not full though not the last of its packet; delivered all the same.
    PartialBuffer,
}

impl DeviceFault {
    /// Every fault, in the order in which RECEIVE.md lists them.
    pub const ALL: [Self; 14] = [
        Self::ShortPacket,
        Self::LengthOverrun,
        Self::TooManyFrags,
        Self::ZeroBuffers,
        Self::EmptyBuffer,
        Self::IncompletePacket,
        Self::BufferCount,
        Self::BadUsedId,
        Self::IndexJump,
        Self::Disconnected,
        Self::BadChecksum,
        Self::BadGso,
        Self::NotNegotiated,
        Self::PartialBuffer,
    ];

    /// The fault's name, as RECEIVE.md and Python spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ShortPacket => "ShortPacket",
            Self::LengthOverrun => "LengthOverrun",
            Self::TooManyFrags => "TooManyFrags",
            Self::ZeroBuffers => "ZeroBuffers",
            Self::EmptyBuffer => "EmptyBuffer",
            Self::IncompletePacket => "IncompletePacket",
            Self::BufferCount => "BufferCount",
            Self::BadUsedId => "BadUsedId",
            Self::IndexJump => "IndexJump",
            Self::Disconnected => "Disconnected",
            Self::BadChecksum => "BadChecksum",
            Self::BadGso => "BadGso",
            Self::NotNegotiated => "NotNegotiated",
            Self::PartialBuffer => "PartialBuffer",
        }
    }

    /// Whether a dropped packet with this fault counts among `rx_frame_errors` (bad metadata)
    /// rather than `rx_length_errors`.
    pub(crate) const fn is_frame_error(self) -> bool {
        matches!(self, Self::BadChecksum | Self::BadGso | Self::NotNegotiated)
    }
}

impl fmt::Display for DeviceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<RingFault> for DeviceFault {
    fn from(fault: RingFault) -> Self {
        match fault {
            RingFault::IndexJump => Self::IndexJump,
            RingFault::BadUsedId => Self::BadUsedId,
        }
    }
}

/// How often each fault was met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts([u64; DeviceFault::ALL.len()]);

impl FaultCounts {
    /// How often `fault` was met.
    pub fn get(&self, fault: DeviceFault) -> u64 {
        self.0[fault as usize]
    }

    /// Every fault with its count.
    pub fn iter(&self) -> impl Iterator<Item = (DeviceFault, u64)> + '_ {
        DeviceFault::ALL.into_iter().map(|fault| (fault, self.get(fault)))
    }

    pub(crate) fn add(&mut self, fault: DeviceFault, n: u64) {
        self.0[fault as usize] += n;
    }
}
