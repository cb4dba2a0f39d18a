//! In the steady state the receive path takes nothing from the heap: counted, not timed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use vnet_rx::device::source::{Frame, Generator, Sizes};
use vnet_rx::device::{Host, Offer};
use vnet_rx::memory::PageArena;
use vnet_rx::receive::{RxConfig, RxQueue, Strategy};
use vnet_rx::virtio::{Dialect, Mode};

thread_local! {
    /// Allocations of this thread while it does the driver's work.
    static COUNTED: Cell<Option<u64>> = const { Cell::new(None) };
}

struct Counting;

fn count() {
    // A thread that is ending has no cell any more, and does no driver's work.
    let _ = COUNTED.try_with(|counted| counted.set(counted.get().map(|n| n + 1)));
}

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: promised by the caller.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: promised by the caller.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: promised by the caller.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `work` allocates.
fn allocations(work: impl FnOnce()) -> u64 {
    COUNTED.set(Some(0));
    work();
    COUNTED.take().unwrap()
}

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
