//! What a packet costs the driver: poll, let go, refill, by strategy, mode and size.

use criterion::{BenchmarkId, Criterion, Throughput};
use vnet_rx::receive::{RxConfig, Strategy};
use vnet_rx::virtio::{Dialect, Mode};

use crate::does_not_exist;
use crate::rig::{Frames, Rig, timed};

const SIZES: [usize; 9] = [60, 128, 129, 256, 1514, 4084, 9000, 16_384, 65_536];

pub fn bench(c: &mut Criterion) {
    for mode in Mode::ALL {
        for size in SIZES {
            both(c, mode, &size.to_string(), |config| Rig::new(config, size));
        }
        both(c, mode, "mix", |config| Rig::with_frames(config, Frames::mix()));
    }
}

/// The strategies one after the other, so that a disturbance of the machine hits both.
fn both(c: &mut Criterion, mode: Mode, value: &str, rig: impl Fn(RxConfig) -> Option<Rig>) {
    for strategy in Strategy::ALL {
        let name = format!("receive/{}/{}", strategy.name(), mode.name());
        let Some(mut rig) = rig(RxConfig::new(mode, strategy, Dialect::Modern)) else {
            does_not_exist(&format!("{name}/{value}"), "longer than a buffer of the mode");
            continue;
        };
        let mut group = c.benchmark_group(name);
        // An iteration sends every frame once, so that each sample has the same mix.
        let packets = rig.frames() as u64;
        group.throughput(Throughput::Elements(packets));
        group.bench_function(BenchmarkId::from_parameter(value), |b| {
            b.iter_custom(|iterations| timed(&mut rig, iterations * packets));
        });
    }
}
