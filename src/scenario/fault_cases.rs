//! How each fault of the catalogue is committed, and what is owed to it.

use super::faults::{Answer, Fault, FaultCase, POLL};
use super::operation::{Operation, Place};
use crate::device::{Action, Area, Sending};
use crate::memory::PAGE_SIZE;
use crate::receive::{
    DeviceFault, GOOD_COPY_LEN, IncompleteLimit, MAX_PACKET_LEN, Point, RxConfig, Strategy,
};
use crate::virtio::{Dialect, Features, Mode, SplitLayout};

impl Fault {
    /// The ways in which a device commits this fault against a queue of this configuration, with
    /// what is owed to each; none where the fault cannot be committed.
    ///
    /// ```
    /// use vnet_rx::receive::{RxConfig, Strategy};
    /// use vnet_rx::scenario::{Answer, Fault};
    /// use vnet_rx::virtio::{Dialect, Mode};
    ///
    /// let config = RxConfig::new(Mode::Small, Strategy::Deferred, Dialect::Modern);
    /// for case in Fault::F02.cases(&config) {
    ///     assert!(matches!(case.answer, Answer::Break(_)));
    ///     assert!(case.actions().count() > 0, "to be given to a `FaultyDevice`");
    /// }
    /// ```
    pub fn cases(self, config: &RxConfig) -> Vec<FaultCase> {
        use DeviceFault::*;
        let target = Target::new(config);
        let sent = |answer, sending: Sending| FaultCase::new(answer).act([Action::Send(sending)]);
        let merged = || Sending::new(3 * PAGE_SIZE as u32);
        let each_len = |lens: &[u32], fault| -> Vec<FaultCase> {
            let one = |&len| sent(Answer::Drop(fault), Sending { len: vec![(0, len)], ..good() });
            lens.iter().map(one).collect()
        };
        let headers = |headers: &[[u16; 6]], answer: Answer| -> Vec<FaultCase> {
            let one = |&header| sent(answer, Sending { header, ..Sending::new(200) });
            headers.iter().map(one).collect()
        };
        let h = target.header_len;
        match self {
            Self::F01 => [config.ring_size, config.ring_size + 1, 0xffff, u32::MAX]
                .map(|id| sent(BAD_ID, Sending { id: vec![(0, id)], ..good() }))
                .into(),
            Self::F02 => [0x1_0000, 0x8000_0000, 0xffff_0000]
                .map(|high| sent(BAD_ID, Sending { id_add: vec![(0, high)], ..good() }))
                .into(),
            Self::F03 => {
                let again = Action::Again { back: 0, len: None };
                let together = FaultCase::new(BAD_ID).act([good().into(), again.clone()]);
                let first = FaultCase::new(BAD_ID).act([good().into()]).delivers(GOOD);
                let cases = [
                    (target.buffers > 1, together.delivers(GOOD)),
                    (target.stays_unposted, first.act([again])),
                ];
                cases.into_iter().filter_map(|(can_be, case)| can_be.then_some(case)).collect()
            }
            Self::F04 => {
                let first = FaultCase::new(Answer::Undetectable).act([good().into()]);
                let posted_again = first.delivers(GOOD).then(Operation::Refill);
                vec![posted_again.act([Action::Again { back: 0, len: None }])]
            }
            Self::F05 if config.descriptors_per_buffer() > 1 => {
                let last = config.descriptors_per_buffer() as u32 - 1;
                [1, last].map(|by| sent(BAD_ID, Sending { id_add: vec![(0, by)], ..good() })).into()
            }
            Self::F06 => {
                let lens = [target.room + 1, u32::MAX, 4097, 0x1_0000];
                let all = if target.mode == Mode::Big { &lens[..2] } else { &lens };
                each_len(all, LengthOverrun)
            }
            Self::F07 => each_len(&[0, 1, h - 1, h, h + 13], ShortPacket),
            Self::F08 => vec![sent(Answer::Deliver, Sending::new(14)).delivers(14)],
            Self::F10 if !target.mergeable => [0, 2, 300, u16::MAX]
                .map(|n| Sending { num_buffers: Some(n), ..good() })
                .map(|sending| sent(Answer::Deliver, sending).delivers(GOOD))
                .into(),
            Self::F18 => [target.buffers + 1, 0x7fff.max(target.buffers + 1), 0xffff]
                .map(|by| FaultCase::new(Answer::Break(IndexJump)).act([Action::Jump { by }]))
                .into(),
            Self::F19 => {
                let back = |by: u16| [Action::Jump { by: 0u16.wrapping_sub(by) }];
                let case = || FaultCase::new(Answer::Break(IndexJump));
                let after = case().act([good().into()]).delivers(GOOD);
                vec![case().act(back(1)), after.act(back(1))]
            }
            Self::F20 => {
                let len = SplitLayout::desc_len(config.ring_size);
                let wipe = |byte| scribble(Area::Desc, 0, len, byte).chain([good().into()]);
                [0, 0xff, 0x5a].map(|byte| delivered().act(wipe(byte))).into()
            }
            Self::F21 => {
                let len = SplitLayout::avail_len(config.ring_size);
                let all = |byte| scribble(Area::Avail, 0, len, byte).chain([good().into()]);
                [0xff, 0xa5].map(|byte| delivered().act(all(byte))).into()
            }
            Self::F22 => [(0xffff, 0x8000), (0xfffe, 0xffff), (1, 0)]
                .map(|(value, ahead)| {
                    let garbage = [Action::Flags { value }, Action::Event { ahead }];
                    delivered().act(garbage.into_iter().chain([good().into()]))
                })
                .into(),
            Self::F23 => {
                let types = [2, 6, 0x7f, 0x80, 0xff].map(|t| [1, t, 0, 1448, 34, 16]);
                if target.has(Features::GUEST_CSUM) {
                    headers(&types, Answer::Drop(BadGso))
                } else {
                    Vec::new()
                }
            }
            Self::F24 if target.has(Features::GUEST_TSO4) && target.has(Features::GUEST_CSUM) => {
                let bad = [[1, 1, 0, 0, 34, 16], [0, 1, 0, 1448, 34, 16]];
                headers(&bad, Answer::Drop(BadGso))
            }
            Self::F25 if target.has(Features::GUEST_CSUM) => {
                let spots = [(199, 0), (183, 16), (0, 199), (65535, 65535), (1, 65535), (65535, 1)];
                headers(
                    &spots.map(|(start, at)| [1, 0, 0, 0, start, at]),
                    Answer::Drop(BadChecksum),
                )
            }
            Self::F26 => headers(&target.not_negotiated(), Answer::Drop(NotNegotiated)),
            Self::F27 => {
                let odd = [[0xfc, 0, 0xffff, 7, 9000, 9000], [0xfe, 0, 1, 0, 0, 0]];
                let cases = headers(&odd, Answer::Deliver);
                cases.into_iter().map(|case| case.delivers(200)).collect()
            }
            Self::F28 => target.rewritten_headers(),
            Self::F29 if target.private_head => {
                let at = vec![Place {
                    point: Point::BeforeRearm,
                    pass: 1,
                    actions: vec![Action::Rewrite { back: 0, at: 0, bytes: vec![0xee; 200] }],
                }];
                let size = GOOD_COPY_LEN;
                let sending = Action::Send(Sending::new(size as u32));
                let actions = vec![sending];
                let case = FaultCase::new(Answer::Deliver).then(Operation::Device { actions });
                vec![case.then(Operation::Poll { budget: 64, at }).delivers(size)]
            }
            Self::F30 => {
                let beyond =
                    Action::Rewrite { back: 0, at: h + GOOD as u32, bytes: vec![0xee; 900] };
                let astray = Action::Stray { chain: 0, at: 0, bytes: vec![0xee; 1500] };
                vec![delivered().act([good().into(), beyond, astray])]
            }
            Self::F31 => {
                let sending = Sending { len: vec![(0, h + 500)], ..good() };
                let mut case = sent(Answer::Deliver, sending);
                case.delivered.push((500, GOOD));
                vec![case]
            }
            Self::F32 | Self::F34 => {
                let polls = [POLL, POLL, POLL, POLL];
                vec![polls.into_iter().fold(FaultCase::new(Answer::Deliver), FaultCase::then)]
            }
            Self::F33 => {
                let case = FaultCase::new(Answer::Deliver).then(Operation::Watchdog);
                vec![case.then(Operation::Watchdog)]
            }
            Self::F35 => {
                let bad = Action::Send(Sending { len: vec![(0, 1)], ..good() });
                let place =
                    |pass| Place { point: Point::AfterRearm, pass, actions: vec![bad.clone()] };
                let at = (1..=16).map(place).collect();
                let poll = Operation::Poll { budget: 2, at };
                vec![FaultCase::new(Answer::Drop(ShortPacket)).then(poll)]
            }
            Self::F36 => {
                let case = FaultCase::new(Answer::Break(Disconnected)).act([good().into()]);
                vec![case.delivers(GOOD).then(Operation::Disconnect)]
            }
            Self::F38 => target.out_of_memory(),
            // What remains can be done to mergeable buffers only.
            _ if !target.mergeable => Vec::new(),
            Self::F09 => {
                let sending = Sending { num_buffers: Some(0), ..good() };
                vec![sent(Answer::Drop(ZeroBuffers), sending)]
            }
            Self::F11 => [target.buffers + 1, 1000.max(target.buffers + 1), u16::MAX]
                .map(|n| Sending { num_buffers: Some(n), ..good() })
                .map(|sending| sent(Answer::Break(BufferCount), sending))
                .into(),
            Self::F12 => target.around_the_frag_limit(),
            // The others take packets of up to six buffers.
            _ if target.buffers < 6 || target.max_frags < 6 => Vec::new(),
            Self::F13 => (1..=3u8)
                .map(|hold| {
                    let held = sent(Answer::Deliver, Sending { hold, ..merged() });
                    let one = |case: FaultCase, _| case.act([Action::Publish { count: 1 }]);
                    (0..hold).fold(held, one).delivers(3 * PAGE_SIZE)
                })
                .collect(),
            Self::F14 => {
                let polls = match config.incomplete {
                    IncompleteLimit::Polls(polls) => polls,
                    IncompleteLimit::Time(_) => return Vec::new(),
                };
                let fault = Answer::Break(IncompletePacket);
                let held = sent(fault, Sending { hold: 2, ..merged() });
                vec![(1..polls).fold(held, |case, _| case.then(POLL))]
            }
            Self::F15 => [1, 2, 3]
                .map(|k| Sending { len: vec![(k, 0)], ..merged() })
                .map(|sending| sent(Answer::Drop(EmptyBuffer), sending))
                .into(),
            Self::F16 => {
                let sending = Sending { fill: vec![100, 50, 4096, 1], ..merged() };
                vec![sent(Answer::Deliver, sending).delivers(3 * PAGE_SIZE)]
            }
            Self::F17 => {
                let len = |k, len| Sending { len: vec![(k, len)], ..merged() };
                let id = |k, id| Sending { id: vec![(k, id)], ..merged() };
                let overrun = [len(1, 4097), len(3, u32::MAX)];
                let bad_id = [id(1, config.ring_size), id(2, 0x1_0000), id(3, 0)];
                let overrun = overrun.map(|one| sent(Answer::Drop(LengthOverrun), one));
                overrun.into_iter().chain(bad_id.map(|one| sent(BAD_ID, one))).collect()
            }
            _ => Vec::new(),
        }
    }
}

