//! R1 to R10, WAIT and BREAK, at their edges, in every configuration they apply to.

use std::time::Duration;

use vnet_rx::receive::{DeviceFault, IncompleteLimit, RxConfig, Strategy};
use vnet_rx::virtio::{Dialect, Mode, VnetHeader};

use crate::rig::{Rig, configs, every_config, merged, one, pattern};

const NOT_MERGEABLE: [Mode; 2] = [Mode::Small, Mode::Big];

/// One buffer with a given used length is dropped for `fault`, and the next packet is fine.
#[track_caller]
fn expect_drop(rig: &mut Rig, fault: DeviceFault, count: usize) {
    let before = rig.queue.stats();
    let polled = rig.poll(64);
    assert_eq!((polled.received, polled.delivered, polled.broken), (count, 0, None), "{fault}");
    let after = rig.queue.stats();
    assert_eq!(after.faults.get(fault) - before.faults.get(fault), count as u64);
    let all = |s: &vnet_rx::receive::Stats| s.faults.iter().map(|(_, n)| n).sum::<u64>();
    assert_eq!(all(&after) - all(&before), count as u64, "exactly one fault a packet");
    assert_eq!(after.rx_packets, before.rx_packets);
    assert_eq!(after.rx_bytes, before.rx_bytes);
    assert_eq!(after.rx_dropped, before.rx_dropped);
    let length = after.rx_length_errors - before.rx_length_errors;
    let frame = after.rx_frame_errors - before.rx_frame_errors;
    let is_frame = matches!(
        fault,
        DeviceFault::BadChecksum | DeviceFault::BadGso | DeviceFault::NotNegotiated
    );
    let expected = if is_frame { (0, count as u64) } else { (count as u64, 0) };
    assert_eq!((length, frame), expected);
    rig.expect_next_good();
}

#[test]
fn r1_short_packets_are_dropped_up_to_one_byte_below_an_ethernet_header() {
    for config in every_config() {
        let mut rig = Rig::new(config);
        let h = rig.header_len() as u32;
        for len in [0, 1, 9, 10, 11, h - 1, h, h + 1, h + 13] {
            rig.send(one(), 60, Some(len));
            expect_drop(&mut rig, DeviceFault::ShortPacket, 1);
        }
        rig.send(one(), 14, None);
        assert_eq!(rig.poll(64).delivered, 1, "h + 14 is a packet");
        assert_eq!(rig.packets.pop().unwrap().to_vec(), pattern(14));
    }
}

#[test]
fn r1_an_unwritten_header_names_no_number_of_buffers() {
    for config in configs(&[Mode::Mergeable]) {
        let mut rig = Rig::new(config);
        rig.send(merged(3), 60, Some(11));
        expect_drop(&mut rig, DeviceFault::ShortPacket, 1);
    }
}

#[test]
fn r1_looks_at_all_bytes_of_a_merged_packet() {
    for config in configs(&[Mode::Mergeable]) {
        let mut rig = Rig::new(config);
        let first = rig.write(merged(2), &[]);
        let later = rig.write_later(&pattern(13));
        rig.complete(&[first, later]);
        expect_drop(&mut rig, DeviceFault::ShortPacket, 1);
        let first = rig.write(merged(2), &[]);
        let later = rig.write_later(&pattern(14));
        rig.complete(&[first, later]);
        assert_eq!(rig.poll(64).delivered, 1);
        assert_eq!(rig.packets.pop().unwrap().to_vec(), pattern(14));
        rig.check();
    }
}

#[test]
fn r2_a_length_beyond_the_buffer_is_dropped() {
    for config in configs(&[Mode::Small, Mode::Mergeable]) {
        let mut rig = Rig::new(config);
        let h = rig.header_len() as u32;
        let room = if config.mode() == Mode::Small { h + 1518 } else { 4096 };
        for len in [room + 1, 4097.max(room + 1), 0x1_0000, u32::MAX] {
            rig.send(one(), 60, Some(len));
            expect_drop(&mut rig, DeviceFault::LengthOverrun, 1);
        }
        rig.send(one(), (room - h) as usize, None);
        assert_eq!(rig.poll(64).delivered, 1);
        assert_eq!(rig.packets.pop().unwrap().to_vec(), pattern((room - h) as usize));
    }
}

#[test]
fn r2_holds_for_later_buffers_too() {
    for config in configs(&[Mode::Mergeable]) {
        for len in [4097, u32::MAX] {
            let mut rig = Rig::new(config);
            let first = rig.write(merged(3), &pattern(4084));
            let (second, _) = rig.write_later(&pattern(100));
            let third = rig.write_later(&pattern(100));
            rig.complete(&[first, (second, len), third]);
            expect_drop(&mut rig, DeviceFault::LengthOverrun, 1);
        }
    }
}

