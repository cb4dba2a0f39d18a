//! Refill, its memory, budgets, arming and kicks (RECEIVE.md, sections 6 and 8).

use vnet_rx::memory::PageArena;
use vnet_rx::receive::{DeviceFault, Readiness, RxConfig, RxError, RxQueue, Strategy};
use vnet_rx::virtio::{Features, Mode};

use crate::rig::{Rig, configs, every_config, one, pattern};

fn event_idx(rig: &Rig) -> bool {
    rig.config().features.contains(Features::EVENT_IDX)
}

fn avail_flags(rig: &Rig) -> u16 {
    rig.arena.memory().load16(rig.queue.layout().avail).unwrap()
}

fn used_event(rig: &Rig) -> u16 {
    let layout = rig.queue.layout();
    rig.arena.memory().load16(layout.avail + 4 + 2 * u64::from(layout.size)).unwrap()
}

#[test]
fn f38_out_of_memory_at_each_single_allocation_leaves_a_smaller_ring() {
    for config in every_config() {
        let config = RxConfig { ring_size: 32, ..config };
        let full = config.ring_size as usize / config.descriptors_per_buffer();
        let skbs = config.strategy == Strategy::Eager || config.mode() == Mode::Small;
        let pages = config.pages_per_ring();
        let plans = (0..pages).map(|k| (k, false));
        let skb_plans = (0..full).map(|k| (k, true)).filter(|_| skbs);
        for (k, of_skb) in plans.chain(skb_plans) {
            let mut rig = Rig::bare(config, 2 * pages);
            if of_skb {
                rig.queue.fail_skb_allocs(k as u64, 1);
            } else {
                rig.arena.fail_allocs(k as u64, 1);
            }
            let posted = rig.queue.refill().unwrap();
            rig.check();
            assert_eq!(posted, if of_skb { k } else { k / config.pages_per_buffer() });
            assert!(rig.queue.refill_needed());
            // Memory is back: the next poll fills the ring, without any completion.
            assert_eq!(rig.poll(1).received, 0);
            assert_eq!(usize::from(rig.queue.num()), full);
            assert!(!rig.queue.refill_needed());
            rig.expect_next_good();
        }
    }
}

#[test]
fn an_empty_ring_is_filled_once_there_is_memory() {
    for config in every_config() {
        let mut rig = Rig::bare(config, config.pages_per_ring());
        rig.arena.fail_allocs(0, u64::MAX);
        assert_eq!(rig.queue.refill(), Ok(0));
        for _ in 0..3 {
            assert_eq!(rig.poll(1).received, 0);
            assert!(rig.queue.refill_needed() && rig.queue.num() == 0);
        }
        rig.arena.fail_allocs(0, 0);
        rig.poll(1);
        assert!(!rig.queue.refill_needed() && rig.queue.num() == rig.queue.max());
    }
}

#[test]
fn a_new_queue_posts_nothing_until_it_is_refilled_or_polled() {
    for config in every_config() {
        let mut rig = Rig::bare(config, config.pages_per_ring());
        assert_eq!((rig.queue.num(), rig.queue.max()), (0, 0));
        assert_eq!(rig.device.available(), Ok(0));
        rig.poll(1);
        assert!(rig.queue.num() > 0);
    }
}

#[test]
fn the_ring_is_refilled_below_half_of_the_most_it_held() {
    for config in every_config().filter(|config| config.mode() != Mode::Big) {
        let config = RxConfig { ring_size: 128, ..config };
        let mut rig = Rig::new(config);
        let full = rig.queue.max();
        for _ in 0..full / 2 {
            rig.send(one(), 60, None);
        }
        rig.poll(usize::from(full));
        assert_eq!(rig.queue.num(), full - full / 2, "half is not below half");
        rig.send(one(), 60, None);
        rig.poll(1);
        assert_eq!(rig.queue.num(), full);
    }
}

