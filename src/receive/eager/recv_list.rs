//! The `recv` list: all posted skbs, doubly linked, newest last (RECEIVE.md, section 3).

use crate::memory::Table;
use crate::ring::Head;

/// The end of the list in either direction.
const NONE: u16 = u16::MAX;

/// Links the posted skbs by the heads of their chains.
///
/// Ring ids are at most 32767, so they and [`NONE`] never meet.
#[derive(Debug)]
pub(crate) struct RecvList {
    links: Table<Link>,
    first: u16,
    last: u16,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    before: u16,
    behind: u16,
}

impl RecvList {
    pub(crate) fn new(ring_size: u32) -> Self {
        let unlinked = Link { before: NONE, behind: NONE };
        Self { links: Table::new(ring_size, |_| unlinked), first: NONE, last: NONE }
    }

    /// Appends the skb posted as `head`.
    #[inline]
    pub(crate) fn link(&mut self, head: Head) {
        let id = head.id();
        self.links[id.into()] = Link { before: self.last, behind: NONE };
        match self.last {
            NONE => self.first = id,
            last => self.links[last.into()].behind = id,
        }
        self.last = id;
    }

    /// Takes the skb posted as `head` off.
    #[inline]
    pub(crate) fn unlink(&mut self, head: Head) {
        let Link { before, behind } = self.links[head.id().into()];
        match before {
            NONE => self.first = behind,
            before => self.links[before.into()].behind = behind,
        }
        match behind {
            NONE => self.last = before,
            behind => self.links[behind.into()].before = before,
        }
    }

    /// The heads on the list, oldest first.
    #[cfg(test)]
    fn heads(&self) -> Vec<u16> {
        let mut heads = Vec::new();
        let mut id = self.first;
        while id != NONE {
            heads.push(id);
            id = self.links[id.into()].behind;
        }
        heads
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The list against a plain vector.
        #[test]
        fn links_and_unlinks_in_any_order(picks in prop::collection::vec(0u16..16, 0..100)) {
            let mut list = RecvList::new(16);
            let mut model: Vec<u16> = Vec::new();
            for id in picks {
                match model.iter().position(|&one| one == id) {
                    Some(at) => {
                        model.remove(at);
                        list.unlink(Head::new(id));
                    }
                    None => {
                        model.push(id);
                        list.link(Head::new(id));
                    }
                }
                prop_assert_eq!(list.heads(), model.clone());
            }
        }
    }
}
