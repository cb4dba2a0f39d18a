//! A receive queue with a raw device half at the other end of its ring, and the conservation law.

use std::sync::Arc;

use vnet_rx::memory::PageArena;
use vnet_rx::receive::{DeviceFault, Packet, Polled, RxConfig, RxQueue, Strategy};
use vnet_rx::ring::split::{Chain, SplitDevice};
use vnet_rx::virtio::{Dialect, Features, Mode, VnetHeader};

/// Every mode x strategy x dialect, with EVENT_IDX and without.
pub fn every_config() -> impl Iterator<Item = RxConfig> {
    configs(&Mode::ALL)
}

/// Every strategy x dialect x EVENT_IDX of these modes.
pub fn configs(modes: &[Mode]) -> impl Iterator<Item = RxConfig> + use<> {
    let mut all = Vec::new();
    for &mode in modes {
        for strategy in Strategy::ALL {
            for dialect in Dialect::ALL {
                let config = RxConfig { ring_size: 64, ..RxConfig::new(mode, strategy, dialect) };
                let features = config.features.without(Features::EVENT_IDX);
                all.push(config);
                all.push(RxConfig { features, ..config });
            }
        }
    }
    all.into_iter()
}

/// A queue and the device half of its ring.
pub struct Rig {
    pub arena: Arc<PageArena>,
    pub queue: RxQueue,
    pub device: SplitDevice,
    pub packets: Vec<Packet>,
}

impl Rig {
    /// A refilled queue over an arena with room for two full rings.
    pub fn new(config: RxConfig) -> Self {
        let mut rig = Self::bare(config, 2 * config.pages_per_ring());
        rig.queue.refill().unwrap();
        rig.check();
        rig
    }

    /// A queue with nothing posted, over an arena of `pages` pages.
    pub fn bare(config: RxConfig, pages: usize) -> Self {
        let arena = PageArena::new(pages).unwrap();
        let queue = RxQueue::new(config, &arena).unwrap();
        let device = device_of(&queue);
        Self { arena, queue, device, packets: Vec::new() }
    }

    /// Starts queue and device anew, and refills.
    pub fn reset(&mut self) {
        self.queue.reset().unwrap();
        self.restart_device();
        self.queue.refill().unwrap();
        self.check();
    }

    /// Makes the device half anew, as a device does after a reset.
    pub fn restart_device(&mut self) {
        self.device = device_of(&self.queue);
    }

    pub fn config(&self) -> RxConfig {
        *self.queue.config()
    }

    /// h.
    pub fn header_len(&self) -> usize {
        self.config().features.header_len()
    }

    /// Takes the next posted buffer.
    pub fn take(&mut self) -> Chain {
        assert!(self.device.available().unwrap() > 0, "no buffer is posted");
        let mut chain = Chain::default();
        self.device.peek(0, &mut chain).unwrap();
        self.device.take(1);
        chain
    }

    /// Writes a header and a payload into one buffer, without completing it; returns its id and
    /// the bytes written.
    pub fn write(&mut self, header: VnetHeader, payload: &[u8]) -> (u32, u32) {
        let chain = self.take();
        let h = self.header_len();
        let n = self.device.write(&chain, 0, &header.to_bytes()[..h]).unwrap();
        let m = self.device.write(&chain, n, payload).unwrap();
        (chain.head.into(), (n + m) as u32)
    }

    /// Writes a payload without a header into one buffer: a later one of a packet.
    pub fn write_later(&mut self, payload: &[u8]) -> (u32, u32) {
        let chain = self.take();
        let n = self.device.write(&chain, 0, payload).unwrap();
        (chain.head.into(), n as u32)
    }

    /// Completes buffers, all made visible together.
    pub fn complete(&mut self, entries: &[(u32, u32)]) {
        for &(id, len) in entries {
            self.device.push_used(id, len);
        }
        self.device.publish();
    }

