//! What is negotiated with a vhost-user device; the connection itself is tested from Python, against
//! scripted peers and real devices.

use proptest::prelude::*;
use vnet_rx::vhost_user::{Endpoint, Settings, VhostUser, VhostUserError};
use vnet_rx::virtio::{Features, Mode};

/// What each feature requires (virtio 1.3, 5.1.3.1).
fn requires(feature: Features) -> Option<Features> {
    match feature {
        Features::GUEST_ECN => Some(Features::GUEST_TSO4 | Features::GUEST_TSO6),
        f if Features::LARGE.contains(f) => Some(Features::GUEST_CSUM),
        _ => None,
    }
}

fn each(features: Features) -> impl Iterator<Item = Features> {
    (0..64).map(|bit| Features::from_bits(1 << bit)).filter(move |&f| features.contains(f))
}

proptest! {
    #[test]
    fn what_is_negotiated_was_offered_accepted_and_may_be_had_together(
        offered: u64, accept: u64, mode in prop::option::of(0usize..3),
    ) {
        let (offered, accept) = (Features::from_bits(offered), Features::from_bits(accept));
        let mode = mode.map(|k| Mode::ALL[k]);
        let settings = Settings { mode, accept, ..Settings::default() };
        match settings.negotiate(offered) {
            Ok(features) => {
                prop_assert!(offered.contains(features));
                prop_assert!(Settings::KNOWN.contains(features));
                prop_assert!((accept | Features::VERSION_1).contains(features));
                prop_assert!(features.contains(Features::VERSION_1));
                for feature in each(features) {
                    if let Some(needed) = requires(feature) {
                        prop_assert!(features.intersects(needed), "{features:?}");
                    }
                }
                if let Some(mode) = mode {
                    prop_assert_eq!(features.mode(), mode);
                }
            }
            Err(VhostUserError::Lacks(_)) => {
                prop_assert!(!offered.contains(Features::VERSION_1));
            }
            Err(VhostUserError::Mode { .. }) => {
                let common = (offered & Settings::KNOWN & accept).closed();
                let served = match mode {
                    Some(Mode::Mergeable) => common.contains(Features::MRG_RXBUF),
                    Some(Mode::Big) => common.intersects(Features::LARGE),
                    _ => true,
                };
                prop_assert!(!served);
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn closing_takes_as_little_as_it_must(bits: u64) {
        let set = Features::from_bits(bits);
        let closed = set.closed();
        prop_assert!(set.contains(closed));
        prop_assert_eq!(closed.closed(), closed);
        for feature in each(set.without(closed)) {
            let needed = requires(feature);
            prop_assert!(needed.is_some_and(|needed| !closed.intersects(needed)), "{feature:?}");
        }
    }
}

#[test]
fn nobody_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("none");
    let error = VhostUser::open(Endpoint::connect(&path), Settings::default()).err();
    assert!(error.as_ref().is_some_and(VhostUserError::is_absent), "{error:?}");
    assert!(error.is_some_and(|error| error.to_string().contains("start the device first")));
}
