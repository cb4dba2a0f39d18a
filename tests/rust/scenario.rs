//! Scenarios: reading and writing them, and what is observed of a run (`docs/scenario.md`).

use proptest::prelude::*;
use vnet_rx::device::{Action, Area, FaultyDevice, Sending};
use vnet_rx::memory::PageArena;
use vnet_rx::receive::{Point, RxError, RxQueue, Strategy as Skbs};
use vnet_rx::scenario::{
    Operation, Outcome, Place, Runner, Scenario, ScenarioConfig, Trace, digests, run,
    strategies_agree,
};
use vnet_rx::virtio::{Dialect, Mode};

#[test]
fn the_example_of_the_format_can_be_run() {
    let document = include_str!("../../docs/scenario.md");
    let example = document.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
    let scenario = Scenario::from_json(example.unwrap()).unwrap();
    assert_eq!(scenario.expect.as_ref().unwrap().len(), scenario.operations.len());
    let trace = run(&scenario).unwrap();
    assert_eq!(trace.broken_law(), None);
    assert_eq!(trace.observations[2].packets[0].len, 5000);
}

fn trace(config: &ScenarioConfig, operations: Vec<Operation>) -> Trace {
    let scenario = Scenario { config: config.clone(), operations, ..Scenario::default() };
    let trace = run(&scenario).unwrap();
    assert_eq!(trace.broken_law(), None);
    assert_eq!(digests(&scenario).unwrap(), trace.digests());
    trace
}

fn device(actions: impl IntoIterator<Item = Action>) -> Operation {
    Operation::Device { actions: actions.into_iter().collect() }
}

const POLL: Operation = Operation::Poll { budget: 64, at: Vec::new() };

#[test]
fn the_canonical_text_is_the_format_s() {
    let config = ScenarioConfig { ring_size: 2, pages: 4, max_frags: 1, ..Default::default() };
    let operations = vec![
        Operation::Refill,
        device([Sending { seed: 3, ..Sending::new(200) }.into()]),
        POLL,
        Operation::Release { packet: 7 },
        Operation::Close,
        Operation::Watchdog,
    ];
    let trace = trace(&config, operations);
    let text = |i: usize| {
        let mut text = Vec::new();
        trace.observations[i].text(&mut text);
        String::from_utf8(text).unwrap()
    };
    // Written out by hand: 15 counters and 14 faults.
    let faults = "0,0,0,0,0,0,0,0,0,0,0,0,0,0";
    assert_eq!(
        text(0),
        format!(
            "[[\"ok\",2],[],[],[0,0,0,0,0,0,0,2,0,0,0,0,2,1,0,{faults}],2,2,false,null,[],\
             [[0,[0]],[1,[1]]],[],2,0,2,0,[[0,[[0,0,4096,2,0]]],[1,[[1,0,4096,2,0]]]]]"
        )
    );
    let bytes: Vec<u8> = (3..203u32).map(|i| (31 * i + 7 * (i >> 8) + (i >> 16)) as u8).collect();
    let crc = crc32fast::hash(&bytes);
    // The packet keeps page 0 from byte 12 + 128 on; F + 1 = 2 buffers are needed, so page 2 is
    // posted in its place.
    assert_eq!(
        text(2),
        format!(
            "[[\"ok\",1],[\"used_idx_read\",\"header_copied\",\"before_rearm\",\"after_rearm\"],\
             [[200,{crc},[0,0,0,0,0,0,1],128,null,[[0,140,72]],4224]],\
             [1,200,0,0,0,1,0,3,0,0,0,128,3,1,1,{faults}],2,2,false,null,[],\
             [[0,[2]],[1,[1]]],[],1,0,3,1,[[0,[[2,0,4096,2,0]]]]]"
        )
    );
    assert!(text(3).starts_with(&format!("[[\"ok\",{crc}],[],[],[1,200,0,0,0,1,1,3,1,")));
    assert!(text(4).ends_with(",null,null,null,null,null,null,null,4,0,3,1,[]]"));
    assert!(text(5).starts_with("[[\"error\",\"closed\",null],[],[],"));
}

