//! A queue and a host in one thread, with the driver's work and the host's kept apart.

use vnet_rx::device::source::{Frame, Generator, Sizes};
use vnet_rx::device::{Host, Offer};
use vnet_rx::memory::PageArena;
use vnet_rx::receive::{Packet, RxConfig, RxQueue};
use vnet_rx::virtio::Mode;

/// Packets in a round, and the budget of its poll: the weight of a NAPI poll.
pub const BATCH: usize = 64;

/// A queue, a host, and a frame to send over and over.
pub struct Rig {
    rx: RxQueue,
    host: Host,
    frame: Frame,
    packets: Vec<Packet>,
    received: u64,
}

impl Rig {
    /// A rig whose frames have `size` bytes; `None` where the mode cannot carry them.
    pub fn new(config: RxConfig, size: usize) -> Option<Self> {
        if config.mode() == Mode::Small && size > 1518 {
            return None;
        }
        let arena = PageArena::new(2 * config.pages_per_ring()).expect("memory");
        let mut rx = RxQueue::new(config, &arena).expect("a queue");
        rx.refill().expect("buffers");
        let host = Host::new(arena.memory(), rx.layout(), config.features).expect("a host");
        let frame = Generator::new(Sizes::Fixed(size), config.features, 1).frame();
        let packets = Vec::with_capacity(BATCH);
        Some(Self { rx, host, frame, packets, received: 0 })
    }

    /// The host's part of a round: up to `most` packets; returns how many there was room for.
    pub fn send(&mut self, most: usize) -> usize {
        let mut sent = 0;
        while sent < most {
            match self.host.stage(&self.frame).expect("an honest driver") {
                Offer::Delivered(_) => sent += 1,
                _ => break,
            }
        }
        self.host.flush();
        sent
    }

    /// The driver's part of a round: receive, let go, refill.
    #[inline(never)]
    pub fn driver_work(&mut self) {
        self.rx.poll(BATCH, &mut self.packets).expect("an honest host");
        self.received += self.packets.len() as u64;
        self.packets.clear();
        self.rx.refill().expect("an honest host");
    }

    /// What was received is what was sent: checked on one packet, outside of any measurement, and
    /// by the counters on all.
    pub fn check(&mut self) {
        assert_eq!(self.send(1), 1);
        self.rx.poll(1, &mut self.packets).expect("an honest host");
        let packet = self.packets.pop().expect("a packet");
        assert_eq!(packet.to_vec(), self.frame.bytes);
        self.received += 1;
        let stats = self.rx.stats();
        assert_eq!(stats.rx_packets, self.received);
        assert_eq!(stats.rx_bytes, self.received * self.frame.bytes.len() as u64);
        assert!(stats.faults.iter().all(|(_, n)| n == 0));
    }
}
