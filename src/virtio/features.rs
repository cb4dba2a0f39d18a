//! Feature bits (5.1.3, 6) and what follows from them: the dialect and the buffer mode.

use std::fmt;
use std::ops::{BitAnd, BitOr};
use std::str::FromStr;

/// A set of negotiated virtio features.
///
/// Any set may be held; [`RxConfig`](crate::receive::RxConfig) judges whether a receive queue can
/// serve it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Features(u64);

/// Every feature with a meaning to the receive path, with its name in the standard.
const NAMED: [(Features, &str); 12] = [
    (Features::GUEST_CSUM, "GUEST_CSUM"),
    (Features::GUEST_TSO4, "GUEST_TSO4"),
    (Features::GUEST_TSO6, "GUEST_TSO6"),
    (Features::GUEST_ECN, "GUEST_ECN"),
    (Features::GUEST_UFO, "GUEST_UFO"),
    (Features::MRG_RXBUF, "MRG_RXBUF"),
    (Features::INDIRECT_DESC, "INDIRECT_DESC"),
    (Features::EVENT_IDX, "EVENT_IDX"),
    (Features::VERSION_1, "VERSION_1"),
    (Features::RING_PACKED, "RING_PACKED"),
    (Features::GUEST_USO4, "GUEST_USO4"),
    (Features::GUEST_USO6, "GUEST_USO6"),
];

impl Features {
    /// The driver accepts packets whose checksum is still to be computed.
    pub const GUEST_CSUM: Self = Self(1 << 1);
    /// The driver accepts TCP over IPv4 super-packets.
    pub const GUEST_TSO4: Self = Self(1 << 7);
    /// The driver accepts TCP over IPv6 super-packets.
    pub const GUEST_TSO6: Self = Self(1 << 8);
    /// The driver accepts super-packets with explicit congestion notification.
    pub const GUEST_ECN: Self = Self(1 << 9);
    /// The driver accepts large UDP datagrams.
    pub const GUEST_UFO: Self = Self(1 << 10);
    /// The driver accepts packets spread over several buffers.
    pub const MRG_RXBUF: Self = Self(1 << 15);
    /// Indirect descriptors (2.7.5.3); the receive path never uses them.
    pub const INDIRECT_DESC: Self = Self(1 << 28);
    /// Notifications are asked for by index (2.7.10).
    pub const EVENT_IDX: Self = Self(1 << 29);
    /// The modern dialect: little endian, 12-byte header.
    pub const VERSION_1: Self = Self(1 << 32);
    /// The packed ring layout (2.8).
    pub const RING_PACKED: Self = Self(1 << 34);
    /// The driver accepts trains of UDP datagrams over IPv4.
    pub const GUEST_USO4: Self = Self(1 << 54);
    /// The driver accepts trains of UDP datagrams over IPv6.
    pub const GUEST_USO6: Self = Self(1 << 55);

    /// The features any of which calls for buffers of more than an Ethernet frame.
    pub const LARGE: Self = Self(
        Self::GUEST_TSO4.0
            | Self::GUEST_TSO6.0
            | Self::GUEST_ECN.0
            | Self::GUEST_UFO.0
            | Self::GUEST_USO4.0
            | Self::GUEST_USO6.0,
    );

    /// The set with no feature.
    pub const fn empty() -> Self {
        Self(0)
    }

    /// The set whose bits are `bits`, numbered as in the standard.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits of the set, numbered as in the standard.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether every feature of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any feature of `other` is in this set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// This set without the features of `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What a receive queue negotiates for `mode` and `dialect` when nothing else is asked for:
    /// checksum offload, the large-packet offloads where the mode has room for them, `EVENT_IDX`.
    pub const fn default_for(mode: Mode, dialect: Dialect) -> Self {
        let mut bits = Self::GUEST_CSUM.0 | Self::EVENT_IDX.0;
        match mode {
            Mode::Small => {}
            Mode::Big => bits |= Self::LARGE.0,
            Mode::Mergeable => bits |= Self::LARGE.0 | Self::MRG_RXBUF.0,
        }
        if matches!(dialect, Dialect::Modern) {
            bits |= Self::VERSION_1.0;
        }
        Self(bits)
    }

