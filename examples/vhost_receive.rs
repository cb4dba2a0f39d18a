//! Receives from a vhost-user device as fast as it can and says how fast that was.
//!
//! `vhost_receive SOCKET [SECONDS [MODE [STRATEGY [RING_SIZE]]]]` prints one line of JSON: packets
//! and bytes received, the seconds that took, and the negotiated features.

use std::time::{Duration, Instant};

use vnet_rx::receive::RxError;
use vnet_rx::vhost_user::{Endpoint, Settings, VhostUser};

/// Packets per poll, as in the kernel's NAPI and in DPDK's drivers.
const BUDGET: usize = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |at: usize| arguments.get(at).map(String::as_str);
    let Some(path) = given(0) else {
        return Err("usage: vhost_receive SOCKET [SECONDS [MODE [STRATEGY [RING_SIZE]]]]".into());
    };
    let seconds = Duration::from_secs_f64(given(1).unwrap_or("5").parse()?);
    let settings = Settings {
        mode: given(2).map(str::parse).transpose()?,
        strategy: given(3).unwrap_or("deferred").parse()?,
        ring_size: given(4).unwrap_or("256").parse()?,
        ..Settings::default()
    };
    let mut device = VhostUser::open(Endpoint::connect(path), settings)?;
    let mut packets = Vec::with_capacity(BUDGET);
    // The first packet starts the clock.
    while !device.wait(settings.timeout)? {}
    let began = Instant::now();
    let stats = device.rx().stats();
    while began.elapsed() < seconds {
        // The clock is read once in a while, not for every batch.
        for _ in 0..256 {
            match device.poll(BUDGET, &mut packets) {
                Ok(_) => device.release(&mut packets),
                Err(RxError::Broken(fault)) => return Err(format!("broken: {fault}").into()),
                Err(error) => return Err(error.into()),
            }
        }
    }
    let elapsed = began.elapsed().as_secs_f64();
    let now = device.rx().stats();
    let received = now.rx_packets - stats.rx_packets;
    println!(
        "{{\"packets\": {received}, \"bytes\": {}, \"seconds\": {elapsed:.6}, \"pps\": {:.0}, \
         \"mode\": \"{}\", \"strategy\": \"{}\", \"ring_size\": {}, \"features\": \"{:#x}\"}}",
        now.rx_bytes - stats.rx_bytes,
        received as f64 / elapsed,
        device.rx().config().mode().name(),
        settings.strategy.name(),
        settings.ring_size,
        device.features().bits(),
    );
    device.stop()?;
    Ok(())
}
