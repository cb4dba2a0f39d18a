//! Our driver against somebody else's device: `virtio-queue`, the device half that rust-vmm's
//! virtual machine monitors use, with the header's layout and the feature numbers taken from the
//! kernel's own headers (`virtio-bindings`).
//!
//! Every other test has our own device half at the far end of the ring. If both halves shared a
//! misreading of the standard (where `used_event` lies, which index asks for a notification, how
//! the header is laid out), they would agree with each other and all those tests would pass. This
//! is where it would show: nothing of `vnet_rx::device` or `vnet_rx::ring` is used here, and the
//! memory is mapped a second time from its file, as a device in another process would do.
#![cfg(not(loom))]

use std::collections::VecDeque;
use std::io::Write;
use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use virtio_bindings::bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_bindings::virtio_net::*;
use virtio_queue::{DescriptorChain, Queue, QueueT};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};
use vnet_rx::memory::{GUEST_BASE, PageArena};
use vnet_rx::receive::{Packet, Polled, RxConfig, RxQueue, Strategy};
use vnet_rx::ring::EventFd;
use vnet_rx::virtio::{Dialect, Features, Mode, VnetHeader};

/// Sizes around every edge: shortest, copybreak, linear part, first page, further pages, longest.
const EDGES: [usize; 26] = [
    14, 15, 60, 127, 128, 129, 256, 1514, 1517, 1518, 1519, 4079, 4080, 4081, 4084, 4085, 4096,
    4097, 8180, 8181, 9000, 16384, 65535, 65536, 65562, 65589,
];
const LONGEST: usize = 65_589;
/// Packets per configuration.
const PACKETS: u64 = 4000;
/// A few steps before the 16-bit indices wrap.
const FIRST_INDEX: u16 = 65_400;
/// Longer than any notification takes: who waits for this long was forgotten.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// A packet to send: where its bytes start in the common noise, and its metadata.
#[derive(Clone, Debug)]
struct Sent {
    from: usize,
    len: usize,
    header: VnetHeader,
}

/// Packets of every edge size with every kind of metadata that `features` allow.
struct Traffic {
    random: Random,
    noise: Arc<[u8]>,
    features: Features,
    made: usize,
}

impl Traffic {
    fn new(features: Features, seed: u64) -> Self {
        let mut random = Random(seed);
        let words = (LONGEST + 4096) / 8 + 1;
        let noise = (0..words).flat_map(|_| random.next().to_le_bytes()).collect();
        Self { random, noise, features, made: 0 }
    }

    fn next(&mut self) -> Sent {
        let edges = match self.features.mode() {
            Mode::Small => &EDGES[..10],
            Mode::Big | Mode::Mergeable => &EDGES[..],
        };
        // Two edges, then anything between them.
        let len = match self.made % 3 {
            2 => 14 + self.random.below(edges[self.made % edges.len()] - 13),
            _ => edges[self.random.below(edges.len())],
        };
        self.made += 1;
        let header = self.header(len);
        Sent { from: self.random.below(4096), len, header }
    }

    fn header(&mut self, len: usize) -> VnetHeader {
        let r = &mut self.random;
        let any = r.next();
        // hdr_len is a hint and the flags beyond two are not ours to judge: let them be anything.
        let hdr_len = (any >> 16) as u16;
        let flags = (any as u8) & !(VIRTIO_NET_HDR_F_NEEDS_CSUM as u8);
        let plain = VnetHeader { flags, hdr_len, ..VnetHeader::default() };
        if any >> 32 & 3 == 0 {
            return plain;
        }
        let csum_start = r.below(len - 1);
        let csum_offset = r.below(len - 1 - csum_start);
        let needs_csum = VnetHeader {
            flags: flags | VIRTIO_NET_HDR_F_NEEDS_CSUM as u8,
            csum_start: csum_start as u16,
            csum_offset: csum_offset as u16,
            ..plain
        };
        if self.features.mode() == Mode::Small || any >> 34 & 1 == 0 {
            return needs_csum;
        }
        let types = [
            VIRTIO_NET_HDR_GSO_TCPV4,
            VIRTIO_NET_HDR_GSO_TCPV6,
            VIRTIO_NET_HDR_GSO_UDP,
            VIRTIO_NET_HDR_GSO_UDP_L4,
            VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN,
            VIRTIO_NET_HDR_GSO_TCPV6 | VIRTIO_NET_HDR_GSO_ECN,
        ];
        let gso_type = types[r.below(types.len())] as u8;
        VnetHeader { gso_type, gso_size: 1 + r.below(65_535) as u16, ..needs_csum }
    }

