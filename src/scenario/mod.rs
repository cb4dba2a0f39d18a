//! Scenarios: what a driver, a device and the memory do, as data, and what is observed of it.
//!
//! The format is that of `docs/scenario.md`; the Python package `vnet_rx.testing` reads the same
//! files, and both must come to the same trace.
//!
//! ```text
//!   JSON ─► Scenario ─► Runner::step, operation by operation ─► Observation ─► text ─► CRC-32
//!   form.rs  format.rs  run.rs: RxQueue and FaultyDevice      observe.rs  text.rs
//!            operation.rs                                     names.rs
//! ```
//!
//! ```
//! use vnet_rx::scenario::{Scenario, run};
//!
//! let scenario = Scenario::from_json(
//!     r#"{"vnet_rx_scenario": 1,
//!         "config": {"mode": "mergeable", "strategy": "deferred", "dialect": "modern", "pages": 64},
//!         "operations": [{"op": "refill"},
//!                        {"op": "device", "do": [{"act": "send", "size": 5000}]},
//!                        {"op": "poll", "budget": 64}]}"#,
//! )?;
//! let trace = run(&scenario)?;
//! assert_eq!(trace.broken_law(), None);
//! assert_eq!(trace.observations[2].packets[0].len, 5000);
//! # Ok::<(), vnet_rx::scenario::ScenarioError>(())
//! ```

mod agree;
mod error;
mod fault_cases;
mod faults;
mod form;
mod format;
mod json;
mod names;
mod observe;
mod operation;
mod run;
mod text;

pub use agree::{Disagreement, strategies_agree};
pub use error::ScenarioError;
pub use faults::{Answer, Fault, FaultCase};
pub use format::{MAX_FILE, Scenario, ScenarioConfig, VERSION};
pub use names::Law;
pub use observe::{COUNTERS, Observation, Outcome, QueueState, Rows, SeenDescriptor, SeenPacket};
pub use operation::{Operation, Place};
pub use run::{Runner, Trace, digests, run};
