//! `cargo bench`: one group per question, both strategies in the same run.
//!
//! | group | question | unit |
//! |---|---|---|
//! | `receive/{strategy}/{mode}/{size}` | what a packet costs the driver | packet |
//! | `refill/{strategy}/{mode}` | what posting a buffer costs | buffer |
//! | `poll-budget/{strategy}/{budget}` | what a poll costs beside its packets | packet |
//! | `ring-size/{strategy}/{size}` | whether a long ring costs more | packet |
//! | `pool/{structure}/{pattern}` | pages chained through their own words against other free lists | page |
//! | `oom/{strategy}/{case}` | what a refill costs that finds no memory, and one that does again | poll, buffer |
//! | `ring/{suppression}/{descriptors}` | the ring alone: post, publish, see, take | buffer |
//! | `threads/{strategy or floor}/{bytes}/{size}` | host and driver on a core each | packet |
//! | `threads/line/round-trip` | a cache line to the other core and back | round trip |
//! | `peers/{strategy or driver}/{size}` | other drivers at the same work | packet |
//!
//! A cell that cannot exist is named on stderr and left out. Everything received is compared with
//! what was sent. `cargo bench -- --test` runs each cell once.

use std::time::Duration;

use criterion::{Criterion, criterion_main};

mod oom;
mod peers;
mod poll;
mod pool;
mod receive;
mod refill;
mod rig;
mod ring;
mod ring_size;
mod threads;
mod virtio_drivers_rig;

fn benches() {
    let mut c = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(10))
        .nresamples(20_000)
        .configure_from_args();
    receive::bench(&mut c);
    refill::bench(&mut c);
    poll::bench(&mut c);
    ring_size::bench(&mut c);
    pool::bench(&mut c);
    oom::bench(&mut c);
    ring::bench(&mut c);
    threads::bench(&mut c);
    peers::bench(&mut c);
    c.final_summary();
}

/// Names a cell that does not exist, and says why.
fn does_not_exist(cell: &str, why: &str) {
    eprintln!("{cell}: does not exist: {why}");
}

criterion_main!(benches);
