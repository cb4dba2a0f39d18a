//! Operations and device actions as they are written down (`docs/scenario.md`).

use super::error::ScenarioError;
use super::form::{
    Fields, Form, Hex, Kind, Kinds, List, Number, Object, OrNull, Pair, Row, U8, U16, U32, Word,
};
use crate::device::{Action, Area, Sending};
use crate::receive::Point;

const MAX_ACTIONS: usize = 64;
const MAX_PLACES: usize = 16;
const MAX_BYTES: usize = 8192;

const BACK: Number = Number(0..=63);
const WITHIN: Number = Number(0..=80_000);

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Refill the ring.
    Refill,
    /// Poll for at most `budget` packets.
    Poll {
        /// At least 1.
        budget: u16,
        /// What the device does meanwhile.
        at: Vec<Place>,
    },
    /// Release a held packet.
    Release {
        /// Which, mod the number held.
        packet: u16,
    },
    /// Release all held packets, oldest first.
    ReleaseAll,
    /// Let page allocations fail.
    FailPages {
        /// How many succeed first.
        skip: u16,
        /// How many fail then.
        count: u16,
    },
    /// Let skb allocations fail.
    FailSkbs {
        /// How many succeed first.
        skip: u16,
        /// How many fail then.
        count: u16,
    },
    /// Run the watchdog.
    Watchdog,
    /// The device goes away.
    Disconnect,
    /// Stop the queue.
    Stop,
    /// Take one unused buffer back.
    Detach,
    /// Reset queue and device.
    Reset,
    /// Close the queue.
    Close,
    /// The device acts.
    Device {
        /// What it does.
        actions: Vec<Action>,
    },
}

impl Kinds for Operation {
    const TAG: &'static str = "op";

    fn kinds() -> Vec<Self> {
        vec![
            Self::Refill,
            Self::Poll { budget: 1, at: Vec::new() },
            Self::Release { packet: 0 },
            Self::ReleaseAll,
            Self::FailPages { skip: 0, count: 0 },
            Self::FailSkbs { skip: 0, count: 0 },
            Self::Watchdog,
            Self::Disconnect,
            Self::Stop,
            Self::Detach,
            Self::Reset,
            Self::Close,
            Self::Device { actions: Vec::new() },
        ]
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Refill => "refill",
            Self::Poll { .. } => "poll",
            Self::Release { .. } => "release",
            Self::ReleaseAll => "release_all",
            Self::FailPages { .. } => "fail_pages",
            Self::FailSkbs { .. } => "fail_skbs",
            Self::Watchdog => "watchdog",
            Self::Disconnect => "disconnect",
            Self::Stop => "stop",
            Self::Detach => "detach",
            Self::Reset => "reset",
            Self::Close => "close",
            Self::Device { .. } => "device",
        }
    }

    fn fields(&mut self, form: &mut Form<'_>) -> Result<(), ScenarioError> {
        match self {
            Self::Poll { budget, at } => {
                form.field("budget", budget, Number(1..=0xffff), None)?;
                form.field("at", at, List(Object, MAX_PLACES), Some(Vec::new()))
            }
            Self::Release { packet } => form.field("packet", packet, U16, None),
            Self::FailPages { skip, count } | Self::FailSkbs { skip, count } => {
                form.field("skip", skip, U16, None)?;
                form.field("count", count, U16, None)
            }
            Self::Device { actions } => form.field("do", actions, List(Kind, MAX_ACTIONS), None),
            _ => Ok(()),
        }
    }
}

/// What the device does in the middle of a poll.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Where.
    pub point: Point,
    /// The how-manieth passage of that point in this poll, from 1.
    pub pass: u8,
    /// What it does.
    pub actions: Vec<Action>,
}

impl Default for Place {
    fn default() -> Self {
        Self { point: Point::UsedIdxRead, pass: 1, actions: Vec::new() }
    }
}

impl Fields for Place {
    fn fields(&mut self, form: &mut Form<'_>) -> Result<(), ScenarioError> {
        form.field("point", &mut self.point, Word(&Point::ALL, Point::name), None)?;
        form.field("pass", &mut self.pass, Number(1..=64), None)?;
        form.field("do", &mut self.actions, List(Kind, MAX_ACTIONS), None)
    }
}

impl Kinds for Action {
    const TAG: &'static str = "act";

    fn kinds() -> Vec<Self> {
        Self::all().into()
    }

    fn kind(&self) -> &'static str {
        self.name()
    }

    fn fields(&mut self, form: &mut Form<'_>) -> Result<(), ScenarioError> {
        match self {
            Self::Send(sending) => sending.fields(form),
            Self::Publish { count } => form.field("count", count, Number(0..=64), Some(64)),
            Self::Complete { id, len } => {
                form.field("id", id, U32, None)?;
                form.field("len", len, U32, None)
            }
            Self::Again { back, len } => {
                form.field("back", back, BACK, None)?;
                form.field("len", len, OrNull(U32), Some(None))
            }
            Self::Jump { by } => form.field("by", by, Number(1..=0xffff), None),
            Self::Rewrite { back, at, bytes } => {
                form.field("back", back, BACK, None)?;
                form.field("at", at, WITHIN, None)?;
                form.field("bytes", bytes, Hex(MAX_BYTES), None)
            }
            Self::Stray { chain, at, bytes } => {
                form.field("chain", chain, Number(0..=1023), None)?;
                form.field("at", at, WITHIN, None)?;
                form.field("bytes", bytes, Hex(MAX_BYTES), None)
            }
            Self::Scribble { area, at, bytes } => {
                form.field("area", area, Word(&Area::ALL, Area::name), None)?;
                form.field("at", at, U16, None)?;
                form.field("bytes", bytes, Hex(MAX_BYTES), None)
            }
            Self::Flags { value } => form.field("value", value, U16, None),
            Self::Event { ahead } => form.field("ahead", ahead, U16, None),
        }
    }
}

impl Fields for Sending {
    fn fields(&mut self, form: &mut Form<'_>) -> Result<(), ScenarioError> {
        let changes = || List(Pair(BACK, U32), 64);
        form.field("size", &mut self.size, Number(0..=70_000), None)?;
        form.field("seed", &mut self.seed, U8, Some(0))?;
        form.field("header", &mut self.header, Row([U8, U8, U16, U16, U16, U16]), Some([0; 6]))?;
        form.field("num_buffers", &mut self.num_buffers, OrNull(U16), Some(None))?;
        form.field("buffers", &mut self.buffers, OrNull(Number(1..=64)), Some(None))?;
        form.field("fill", &mut self.fill, List(WITHIN, 64), Some(Vec::new()))?;
        form.field("len", &mut self.len, changes(), Some(Vec::new()))?;
        form.field("id", &mut self.id, changes(), Some(Vec::new()))?;
        form.field("id_add", &mut self.id_add, changes(), Some(Vec::new()))?;
        form.field("hold", &mut self.hold, Number(0..=64), Some(0))
    }
}
