//! Checksums that were left incomplete, against those that etherparse builds.

use etherparse::PacketBuilder;
use proptest::prelude::*;
use vnet_rx::device::source::complete_checksum;
use vnet_rx::virtio::{GsoType, HeaderFlags, VnetHeader};

/// A frame with all checksums right, and where its transport header starts.
fn whole(v6: bool, udp: bool, payload: &[u8]) -> (Vec<u8>, usize) {
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let ip = if v6 { link.ipv6([1; 16], [2; 16], 64) } else { link.ipv4([10; 4], [11; 4], 64) };
    let mut bytes = Vec::new();
    if udp {
        ip.udp(7, 8).write(&mut bytes, payload).unwrap();
    } else {
        ip.tcp(7, 8, 9, 10).write(&mut bytes, payload).unwrap();
    }
    (bytes, if v6 { 54 } else { 34 })
}

/// The sum of the pseudo header, not complemented: what a stack leaves in the field.
fn pseudo_sum(frame: &[u8], v6: bool, udp: bool, start: usize) -> u16 {
    let addresses = if v6 { &frame[22..54] } else { &frame[26..34] };
    let words = addresses.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let mut sum = words.sum::<u32>() + if udp { 17 } else { 6 } + (frame.len() - start) as u32;
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

proptest! {
    #[test]
    fn completing_gives_the_frame_that_needs_no_completing(
        v6: bool, udp: bool, payload in prop::collection::vec(any::<u8>(), 0..3000),
    ) {
        let (right, start) = whole(v6, udp, &payload);
        let offset = if udp { 6 } else { 16 };
        let header = VnetHeader {
            flags: HeaderFlags::NEEDS_CSUM,
            gso_type: GsoType::TCPV4,
            gso_size: 1448,
            csum_start: start as u16,
            csum_offset: offset as u16,
            ..VnetHeader::default()
        };
        let mut frame = right.clone();
        let at = start + offset;
        frame[at..at + 2].copy_from_slice(&pseudo_sum(&right, v6, udp, start).to_be_bytes());
        let now = complete_checksum(header, &mut frame);
        prop_assert_eq!(&frame, &right);
        let plain = VnetHeader { flags: HeaderFlags::DATA_VALID, ..VnetHeader::default() };
        prop_assert_eq!(now, plain);
        prop_assert_eq!(complete_checksum(now, &mut frame), plain);
        prop_assert_eq!(frame, right, "completing twice is completing once");
    }

    #[test]
    fn any_header_will_do(
        flags: u8, csum_start in 0u16..200, csum_offset in 0u16..200,
        mut frame in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let header = VnetHeader { flags, csum_start, csum_offset, ..VnetHeader::default() };
        let (before, at) = (frame.clone(), usize::from(csum_start + csum_offset));
        let now = complete_checksum(header, &mut frame);
        let inside = flags & HeaderFlags::NEEDS_CSUM != 0 && at + 2 <= frame.len();
        prop_assert_eq!(now == header, !inside);
        for (i, (old, new)) in before.iter().zip(&frame).enumerate() {
            prop_assert!(old == new || inside && (at..at + 2).contains(&i));
        }
    }
}

#[test]
fn a_udp_checksum_of_0_is_sent_as_ffff() {
    // The payload is chosen so that the sum of everything is ffff.
    let (mut frame, start) = whole(false, true, &[0, 0]);
    let sum = pseudo_sum(&frame, false, true, start);
    let header = VnetHeader { flags: 1, csum_start: 34, csum_offset: 6, ..VnetHeader::default() };
    let rest: u32 = [7, 8, 10, u32::from(sum)].iter().sum();
    frame[40..42].copy_from_slice(&sum.to_be_bytes());
    frame[42..44].copy_from_slice(&((0xffff - rest) as u16).to_be_bytes());
    complete_checksum(header, &mut frame);
    assert_eq!(frame[40..42], [0xff, 0xff]);
}
