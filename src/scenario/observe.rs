//! What is observed of a queue after each operation (`docs/scenario.md`, "Observation").

use super::names::{Law, Names};
use crate::memory::{OutOfRange, PAGE_SIZE, SharedMemory};
use crate::receive::{DeviceFault, Frag, Packet, Point, RxError, RxQueue, Stats};
use crate::virtio::{DESC_F_NEXT, Features, SplitLayout};

/// Number of counters: those of RECEIVE.md, section 10, and one for each fault.
pub const COUNTERS: usize = 15 + DeviceFault::ALL.len();

/// What an operation came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Done; there is nothing to say.
    #[default]
    Nothing,
    /// Done, with a yes or no.
    Flag(bool),
    /// Done, with a number.
    Number(u64),
    /// Refused.
    Error(RxError),
}

impl Outcome {
    /// The error's code, as `vnet_rx.errors` spells it, and the fault of a broken queue.
    pub fn error(&self) -> Option<(&'static str, Option<DeviceFault>)> {
        let Self::Error(error) = self else { return None };
        Some(match error {
            RxError::Broken(fault) => ("queue_broken", Some(*fault)),
            RxError::Stopped | RxError::Closed => ("closed", None),
            RxError::ZeroBudget => ("config", None),
            RxError::Running => ("ring_running", None),
        })
    }
}

impl<T: Into<Outcome>> From<Result<T, RxError>> for Outcome {
    fn from(result: Result<T, RxError>) -> Self {
        result.map_or_else(Self::Error, T::into)
    }
}

impl From<()> for Outcome {
    fn from((): ()) -> Self {
        Self::Nothing
    }
}

impl From<bool> for Outcome {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<usize> for Outcome {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl From<Option<u32>> for Outcome {
    fn from(number: Option<u32>) -> Self {
        number.map_or(Self::Nothing, |number| Self::Number(number.into()))
    }
}

/// Rows of values, each with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows<K, T> {
    /// The keys, and where each one's values end.
    keys: Vec<(K, usize)>,
    values: Vec<T>,
}

impl<K, T> Default for Rows<K, T> {
    fn default() -> Self {
        Self { keys: Vec::new(), values: Vec::new() }
    }
}

impl<K: Copy, T> Rows<K, T> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (K, &[T])> {
        (0..self.keys.len()).map(|i| {
            let (key, end) = self.keys[i];
            let start = i.checked_sub(1).map_or(0, |before| self.keys[before].1);
            (key, &self.values[start..end])
        })
    }

    fn clear(&mut self) {
        self.keys.clear();
        self.values.clear();
    }

    fn push(&mut self, key: K, values: impl IntoIterator<Item = T>) {
        self.values.extend(values);
        self.keys.push((key, self.values.len()));
    }
}

/// A packet as it was delivered, pages renamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenPacket {
    /// Bytes.
    pub len: usize,
    /// CRC-32 of them.
    pub crc: u32,
    /// flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, num_buffers.
    pub header: [u16; 7],
    /// Bytes in the private head or the linear part.
    pub head_len: usize,
    /// The linear part.
    pub linear: Option<Frag>,
    /// The frags.
    pub frags: Vec<Frag>,
    /// Memory that the packet pins.
    pub truesize: usize,
}

/// What only a queue that was not closed shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueState {
    /// Buffers outstanding.
    pub num: u16,
    /// The most there ever were.
    pub max: u16,
    /// Whether memory ran out.
    pub refill_needed: bool,
    /// What broke the queue.
    pub broken: Option<DeviceFault>,
}

/// A descriptor as it stands in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenDescriptor {
    /// The name of the page that its address lies in; `None` if the page has none.
    pub page: Option<u32>,
    /// The address within the page, or the whole of it.
    pub offset: u64,
    /// Bytes.
    pub len: u32,
    /// `DESC_F_*` bits.
    pub flags: u16,
    /// The next descriptor.
    pub next: u16,
}

