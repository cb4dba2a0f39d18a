//! Where the receive path deliberately differs from the patch of 2010 (RECEIVE.md, section 9): one
//! test or more for each row, by its id.
//!
//! S4 (a scatterlist used uninitialised) cannot be written here: a buffer's segments are pushed onto
//! a `Vec`, and `add` takes a slice of what was pushed. The other rows' ids: L3, L4 are R1, R2 in
//! `rules.rs` as well, L15 is in `metadata.rs`.

use vnet_rx::memory::PageArena;
use vnet_rx::receive::{ConfigError, DeviceFault, Packet, RxConfig, RxQueue, Strategy};
use vnet_rx::virtio::{Dialect, Mode, VnetHeader};

use crate::rig::{Rig, configs, every_config, merged, one, pattern};

#[test]
fn s1_a_first_mergeable_buffer_longer_than_its_page_is_no_packet() {
    for config in configs(&[Mode::Mergeable]) {
        let mut rig = Rig::new(config);
        rig.send(one(), 4084, Some(4097));
        assert_eq!(rig.poll(64).delivered, 0);
        assert_eq!(rig.faults(DeviceFault::LengthOverrun), 1);
        rig.expect_next_good();
    }
}

#[test]
fn s2_a_big_packet_never_needs_a_nineteenth_frag() {
    for config in configs(&[Mode::Big]) {
        let mut rig = Rig::new(config);
        for len in [73_729, 77_818, 77_819, 81_920] {
            rig.send(one(), 60, Some(len));
            assert_eq!(rig.poll(64).delivered, 0);
            rig.expect_next_good();
        }
        let most = 73_728 - 16 + if config.dialect() == Dialect::Modern { 4 } else { 0 };
        rig.send(one(), most, None);
        rig.poll(64);
        assert!(rig.packets.pop().unwrap().frags().len() <= 18);
    }
}

#[test]
fn s3_a_full_ring_is_success_and_not_out_of_memory() {
    for config in every_config() {
        let mut rig = Rig::new(config);
        assert!(!rig.queue.refill_needed());
        assert_eq!(rig.queue.refill(), Ok(0));
        assert!(!rig.queue.refill_needed());
    }
}

#[test]
fn s6_a_full_ring_builds_no_buffer_to_throw_away() {
    for config in every_config() {
        let mut rig = Rig::new(config);
        let before = rig.queue.stats();
        rig.queue.refill().unwrap();
        assert_eq!(rig.queue.stats(), before, "no page and no skb was so much as touched");
    }
}

#[test]
fn l1_an_error_in_a_merged_packet_takes_all_its_buffers_along() {
    for config in configs(&[Mode::Mergeable]) {
        let mut rig = Rig::new(config);
        let bad = [
            rig.write(merged(3), &pattern(4084)),
            rig.write_later(&pattern(4096)),
            rig.write_later(&pattern(4096)),
        ];
        let good = rig.write(one(), &pattern(99));
        let num = rig.queue.num();
        rig.complete(&[bad[0], (bad[1].0, 5000), bad[2], good]);
        let polled = rig.poll(64);
        assert_eq!((polled.received, polled.delivered), (2, 1));
        assert_eq!(rig.queue.num(), num - 4);
        assert_eq!(rig.packets.pop().unwrap().to_vec(), pattern(99));
        assert_eq!(rig.faults(DeviceFault::LengthOverrun), 1);
    }
}

#[test]
fn l2_zero_buffers_swallow_one_and_not_all_that_follow() {
    for config in configs(&[Mode::Mergeable]) {
        let mut rig = Rig::new(config);
        let entries = [
            rig.write(merged(0), &pattern(60)),
            rig.write(one(), &pattern(61)),
            rig.write(one(), &pattern(62)),
        ];
        rig.complete(&entries);
        assert_eq!(rig.poll(64).delivered, 2);
    }
}

#[test]
fn l3_the_short_packet_test_knows_the_true_header_length() {
    for config in every_config() {
        let mut rig = Rig::new(config);
        // With the 10-byte header's test, a 12-byte header and 12 or 13 bytes would pass.
        rig.send(one(), 60, Some(rig.header_len() as u32 + 13));
        assert_eq!(rig.poll(64).delivered, 0);
        assert_eq!(rig.faults(DeviceFault::ShortPacket), 1);
    }
}

