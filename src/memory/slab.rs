//! Where skbs come from: a slab whose objects may be dropped in any thread.
//!
//! ```text
//!   owner thread                                any thread
//!   Slab::alloc ◄── local list ◄─ swap ── returned list ◄─ push ── Slot::drop
//!                       ▲                    (lock-free)
//!                       └── Slab::free (owner, no atomics)
//! ```
//!
//! In the steady state an object costs one compare-exchange when it is dropped and nothing when it
//! is allocated: the owner takes the whole returned list in one swap. Only pushes and whole-list
//! swaps touch the list, so there is no ABA problem. An object carries its way home (an `Arc`) for
//! as long as it exists, in use or not, so handing one out touches no reference count; closing the
//! slab breaks that cycle by freeing what has come home and marking the list closed, after which
//! each object frees itself.

use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

use super::failure::FailPlan;
use crate::sync::{Arc, AtomicPtr, Ordering, Site, at};

/// What a slab keeps: a value that can be emptied and used again.
pub trait Recycle {
    /// Gives back whatever the value holds and makes it as good as new. Called in the thread that
    /// lets go of the object.
    fn recycle(&mut self);
}

/// Starts a cache line, which it shares with what the value begins with.
#[repr(C, align(64))]
struct Node<T> {
    next: *mut Node<T>,
    home: Arc<Home<T>>,
    value: T,
}

struct Home<T> {
    /// Objects on their way back, linked through `next`; [`Home::closed`] once the slab is gone.
    returned: AtomicPtr<Node<T>>,
    /// Objects that freed themselves because the slab was closed.
    late: AtomicU64,
}

impl<T> Home<T> {
    /// The mark of a closed slab: an address that no node can have.
    fn closed() -> *mut Node<T> {
        ptr::without_provenance_mut(1)
    }
}

/// An object from a [`Slab`]; goes home when it is dropped, whichever thread does so.
pub struct Slot<T: Recycle> {
    node: NonNull<Node<T>>,
}

// SAFETY: a slot owns its node as a `Box` would; going home is lock-free and thread-safe.
unsafe impl<T: Recycle + Send> Send for Slot<T> {}
// SAFETY: a shared slot gives no more than `&T`.
unsafe impl<T: Recycle + Sync> Sync for Slot<T> {}

impl<T: Recycle> Slot<T> {
    /// Ends the slot's life; the caller answers for the node.
    fn into_node(self) -> *mut Node<T> {
        let node = self.node.as_ptr();
        mem::forget(self);
        node
    }
}

impl<T: Recycle> Deref for Slot<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the slot owns the node, which lives until the slot lets go of it.
        unsafe { &self.node.as_ref().value }
    }
}

impl<T: Recycle> DerefMut for Slot<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and `&mut self` makes the access exclusive.
        unsafe { &mut self.node.as_mut().value }
    }
}

