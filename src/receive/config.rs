//! What a receive queue is asked to be, and whether it can exist (RECEIVE.md, section 1).

use std::str::FromStr;
use std::time::Duration;

use crate::memory::MemoryError;
use crate::ring::split::{LayoutError, check_size};
use crate::virtio::features::by_name;
use crate::virtio::{Dialect, Features, Mode, UnknownName};

/// Packet bytes that are copied into an skb's private head (the copybreak).
pub const GOOD_COPY_LEN: usize = 128;
/// Bytes of an skb's linear part: Ethernet 14 + VLAN 4 + 1500.
pub const MAX_PACKET_LEN: usize = 1518;
/// Frags of an skb, unless configured otherwise: 65536 / 4096 + 2.
pub const MAX_SKB_FRAGS: u16 = 18;
/// The most frags that can be configured, as in the kernel.
const FRAGS_LIMIT: u16 = 45;

/// When the skb is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// With each buffer posted: how it was before the patch.
    Eager,
    /// When a packet has arrived: what the patch does.
    Deferred,
}

impl Strategy {
    /// Both strategies, the old one first.
    pub const ALL: [Self; 2] = [Self::Eager, Self::Deferred];

    /// The strategy's name, as the command line and Python spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eager => "eager",
            Self::Deferred => "deferred",
        }
    }
}

impl FromStr for Strategy {
    type Err = UnknownName;
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        by_name("strategy", name, &Self::ALL, Self::name)
    }
}

/// How long a packet may stay incomplete before the queue breaks (RECEIVE.md, section 5, WAIT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncompleteLimit {
    /// This many polls in a row without progress. For a device in the caller's own thread.
    Polls(u32),
    /// This long without progress. For a device in another thread or process.
    Time(Duration),
}

impl Default for IncompleteLimit {
    fn default() -> Self {
        Self::Polls(16)
    }
}

/// What a receive queue shall be. Mode and dialect follow from the features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxConfig {
    /// The negotiated features.
    pub features: Features,
    /// When skbs are allocated.
    pub strategy: Strategy,
    /// Number of descriptors: a power of two, 2 to 32768.
    pub ring_size: u32,
    /// The most frags that an skb can have (F), 1 to 45.
    pub max_frags: u16,
    /// How long a packet may stay incomplete.
    pub incomplete: IncompleteLimit,
    /// Where the ring's indices start; for tests of the wrap at 65535.
    pub first_index: u16,
}

impl RxConfig {
    /// The default configuration for a mode: its [default features](Features::default_for), a ring
    /// of 256, 18 frags.
    pub fn new(mode: Mode, strategy: Strategy, dialect: Dialect) -> Self {
        Self::with_features(Features::default_for(mode, dialect), strategy)
    }

    /// The default configuration with these features, which decide mode and dialect.
    pub fn with_features(features: Features, strategy: Strategy) -> Self {
        Self {
            features,
            strategy,
            ring_size: 256,
            max_frags: MAX_SKB_FRAGS,
            incomplete: IncompleteLimit::default(),
            first_index: 0,
        }
    }

    /// The buffer mode that the features call for.
    pub fn mode(&self) -> Mode {
        self.features.mode()
    }

    /// The dialect that the features select.
    pub fn dialect(&self) -> Dialect {
        self.features.dialect()
    }

    /// Descriptors that one buffer takes (RECEIVE.md, section 3).
    pub fn descriptors_per_buffer(&self) -> usize {
        let frags = usize::from(self.max_frags);
        match (self.mode(), self.dialect()) {
            (Mode::Small, Dialect::Legacy) => 2,
            (Mode::Small, Dialect::Modern) | (Mode::Mergeable, _) => 1,
            (Mode::Big, Dialect::Legacy) => frags + 2,
            (Mode::Big, Dialect::Modern) => frags + 1,
        }
    }

    /// Pages that one buffer takes, a linear part included (RECEIVE.md, section 3).
    pub fn pages_per_buffer(&self) -> usize {
        match self.mode() {
            Mode::Small | Mode::Mergeable => 1,
            Mode::Big => usize::from(self.max_frags) + 1,
        }
    }

    /// Pages that a full ring holds.
    pub fn pages_per_ring(&self) -> usize {
        self.ring_size as usize / self.descriptors_per_buffer() * self.pages_per_buffer()
    }

    /// Whether such a queue can exist over an arena of `pages` pages.
    ///
    /// # Errors
    /// [`ConfigError`] naming the value and what would be valid.
    pub fn validate(&self, pages: usize) -> Result<(), ConfigError> {
        check_size(self.ring_size)?;
        if !(1..=FRAGS_LIMIT).contains(&self.max_frags) {
            return Err(ConfigError::MaxFrags(self.max_frags));
        }
        if self.features.contains(Features::RING_PACKED) {
            return Err(ConfigError::PackedRing);
        }
        match self.incomplete {
            IncompleteLimit::Polls(0) => return Err(ConfigError::IncompletePolls),
            IncompleteLimit::Time(Duration::ZERO) => return Err(ConfigError::IncompleteTime),
            _ => {}
        }
        let (mode, needed) = (self.mode().name(), self.descriptors_per_buffer());
        if needed > self.ring_size as usize {
            return Err(ConfigError::RingTooSmall { ring_size: self.ring_size, mode, needed });
        }
        let needed = self.pages_per_buffer();
        if needed > pages {
            return Err(ConfigError::ArenaTooSmall { pages, mode, needed });
        }
        Ok(())
    }
}

/// Why a receive queue cannot exist. Each names the value and what would be valid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not a power of two from 2 to 32768, or outside the memory.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// One buffer of the mode does not fit into the ring (defect L10).
    #[error(
        "a ring of {ring_size} is too small for {mode} mode: one buffer takes {needed} descriptors, \
         so choose at least {}", needed.next_power_of_two()
    )]
    RingTooSmall {
        /// The ring size asked for.
        ring_size: u32,
        /// The buffer mode.
        mode: &'static str,
        /// Descriptors that one buffer takes.
        needed: usize,
    },
    /// One buffer of the mode does not fit into the arena.
    #[error("an arena of {pages} pages is too small for {mode} mode: one buffer takes {needed}")]
    ArenaTooSmall {
        /// Pages in the arena.
        pages: usize,
        /// The buffer mode.
        mode: &'static str,
        /// Pages that one buffer takes.
        needed: usize,
    },
    /// Not 1 to 45 frags.
    #[error("max_frags {0} is not possible: choose 1 to {FRAGS_LIMIT}")]
    MaxFrags(u16),
    /// No room for another ring in front of the arena's pages.
    #[error("no room for a ring of {0} in this arena: close another queue or make another arena")]
    NoRingRoom(u32),
    /// A ring layout that is not built yet.
    #[error("RING_PACKED is not supported: negotiate without feature bit 34")]
    PackedRing,
    /// A packet that may never wait.
    #[error("max_incomplete_polls 0 is not possible: choose at least 1")]
    IncompletePolls,
    /// As above.
    #[error("incomplete_timeout 0 is not possible: choose more")]
    IncompleteTime,
    /// Memory could not be had.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}
