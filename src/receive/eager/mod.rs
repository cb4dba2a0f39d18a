//! The strategy before the patch: an skb is allocated with each buffer posted.

mod big;
mod mergeable;
mod recv_list;

pub(super) use big::Big;
pub(super) use mergeable::Mergeable;
pub(super) use recv_list::RecvList;
