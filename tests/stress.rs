//! Real threads at full speed: no kick and no notification is lost, every byte arrives.
//!
//! The models of `tests/loom/` show that the orderings suffice; this shows that the compiler and the
//! processor agree. Every wait has a limit that only a lost notification can reach. The number of
//! handshakes is small by default; `STRESS=N` multiplies it (`make stress`).
#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use vnet_rx::device::source::{Frame, Generator, Sizes};
use vnet_rx::device::{Host, HostThread};
use vnet_rx::memory::{GUEST_BASE, PageArena, SharedMemory};
use vnet_rx::receive::{IncompleteLimit, Readiness, RxConfig, RxQueue, Strategy};
use vnet_rx::ring::split::{Chain, SplitDevice, SplitDriver};
use vnet_rx::ring::{EventFd, Segment};
use vnet_rx::virtio::{Dialect, Features, Mode, SplitLayout};

/// Longer than any wake-up takes: who sleeps for so long was forgotten.
const FORGOTTEN: Duration = Duration::from_secs(20);

fn scale() -> u64 {
    std::env::var("STRESS").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// The litmus of the lost wake-up, both ways at once and as tight as it gets: each side sleeps as
/// soon as it has nothing to do, on a ring of two, spinning on a flag in place of an eventfd so that
/// sleeping and waking cost next to nothing and the race is run as often as can be.
fn ping_pong(event_idx: bool, rounds: u64) -> u64 {
    let memory = SharedMemory::new(0x8000).unwrap();
    let layout = SplitLayout::at(GUEST_BASE, 2);
    let mut driver = SplitDriver::new(&memory, layout, event_idx, 65_000).unwrap();
    let mut device = SplitDevice::new(&memory, layout, event_idx).unwrap();
    let kick = Arc::new(AtomicBool::new(false));
    let call = Arc::new(AtomicBool::new(false));
    let sleeps = Arc::new(AtomicU64::new(0));
    // Waits for a wake-up that must come.
    fn sleep(line: &AtomicBool, sleeps: &AtomicU64, who: &str) {
        sleeps.fetch_add(1, Ordering::Relaxed);
        let began = std::time::Instant::now();
        let mut spins = 0u32;
        while !line.swap(false, Ordering::AcqRel) {
            spins += 1;
            if spins.is_multiple_of(1024) {
                thread::yield_now();
                assert!(began.elapsed() < FORGOTTEN, "the {who} was forgotten");
            }
            std::hint::spin_loop();
        }
    }
    let device_side = {
        let (kick, call, sleeps) = (Arc::clone(&kick), Arc::clone(&call), Arc::clone(&sleeps));
        thread::spawn(move || {
            let mut chain = Chain::default();
            for round in 0..rounds {
                while device.available().unwrap() == 0 {
                    if !device.arm(0).unwrap() {
                        sleep(&kick, &sleeps, "device");
                    }
                    device.disarm();
                }
                device.peek(0, &mut chain).unwrap();
                device.take(1);
                device.write(&chain, 0, &round.to_le_bytes()).unwrap();
                device.push_used(chain.head.into(), 8);
                if device.publish() {
                    call.store(true, Ordering::Release);
                }
            }
        })
    };
    let buffer = |slot: u64| GUEST_BASE + 0x4000 + 8 * slot;
    let post = |driver: &mut SplitDriver<u64>, slot: u64| {
        driver.add(&[Segment { addr: buffer(slot), len: 8 }], slot).unwrap();
        if driver.publish() {
            kick.store(true, Ordering::Release);
        }
    };
    post(&mut driver, 0);
    post(&mut driver, 1);
    for round in 0..rounds {
        driver.disarm();
        driver.refresh().unwrap();
        while driver.pending() == 0 {
            driver.arm();
            if !driver.recheck() {
                sleep(&call, &sleeps, "driver");
            }
            driver.disarm();
            driver.refresh().unwrap();
        }
        let completion = driver.claim(0).unwrap();
        let slot = driver.take(completion.head).unwrap();
        let mut bytes = [0; 8];
        memory.read(buffer(slot), &mut bytes).unwrap();
        assert_eq!(u64::from_le_bytes(bytes), round);
        post(&mut driver, slot);
    }
    device_side.join().unwrap();
    sleeps.load(Ordering::Relaxed)
}

#[test]
fn no_wake_up_is_lost_in_hundreds_of_thousands_of_handshakes() {
    for event_idx in [false, true] {
        let rounds = 200_000 * scale();
        let sleeps = ping_pong(event_idx, rounds);
        println!("event_idx {event_idx}: {} handshakes, {sleeps} sleeps, none lost", 2 * rounds);
    }
}

/// A host in its own thread, the queue in this one, both sleeping on eventfds.
fn traffic(config: RxConfig, packets: u64) {
    let arena = PageArena::new(2 * config.pages_per_ring()).unwrap();
    let mut rx = RxQueue::new(config, &arena).unwrap();
    let (kick, call) = (Arc::new(EventFd::new().unwrap()), Arc::new(EventFd::new().unwrap()));
    rx.set_kick(Some(Arc::clone(&kick)));
    let mut host = Host::new(arena.memory(), rx.layout(), config.features).unwrap();
    host.set_call(Some(Arc::clone(&call)));
    rx.refill().unwrap();
    let most = if config.mode() == Mode::Small { 1518 } else { 20_000 };
    let frames: Arc<[Frame]> =
        Generator::new(Sizes::Uniform(14, most), config.features, 7).take(97).collect();
    let of_host = Arc::clone(&frames);
    let source = (0..packets).map(move |i| {
        // Now and then the device is slow, so that the driver falls asleep.
        if i % 1009 == 0 {
            thread::sleep(Duration::from_micros(i % 7 * 50));
        }
        of_host[(i % 97) as usize].clone()
    });
    let thread = HostThread::spawn(host, source, kick).unwrap();
    let (mut received, mut held, mut bytes) = (0u64, Vec::new(), Vec::new());
    while received < packets {
        match rx.prepare_to_sleep().unwrap() {
            Readiness::Ready => {}
            Readiness::Sleep(limit) => {
                let woken = call.wait(limit.unwrap_or(FORGOTTEN)).unwrap();
                assert!(woken || limit.is_some(), "forgotten after {received} packets: {config:?}");
                call.clear();
            }
        }
        let polled = rx.poll(64, &mut held).unwrap();
        assert_eq!((polled.received, polled.broken), (polled.delivered, None));
        for packet in held.drain(..) {
            packet.copy_to(&mut bytes);
            assert_eq!(bytes, frames[(received % 97) as usize].bytes, "packet {received}");
            received += 1;
        }
        if received % 1013 < 3 {
            thread::sleep(Duration::from_micros(received % 5 * 40));
        }
    }
    let served = thread.join().unwrap();
    assert_eq!((served.delivered, served.undeliverable), (packets, 0));
    let stats = rx.stats();
    let (calls, kicks) = (served.host.notifications(), stats.kicks);
    println!(
        "{} {} {}: {packets} packets, {:.4} notifications and {:.4} kicks a packet",
        config.mode().name(),
        config.strategy.name(),
        config.dialect().name(),
        calls as f64 / packets as f64,
        kicks as f64 / packets as f64
    );
    rx.close();
    assert_eq!(arena.free(), arena.len());
}

#[test]
fn every_byte_arrives_at_full_speed_in_every_configuration() {
    for mode in Mode::ALL {
        for strategy in Strategy::ALL {
            for dialect in Dialect::ALL {
                for event_idx in [true, false] {
                    let mut config = RxConfig::new(mode, strategy, dialect);
                    if !event_idx {
                        config.features = config.features.without(Features::EVENT_IDX);
                    }
                    let incomplete = IncompleteLimit::Time(Duration::from_secs(10));
                    traffic(
                        RxConfig { incomplete, first_index: 60_000, ..config },
                        8_000 * scale(),
                    );
                }
            }
        }
    }
}
