//! One cell of `make counts`: some rounds of the driver's work, for callgrind to count.
//!
//! `counts MODE STRATEGY SIZE RING_SIZE PACKETS` prints what the packets cost beside instructions.

use vnet_rx::receive::RxConfig;
use vnet_rx::virtio::Dialect;

#[path = "../benches/rig/mod.rs"]
mod rig;

use rig::{BATCH, Rig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, strategy, size, ring_size, packets] = &arguments[..] else {
        return Err("usage: counts MODE STRATEGY SIZE RING_SIZE PACKETS".into());
    };
    let config = RxConfig::new(mode.parse()?, strategy.parse()?, Dialect::Modern);
    let config = RxConfig { ring_size: ring_size.parse()?, ..config };
    let Some(mut rig) = Rig::new(config, size.parse()?) else {
        return Err(format!("{mode} mode cannot carry {size} bytes").into());
    };
    let mut left: usize = packets.parse()?;
    while left > 0 {
        let sent = rig.send(BATCH.min(left));
        if sent == 0 {
            return Err(format!("a ring of {ring_size} has no room for {size} bytes").into());
        }
        rig.driver_work();
        left -= sent;
    }
    rig.check();
    Ok(())
}