#[test]
fn l4_a_small_packet_never_shows_bytes_that_were_not_written() {
    for config in configs(&[Mode::Small]) {
        let mut rig = Rig::new(config);
        rig.send(one(), 100, Some(rig.header_len() as u32 + 1519));
        assert_eq!(rig.poll(64).delivered, 0);
        assert_eq!(rig.faults(DeviceFault::LengthOverrun), 1);
    }
}

#[test]
fn l5_truesize_counts_pinned_pages() {
    let of = |config: RxConfig, len| {
        let mut rig = Rig::new(config);
        rig.send(one(), len, None);
        rig.poll(1);
        rig.packets.pop().map(|packet| packet.truesize())
    };
    for config in configs(&[Mode::Mergeable]) {
        assert_eq!(of(config, 128), Some(128));
        assert_eq!(of(config, 129), Some(128 + 4096));
    }
    for config in configs(&[Mode::Small]) {
        assert_eq!(of(config, 60), Some(1518));
    }
    for config in configs(&[Mode::Big]) {
        let linear = config.strategy == Strategy::Eager;
        assert_eq!(of(config, 1518), Some(if linear { 1518 } else { 128 + 4096 }));
        assert_eq!(of(config, 1519), Some(if linear { 1518 + 4096 } else { 128 + 4096 }));
    }
}

#[test]
fn l6_l7_what_completes_around_the_rearm_is_received_in_the_same_poll() {
    use vnet_rx::receive::Point;
    for point in [Point::UsedIdxRead, Point::BeforeRearm, Point::AfterRearm] {
        for config in every_config() {
            let mut rig = Rig::new(config);
            let late = rig.write(one(), &pattern(60));
            let mut fired = 0;
            let Rig { queue, device, packets, .. } = &mut rig;
            let polled = queue.poll_with(8, packets, |at| {
                if at == point {
                    fired += 1;
                    if fired == 1 {
                        device.push_used(late.0, late.1);
                        device.publish();
                    }
                }
            });
            assert_eq!(polled.unwrap().delivered, 1, "{point:?}");
            assert_eq!(fired, 2, "the queue went round once more");
            rig.check();
        }
    }
}

#[test]
fn l9_the_ring_is_not_read_back() {
    for config in every_config() {
        let mut rig = Rig::new(config);
        let entry = rig.write(one(), &pattern(70));
        let layout = rig.queue.layout();
        let memory = rig.arena.memory();
        for at in (layout.desc..layout.desc + 16 * 64).step_by(8) {
            memory.store64(at, u64::MAX).unwrap();
        }
        for at in (layout.avail..layout.avail + 6 + 2 * 64).step_by(2) {
            memory.store16(at, 0xffff).unwrap();
        }
        rig.complete(&[entry]);
        assert_eq!(rig.poll(8).delivered, 1);
        assert_eq!(rig.packets.pop().unwrap().to_vec(), pattern(70));
        rig.reset();
        rig.expect_next_good();
    }
}

#[test]
fn l10_a_ring_or_arena_too_small_for_one_buffer_is_refused() {
    for config in every_config() {
        let per_buffer = config.descriptors_per_buffer();
        for ring_size in [2u32, 4, 8, 16, 32] {
            let arena = PageArena::new(64).unwrap();
            let result = RxQueue::new(RxConfig { ring_size, ..config }, &arena);
            if (ring_size as usize) < per_buffer {
                assert!(matches!(result, Err(ConfigError::RingTooSmall { .. })));
                let message = result.unwrap_err().to_string();
                assert!(message.contains(&ring_size.to_string()), "{message}");
            } else {
                result.unwrap().refill().unwrap();
            }
        }
        let pages = config.pages_per_buffer();
        if pages > 1 {
            let arena = PageArena::new(pages - 1).unwrap();
            let result = RxQueue::new(config, &arena);
            assert!(matches!(result, Err(ConfigError::ArenaTooSmall { .. })));
        }
        for ring_size in [0, 1, 3, 65536, u32::MAX] {
            let arena = PageArena::new(64).unwrap();
            let error = RxQueue::new(RxConfig { ring_size, ..config }, &arena).unwrap_err();
            assert!(error.to_string().contains(&format!("ring size {ring_size} ")), "{error}");
        }
    }
}

