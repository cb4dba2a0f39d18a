//! Old strategy against new: the driver's work for a packet, by mode and size.
//!
//! A round is: the host fills up to 64 packets into posted buffers (not timed); the queue is polled,
//! the packets are dropped, the ring is refilled (timed). Both ends run in one thread, so what the
//! driver reads is as warm as a device that writes through the cache leaves it.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vnet_rx::receive::{RxConfig, Strategy};
use vnet_rx::virtio::{Dialect, Mode};

mod rig;

use rig::{BATCH, Rig};

const SIZES: [usize; 9] = [60, 128, 129, 256, 1514, 4084, 9000, 16_384, 65_536];
const RINGS: [u32; 4] = [64, 256, 4096, 32_768];

/// Times `packets` packets, round by round.
fn timed(rig: &mut Rig, packets: u64) -> Duration {
    let (mut left, mut time) = (packets, Duration::ZERO);
    while left > 0 {
        let sent = rig.send(BATCH.min(left as usize));
        assert!(sent > 0, "the ring has no room for one packet");
        let began = Instant::now();
        rig.driver_work();
        time += began.elapsed();
        left -= sent as u64;
    }
    rig.check();
    time
}

fn receive(c: &mut Criterion) {
    for mode in Mode::ALL {
        for strategy in Strategy::ALL {
            let name = format!("receive/{}/{}", strategy.name(), mode.name());
            let mut group = c.benchmark_group(&name);
            group.throughput(Throughput::Elements(1));
            for size in SIZES {
                let config = RxConfig::new(mode, strategy, Dialect::Modern);
                match Rig::new(config, size) {
                    Some(mut rig) => {
                        group.bench_function(BenchmarkId::from_parameter(size), |b| {
                            b.iter_custom(|packets| timed(&mut rig, packets));
                        });
                    }
                    None => eprintln!("{name}/{size}: does not exist, too long for the mode"),
                }
            }
            group.finish();
        }
    }
}

/// The same packet on rings of different sizes. The ring's own bytes and one page a buffer are
/// what a round walks through: 64 fit the first-level cache, 32,768 no cache at all.
fn ring_size(c: &mut Criterion) {
    for strategy in Strategy::ALL {
        let mut group = c.benchmark_group(format!("ring-size/{}/mergeable", strategy.name()));
        group.throughput(Throughput::Elements(1));
        for ring_size in RINGS {
            let config = RxConfig::new(Mode::Mergeable, strategy, Dialect::Modern);
            let mut rig = Rig::new(RxConfig { ring_size, ..config }, 60).expect("small packets");
            group.bench_function(BenchmarkId::from_parameter(ring_size), |b| {
                b.iter_custom(|packets| timed(&mut rig, packets));
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = receive, ring_size
}
criterion_main!(benches);
