//! Pages and the bytes in them: the shared region, the page allocator, the page pool, the skb slab.
//!
//! ```text
//!   SharedMemory   one sealed memfd, mapped once; a device maps the same file
//!   ├─ ring areas  RING_ROOM bytes for descriptor tables, avail and used rings   (RingArea)
//!   └─ pages       N pages of 4096 bytes                                          (PageArena)
//!
//!   driver-private, one word per page, never in the page:
//!   private[page] = next page on whichever list holds the page: the arena's free list,
//!                   a PagePool, or a PageChain on its way between them
//! ```
//!
//! A [`Page`] or [`PageChain`] is a move-only token: whoever has it owns the pages, so giving one
//! twice, using it after giving it, or building a cycle does not compile. A token that is dropped
//! instead of given back is a bug of the caller, caught by a debug assertion.

mod address;
mod arena;
#[cfg(not(loom))]
mod copy;
mod failure;
mod free_list;
mod pool;
mod ring_area;
#[cfg_attr(loom, path = "shared_model.rs")]
mod shared;
mod slab;
mod table;

pub use address::{GUEST_BASE, MAX_PARTS, MemoryError, OutOfRange, ReadError};
pub use arena::{Page, PageArena};
pub use failure::FailPlan;
pub(crate) use pool::{ChainFront, Draw};
pub use pool::{PageChain, PagePool};
pub use ring_area::RingArea;
pub use shared::SharedMemory;
pub use slab::{Recycle, Slab, Slot};

#[cfg(loom)]
pub use free_list::{FreeList, Pushed};
pub(crate) use shared::{PageBytes, Slots, Window};
pub(crate) use table::Table;

/// Bytes in a page (RECEIVE.md, section 1).
pub const PAGE_SIZE: usize = 4096;
