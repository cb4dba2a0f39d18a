//! Somebody else's device on our ring: `virtio-queue` of rust-vmm, written by other people from the
//! same standard, takes our descriptors and completes them. If our two halves of the ring shared a
//! misreading of the standard, this is where it would show.
//!
//! The memfd of the arena is mapped a second time as the device's guest memory, at the guest
//! addresses that the driver puts into its descriptors.

use std::sync::Arc;

use virtio_queue::{DescriptorChain, Queue, QueueT};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};
use vnet_rx::device::source::{Frame, Generator, Sizes};
use vnet_rx::memory::{GUEST_BASE, PageArena};
use vnet_rx::receive::{RxConfig, RxQueue, Strategy};
use vnet_rx::virtio::{Dialect, Features, Mode, VnetHeader};

type Memory = GuestMemoryMmap<()>;

/// The device: rust-vmm's queue, and what virtio-net does with it.
struct Device {
    queue: Queue,
    memory: Memory,
    header_len: usize,
    mergeable: bool,
}

impl Device {
    fn new(rx: &RxQueue) -> Self {
        let shared = rx.arena().memory();
        let file = FileOffset::new(shared.try_clone_file().unwrap(), 0);
        let region = MmapRegion::from_file(file, shared.len()).unwrap();
        let region = GuestRegionMmap::new(region, GuestAddress(GUEST_BASE)).unwrap();
        let memory = Memory::from_arc_regions(vec![Arc::new(region)]).unwrap();
        let (layout, features) = (rx.layout(), rx.config().features);
        let mut queue = Queue::new(layout.size as u16).unwrap();
        let halves = |addr: u64| (Some(addr as u32), Some((addr >> 32) as u32));
        queue.set_size(layout.size as u16);
        let (low, high) = halves(layout.desc);
        queue.set_desc_table_address(low, high);
        let (low, high) = halves(layout.avail);
        queue.set_avail_ring_address(low, high);
        let (low, high) = halves(layout.used);
        queue.set_used_ring_address(low, high);
        queue.set_event_idx(features.contains(Features::EVENT_IDX));
        queue.set_next_avail(rx.config().first_index);
        queue.set_next_used(rx.config().first_index);
        queue.set_ready(true);
        assert!(queue.is_valid(&memory), "rust-vmm accepts the layout");
        let mergeable = features.contains(Features::MRG_RXBUF);
        Self { queue, memory, header_len: features.header_len(), mergeable }
    }

    /// Writes what fits of `bytes` into a chain, returns how many.
    fn fill(&self, chain: DescriptorChain<&Memory>, bytes: &[u8]) -> usize {
        let mut at = 0;
        for desc in chain {
            assert!(desc.is_write_only(), "receive buffers are the device's to write");
            let n = (bytes.len() - at).min(desc.len() as usize);
            self.memory.write_slice(&bytes[at..at + n], desc.addr()).unwrap();
            at += n;
        }
        at
    }

    /// Delivers a frame as the standard says, in as many buffers as it takes; returns how many, and
    /// whether the driver asked to be notified.
    fn deliver(&mut self, frame: &Frame) -> (u16, bool) {
        let mut bytes = frame.header.to_bytes()[..self.header_len].to_vec();
        bytes.extend(&frame.bytes);
        let (mut at, mut used) = (0, Vec::new());
        let mut header_addr = GuestAddress(0);
        while at < bytes.len() {
            let memory = self.memory.clone();
            let chain = self.queue.pop_descriptor_chain(&memory).expect("a posted buffer");
            let head = chain.head_index();
            let first = chain.clone().next().unwrap();
            if used.is_empty() {
                header_addr = first.addr();
            }
            let n = self.fill(chain, &bytes[at..]);
            assert!(n > 0 && (self.mergeable || n == bytes.len()), "one buffer holds it all");
            used.push((head, n as u32));
            at += n;
        }
        if self.mergeable {
            // 5.1.6.4.1: the number of buffers goes into the header once it is known.
            let count = (used.len() as u16).to_le_bytes();
            self.memory.write_slice(&count, GuestAddress(header_addr.0 + 10)).unwrap();
        }
        for &(head, len) in &used {
            self.queue.add_used(&self.memory, head, len).unwrap();
        }
        let notify = self.queue.needs_notification(&self.memory).unwrap();
        (used.len() as u16, notify)
    }
}

const SIZES: [usize; 14] =
    [14, 60, 128, 129, 1514, 1518, 1519, 4080, 4084, 4085, 9000, 16384, 65535, 65550];

#[test]
fn every_packet_of_an_independent_device_arrives() {
    for mode in Mode::ALL {
        for strategy in Strategy::ALL {
            for dialect in Dialect::ALL {
                for event_idx in [true, false] {
                    let mut config = RxConfig::new(mode, strategy, dialect);
                    if !event_idx {
                        config.features = config.features.without(Features::EVENT_IDX);
                    }
                    // The index wraps on the way.
                    serve(RxConfig { ring_size: 64, first_index: 65_000, ..config });
                }
            }
        }
    }
}

fn serve(config: RxConfig) {
    let arena = PageArena::new(2 * config.pages_per_ring()).unwrap();
    let mut rx = RxQueue::new(config, &arena).unwrap();
    let mut device = Device::new(&rx);
    rx.refill().unwrap();
    let fitting = |&size: &usize| config.mode() != Mode::Small || size <= 1518;
    let sizes = SIZES.into_iter().filter(fitting).collect();
    let mut source = Generator::new(Sizes::Cycle(sizes), config.features, 3);
    let mut packets = Vec::new();
    for _ in 0..1500 {
        let frame = source.frame();
        let (buffers, notify) = device.deliver(&frame);
        assert!(notify, "the queue had gone to sleep, armed: {config:?}");
        let polled = rx.poll(64, &mut packets).unwrap();
        assert_eq!((polled.received, polled.delivered), (1, 1), "{config:?}");
        let packet = packets.pop().unwrap();
        assert_eq!(packet.to_vec(), frame.bytes, "{config:?}");
        let expected = VnetHeader { num_buffers: buffers, ..frame.header };
        assert_eq!(packet.header(), expected);
    }
    assert_eq!(rx.stats().rx_packets, 1500);
}

#[test]
fn kicks_reach_an_independent_device_that_asked_for_them() {
    for event_idx in [true, false] {
        let mut config = RxConfig::new(Mode::Mergeable, Strategy::Deferred, Dialect::Modern);
        if !event_idx {
            config.features = config.features.without(Features::EVENT_IDX);
        }
        let config = RxConfig { ring_size: 8, first_index: 65_000, ..config };
        let arena = PageArena::new(64).unwrap();
        let mut rx = RxQueue::new(config, &arena).unwrap();
        let mut device = Device::new(&rx);
        let mut source = Generator::new(Sizes::Fixed(60), config.features, 3);
        let mut packets = Vec::new();
        rx.refill().unwrap();
        for round in 0..1000 {
            for _ in 0..8 {
                device.deliver(&source.frame());
            }
            // The device has no buffer left. In every other round it goes to sleep.
            let asked = round % 2 == 0;
            if asked {
                let more = device.queue.enable_notification(&device.memory).unwrap();
                assert!(!more, "nothing is posted: round {round}");
            } else {
                device.queue.disable_notification(&device.memory).unwrap();
            }
            let kicks = rx.stats().kicks;
            assert_eq!(rx.poll(8, &mut packets).unwrap().delivered, 8);
            assert_eq!(rx.num(), 8, "refilled");
            assert_eq!(rx.stats().kicks - kicks, u64::from(asked), "round {round}");
            packets.clear();
        }
    }
}