#[test]
fn l12_only_delivered_packets_are_counted() {
    for config in every_config() {
        let mut rig = Rig::new(config);
        rig.send(VnetHeader { gso_type: 0x7f, ..one() }, 100, None);
        rig.send(one(), 100, None);
        assert_eq!(rig.poll(8).received, 2);
        let stats = rig.queue.stats();
        assert_eq!((stats.rx_packets, stats.rx_bytes), (1, 100));
    }
}

#[test]
fn l14_a_packet_that_completes_in_two_steps_is_one_packet() {
    for config in configs(&[Mode::Mergeable]) {
        let mut rig = Rig::new(config);
        let first = rig.write(merged(2), &pattern(4084));
        // What would be a phantom packet if it were taken for one.
        let later = rig.write_later(&[1; 4096]);
        rig.complete(&[first]);
        assert_eq!(rig.poll(8).received, 0);
        rig.complete(&[later]);
        assert_eq!(rig.poll(8).received, 1);
        assert_eq!(rig.packets.len(), 1);
        let stats = rig.queue.stats();
        assert_eq!((stats.rx_packets, stats.rx_length_errors), (1, 0));
    }
}

#[test]
fn l16_a_small_ring_is_never_left_too_empty_for_the_largest_packet() {
    for config in configs(&[Mode::Mergeable]) {
        let config = RxConfig { ring_size: 32, ..config };
        let mut rig = Rig::new(config);
        for _ in 0..14 {
            rig.send(one(), 60, None);
        }
        // 18 are left: more than half of 32, and one fewer than the largest packet needs.
        assert_eq!(rig.poll(14).delivered, 14);
        rig.packets.clear();
        assert_eq!(rig.queue.num(), 32, "refilled");
    }
}

#[test]
fn deferred_allocates_one_skb_a_packet_and_eager_one_a_buffer() {
    for config in configs(&[Mode::Big, Mode::Mergeable]) {
        let mut rig = Rig::new(config);
        let allocated = rig.queue.stats().skb_allocs;
        let eager = config.strategy == Strategy::Eager;
        assert_eq!(allocated, if eager { u64::from(rig.queue.num()) } else { 0 });
        // 64 KiB: 17 mergeable buffers.
        let buffers = if config.mode() == Mode::Mergeable { 17 } else { 1 };
        let mut entries = vec![rig.write(merged(buffers), &pattern(4084))];
        for k in 1..buffers {
            let len = if k == 16 { 65536 - 4084 - 15 * 4096 } else { 4096 };
            entries.push(rig.write_later(&pattern(len)));
        }
        rig.complete(&entries);
        assert_eq!(rig.poll(1).delivered, 1);
        rig.queue.refill().unwrap();
        let stats = rig.queue.stats();
        let expected = if eager { u64::from(buffers) } else { 1 };
        assert_eq!(stats.skb_allocs - allocated, expected);
        if eager {
            assert_eq!(stats.skb_frees, u64::from(buffers) - 1, "all but one were freed");
        }
        rig.check();
    }
}

#[test]
fn copied_bytes_are_those_of_private_heads() {
    for config in every_config() {
        let mut rig = Rig::new(config);
        let private = rig.config().mode() == Mode::Mergeable
            || (config.mode() == Mode::Big && config.strategy == Strategy::Deferred);
        for len in [14, 127, 128, 129, 1514] {
            let before = rig.queue.stats().bytes_copied;
            rig.send(one(), len, None);
            rig.poll(1);
            let copied = rig.queue.stats().bytes_copied - before;
            assert_eq!(copied, if private { len.min(128) as u64 } else { 0 });
        }
    }
}

#[test]
fn a_released_packet_gives_its_pages_to_the_arena() {
    for config in every_config() {
        let mut rig = Rig::new(config);
        rig.send(one(), 1000, None);
        rig.poll(1);
        let packet: Packet = rig.packets.pop().unwrap();
        let held = packet.frags().len() + usize::from(packet.linear().is_some());
        assert_eq!(held, 1);
        let (free, pool) = (rig.arena.free(), rig.queue.pool());
        std::thread::spawn(move || drop(packet)).join().unwrap();
        assert_eq!(rig.arena.free(), free + 1);
        assert_eq!(rig.queue.pool(), pool);
        rig.check();
    }
}
