//! Honest frames through every configuration: what goes in comes out.

use vnet_rx::device::source::{Frame, Generator, Sizes};
use vnet_rx::device::{Host, Offer};
use vnet_rx::receive::{RxConfig, Strategy};
use vnet_rx::virtio::{Mode, VnetHeader};

use crate::rig::{Rig, every_config};

/// Sizes around every edge: copybreak, linear part, first page, further pages, the longest frame.
const EDGES: [usize; 24] = [
    14, 60, 127, 128, 129, 256, 1514, 1517, 1518, 1519, 4079, 4080, 4081, 4084, 4085, 4096, 4097,
    8180, 9000, 16384, 65535, 65536, 65562, 65589,
];

fn host_of(rig: &Rig) -> Host {
    let features = rig.config().features;
    Host::new(rig.arena.memory(), rig.queue.layout(), features).unwrap()
}

fn expected(frame: &Frame, buffers: u16) -> VnetHeader {
    VnetHeader { hdr_len: 0, num_buffers: buffers, ..frame.header }
}

#[test]
fn every_size_arrives_in_every_configuration() {
    for config in every_config() {
        let mut rig = Rig::new(config);
        let mut host = host_of(&rig);
        let mut source = Generator::new(Sizes::Cycle(EDGES.to_vec()), config.features, 1);
        for _ in 0..3 * EDGES.len() {
            let frame = source.frame();
            let offer = host.offer(&frame).unwrap();
            let fits = config.mode() != Mode::Small || frame.bytes.len() <= 1518;
            let Offer::Delivered(buffers) = offer else {
                assert!(!fits, "{config:?}: {offer:?} for {} bytes", frame.bytes.len());
                continue;
            };
            assert!(fits);
            assert_eq!(rig.poll(8).delivered, 1, "{config:?} {}", frame.bytes.len());
            let packet = rig.packets.pop().unwrap();
            assert_eq!(packet.to_vec(), frame.bytes, "{config:?}");
            assert_eq!(packet.header(), expected(&frame, buffers));
            assert_eq!(packet.len(), frame.bytes.len());
            let private = config.mode() == Mode::Mergeable
                || (config.mode() == Mode::Big && config.strategy == Strategy::Deferred);
            let head = if private { 128 } else { 1518 };
            assert_eq!(packet.head_len(), frame.bytes.len().min(head));
            assert_eq!(packet.truesize(), head + 4096 * packet.frags().len());
            drop(packet);
            rig.check();
        }
        rig.queue.close();
        assert_eq!(rig.arena.free(), rig.arena.len(), "{config:?}");
    }
}

#[test]
fn a_full_ring_of_packets_outlives_the_queue() {
    for config in every_config() {
        let mut rig = Rig::new(RxConfig { first_index: 65530, ..config });
        let mut host = host_of(&rig);
        let mut source = Generator::new(Sizes::Uniform(14, 1518), config.features, 2);
        let mut sent = Vec::new();
        loop {
            let frame = source.frame();
            if host.offer(&frame).unwrap() == Offer::NoBuffers(0) {
                break;
            }
            sent.push(frame);
        }
        rig.poll(10_000);
        rig.queue.close();
        assert_eq!(rig.packets.len(), sent.len());
        for (packet, frame) in rig.packets.drain(..).zip(&sent) {
            assert_eq!(packet.to_vec(), frame.bytes);
        }
        assert_eq!(rig.arena.free(), rig.arena.len());
        let stats = rig.queue.stats();
        assert_eq!(stats.skb_allocs, stats.skb_frees);
    }
}
