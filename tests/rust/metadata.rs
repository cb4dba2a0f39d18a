//! Section 7: checksum and segmentation metadata, against the packet and what was negotiated.

use vnet_rx::receive::{DeviceFault, RxConfig, Strategy};
use vnet_rx::virtio::{Dialect, Features, Mode, VnetHeader};

use crate::rig::{Rig, every_config, one, pattern};

/// What a frame of `len` bytes with this header comes to.
fn outcome(rig: &mut Rig, header: VnetHeader, len: usize) -> Result<VnetHeader, DeviceFault> {
    let before = rig.queue.stats();
    rig.send(VnetHeader { num_buffers: 1, ..header }, len, None);
    let polled = rig.poll(64);
    assert_eq!((polled.received, polled.broken), (1, None));
    if let Some(packet) = rig.packets.pop() {
        assert_eq!(packet.to_vec(), pattern(len));
        return Ok(packet.header());
    }
    let after = rig.queue.stats();
    assert_eq!(after.rx_frame_errors, before.rx_frame_errors + 1);
    assert_eq!(after.rx_length_errors, before.rx_length_errors);
    let fault = after.faults.iter().find(|&(fault, n)| n != before.faults.get(fault));
    rig.expect_next_good();
    Err(fault.unwrap().0)
}

const CSUM: VnetHeader = VnetHeader {
    flags: 1,
    gso_type: 0,
    hdr_len: 0,
    gso_size: 0,
    csum_start: 34,
    csum_offset: 16,
    num_buffers: 0,
};

fn gso(gso_type: u8) -> VnetHeader {
    VnetHeader { gso_type, gso_size: 1448, ..CSUM }
}

#[test]
fn l15_step_1_the_sum_must_lie_in_the_packet_as_a_whole() {
    for config in every_config() {
        let mut rig = Rig::new(config);
        // Beyond the 128 bytes that are copied, so the bound is the packet's and not the head's.
        let len = 1000;
        let at = |start, offset| VnetHeader { csum_start: start, csum_offset: offset, ..CSUM };
        assert!(outcome(&mut rig, at(900, 98), len).is_ok());
        assert!(outcome(&mut rig, at(998, 0), len).is_ok());
        for (start, offset) in
            [(900, 99), (999, 0), (1000, 0), (0, 999), (65535, 0), (65535, 65535), (1, 65534)]
        {
            let result = outcome(&mut rig, at(start, offset), len);
            assert_eq!(result, Err(DeviceFault::BadChecksum), "{start} + {offset}");
        }
        // Without NEEDS_CSUM the fields mean nothing.
        let unused = VnetHeader { flags: 2, ..at(65535, 65535) };
        assert!(outcome(&mut rig, unused, len).is_ok());
    }
}

#[test]
fn step_2_only_five_types_are_known_with_ecn_or_without() {
    for config in every_config().filter(|config| config.mode() != Mode::Small) {
        let mut rig = Rig::new(config);
        for gso_type in 0..=255u8 {
            let known = matches!(gso_type & 0x7f, 0 | 1 | 3 | 4 | 5) && gso_type != 0x80;
            let expected = if known { None } else { Some(DeviceFault::BadGso) };
            assert_eq!(outcome(&mut rig, gso(gso_type), 200).err(), expected, "{gso_type:#x}");
        }
    }
}

