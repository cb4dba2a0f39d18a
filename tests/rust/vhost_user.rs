//! What is negotiated with a vhost-user device, and a device that comes and goes. Everything that a
//! peer can get wrong, and real devices, are tested from Python.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;
use std::time::Duration;

use proptest::prelude::*;
use vnet_rx::device::source::Frame;
use vnet_rx::device::{Host, Offer};
use vnet_rx::receive::{DeviceFault, RxError};
use vnet_rx::vhost_user::{Endpoint, SendError, Settings, VhostUser, VhostUserError};
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

/// Answers every message of one connection, and says which came; keeps nothing of them. Packets are
/// delivered by a [`Host`] on the same memory.
fn peer(listener: &UnixListener) -> JoinHandle<Vec<u32>> {
    let listener = listener.try_clone().expect("a descriptor");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a driver");
        let mut requests = Vec::new();
        while let Some(request) = answer(&mut stream) {
            requests.push(request);
        }
        requests
    })
}

fn answer(stream: &mut UnixStream) -> Option<u32> {
    let mut header = [0; 12];
    stream.read_exact(&mut header).ok()?;
    let word = |k: usize| u32::from_le_bytes(header[4 * k..][..4].try_into().expect("four bytes"));
    let (request, flags, size) = (word(0), word(1), word(2));
    stream.read_exact(&mut vec![0; size as usize]).ok()?;
    let value: u64 = match request {
        1 => {
            Features::default_for(Mode::Mergeable, vnet_rx::virtio::Dialect::Modern).bits()
                | 1 << 30
        }
        15 => 1 << 3, // REPLY_ACK
        _ => 0,
    };
    if matches!(request, 1 | 11 | 15) || flags & 8 != 0 {
        let mut reply = [request, 5, 8].map(u32::to_le_bytes).concat();
        reply.extend(value.to_le_bytes());
        stream.write_all(&reply).ok()?;
    }
    Some(request)
}

#[test]
fn f36_a_device_that_goes_and_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).expect("a socket");
    let settings = Settings { ring_size: 64, ..Settings::default() };
    let frame = Frame { bytes: vec![7; 5000], ..Frame::default() };
    let patience = Duration::from_secs(20);
    let mut packets = Vec::new();

    let mut serving = peer(&listener);
    let mut device = VhostUser::open(Endpoint::connect(&path), settings).expect("a device");
    for _ in 0..3 {
        let rx = device.rx();
        let memory = rx.arena().memory().clone();
        assert_eq!((rx.num(), device.features().mode()), (64, Mode::Mergeable));
        let mut host = Host::new(&memory, rx.layout(), device.features()).expect("a ring");
        assert_eq!(host.offer(&frame), Ok(Offer::Delivered(2)));
        assert_eq!(device.wait(patience), Ok(true));
        assert_eq!(device.poll(8, &mut packets).map(|polled| polled.delivered), Ok(1));
        assert_eq!((packets[0].len(), packets[0].header().num_buffers), (5000, 2));
        device.release(&mut packets);
        assert_eq!(device.wait(Duration::ZERO), Ok(false));
        assert_eq!(device.send(&[0; 13]), Err(SendError::Length(13)));
        assert_eq!(device.send(&[0; 60]), Ok(()));
        assert_eq!((device.tx().sent(), device.tx().outstanding()), (1, 1));
        assert_eq!(host.offer(&frame), Ok(Offer::Delivered(2)));
        device.stop().expect("it answers");
        assert!(matches!(device.stop(), Err(VhostUserError::Gone)));
        assert_eq!(device.poll(8, &mut packets).map(|polled| polled.delivered), Ok(1));
        assert_eq!(device.wait(patience), Err(RxError::Stopped));
        let requests = serving.join().expect("no panic");
        assert_eq!(requests[requests.len() - 4..], [18, 11, 18, 11], "disabled, and asked where");
        serving = peer(&listener);
        device.reconnect().expect("a device");
        assert!(!std::sync::Arc::ptr_eq(&memory, device.rx().arena().memory()));
        packets.clear();
    }
    // The last one hangs up in the middle.
    let arena = device.rx().arena().clone();
    drop(listener);
    std::fs::remove_file(&path).expect("the socket");
    drop(device);
    serving.join().expect("no panic");
    assert_eq!(arena.free(), arena.len());
}

#[test]
fn f36_a_device_that_hangs_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).expect("a socket");
    let (kill, killed) = std::sync::mpsc::channel::<()>();
    let dies = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a driver");
        // The second ring is enabled with the second message 18.
        let mut enabled = 0;
        while enabled < 2 {
            enabled += u32::from(answer(&mut stream).expect("a message") == 18);
        }
        let _ = killed.recv();
    });
    let settings = Settings { timeout: Duration::from_millis(300), ..Settings::default() };
    let mut device = VhostUser::open(Endpoint::connect(&path), settings).expect("a device");
    drop(kill);
    let broken = Err(RxError::Broken(DeviceFault::Disconnected));
    assert_eq!(device.wait(Duration::from_secs(20)), broken);
    assert_eq!(device.poll(1, &mut Vec::new()).map(|_| true), broken);
    dies.join().expect("no panic");
    assert_eq!(device.rx().stats().faults.get(DeviceFault::Disconnected), 1);
    assert!(device.reconnect().is_err_and(|error| error.is_absent()));
    let arena = device.rx().arena().clone();
    drop(device);
    assert_eq!(arena.free(), arena.len());
}