const BAD_ID: Answer = Answer::Break(DeviceFault::BadUsedId);

/// Bytes of a packet that no rule has anything against.
const GOOD: usize = 60;

fn good() -> Sending {
    Sending::new(GOOD as u32)
}

/// A case in which that packet is delivered.
fn delivered() -> FaultCase {
    FaultCase::new(Answer::Deliver).delivers(GOOD)
}

/// Overwrites `len` bytes of an area.
fn scribble(area: Area, from: u64, len: u64, byte: u8) -> impl Iterator<Item = Action> {
    const MOST: u64 = 8192;
    (from..from + len).step_by(MOST as usize).map(move |at| Action::Scribble {
        area,
        at: at as u16,
        bytes: vec![byte; (from + len - at).min(MOST) as usize],
    })
}

/// What matters of the queue that is to be hurt.
struct Target {
    mode: Mode,
    mergeable: bool,
    features: Features,
    header_len: u32,
    /// The most that a device may say it wrote into one buffer.
    room: u32,
    /// Buffers of a full ring.
    buffers: u16,
    max_frags: u16,
    pages_per_buffer: u16,
    /// Whether a buffer that has come back is not posted again by the same poll (section 8).
    stays_unposted: bool,
    /// Whether the packet's first bytes are copied.
    private_head: bool,
    eager: bool,
}