#[test]
fn a_poll_takes_no_more_than_its_budget_and_stays_disarmed_when_it_does() {
    for config in every_config() {
        let mut rig = Rig::new(RxConfig { ring_size: 128, ..config });
        let armed_at = used_event(&rig);
        for _ in 0..3 {
            rig.send(one(), 60, None);
        }
        assert_eq!(rig.poll(2).received, 2);
        if event_idx(&rig) {
            assert_eq!(used_event(&rig), armed_at, "an event index is not moved");
        } else {
            assert_eq!(avail_flags(&rig), 1);
        }
        assert_eq!(rig.poll(2).received, 1);
        if event_idx(&rig) {
            assert_eq!(used_event(&rig), armed_at.wrapping_add(3));
        } else {
            assert_eq!(avail_flags(&rig), 0);
        }
        assert_eq!(rig.queue.poll(0, &mut rig.packets), Err(RxError::ZeroBudget));
        assert_eq!(rig.queue.stats().polls, 2, "a refused poll is none");
    }
}

#[test]
fn bad_packets_use_the_budget_up_like_good_ones() {
    for config in every_config() {
        let mut rig = Rig::new(RxConfig { ring_size: 128, ..config });
        for _ in 0..4 {
            rig.send(one(), 60, Some(3));
        }
        assert_eq!(rig.poll(3).received, 3);
        assert_eq!(rig.faults(DeviceFault::ShortPacket), 3);
    }
}

#[test]
fn a_busy_poll_never_asks_to_be_notified_and_preparing_to_sleep_does() {
    for config in every_config() {
        let mut rig = Rig::new(RxConfig { ring_size: 128, ..config });
        let armed_at = used_event(&rig);
        for _ in 0..3 {
            rig.send(one(), 60, None);
            for delivered in [1, 0] {
                let polled = rig.queue.poll_busy(8, &mut rig.packets).unwrap();
                assert_eq!(polled.delivered, delivered);
            }
            if event_idx(&rig) {
                assert_eq!(used_event(&rig), armed_at, "an event index is not moved");
            } else {
                assert_eq!(avail_flags(&rig), 1);
            }
        }
        assert_eq!(rig.queue.prepare_to_sleep(), Ok(Readiness::Sleep(None)));
        if event_idx(&rig) {
            assert_eq!(used_event(&rig), armed_at.wrapping_add(3));
        } else {
            assert_eq!(avail_flags(&rig), 0);
        }
        rig.check();
    }
}

#[test]
fn a_fresh_ring_is_armed_and_a_kick_is_sent_only_when_asked_for() {
    for config in every_config() {
        let mut rig = Rig::new(config);
        if event_idx(&rig) {
            assert_eq!(used_event(&rig), 0);
        } else {
            assert_eq!(avail_flags(&rig), 0);
        }
        assert_eq!(rig.queue.stats().kicks, 1, "the first buffers");
        rig.device.disarm();
        rig.send(one(), 60, None);
        rig.poll(1);
        rig.queue.refill().unwrap();
        assert_eq!(rig.queue.stats().kicks, 1, "the device wants none");
        for kicks in [2, 3] {
            let seen = rig.device.available().unwrap();
            assert_eq!(rig.device.arm(seen), Ok(false));
            rig.send(one(), 60, None);
            rig.send(one(), 60, None);
            rig.poll(2);
            rig.queue.refill().unwrap();
            assert_eq!(rig.queue.stats().kicks, kicks, "one for the whole batch");
        }
        assert_eq!(rig.queue.refill(), Ok(0));
        assert_eq!(rig.queue.stats().kicks, 3, "nothing posted");
    }
}

#[test]
fn the_watchdog_kicks_when_nothing_moves() {
    for config in every_config() {
        let mut rig = Rig::bare(config, 2 * config.pages_per_ring());
        assert!(!rig.queue.watchdog() && !rig.queue.watchdog(), "nothing is outstanding");
        rig.queue.refill().unwrap();
        let kicks = rig.queue.stats().kicks;
        assert!(!rig.queue.watchdog(), "the ring has moved since");
        assert!(rig.queue.watchdog());
        rig.send(one(), 60, None);
        rig.poll(1);
        assert!(!rig.queue.watchdog());
        assert!(rig.queue.watchdog());
        assert_eq!(rig.queue.stats().kicks, kicks + 2);
    }
}

#[test]
fn buffers_are_detached_from_a_stopped_queue_once_each_lowest_id_first() {
    for config in every_config() {
        let mut rig = Rig::new(config);
        assert_eq!(rig.queue.detach_unused_buf(), Err(RxError::Running));
        for _ in 0..2 {
            rig.send(one(), 60, None);
        }
        rig.poll(64);
        let ids: Vec<u16> = rig.queue.posted().iter().map(|posted| posted.id).collect();
        rig.queue.stop().unwrap();
        assert_eq!(rig.queue.poll(1, &mut Vec::new()), Err(RxError::Stopped));
        assert_eq!(rig.queue.refill(), Err(RxError::Stopped));
        for id in ids {
            assert_eq!(rig.queue.detach_unused_buf(), Ok(Some(id)));
            rig.check();
        }
        assert_eq!(rig.queue.detach_unused_buf(), Ok(None));
        rig.reset();
        rig.expect_next_good();
    }
}

