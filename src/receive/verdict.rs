//! What becomes of a completion: rules R1 to R9 and the metadata checks of section 7, as pure
//! functions of used lengths, one private copy of the header, and what was negotiated.
//!
//! Judging comes in two steps, because the ids of a packet's later buffers are read and checked
//! only once all of them have completed:
//!
//! ```text
//!   len of the first buffer ─┐
//!   private header copy     ─┼─► Rules::count ─► Complete(n) | Wait(n) | Drop | Break
//!   completed, outstanding  ─┘        │ all n ids claimed
//!                                     ▼
//!                          Rules::judge(header, n lengths) ─► Deliver | Drop
//! ```

use super::config::{GOOD_COPY_LEN, MAX_PACKET_LEN, RxConfig};
use super::fault::DeviceFault;
use crate::memory::PAGE_SIZE;
use crate::virtio::{
    Dialect, Features, GsoType, HEADER_LEN_LEGACY, HeaderBytes, HeaderFlags, Mode, VnetHeader,
};

/// Bytes of an Ethernet header: the shortest packet there can be.
const ETH_HLEN: u32 = 14;

/// How many buffers the next packet takes, as far as its first one tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// So many, and all have completed.
    Complete(u16),
    /// So many, and not all have completed (R7).
    Wait(u16),
    /// The packet is bad and takes this one buffer.
    Drop(DeviceFault),
    /// The ring cannot be trusted (R8).
    Break(DeviceFault),
}

/// What a packet that passed every rule amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Packet bytes, without the virtio-net header.
    pub len: usize,
    /// Buffers that are not full though not the last.
    pub partial: u64,
}

/// The used lengths of a packet, as far as the rules look at them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    first: u32,
    total: u64,
    /// One is more than its buffer has room for.
    overrun: bool,
    /// A later one is 0.
    empty: bool,
    /// Buffers that are not full though not the last.
    partial: u64,
    last: u32,
}

impl Lengths {
    /// Those of a packet in one buffer, or of the first of several.
    #[inline(always)]
    pub(crate) fn first(len: u32, rules: &Rules) -> Self {
        let overrun = len > rules.room;
        Self { first: len, total: len.into(), overrun, empty: false, partial: 0, last: len }
    }

    /// That of the next buffer.
    #[inline(always)]
    pub(crate) fn later(&mut self, len: u32, rules: &Rules) {
        self.total += u64::from(len);
        self.overrun |= len > rules.room;
        self.empty |= len == 0;
        self.partial += u64::from(self.last < rules.room);
        self.last = len;
    }
}

/// The rules under one configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    features: Features,
    /// h, bytes of the virtio-net header.
    pub header_len: u32,
    /// The least that a packet can have: h and an Ethernet header.
    shortest: u32,
    /// The most that a device may say it wrote into one buffer.
    room: u32,
    /// `room` less `shortest`.
    spread: u32,
    max_frags: u16,
}

impl Rules {
    pub(crate) fn new(config: &RxConfig) -> Self {
        let header_len = config.features.header_len() as u32;
        let page = PAGE_SIZE as u32;
        let room = match config.mode() {
            Mode::Small => header_len + MAX_PACKET_LEN as u32,
            Mode::Mergeable => page,
            Mode::Big => u32::from(config.max_frags) * page - padding(config),
        };
        Self {
            features: config.features,
            header_len,
            shortest: header_len + ETH_HLEN,
            room,
            spread: room - (header_len + ETH_HLEN),
            max_frags: config.max_frags,
        }
    }

    /// Step one: how many buffers. The header must have been written, which a first buffer of less
    /// than h bytes does not hold: then one buffer is dropped without asking (R1).
    ///
    /// `completed` and `outstanding` both include the first buffer.
    #[inline]
    pub(crate) fn count(
        &self,
        mergeable: bool,
        header: HeaderBytes,
        completed: u16,
        outstanding: u16,
    ) -> Count {
        if !mergeable {
            return Count::Complete(1); // R9
        }
        match header.num_buffers() {
            1 => Count::Complete(1), // there is one, or nobody would ask
            0 => Count::Drop(DeviceFault::ZeroBuffers), // R4
            n if n > outstanding => Count::Break(DeviceFault::BufferCount), // R8
            n if n > completed => Count::Wait(n), // R7
            n => Count::Complete(n),
        }
    }

    /// Whether `len` bytes are enough, and not too much, for a packet in one buffer (R1, R2, R3). Then
    /// the header is among them.
    #[inline(always)]
    pub(crate) fn fits_one(&self, len: u32) -> bool {
        len.wrapping_sub(self.shortest) <= self.spread
    }