impl Target {
    fn new(config: &RxConfig) -> Self {
        let mode = config.mode();
        let header_len = config.features.header_len() as u32;
        let padding = if config.dialect() == Dialect::Legacy { 6 } else { 0 };
        let room = match mode {
            Mode::Small => header_len + MAX_PACKET_LEN as u32,
            Mode::Big => u32::from(config.max_frags) * PAGE_SIZE as u32 - padding,
            Mode::Mergeable => PAGE_SIZE as u32,
        };
        let eager = config.strategy == Strategy::Eager;
        let buffers = (config.ring_size as usize / config.descriptors_per_buffer()) as u16;
        let need = if mode == Mode::Mergeable { config.max_frags + 1 } else { 1 };
        Self {
            mode,
            mergeable: mode == Mode::Mergeable,
            features: config.features,
            header_len,
            room,
            buffers,
            stays_unposted: buffers > (buffers / 2).max(need),
            max_frags: config.max_frags,
            pages_per_buffer: config.pages_per_buffer() as u16,
            private_head: mode == Mode::Mergeable || (mode == Mode::Big && !eager),
            eager,
        }
    }

    fn has(&self, feature: Features) -> bool {
        self.features.contains(feature)
    }

    fn not_negotiated(&self) -> Vec<[u16; 6]> {
        if !self.has(Features::GUEST_CSUM) {
            return vec![[1, 0, 0, 0, 34, 16], [1, 1, 0, 1448, 34, 16]];
        }
        let uso = Features::GUEST_USO4 | Features::GUEST_USO6;
        let mut types = Vec::new();
        for (gso_type, feature) in [
            (1, Features::GUEST_TSO4),
            (4, Features::GUEST_TSO6),
            (3, Features::GUEST_UFO),
            (5, uso),
            (0x81, Features::GUEST_ECN),
        ] {
            if !self.features.intersects(feature) {
                types.push([1, gso_type, 0, 1448, 34, 16]);
            }
        }
        types
    }