    /// The features of this set that may be negotiated together: each only with what it requires
    /// (5.1.3.1). The segmentation offloads need `GUEST_CSUM`; `GUEST_ECN` needs `GUEST_TSO4` or
    /// `GUEST_TSO6`.
    pub const fn closed(self) -> Self {
        let mut set = self;
        if !set.contains(Self::GUEST_CSUM) {
            set = set.without(Self::LARGE);
        }
        if !set.intersects(Self(Self::GUEST_TSO4.0 | Self::GUEST_TSO6.0)) {
            set = set.without(Self::GUEST_ECN);
        }
        set
    }

    /// The buffer mode these features call for: mergeable wins over big, big over small
    /// (RECEIVE.md, section 1).
    pub const fn mode(self) -> Mode {
        if self.contains(Self::MRG_RXBUF) {
            Mode::Mergeable
        } else if self.intersects(Self::LARGE) {
            Mode::Big
        } else {
            Mode::Small
        }
    }

    /// The dialect these features select.
    pub const fn dialect(self) -> Dialect {
        if self.contains(Self::VERSION_1) { Dialect::Modern } else { Dialect::Legacy }
    }

    /// Length of the virtio-net header under these features, in bytes (5.1.6.1).
    pub const fn header_len(self) -> usize {
        match (self.dialect(), self.mode()) {
            (Dialect::Legacy, Mode::Small | Mode::Big) => super::HEADER_LEN_LEGACY,
            _ => super::HEADER_LEN_MERGEABLE,
        }
    }

    /// The names of the features in the set, lowest bit first; bits without a name are left out.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMED.iter().filter(move |(feature, _)| self.contains(*feature)).map(|(_, name)| *name)
    }
}

impl BitAnd for Features {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for Features {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Features({:#x}", self.0)?;
        for name in self.names() {
            write!(f, " {name}")?;
        }
        f.write_str(")")
    }
}

/// How large packets find room (RECEIVE.md, section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// One buffer of 1518 bytes for every packet.
    Small,
    /// One chain of pages, large enough for any packet, for every packet.
    Big,
    /// Buffers of one page each; a packet takes as many as it needs.
    Mergeable,
}

impl Mode {
    /// All modes, in the order of their names in the standard.
    pub const ALL: [Self; 3] = [Self::Small, Self::Big, Self::Mergeable];

    /// The mode's name, as the command line and Python spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Big => "big",
            Self::Mergeable => "mergeable",
        }
    }
}

/// Which generation of the standard the two sides speak (RECEIVE.md, section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The layout of 2010: a 10-byte header in a descriptor of its own unless buffers are mergeable.
    Legacy,
    /// `VERSION_1`: a 12-byte header, contiguous with the data.
    Modern,
}

impl Dialect {
    /// Both dialects, oldest first.
    pub const ALL: [Self; 2] = [Self::Legacy, Self::Modern];

    /// The dialect's name, as the command line and Python spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }
}

/// A name that is not one of the names of its kind.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown {kind} {name:?}: choose one of {valid}")]
pub struct UnknownName {
    /// What was being named: `mode`, `dialect` or `strategy`.
    pub kind: &'static str,
    /// The name that was given.
    pub name: String,
    /// The names that would have been understood.
    pub valid: String,
}

/// Finds the member of `all` that is called `name`.
pub(crate) fn by_name<T: Copy>(
    kind: &'static str,
    name: &str,
    all: &[T],
    name_of: impl Fn(T) -> &'static str,
) -> Result<T, UnknownName> {
    all.iter().copied().find(|&one| name_of(one) == name).ok_or_else(|| UnknownName {
        kind,
        name: name.to_owned(),
        valid: all.iter().map(|&one| name_of(one)).collect::<Vec<_>>().join(", "),
    })
}

impl FromStr for Mode {
    type Err = UnknownName;
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        by_name("mode", name, &Self::ALL, Self::name)
    }
}

impl FromStr for Dialect {
    type Err = UnknownName;
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        by_name("dialect", name, &Self::ALL, Self::name)
    }
}
