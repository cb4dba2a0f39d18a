//! Out of memory: what a poll costs whose refill finds no page, and the refill that finds them again.
//!
//! The arena holds one ring of pages and the packets received hold them all, so the ring is empty.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use vnet_rx::device::source::Frame;
use vnet_rx::device::{Host, Offer};
use vnet_rx::memory::PageArena;
use vnet_rx::receive::{Packet, RxConfig, RxQueue, Strategy};
use vnet_rx::virtio::{Dialect, Mode};

pub fn bench(c: &mut Criterion) {
    for strategy in Strategy::ALL {
        let mut starved = Starved::new(strategy);
        let mut group = c.benchmark_group(format!("oom/{}", strategy.name()));
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter("retry-in-vain"), |b| {
            b.iter_custom(|polls| starved.retry(polls));
        });
        let buffers = u64::from(starved.rx.config().ring_size);
        group.throughput(Throughput::Elements(buffers));
        group.bench_function(BenchmarkId::from_parameter("recovery"), |b| {
            b.iter_custom(|times| (0..times).map(|_| starved.recover()).sum());
        });
    }
}

/// A queue without a buffer, whose arena is without a page.
struct Starved {
    rx: RxQueue,
    host: Host,
    frame: Frame,
    packets: Vec<Packet>,
}

impl Starved {
    fn new(strategy: Strategy) -> Self {
        let config = RxConfig::new(Mode::Mergeable, strategy, Dialect::Modern);
        let arena = PageArena::new(config.pages_per_ring()).expect("memory");
        let mut rx = RxQueue::new(config, &arena).expect("a queue");
        rx.refill().expect("buffers");
        let host = Host::new(arena.memory(), rx.layout(), config.features).expect("a host");
        // Longer than the private head, so that every packet keeps its page.
        let frame = Frame { bytes: vec![7; 1514], ..Frame::default() };
        let mut starved = Self { rx, host, frame, packets: Vec::new() };
        starved.starve();
        starved
    }

    /// Receives, and holds, as many packets as there are buffers.
    fn starve(&mut self) {
        while self.rx.num() > 0 {
            while self.host.stage(&self.frame).expect("an honest driver") == Offer::Delivered(1) {}
            self.host.flush();
            self.rx.poll(64, &mut self.packets).expect("an honest host");
        }
        assert!(self.packets.iter().all(|packet| packet.to_vec() == self.frame.bytes));
        assert_eq!(self.rx.arena().free(), 0);
        // The last poll found work, so this one is the first that has nothing else to do.
        self.rx.poll(64, &mut self.packets).expect("an honest host");
        assert!(self.rx.refill_needed());
    }

    fn retry(&mut self, polls: u64) -> Duration {
        let before = self.rx.stats();
        let began = Instant::now();
        for _ in 0..polls {
            self.rx.poll(64, &mut self.packets).expect("an honest host");
        }
        let time = began.elapsed();
        let after = self.rx.stats();
        assert_eq!(after.polls - before.polls, polls);
        assert_eq!(after.buffers_posted, before.buffers_posted);
        assert!(self.rx.refill_needed());
        time
    }

    fn recover(&mut self) -> Duration {
        self.packets.clear();
        let began = Instant::now();
        self.rx.poll(64, &mut self.packets).expect("an honest host");
        let time = began.elapsed();
        assert_eq!(u32::from(self.rx.num()), self.rx.config().ring_size);
        assert!(!self.rx.refill_needed());
        self.starve();
        time
    }
}