    /// A good packet of `len` bytes in one buffer, whose used length is `used` instead of the true
    /// one where given.
    pub fn send(&mut self, header: VnetHeader, len: usize, used: Option<u32>) {
        let (id, written) = self.write(header, &pattern(len));
        self.complete(&[(id, used.unwrap_or(written))]);
    }

    /// Polls once and checks the conservation law.
    pub fn poll(&mut self, budget: usize) -> Polled {
        let polled = self.queue.poll(budget, &mut self.packets).unwrap();
        self.check();
        polled
    }

    /// What proves that the queue has come through: the next good packet arrives whole.
    pub fn expect_next_good(&mut self) {
        self.packets.clear();
        self.queue.refill().unwrap();
        self.send(one(), 77, None);
        let polled = self.poll(64);
        assert_eq!((polled.received, polled.delivered, polled.broken), (1, 1, None));
        assert_eq!(self.packets[0].to_vec(), pattern(77));
        self.packets.clear();
        self.check();
    }

    /// What a broken queue owes: it refuses everything, changes nothing, and works after a reset.
    pub fn expect_broken(&mut self, fault: DeviceFault) {
        use vnet_rx::receive::RxError::Broken;
        assert_eq!(self.queue.broken(), Some(fault));
        let before = (self.queue.stats(), self.queue.posted(), self.queue.pool());
        assert_eq!(before.0.faults.get(fault), 1);
        assert_eq!(self.queue.poll(64, &mut self.packets), Err(Broken(fault)));
        assert_eq!(self.queue.refill(), Err(Broken(fault)));
        assert_eq!(before, (self.queue.stats(), self.queue.posted(), self.queue.pool()));
        self.check();
        self.reset();
        self.expect_next_good();
    }

    pub fn faults(&self, fault: DeviceFault) -> u64 {
        self.queue.stats().faults.get(fault)
    }

    /// The conservation law: every page is in exactly one of arena-free, pool, posted, held by a
    /// packet; and so is every descriptor in exactly one of free, posted.
    #[track_caller]
    pub fn check(&self) {
        let held = self.packets.iter().flat_map(|packet| {
            packet.linear().into_iter().chain(packet.frags()).map(|frag| frag.page)
        });
        let posted = self.queue.posted();
        let mut pages: Vec<u32> = posted.iter().flat_map(|one| one.pages.clone()).collect();
        pages.extend(self.arena.free_pages());
        pages.extend(self.queue.pool());
        pages.extend(held);
        pages.sort_unstable();
        let all: Vec<u32> = (0..self.arena.len() as u32).collect();
        assert_eq!(pages, all, "a page is lost, or in two places");
        assert_eq!(self.arena.free(), self.arena.free_pages().len());
        assert_eq!(posted.len(), usize::from(self.queue.num()));
        let per_buffer = self.config().descriptors_per_buffer();
        let descriptors = posted.len() * per_buffer + self.queue.free_descriptors().len();
        assert_eq!(descriptors, self.config().ring_size as usize, "a descriptor is lost");
        let stats = self.queue.stats();
        let held = stats.skb_allocs - stats.skb_frees;
        let deferred = self.config().strategy == Strategy::Deferred;
        let posted_skbs =
            if deferred && self.config().mode() != Mode::Small { 0 } else { posted.len() };
        assert_eq!(held, (posted_skbs + self.packets.len()) as u64, "an skb is lost");
    }
}

fn device_of(queue: &RxQueue) -> SplitDevice {
    let event_idx = queue.config().features.contains(Features::EVENT_IDX);
    SplitDevice::new(queue.arena().memory(), queue.layout(), event_idx).unwrap()
}

/// A header for a packet in one buffer.
pub fn one() -> VnetHeader {
    VnetHeader { num_buffers: 1, ..VnetHeader::default() }
}

/// A header for a packet in `n` buffers.
pub fn merged(n: u16) -> VnetHeader {
    VnetHeader { num_buffers: n, ..VnetHeader::default() }
}

/// `len` bytes, each telling where it belongs.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i ^ (i >> 8)) as u8).collect()
}
