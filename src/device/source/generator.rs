//! Frames made to order, the same for the same seed.

use super::Frame;
use crate::virtio::{Features, GsoType, HeaderFlags, VnetHeader};

/// The lengths of generated frames, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// All the same.
    Fixed(usize),
    /// Any from the first to the second, both included.
    Uniform(usize, usize),
    /// These, in turn.
    Cycle(Vec<usize>),
}

/// An endless source of frames: TCP over IPv4 in outline (the Ethernet, IP and TCP fields that
/// metadata refers to are right, the rest is pseudo-random), with the segmentation metadata that the
/// negotiated features allow.
#[derive(Clone, Debug)]
pub struct Generator {
    sizes: Sizes,
    features: Features,
    state: u64,
    made: usize,
}

/// Ethernet, IPv4 and TCP headers without options.
const HEADERS: usize = 14 + 20 + 20;
/// TCP payload of a full Ethernet frame.
const MSS: u16 = 1460;

impl Generator {
    /// A source of frames of these sizes, for a driver that negotiated `features`.
    pub fn new(sizes: Sizes, features: Features, seed: u64) -> Self {
        Self { sizes, features, state: seed, made: 0 }
    }

    /// SplitMix64: small, and good enough to tell bytes apart.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn next_size(&mut self) -> usize {
        let made = self.made;
        match self.sizes {
            Sizes::Fixed(size) => size,
            Sizes::Uniform(low, high) => {
                let span = high.saturating_sub(low) as u64 + 1;
                low + (self.random() % span) as usize
            }
            Sizes::Cycle(ref sizes) => sizes.get(made % sizes.len().max(1)).copied().unwrap_or(0),
        }
    }

    /// Metadata for a frame of `len` bytes: none for one that a wire could carry, else that of a
    /// TCP super-packet, if it was negotiated.
    fn header(&self, len: usize) -> VnetHeader {
        let tso = Features::GUEST_CSUM | Features::GUEST_TSO4;
        if len <= HEADERS + usize::from(MSS) || !self.features.contains(tso) {
            return VnetHeader::default();
        }
        VnetHeader {
            flags: HeaderFlags::NEEDS_CSUM,
            gso_type: GsoType::TCPV4,
            hdr_len: HEADERS as u16,
            gso_size: MSS,
            csum_start: 14 + 20,
            csum_offset: 16,
            num_buffers: 0,
        }
    }

    /// The next frame.
    pub fn frame(&mut self) -> Frame {
        let len = self.next_size();
        self.made += 1;
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.random().to_le_bytes());
        }
        bytes.truncate(len);
        // Locally administered addresses, IPv4, no IP options, TCP, no TCP options.
        let fields: [(usize, &[u8]); 6] = [
            (0, &[0x02, 0, 0, 0, 0, 1]),
            (6, &[0x02, 0, 0, 0, 0, 2]),
            (12, &[0x08, 0x00, 0x45]),
            (16, &(len.saturating_sub(14) as u16).to_be_bytes()),
            (23, &[6]),
            (46, &[0x50]),
        ];
        for (at, value) in fields {
            if let Some(field) = bytes.get_mut(at..at + value.len()) {
                field.copy_from_slice(value);
            }
        }
        Frame { header: self.header(len), bytes }
    }
}

impl Iterator for Generator {
    type Item = Frame;
    fn next(&mut self) -> Option<Frame> {
        Some(self.frame())
    }
}