#[test]
fn r3_big_packets_end_where_their_frags_do() {
    for config in configs(&[Mode::Big]) {
        let mut rig = Rig::new(config);
        let most = if config.dialect() == Dialect::Legacy { 73_722 } else { 73_728 };
        let frame = most as usize - rig.header_len();
        rig.send(one(), frame, None);
        assert_eq!(rig.poll(64).delivered, 1, "{most} is the most there can be");
        assert_eq!(rig.packets.pop().unwrap().to_vec(), pattern(frame));
        for len in [most + 1, 77_818, 77_819, u32::MAX] {
            rig.send(one(), 60, Some(len));
            expect_drop(&mut rig, DeviceFault::LengthOverrun, 1);
        }
    }
}

#[test]
fn r4_zero_buffers_drops_that_one_buffer() {
    for config in configs(&[Mode::Mergeable]) {
        let mut rig = Rig::new(config);
        let bad = rig.write(merged(0), &pattern(60));
        let good = rig.write(one(), &pattern(61));
        rig.complete(&[bad, good]);
        let polled = rig.poll(64);
        assert_eq!((polled.received, polled.delivered), (2, 1));
        assert_eq!(rig.faults(DeviceFault::ZeroBuffers), 1);
        assert_eq!(rig.queue.stats().rx_length_errors, 1);
        assert_eq!(rig.packets.pop().unwrap().to_vec(), pattern(61));
        rig.expect_next_good();
    }
}

/// Sends a packet in `n` buffers of which the first holds `first` bytes and the others one page.
fn send_merged(rig: &mut Rig, n: u16, first: usize) -> Vec<u8> {
    let mut entries = vec![rig.write(merged(n), &pattern(first))];
    let mut bytes = pattern(first);
    for _ in 1..n {
        entries.push(rig.write_later(&pattern(4096)));
        bytes.extend(pattern(4096));
    }
    rig.complete(&entries);
    bytes
}

#[test]
fn r5_no_more_frags_than_an_skb_has() {
    for config in configs(&[Mode::Mergeable]) {
        for (first, most) in [(4084, 18), (129, 18), (128, 19), (60, 19)] {
            let mut rig = Rig::new(config);
            for n in [most - 1, most] {
                let sent = send_merged(&mut rig, n, first);
                assert_eq!(rig.poll(64).delivered, 1, "{n} buffers, the first with {first}");
                let packet = rig.packets.pop().unwrap();
                assert_eq!(packet.to_vec(), sent);
                assert_eq!(packet.frags().len(), usize::from(n) - usize::from(first <= 128));
                assert_eq!(packet.header().num_buffers, n);
                drop(packet);
                rig.queue.refill().unwrap();
            }
            send_merged(&mut rig, most + 1, first);
            expect_drop(&mut rig, DeviceFault::TooManyFrags, 1);
        }
    }
}

#[test]
fn r6_a_later_buffer_must_hold_something() {
    for config in configs(&[Mode::Mergeable]) {
        for empty in [1, 2] {
            let mut rig = Rig::new(config);
            let mut entries = vec![rig.write(merged(3), &pattern(4084))];
            for k in 1..3 {
                let (id, len) = rig.write_later(&pattern(4096));
                entries.push((id, if k == empty { 0 } else { len }));
            }
            rig.complete(&entries);
            expect_drop(&mut rig, DeviceFault::EmptyBuffer, 1);
        }
    }
}

#[test]
fn r7_an_incomplete_packet_waits_and_is_delivered_whole() {
    for config in configs(&[Mode::Mergeable]) {
        for steps in 2..=5usize {
            let mut rig = Rig::new(config);
            let mut entries = vec![rig.write(merged(5), &pattern(4084))];
            let mut bytes = pattern(4084);
            for k in 1..5usize {
                entries.push(rig.write_later(&pattern(1000 * k)));
                bytes.extend(pattern(1000 * k));
            }
            let per_step = entries.len().div_ceil(steps);
            let chunks: Vec<_> = entries.chunks(per_step).collect();
            for (i, chunk) in chunks.iter().enumerate() {
                let before = rig.queue.num();
                rig.complete(chunk);
                let polled = rig.poll(64);
                let last = i + 1 == chunks.len();
                assert_eq!(polled.delivered, usize::from(last));
                assert_eq!(polled.received, usize::from(last));
                assert_eq!(rig.queue.num(), if last { before - 5 } else { before });
            }
            assert_eq!(rig.packets.pop().unwrap().to_vec(), bytes);
            assert_eq!(rig.faults(DeviceFault::PartialBuffer), 3);
            rig.expect_next_good();
        }
    }
}

