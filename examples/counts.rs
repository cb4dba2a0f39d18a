//! One cell of `make counts`: some rounds of the driver's work, for callgrind to count.
//!
//! `counts CELL`, where CELL is named as in `cargo bench`: `receive/deferred/mergeable/60`,
//! `ring-size/eager/64`, `peers/virtio-drivers/60`. Prints, as JSON, what the counted packets cost
//! beside instructions. Callgrind is to collect in `timed_receive` and `timed_release`, and to start
//! anew at `counting_starts`.

use std::error::Error;

use vnet_rx::receive::{RxConfig, Strategy};
use vnet_rx::virtio::{Dialect, Mode};

#[path = "../benches/counting_allocator.rs"]
mod counting_allocator;
#[path = "../benches/rig.rs"]
mod rig;
#[path = "../benches/virtio_drivers_rig.rs"]
mod virtio_drivers_rig;

use counting_allocator::allocations;
use rig::{BATCH, Driver, Frames, Rig};
use virtio_drivers_rig::VirtioDrivers;

/// Rounds before the counting, so that everything has been allocated, and rounds counted.
const ROUNDS: usize = 16;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [cell] = &arguments[..] else { return Err("usage: counts CELL".into()) };
    let parts: Vec<&str> = cell.split('/').collect();
    match parts[..] {
        ["receive", strategy, mode, size] => queue(strategy, mode, size, 256),
        ["ring-size", strategy, ring_size] => {
            queue(strategy, "mergeable", "60", ring_size.parse()?)
        }
        ["peers", "virtio-drivers", size] => {
            let mut driver = VirtioDrivers::new(size.parse()?);
            let counted = count(&mut driver, 1, |_| ());
            driver.check();
            counted.print(&[]);
            Ok(())
        }
        _ => Err(format!("{cell}: no such cell").into()),
    }
}

fn queue(strategy: &str, mode: &str, size: &str, ring_size: u32) -> Result<(), Box<dyn Error>> {
    let (mode, strategy): (Mode, Strategy) = (mode.parse()?, strategy.parse()?);
    let config = RxConfig { ring_size, ..RxConfig::new(mode, strategy, Dialect::Modern) };
    let (frames, pass) = match size {
        "mix" => (Frames::mix(), Frames::mix().len()),
        size => (Frames::of_size(size.parse()?, config.features), 1),
    };
    let rig = Rig::with_frames(config, frames);
    let mut rig = rig.ok_or_else(|| format!("{} mode cannot carry {size}", mode.name()))?;
    let mut before = rig.stats();
    let counted = count(&mut rig, pass, |rig| before = rig.stats());
    let now = rig.stats();
    rig.check();
    let counters = before.counters().zip(now.counters());
    let costs: Vec<_> = counters.map(|((name, before), (_, now))| (name, now - before)).collect();
    counted.print(&costs);
    Ok(())
}

/// What was counted.
struct Counted {
    packets: usize,
    heap_allocations: u64,
}

impl Counted {
    fn print(&self, counters: &[(&str, u64)]) {
        print!("{{\"packets\": {}", self.packets);
        print!(", \"heap_allocations\": {}", self.heap_allocations);
        counters.iter().for_each(|(name, n)| print!(", \"{name}\": {n}"));
        println!("}}");
    }
}

/// Rounds that warm up, and rounds that are counted; `started` is called between them.
fn count<D: Driver>(driver: &mut D, pass: usize, started: impl FnOnce(&D)) -> Counted {
    rounds(driver, pass);
    started(driver);
    counting_starts();
    rounds(driver, pass)
}

/// Full rounds; with more than one frame, as many as one pass through all of them takes.
fn rounds(driver: &mut impl Driver, pass: usize) -> Counted {
    let mut counted = Counted { packets: 0, heap_allocations: 0 };
    let mut round = 0;
    while if pass > 1 { counted.packets < pass } else { round < ROUNDS } {
        let left = if pass > 1 { pass - counted.packets } else { BATCH };
        counted.packets += driver.send(BATCH.min(left));
        counted.heap_allocations += allocations(|| driver.timed_receive());
        driver.compare();
        counted.heap_allocations += allocations(|| driver.timed_release());
        round += 1;
    }
    counted
}

/// Callgrind forgets, on entry, what it has collected.
#[inline(never)]
fn counting_starts() {
    std::hint::black_box(());
}
