//! Allocation failure on demand, so that a test can make any chosen allocation fail.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Decides which of the coming allocations fail. Costs one relaxed load while nothing is planned.
#[derive(Debug, Default)]
pub struct FailPlan {
    armed: AtomicBool,
    plan: Mutex<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    skip: u64,
    count: u64,
}

impl FailPlan {
    /// Lets `skip` further allocations through and then fails `count` of them. Replaces an earlier
    /// plan; a `count` of 0 cancels it.
    pub fn set(&self, skip: u64, count: u64) {
        let mut plan = self.plan.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *plan = Plan { skip, count };
        self.armed.store(count > 0, Ordering::Relaxed);
    }

    /// Whether an allocation to come may fail.
    #[inline]
    pub(crate) fn is_armed(&self) -> bool {
        // Relaxed: the plan itself is read under its lock.
        self.armed.load(Ordering::Relaxed)
    }

    /// Whether the allocation being attempted now shall fail.
    #[inline]
    pub(crate) fn strikes(&self) -> bool {
        self.is_armed() && self.advance()
    }

    #[cold]
    #[inline(never)]
    fn advance(&self) -> bool {
        let mut plan = self.plan.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if plan.skip > 0 {
            plan.skip -= 1;
            return false;
        }
        if plan.count == 0 {
            return false;
        }
        plan.count -= 1;
        if plan.count == 0 {
            self.armed.store(false, Ordering::Relaxed);
        }
        true
    }
}