    fn bytes(&self, sent: &Sent) -> &[u8] {
        &self.noise[sent.from..sent.from + sent.len]
    }
}

/// The header as the kernel's `struct virtio_net_hdr_mrg_rxbuf` lays it out.
fn wire(header: &VnetHeader, num_buffers: u16) -> [u8; 12] {
    let mut bytes = [0; size_of::<virtio_net_hdr_mrg_rxbuf>()];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(offset_of!(virtio_net_hdr, flags), &[header.flags]);
    put(offset_of!(virtio_net_hdr, gso_type), &[header.gso_type]);
    put(offset_of!(virtio_net_hdr, hdr_len), &header.hdr_len.to_le_bytes());
    put(offset_of!(virtio_net_hdr, gso_size), &header.gso_size.to_le_bytes());
    put(offset_of!(virtio_net_hdr, csum_start), &header.csum_start.to_le_bytes());
    put(offset_of!(virtio_net_hdr, csum_offset), &header.csum_offset.to_le_bytes());
    put(offset_of!(virtio_net_hdr_mrg_rxbuf, num_buffers), &num_buffers.to_le_bytes());
    bytes
}

/// What must be delivered for what was sent.
fn expected(header: &VnetHeader, num_buffers: u16) -> VnetHeader {
    let known = (VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID) as u8;
    VnetHeader { flags: header.flags & known, hdr_len: 0, num_buffers, ..*header }
}

type Memory = Arc<GuestMemoryMmap>;

/// The device: rust-vmm's queue over its own mapping of the driver's memory.
struct Device {
    memory: Memory,
    queue: Queue,
    mergeable: bool,
    header_len: usize,
    /// Chains taken off the avail ring for a packet that they cannot hold yet.
    held: VecDeque<DescriptorChain<Memory>>,
}

impl Device {
    fn new(driver: &RxQueue) -> Self {
        let file = driver.arena().memory().try_clone_file().unwrap();
        let mapping =
            MmapRegion::from_file(FileOffset::new(file, 0), driver.arena().memory().len());
        let region = GuestRegionMmap::new(mapping.unwrap(), GuestAddress(GUEST_BASE)).unwrap();
        let memory = Arc::new(GuestMemoryMmap::from_regions(vec![region]).unwrap());
        let (layout, config) = (driver.layout(), driver.config());
        let bits = config.features.bits();
        let has = |feature: u32| bits >> feature & 1 != 0;
        let mut queue = Queue::new(layout.size as u16).unwrap();
        queue.set_size(layout.size as u16);
        queue.try_set_desc_table_address(GuestAddress(layout.desc)).unwrap();
        queue.try_set_avail_ring_address(GuestAddress(layout.avail)).unwrap();
        queue.try_set_used_ring_address(GuestAddress(layout.used)).unwrap();
        queue.set_event_idx(has(VIRTIO_RING_F_EVENT_IDX));
        queue.set_next_avail(config.first_index);
        queue.set_next_used(config.first_index);
        queue.set_ready(true);
        assert!(queue.is_valid(&*memory));
        let mergeable = has(VIRTIO_NET_F_MRG_RXBUF);
        let with_count = mergeable || has(VIRTIO_F_VERSION_1);
        let header_len = if with_count {
            size_of::<virtio_net_hdr_mrg_rxbuf>()
        } else {
            size_of::<virtio_net_hdr>()
        };
        Self { memory, queue, mergeable, header_len, held: VecDeque::new() }
    }

