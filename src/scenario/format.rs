//! Scenarios as they are written down (`docs/scenario.md`).

use super::error::ScenarioError;
use super::form::{
    Fields, Flag, Form, Kind, List, Number, Object, OrNull, PowerOfTwo, Shape, Text, U16, U32, U64,
    Word,
};
use super::json::Json;
use super::operation::Operation;
use crate::receive::{IncompleteLimit, RxConfig, Strategy};
use crate::virtio::{Dialect, Features, Mode};

/// The version of the format that is read and written.
pub const VERSION: u32 = 1;
/// The longest scenario, in bytes of JSON.
pub const MAX_FILE: usize = 4 << 20;
const MAX_OPERATIONS: usize = 10_000;
const MAX_NOTE: usize = 10_000;

/// A configuration, and what is done to a queue of that configuration.
///
/// The fields' ranges are those of the format and checked by [`from_json`](Self::from_json) alone:
/// one that was built by hand beyond them runs all the same, but what [`to_json`](Self::to_json)
/// makes of it cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scenario {
    /// Why it is kept.
    pub note: String,
    /// What it was generated from; nothing depends on it.
    pub seed: u64,
    /// What the queue shall be.
    pub config: ScenarioConfig,
    /// What happens.
    pub operations: Vec<Operation>,
    /// The CRC-32 of each observation's canonical text.
    pub expect: Option<Vec<u32>>,
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// [`ScenarioError`] naming the field that is wrong and what would be possible.
    pub fn from_json(text: &str) -> Result<Self, ScenarioError> {
        if text.len() > MAX_FILE {
            let len = text.len();
            let what = format_args!("is too long with {len} bytes: at most {MAX_FILE}");
            return Err(ScenarioError::new(what));
        }
        let json = Json::parse(text)?;
        if !matches!(&json, Json::Object(keys) if keys.iter().any(|(key, _)| key == "vnet_rx_scenario"))
        {
            return Err(ScenarioError::new("is missing: this is not one").of("vnet_rx_scenario"));
        }
        let scenario: Self = Object.read(json)?;
        scenario.config.rx_config()?;
        let operations = scenario.operations.len();
        match &scenario.expect {
            Some(expect) if expect.len() != operations => {
                let what =
                    format!("{} numbers for {operations} operations: one each", expect.len());
                Err(ScenarioError::new(what).of("expect"))
            }
            _ => Ok(scenario),
        }
    }

    /// Writes the scenario, an operation a line; defaults are left out.
    pub fn to_json(&self) -> String {
        let head = Self { operations: Vec::new(), expect: None, ..self.clone() };
        let mut text = String::new();
        Object.write(&head, &mut text);
        // What was written last is `"operations": []}`.
        text.truncate(text.len() - 2);
        for (i, operation) in self.operations.iter().enumerate() {
            text.push_str(if i > 0 { ",\n  " } else { "\n  " });
            Kind.write(operation, &mut text);
        }
        text.push(']');
        if let Some(expect) = &self.expect {
            text.push_str(",\n \"expect\": ");
            List(U32, MAX_OPERATIONS).write(expect, &mut text);
        }
        text.push_str("}\n");
        text
    }
}

impl Fields for Scenario {
    fn fields(&mut self, form: &mut Form<'_>) -> Result<(), ScenarioError> {
        let mut version = VERSION;
        let only = Number(VERSION.into()..=VERSION.into());
        form.field("vnet_rx_scenario", &mut version, only, None)?;
        form.field("note", &mut self.note, Text(MAX_NOTE), Some(String::new()))?;
        form.field("seed", &mut self.seed, U64, Some(0))?;
        form.field("config", &mut self.config, Object, None)?;
        form.field("operations", &mut self.operations, List(Kind, MAX_OPERATIONS), None)?;
        form.field("expect", &mut self.expect, OrNull(List(U32, MAX_OPERATIONS)), Some(None))
    }
}