#[test]
fn r7_the_sixteenth_poll_without_progress_breaks() {
    for config in configs(&[Mode::Mergeable]) {
        let mut rig = Rig::new(config);
        let first = rig.write(merged(3), &pattern(4084));
        rig.complete(&[first]);
        for _ in 0..15 {
            assert_eq!(rig.poll(64), Default::default());
        }
        // Progress starts the count at 1 again: this poll is the first of sixteen.
        let second = rig.write_later(&pattern(4096));
        rig.complete(&[second]);
        for _ in 0..15 {
            assert_eq!(rig.poll(64), Default::default());
        }
        let stats = rig.queue.stats();
        assert_eq!(rig.poll(64).broken, Some(DeviceFault::IncompletePacket));
        let after = rig.queue.stats();
        assert_eq!(after.polls, stats.polls + 1);
        assert_eq!(after.rx_length_errors, 0, "only the fault is counted");
        rig.expect_broken(DeviceFault::IncompletePacket);
    }
}

#[test]
fn r7_with_a_limit_of_one_the_first_poll_breaks() {
    for config in configs(&[Mode::Mergeable]) {
        let mut rig = Rig::new(RxConfig { incomplete: IncompleteLimit::Polls(1), ..config });
        let first = rig.write(merged(2), &pattern(4084));
        rig.complete(&[first]);
        assert_eq!(rig.poll(64).broken, Some(DeviceFault::IncompletePacket));
        rig.expect_broken(DeviceFault::IncompletePacket);
    }
}

#[test]
fn r7_a_time_limit_takes_the_place_of_the_count() {
    for config in configs(&[Mode::Mergeable]) {
        let limit = Duration::from_millis(30);
        let mut rig = Rig::new(RxConfig { incomplete: IncompleteLimit::Time(limit), ..config });
        let first = rig.write(merged(2), &pattern(4084));
        rig.complete(&[first]);
        let began = std::time::Instant::now();
        let mut polled = rig.poll(64);
        while polled.broken.is_none() {
            polled = rig.poll(64);
        }
        assert!(began.elapsed() >= limit);
        assert_eq!(polled.broken, Some(DeviceFault::IncompletePacket));
        rig.expect_broken(DeviceFault::IncompletePacket);
    }
}

#[test]
fn r7_a_waiting_packet_keeps_the_header_it_came_with() {
    for config in configs(&[Mode::Mergeable]) {
        let mut rig = Rig::new(config);
        let chain = rig.take();
        let header = VnetHeader { flags: 2, ..merged(2) };
        rig.device.write(&chain, 0, &header.to_bytes()).unwrap();
        rig.device.write(&chain, 12, &pattern(4084)).unwrap();
        rig.complete(&[(chain.head.into(), 4096)]);
        assert_eq!(rig.poll(64).received, 0);
        rig.device.write(&chain, 0, &merged(60_000).to_bytes()).unwrap();
        let later = rig.write_later(&pattern(10));
        rig.complete(&[later]);
        assert_eq!(rig.poll(64).delivered, 1);
        assert_eq!(rig.packets.pop().unwrap().header(), header);
    }
}

#[test]
fn r8_more_buffers_than_are_outstanding_breaks() {
    for config in configs(&[Mode::Mergeable]) {
        for n in [65, 1000, u16::MAX] {
            let mut rig = Rig::new(config);
            rig.send(merged(n), 60, None);
            assert_eq!(rig.poll(64).broken, Some(DeviceFault::BufferCount));
            assert_eq!(rig.queue.num(), 64, "nothing was consumed");
            rig.expect_broken(DeviceFault::BufferCount);
        }
        let mut rig = Rig::new(config);
        rig.send(merged(64), 60, None);
        assert_eq!(rig.poll(64).received, 0, "as many as are outstanding may still come");
    }
}

#[test]
fn r9_the_field_is_ignored_where_buffers_do_not_merge() {
    for config in configs(&NOT_MERGEABLE) {
        let mut rig = Rig::new(config);
        for n in [0, 1, 2, 300, u16::MAX] {
            rig.send(merged(n), 200, None);
            assert_eq!(rig.poll(64).delivered, 1);
            let packet = rig.packets.pop().unwrap();
            assert_eq!((packet.to_vec(), packet.header().num_buffers), (pattern(200), 1));
        }
    }
}

#[test]
fn r10_a_packet_without_an_skb_is_dropped_and_no_fault_of_the_device() {
    let big_or_merged = [Mode::Big, Mode::Mergeable];
    for config in configs(&big_or_merged).filter(|c| c.strategy == Strategy::Deferred) {
        let mut rig = Rig::new(config);
        let pool = rig.queue.pool();
        if config.mode() == Mode::Mergeable {
            send_merged(&mut rig, 3, 4084);
        } else {
            rig.send(one(), 9000, None);
        }
        rig.queue.fail_skb_allocs(0, 1);
        let polled = rig.poll(64);
        assert_eq!((polled.received, polled.delivered), (1, 0));
        let stats = rig.queue.stats();
        assert_eq!((stats.rx_dropped, stats.rx_packets, stats.skb_allocs), (1, 0, 0));
        assert_eq!(stats.faults.iter().map(|(_, n)| n).sum::<u64>(), 0);
        assert_eq!(rig.queue.pool().len(), pool.len() + stats.pool_gives as usize);
        rig.expect_next_good();
    }
}

