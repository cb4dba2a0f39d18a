//! Other drivers at the same work: 60 to 1514 bytes in small mode, served by the same host.
//!
//! What builds from the registry and receives virtio-net on the driver's side is rcore's
//! `virtio-drivers`; see docs/performance.md for those that were looked at and do not.

use criterion::{BenchmarkId, Criterion, Throughput};
use vnet_rx::receive::{RxConfig, Strategy};
use vnet_rx::virtio::{Dialect, Mode};

use crate::rig::{Driver, Rig, timed};
use crate::virtio_drivers_rig::VirtioDrivers;

const SIZES: [usize; 4] = [60, 128, 256, 1514];

pub fn bench(c: &mut Criterion) {
    for size in SIZES {
        cell(c, "virtio-drivers", size, &mut VirtioDrivers::new(size));
        for strategy in Strategy::ALL {
            let config = RxConfig::new(Mode::Small, strategy, Dialect::Modern);
            let mut rig = Rig::new(config, size).expect("small mode carries 1514 bytes");
            cell(c, strategy.name(), size, &mut rig);
        }
    }
}

fn cell(c: &mut Criterion, name: &str, size: usize, driver: &mut impl Driver) {
    let mut group = c.benchmark_group(format!("peers/{name}"));
    group.throughput(Throughput::Elements(1));
    group.bench_function(BenchmarkId::from_parameter(size), |b| {
        b.iter_custom(|packets| timed(driver, packets));
    });
}
