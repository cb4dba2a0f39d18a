//! F01 to F05: used ids.

use vnet_rx::device::{Action, Sending};
use vnet_rx::scenario::{Fault, Operation, ScenarioConfig};
use vnet_rx::virtio::{Dialect, Mode};

use super::{POLL, World, check, check_in, configs};

#[test]
fn f01_an_id_beyond_the_ring_breaks() {
    check(Fault::F01, &Mode::ALL);
}

#[test]
fn f02_id_high_bits_break() {
    check(Fault::F02, &Mode::ALL);
}

#[test]
fn f03_a_duplicate_completion_breaks() {
    check(Fault::F03, &Mode::ALL);
}

#[test]
fn f04_a_duplicate_of_a_reposted_id_is_undetectable_and_harmless() {
    check(Fault::F04, &Mode::ALL);
    // Whatever its length, and after as many rounds as it takes for every id to be posted again.
    for config in configs(&Mode::ALL) {
        for len in [None, Some(0), Some(12), Some(1530), Some(4096), Some(u32::MAX)] {
            let mut world = World::new(&config);
            world.step(&Operation::Refill);
            for _ in 0..70 {
                world.act(Sending::new(60));
                world.step(&Operation::Refill);
                world.step(&Operation::ReleaseAll);
            }
            for back in 0..4 {
                let actions = vec![Action::Again { back, len }];
                world.step(&Operation::Device { actions });
                world.step(&POLL);
            }
            world.step(&Operation::Reset);
            world.expect_next_good();
        }
    }
}

#[test]
fn f05_an_id_inside_a_chain_breaks() {
    let in_parts = |config: &ScenarioConfig| {
        config.mode == Mode::Big
            || (config.mode == Mode::Small && config.dialect == Dialect::Legacy)
    };
    let (chains, single): (Vec<_>, Vec<_>) = configs(&Mode::ALL).into_iter().partition(in_parts);
    check_in(Fault::F05, &[Mode::Small, Mode::Big], chains);
    check_in(Fault::F05, &[], single);
}
