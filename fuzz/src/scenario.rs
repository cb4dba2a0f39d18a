//! Scenarios on the engine, guided by coverage: no law is broken, no poll does more than it may, and
//! both strategies come to the same. Inputs are scenarios as JSON, so the corpus of the tests is the
//! seed, and what is found can be kept as it is; `docs/fuzzing.md` says how to run this.

#![no_main]

mod make;
mod mutate;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use vnet_rx::receive::Point;
use vnet_rx::scenario::{Operation, Outcome, Runner, Scenario, strategies_agree};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(scenario) = Scenario::from_json(text) else { return };
    check(&scenario);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate::mutate(data, size, max_size, seed)
});

fn check(scenario: &Scenario) {
    let Ok(mut runner) = Runner::new(&scenario.config) else { return };
    for (i, operation) in scenario.operations.iter().enumerate() {
        let seen = runner.step(operation);
        assert_eq!(seen.broken_law, None, "after operation {i}, {operation:?}");
        if let Operation::Poll { budget, at } = operation {
            let passed = |point| seen.points.iter().filter(|&&one| one == point).count();
            // A pass but the first has seen an index that the one before had not; only what the
            // device does in the poll can move it.
            let (passes, budget) = (passed(Point::UsedIdxRead), usize::from(*budget));
            assert!(passes <= 1 + at.len(), "{passes} passes in operation {i}");
            assert!(passed(Point::HeaderCopied) <= budget + 1, "in operation {i}");
            assert!(seen.packets.len() <= budget, "in operation {i}");
            if let Outcome::Number(delivered) = seen.result {
                assert_eq!(seen.packets.len() as u64, delivered);
            }
        }
    }
    let arena = runner.queue().arena();
    assert_eq!(arena.free_pages().len(), arena.free(), "the free list and its count");
    // The queue outlives nothing it gave away.
    let arena = std::sync::Arc::clone(arena);
    drop(runner);
    assert_eq!(arena.free(), arena.len(), "pages that did not come home");
    if let Ok(Err(disagreement)) = strategies_agree(scenario) {
        panic!("{disagreement}");
    }
}