    /// Step two: all used lengths of the packet, which takes so many `buffers`, are known.
    ///
    /// R1, R2, R3, R5, R6 and section 7, in this order, each over the whole packet; the first that
    /// fails names the fault.
    #[inline]
    pub(crate) fn judge(
        &self,
        header: HeaderBytes,
        buffers: usize,
        lens: &Lengths,
    ) -> Result<Accepted, DeviceFault> {
        let h = self.header_len;
        if lens.total < self.shortest.into() || lens.first < h {
            return Err(DeviceFault::ShortPacket); // R1, with h the header's true length (L3)
        }
        if lens.overrun {
            return Err(DeviceFault::LengthOverrun); // R2, R3
        }
        if buffers > 1 {
            let first_frag = usize::from(lens.first - h > GOOD_COPY_LEN as u32);
            if buffers - 1 + first_frag > usize::from(self.max_frags) {
                return Err(DeviceFault::TooManyFrags); // R5; one buffer is one frag at most
            }
            if lens.empty {
                return Err(DeviceFault::EmptyBuffer); // R6
            }
        }
        // No more than max_frags + 1 pages by now, so it fits.
        let len = (lens.total - u64::from(h)) as u32;
        self.metadata(header, len)?;
        Ok(Accepted { len: len as usize, partial: lens.partial })
    }

    /// Section 7: checksum and segmentation metadata, against the length and what was negotiated.
    #[inline(always)]
    pub(crate) fn metadata(&self, header: HeaderBytes, len: u32) -> Result<(), DeviceFault> {
        if header.is_plain() { Ok(()) } else { self.offloads(&header.decode(), len) }
    }

    #[inline(never)]
    fn offloads(&self, header: &VnetHeader, len: u32) -> Result<(), DeviceFault> {
        let needs_csum = header.flags & HeaderFlags::NEEDS_CSUM != 0;
        if needs_csum {
            if !self.features.contains(Features::GUEST_CSUM) {
                return Err(DeviceFault::NotNegotiated); // step 1
            }
            // In u32, so that it cannot wrap; against the whole packet (L15).
            if u32::from(header.csum_start) + u32::from(header.csum_offset) + 2 > len {
                return Err(DeviceFault::BadChecksum); // step 1
            }
        }
        if header.gso_type == GsoType::NONE {
            return Ok(());
        }
        let needed = match header.gso_type & !GsoType::ECN {
            GsoType::TCPV4 => Features::GUEST_TSO4,
            GsoType::TCPV6 => Features::GUEST_TSO6,
            GsoType::UDP => Features::GUEST_UFO,
            GsoType::UDP_L4 => Features::GUEST_USO4 | Features::GUEST_USO6,
            _ => return Err(DeviceFault::BadGso), // step 2, bare ECN included
        };
        let ecn = header.gso_type & GsoType::ECN != 0;
        if !self.features.intersects(needed)
            || (ecn && !self.features.contains(Features::GUEST_ECN))
        {
            return Err(DeviceFault::NotNegotiated); // step 3
        }
        if !needs_csum || header.gso_size == 0 {
            return Err(DeviceFault::BadGso); // step 4
        }
        Ok(())
    }
}

/// Bytes between a big buffer's header and its data that no packet uses.
fn padding(config: &RxConfig) -> u32 {
    (data_offset(config.dialect()) - config.features.header_len()) as u32
}

/// Where the data of a small or big buffer starts in its first page: behind the header, in the
/// legacy dialect padded to 16 so that the data is aligned.
pub(crate) fn data_offset(dialect: Dialect) -> usize {
    match dialect {
        Dialect::Legacy => HEADER_LEN_LEGACY + 6,
        Dialect::Modern => crate::virtio::HEADER_LEN_MERGEABLE,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::receive::Strategy as Of;

    proptest! {
        /// What a run takes for an ordinary packet is what both steps let pass.
        #[test]
        fn a_packet_in_one_buffer_is_judged_the_same_in_short(
            mode in prop::sample::select(&Mode::ALL[..]),
            dialect in prop::sample::select(vec![Dialect::Legacy, Dialect::Modern]),
            len in prop_oneof![0u32..5000, 60_000u32..80_000, Just(u32::MAX)],
            header in prop_oneof![
                Just(VnetHeader::default()),
                (any::<u8>(), any::<u8>(), any::<u16>(), 0u16..2000, 0u16..100).prop_map(
                    |(flags, gso_type, gso_size, csum_start, csum_offset)| VnetHeader {
                        flags, gso_type, gso_size, csum_start, csum_offset, ..VnetHeader::default()
                    }
                ),
            ],
        ) {
            let rules = Rules::new(&RxConfig::new(mode, Of::Deferred, dialect));
            let header = HeaderBytes::from(VnetHeader { num_buffers: 1, ..header });
            let in_short = rules.fits_one(len)
                && rules.metadata(header, len - rules.header_len).is_ok();
            let judged = rules.judge(header, 1, &Lengths::first(len, &rules));
            let mergeable = mode == Mode::Mergeable;
            prop_assert_eq!(rules.count(mergeable, header, 1, 1), Count::Complete(1));
            prop_assert_eq!(in_short, judged.is_ok(), "{:?}", judged);
        }
    }
}
