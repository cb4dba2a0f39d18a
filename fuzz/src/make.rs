//! Parts of scenarios out of random bytes, weighted so that they get somewhere.

use arbitrary::{Result, Unstructured};
use vnet_rx::device::{Action, Area, Sending};
use vnet_rx::receive::{Point, Strategy};
use vnet_rx::scenario::{Operation, Place, Scenario, ScenarioConfig};
use vnet_rx::virtio::{Dialect, Mode};

type Random<'a, 'b> = &'a mut Unstructured<'b>;

/// A configuration that can exist.
pub fn config(u: Random) -> Result<ScenarioConfig> {
    let mode = *u.choose(&Mode::ALL)?;
    let max_frags = *u.choose(&[1, 2, 3, 17, 18, 45])?;
    let least = if mode == Mode::Big { u32::from(max_frags) + 2 } else { 2 };
    let ring_size = (1u32 << u.int_in_range(1..=6)?).max(least.next_power_of_two());
    let least_pages = if mode == Mode::Big { u32::from(max_frags) + 1 } else { 1 };
    Ok(ScenarioConfig {
        mode,
        strategy: *u.choose(&Strategy::ALL)?,
        dialect: *u.choose(&Dialect::ALL)?,
        ring_size,
        event_idx: u.arbitrary()?,
        max_frags,
        max_incomplete_polls: u.int_in_range(1..=4)?,
        first_index: *u.choose(&[0, 65_535, 65_534, 65_530, 65_500])?,
        pages: least_pages + u.int_in_range(0..=100)?,
        features: None,
    })
}

/// A whole scenario.
pub fn scenario(u: Random) -> Result<Scenario> {
    let config = config(u)?;
    let mut operations = vec![Operation::Refill];
    for _ in 0..u.int_in_range(1..=20)? {
        operations.push(operation(u)?);
    }
    Ok(Scenario { config, operations, ..Scenario::default() })
}

/// An operation.
pub fn operation(u: Random) -> Result<Operation> {
    Ok(match u.int_in_range(0..=23)? {
        0..=1 => Operation::Refill,
        2..=8 => Operation::Poll { budget: *u.choose(&[1, 2, 3, 64])?, at: places(u)? },
        9 => Operation::Release { packet: u.arbitrary()? },
        10 => Operation::ReleaseAll,
        11 => Operation::FailPages { skip: u.int_in_range(0..=40)?, count: u.int_in_range(0..=3)? },
        12 => Operation::FailSkbs { skip: u.int_in_range(0..=9)?, count: u.int_in_range(0..=3)? },
        13 => u.choose(&[Operation::Watchdog, Operation::Disconnect, Operation::Stop])?.clone(),
        14 => u.choose(&[Operation::Detach, Operation::Reset, Operation::Close])?.clone(),
        15 => Operation::Reset,
        _ => Operation::Device { actions: actions(u)? },
    })
}

fn places(u: Random) -> Result<Vec<Place>> {
    let count = *u.choose(&[0, 0, 0, 1, 2])?;
    let place = |u: Random| -> Result<Place> {
        let (point, pass) = (*u.choose(&Point::ALL)?, u.int_in_range(1..=3)?);
        Ok(Place { point, pass, actions: actions(u)? })
    };
    (0..count).map(|_| place(u)).collect()
}

fn actions(u: Random) -> Result<Vec<Action>> {
    (0..u.int_in_range(1..=4)?).map(|_| action(u)).collect()
}

/// An action.
pub fn action(u: Random) -> Result<Action> {
    let back = |u: Random| u.int_in_range(0..=5);
    let at = |u: Random| -> Result<u32> {
        let spots = [0, 1, 6, 10, 12, 20, 150, 4096];
        Ok(if u.arbitrary()? { *u.choose(&spots)? } else { u.int_in_range(0..=80_000)? })
    };
    let bytes = |u: Random| -> Result<Vec<u8>> {
        let n = u.int_in_range(0..=32)?;
        Ok(u.bytes(n.min(u.len()))?.to_vec())
    };
    Ok(match u.int_in_range(0..=21)? {
        0..=9 => Action::Send(sending(u)?),
        10..=11 => Action::Publish { count: *u.choose(&[1, 2, 64])? },
        12 => Action::Complete { id: id(u)?, len: len(u)? },
        13 => {
            Action::Again { back: back(u)?, len: if u.arbitrary()? { Some(len(u)?) } else { None } }
        }
        14 => Action::Jump { by: *u.choose(&[1, 2, 64, 0x8000, 0xfffe, 0xffff])? },
        15..=16 => Action::Rewrite { back: back(u)?, at: at(u)?, bytes: bytes(u)? },
        17 => Action::Stray { chain: u.int_in_range(0..=9)?, at: at(u)?, bytes: bytes(u)? },
        18..=19 => {
            Action::Scribble { area: *u.choose(&Area::ALL)?, at: u.arbitrary()?, bytes: bytes(u)? }
        }
        20 => Action::Flags { value: u.arbitrary()? },
        _ => Action::Event { ahead: *u.choose(&[0, 1, 2, 0x8000, 0xffff])? },
    })
}

fn id(u: Random) -> Result<u32> {
    Ok(if u.arbitrary()? { u.int_in_range(0..=70)? } else { u.arbitrary()? })
}

/// A used length: around what some rule looks at, or any.
fn len(u: Random) -> Result<u32> {
    let edges =
        [0, 1, 10, 12, 23, 24, 25, 26, 1528, 1530, 4096, 73_722, 73_728, 0x1_0000, u32::MAX];
    Ok(match u.int_in_range(0..=2)? {
        0 => u.choose(&edges)?.saturating_add(u.int_in_range(0..=2)?),
        1 => u.int_in_range(0..=4100)?,
        _ => u.arbitrary()?,
    })
}

/// A packet, mostly an honest one.
fn sending(u: Random) -> Result<Sending> {
    let sizes = [14, 60, 128, 129, 1518, 1519, 4080, 4084, 4085, 9000, 65_535, 70_000];
    let size = if u.ratio(2, 3)? { *u.choose(&sizes)? } else { u.int_in_range(0..=6000)? };
    let mut sending = Sending { seed: u.arbitrary()?, ..Sending::new(size) };
    let pairs = |u: Random, value: fn(Random) -> Result<u32>| -> Result<Vec<(u8, u32)>> {
        (0..u.int_in_range(0..=2)?).map(|_| Ok((u.int_in_range(0..=3)?, value(u)?))).collect()
    };
    for _ in 0..*u.choose(&[0, 0, 0, 1, 2])? {
        match u.int_in_range(0..=7)? {
            0 => {
                let [a, b, c, d]: [u16; 4] = u.arbitrary()?;
                sending.header = [u.int_in_range(0..=3)?, u.int_in_range(0..=255)?, a, b, c, d];
            }
            1 => sending.header = [1, *u.choose(&[0, 1, 3, 4, 5, 0x81])?, 0, 1448, 34, 16],
            2 => sending.num_buffers = Some(*u.choose(&[0, 1, 2, 3, 19, 64, 65, u16::MAX])?),
            3 => sending.buffers = Some(u.int_in_range(1..=20)?),
            4 => sending.fill = vec![u.int_in_range(0..=4096)?, u.int_in_range(0..=4096)?],
            5 => sending.len = pairs(u, len)?,
            6 => sending.id = pairs(u, id)?,
            _ => sending.id_add = pairs(u, |u| Ok(*u.choose(&[1, 0x1_0000, u32::MAX])?))?,
        }
    }
    sending.hold = *u.choose(&[0, 0, 0, 1, 2, 16])?;
    Ok(sending)
}
