//! In the steady state the receive path takes nothing from the heap: counted, not timed.

use vnet_rx::device::source::{Frame, Generator, Sizes};
use vnet_rx::device::{Host, Offer};
use vnet_rx::memory::PageArena;
use vnet_rx::receive::{RxConfig, RxQueue, Strategy};
use vnet_rx::virtio::{Dialect, Mode};

#[path = "../benches/counting_allocator.rs"]
mod counting_allocator;

use counting_allocator::allocations;

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(Box::new(1))), 1);
    assert_eq!(allocations(|| ()), 0);
}

#[test]
fn no_packet_costs_a_heap_allocation() {
    for mode in Mode::ALL {
        for strategy in Strategy::ALL {
            for dialect in Dialect::ALL {
                let config = RxConfig::new(mode, strategy, dialect);
                assert_eq!(steady_state(config), 0, "{config:?}");
            }
        }
    }
}

/// Heap allocations of the driver over 10,000 packets of mixed sizes, after a warm-up.
fn steady_state(config: RxConfig) -> u64 {
    let arena = PageArena::new(2 * config.pages_per_ring()).unwrap();
    let mut rx = RxQueue::new(config, &arena).unwrap();
    rx.refill().unwrap();
    let mut host = Host::new(arena.memory(), rx.layout(), config.features).unwrap();
    let most = if config.mode() == Mode::Small { 1518 } else { 65_550 };
    let frames: Vec<Frame> =
        Generator::new(Sizes::Uniform(14, most), config.features, 1).take(200).collect();
    let mut packets = Vec::with_capacity(64);
    let (mut sent, mut received, mut counted) = (0, 0, 0);
    while received < 12_000 {
        while let Offer::Delivered(_) = host.offer(&frames[sent % frames.len()]).unwrap() {
            sent += 1;
        }
        let n = allocations(|| {
            received += rx.poll(64, &mut packets).unwrap().delivered;
            packets.clear();
            rx.refill().unwrap();
        });
        // The first packets fill the slab.
        counted += if received > 2_000 { n } else { 0 };
    }
    counted
}
