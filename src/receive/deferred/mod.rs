//! The patch's strategy: bare pages are posted, and an skb is built when a packet has arrived.

mod big;
mod mergeable;

pub(super) use big::Big;
pub(super) use mergeable::Mergeable;
