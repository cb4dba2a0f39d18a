//! What holds after every operation, whatever the device and the memory do.

use std::collections::VecDeque;

use proptest::prelude::*;
use vnet_rx::receive::{RxConfig, RxError, Stats, Strategy as Skbs};
use vnet_rx::virtio::{Dialect, Features, Mode, VnetHeader};

use crate::rig::{Rig, merged};

/// One thing that the driver, its user, the device or the memory does.
#[derive(Clone, Debug)]
enum Op {
    Refill,
    Poll(usize),
    /// A packet over `buffers` buffers, the later ones filled, of which `hold` are completed only
    /// by a later operation.
    Send {
        buffers: u16,
        len: usize,
        header: VnetHeader,
        hold: usize,
    },
    /// The next posted buffer is completed with this length and this header.
    Complete {
        len: u32,
        header: VnetHeader,
    },
    /// A used entry that may be anything.
    Used {
        id: u32,
        len: u32,
    },
    /// The used index is moved by this much.
    Jump(u16),
    FailPages(u64, u64),
    FailSkbs(u64, u64),
    DropPacket(usize),
    ReleaseAll,
    Watchdog,
    Disconnect,
    StopAndDetach,
    Reset,
}

fn header() -> impl Strategy<Value = VnetHeader> {
    let honest = Just(VnetHeader::default());
    let garbage = any::<(u8, u8, u16, u16, u16, u16)>().prop_map(
        |(flags, gso_type, gso_size, csum_start, csum_offset, num_buffers)| VnetHeader {
            flags,
            gso_type,
            hdr_len: 0,
            gso_size,
            csum_start,
            csum_offset,
            num_buffers,
        },
    );
    prop_oneof![4 => honest, 1 => garbage]
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![
        0..200usize,
        prop::sample::select(vec![14, 128, 129, 1518, 1519, 4080, 4084, 9000, 70_000]),
    ];
    let used_len = prop_oneof![0..4200u32, any::<u32>()];
    prop_oneof![
        3 => Just(Op::Refill),
        8 => (1..20usize).prop_map(Op::Poll),
        8 => (1..22u16, len, header(), 0..3usize)
            .prop_map(|(buffers, len, header, hold)| Op::Send { buffers, len, header, hold }),
        3 => (used_len.clone(), header(), 0..5u16).prop_map(|(len, header, n)| {
            Op::Complete { len, header: VnetHeader { num_buffers: n, ..header } }
        }),
        1 => (prop_oneof![0..130u32, any::<u32>()], used_len)
            .prop_map(|(id, len)| Op::Used { id, len }),
        1 => any::<u16>().prop_map(Op::Jump),
        2 => (0..40u64, 1..4u64).prop_map(|(skip, count)| Op::FailPages(skip, count)),
        1 => (0..10u64, 1..4u64).prop_map(|(skip, count)| Op::FailSkbs(skip, count)),
        5 => any::<usize>().prop_map(Op::DropPacket),
        2 => Just(Op::ReleaseAll),
        1 => Just(Op::Watchdog),
        1 => Just(Op::Disconnect),
        1 => Just(Op::StopAndDetach),
        2 => Just(Op::Reset),
    ]
}

fn config() -> impl Strategy<Value = (RxConfig, usize)> {
    let choice = (
        prop::sample::select(Mode::ALL.to_vec()),
        prop::sample::select(Skbs::ALL.to_vec()),
        prop::sample::select(Dialect::ALL.to_vec()),
        any::<bool>(),
        1..8u32,
        prop::sample::select(vec![1u16, 2, 17, 18]),
        prop_oneof![Just(0u16), 65500..=65535u16],
        1..150usize,
    );
    choice.prop_map(|(mode, strategy, dialect, event_idx, log, max_frags, first_index, pages)| {
        let mut config = RxConfig::new(mode, strategy, dialect);
        if !event_idx {
            config.features = config.features.without(Features::EVENT_IDX);
        }
        config.max_frags = max_frags;
        config.first_index = first_index;
        let least = config.descriptors_per_buffer().next_power_of_two() as u32;
        config.ring_size = (1 << log).max(least).max(2);
        (config, pages.max(config.pages_per_buffer()))
    })
}

/// A rig, what its device has under way, and what it knows of honest packets.
struct World {
    rig: Rig,
    held: VecDeque<(u32, u32)>,
    last: Stats,
    /// Whether pages and skbs come and go one by one.
    one_by_one: bool,
}

impl World {
    fn new(config: RxConfig, pages: usize, one_by_one: bool) -> Self {
        let rig = Rig::bare(config, pages);
        if one_by_one {
            // Nothing is taken ahead while a failure is planned, be it in a thousand years.
            rig.arena.fail_allocs(u64::MAX, 1);
        }
        Self { last: rig.queue.stats(), rig, held: VecDeque::new(), one_by_one }
    }

    /// Whose page is whose, and what has been counted.
    fn state(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let Rig { queue, arena, packets, .. } = &self.rig;
        let frags: Vec<Vec<_>> = packets
            .iter()
            .map(|one| one.linear().into_iter().chain(one.frags()).collect())
            .collect();
        let ring = (queue.posted(), queue.free_descriptors(), queue.num(), queue.refill_needed());
        (ring, queue.pool(), arena.free_pages(), frags, queue.stats())
    }

