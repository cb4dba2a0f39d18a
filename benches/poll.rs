//! What a poll costs beside its packets: 256 packets, received in polls of different budgets.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use vnet_rx::receive::{RxConfig, Strategy};
use vnet_rx::virtio::{Dialect, Mode};

use crate::rig::{Driver, Rig};

const BUDGETS: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
const PACKETS: usize = 256;

pub fn bench(c: &mut Criterion) {
    for budget in BUDGETS {
        for strategy in Strategy::ALL {
            let config = RxConfig::new(Mode::Mergeable, strategy, Dialect::Modern);
            let config = RxConfig { ring_size: 1024, ..config };
            let mut rig = Rig::new(config, 60).expect("mergeable mode carries 60 bytes");
            let mut group = c.benchmark_group(format!("poll-budget/{}", strategy.name()));
            group.throughput(Throughput::Elements(PACKETS as u64));
            group.bench_function(BenchmarkId::from_parameter(budget), |b| {
                b.iter_custom(|rounds| timed(&mut rig, budget, rounds));
            });
        }
    }
}

fn timed(rig: &mut Rig, budget: usize, rounds: u64) -> Duration {
    let mut time = Duration::ZERO;
    for _ in 0..rounds {
        assert_eq!(rig.send(PACKETS), PACKETS);
        let began = Instant::now();
        for _ in 0..PACKETS / budget {
            rig.poll(budget);
        }
        time += began.elapsed();
        rig.compare();
        let began = Instant::now();
        rig.timed_release();
        time += began.elapsed();
    }
    rig.check();
    time
}
