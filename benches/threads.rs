//! Host and driver on a core each: packets through both ends, wall time.
//!
//! The driver polls, lets go and refills. As DPDK's `rxonly` does, it leaves the
//! bytes alone, but for one packet of each 1,024, which is compared; in the cells named `copied` it
//! copies every packet out.
//!
//! `floor` is a bare ring that moves the bytes and does nothing else: the producer writes header and
//! frame into a slot, at least two cache lines, and publishes its index every 32 slots; the consumer
//! reads what the driver of the same cell reads, at most the first 128 bytes of the packet or all of
//! them, and publishes its own index. Three things make it slower than it must be, and are avoided:
//! many narrow stores, slots that adjoin (each core fetches the next line by itself, which the other
//! is writing or reading), and copying what was stored a moment ago.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use vnet_rx::device::Host;
use vnet_rx::memory::{GUEST_BASE, PageArena, SharedMemory};
use vnet_rx::receive::{GOOD_COPY_LEN, Packet, RxConfig, RxQueue, Strategy};
use vnet_rx::virtio::{Dialect, Mode};

use crate::does_not_exist;
use crate::rig::{Frames, compare_packet};

const SIZES: [usize; 3] = [60, 1514, 65_536];
const HEADER: usize = 12;
/// Frames that the host makes visible together.
const BURST: usize = 32;

pub fn bench(c: &mut Criterion) {
    let Some((here, there)) = two_cores() else {
        does_not_exist("threads", "it takes two cores, and this process may use one");
        return;
    };
    run_on(here);
    {
        // Gone before the next cell: its echo would take half of the other core from everybody else.
        let mut line = Line::new(there);
        let mut group = c.benchmark_group("threads/line");
        group.bench_function("round-trip", |b| b.iter_custom(|times| line.round_trips(times)));
        group.finish();
    }
    for size in SIZES {
        for (copied, bytes) in [(false, "untouched"), (true, "copied")] {
            if copied && size <= GOOD_COPY_LEN {
                does_not_exist(&format!("threads/*/copied/{size}"), "the driver copies it anyway");
                continue;
            }
            for strategy in Strategy::ALL {
                let mut pair = Pair::new(strategy, size, copied, there);
                let name = format!("{}/{bytes}", strategy.name());
                cell(c, &name, size, &mut |packets| pair.receive(packets));
            }
            let read = HEADER + if copied { size } else { size.min(GOOD_COPY_LEN) };
            let mut floor = Floor::new(HEADER + size, read, there);
            cell(c, &format!("floor/{bytes}"), size, &mut |packets| floor.consume(packets));
        }
    }
}

fn cell(c: &mut Criterion, name: &str, size: usize, work: &mut dyn FnMut(u64) -> Duration) {
    let mut group = c.benchmark_group(format!("threads/{name}"));
    group.throughput(Throughput::Elements(1));
    group.bench_function(BenchmarkId::from_parameter(size), |b| b.iter_custom(&mut *work));
}

/// Two cores that this process may run on.
fn two_cores() -> Option<(usize, usize)> {
    let allowed = sched_getaffinity(None).ok()?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
    Some((cores.next()?, cores.next()?))
}

fn run_on(core: usize) {
    let mut one = CpuSet::new();
    one.set(core);
    sched_setaffinity(None, &one).expect("a core that was allowed");
}

/// A thread on a core of its own that runs until it is dropped.
struct Busy {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Busy {
    /// `work` is called over and over, and says whether there was anything to do.
    fn new(core: usize, mut work: impl FnMut() -> bool + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let of_thread = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            run_on(core);
            while !of_thread.load(Ordering::Relaxed) {
                if !work() {
                    std::hint::spin_loop();
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the other thread panicked");
        }
    }
}

/// A queue here, a host there.
struct Pair {
    rx: RxQueue,
    packets: Vec<Packet>,
    frames: Frames,
    /// Where every packet is copied to, if they are.
    copies: Option<Vec<u8>>,
    _host: Busy,
}

impl Pair {
    fn new(strategy: Strategy, size: usize, copied: bool, core: usize) -> Self {
        let config = RxConfig::new(Mode::Mergeable, strategy, Dialect::Modern);
        let arena = PageArena::new(2 * config.pages_per_ring()).expect("memory");
        let mut rx = RxQueue::new(config, &arena).expect("a queue");
        rx.refill().expect("buffers");
        let mut host = Host::new(arena.memory(), rx.layout(), config.features).expect("a host");
        host.device().disarm();
        let mut sent = Frames::of_size(size, config.features);
        let host = Busy::new(core, move || sent.send(&mut host, BURST) > 0);
        let frames = Frames::of_size(size, config.features);
        let copies = copied.then(|| vec![0; size]);
        Self { rx, packets: Vec::with_capacity(64), frames, copies, _host: host }
    }

