//! A queue and a host in one thread, with the driver's work and the host's kept apart.
//!
//! A round: the host fills up to [`BATCH`] packets into posted buffers; the driver polls; what came is
//! compared with what was sent; the driver lets go of the packets and refills. Only `timed_receive`
//! and `timed_release` are the driver's work, and only they are timed or counted.

use std::path::Path;
use std::time::{Duration, Instant};

use vnet_rx::device::source::{Capture, Frame, Generator, Sizes};
use vnet_rx::device::{Host, Offer};
use vnet_rx::memory::PageArena;
use vnet_rx::receive::{MAX_PACKET_LEN, Packet, RxConfig, RxQueue, Stats};
use vnet_rx::virtio::{Features, HeaderFlags, Mode, VnetHeader};

/// Packets in a round, and the budget of its poll: the weight of a NAPI poll.
pub const BATCH: usize = 64;
/// Bytes of a segment that are compared.
const PIECE: usize = 24;

/// A driver under measurement, and the host that serves it.
pub trait Driver {
    /// The host's part of a round: up to `most` packets; returns how many there was room for.
    fn send(&mut self, most: usize) -> usize;
    /// The driver's part, first half: receive.
    fn timed_receive(&mut self);
    /// Nobody's part: what was received is what was sent, in order. Looks at lengths, headers and
    /// the first bytes of every segment, so that nothing of the work can be left out unnoticed.
    fn compare(&mut self);
    /// The driver's part, second half: let go, refill.
    fn timed_release(&mut self);
    /// Compares one packet more, byte for byte, and the counters.
    fn check(&mut self);
}

/// The time that `packets` packets take the driver, round by round. It includes two readings of the
/// clock a round.
#[allow(dead_code, reason = "each program uses what it needs")]
pub fn timed(driver: &mut impl Driver, packets: u64) -> Duration {
    let (mut left, mut time) = (packets, Duration::ZERO);
    while left > 0 {
        let sent = driver.send(BATCH.min(left as usize));
        assert!(sent > 0, "the ring has no room for one packet");
        let began = Instant::now();
        driver.timed_receive();
        time += began.elapsed();
        driver.compare();
        let began = Instant::now();
        driver.timed_release();
        time += began.elapsed();
        left -= sent as u64;
    }
    driver.check();
    time
}

/// Frames to be sent over and over. Each time a frame is sent its source address is a new serial
/// number, so that a packet which is lost, doubled or stale shows.
///
/// A frame is numbered when its predecessor in the same place has been sent, not just before it is
/// sent itself: what was stored a moment ago by narrow stores cannot be copied by wide loads before
/// all earlier stores are done, and a host would be measured waiting for that.
pub struct Frames {
    frames: Vec<Frame>,
    sent: u64,
    received: u64,
}

/// Copies of a frame that take turns, and the bytes that they may come to.
const COPIES: usize = 64;
const COPIED_BYTES: usize = 1 << 16;

impl Frames {
    /// One frame of `size` bytes, with the metadata that the features allow.
    pub fn of_size(size: usize, features: Features) -> Self {
        let copies = (COPIED_BYTES / size).clamp(1, COPIES);
        let copies = 1 << copies.ilog2();
        Self::new(vec![Generator::new(Sizes::Fixed(size), features, 1).frame(); copies])
    }

    /// The traffic of the capture that ships with the Python package: a Linux kernel's own.
    pub fn mix() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/vnet_rx/data/mixed.pcapng");
        Self::new(Capture::read(&path).expect("the shipped capture").frames.to_vec())
    }

    fn new(mut frames: Vec<Frame>) -> Self {
        for (frame, serial) in frames.iter_mut().zip(0..) {
            number(frame, serial);
        }
        Self { frames, sent: 0, received: 0 }
    }

    /// How many there are before the first comes again.
    #[allow(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    fn longest(&self) -> usize {
        self.frames.iter().map(|frame| frame.bytes.len()).max().unwrap_or(0)
    }

    /// Offers frames, at most so many, while there is room, and makes them visible, those before the
    /// first comes again together; says how many.
    pub fn send(&mut self, host: &mut Host, most: usize) -> usize {
        let mut sent = 0;
        while sent < most {
            let place = self.sent as usize % self.len();
            let turn = place..self.len().min(place + most - sent);
            let offered = host.offer_all(&self.frames[turn.clone()], delivered_or_panic);
            let offered = offered.expect("an honest driver");
            let next_turn = self.sent + self.len() as u64;
            for (frame, serial) in self.frames[place..place + offered].iter_mut().zip(next_turn..) {
                number(frame, serial);
            }
            self.sent += offered as u64;
            sent += offered;
            if offered < turn.len() {
                break;
            }
        }
        sent
    }

    /// What the next packet received must be, but for its source address.
    fn expected(&self) -> &Frame {
        &self.frames[self.received as usize % self.len()]
    }

    /// Compares bytes of the next packet, those from `at` on.
    pub fn compare(&self, at: usize, piece: &[u8]) {
        let mut expected = [0; PIECE];
        let expected = &mut expected[..piece.len()];
        expected.copy_from_slice(&self.expected().bytes[at..at + piece.len()]);
        if at == 0 {
            expected[6..12].copy_from_slice(&self.received.to_le_bytes()[..6]);
        }
        assert_eq!(piece, expected, "packet {} at {at}", self.received);
    }

    /// The next packet has been compared; it had `len` bytes.
    pub fn was_received(&mut self, len: usize) {
        assert_eq!(len, self.expected().bytes.len(), "length of packet {}", self.received);
        self.received += 1;
    }

    /// Compares the next packet byte for byte.
    pub fn compare_whole(&mut self, mut packet: Vec<u8>) {
        assert_eq!(packet[6..12], self.received.to_le_bytes()[..6]);
        let frame = self.expected();
        packet[6..12].copy_from_slice(&frame.bytes[6..12]);
        assert!(packet == frame.bytes, "packet {} is not what was sent", self.received);
        self.was_received(packet.len());
    }

    /// The next `packets` packets have been received and are not compared.
    #[allow(dead_code, reason = "each program uses what it needs")]
    pub fn skip(&mut self, packets: u64) {
        self.received += packets;
    }

    /// Packets received so far.
    pub fn received(&self) -> u64 {
        self.received
    }
}

