//! The counters of RECEIVE.md, section 10.

use super::fault::{DeviceFault, FaultCounts};

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a receive queue has done so far, the same in all modes and strategies (RECEIVE.md,
        /// section 10).
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
            /// How often each fault was met.
            pub faults: FaultCounts,
        }

        impl Stats {
            /// Every counter but the faults, by name.
            pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

stats! {
    /// Packets delivered.
    rx_packets,
    /// Bytes of delivered packets, without the virtio-net header.
    rx_bytes,
    /// Packets dropped for their length or buffer count (R1 to R6).
    rx_length_errors,
    /// Packets dropped for their metadata (section 7).
    rx_frame_errors,
    /// Packets dropped because no skb could be had (R10).
    rx_dropped,
    /// Skbs allocated.
    skb_allocs,
    /// Skbs freed, those of released packets included.
    skb_frees,
    /// Pages that the arena handed out.
    page_allocs,
    /// Pages put back into the arena.
    page_frees,
    /// Pages taken from a pool that had one.
    pool_gets,
    /// Pages given to the pool.
    pool_gives,
    /// Packet bytes copied into private heads.
    bytes_copied,
    /// Buffers posted.
    buffers_posted,
    /// Notifications sent to the device.
    kicks,
    /// Polls, those excepted that were refused.
    polls,
}

impl Stats {
    /// A packet was dropped for what the device did.
    #[cold]
    #[inline(never)]
    pub(super) fn discarded(&mut self, fault: DeviceFault) {
        self.faults.add(fault, 1);
        if fault.is_frame_error() {
            self.rx_frame_errors += 1;
        } else {
            self.rx_length_errors += 1;
        }
    }
}
