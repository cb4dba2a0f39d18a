//! Both strategies must come to the same (RECEIVE.md, section 4): delivered bytes, metadata, verdicts,
//! error counters, and everything that follows from how many buffers are outstanding.

use super::error::ScenarioError;
use super::format::{Scenario, ScenarioConfig};
use super::observe::Observation;
use super::operation::Operation;
use super::run::Runner;
use crate::device::Action;
use crate::receive::Strategy;

/// Pages enough that neither strategy soon runs out, as one of them would first.
const PAGES: u32 = 1024;
/// The counters that may differ, by their place in an observation: what happens to skbs and pages,
/// and what is copied.
const OF_THE_STRATEGY: std::ops::Range<usize> = 5..12;

/// Where two strategies came apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("operation {operation}: {what} is {eager} when eager and {deferred} when deferred")]
pub struct Disagreement {
    /// The number of the operation.
    pub operation: usize,
    /// What of the observation.
    pub what: &'static str,
    /// What was observed of the eager queue.
    pub eager: String,
    /// What was observed of the deferred queue.
    pub deferred: String,
}

/// Runs a scenario in both strategies and compares, operation by operation, all that must be the
/// same in both.
///
/// Failed allocations strike the strategies at different places, and a device that mixes ids up or
/// writes to memory it has given back hits what is different memory in each. So what does that is
/// left out of the scenario first, and buffers are zeroed when the device takes them. The comparison
/// ends where memory runs out.
///
/// # Errors
/// [`ScenarioError`] when the queue cannot exist; the inner one when the strategies disagree.
pub fn strategies_agree(scenario: &Scenario) -> Result<Result<(), Disagreement>, ScenarioError> {
    let runner = |strategy| {
        let pages = scenario.config.pages.max(PAGES);
        let config = ScenarioConfig { strategy, pages, ..scenario.config.clone() };
        let mut runner = Runner::new(&config)?;
        runner.clean_buffers();
        Ok(runner)
    };
    let (mut eager, mut deferred) = (runner(Strategy::Eager)?, runner(Strategy::Deferred)?);
    for (at, operation) in scenario.operations.iter().enumerate() {
        let Some(operation) = comparable(operation) else { continue };
        let (left, right) = (eager.step(&operation), deferred.step(&operation));
        if out_of_memory(left) || out_of_memory(right) {
            break;
        }
        if let Err(disagreement) = compare(at, left, right) {
            return Ok(Err(disagreement));
        }
    }
    Ok(Ok(()))
}

fn out_of_memory(seen: &Observation) -> bool {
    seen.state.is_some_and(|state| state.refill_needed)
}

/// The operation without what may be answered differently.
fn comparable(operation: &Operation) -> Option<Operation> {
    let mut operation = operation.clone();
    match &mut operation {
        Operation::FailPages { .. } | Operation::FailSkbs { .. } => return None,
        Operation::Device { actions } => comparable_actions(actions),
        Operation::Poll { at, .. } => {
            at.iter_mut().for_each(|place| comparable_actions(&mut place.actions));
        }
        _ => {}
    }
    Some(operation)
}

fn comparable_actions(actions: &mut Vec<Action>) {
    actions.retain_mut(|action| match action {
        Action::Send(sending) => {
            sending.id.clear();
            sending.id_add.clear();
            true
        }
        Action::Publish { .. } | Action::Stray { .. } => true,
        Action::Flags { .. } | Action::Event { .. } => true,
        Action::Complete { .. } | Action::Again { .. } | Action::Jump { .. } => false,
        Action::Rewrite { .. } | Action::Scribble { .. } => false,
    });
}

fn compare(
    operation: usize,
    eager: &Observation,
    deferred: &Observation,
) -> Result<(), Disagreement> {
    macro_rules! same {
        ($($what:literal: $seen:ident => $value:expr;)*) => {
            $(
                let of = |$seen: &Observation| $value;
                let (left, right) = (of(eager), of(deferred));
                if left != right {
                    return Err(Disagreement {
                        operation,
                        what: $what,
                        eager: format!("{left:?}"),
                        deferred: format!("{right:?}"),
                    });
                }
            )*
        };
    }
    same! {
        "result": seen => seen.result;
        "the passage of points": seen => seen.points.clone();
        "what is delivered": seen => seen
            .packets
            .iter()
            .map(|packet| (packet.len, packet.crc, packet.header))
            .collect::<Vec<_>>();
        "the counters": seen => {
            let mut counters = seen.counters;
            counters[OF_THE_STRATEGY].fill(0);
            counters
        };
        "the state": seen => seen.state;
        "the ids posted": seen => seen.posted.iter().map(|(id, _)| id).collect::<Vec<_>>();
        "the free descriptors": seen => seen.free_descriptors.clone();
        "the avail ring": seen => (seen.avail_flags, seen.avail_idx, seen.used_event);
        "the ids published": seen => seen.published.iter().map(|(id, _)| id).collect::<Vec<_>>();
    }
    Ok(())
}