#[test]
fn a_closed_queue_refuses_what_the_format_says() {
    let refused = [
        Operation::Refill,
        POLL,
        Operation::FailSkbs { skip: 0, count: 1 },
        Operation::Watchdog,
        Operation::Disconnect,
        Operation::Stop,
        Operation::Detach,
        Operation::Reset,
    ];
    let others = [
        (Operation::Release { packet: 0 }, Outcome::Nothing),
        (Operation::ReleaseAll, Outcome::Number(0)),
        (Operation::FailPages { skip: 0, count: 1 }, Outcome::Nothing),
        (Operation::Close, Outcome::Nothing),
        (device([Action::Flags { value: 1 }]), Outcome::Nothing),
    ];
    let mut runner = Runner::new(&ScenarioConfig::default()).unwrap();
    runner.step(&Operation::Refill);
    runner.step(&Operation::Close);
    for operation in refused {
        assert_eq!(runner.step(&operation).result, Outcome::Error(RxError::Closed));
    }
    for (operation, result) in others {
        assert_eq!(runner.step(&operation).result, result);
    }
    assert_eq!(runner.step(&Operation::Stop).broken_law, None);
}

#[test]
fn a_page_keeps_its_name_for_as_long_as_it_is_seen() {
    let config = ScenarioConfig { ring_size: 2, pages: 3, max_frags: 1, ..Default::default() };
    let trace = trace(
        &config,
        vec![
            Operation::Refill,
            device([Sending::new(500).into()]),
            POLL,
            Operation::ReleaseAll,
            device([Sending::new(500).into()]),
            POLL,
        ],
    );
    let posted = |i: usize| -> Vec<u32> {
        trace.observations[i].posted.iter().flat_map(|(_, pages)| pages.to_vec()).collect()
    };
    assert_eq!(posted(0), [0, 1]);
    assert_eq!(posted(2), [2, 1], "the packet has page 0");
    // The page that was named 0 went to the arena and came back under a new name.
    assert_eq!(trace.observations[5].packets[0].frags[0].page, 1);
    assert_eq!(posted(5), [2, 3]);
}

#[test]
fn the_device_acts_at_the_passage_it_was_told() {
    let place = |point, pass| Place { point, pass, actions: vec![Sending::new(60).into()] };
    let poll = |at| Operation::Poll { budget: 64, at };
    let points = |trace: &Trace| -> Vec<Point> { trace.observations[1].points.clone() };
    let (read, copied, before, after) =
        (Point::UsedIdxRead, Point::HeaderCopied, Point::BeforeRearm, Point::AfterRearm);
    let config = ScenarioConfig::default();
    let at = vec![place(after, 1), place(before, 2), place(after, 4)];
    let both = trace(&config, vec![Operation::Refill, poll(at)]);
    let round = [read, copied, before, after];
    let expected: Vec<Point> = [[read, before, after].as_slice(), &round, &round].concat();
    assert_eq!(points(&both), expected);
    assert_eq!(both.observations[1].packets.len(), 2, "the fourth passage never came");
}

#[test]
fn what_is_held_back_is_written_before_what_comes_next() {
    let config = ScenarioConfig::default();
    let held = Sending { hold: 2, ..Sending::new(9000) };
    let polls = |actions: Vec<Action>| {
        trace(
            &config,
            vec![Operation::Refill, device([held.clone().into()]), POLL, device(actions), POLL],
        )
    };
    let published = polls(vec![Action::Publish { count: 64 }]);
    assert_eq!(published.observations[2].result, Outcome::Number(0));
    assert_eq!(published.observations[4].packets[0].len, 9000);
    let one = polls(vec![Action::Publish { count: 1 }]);
    assert_eq!(one.observations[4].result, Outcome::Number(0));
    let behind = polls(vec![Sending::new(60).into()]);
    let lens: Vec<usize> = behind.observations[4].packets.iter().map(|p| p.len).collect();
    assert_eq!(lens, [9000, 60]);
    // More buffers than are ready: nothing happens, not even to what is held.
    let too_many = polls(vec![Sending { buffers: Some(64), ..Sending::new(60) }.into()]);
    assert_eq!(too_many.observations[4].result, Outcome::Number(0));
}