/// Everything that is compared after an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// What the operation came to.
    pub result: Outcome,
    /// The interleave points passed.
    pub points: Vec<Point>,
    /// The packets delivered.
    pub packets: Vec<SeenPacket>,
    /// The counters, in the order of the format.
    pub counters: [u64; COUNTERS],
    /// `None` once the queue is closed; the three lists that follow are empty then.
    pub state: Option<QueueState>,
    /// Pages in the pool, the next one first.
    pub pool: Vec<u32>,
    /// Outstanding buffers by id, and their pages.
    pub posted: Rows<u16, u32>,
    /// Free descriptors in the order of use.
    pub free_descriptors: Vec<u16>,
    /// How many pages are free.
    pub arena_free: usize,
    /// `avail.flags` in memory.
    pub avail_flags: u16,
    /// `avail.idx` in memory.
    pub avail_idx: u16,
    /// `used_event` in memory, with EVENT_IDX.
    pub used_event: Option<u16>,
    /// The chains that became available, by id.
    pub published: Rows<u16, SeenDescriptor>,
    /// The first law that does not hold; no part of the canonical text.
    pub broken_law: Option<Law>,
}

impl Default for Observation {
    fn default() -> Self {
        Self {
            result: Outcome::default(),
            points: Vec::new(),
            packets: Vec::new(),
            counters: [0; COUNTERS],
            state: None,
            pool: Vec::new(),
            posted: Rows::default(),
            free_descriptors: Vec::new(),
            arena_free: 0,
            avail_flags: 0,
            avail_idx: 0,
            used_event: None,
            published: Rows::default(),
            broken_law: None,
        }
    }
}

/// What an observer remembers from one observation to the next.
#[derive(Debug)]
pub(super) struct Observer {
    names: Names,
    /// `avail.idx` as last seen.
    avail_idx: u16,
    layout: SplitLayout,
    first_page: u64,
    /// Kept to save allocations.
    bytes: Vec<u8>,
}

impl Observer {
    pub(super) fn new(queue: &RxQueue) -> Self {
        Self {
            names: Names::new(queue.arena().len()),
            avail_idx: queue.config().first_index,
            layout: queue.layout(),
            first_page: queue.arena().address_of(0),
            bytes: Vec::new(),
        }
    }

    /// The queue was reset: the avail ring is counted from 0.
    pub(super) fn restart(&mut self) {
        self.avail_idx = 0;
    }

    /// The CRC-32 of a packet's bytes.
    pub(super) fn crc(&mut self, packet: &Packet) -> u32 {
        packet.copy_to(&mut self.bytes);
        crc32fast::hash(&self.bytes)
    }

    /// Observes everything but `result` and `points`. Of the `held` packets those from `delivered`
    /// on came with this operation.
    pub(super) fn observe(
        &mut self,
        queue: &RxQueue,
        held: &[Packet],
        delivered: usize,
        seen: &mut Observation,
    ) {
        self.names.begin();
        seen.packets.clear();
        for packet in &held[delivered..] {
            let packet = self.packet(packet);
            seen.packets.push(packet);
        }
        counters(&queue.stats(), &mut seen.counters);
        seen.arena_free = queue.arena().free();
        self.see_queue(queue, seen);
        for packet in &held[..delivered] {
            packet.linear().into_iter().chain(packet.frags()).for_each(|frag| {
                self.names.see(frag.page);
            });
        }
        let laws = self.names.check(seen.arena_free).and_then(|()| ring_laws(queue, seen));
        seen.broken_law = laws.err();
        self.see_memory(queue, seen);
    }

    fn packet(&mut self, packet: &Packet) -> SeenPacket {
        let mut name = |frag: Frag| Frag { page: self.names.see(frag.page), ..frag };
        let linear = packet.linear().map(&mut name);
        let frags = packet.frags().map(name).collect();
        let header = packet.header();
        SeenPacket {
            len: packet.len(),
            crc: self.crc(packet),
            header: [
                header.flags.into(),
                header.gso_type.into(),
                header.hdr_len,
                header.gso_size,
                header.csum_start,
                header.csum_offset,
                header.num_buffers,
            ],
            head_len: packet.head_len(),
            linear,
            frags,
            truesize: packet.truesize(),
        }
    }