fn number(frame: &mut Frame, serial: u64) {
    frame.bytes[6..12].copy_from_slice(&serial.to_le_bytes()[..6]);
}

fn delivered_or_panic(_: usize, offer: Offer) {
    if let Offer::Undeliverable(why) = offer {
        panic!("{why}");
    }
}

/// Compares the next packet: its length, its header, and the first bytes of each segment.
pub fn compare_packet(frames: &mut Frames, packet: &Packet) {
    let header = packet.header();
    assert_eq!(header, delivered(frames.expected().header, header.num_buffers));
    let (mut at, mut piece) = (0, [0; PIECE]);
    for segment in packet.segments() {
        let n = segment.copy_to(&mut piece);
        frames.compare(at, &piece[..n]);
        at += segment.len();
    }
    frames.was_received(packet.len());
}

/// The header that a frame's packet carries (RECEIVE.md, section 7).
fn delivered(sent: VnetHeader, num_buffers: u16) -> VnetHeader {
    let known = HeaderFlags::NEEDS_CSUM | HeaderFlags::DATA_VALID;
    VnetHeader { flags: sent.flags & known, hdr_len: 0, num_buffers, ..sent }
}

/// A queue of this library, and a host.
pub struct Rig {
    rx: RxQueue,
    host: Host,
    frames: Frames,
    packets: Vec<Packet>,
}

impl Rig {
    /// A rig whose frames have `size` bytes; `None` where the mode cannot carry them.
    #[allow(dead_code, reason = "each program uses what it needs")]
    pub fn new(config: RxConfig, size: usize) -> Option<Self> {
        Self::with_frames(config, Frames::of_size(size, config.features))
    }

    /// A rig that sends these frames; `None` where the mode cannot carry them all.
    pub fn with_frames(config: RxConfig, frames: Frames) -> Option<Self> {
        if config.mode() == Mode::Small && frames.longest() > MAX_PACKET_LEN {
            return None;
        }
        let arena = PageArena::new(2 * config.pages_per_ring()).expect("memory");
        let mut rx = RxQueue::new(config, &arena).expect("a queue");
        rx.refill().expect("buffers");
        let host = Host::new(arena.memory(), rx.layout(), config.features).expect("a host");
        Some(Self { rx, host, frames, packets: Vec::with_capacity(1024) })
    }

    /// How many frames there are before the first comes again.
    #[allow(dead_code, reason = "each program uses what it needs")]
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Receives at most `budget` packets, and says how many came.
    #[allow(dead_code, reason = "each program uses what it needs")]
    pub fn poll(&mut self, budget: usize) -> usize {
        self.rx.poll(budget, &mut self.packets).expect("an honest host").delivered
    }

    /// Lets go of the packets and does not refill.
    #[allow(dead_code, reason = "each program uses what it needs")]
    pub fn drop_packets(&mut self) {
        self.packets.clear();
    }

    /// Refills, and says how many buffers were posted.
    #[allow(dead_code, reason = "each program uses what it needs")]
    pub fn refill(&mut self) -> usize {
        self.rx.refill().expect("an honest host")
    }

    /// The queue under measurement.
    #[allow(dead_code, reason = "each program uses what it needs")]
    pub fn queue(&self) -> &RxQueue {
        &self.rx
    }

    /// The queue's counters.
    pub fn stats(&self) -> Stats {
        self.rx.stats()
    }
}

impl Driver for Rig {
    fn send(&mut self, most: usize) -> usize {
        self.frames.send(&mut self.host, most)
    }

    #[inline(never)]
    fn timed_receive(&mut self) {
        self.rx.poll(BATCH, &mut self.packets).expect("an honest host");
    }

    fn compare(&mut self) {
        for packet in &self.packets {
            compare_packet(&mut self.frames, packet);
        }
    }

    #[inline(never)]
    fn timed_release(&mut self) {
        self.rx.release(&mut self.packets);
        self.rx.refill().expect("an honest host");
    }

    fn check(&mut self) {
        assert_eq!(self.send(1), 1);
        assert_eq!(self.poll(1), 1);
        let packet = self.packets.pop().expect("a packet");
        self.frames.compare_whole(packet.to_vec());
        drop(packet);
        self.rx.refill().expect("an honest host");
        let stats = self.stats();
        assert_eq!(stats.rx_packets, self.frames.received());
        assert!(stats.faults.iter().all(|(_, n)| n == 0));
    }
}
