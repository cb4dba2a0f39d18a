//! What header a device would have put before a frame of which only the bytes are known.

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};

use crate::virtio::{GsoType, HeaderFlags, VnetHeader};

/// Ethernet header and payload of the usual MTU.
const WIRE_FRAME: usize = 14 + MTU;
const MTU: usize = 1500;
const VLAN_TAG: usize = 4;

/// Derives a virtio-net header from an Ethernet frame.
///
/// A frame that a wire of the usual MTU could have carried needs none. A longer TCP frame, not an IP
/// fragment, must have been put together by segmentation or receive offload and becomes a
/// super-packet; so does a longer UDP one. VLAN tags and IPv6 extension headers are seen through.
/// Any bytes are fine.
pub fn derive_header(frame: &[u8]) -> VnetHeader {
    if frame.len() <= WIRE_FRAME {
        return VnetHeader::default();
    }
    segmentation(frame).unwrap_or_default()
}

/// Segmentation metadata, if the frame is one that has any.
fn segmentation(frame: &[u8]) -> Option<VnetHeader> {
    let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
    let tags = packet.vlan_ids().len();
    if frame.len() <= WIRE_FRAME + tags * VLAN_TAG {
        return None;
    }
    let (v6, payload) = match packet.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => (false, ip.payload()),
        LaxNetSlice::Ipv6(ip) => (true, ip.payload()),
        LaxNetSlice::Arp(_) => return None,
    };
    if payload.fragmented {
        return None;
    }
    // The payload is a part of the frame, so its place in it is a subtraction.
    let start = (payload.payload.as_ptr() as usize).checked_sub(frame.as_ptr() as usize)?;
    let ip_header_len = start.checked_sub(14 + tags * VLAN_TAG)?;
    let (gso_type, header_len, csum_offset) = match packet.transport.as_ref()? {
        TransportSlice::Tcp(tcp) => {
            let kind = if v6 { GsoType::TCPV6 } else { GsoType::TCPV4 };
            let ecn = if tcp.cwr() { GsoType::ECN } else { 0 };
            (kind | ecn, tcp.header_slice().len(), 16)
        }
        TransportSlice::Udp(_) => (GsoType::UDP_L4, 8, 6),
        _ => return None,
    };
    Some(VnetHeader {
        flags: HeaderFlags::NEEDS_CSUM,
        gso_type,
        hdr_len: u16::try_from(start + header_len).ok()?,
        gso_size: u16::try_from(MTU.checked_sub(ip_header_len + header_len)?).ok()?,
        csum_start: u16::try_from(start).ok()?,
        csum_offset,
        num_buffers: 0,
    })
}
