//! The one place that decides where atomics, fences and cells come from.
//!
//! Ordinary builds take them from the standard library; under `--cfg loom` they are loom's, so
//! that a model check runs the very code that ships. A `fence` taken from anywhere else would be
//! invisible to the model and prove nothing.

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence},
};

#[cfg(loom)]
pub(crate) use loom::sync::{
    Arc,
    atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence},
};
