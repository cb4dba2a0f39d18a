//! What posting a buffer costs: the refill of a ring that is half empty.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use vnet_rx::receive::{RxConfig, Strategy};
use vnet_rx::virtio::{Dialect, Mode};

use crate::rig::{Driver, Rig};

pub fn bench(c: &mut Criterion) {
    for mode in Mode::ALL {
        for strategy in Strategy::ALL {
            let config = RxConfig::new(mode, strategy, Dialect::Modern);
            let config = RxConfig { ring_size: 1024, ..config };
            let mut rig = Rig::new(config, 60).expect("every mode carries 60 bytes");
            let mut group = c.benchmark_group(format!("refill/{}", strategy.name()));
            group.throughput(Throughput::Elements(1));
            group.bench_function(BenchmarkId::from_parameter(mode.name()), |b| {
                b.iter_custom(|buffers| timed(&mut rig, buffers));
            });
        }
    }
}

/// The time that posting `buffers` buffers takes. A poll refills by itself once less than half the
/// buffers are left, so no more than half are used up at a time.
fn timed(rig: &mut Rig, buffers: u64) -> Duration {
    let half = usize::from(rig.queue().max() / 2);
    let (mut left, mut time) = (buffers, Duration::ZERO);
    while left > 0 {
        let sent = rig.send(half.min(left as usize));
        assert_eq!(rig.poll(sent), sent);
        rig.compare();
        rig.drop_packets();
        let began = Instant::now();
        let posted = rig.refill();
        time += began.elapsed();
        assert_eq!(posted, sent, "the poll has refilled already");
        left -= sent as u64;
    }
    rig.check();
    time
}