#[test]
fn step_3_each_type_needs_its_feature() {
    let needs: [(u8, &[Features]); 8] = [
        (1, &[Features::GUEST_TSO4]),
        (4, &[Features::GUEST_TSO6]),
        (3, &[Features::GUEST_UFO]),
        (0x81, &[Features::GUEST_TSO4, Features::GUEST_ECN]),
        (0x84, &[Features::GUEST_TSO6, Features::GUEST_ECN]),
        (0x83, &[Features::GUEST_UFO, Features::GUEST_ECN]),
        (5, &[]),
        (0, &[]),
    ];
    let all = Features::default_for(Mode::Mergeable, Dialect::Modern);
    let uso = Features::GUEST_USO4 | Features::GUEST_USO6;
    for strategy in Strategy::ALL {
        for (gso_type, features) in needs {
            let mut rig = Rig::new(RxConfig::with_features(all, strategy));
            assert!(outcome(&mut rig, gso(gso_type), 200).is_ok(), "{gso_type:#x}");
            for &feature in features {
                let config = RxConfig::with_features(all.without(feature), strategy);
                let result = outcome(&mut Rig::new(config), gso(gso_type), 200);
                assert_eq!(result, Err(DeviceFault::NotNegotiated), "{gso_type:#x}");
            }
        }
        // Either USO feature will do for UDP_L4.
        for (without, expected) in [
            (Features::GUEST_USO4, None),
            (Features::GUEST_USO6, None),
            (uso, Some(DeviceFault::NotNegotiated)),
        ] {
            let config = RxConfig::with_features(all.without(without), strategy);
            assert_eq!(outcome(&mut Rig::new(config), gso(5), 200).err(), expected);
        }
    }
}

#[test]
fn step_1_a_checksum_to_complete_needs_its_feature() {
    for config in every_config() {
        let features = config.features.without(Features::GUEST_CSUM);
        let mut rig = Rig::new(RxConfig { features, ..config });
        assert_eq!(outcome(&mut rig, CSUM, 200), Err(DeviceFault::NotNegotiated));
        // Before the position is looked at.
        let far = VnetHeader { csum_start: 60_000, ..CSUM };
        assert_eq!(outcome(&mut rig, far, 200), Err(DeviceFault::NotNegotiated));
        assert!(outcome(&mut rig, VnetHeader { flags: 2, ..CSUM }, 200).is_ok());
    }
}

#[test]
fn step_4_segmentation_needs_a_checksum_and_a_size() {
    for config in every_config().filter(|config| config.mode() != Mode::Small) {
        let mut rig = Rig::new(config);
        for gso_type in [1, 3, 4, 5, 0x81] {
            let no_csum = VnetHeader { flags: 0, ..gso(gso_type) };
            assert_eq!(outcome(&mut rig, no_csum, 200), Err(DeviceFault::BadGso));
            let no_size = VnetHeader { gso_size: 0, ..gso(gso_type) };
            assert_eq!(outcome(&mut rig, no_size, 200), Err(DeviceFault::BadGso));
        }
    }
}

#[test]
fn the_steps_come_in_order() {
    let all = Features::default_for(Mode::Mergeable, Dialect::Modern);
    let mut rig = Rig::new(RxConfig::with_features(all, Strategy::Deferred));
    // Step 1 before 2.
    let header = VnetHeader { csum_start: 9000, ..gso(0x7f) };
    assert_eq!(outcome(&mut rig, header, 200), Err(DeviceFault::BadChecksum));
    // Step 3 before 4.
    let config = RxConfig::with_features(all.without(Features::GUEST_TSO4), Strategy::Deferred);
    let header = VnetHeader { gso_size: 0, ..gso(1) };
    assert_eq!(outcome(&mut Rig::new(config), header, 200), Err(DeviceFault::NotNegotiated));
    // Step 2 before 3: an unknown type is bad whatever was negotiated.
    let config = RxConfig::with_features(Features::MRG_RXBUF, Strategy::Deferred);
    let header = VnetHeader { gso_type: 2, ..one() };
    assert_eq!(outcome(&mut Rig::new(config), header, 200), Err(DeviceFault::BadGso));
}

#[test]
fn small_mode_takes_no_segmentation() {
    for config in every_config().filter(|config| config.mode() == Mode::Small) {
        let mut rig = Rig::new(config);
        for gso_type in [1, 3, 4, 5] {
            assert_eq!(outcome(&mut rig, gso(gso_type), 200), Err(DeviceFault::NotNegotiated));
        }
    }
}

#[test]
fn what_is_delivered_is_what_was_written_less_what_is_ignored() {
    for config in every_config() {
        let mut rig = Rig::new(config);
        for flags in 0..=255u8 {
            let header = VnetHeader { flags, hdr_len: 0xbeef, num_buffers: 1, ..CSUM };
            let expected = VnetHeader { flags: flags & 3, hdr_len: 0, ..header };
            assert_eq!(outcome(&mut rig, header, 200), Ok(expected));
        }
    }
}
