//! Which page goes where, and in what order (RECEIVE.md, sections 2, 4 and 5, DROP).

use vnet_rx::receive::{RxConfig, Strategy};
use vnet_rx::virtio::Mode;

use crate::rig::{Rig, configs, merged, one, pattern};

/// The pages of the next `n` buffers that a device would fill, in order.
fn next_pages(rig: &Rig, n: usize) -> Vec<Vec<u32>> {
    rig.queue.posted().into_iter().take(n).map(|posted| posted.pages).collect()
}

fn of(strategy: Strategy, mode: Mode) -> impl Iterator<Item = RxConfig> {
    configs(&[mode]).filter(move |config| config.strategy == strategy)
}

#[test]
fn a_mergeable_packet_of_at_most_128_bytes_returns_its_page() {
    for config in configs(&[Mode::Mergeable]) {
        let mut rig = Rig::new(config);
        let page = next_pages(&rig, 1).concat();
        rig.send(one(), 128, None);
        rig.poll(1);
        assert_eq!(rig.queue.pool(), page);
        assert_eq!(rig.packets[0].frags().len(), 0);
    }
}

#[test]
fn a_mergeable_packet_keeps_the_pages_that_hold_more() {
    for config in configs(&[Mode::Mergeable]) {
        let mut rig = Rig::new(config);
        let pages = next_pages(&rig, 2).concat();
        let entries = [rig.write(merged(2), &pattern(4084)), rig.write_later(&pattern(50))];
        rig.complete(&entries);
        rig.poll(1);
        assert!(rig.queue.pool().is_empty());
        let frags: Vec<_> = rig.packets[0].frags().map(|f| (f.page, f.offset, f.len)).collect();
        assert_eq!(frags, [(pages[0], 140, 3956), (pages[1], 0, 50)]);
    }
}

#[test]
fn deferred_big_returns_unused_pages_as_one_chain() {
    for config in of(Strategy::Deferred, Mode::Big) {
        let mut rig = Rig::new(config);
        let pages = next_pages(&rig, 3);
        rig.send(one(), 100, None);
        rig.poll(1);
        assert_eq!(rig.queue.pool(), pages[0], "all of a copied packet's, in chain order");
        rig.send(one(), 4096 + 2000, None);
        rig.poll(1);
        let kept: Vec<u32> = rig.packets[1].frags().map(|f| f.page).collect();
        assert_eq!(kept, pages[1][..2]);
        assert_eq!(rig.queue.pool(), [&pages[1][2..], &pages[0][..]].concat());
    }
}

#[test]
fn eager_big_returns_its_frags_one_by_one() {
    for config in of(Strategy::Eager, Mode::Big) {
        let mut rig = Rig::new(config);
        let pages = next_pages(&rig, 1).concat();
        rig.send(one(), 1518, None);
        rig.poll(1);
        let frags: Vec<u32> = pages[1..].iter().rev().copied().collect();
        assert_eq!(rig.queue.pool(), frags, "the last ends on top");
        assert_eq!(rig.packets[0].linear().map(|part| part.page), Some(pages[0]));
    }
}

#[test]
fn eager_big_trims_a_longer_frame_into_the_arena() {
    for config in of(Strategy::Eager, Mode::Big) {
        let mut rig = Rig::new(config);
        let pages = next_pages(&rig, 1).concat();
        let frees = rig.queue.stats().page_frees;
        rig.send(one(), 1518 + 4096 + 1, None);
        rig.poll(1);
        assert!(rig.queue.pool().is_empty());
        let kept: Vec<_> = rig.packets[0].frags().map(|f| (f.page, f.len)).collect();
        assert_eq!(kept, [(pages[1], 4096), (pages[2], 1)]);
        assert_eq!(rig.queue.stats().page_frees - frees, 16);
        assert_eq!(rig.arena.free_pages()[..16], pages[3..]);
    }
}

#[test]
fn a_dropped_packet_returns_all_pages_as_one_chain() {
    for config in configs(&[Mode::Mergeable]) {
        let mut rig = Rig::new(config);
        let pages = next_pages(&rig, 3).concat();
        let first = rig.write(merged(3), &pattern(4084));
        let entries = [first, rig.write_later(&[0; 10]), rig.write_later(&[0; 10])];
        let gives = rig.queue.stats().pool_gives;
        rig.complete(&[entries[0], (entries[1].0, 0), entries[2]]);
        rig.poll(1);
        assert_eq!(rig.queue.pool(), pages, "in buffer order");
        assert_eq!(rig.queue.stats().pool_gives - gives, 3);
    }
    for config in configs(&[Mode::Big]) {
        let mut rig = Rig::new(config);
        let pages = next_pages(&rig, 1).concat();
        rig.send(one(), 60, Some(3));
        rig.poll(1);
        let from = usize::from(config.strategy == Strategy::Eager);
        assert_eq!(rig.queue.pool(), pages[from..], "in chain order; a linear page to the arena");
    }
    for config in configs(&[Mode::Small]) {
        let mut rig = Rig::new(config);
        let page = next_pages(&rig, 1).concat();
        rig.send(one(), 60, Some(3));
        rig.poll(1);
        assert!(rig.queue.pool().is_empty());
        assert_eq!(rig.arena.free_pages()[0], page[0]);
    }
}

#[test]
fn reset_gives_back_buffer_by_buffer_lowest_id_first() {
    for config in configs(&[Mode::Mergeable]) {
        let mut rig = Rig::new(RxConfig { ring_size: 4, ..config });
        let pages = next_pages(&rig, 4).concat();
        rig.queue.reset().unwrap();
        assert_eq!(rig.queue.pool(), [pages[3], pages[2], pages[1], pages[0]]);
        assert_eq!((rig.queue.num(), rig.queue.max()), (0, 0));
        rig.check();
    }
}

#[test]
fn the_pool_is_used_before_the_arena() {
    for config in configs(&[Mode::Mergeable]) {
        let mut rig = Rig::new(config);
        for _ in 0..10 {
            rig.send(one(), 60, None);
        }
        rig.poll(64);
        let pool = rig.queue.pool();
        let before = rig.queue.stats();
        assert_eq!(rig.queue.refill(), Ok(10));
        let after = rig.queue.stats();
        assert_eq!(after.pool_gets - before.pool_gets, 10);
        assert_eq!(after.page_allocs, before.page_allocs);
        assert!(rig.queue.pool().is_empty());
        // Descriptors are reused first in, first out; pages last in, first out.
        let posted = rig.queue.posted();
        let reused: Vec<u32> = (0..10).map(|id| posted[id].pages[0]).collect();
        assert_eq!(reused, pool);
    }
}