#[test]
fn of_several_changes_to_one_entry_the_last_counts() {
    let config = ScenarioConfig { ring_size: 4, max_frags: 1, ..Default::default() };
    let sending = Sending {
        // Ids 0 and 1; the second is made 3, then 3 + 2^32 - 2 = 1 again.
        id: vec![(1, 2), (1, 3)],
        id_add: vec![(1, 7), (1, u32::MAX - 1)],
        len: vec![(0, 9), (1, 100), (0, 4096), (5, 1)],
        ..Sending::new(4084 + 50)
    };
    let trace = trace(&config, vec![Operation::Refill, device([sending.into()]), POLL]);
    assert_eq!(trace.observations[2].result, Outcome::Number(0), "two frags are one too many");
    assert_eq!(trace.observations[2].counters[2], 1, "rx_length_errors");
    let config = ScenarioConfig { max_frags: 2, ..config };
    let operations = vec![
        Operation::Refill,
        device([Sending { len: vec![(1, 9), (1, 50)], ..Sending::new(4134) }.into()]),
        POLL,
    ];
    let trace = self::trace(&config, operations);
    assert_eq!(trace.observations[2].packets[0].len, 4134);
}

#[test]
fn buffers_are_filled_as_far_as_they_are_told() {
    let config = ScenarioConfig::default();
    let sending = Sending { fill: vec![100, 50], ..Sending::new(5000) };
    let trace = trace(&config, vec![Operation::Refill, device([sending.into()]), POLL]);
    let packet = &trace.observations[2].packets[0];
    // 100 + 50 + 4096 and what is left of 5012.
    assert_eq!((packet.len, packet.header[6]), (5000, 4));
    assert_eq!((packet.head_len, packet.frags.len()), (88, 3));
    let lens: Vec<u16> = packet.frags.iter().map(|frag| frag.len).collect();
    assert_eq!(lens, [50, 4096, 766]);
}

#[test]
fn an_overwritten_avail_ring_does_not_make_the_device_grow() {
    let config = ScenarioConfig { ring_size: 1024, pages: 1100, ..Default::default() };
    let arena = PageArena::new(config.pages as usize).unwrap();
    let mut queue = RxQueue::new(config.rx_config().unwrap(), &arena).unwrap();
    let mut device = FaultyDevice::of(&queue).unwrap();
    queue.refill().unwrap();
    for round in 1..20u16 {
        let bytes = round.wrapping_mul(1024).to_le_bytes().to_vec();
        device.perform(&Action::Scribble { area: Area::Avail, at: 2, bytes });
        assert_eq!(device.ready(), 1024);
    }
}

fn choice<T: Clone + std::fmt::Debug + 'static>(all: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(all.to_vec())
}

fn sending() -> impl Strategy<Value = Sending> {
    let pairs = || prop::collection::vec((0..64u8, any::<u32>()), 0..3);
    let header = (0..256u16, 0..256u16, any::<[u16; 4]>());
    let optional = (any::<Option<u16>>(), prop::option::of(1..=64u8));
    let fill = prop::collection::vec(0..=80_000u32, 0..3);
    let lists = (fill, pairs(), pairs(), pairs());
    (0..=70_000u32, any::<u8>(), header, optional, lists, 0..=64u8).prop_map(
        |(
            size,
            seed,
            (f, g, [a, b, c, d]),
            (num_buffers, buffers),
            (fill, len, id, id_add),
            hold,
        )| {
            let header = [f, g, a, b, c, d];
            Sending { size, seed, header, num_buffers, buffers, fill, len, id, id_add, hold }
        },
    )
}

