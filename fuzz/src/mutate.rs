//! Changes scenarios as scenarios: bytes changed at random seldom stay one.

use arbitrary::{Result, Unstructured};
use vnet_rx::scenario::{Operation, Scenario};

use crate::make;

/// The most operations that a mutation leaves.
const MOST: usize = 200;

/// Replaces the `size` bytes of a scenario in `data` by those of a changed one.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let random = noise(seed);
    let mut u = Unstructured::new(&random);
    // Now and then bytes that are no scenario, for the reader.
    if seed.is_multiple_of(16) {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    let known =
        std::str::from_utf8(&data[..size]).ok().and_then(|text| Scenario::from_json(text).ok());
    let changed = match known {
        Some(scenario) => change(scenario, &mut u),
        None => make::scenario(&mut u),
    };
    let text = changed.map(|scenario| scenario.to_json()).unwrap_or_default();
    if text.is_empty() || text.len() > max_size.min(data.len()) {
        return size;
    }
    data[..text.len()].copy_from_slice(text.as_bytes());
    text.len()
}

fn change(mut scenario: Scenario, u: &mut Unstructured) -> Result<Scenario> {
    scenario.note.clear();
    scenario.expect = None;
    for _ in 0..u.int_in_range(1..=4)? {
        let operations = &mut scenario.operations;
        let at = u.int_in_range(0..=operations.len().max(1) - 1)?;
        let kind = u.int_in_range(0..=11)?;
        if operations.is_empty() || (kind <= 4 && operations.len() < MOST) {
            operations.insert(at, make::operation(u)?);
            continue;
        }
        match kind {
            5 => {
                operations.remove(at);
            }
            6 => {
                // A stretch again: what comes about only in the second round.
                let end = u.int_in_range(at..=operations.len() - 1)?;
                let stretch: Vec<Operation> = operations[at..=end].to_vec();
                if operations.len() + stretch.len() <= MOST {
                    operations.splice(at..at, stretch);
                }
            }
            7 => {
                let other = u.int_in_range(0..=operations.len() - 1)?;
                operations.swap(at, other);
            }
            8 => {
                let made = make::config(u)?;
                scenario.config = match u.int_in_range(0..=3)? {
                    0 => made,
                    1 => vnet_rx::scenario::ScenarioConfig {
                        strategy: made.strategy,
                        event_idx: made.event_idx,
                        first_index: made.first_index,
                        features: None,
                        ..scenario.config
                    },
                    2 => vnet_rx::scenario::ScenarioConfig { pages: made.pages, ..scenario.config },
                    _ => vnet_rx::scenario::ScenarioConfig { dialect: made.dialect, ..made },
                };
            }
            _ => match &mut operations[at] {
                Operation::Device { actions } if actions.len() < 64 => {
                    let place = u.int_in_range(0..=actions.len())?;
                    let action = make::action(u)?;
                    match actions.get_mut(place) {
                        Some(old) if u.arbitrary()? => *old = action,
                        _ => actions.insert(place, action),
                    }
                }
                other => *other = make::operation(u)?,
            },
        }
    }
    Ok(scenario)
}

/// Bytes enough for any mutation (xorshift).
fn noise(seed: u32) -> Vec<u8> {
    let mut state = u64::from(seed) << 32 | 0x9e37_79b9;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(4096).collect()
}