impl<T: Recycle + fmt::Debug> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Recycle> Drop for Slot<T> {
    #[inline]
    fn drop(&mut self) {
        self.recycle();
        let node = self.node.as_ptr();
        // SAFETY: we own the node, and through it a count of `home`, until it is on the list.
        let home: &Arc<Home<T>> = unsafe { &(*node).home };
        let returned = &home.returned;
        let mut head = returned.load(Ordering::Relaxed);
        loop {
            if head == Home::closed() {
                // SAFETY: the node came from `Box::into_raw`, is ours and is on no list.
                let node = unsafe { Box::from_raw(node) };
                node.home.late.fetch_add(1, Ordering::Relaxed);
                return;
            }
            // SAFETY: the node is still ours.
            unsafe { (*node).next = head };
            // Release: hands the node's contents to the owner, who takes the list with Acquire.
            // Once it has succeeded the node may be reused or freed at any moment, and nothing
            // here touches it, or `home`, again.
            match returned.compare_exchange_weak(
                head,
                node,
                at(Site::Return, Ordering::Release),
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

/// A slab of `T`, owned by one thread at a time; grows by one object whenever none is at hand.
pub struct Slab<T: Recycle> {
    home: Arc<Home<T>>,
    local: *mut Node<T>,
    make: Box<dyn FnMut() -> T + Send>,
    created: u64,
    allocs: u64,
    closed: bool,
    failures: FailPlan,
}

// SAFETY: the local list belongs to the slab alone and moves with it; what is shared is `home`.
unsafe impl<T: Recycle + Send> Send for Slab<T> {}

impl<T: Recycle> Slab<T> {
    /// An empty slab whose objects are made by `make`.
    pub fn new(make: impl FnMut() -> T + Send + 'static) -> Self {
        let home = Home { returned: AtomicPtr::new(ptr::null_mut()), late: AtomicU64::new(0) };
        Self {
            home: Arc::new(home),
            local: ptr::null_mut(),
            make: Box::new(make),
            created: 0,
            allocs: 0,
            closed: false,
            failures: FailPlan::default(),
        }
    }

    /// Takes an object; `None` only when an injected failure strikes or the slab is closed.
    #[inline]
    pub fn alloc(&mut self) -> Option<Slot<T>> {
        if self.failures.strikes() {
            return None;
        }
        if self.local.is_null() {
            self.restock();
        }
        let node = NonNull::new(self.local)?;
        // SAFETY: nodes on the local list are ours and alive.
        self.local = unsafe { node.as_ref().next };
        self.allocs += 1;
        Some(Slot { node })
    }

    /// Puts at least one object on the empty local list, unless the slab is closed.
    #[cold]
    #[inline(never)]
    fn restock(&mut self) {
        if self.closed {
            return;
        }
        // Acquire: pairs with the Release of each push on the list.
        let order = at(Site::Restock, Ordering::Acquire);
        self.local = self.home.returned.swap(ptr::null_mut(), order);
        if self.local.is_null() {
            let home = Arc::clone(&self.home);
            let node = Node { value: (self.make)(), next: ptr::null_mut(), home };
            self.local = Box::into_raw(Box::new(node));
            self.created += 1;
        }
    }

    /// Takes an object back without atomics.
    ///
    /// # Panics
    /// When the object belongs to another slab, a mistake of the caller.
    #[inline]
    pub fn free(&mut self, slot: Slot<T>) {
        assert!(self.owns(&slot), "an object was given to another slab");
        Self::free_onto(&mut self.local, slot, T::recycle);
    }

    /// Whether the object came from this slab.
    #[inline]
    pub fn owns(&self, slot: &Slot<T>) -> bool {
        // SAFETY: the slot owns its node, which lives until the slot lets go of it.
        let home = unsafe { &slot.node.as_ref().home };
        Arc::ptr_eq(home, &self.home)
    }

    /// Takes an object of ours back that `empty` makes as good as new, onto `list`.
    #[inline(always)]
    fn free_onto(list: &mut *mut Node<T>, mut slot: Slot<T>, empty: impl FnOnce(&mut T)) {
        empty(&mut slot);
        let node = slot.into_node();
        // SAFETY: we have just become the node's owner.
        unsafe { (*node).next = *list };
        *list = node;
    }

    /// Takes a batch of objects back, without atomics those that came from this slab: `empty` makes
    /// them as good as new. The others go home by themselves.
    #[inline]
    pub fn free_all(
        &mut self,
        slots: impl Iterator<Item = Slot<T>>,
        mut empty: impl FnMut(&mut T),
    ) {
        // At hand for the batch. `empty` does not panic, but for a bug: what came back is lost then.
        let mut local = self.local;
        for slot in slots {
            if self.owns(&slot) && !self.closed {
                Self::free_onto(&mut local, slot, &mut empty);
            }
        }
        self.local = local;
    }

    /// Takes an object back whose allocation failed in a later part: it counts as not allocated.
    ///
    /// # Panics
    /// As for [`free`](Self::free).
    pub fn cancel(&mut self, slot: Slot<T>) {
        self.free(slot);
        self.allocs -= 1;
    }

    /// Makes chosen allocations fail: lets `skip` further ones through, then fails `count`.
    pub fn fail_allocs(&self, skip: u64, count: u64) {
        self.failures.set(skip, count);
    }

    /// Whether an allocation to come may fail.
    #[inline]
    pub(crate) fn may_fail(&self) -> bool {
        self.failures.is_armed() || self.closed
    }

    /// Objects handed out so far.
    pub fn allocs(&self) -> u64 {
        self.allocs
    }

    /// Objects that have come back so far. Counts the lists, so it takes as many steps as there
    /// are idle objects.
    pub fn frees(&self) -> u64 {
        let returned = self.home.returned.load(Ordering::Acquire);
        let idle = if returned == Home::closed() {
            0
        } else {
            // SAFETY: only the owner, which is us, takes nodes off either list or frees them.
            unsafe { length(self.local) + length(returned) }
        };
        let late = self.home.late.load(Ordering::Relaxed);
        self.allocs - (self.created - late - idle)
    }

    /// Frees what has come home; objects still out free themselves when they are dropped. No
    /// allocation succeeds afterwards.
    pub fn close(&mut self) {
        self.closed = true;
        // Acquire: as in `restock`.
        let order = at(Site::Close, Ordering::Acquire);
        let returned = self.home.returned.swap(Home::closed(), order);
        for list in [mem::replace(&mut self.local, ptr::null_mut()), returned] {
            if list != Home::closed() {
                // SAFETY: both lists are ours alone now.
                self.created -= unsafe { free_list(list) };
            }
        }
    }
}

impl<T: Recycle> Drop for Slab<T> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T: Recycle> fmt::Debug for Slab<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slab").field("created", &self.created).finish_non_exhaustive()
    }
}

/// Number of nodes on a list.
///
/// # Safety
/// No node of the list is taken off or freed meanwhile.
unsafe fn length<T>(mut node: *mut Node<T>) -> u64 {
    let mut n = 0;
    while !node.is_null() {
        n += 1;
        // SAFETY: promised by the caller.
        node = unsafe { (*node).next };
    }
    n
}

/// Frees every node of a list and says how many there were.
///
/// # Safety
/// The list belongs to the caller alone; its nodes came from `Box::into_raw`.
unsafe fn free_list<T>(mut node: *mut Node<T>) -> u64 {
    let mut n = 0;
    while !node.is_null() {
        // SAFETY: promised by the caller.
        let owned = unsafe { Box::from_raw(node) };
        node = owned.next;
        n += 1;
    }
    n
}