fn action() -> impl Strategy<Value = Action> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20);
    let (back, at) = (0..64u8, 0..=80_000u32);
    prop_oneof![
        sending().prop_map(Action::Send),
        (0..=64u8).prop_map(|count| Action::Publish { count }),
        any::<(u32, u32)>().prop_map(|(id, len)| Action::Complete { id, len }),
        (back.clone(), any::<Option<u32>>()).prop_map(|(back, len)| Action::Again { back, len }),
        (1..=u16::MAX).prop_map(|by| Action::Jump { by }),
        (back, at.clone(), bytes()).prop_map(|(back, at, bytes)| Action::Rewrite {
            back,
            at,
            bytes
        }),
        (0..1024u16, at, bytes()).prop_map(|(chain, at, bytes)| Action::Stray { chain, at, bytes }),
        (choice(&Area::ALL), any::<u16>(), bytes())
            .prop_map(|(area, at, bytes)| Action::Scribble { area, at, bytes }),
        any::<u16>().prop_map(|value| Action::Flags { value }),
        any::<u16>().prop_map(|ahead| Action::Event { ahead }),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let actions = || prop::collection::vec(action(), 0..4);
    let place = (choice(&Point::ALL), 1..=64u8, actions())
        .prop_map(|(point, pass, actions)| Place { point, pass, actions });
    prop_oneof![
        2 => Just(Operation::Refill),
        4 => (1..=u16::MAX, prop::collection::vec(place, 0..3))
            .prop_map(|(budget, at)| Operation::Poll { budget, at }),
        1 => any::<u16>().prop_map(|packet| Operation::Release { packet }),
        1 => Just(Operation::ReleaseAll),
        1 => (0..40u16, 0..4u16).prop_map(|(skip, count)| Operation::FailPages { skip, count }),
        1 => (0..10u16, 0..4u16).prop_map(|(skip, count)| Operation::FailSkbs { skip, count }),
        1 => Just(Operation::Watchdog),
        1 => Just(Operation::Disconnect),
        1 => Just(Operation::Stop),
        1 => Just(Operation::Detach),
        2 => Just(Operation::Reset),
        1 => Just(Operation::Close),
        4 => actions().prop_map(|actions| Operation::Device { actions }),
    ]
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let names = (choice(&Mode::ALL), choice(&Skbs::ALL), choice(&Dialect::ALL), any::<bool>());
    let numbers = (5..=8u32, 1..=18u16, 1..=1000u32, any::<u16>(), 20..=200u32);
    let operations = prop::collection::vec(operation(), 0..30);
    ("\\PC{0,20}", any::<u64>(), names, numbers, operations).prop_map(
        |(note, seed, (mode, strategy, dialect, event_idx), numbers, operations)| {
            let (log, max_frags, max_incomplete_polls, first_index, pages) = numbers;
            let config = ScenarioConfig {
                mode,
                strategy,
                dialect,
                ring_size: 1 << log,
                event_idx,
                max_frags,
                max_incomplete_polls,
                first_index,
                pages,
                features: None,
            };
            Scenario { note, seed, config, operations, expect: None }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_reads_back_the_same(scenario in scenario(), expect: bool) {
        let n = scenario.operations.len() as u32;
        let scenario = Scenario { expect: expect.then(|| (0..n).collect()), ..scenario };
        prop_assert_eq!(Scenario::from_json(&scenario.to_json()).unwrap(), scenario);
    }

    #[test]
    fn both_strategies_come_to_the_same(scenario in scenario()) {
        prop_assert_eq!(strategies_agree(&scenario).unwrap(), Ok(()));
    }

    #[test]
    fn the_laws_hold_whatever_is_done(scenario in scenario()) {
        let trace = run(&scenario).unwrap();
        prop_assert_eq!(trace.broken_law(), None);
        prop_assert_eq!(run(&scenario).unwrap(), trace, "a run is repeatable");
    }
}
