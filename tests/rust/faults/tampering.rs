//! F28 to F30: bytes that change when they should not.

use vnet_rx::device::{Action, Sending, pattern};
use vnet_rx::scenario::{Fault, Operation};
use vnet_rx::virtio::Mode;

use super::{World, check, check_in, configs};
use vnet_rx::receive::Strategy;

#[test]
fn f28_one_private_copy_of_the_header_decides() {
    check(Fault::F28, &Mode::ALL);
}

#[test]
fn f29_copied_bytes_never_change_and_views_are_shared() {
    let copied = |config: &vnet_rx::scenario::ScenarioConfig| {
        config.mode == Mode::Mergeable
            || (config.mode == Mode::Big && config.strategy == Strategy::Deferred)
    };
    let (private, shared): (Vec<_>, Vec<_>) = configs(&Mode::ALL).into_iter().partition(copied);
    check_in(Fault::F29, &[Mode::Big, Mode::Mergeable], private.clone());
    check_in(Fault::F29, &[], shared);
    // Of a longer packet the head is private, and what lies in pages is the device's to change: the
    // packet stays a packet, of the same length and the same metadata.
    for config in configs(&Mode::ALL) {
        let mut world = World::new(&config);
        world.step(&Operation::Refill);
        world.act(Sending::new(1000));
        let rewrite = Action::Rewrite { back: 0, at: 0, bytes: vec![0xee; 2000] };
        world.step(&Operation::Device { actions: vec![rewrite] });
        let packet = &world.runner.held()[0];
        let (bytes, head) = (packet.to_vec(), packet.head_len());
        assert_eq!((bytes.len(), packet.header().num_buffers), (1000, 1));
        let kept = if private.contains(&config) { head } else { 0 };
        assert_eq!(bytes[..kept], pattern(kept, 0)[..]);
        assert!(bytes[kept..].iter().all(|&byte| byte == 0xee));
        world.expect_next_good();
    }
}

#[test]
fn f30_stray_writes_never_show_in_a_packet() {
    check(Fault::F30, &Mode::ALL);
}
