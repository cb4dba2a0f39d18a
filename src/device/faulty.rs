//! A device that does what it is told, honest or hostile (`docs/scenario.md`, "The device").

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, LazyLock};

use super::action::{Action, Area, Sending};
use crate::memory::{OutOfRange, SharedMemory};
use crate::receive::RxQueue;
use crate::ring::split::{Chain, LayoutError, SplitDevice};
use crate::virtio::{Features, Mode, SplitLayout, VnetHeader};

/// Completed chains that are remembered.
const DONE_KEPT: usize = 64;
/// The most chains that are ready at a time. An honest driver posts no more than its ring holds; one
/// whose avail ring is overwritten would have them grow without end.
const READY_KEPT: usize = 1024;
/// The longest packet, and how far into the pattern one may start.
const PATTERN_LEN: usize = 70_000 + 256;

/// Payload: each byte tells where it belongs.
static PATTERN: LazyLock<Box<[u8]>> =
    LazyLock::new(|| (0..PATTERN_LEN).map(|i| (31 * i + 7 * (i >> 8) + (i >> 16)) as u8).collect());

/// The `size` payload bytes of a packet sent with `seed`.
///
/// Sizes beyond what a scenario can hold are cut to 70,000.
pub fn pattern(size: usize, seed: u8) -> &'static [u8] {
    let start = usize::from(seed);
    &PATTERN[start..start + size.min(PATTERN_LEN - 256)]
}

/// A chain with the used entry that is written for it.
#[derive(Debug, Default)]
struct Used {
    chain: Chain,
    id: u32,
    len: u32,
}

/// A device half that performs [`Action`]s on anybody's ring. It trusts its driver no more than the
/// driver may trust it.
#[derive(Debug)]
pub struct FaultyDevice {
    ring: SplitDevice,
    memory: Arc<SharedMemory>,
    layout: SplitLayout,
    features: Features,
    /// Taken from the avail ring and not used yet, oldest first.
    ready: VecDeque<Chain>,
    /// Prepared and not written yet.
    held: VecDeque<Used>,
    /// Written, newest last.
    done: VecDeque<Used>,
    /// Whether buffers are zeroed when they are taken.
    clean: bool,
    /// Kept to save allocations.
    spare: Vec<Chain>,
    stream: Vec<u8>,
}

impl FaultyDevice {
    /// A device for the ring at `layout`, under these negotiated features. It goes on from the
    /// `used.idx` it finds there.
    ///
    /// # Errors
    /// [`LayoutError`] when the ring cannot lie there.
    pub fn new(
        memory: &Arc<SharedMemory>,
        layout: SplitLayout,
        features: Features,
    ) -> Result<Self, LayoutError> {
        let event_idx = features.contains(Features::EVENT_IDX);
        Ok(Self {
            ring: SplitDevice::new(memory, layout, event_idx)?,
            memory: Arc::clone(memory),
            layout,
            features,
            ready: VecDeque::new(),
            held: VecDeque::new(),
            done: VecDeque::new(),
            clean: false,
            spare: Vec::new(),
            stream: Vec::new(),
        })
    }