    /// Takes chains until they hold `needed` bytes; how many those are, or `None` for now.
    fn gather(&mut self, needed: usize) -> Option<usize> {
        let (mut room, mut chains) = (0, 0);
        while room < needed {
            if chains == self.held.len() {
                let chain = self.queue.pop_descriptor_chain(Arc::clone(&self.memory))?;
                assert_eq!(chain.clone().readable().count(), 0, "a receive buffer is write-only");
                self.held.push_back(chain);
            }
            room += self.held[chains].clone().writable().map(|d| d.len() as usize).sum::<usize>();
            chains += 1;
            assert!(
                self.mergeable || room >= needed,
                "{needed} bytes must fit one chain of {room}"
            );
        }
        Some(chains)
    }

    /// Delivers a packet: fills buffer after buffer, all but the last to the brim (5.1.6.4), and
    /// calls `between` before each used entry but the first. Returns the number of buffers.
    fn deliver(
        &mut self,
        bytes: &[u8],
        header: &VnetHeader,
        mut between: impl FnMut(),
    ) -> Option<u16> {
        let chains = self.gather(self.header_len + bytes.len())?;
        let header = wire(header, chains as u16);
        let (mut header, mut rest) = (&header[..self.header_len], bytes);
        for k in 0..chains {
            let chain = self.held.pop_front().unwrap();
            let head = chain.head_index();
            let mut writer = chain.writer(&*self.memory).unwrap();
            writer.write_all(header).unwrap();
            header = &[];
            let n = rest.len().min(writer.available_bytes());
            writer.write_all(&rest[..n]).unwrap();
            rest = &rest[n..];
            if k > 0 {
                between();
            }
            let written = writer.bytes_written() as u32;
            self.queue.add_used(&*self.memory, head, written).unwrap();
        }
        assert!(rest.is_empty());
        Some(chains as u16)
    }

    /// Whether the driver wants to be told of the used entries added since the last call.
    fn must_notify(&mut self) -> bool {
        let asked = self.queue.needs_notification(&*self.memory).unwrap();
        if self.queue.event_idx_enabled() {
            return asked;
        }
        // virtio-queue leaves VIRTQ_AVAIL_F_NO_INTERRUPT to its user; the fence was in the call.
        let flags = GuestAddress(self.queue.avail_ring());
        self.memory.load::<u16>(flags, Ordering::Relaxed).unwrap() & 1 == 0
    }

    /// Asks for a kick; false if nothing is available, so that one may wait for it.
    fn ask_for_kick(&mut self) -> bool {
        self.queue.enable_notification(&*self.memory).unwrap()
    }
}

fn every_config(ring_size: u32) -> impl Iterator<Item = RxConfig> {
    let cells = Mode::ALL.into_iter().flat_map(|mode| {
        Strategy::ALL.into_iter().flat_map(move |strategy| {
            Dialect::ALL.into_iter().map(move |dialect| RxConfig::new(mode, strategy, dialect))
        })
    });
    cells.flat_map(move |config| {
        let config = RxConfig { ring_size, first_index: FIRST_INDEX, ..config };
        let features = config.features.without(Features::EVENT_IDX);
        [config, RxConfig { features, ..config }]
    })
}

fn queue_of(config: RxConfig) -> RxQueue {
    let arena = PageArena::new(2 * config.pages_per_ring()).unwrap();
    RxQueue::new(config, &arena).unwrap()
}

/// Who has asked for what: a model of 2.7.7 and 2.7.10 on one page, kept beside both sides.
struct Asked {
    event_idx: bool,
    /// The device wants to be kicked when more is posted.
    kick: bool,
    /// The driver wants to be notified of the next used entry.
    notification: bool,
}

impl Asked {
    /// With event indices a request is spent once it is granted; flags stand until changed.
    fn spend(event_idx: bool, asked: &mut bool) -> bool {
        let granted = *asked;
        *asked &= !event_idx;
        granted
    }

