//! The catalogue of faults, row by row: in every mode, strategy and dialect it applies to, with
//! EVENT_IDX and without, at index 0 and around the wrap (F37). Each time: what was delivered, the
//! stated answer, the laws after every operation, and the next good packet.
//!
//! F39 is in `memory.rs`, each single allocation of F38 in `refill.rs`, F40 in `vhost_user`.

mod buffers;
mod ids;
mod index;
mod lengths;
mod liveness;
mod metadata;
mod tampering;

use vnet_rx::device::{Sending, pattern};
use vnet_rx::receive::{DeviceFault, RxError, Strategy};
use vnet_rx::scenario::{
    Answer, COUNTERS, Fault, FaultCase, Observation, Operation, Outcome, Runner, Scenario,
    ScenarioConfig,
};
use vnet_rx::virtio::{Dialect, Mode};

const FAULTS: usize = COUNTERS - DeviceFault::ALL.len();
const POLL: Operation = Operation::Poll { budget: 64, at: Vec::new() };

/// Every strategy x dialect x EVENT_IDX of these modes.
fn configs(modes: &[Mode]) -> Vec<ScenarioConfig> {
    let mut all = Vec::new();
    for &mode in modes {
        for strategy in Strategy::ALL {
            for dialect in Dialect::ALL {
                for event_idx in [true, false] {
                    let pages = 200;
                    let base = ScenarioConfig::default();
                    all.push(ScenarioConfig { mode, strategy, dialect, event_idx, pages, ..base });
                }
            }
        }
    }
    all
}

/// The fault in all its ways, in every configuration; it must apply to exactly these modes.
#[track_caller]
fn check(fault: Fault, modes: &[Mode]) {
    check_in(fault, modes, configs(&Mode::ALL));
}

#[track_caller]
fn check_in(fault: Fault, modes: &[Mode], configs: Vec<ScenarioConfig>) {
    for config in configs {
        let cases = fault.cases(&config.rx_config().unwrap());
        let applies = modes.contains(&config.mode);
        assert_eq!(!cases.is_empty(), applies, "{} in {config:?}", fault.name());
        for case in cases {
            World::new(&config).expect(fault, &case);
        }
    }
}

/// A queue, and what it was seen to do last.
struct World {
    config: ScenarioConfig,
    runner: Runner,
    seen: Observation,
    /// The bytes of what was delivered.
    delivered: Vec<Vec<u8>>,
}

impl World {
    fn new(config: &ScenarioConfig) -> Self {
        let runner = Runner::new(config).unwrap();
        let (seen, delivered) = (Observation::default(), Vec::new());
        Self { config: config.clone(), runner, seen, delivered }
    }

    /// Performs an operation; no law may be broken after it.
    #[track_caller]
    fn step(&mut self, operation: &Operation) -> &Observation {
        let held = self.runner.held().len();
        self.seen = self.runner.step(operation).clone();
        assert_eq!(self.seen.broken_law, None, "{operation:?} in {:?}", self.config);
        if let Operation::Poll { .. } = operation {
            let new = self.runner.held()[held..].iter().map(|packet| packet.to_vec());
            self.delivered.extend(new);
        }
        &self.seen
    }

    fn act(&mut self, sending: Sending) -> &Observation {
        self.step(&Operation::Device { actions: vec![sending.into()] });
        self.step(&POLL)
    }

    fn fault(&self, fault: DeviceFault) -> u64 {
        self.seen.counters[FAULTS + fault as usize]
    }

    /// All faults but `PartialBuffer`, which is none of a bad packet.
    fn faults(&self) -> u64 {
        let all: u64 = self.seen.counters[FAULTS..].iter().sum();
        all - self.fault(DeviceFault::PartialBuffer)
    }

    /// Length errors, frame errors, drops for want of an skb.
    fn errors(&self) -> [u64; 3] {
        [self.seen.counters[2], self.seen.counters[3], self.seen.counters[4]]
    }

    fn broken(&self) -> Option<DeviceFault> {
        self.seen.state.unwrap().broken
    }