/// What queue a scenario is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioConfig {
    /// How large packets find room.
    pub mode: Mode,
    /// When skbs are allocated.
    pub strategy: Strategy,
    /// Which header, and how it is laid out.
    pub dialect: Dialect,
    /// Number of descriptors, 2 to 1024, a power of two.
    pub ring_size: u32,
    /// Whether notifications are asked for by index.
    pub event_idx: bool,
    /// F, 1 to 45.
    pub max_frags: u16,
    /// How many polls a packet may stay incomplete, 1 to 1000.
    pub max_incomplete_polls: u32,
    /// Where the ring's indices start.
    pub first_index: u16,
    /// Pages in the arena, 1 to 4096.
    pub pages: u32,
    /// The negotiated features; `None` for what mode, dialect and `event_idx` call for.
    pub features: Option<u64>,
}

impl Default for ScenarioConfig {
    /// Mergeable, deferred, modern, over 64 pages.
    fn default() -> Self {
        Self {
            mode: Mode::Mergeable,
            strategy: Strategy::Deferred,
            dialect: Dialect::Modern,
            ring_size: 64,
            event_idx: true,
            max_frags: 18,
            max_incomplete_polls: 16,
            first_index: 0,
            pages: 64,
            features: None,
        }
    }
}

impl ScenarioConfig {
    /// The queue's configuration.
    ///
    /// # Errors
    /// [`ScenarioError`] when such a queue cannot exist.
    pub fn rx_config(&self) -> Result<RxConfig, ScenarioError> {
        let config = RxConfig {
            features: self.negotiated()?,
            strategy: self.strategy,
            ring_size: self.ring_size,
            max_frags: self.max_frags,
            incomplete: IncompleteLimit::Polls(self.max_incomplete_polls),
            first_index: self.first_index,
        };
        let possible = config.validate(self.pages as usize);
        possible.map_err(|error| ScenarioError::new(error).of("config"))?;
        Ok(config)
    }

    fn negotiated(&self) -> Result<Features, ScenarioError> {
        let Some(bits) = self.features else {
            let all = Features::default_for(self.mode, self.dialect);
            return Ok(if self.event_idx { all } else { all.without(Features::EVENT_IDX) });
        };
        let features = Features::from_bits(bits);
        let agrees = features.mode() == self.mode
            && features.dialect() == self.dialect
            && features.contains(Features::EVENT_IDX) == self.event_idx;
        if agrees {
            return Ok(features);
        }
        let what =
            format_args!("{bits} is not possible: mode, dialect and event_idx say otherwise");
        Err(ScenarioError::new(what).of("features").of("config"))
    }
}

impl Fields for ScenarioConfig {
    fn fields(&mut self, form: &mut Form<'_>) -> Result<(), ScenarioError> {
        let default = Self::default();
        form.field("mode", &mut self.mode, Word(&Mode::ALL, Mode::name), None)?;
        form.field("strategy", &mut self.strategy, Word(&Strategy::ALL, Strategy::name), None)?;
        form.field("dialect", &mut self.dialect, Word(&Dialect::ALL, Dialect::name), None)?;
        let sizes = PowerOfTwo(2..=1024);
        form.field("ring_size", &mut self.ring_size, sizes, Some(default.ring_size))?;
        form.field("event_idx", &mut self.event_idx, Flag, Some(default.event_idx))?;
        let frags = Number(1..=45);
        form.field("max_frags", &mut self.max_frags, frags, Some(default.max_frags))?;
        let (polls, value) = (Number(1..=1000), &mut self.max_incomplete_polls);
        form.field("max_incomplete_polls", value, polls, Some(default.max_incomplete_polls))?;
        form.field("first_index", &mut self.first_index, U16, Some(default.first_index))?;
        form.field("pages", &mut self.pages, Number(1..=4096), None)?;
        form.field("features", &mut self.features, OrNull(U64), Some(None))
    }
}
