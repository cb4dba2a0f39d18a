//! F23 to F27: checksum and segmentation metadata. `rust/metadata.rs` has each bound.

use vnet_rx::scenario::{Fault, ScenarioConfig};
use vnet_rx::virtio::{Features, Mode};

use super::{check, check_in, configs};

/// The configurations without some features; EVENT_IDX stays as it is.
fn without(modes: &[Mode], features: Features) -> Vec<ScenarioConfig> {
    let less = |config: ScenarioConfig| {
        let all = config.rx_config().unwrap().features;
        ScenarioConfig { features: Some(all.without(features).bits()), ..config }
    };
    configs(modes).into_iter().map(less).collect()
}

#[test]
fn f23_an_unknown_gso_type_is_dropped() {
    check(Fault::F23, &Mode::ALL);
}

#[test]
fn f24_segmentation_without_size_or_checksum_is_dropped() {
    check(Fault::F24, &[Mode::Big, Mode::Mergeable]);
}

#[test]
fn f25_a_checksum_position_outside_the_packet_is_dropped() {
    check(Fault::F25, &Mode::ALL);
}

#[test]
fn f26_what_was_not_negotiated_is_dropped() {
    check(Fault::F26, &[Mode::Small]);
    let all = Mode::ALL;
    check_in(Fault::F26, &all, without(&all, Features::GUEST_CSUM));
    // Each one alone; a big buffer needs one of the large offloads to be posted at all.
    let large = [Mode::Big, Mode::Mergeable];
    for feature in [
        Features::GUEST_TSO4,
        Features::GUEST_TSO6,
        Features::GUEST_UFO,
        Features::GUEST_ECN,
        Features::GUEST_USO4 | Features::GUEST_USO6,
    ] {
        check_in(Fault::F26, &large, without(&large, feature));
    }
}

#[test]
fn f27_unknown_flags_and_hdr_len_are_ignored() {
    check(Fault::F27, &Mode::ALL);
}
