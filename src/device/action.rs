//! What a device can be told to do, good or bad (`docs/scenario.md`, "The device").
//!
//! Positions and lengths are bytes, `back` counts from the newest completed chain (0), ids and
//! lengths of used entries are the 32-bit words that are written.

/// One thing that a [`FaultyDevice`](super::FaultyDevice) does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Writes a packet over ready chains and completes them, honestly or not.
    Send(Sending),
    /// Writes the entries of the first `count` completions that were held back.
    Publish {
        /// How many, at most.
        count: u8,
    },
    /// Writes any used entry.
    Complete {
        /// The id written.
        id: u32,
        /// The length written.
        len: u32,
    },
    /// Completes a chain once more.
    Again {
        /// Which.
        back: u8,
        /// The length written; `None` for what it was completed with.
        len: Option<u32>,
    },
    /// Moves the used index without writing an entry.
    Jump {
        /// By how much, mod 2^16.
        by: u16,
    },
    /// Overwrites the buffer of a completed chain.
    Rewrite {
        /// Which.
        back: u8,
        /// First byte of the chain.
        at: u32,
        /// What is written.
        bytes: Vec<u8>,
    },
    /// Overwrites the buffer of a ready chain, which stays ready.
    Stray {
        /// Which, mod the number of ready chains.
        chain: u16,
        /// First byte of the chain.
        at: u32,
        /// What is written.
        bytes: Vec<u8>,
    },
    /// Overwrites what the driver alone may write.
    Scribble {
        /// Which part of the ring.
        area: Area,
        /// First byte, mod the length of the area.
        at: u16,
        /// What is written.
        bytes: Vec<u8>,
    },
    /// Stores `used.flags`.
    Flags {
        /// The value.
        value: u16,
    },
    /// Asks for a kick by index.
    Event {
        /// How far ahead of `avail.idx`, mod 2^16.
        ahead: u16,
    },
}

impl Action {
    /// Every kind of action, with the defaults of its fields.
    pub fn all() -> [Self; 10] {
        [
            Self::Send(Sending::default()),
            Self::Publish { count: 64 },
            Self::Complete { id: 0, len: 0 },
            Self::Again { back: 0, len: None },
            Self::Jump { by: 1 },
            Self::Rewrite { back: 0, at: 0, bytes: Vec::new() },
            Self::Stray { chain: 0, at: 0, bytes: Vec::new() },
            Self::Scribble { area: Area::Desc, at: 0, bytes: Vec::new() },
            Self::Flags { value: 0 },
            Self::Event { ahead: 0 },
        ]
    }

    /// The action's name in a scenario.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Send(_) => "send",
            Self::Publish { .. } => "publish",
            Self::Complete { .. } => "complete",
            Self::Again { .. } => "again",
            Self::Jump { .. } => "jump",
            Self::Rewrite { .. } => "rewrite",
            Self::Stray { .. } => "stray",
            Self::Scribble { .. } => "scribble",
            Self::Flags { .. } => "flags",
            Self::Event { .. } => "event",
        }
    }
}

impl From<Sending> for Action {
    fn from(sending: Sending) -> Self {
        Self::Send(sending)
    }
}

/// How a packet is sent. The default is an honest one of no byte: header, buffers and lengths as
/// they should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sending {
    /// Bytes of the packet, without the virtio-net header.
    pub size: u32,
    /// Where in the pattern its bytes start.
    pub seed: u8,
    /// flags, gso_type, hdr_len, gso_size, csum_start, csum_offset; of the first two the low byte.
    pub header: [u16; 6],
    /// What the header says of buffers; `None` for the number used.
    pub num_buffers: Option<u16>,
    /// Mergeable mode: how many buffers; `None` for as many as it takes.
    pub buffers: Option<u8>,
    /// How much of the k-th buffer is used at most.
    pub fill: Vec<u32>,
    /// (k, what the k-th used entry says was written).
    pub len: Vec<(u8, u32)>,
    /// (k, the id in the k-th used entry).
    pub id: Vec<(u8, u32)>,
    /// (k, what is added to the id in the k-th used entry, mod 2^32).
    pub id_add: Vec<(u8, u32)>,
    /// How many of the last completions are held back.
    pub hold: u8,
}

impl Sending {
    /// An honest packet of `size` bytes.
    pub fn new(size: u32) -> Self {
        Self { size, ..Self::default() }
    }
}

/// A part of the ring that belongs to the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Area {
    /// The descriptor table.
    Desc,
    /// The avail ring, `used_event` included.
    Avail,
}

impl Area {
    /// Both areas.
    pub const ALL: [Self; 2] = [Self::Desc, Self::Avail];

    /// The area's name in a scenario.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Desc => "desc",
            Self::Avail => "avail",
        }
    }
}
