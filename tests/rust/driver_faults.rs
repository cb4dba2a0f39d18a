//! The device half and the host on a ring whose driver breaks the rules.

use vnet_rx::device::source::Frame;
use vnet_rx::device::{Host, HostError, Offer, Undeliverable};
use vnet_rx::memory::{GUEST_BASE, PageArena, RingArea};
use vnet_rx::ring::split::{DriverFault, LayoutError};
use vnet_rx::virtio::{Dialect, Features, Mode, SplitLayout};

const SIZE: u16 = 8;

/// A host on a ring of raw memory, and what a driver would write there.
struct Raw {
    area: RingArea,
    host: Host,
}

impl Raw {
    fn new() -> Self {
        let arena = PageArena::new(4).unwrap();
        let area = RingArea::new(&arena, SIZE.into()).unwrap();
        let features = Features::default_for(Mode::Mergeable, Dialect::Modern);
        let host = Host::new(arena.memory(), area.layout(), features).unwrap();
        Self { area, host }
    }

    fn desc(&self, id: u16, addr: u64, len: u32, flags: u16, next: u16) {
        let (memory, at) =
            (self.area.arena().memory(), self.area.layout().desc + 16 * u64::from(id));
        memory.store64(at, addr).unwrap();
        memory.store32(at + 8, len).unwrap();
        memory.store16(at + 12, flags).unwrap();
        memory.store16(at + 14, next).unwrap();
    }

    fn avail(&self, ids: &[u16], idx: u16) {
        let (memory, at) = (self.area.arena().memory(), self.area.layout().avail);
        for (i, &id) in ids.iter().enumerate() {
            memory.store16(at + 4 + 2 * i as u64, id).unwrap();
        }
        memory.store16(at + 2, idx).unwrap();
    }

    fn offer(&mut self, len: usize) -> Result<Offer, HostError> {
        self.host.offer(&Frame { bytes: vec![1; len], ..Frame::default() })
    }
}

#[test]
fn an_index_that_jumps_is_refused() {
    let mut raw = Raw::new();
    raw.avail(&[], 9);
    let fault = DriverFault::IndexJump { ahead: 9, size: 8 };
    assert_eq!(raw.offer(60), Err(HostError::Driver(fault)));
}

#[test]
fn frames_are_judged_before_an_index_that_jumps_and_buffers_known_before_are_filled() {
    let page = GUEST_BASE + (4 << 20);
    let mut raw = Raw::new();
    raw.desc(0, page, 4096, 2, 0);
    raw.desc(1, page + 4096, 4096, 2, 0);
    raw.avail(&[0, 1], 2);
    assert_eq!(raw.offer(60), Ok(Offer::Delivered(1)));
    raw.avail(&[], 11);
    let frames = [4, 60, 4, 60].map(|len| Frame { bytes: vec![1; len], ..Frame::default() });
    let mut judged = Vec::new();
    let result = raw.host.offer_all(&frames, |i, offer| judged.push((i, offer)));
    let runt = Offer::Undeliverable(Undeliverable::Runt(4));
    assert_eq!(judged, [(0, runt.clone()), (1, Offer::Delivered(1)), (2, runt)]);
    let fault = DriverFault::IndexJump { ahead: 9, size: 8 };
    assert_eq!(result, Err(HostError::Driver(fault)));
}

#[test]
fn chains_are_checked_before_anything_is_written() {
    let page = GUEST_BASE + (4 << 20);
    let end = page + 4 * 4096;
    let cases: [(u64, u32, u16, u16, DriverFault); 6] = [
        (page, 100, 3, 8, DriverFault::BadDescriptor { id: 8, size: 8 }),
        (page, 1, 3, 0, DriverFault::Loop),
        (page, 100, 0, 0, DriverFault::Flags(0)),
        (page, 100, 6, 0, DriverFault::Flags(6)),
        (page, 0, 2, 0, DriverFault::NoRoom),
        (
            end - 50,
            100,
            2,
            0,
            DriverFault::OutOfRange(vnet_rx::memory::OutOfRange { addr: end - 50, len: 100, end }),
        ),
    ];
    for (addr, len, flags, next, fault) in cases {
        let mut raw = Raw::new();
        raw.desc(0, addr, len, flags, next);
        raw.avail(&[0], 1);
        assert_eq!(raw.offer(60), Err(HostError::Driver(fault)));
        assert_eq!(raw.host.device().position(), (0, 0), "nothing was taken");
    }
    let mut raw = Raw::new();
    raw.avail(&[77], 1);
    let fault = DriverFault::BadDescriptor { id: 77, size: 8 };
    assert_eq!(raw.offer(60), Err(HostError::Driver(fault)));
}

#[test]
fn a_frame_that_no_ring_of_this_size_can_hold_is_undeliverable() {
    let mut raw = Raw::new();
    let page = GUEST_BASE + (4 << 20);
    for id in 0..SIZE {
        raw.desc(id, page, 100, 2, 0);
    }
    raw.avail(&[0, 1, 2, 3, 4, 5, 6, 7], 7);
    assert_eq!(raw.offer(789), Ok(Offer::NoBuffers(7)), "an eighth may still come");
    raw.avail(&[], 8);
    let why = Undeliverable::TooLong { len: 789, room: 788 };
    assert_eq!(raw.offer(789), Ok(Offer::Undeliverable(why)));
    assert_eq!(raw.offer(788), Ok(Offer::Delivered(8)));
}

#[test]
fn a_ring_must_lie_in_its_memory() {
    let arena = PageArena::new(1).unwrap();
    let features = Features::empty();
    for (base, size) in [(0, 8), (GUEST_BASE + 8, 8), (GUEST_BASE + (4 << 20), 8)] {
        let layout = SplitLayout::at(base, size);
        let error = Host::new(arena.memory(), layout, features).unwrap_err();
        assert!(matches!(error, HostError::Layout(LayoutError::OutOfRange(_))), "{error}");
    }
    let layout = SplitLayout { size: 6, ..SplitLayout::at(GUEST_BASE, 8) };
    let error = Host::new(arena.memory(), layout, features).unwrap_err();
    assert_eq!(error, HostError::Layout(LayoutError::Size(6)));
}
