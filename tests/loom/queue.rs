//! The receive queue as a whole, against a device in another thread.

use loom::thread;
use vnet_rx::device::source::Frame;
use vnet_rx::device::{Host, Offer};
use vnet_rx::memory::PageArena;
use vnet_rx::receive::{RxConfig, RxQueue, Strategy};
use vnet_rx::virtio::{Dialect, Features, Mode};

use crate::model;

fn queue(event_idx: bool, pages: usize) -> (RxQueue, Host) {
    let mut config = RxConfig::new(Mode::Mergeable, Strategy::Deferred, Dialect::Modern);
    if !event_idx {
        config.features = config.features.without(Features::EVENT_IDX);
    }
    let config = RxConfig { ring_size: 2, max_frags: 1, first_index: 65_535, ..config };
    let arena = PageArena::new(pages).unwrap();
    let mut queue = RxQueue::new(config, &arena).unwrap();
    let host = Host::new(arena.memory(), queue.layout(), config.features).unwrap();
    queue.refill().unwrap();
    (queue, host)
}

fn frame(len: usize) -> Frame {
    Frame { bytes: (0..len).map(|i| i as u8).collect(), ..Frame::default() }
}

/// A packet that arrives while the queue is polled is received in that poll, or notified: the path
/// of "more work appeared" included.
fn a_packet_is_received_or_notified(event_idx: bool) {
    model(Some(3), move || {
        let (mut queue, mut host) = queue(event_idx, 4);
        let thread = thread::spawn(move || {
            assert_eq!(host.offer(&frame(20)).unwrap(), Offer::Delivered(1));
            host
        });
        let mut packets = Vec::new();
        let polled = queue.poll(4, &mut packets).unwrap();
        assert_eq!(polled.broken, None);
        let host = thread.join().unwrap();
        assert!(polled.delivered == 1 || host.notifications() == 1);
        // Whoever was notified polls again.
        queue.poll(4, &mut packets).unwrap();
        assert_eq!(packets.len(), 1);
        assert_eq!(packets[0].to_vec(), frame(20).bytes);
    });
}

#[test]
fn a_packet_is_received_or_notified_by_flags() {
    a_packet_is_received_or_notified(false);
}

#[test]
fn a_packet_is_received_or_notified_by_event_idx() {
    a_packet_is_received_or_notified(true);
}

/// A packet's page and skb go home in one thread while the queue receives and refills in another:
/// nothing is lost or in two places.
#[test]
fn a_packet_is_dropped_while_the_queue_receives_and_refills() {
    model(Some(3), || {
        let (mut queue, mut host) = queue(false, 3);
        let arena = queue.arena().clone();
        assert_eq!(host.offer(&frame(200)).unwrap(), Offer::Delivered(1));
        let mut packets = Vec::new();
        // The refill of this poll finds no page, so the ring has room left.
        arena.fail_allocs(0, 1);
        queue.poll(1, &mut packets).unwrap();
        assert!(queue.refill_needed());
        assert_eq!(packets[0].frags().len(), 1);
        assert_eq!(host.offer(&frame(20)).unwrap(), Offer::Delivered(1));
        let thread = thread::spawn(move || drop(packets));
        let mut packets = Vec::new();
        queue.poll(1, &mut packets).unwrap();
        assert_eq!(packets[0].to_vec(), frame(20).bytes);
        thread.join().unwrap();
        queue.refill().unwrap();
        let mut pages = arena.free_pages();
        pages.extend(queue.pool());
        pages.extend(queue.posted().iter().flat_map(|posted| posted.pages.clone()));
        pages.sort_unstable();
        assert_eq!(pages, [0, 1, 2]);
        assert_eq!(queue.num(), 2);
        drop(packets);
        let stats = queue.stats();
        assert_eq!((stats.skb_allocs, stats.skb_frees), (2, 2));
    });
}
