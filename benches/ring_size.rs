//! Whether a long ring costs more: the same packet on rings of different sizes.
//!
//! The ring's own bytes, one skb a buffer (eager) and one page a buffer are what the rounds walk
//! through: a ring of 64 stays in the first-level cache, one of 32,768 in none but the last.

use criterion::{BenchmarkId, Criterion, Throughput};
use vnet_rx::receive::{RxConfig, Strategy};
use vnet_rx::virtio::{Dialect, Mode};

use crate::rig::{Rig, timed};

const RINGS: [u32; 10] = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768];

pub fn bench(c: &mut Criterion) {
    for ring_size in RINGS {
        for strategy in Strategy::ALL {
            let config = RxConfig::new(Mode::Mergeable, strategy, Dialect::Modern);
            let config = RxConfig { ring_size, ..config };
            let mut rig = Rig::new(config, 60).expect("mergeable mode carries 60 bytes");
            let mut group = c.benchmark_group(format!("ring-size/{}", strategy.name()));
            group.throughput(Throughput::Elements(1));
            group.bench_function(BenchmarkId::from_parameter(ring_size), |b| {
                b.iter_custom(|packets| timed(&mut rig, packets));
            });
        }
    }
}
