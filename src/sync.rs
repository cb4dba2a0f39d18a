//! The one place that decides where atomics, fences and cells come from.
//!
//! Ordinary builds take them from the standard library; under `--cfg loom` they are loom's, so
//! that a model check runs the very code that ships. A `fence` taken from anywhere else would be
//! invisible to the model and prove nothing.
//!
//! Each ordering that the lock-free parts rely on has a name, a [`Site`]. Under loom a test can
//! weaken a single one and demand that a model fails: an ordering that no model needs would not be
//! there. `docs/memory-ordering.md` lists them. In ordinary builds a site is nothing but a name.

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc,
    atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence},
};

#[cfg(loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicPtr, AtomicU16, AtomicU32, AtomicU64, Ordering, fence},
    },
};

/// An ordering, fence or tag that something breaks without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(loom), allow(dead_code, reason = "a test names every site"))]
pub enum Site {
    /// Driver: Release store of `avail.idx`.
    PublishAvail,
    /// Driver: full fence between that store and the look at what the device asked for.
    KickFence,
    /// Driver: Acquire load of `used.idx`.
    SeeUsed,
    /// Driver: full fence between arming and looking again.
    RearmFence,
    /// Driver: Acquire load of `used.idx` when looking again, which the next pass relies on.
    SeeUsedAgain,
    /// Device: Acquire load of `avail.idx`.
    SeeAvail,
    /// Device: Release store of `used.idx`.
    PublishUsed,
    /// Device: full fence between that store and the look at what the driver asked for.
    CallFence,
    /// Device: full fence between arming and looking again.
    ArmFence,
    /// Free list: Acquire load of the head.
    Pop,
    /// Free list: Acquire load of the head when another thread was faster.
    PopAgain,
    /// Free list: Release of pages put back.
    Push,
    /// Free list: the tag that changes with every change of the head.
    Tag,
    /// Slab: Release of an object on its way home.
    Return,
    /// Slab: Acquire of what has come home, by the owner.
    Restock,
    /// Slab: the same by the owner that closes.
    Close,
}

/// The ordering at `site`.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) const fn at(_: Site, order: Ordering) -> Ordering {
    order
}

/// The full fence at `site`.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn full_fence(_: Site) {
    fence(Ordering::SeqCst);
}

/// By how much a tag grows.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) const fn tag_step(_: Site) -> u64 {
    1
}

#[cfg(loom)]
pub use weakened::weaken;
#[cfg(loom)]
pub(crate) use weakened::{at, full_fence, tag_step};

#[cfg(loom)]
mod weakened {
    use std::cell::Cell;

    use super::{Ordering, Site, fence};

    thread_local! {
        /// Loom runs all threads of a model in one thread of the system, so this is per model.
        static SITE: Cell<Option<Site>> = const { Cell::new(None) };
    }

    /// Weakens one site, or none, in the models that this thread runs from now on.
    pub fn weaken(site: Option<Site>) {
        SITE.set(site);
    }

    fn is_weak(site: Site) -> bool {
        SITE.get() == Some(site)
    }

    pub(crate) fn at(site: Site, order: Ordering) -> Ordering {
        if is_weak(site) { Ordering::Relaxed } else { order }
    }

    pub(crate) fn full_fence(site: Site) {
        if !is_weak(site) {
            fence(Ordering::SeqCst);
        }
    }

    pub(crate) fn tag_step(site: Site) -> u64 {
        u64::from(!is_weak(site))
    }
}
