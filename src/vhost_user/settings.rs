//! What is asked for, and what becomes of it when a device offers something else.

use std::time::Duration;

use super::error::VhostUserError;
use super::transmit::TX_RING_SIZE;
use crate::receive::{ConfigError, IncompleteLimit, MAX_SKB_FRAGS, RxConfig, Strategy};
use crate::virtio::{Dialect, Features, Mode};

/// What to ask a vhost-user device for.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The buffer mode; `None` takes the best that the device offers, mergeable over big over small.
    pub mode: Option<Mode>,
    /// When skbs are allocated.
    pub strategy: Strategy,
    /// Descriptors of the receive ring, a power of two.
    pub ring_size: u32,
    /// The most frags of an skb.
    pub max_frags: u16,
    /// The features to accept if they are offered; `VERSION_1` is always among them.
    pub accept: Features,
    /// How long a packet may stay incomplete.
    pub incomplete: Duration,
    /// Pages of the arena; `None` for four full rings and a full transmit ring.
    pub pages: Option<usize>,
    /// The most time that connecting with the handshake, and stopping, may take.
    pub timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: None,
            strategy: Strategy::Deferred,
            ring_size: 256,
            max_frags: MAX_SKB_FRAGS,
            accept: Self::KNOWN,
            incomplete: Duration::from_secs(1),
            pages: None,
            timeout: Duration::from_secs(5),
        }
    }
}

impl Settings {
    /// The features that the receive path can make use of.
    pub const KNOWN: Features = Features::from_bits(
        Features::GUEST_CSUM.bits()
            | Features::LARGE.bits()
            | Features::MRG_RXBUF.bits()
            | Features::EVENT_IDX.bits()
            | Features::VERSION_1.bits(),
    );

    /// The features to negotiate with a device that offers `offered`: the known ones that it offers
    /// and that are accepted, each only with what it requires (5.1.3.1), and none that would lead to
    /// another buffer mode than the one asked for.
    ///
    /// # Errors
    /// [`VhostUserError::Lacks`] without `VERSION_1`, [`VhostUserError::Mode`] when the mode asked
    /// for is not among what the device offers.
    pub fn negotiate(&self, offered: Features) -> Result<Features, VhostUserError> {
        if !offered.contains(Features::VERSION_1) {
            return Err(VhostUserError::Lacks("VERSION_1"));
        }
        let common = (offered & Self::KNOWN & (self.accept | Features::VERSION_1)).closed();
        let features = match self.mode {
            None | Some(Mode::Mergeable) => common,
            Some(Mode::Big) => common.without(Features::MRG_RXBUF),
            Some(Mode::Small) => common.without(Features::MRG_RXBUF | Features::LARGE),
        };
        match self.mode {
            Some(mode) if features.mode() != mode => Err(VhostUserError::Mode {
                mode,
                needs: match mode {
                    Mode::Mergeable => "MRG_RXBUF",
                    _ => "GUEST_CSUM with GUEST_TSO4, GUEST_TSO6, GUEST_UFO or a GUEST_USO",
                },
                offered: common.names().collect::<Vec<_>>().join(" "),
            }),
            _ => Ok(features),
        }
    }

    /// Whether any device could be served with these settings, so that nobody is bothered in vain.
    ///
    /// # Errors
    /// [`ConfigError`] naming the value and what would be possible.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mode = self.mode.unwrap_or(Mode::Small);
        let config = self.config(Features::default_for(mode, Dialect::Modern));
        config.validate(self.arena_pages(&config))
    }

    /// The receive queue that goes with the negotiated features.
    pub(super) fn config(&self, features: Features) -> RxConfig {
        RxConfig {
            ring_size: self.ring_size,
            max_frags: self.max_frags,
            incomplete: IncompleteLimit::Time(self.incomplete),
            ..RxConfig::with_features(features, self.strategy)
        }
    }

    /// Pages of the arena for that queue.
    pub(super) fn arena_pages(&self, config: &RxConfig) -> usize {
        self.pages.unwrap_or_else(|| 4 * config.pages_per_ring() + TX_RING_SIZE as usize)
    }
}