#[test]
fn closing_gives_every_page_back_and_refuses_the_rest() {
    for config in every_config() {
        let mut rig = Rig::new(config);
        rig.send(one(), 1000, None);
        rig.poll(1);
        let stats = rig.queue.stats();
        rig.queue.close();
        rig.queue.close();
        assert_eq!(rig.queue.poll(1, &mut Vec::new()), Err(RxError::Closed));
        assert_eq!(rig.queue.refill(), Err(RxError::Closed));
        assert_eq!(rig.queue.reset(), Err(RxError::Closed));
        assert_eq!(rig.queue.stop(), Err(RxError::Closed));
        assert_eq!(rig.queue.detach_unused_buf(), Err(RxError::Closed));
        assert_eq!(rig.queue.disconnect(), Err(RxError::Closed));
        assert_eq!(rig.queue.stats().rx_packets, stats.rx_packets, "counters stay readable");
        assert_eq!(rig.packets[0].to_vec(), pattern(1000), "packets outlive the queue");
        assert_eq!(rig.arena.free(), rig.arena.len() - 1);
        rig.packets.clear();
        assert_eq!(rig.arena.free(), rig.arena.len());
        let stats = rig.queue.stats();
        assert_eq!(stats.skb_allocs, stats.skb_frees);
    }
}

#[test]
fn rings_share_an_arena_until_its_room_is_used_up() {
    let config = configs(&[Mode::Mergeable]).next().unwrap();
    let config = RxConfig { ring_size: 32768, ..config };
    let arena = PageArena::new(16).unwrap();
    let mut queues: Vec<RxQueue> = Vec::new();
    let error = loop {
        match RxQueue::new(config, &arena) {
            Ok(queue) => queues.push(queue),
            Err(error) => break error,
        }
    };
    assert!(queues.len() >= 4, "room for four of the largest");
    assert!(error.to_string().contains("no room for a ring of 32768"), "{error}");
    queues.remove(1);
    RxQueue::new(config, &arena).unwrap();
}

#[test]
fn a_broken_queue_stays_broken_until_it_is_reset() {
    for config in every_config() {
        let mut rig = Rig::new(config);
        rig.complete(&[(u32::MAX, 60)]);
        assert_eq!(rig.poll(1).broken, Some(DeviceFault::BadUsedId));
        rig.queue.stop().unwrap();
        let broken = RxError::Broken(DeviceFault::BadUsedId);
        assert_eq!(rig.queue.poll(1, &mut Vec::new()), Err(broken));
        while rig.queue.detach_unused_buf().unwrap().is_some() {}
        assert_eq!(rig.queue.refill(), Err(broken));
        rig.reset();
        rig.expect_next_good();
    }
}

#[test]
fn released_packets_go_home_whichever_queue_they_came_from() {
    for config in every_config() {
        let mut rig = Rig::new(config);
        let mut other = Rig::new(config);
        for rig in [&mut rig, &mut other] {
            rig.send(one(), 1500, None);
            rig.poll(1);
        }
        rig.packets.append(&mut other.packets);
        rig.queue.release(&mut rig.packets);
        assert!(rig.packets.is_empty());
        for rig in [&mut rig, &mut other] {
            rig.check();
            let stats = rig.queue.stats();
            let posted = if is_posted_with_skb(&config) { u64::from(rig.queue.num()) } else { 0 };
            assert_eq!(stats.skb_allocs - stats.skb_frees, posted, "{config:?}");
        }
        other.send(one(), 1500, None);
        other.poll(1);
        other.queue.close();
        other.queue.release(&mut other.packets);
        let stats = other.queue.stats();
        assert_eq!((stats.skb_allocs, other.arena.free()), (stats.skb_frees, other.arena.len()));
    }
}

/// Whether every posted buffer has an skb.
fn is_posted_with_skb(config: &RxConfig) -> bool {
    config.mode() == Mode::Small || config.strategy == Strategy::Eager
}