    /// F28: each field that is judged changes right after the one copy was made.
    fn rewritten_headers(&self) -> Vec<FaultCase> {
        let mut changes = vec![(0, vec![1, 0x7f]), (6, vec![0xff; 4])];
        if self.mergeable {
            changes.extend([(10, vec![0xff, 0xff]), (10, vec![0, 0])]);
        }
        let case = |(at, bytes)| {
            let actions = vec![Action::Rewrite { back: 0, at, bytes }];
            let at = vec![Place { point: Point::HeaderCopied, pass: 1, actions }];
            let actions = vec![good().into()];
            let case = delivered().then(Operation::Device { actions });
            case.then(Operation::Poll { budget: 64, at })
        };
        changes.into_iter().map(case).collect()
    }

    /// F12: one below, at, and one above, with a first buffer that is copied whole and one that is
    /// not.
    fn around_the_frag_limit(&self) -> Vec<FaultCase> {
        const LATER: u32 = 3000;
        let mut cases = Vec::new();
        for (first, most) in [(128, self.max_frags + 1), (129, self.max_frags)] {
            for n in (most - 1).max(1)..=most + 1 {
                let size = first + LATER * u32::from(n - 1);
                if n > self.buffers.min(64) || size > 70_000 {
                    continue;
                }
                let mut fill = vec![LATER; usize::from(n)];
                fill[0] = self.header_len + first;
                let sending = Sending { buffers: Some(n as u8), fill, ..Sending::new(size) };
                cases.push(if n > most {
                    let answer = Answer::Drop(DeviceFault::TooManyFrags);
                    FaultCase::new(answer).act([sending.into()])
                } else {
                    FaultCase::new(Answer::Deliver).act([sending.into()]).delivers(size as usize)
                });
            }
        }
        cases
    }

    /// F38: at each page of the first buffers, at the first skb; memory is back at the next poll.
    fn out_of_memory(&self) -> Vec<FaultCase> {
        let pages = (2 * self.pages_per_buffer + 2).min(self.buffers * self.pages_per_buffer);
        let of_pages = (0..pages).map(|skip| Operation::FailPages { skip, count: 1 });
        let skbs = if self.eager || self.mode == Mode::Small { self.buffers.min(3) } else { 0 };
        let of_skbs = (0..skbs).map(|skip| Operation::FailSkbs { skip, count: 1 });
        let case = |failure| {
            let operations = vec![failure, Operation::Refill, POLL];
            FaultCase { operations, delivered: Vec::new(), answer: Answer::Deliver }
        };
        of_pages.chain(of_skbs).map(case).collect()
    }
}
