//! The ring: what is published is whole, and no notification is lost, by flags and by EVENT_IDX.
//!
//! The indices stand just before 65535 -> 0, and wrap on the way.

use loom::thread;
use vnet_rx::memory::{GUEST_BASE, SharedMemory};
use vnet_rx::ring::Segment;
use vnet_rx::ring::split::{Chain, SplitDevice, SplitDriver};
use vnet_rx::virtio::SplitLayout;

use crate::model;

const RING_SIZES: [u32; 2] = [2, 4];
const FIRST: u16 = 65_535;
const LEN: u32 = 8;

/// Guest address of the buffer that carries `token`.
fn buffer(token: u64) -> u64 {
    GUEST_BASE + 0x4000 + 0x100 * token
}

fn ring(size: u32, event_idx: bool) -> (SplitDriver<u64>, SplitDevice) {
    let memory = SharedMemory::new(0x8000).unwrap();
    let layout = SplitLayout::at(GUEST_BASE, size);
    let driver = SplitDriver::new(&memory, layout, event_idx, FIRST).unwrap();
    let device = SplitDevice::new(&memory, layout, event_idx).unwrap();
    (driver, device)
}

fn post(driver: &mut SplitDriver<u64>, token: u64) -> bool {
    driver.add(&[Segment { addr: buffer(token), len: LEN }], token).unwrap();
    driver.publish()
}

/// The device takes the next buffer, if there is one, fills it and writes a used entry for it.
fn complete(device: &mut SplitDevice) -> bool {
    if device.available().unwrap() == 0 {
        return false;
    }
    let mut chain = Chain::default();
    device.peek(0, &mut chain).unwrap();
    device.take(1);
    let token = (chain.segments[0].addr - buffer(0)) / 0x100;
    device.write(&chain, 0, &[token as u8; LEN as usize]).unwrap();
    device.push_used(chain.head.into(), LEN);
    true
}

/// The driver takes the next completion, if there is one, and checks the bytes.
fn receive(driver: &mut SplitDriver<u64>, device_memory: &SharedMemory) -> bool {
    if driver.pending() == 0 {
        return false;
    }
    let completion = driver.claim(0).unwrap();
    let token = driver.take(completion.head).unwrap();
    let mut bytes = [0; LEN as usize];
    device_memory.read(buffer(token), &mut bytes).unwrap();
    assert_eq!(bytes, [token as u8; LEN as usize]);
    true
}

/// What the driver posts, the device reads whole.
#[test]
fn descriptors_are_whole_when_the_device_sees_them() {
    RING_SIZES.into_iter().for_each(descriptors_on_a_ring_of);
}

fn descriptors_on_a_ring_of(size: u32) {
    model(None, move || {
        let (mut driver, mut device) = ring(size, false);
        let thread = thread::spawn(move || {
            let mut seen = 0;
            for _ in 0..2 {
                seen += u64::from(complete(&mut device));
            }
            seen
        });
        post(&mut driver, 1);
        post(&mut driver, 2);
        assert!(thread.join().unwrap() <= 2);
    });
}

/// What the device completes, the driver reads whole, the bytes of the buffer included.
#[test]
fn completions_are_whole_when_the_driver_sees_them() {
    RING_SIZES.into_iter().for_each(completions_on_a_ring_of);
}

fn completions_on_a_ring_of(size: u32) {
    model(None, move || {
        let (mut driver, mut device) = ring(size, false);
        let memory = std::sync::Arc::clone(device.memory());
        post(&mut driver, 1);
        post(&mut driver, 2);
        let thread = thread::spawn(move || {
            for _ in 0..2 {
                complete(&mut device);
                device.publish();
            }
        });
        for _ in 0..2 {
            driver.refresh().unwrap();
            while receive(&mut driver, &memory) {}
        }
        thread.join().unwrap();
    });
}

/// The same through the look after arming, whose load the next pass goes by.
#[test]
fn completions_seen_after_arming_are_whole() {
    model(None, || {
        let (mut driver, mut device) = ring(2, false);
        let memory = std::sync::Arc::clone(device.memory());
        post(&mut driver, 1);
        let thread = thread::spawn(move || {
            complete(&mut device);
            device.publish();
        });
        driver.disarm();
        driver.arm();
        if driver.recheck() {
            driver.refresh().unwrap();
            assert!(receive(&mut driver, &memory));
        }
        thread.join().unwrap();
    });
}

/// The driver posts while the device goes to sleep: either the device sees the buffer, or it is
/// kicked.
fn no_kick_is_lost(event_idx: bool) {
    model(None, move || {
        let (mut driver, mut device) = ring(2, event_idx);
        // The device is awake and has asked for nothing.
        device.disarm();
        post(&mut driver, 1);
        assert!(complete(&mut device));
        let thread = thread::spawn(move || !device.arm(0).unwrap());
        let kicked = post(&mut driver, 2);
        let asleep = thread.join().unwrap();
        assert!(kicked || !asleep, "the device sleeps and was not kicked");
    });
}

#[test]
fn no_kick_is_lost_by_flags() {
    no_kick_is_lost(false);
}

#[test]
fn no_kick_is_lost_by_event_idx() {
    no_kick_is_lost(true);
}

/// The device completes while the driver goes to sleep: either the driver sees the completion, or
/// it is notified.
fn no_notification_is_lost(event_idx: bool) {
    model(None, move || {
        let (mut driver, mut device) = ring(2, event_idx);
        let memory = std::sync::Arc::clone(device.memory());
        // The driver is awake and has taken one completion.
        post(&mut driver, 1);
        post(&mut driver, 2);
        driver.disarm();
        assert!(complete(&mut device));
        device.publish();
        driver.refresh().unwrap();
        assert!(receive(&mut driver, &memory));
        let thread = thread::spawn(move || {
            assert!(complete(&mut device));
            device.publish()
        });
        driver.arm();
        let asleep = !driver.recheck();
        let notified = thread.join().unwrap();
        assert!(notified || !asleep, "the driver sleeps and was not notified");
    });
}

#[test]
fn no_notification_is_lost_by_flags() {
    no_notification_is_lost(false);
}

#[test]
fn no_notification_is_lost_by_event_idx() {
    no_notification_is_lost(true);
}