    /// The driver has done something: were its kicks what the device had asked for?
    fn check_kicks(&mut self, queue: &RxQueue, before: (u64, u64)) {
        let (posted, kicks) = counts(queue);
        let due = posted > before.0 && Self::spend(self.event_idx, &mut self.kick);
        assert_eq!(
            kicks - before.1,
            u64::from(due),
            "{:?}: a kick too many or few",
            queue.config()
        );
    }

    /// The device has added used entries: does it see that it was asked to notify?
    fn check_notification(&mut self, device: &mut Device) {
        let due = Self::spend(self.event_idx, &mut self.notification);
        assert_eq!(device.must_notify(), due, "a notification too many or few");
    }

    fn poll(&mut self, queue: &mut RxQueue, budget: usize, packets: &mut Vec<Packet>) -> Polled {
        let before = counts(queue);
        let polled = queue.poll(budget, packets).unwrap();
        assert_eq!(polled.broken, None);
        if polled.received < budget {
            self.notification = true;
        } else if !self.event_idx {
            self.notification = false;
        }
        self.check_kicks(queue, before);
        polled
    }
}

fn counts(queue: &RxQueue) -> (u64, u64) {
    let stats = queue.stats();
    (stats.buffers_posted, stats.kicks)
}

fn check(traffic: &Traffic, packet: &Packet, sent: &Sent, buffers: u16, config: &RxConfig) {
    assert_eq!(packet.header(), expected(&sent.header, buffers), "{config:?}");
    assert!(packet.to_vec() == traffic.bytes(sent), "{config:?}: {} bytes differ", sent.len);
}

/// One configuration, both sides in turn, every notification foretold.
fn serve(config: RxConfig) {
    let mut queue = queue_of(config);
    let mut device = Device::new(&queue);
    let mut traffic = Traffic::new(config.features, 7);
    let event_idx = config.features.contains(Features::EVENT_IDX);
    // A fresh ring is armed on both sides.
    let mut asked = Asked { event_idx, kick: true, notification: true };
    let mut in_flight = VecDeque::new();
    let mut packets = Vec::new();
    let (mut delivered, mut waited) = (0, 0);
    let before = counts(&queue);
    queue.refill().unwrap();
    asked.check_kicks(&queue, before);
    while delivered < PACKETS {
        for _ in 0..1 + traffic.random.below(12) {
            let sent = traffic.next();
            // Now and then the driver looks while a packet's buffers are still coming in (R7). It
            // must have nothing older to receive then.
            let watched = in_flight.is_empty() && traffic.random.below(4) == 0;
            let between = || {
                if watched {
                    let polled = asked.poll(&mut queue, 64, &mut packets);
                    assert_eq!(polled, Polled::default());
                    waited += 1;
                }
            };
            let Some(buffers) = device.deliver(traffic.bytes(&sent), &sent.header, between) else {
                assert!(!device.ask_for_kick(), "everything available was taken");
                asked.kick = true;
                break;
            };
            in_flight.push_back((sent, buffers));
            asked.check_notification(&mut device);
        }
        // A budget that is often too small: the queue must stay quiet then.
        let budget = 1 + traffic.random.below(20);
        let polled = asked.poll(&mut queue, budget, &mut packets);
        assert_eq!(polled.received, budget.min(in_flight.len()));
        assert_eq!(polled.delivered, polled.received);
        for packet in packets.drain(..) {
            let (sent, buffers) = in_flight.pop_front().unwrap();
            check(&traffic, &packet, &sent, buffers, &config);
            delivered += 1;
        }
        if traffic.random.below(3) == 0 || !device.held.is_empty() {
            let before = counts(&queue);
            queue.refill().unwrap();
            asked.check_kicks(&queue, before);
            if !event_idx && traffic.random.below(2) == 0 {
                device.queue.disable_notification(&*device.memory).unwrap();
                asked.kick = false;
            }
        }
    }
    assert_eq!(waited > 0, config.mode() == Mode::Mergeable);
    let stats = queue.stats();
    assert_eq!((stats.rx_packets, stats.rx_dropped), (delivered, 0));
    assert!(stats.faults.iter().all(|(_, n)| n == 0), "{:?}", stats.faults);
    assert!(u64::from(FIRST_INDEX) + stats.buffers_posted > 65_536, "the indices never wrapped");
    queue.close();
    drop(packets);
    assert_eq!(queue.arena().free(), queue.arena().len());
}

