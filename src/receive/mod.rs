//! The receive path: what is posted, what is made of a completion, what is refused.
//!
//! RECEIVE.md's rules and where they live:
//!
//! | what | where |
//! |---|---|
//! | constants, configuration (1) | [`RxConfig`] in `config.rs` |
//! | what is posted (3), what a completion becomes (4) | `small.rs`, `deferred/`, `eager/` |
//! | lengths, buffer counts, metadata (5, 7) | `verdict.rs` |
//! | WAIT (5) | `waiting.rs` |
//! | poll, BREAK, refill, re-arm, reset (5, 8) | `queue.rs` |
//! | from completions to packets: WAIT, DROP, delivery (4, 5) | `queue/drain.rs` |
//! | counters (10) | `stats.rs`, `fault.rs` |
//! | interleave points (11) | `interleave.rs` |

mod config;
mod deferred;
mod eager;
mod fault;
mod interleave;
mod outcome;
mod policy;
mod queue;
mod rx;
mod skb;
mod small;
mod stats;
mod verdict;
mod waiting;

pub use config::{
    ConfigError, GOOD_COPY_LEN, IncompleteLimit, MAX_PACKET_LEN, MAX_SKB_FRAGS, RxConfig, Strategy,
};
pub use fault::{DeviceFault, FaultCounts};
pub use interleave::Point;
pub use outcome::{Polled, Readiness, RxError};
pub use rx::{Posted, RxQueue};
pub use skb::{Frag, Packet, SegmentRef, SharedSegment};
pub use stats::Stats;
