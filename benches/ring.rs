//! The ring alone, without packets: post, publish, see, claim, take.
//!
//! The device half completes what was posted outside of the clock.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use vnet_rx::memory::{GUEST_BASE, SharedMemory};
use vnet_rx::ring::Segment;
use vnet_rx::ring::split::{Chain, SplitDevice, SplitDriver};
use vnet_rx::virtio::SplitLayout;

const RING: u32 = 1024;
/// Buffers of one round, at most.
const BATCH: u64 = 32;
/// Descriptors of a buffer: small and mergeable mode, big mode.
const DESCRIPTORS: [usize; 2] = [1, 19];

pub fn bench(c: &mut Criterion) {
    for (event_idx, name) in [(false, "flags"), (true, "event-idx")] {
        for descriptors in DESCRIPTORS {
            let mut ring = Ring::new(event_idx, descriptors);
            let mut group = c.benchmark_group(format!("ring/{name}"));
            group.throughput(Throughput::Elements(1));
            group.bench_function(BenchmarkId::from_parameter(descriptors), |b| {
                b.iter_custom(|buffers| ring.timed(buffers));
            });
        }
    }
}

struct Ring {
    driver: SplitDriver<u64>,
    device: SplitDevice,
    segments: Vec<Segment>,
    posted: u64,
    taken: u64,
}

impl Ring {
    fn new(event_idx: bool, descriptors: usize) -> Self {
        let memory = SharedMemory::new(1 << 20).expect("memory");
        let layout = SplitLayout::at(GUEST_BASE, RING);
        let driver = SplitDriver::new(&memory, layout, event_idx, 0).expect("a ring");
        let device = SplitDevice::new(&memory, layout, event_idx).expect("a ring");
        let segment = Segment { addr: layout.end().next_multiple_of(4096), len: 4096 };
        Self { driver, device, segments: vec![segment; descriptors], posted: 0, taken: 0 }
    }

    fn timed(&mut self, buffers: u64) -> Duration {
        let (mut left, mut time) = (buffers, Duration::ZERO);
        while left > 0 {
            let n = left.min(BATCH);
            let began = Instant::now();
            self.post(n);
            time += began.elapsed();
            self.complete(n);
            let began = Instant::now();
            self.take();
            time += began.elapsed();
            assert_eq!(self.taken, self.posted);
            left -= n;
        }
        time
    }

    fn post(&mut self, n: u64) {
        for _ in 0..n {
            self.driver.add(&self.segments, self.posted).expect("room");
            self.posted += 1;
        }
        self.driver.publish();
        self.driver.disarm();
    }

    /// The device's part: the buffer's number comes back as its length.
    fn complete(&mut self, n: u64) {
        assert_eq!(u64::from(self.device.available().expect("an honest driver")), n);
        let mut chain = Chain::default();
        for k in 0..n {
            self.device.peek(k as u16, &mut chain).expect("an honest driver");
            assert_eq!(chain.segments, self.segments);
            self.device.push_used(chain.head.into(), (self.taken + k) as u32);
        }
        self.device.take(n as u16);
        self.device.publish();
    }

    /// Every buffer comes back as itself, in order.
    fn take(&mut self) {
        self.driver.refresh().expect("an honest device");
        while self.driver.pending() > 0 {
            let completion = self.driver.claim(0).expect("an honest device");
            let token = self.driver.take(completion.head);
            assert_eq!((token, completion.len), (Some(self.taken), self.taken as u32));
            self.taken += 1;
        }
        self.driver.arm();
        assert!(!self.driver.recheck());
    }
}