    /// A device at the other end of `queue`'s ring.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn of(queue: &RxQueue) -> Result<Self, LayoutError> {
        Self::new(queue.arena().memory(), queue.layout(), queue.config().features)
    }

    /// Starts anew, as a device does after its driver has reset it: from the `used.idx` that is in
    /// memory, with nothing under way.
    pub fn restart(&mut self) {
        let event_idx = self.features.contains(Features::EVENT_IDX);
        if let Ok(ring) = SplitDevice::new(&self.memory, self.layout, event_idx) {
            self.ring = ring;
        }
        self.spare.extend(self.ready.drain(..));
        self.spare.extend(self.held.drain(..).map(|used| used.chain));
        self.spare.extend(self.done.drain(..).map(|used| used.chain));
    }

    /// From now on zeroes each buffer when it takes it, so that what it never writes of one does not
    /// depend on what lay there before.
    pub fn clean_buffers(&mut self) {
        self.clean = true;
    }

    /// How many chains are ready, after a look at the avail ring.
    pub fn ready(&mut self) -> usize {
        self.fetch();
        self.ready.len()
    }

    /// Performs actions, one after the other.
    pub fn perform_all(&mut self, actions: &[Action]) {
        actions.iter().for_each(|action| self.perform(action));
    }

    /// Performs one action. What makes no sense at the moment does nothing.
    pub fn perform(&mut self, action: &Action) {
        self.fetch();
        match action {
            Action::Send(sending) => self.send(sending),
            Action::Publish { count } => self.write_held(usize::from(*count)),
            Action::Complete { id, len } => self.complete(*id, *len),
            Action::Again { back, len } => {
                if let Some(used) = newest(&self.done, *back) {
                    let (id, len) = (used.chain.head.into(), len.unwrap_or(used.len));
                    self.complete(id, len);
                }
            }
            Action::Jump { by } => {
                self.ring.skip_used(*by);
                self.ring.publish();
            }
            Action::Rewrite { back, at, bytes } => {
                if let Some(used) = newest(&self.done, *back) {
                    self.write(&used.chain, *at, bytes);
                }
            }
            Action::Stray { chain, at, bytes } => {
                let count = self.ready.len().max(1);
                if let Some(chain) = self.ready.get(usize::from(*chain) % count) {
                    self.write(chain, *at, bytes);
                }
            }
            Action::Scribble { area, at, bytes } => self.scribble(*area, *at, bytes),
            Action::Flags { value } => self.store16(self.layout.used, *value),
            Action::Event { ahead } => {
                if let Ok(idx) = self.memory.load16(self.layout.avail + 2) {
                    let event = self.layout.used + 4 + 8 * u64::from(self.layout.size);
                    self.store16(event, idx.wrapping_add(*ahead));
                }
            }
        }
    }

    /// Takes what the driver has made available. An index that is too far ahead is ignored, a
    /// malformed chain passed over.
    fn fetch(&mut self) {
        let available = self.ring.available().unwrap_or(0);
        let mut read = 0;
        for passed in 0..available {
            // No driver has more descriptors than the ring: these are loops, after a scribble.
            if read >= usize::from(self.ring.size()) {
                return self.ring.take(available - passed);
            }
            let mut chain = self.spare.pop().unwrap_or_default();
            let sound = self.ring.peek(0, &mut chain).is_ok();
            self.ring.take(1);
            read += chain.segments.len().max(1);
            if sound && self.ready.len() < READY_KEPT {
                if self.clean {
                    self.zero(&chain);
                }
                self.ready.push_back(chain);
            } else {
                self.spare.push(chain);
            }
        }
    }

    fn send(&mut self, sending: &Sending) {
        let Some(count) = self.count(sending) else { return };
        self.compose(sending, count);
        let stream = mem::take(&mut self.stream);
        let mut rest = stream.as_slice();
        let held_before = self.held.len();
        for k in 0..count {
            let Some(chain) = self.ready.pop_front() else { break };
            let (now, later) = rest.split_at(room(&chain, &sending.fill, k).min(rest.len()));
            self.write(&chain, 0, now);
            rest = later;
            self.held.push_back(Used { id: chain.head.into(), len: now.len() as u32, chain });
        }
        self.stream = stream;
        let new = self.held.range_mut(held_before..);
        for (k, used) in new.enumerate() {
            let last = |pairs: &[(u8, u32)]| {
                pairs.iter().rev().find(|&&(at, _)| usize::from(at) == k).map(|&(_, value)| value)
            };
            used.len = last(&sending.len).unwrap_or(used.len);
            used.id = last(&sending.id).unwrap_or(used.id);
            used.id = used.id.wrapping_add(last(&sending.id_add).unwrap_or(0));
        }
        self.write_held(held_before + count.saturating_sub(usize::from(sending.hold)));
    }

    /// How many buffers the packet takes, if so many are ready.
    fn count(&self, sending: &Sending) -> Option<usize> {
        let mergeable = self.features.mode() == Mode::Mergeable;
        let count = match (mergeable, sending.buffers) {
            (false, _) => 1,
            (true, Some(buffers)) => usize::from(buffers),
            (true, None) => {
                let len = self.features.header_len() + sending.size as usize;
                let mut total = 0;
                let fits = |(k, chain)| {
                    total += room(chain, &sending.fill, k);
                    total >= len
                };
                self.ready.iter().enumerate().position(fits)? + 1
            }
        };
        (count <= self.ready.len()).then_some(count)
    }

    /// Puts header and payload into `stream`.
    fn compose(&mut self, sending: &Sending, count: usize) {
        let [flags, gso_type, hdr_len, gso_size, csum_start, csum_offset] = sending.header;
        let header = VnetHeader {
            flags: flags as u8,
            gso_type: gso_type as u8,
            hdr_len,
            gso_size,
            csum_start,
            csum_offset,
            num_buffers: sending.num_buffers.unwrap_or(count as u16),
        };
        self.stream.clear();
        self.stream.extend_from_slice(&header.to_bytes()[..self.features.header_len()]);
        self.stream.extend_from_slice(pattern(sending.size as usize, sending.seed));
    }

    /// Writes the first `count` entries that were held back, and publishes.
    fn write_held(&mut self, count: usize) {
        for _ in 0..count.min(self.held.len()) {
            let Some(used) = self.held.pop_front() else { break };
            self.ring.push_used(used.id, used.len);
            if self.done.len() == DONE_KEPT
                && let Some(old) = self.done.pop_front()
            {
                self.spare.push(old.chain);
            }
            self.done.push_back(used);
        }
        self.ring.publish();
    }

    fn complete(&mut self, id: u32, len: u32) {
        self.ring.push_used(id, len);
        self.ring.publish();
    }

    /// Writes into a chain, from byte `at` on; what does not fit is left out.
    fn write(&self, chain: &Chain, at: u32, bytes: &[u8]) {
        let written = self.ring.write(chain, at as usize, bytes);
        debug_assert!(written.is_ok(), "a ready chain was checked: {written:?}");
    }

    fn zero(&self, chain: &Chain) {
        const ZEROS: [u8; 4096] = [0; 4096];
        for segment in &chain.segments {
            for at in (0..segment.len).step_by(ZEROS.len()) {
                let n = ZEROS.len().min((segment.len - at) as usize);
                inside(self.memory.write(segment.addr + u64::from(at), &ZEROS[..n]));
            }
        }
    }

    fn scribble(&self, area: Area, at: u16, bytes: &[u8]) {
        let size = self.layout.size;
        let (start, len) = match area {
            Area::Desc => (self.layout.desc, SplitLayout::desc_len(size)),
            Area::Avail => (self.layout.avail, SplitLayout::avail_len(size)),
        };
        let at = u64::from(at) % len;
        let bytes = &bytes[..bytes.len().min((len - at) as usize)];
        if at.is_multiple_of(2) && bytes.len().is_multiple_of(2) {
            for (word, i) in bytes.chunks_exact(2).zip(0..) {
                self.store16(start + at + 2 * i, u16::from_le_bytes([word[0], word[1]]));
            }
        } else {
            inside(self.memory.write(start + at, bytes));
        }
    }

    fn store16(&self, addr: u64, value: u16) {
        inside(self.memory.store16(addr, value));
    }
}

/// The ring's areas were checked when the device was made.
fn inside(access: Result<(), OutOfRange>) {
    debug_assert!(access.is_ok(), "the ring lies in its memory: {access:?}");
}

/// The chain completed `back` before the newest.
fn newest(done: &VecDeque<Used>, back: u8) -> Option<&Used> {
    done.get(done.len().checked_sub(1 + usize::from(back))?)
}

/// How much of the `k`-th buffer is used at most.
fn room(chain: &Chain, fill: &[u32], k: usize) -> usize {
    let capacity = chain.capacity();
    fill.get(k).map_or(capacity, |&fill| capacity.min(fill as usize))
}