#[test]
fn every_packet_and_every_notification_in_every_configuration() {
    every_config(64).for_each(serve);
}

/// A ring that holds one big packet and a ring of the largest size.
#[test]
fn rings_of_the_extreme_sizes() {
    for ring_size in [2, 32, 32_768] {
        // Smaller ones exist for small mode only: nothing else carries every size in them.
        let carries_all = |config: &RxConfig| config.mode() == Mode::Small || ring_size >= 32;
        every_config(ring_size).filter(carries_all).for_each(serve);
    }
}

/// Both sides in threads of their own, asleep whenever there is nothing to do. Whoever sleeps for
/// long was forgotten by the other.
#[test]
fn nobody_is_forgotten_when_both_sides_sleep() {
    const PACKETS: usize = 3000;
    for config in every_config(32) {
        let mut queue = queue_of(config);
        let mut device = Device::new(&queue);
        let (call, kick) = (Arc::new(EventFd::new().unwrap()), Arc::new(EventFd::new().unwrap()));
        queue.set_kick(Some(Arc::clone(&kick)));
        let traffic = Traffic::new(config.features, 11);
        let mut check_traffic = Traffic::new(config.features, 11);
        let sender = thread::spawn({
            let call = Arc::clone(&call);
            let mut traffic = traffic;
            move || {
                for _ in 0..PACKETS {
                    let sent = traffic.next();
                    while device.deliver(traffic.bytes(&sent), &sent.header, || {}).is_none() {
                        if !device.ask_for_kick() {
                            assert!(kick.wait(FORGOTTEN).unwrap(), "no kick came: {config:?}");
                            kick.clear();
                        }
                        device.queue.disable_notification(&*device.memory).unwrap();
                    }
                    if device.must_notify() {
                        call.signal();
                    }
                }
            }
        });
        queue.refill().unwrap();
        let mut packets = Vec::new();
        let mut received = 0;
        while received < PACKETS {
            let polled = queue.poll(8, &mut packets).unwrap();
            assert_eq!((polled.broken, polled.received), (None, polled.delivered));
            for packet in packets.drain(..) {
                let sent = check_traffic.next();
                check(&check_traffic, &packet, &sent, packet.header().num_buffers, &config);
                received += 1;
            }
            // Packets held during the poll may have left no memory for buffers, and an empty ring
            // never interrupts: somebody has to try again.
            if queue.refill_needed() {
                queue.refill().unwrap();
            }
            if polled.received < 8 && received < PACKETS {
                assert!(call.wait(FORGOTTEN).unwrap(), "no notification came: {config:?}");
                call.clear();
            }
        }
        sender.join().unwrap();
    }
}

/// Our feature bits have the kernel's numbers.
#[test]
fn feature_bits_are_the_kernels() {
    let pairs = [
        (Features::GUEST_CSUM, VIRTIO_NET_F_GUEST_CSUM),
        (Features::GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO4),
        (Features::GUEST_TSO6, VIRTIO_NET_F_GUEST_TSO6),
        (Features::GUEST_ECN, VIRTIO_NET_F_GUEST_ECN),
        (Features::GUEST_UFO, VIRTIO_NET_F_GUEST_UFO),
        (Features::MRG_RXBUF, VIRTIO_NET_F_MRG_RXBUF),
        (Features::EVENT_IDX, VIRTIO_RING_F_EVENT_IDX),
        (Features::VERSION_1, VIRTIO_F_VERSION_1),
        (Features::GUEST_USO4, VIRTIO_NET_F_GUEST_USO4),
        (Features::GUEST_USO6, VIRTIO_NET_F_GUEST_USO6),
    ];
    for (ours, theirs) in pairs {
        assert_eq!(ours.bits(), 1 << theirs, "{ours:?}");
    }
}
