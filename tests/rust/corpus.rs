//! Every scenario of `tests/corpus` once told something; each is run again here.

use std::path::{Path, PathBuf};

use vnet_rx::scenario::{Scenario, run, strategies_agree};

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension() == Some("json".as_ref())).collect();
    files.sort();
    assert!(!files.is_empty(), "the corpus is gone");
    files
}

#[test]
fn laws_hold_and_the_trace_is_the_recorded_one() {
    for file in files() {
        let name = file.file_name().unwrap().to_string_lossy();
        let scenario = Scenario::from_json(&std::fs::read_to_string(&file).unwrap());
        let scenario = scenario.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!scenario.note.is_empty(), "{name} does not say why it is kept");
        let trace = run(&scenario).unwrap();
        assert_eq!(trace.broken_law(), None, "{name}");
        let Some(expect) = &scenario.expect else { continue };
        for (i, (seen, expected)) in trace.observations.iter().zip(expect).enumerate() {
            assert_eq!(seen.digest(), *expected, "{name}: operation {i} is seen as {seen:#?}");
        }
    }
}

#[test]
fn every_file_is_written_as_it_is_read() {
    for file in files() {
        let scenario = Scenario::from_json(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(Scenario::from_json(&scenario.to_json()).unwrap(), scenario);
    }
}

#[test]
fn both_strategies_come_to_the_same() {
    for file in files() {
        let scenario = Scenario::from_json(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let agreed = strategies_agree(&scenario).unwrap();
        assert_eq!(agreed, Ok(()), "{}", file.display());
    }
}
