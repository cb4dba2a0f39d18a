//! Headers derived from plain frames.

use etherparse::{PacketBuilder, TcpOptionElement};
use proptest::prelude::*;
use vnet_rx::device::source::derive_header;
use vnet_rx::virtio::VnetHeader;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn header(gso_type: u8, start: u16, transport: u16, gso_size: u16, csum_offset: u16) -> VnetHeader {
    VnetHeader {
        flags: 1,
        gso_type,
        hdr_len: start + transport,
        gso_size,
        csum_start: start,
        csum_offset,
        num_buffers: 0,
    }
}

/// TCP over IPv4 or IPv6 with 12 bytes of options, as Linux sends it.
fn tcp(v6: bool, vlan: bool, payload: usize) -> Vec<u8> {
    let link = PacketBuilder::ethernet2(MAC, MAC);
    let options = [TcpOptionElement::Timestamp(1, 2), TcpOptionElement::Noop];
    macro_rules! build {
        ($link:expr) => {{
            let ip =
                if v6 { $link.ipv6([1; 16], [2; 16], 64) } else { $link.ipv4([1; 4], [2; 4], 64) };
            let packet = ip.tcp(80, 81, 0, 0).options(&options).unwrap();
            let mut bytes = Vec::new();
            packet.write(&mut bytes, &vec![0; payload]).unwrap();
            bytes
        }};
    }
    if vlan { build!(link.single_vlan(42.try_into().unwrap())) } else { build!(link) }
}

#[test]
fn a_long_tcp_frame_is_a_super_packet() {
    assert_eq!(derive_header(&tcp(false, false, 30_000)), header(1, 34, 32, 1448, 16));
    assert_eq!(derive_header(&tcp(true, false, 30_000)), header(4, 54, 32, 1428, 16));
    assert_eq!(derive_header(&tcp(false, true, 30_000)), header(1, 38, 32, 1448, 16));
    assert_eq!(derive_header(&tcp(true, true, 30_000)), header(4, 58, 32, 1428, 16));
}

#[test]
fn a_frame_that_a_wire_could_carry_is_not() {
    for vlan in [false, true] {
        let overhead = tcp(false, vlan, 0).len();
        let most = 1514 + if vlan { 4 } else { 0 } - overhead;
        assert_eq!(derive_header(&tcp(false, vlan, most)), VnetHeader::default());
        assert_ne!(derive_header(&tcp(false, vlan, most + 1)), VnetHeader::default());
    }
}

#[test]
fn congestion_notification_is_seen() {
    let mut frame = tcp(false, false, 3000);
    frame[34 + 13] |= 0x80; // CWR
    assert_eq!(derive_header(&frame).gso_type, 0x81);
}

#[test]
fn a_long_udp_frame_is_a_train_of_datagrams() {
    let mut frame = Vec::new();
    let packet = PacketBuilder::ethernet2(MAC, MAC).ipv4([1; 4], [2; 4], 64).udp(7, 7);
    packet.write(&mut frame, &[0; 3000]).unwrap();
    assert_eq!(derive_header(&frame), header(5, 34, 8, 1472, 6));
    // The same as an IP fragment has no header to segment by.
    frame[20] |= 0x20;
    assert_eq!(derive_header(&frame), VnetHeader::default());
}

proptest! {
    #[test]
    fn any_bytes_are_fine(mut bytes in prop::collection::vec(any::<u8>(), 0..100), len in 0..3000usize) {
        bytes.resize(bytes.len().max(len), 0);
        let header = derive_header(&bytes);
        if header.flags != 0 {
            prop_assert!(usize::from(header.csum_start + header.csum_offset) + 2 <= bytes.len());
            prop_assert!(header.gso_size > 0);
        }
    }
}