#[test]
fn r10_comes_last() {
    for config in configs(&[Mode::Mergeable]).filter(|c| c.strategy == Strategy::Deferred) {
        let mut rig = Rig::new(config);
        rig.queue.fail_skb_allocs(0, 1);
        rig.send(one(), 60, Some(12));
        expect_drop_then_skb_fails(&mut rig);
    }
}

/// A bad packet does not ask for an skb, so the planned failure is still to come.
fn expect_drop_then_skb_fails(rig: &mut Rig) {
    assert_eq!(rig.poll(64).received, 1);
    assert_eq!(rig.faults(DeviceFault::ShortPacket), 1);
    rig.send(one(), 60, None);
    assert_eq!(rig.poll(64).delivered, 0);
    assert_eq!(rig.queue.stats().rx_dropped, 1);
}

#[test]
fn the_first_rule_in_order_names_the_fault() {
    use DeviceFault::*;
    // (num_buffers, used lengths, header flags, fault): each packet breaks several rules.
    let cases: [(u16, &[u32], u8, DeviceFault); 5] = [
        (2, &[12, 0], 1, ShortPacket),           // R1 before R6
        (3, &[4096, 4097, 0], 0, LengthOverrun), // R2 before R6
        (20, &[4096; 20], 1, TooManyFrags),      // R5 before section 7
        (2, &[4096, 0], 1, EmptyBuffer),         // R6 before section 7
        (0, &[5000], 1, ZeroBuffers),            // R4 before R2
    ];
    for config in configs(&[Mode::Mergeable]) {
        for (n, lens, flags, fault) in cases {
            let mut rig = Rig::new(config);
            // A checksum beyond the packet, for those that get as far as section 7.
            let header = VnetHeader { flags, csum_start: u16::MAX, ..merged(n) };
            let mut entries = Vec::new();
            for (k, &len) in lens.iter().enumerate() {
                let (id, _) = if k == 0 {
                    rig.write(header, &pattern(60))
                } else {
                    rig.write_later(&[0; 60])
                };
                entries.push((id, len));
            }
            rig.complete(&entries);
            expect_drop(&mut rig, fault, 1);
        }
    }
}

#[test]
fn a_break_returns_the_packets_before_it() {
    for config in every_config() {
        let mut rig = Rig::new(config);
        let good = rig.write(one(), &pattern(60));
        rig.complete(&[good, (1 << 20, 60), good]);
        let polled = rig.poll(64);
        assert_eq!((polled.received, polled.delivered), (1, 1));
        assert_eq!(polled.broken, Some(DeviceFault::BadUsedId));
        assert_eq!(rig.packets.len(), 1);
        let posted = rig.queue.stats().buffers_posted;
        rig.expect_broken(DeviceFault::BadUsedId);
        assert!(rig.queue.stats().buffers_posted > posted, "refilled only after the reset");
    }
}

#[test]
fn a_break_consumes_nothing_of_the_packet_being_judged() {
    for config in configs(&[Mode::Mergeable]) {
        // The third entry repeats the second: the ids are checked against each other, first.
        let mut rig = Rig::new(config);
        let first = rig.write(merged(3), &pattern(4084));
        let second = rig.write_later(&pattern(4096));
        rig.take();
        let free = rig.queue.free_descriptors();
        rig.complete(&[first, second, second]);
        assert_eq!(rig.poll(64).broken, Some(DeviceFault::BadUsedId));
        assert_eq!(rig.queue.num(), 64);
        assert_eq!(rig.queue.free_descriptors(), free);
        rig.expect_broken(DeviceFault::BadUsedId);
    }
}

#[test]
fn a_partial_buffer_is_delivered_and_counted() {
    for config in configs(&[Mode::Mergeable]) {
        let mut rig = Rig::new(config);
        let entries = [
            rig.write(merged(3), &pattern(5)),
            rig.write_later(&pattern(4096)),
            rig.write_later(&pattern(7)),
        ];
        rig.complete(&entries);
        assert_eq!(rig.poll(64).delivered, 1);
        let packet = rig.packets.pop().unwrap();
        assert_eq!(packet.to_vec(), [pattern(5), pattern(4096), pattern(7)].concat());
        assert_eq!((packet.head_len(), packet.frags().len()), (5, 2));
        assert_eq!(rig.faults(DeviceFault::PartialBuffer), 1, "the first; the last may be short");
        assert_eq!(rig.queue.stats().rx_length_errors, 0);
    }
}
