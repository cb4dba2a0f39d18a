//! Every interleaving of the lock-free parts, by loom: the real code, through `sync.rs` and the
//! model of shared memory.
//!
//! Run by `make loom`; without `--cfg loom` there is nothing here. Loom knows SeqCst fences and the
//! C11 orderings of atomics. It treats SeqCst accesses as AcqRel (there are none here) and does not
//! explore load buffering. A model with a preemption bound explores every interleaving with at most
//! so many switches away from a thread that could have gone on.
#![cfg(loom)]

mod handshakes;
mod lists;
mod queue;
mod weakened;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs `run` in every interleaving, or in all with at most so many preemptions, and says how many
/// there were.
fn model(preemptions: Option<usize>, run: impl Fn() + Send + Sync + 'static) {
    weakened::weaken_as_told();
    let runs = Arc::new(AtomicUsize::new(0));
    let of_model = Arc::clone(&runs);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        of_model.fetch_add(1, Ordering::Relaxed);
        run();
    });
    let runs = runs.load(Ordering::Relaxed);
    match preemptions {
        None => println!("{runs} interleavings, all there are"),
        Some(bound) => println!("{runs} interleavings, at most {bound} preemptions"),
    }
}