    fn run(&mut self, op: &Op) {
        let rig = &mut self.rig;
        match *op {
            Op::Refill => drop(rig.queue.refill()),
            Op::Poll(budget) => {
                let before = rig.packets.len();
                match rig.queue.poll(budget, &mut rig.packets) {
                    Ok(polled) => {
                        assert!(polled.received <= budget);
                        assert_eq!(polled.delivered, rig.packets.len() - before);
                        assert!(polled.delivered <= polled.received);
                        assert_eq!(polled.broken, rig.queue.broken());
                    }
                    Err(error) => assert!(matches!(error, RxError::Broken(_) | RxError::Stopped)),
                }
            }
            Op::Send { buffers, len, header, hold } => self.send(buffers, len, header, hold),
            Op::Complete { len, header } => {
                if rig.device.available().unwrap_or(0) > 0 {
                    let (id, _) = rig.write(header, &[7; 100]);
                    self.finish_held();
                    self.rig.complete(&[(id, len)]);
                }
            }
            Op::Used { id, len } => rig.complete(&[(id, len)]),
            Op::Jump(by) => {
                let at = rig.queue.layout().used + 2;
                let memory = rig.arena.memory();
                memory.store16(at, memory.load16(at).unwrap().wrapping_add(by)).unwrap();
            }
            Op::FailPages(skip, count) => rig.arena.fail_allocs(skip, count),
            Op::FailSkbs(skip, count) => rig.queue.fail_skb_allocs(skip, count),
            Op::DropPacket(which) => {
                if !rig.packets.is_empty() {
                    let which = which % rig.packets.len();
                    drop(rig.packets.swap_remove(which));
                }
            }
            Op::ReleaseAll if self.one_by_one => rig.packets.drain(..).for_each(drop),
            Op::ReleaseAll => rig.queue.release(&mut rig.packets),
            Op::Watchdog => drop(rig.queue.watchdog()),
            Op::Disconnect => drop(rig.queue.disconnect()),
            Op::StopAndDetach => {
                rig.queue.stop().unwrap();
                rig.queue.detach_unused_buf().unwrap();
            }
            Op::Reset => {
                rig.queue.reset().unwrap();
                rig.restart_device();
                self.held.clear();
            }
        }
    }

    fn finish_held(&mut self) {
        let held: Vec<_> = self.held.drain(..).collect();
        self.rig.complete(&held);
    }

    fn send(&mut self, buffers: u16, len: usize, header: VnetHeader, hold: usize) {
        self.finish_held();
        let mergeable = self.rig.config().mode() == Mode::Mergeable;
        let buffers = if mergeable { buffers } else { 1 };
        if self.rig.device.available().unwrap_or(0) < buffers {
            return;
        }
        let num_buffers =
            if header.num_buffers == 0 { merged(buffers).num_buffers } else { header.num_buffers };
        let mut entries = vec![self.rig.write(VnetHeader { num_buffers, ..header }, &vec![1; len])];
        for _ in 1..buffers {
            entries.push(self.rig.write_later(&[2; 4096]));
        }
        let now = entries.len().saturating_sub(hold).max(1);
        self.held = entries.split_off(now).into();
        self.rig.complete(&entries);
    }

    /// The laws.
    fn check(&mut self) {
        self.rig.check();
        let (now, last) = (self.rig.queue.stats(), self.last);
        for ((name, new), (_, old)) in now.counters().zip(last.counters()) {
            assert!(new >= old, "{name} went back");
        }
        for ((fault, new), (_, old)) in now.faults.iter().zip(last.faults.iter()) {
            assert!(new >= old, "{fault} went back");
        }
        assert!(self.rig.queue.num() <= self.rig.queue.max());
        let errors = now.rx_length_errors + now.rx_frame_errors;
        let dropped: u64 = now.faults.iter().filter(|(f, _)| is_drop(*f)).map(|(_, n)| n).sum();
        assert_eq!(errors, dropped, "every drop names its fault, and nothing else is an error");
        self.last = now;
    }
}

fn is_drop(fault: vnet_rx::receive::DeviceFault) -> bool {
    use vnet_rx::receive::DeviceFault::*;
    matches!(
        fault,
        ShortPacket
            | LengthOverrun
            | TooManyFrags
            | ZeroBuffers
            | EmptyBuffer
            | BadChecksum
            | BadGso
            | NotNegotiated
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// The conservation law, and that the queue comes through: after a reset and with memory back,
    /// good packets arrive.
    #[test]
    fn nothing_is_lost_and_nothing_is_in_two_places(
        (config, pages) in config(),
        ops in prop::collection::vec(op(), 1..60),
    ) {
        let mut world = World::new(config, pages, false);
        for op in &ops {
            world.run(op);
            world.check();
        }
        let World { mut rig, .. } = world;
        rig.packets.clear();
        rig.arena.fail_allocs(0, 0);
        rig.queue.fail_skb_allocs(0, 0);
        rig.reset();
        rig.expect_next_good();
        rig.queue.close();
        prop_assert_eq!(rig.arena.free(), rig.arena.len());
    }

    /// Taking pages ahead for a whole refill, and packets back all at once, shows in nothing.
    #[test]
    fn in_bulk_is_as_one_by_one(
        (config, pages) in config(),
        ops in prop::collection::vec(op(), 1..60),
    ) {
        let mut worlds = [false, true].map(|one_by_one| World::new(config, pages, one_by_one));
        for op in ops.iter().filter(|op| !matches!(op, Op::FailPages(..) | Op::FailSkbs(..))) {
            worlds.iter_mut().for_each(|world| world.run(op));
            prop_assert_eq!(worlds[0].state(), worlds[1].state(), "after {:?}", op);
        }
    }
}