    fn see_queue(&mut self, queue: &RxQueue, seen: &mut Observation) {
        seen.pool.clear();
        seen.posted.clear();
        seen.free_descriptors.clear();
        if queue.is_closed() {
            seen.state = None;
            return;
        }
        seen.state = Some(QueueState {
            num: queue.num(),
            max: queue.max(),
            refill_needed: queue.refill_needed(),
            broken: queue.broken(),
        });
        let names = &mut self.names;
        queue.each_posted(|id, pages| seen.posted.push(id, pages.map(|page| names.see(page))));
        queue.each_in_pool(|page| seen.pool.push(names.see(page)));
        queue.each_free_descriptor(|id| seen.free_descriptors.push(id));
    }

    /// What the device can see of the ring.
    fn see_memory(&mut self, queue: &RxQueue, seen: &mut Observation) {
        let memory = queue.arena().memory();
        let load16 = |addr| inside(memory.load16(addr));
        let SplitLayout { size, avail, .. } = self.layout;
        seen.avail_flags = load16(avail);
        seen.avail_idx = load16(avail + 2);
        let event_idx = queue.config().features.contains(Features::EVENT_IDX);
        seen.used_event = event_idx.then(|| load16(avail + 4 + 2 * u64::from(size)));
        seen.published.clear();
        let first = std::mem::replace(&mut self.avail_idx, seen.avail_idx);
        let count = seen.avail_idx.wrapping_sub(first);
        if u32::from(count) > size {
            return;
        }
        for k in 0..count {
            let slot = u32::from(first.wrapping_add(k)) & (size - 1);
            let id = load16(avail + 4 + 2 * u64::from(slot));
            seen.published.push(id, self.chain(memory, id));
        }
    }

    /// The chain that starts at descriptor `id`.
    fn chain(&self, memory: &SharedMemory, id: u16) -> impl Iterator<Item = SeenDescriptor> {
        let mut next = Some(id);
        let descriptors = move || {
            let id = u32::from(next?);
            if id >= self.layout.size {
                return None;
            }
            let mut bytes = [0; 16];
            inside(memory.read(self.layout.desc + 16 * u64::from(id), &mut bytes));
            let [addr @ .., l0, l1, l2, l3, f0, f1, n0, n1] = bytes;
            let addr = u64::from_le_bytes(addr);
            let flags = u16::from_le_bytes([f0, f1]);
            let page = addr.checked_sub(self.first_page).map(|offset| offset / PAGE_SIZE as u64);
            let page = page.and_then(|page| self.names.get(page));
            let after = u16::from_le_bytes([n0, n1]);
            next = (flags & DESC_F_NEXT != 0).then_some(after);
            Some(SeenDescriptor {
                page,
                offset: if page.is_some() { addr % PAGE_SIZE as u64 } else { addr },
                len: u32::from_le_bytes([l0, l1, l2, l3]),
                flags,
                next: after,
            })
        };
        std::iter::from_fn(descriptors).take(self.layout.size as usize)
    }
}

/// The ring lies in its memory, so this is never the default.
fn inside<T: Default>(access: Result<T, OutOfRange>) -> T {
    debug_assert!(access.is_ok(), "the ring lies in its memory");
    access.unwrap_or_default()
}

fn counters(stats: &Stats, counters: &mut [u64; COUNTERS]) {
    let values = stats.counters().chain(stats.faults.iter().map(|(fault, n)| (fault.name(), n)));
    for (counter, (_, value)) in counters.iter_mut().zip(values) {
        *counter = value;
    }
}

fn ring_laws(queue: &RxQueue, seen: &Observation) -> Result<(), Law> {
    let Some(state) = &seen.state else {
        return if queue.num() == 0 && queue.pool().is_empty() { Ok(()) } else { Err(Law::Closed) };
    };
    if usize::from(state.num) != seen.posted.len() {
        return Err(Law::Num);
    }
    let posted = seen.posted.len() * queue.config().descriptors_per_buffer();
    if posted + seen.free_descriptors.len() != queue.config().ring_size as usize {
        return Err(Law::Descriptors);
    }
    Ok(())
}