    #[track_caller]
    fn expect(&mut self, fault: Fault, case: &FaultCase) {
        let what = format!("{} in {:?}: {case:?}", fault.name(), self.config);
        case.operations.iter().for_each(|operation| {
            self.step(operation);
        });
        let lens: Vec<usize> = self.delivered.iter().map(Vec::len).collect();
        if case.answer != Answer::Undetectable {
            let expected: Vec<usize> = case.delivered.iter().map(|&(len, _)| len).collect();
            assert_eq!(lens, expected, "{what}");
        }
        for (bytes, &(_, known)) in self.delivered.iter().zip(&case.delivered) {
            assert_eq!(bytes[..known], pattern(known, 0)[..], "{what}");
        }
        match case.answer {
            Answer::Drop(named) => {
                let count = self.fault(named);
                assert_eq!((count, self.broken()), (self.faults(), None), "{what}");
                // As many bad packets as the budget allowed, which is more than one in F35 alone.
                assert_eq!(count, if fault == Fault::F35 { 2 } else { 1 }, "{what}");
                let expected = if is_frame_error(named) { [0, count, 0] } else { [count, 0, 0] };
                assert_eq!(self.errors(), expected, "{what}");
            }
            Answer::Break(named) => {
                assert_eq!(self.broken(), Some(named), "{what}");
                assert_eq!((self.fault(named), self.faults()), (1, 1), "{what}");
                assert_eq!(self.errors(), [0; 3], "only the fault is counted: {what}");
                self.expect_refusal(named);
            }
            Answer::Deliver => {
                assert_eq!(
                    (self.faults(), self.errors(), self.broken()),
                    (0, [0; 3], None),
                    "{what}"
                );
            }
            Answer::Undetectable => {}
        }
        // A device that replays ids has lost track of which buffer is which.
        if self.broken().is_some() || case.answer == Answer::Undetectable {
            self.step(&Operation::Reset);
        }
        self.expect_next_good();
    }

    /// A broken queue refuses everything and changes nothing.
    #[track_caller]
    fn expect_refusal(&mut self, fault: DeviceFault) {
        let before =
            Observation { result: Outcome::Error(RxError::Broken(fault)), ..self.seen.clone() };
        let before = Observation { points: vec![], packets: vec![], ..before };
        for operation in [POLL, Operation::Refill] {
            let after = self.step(&operation).clone();
            let published = before.published.clone();
            // What was published before is not published once more.
            assert!(after.published.is_empty());
            assert_eq!(Observation { published, ..after }, before);
        }
    }

    /// The next good packet arrives whole.
    #[track_caller]
    fn expect_next_good(&mut self) {
        self.step(&Operation::ReleaseAll);
        self.step(&Operation::Refill);
        assert_eq!(self.seen.state.unwrap().num, self.seen.state.unwrap().max, "full again");
        self.delivered.clear();
        self.act(Sending { seed: 200, ..Sending::new(777) });
        assert!(self.delivered == [pattern(777, 200)], "{:?}", self.config);
        self.step(&Operation::ReleaseAll);
        self.step(&Operation::Close);
        let pages = self.config.pages as usize;
        assert_eq!(self.seen.arena_free, pages, "every page came home");
    }
}

fn is_frame_error(fault: DeviceFault) -> bool {
    use DeviceFault::{BadChecksum, BadGso, NotNegotiated};
    matches!(fault, BadChecksum | BadGso | NotNegotiated)
}

#[test]
fn f37_the_whole_catalogue_around_the_wrap_of_the_index() {
    // A ring of 64 is posted at once: from here on avail.idx or used.idx crosses 65535 somewhere.
    for first_index in [65_535, 65_534, 65_533, 65_530, 65_520, 65_472, 65_471] {
        for config in configs(&Mode::ALL) {
            let config = ScenarioConfig { first_index, ..config };
            for fault in Fault::ALL {
                for case in fault.cases(&config.rx_config().unwrap()) {
                    World::new(&config).expect(*fault, &case);
                }
            }
        }
    }
}

#[test]
fn the_catalogue_holds_on_rings_of_other_sizes() {
    let sizes = [(2, 18), (4, 2), (8, 1), (16, 6), (32, 18), (256, 3), (1024, 45)];
    for (ring_size, max_frags) in sizes {
        for config in configs(&Mode::ALL) {
            let mut config = ScenarioConfig { ring_size, max_frags, pages: 4096, ..config };
            let Ok(rx_config) = config.rx_config() else { continue };
            // Enough for a full ring and for what is held.
            config.pages = rx_config.pages_per_ring() as u32 + 200;
            for fault in Fault::ALL {
                for case in fault.cases(&rx_config) {
                    World::new(&config).expect(*fault, &case);
                }
            }
        }
    }
}

#[test]
fn every_case_can_be_written_down() {
    for config in configs(&Mode::ALL) {
        for fault in Fault::ALL {
            for case in fault.cases(&config.rx_config().unwrap()) {
                let (config, operations) = (config.clone(), case.operations);
                let scenario = Scenario { config, operations, ..Scenario::default() };
                assert_eq!(Scenario::from_json(&scenario.to_json()), Ok(scenario));
            }
        }
    }
}

#[test]
fn every_row_has_its_name_and_its_words() {
    let names: Vec<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
    let expected: Vec<String> = (1..=38).filter(|&n| n != 37).map(|n| format!("F{n:02}")).collect();
    assert_eq!(names, expected);
    assert!(Fault::ALL.iter().all(|fault| fault.summary().ends_with('.')));
}