    fn receive(&mut self, packets: u64) -> Duration {
        let mut left = packets as i64;
        let began = Instant::now();
        while left > 0 {
            self.rx.poll_busy(64, &mut self.packets).expect("an honest host");
            if self.packets.is_empty() {
                std::hint::spin_loop();
                continue;
            }
            left -= self.packets.len() as i64;
            if let Some(bytes) = &mut self.copies {
                self.packets.iter().for_each(|packet| packet.copy_into(bytes));
                std::hint::black_box(&bytes);
            }
            self.compare_some();
            self.rx.release(&mut self.packets);
            self.rx.refill().expect("an honest host");
        }
        let time = began.elapsed();
        let stats = self.rx.stats();
        assert!(stats.faults.iter().all(|(_, n)| n == 0));
        assert_eq!(stats.rx_packets, self.frames.received());
        // A poll may have brought more than were asked for.
        time.mul_f64(packets as f64 / (packets as i64 - left) as f64)
    }

    /// Compares one packet of each 1,024, by number; none can be missing between them.
    fn compare_some(&mut self) {
        let first = self.frames.received();
        let n = self.packets.len() as u64;
        let compared = first.next_multiple_of(1024);
        if compared < first + n {
            self.frames.skip(compared - first);
            compare_packet(&mut self.frames, &self.packets[(compared - first) as usize]);
        }
        self.frames.skip(first + n - self.frames.received());
    }
}

/// A cache line that goes to the other core and comes back: how far apart the two cores are. On a
/// virtual machine that is not the same every time.
struct Line {
    memory: Arc<SharedMemory>,
    sent: u16,
    _echo: Busy,
}

impl Line {
    fn new(core: usize) -> Self {
        let memory = SharedMemory::new(4096).expect("memory");
        let of_echo = Arc::clone(&memory);
        let mut seen = 0;
        let echo = Busy::new(core, move || {
            let sent = of_echo.load16(PRODUCED).expect("inside");
            let news = sent != seen;
            if news {
                seen = sent;
                of_echo.store16(CONSUMED, seen).expect("inside");
            }
            news
        });
        Self { memory, sent: 0, _echo: echo }
    }

    fn round_trips(&mut self, times: u64) -> Duration {
        let began = Instant::now();
        for _ in 0..times {
            self.sent = self.sent.wrapping_add(1);
            self.memory.store16(PRODUCED, self.sent).expect("inside");
            while self.memory.load16(CONSUMED).expect("inside") != self.sent {
                std::hint::spin_loop();
            }
        }
        began.elapsed()
    }
}

/// A bare ring of 256 slots in shared memory: what moving the bytes costs by itself.
struct Floor {
    memory: Arc<SharedMemory>,
    read: usize,
    next: u16,
    bytes: Vec<u8>,
    _producer: Busy,
}

const SLOTS: u16 = 256;
/// The producer's index and the consumer's, far apart.
const PRODUCED: u64 = GUEST_BASE;
const CONSUMED: u64 = GUEST_BASE + 2048;

/// Where in a slot its number stands: in the last line that every consumer reads.
const NUMBER: u64 = 126;
/// Bytes between two slots.
const GAP: usize = 448;

fn stride(len: usize) -> usize {
    len.next_multiple_of(64) + GAP
}

fn slot(index: u16, len: usize) -> u64 {
    GUEST_BASE + 4096 + u64::from(index % SLOTS) * stride(len) as u64
}

impl Floor {
    fn new(len: usize, read: usize, core: usize) -> Self {
        let len = len.max(128);
        let read = read.max(128);
        let size = 4096 + usize::from(SLOTS) * stride(len);
        let memory = SharedMemory::new(size).expect("memory");
        let of_producer = Arc::clone(&memory);
        let (mut next, mut consumed, bytes) = (0u16, 0u16, vec![7; len]);
        let producer = Busy::new(core, move || {
            let full = |consumed| SLOTS - next.wrapping_sub(consumed) < BURST as u16;
            // The consumer's index is looked at only when it must be.
            if full(consumed) {
                consumed = of_producer.load16(CONSUMED).expect("inside");
                if full(consumed) {
                    return false;
                }
            }
            for index in (0..BURST as u16).map(|i| next.wrapping_add(i)) {
                of_producer.write(slot(index, len), &bytes).expect("inside");
                of_producer.store16(slot(index, len) + NUMBER, index).expect("inside");
            }
            next = next.wrapping_add(BURST as u16);
            of_producer.store16(PRODUCED, next).expect("inside");
            true
        });
        Self { memory, read, next: 0, bytes: vec![0; len], _producer: producer }
    }

    fn consume(&mut self, slots: u64) -> Duration {
        let len = self.bytes.len();
        let mut done = 0;
        let began = Instant::now();
        while done < slots {
            let produced = self.memory.load16(PRODUCED).expect("inside");
            if produced == self.next {
                std::hint::spin_loop();
                continue;
            }
            while self.next != produced {
                let bytes = &mut self.bytes[..self.read];
                self.memory.read(slot(self.next, len), bytes).expect("inside");
                assert_eq!(bytes[NUMBER as usize..][..2], self.next.to_le_bytes());
                self.next = self.next.wrapping_add(1);
                done += 1;
            }
            self.memory.store16(CONSUMED, self.next).expect("inside");
        }
        began.elapsed().mul_f64(slots as f64 / done as f64)
    }
}
