//! A host in a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::host::{Host, HostError, Offer};
use super::source::Frame;
use crate::ring::EventFd;

/// How long the thread sleeps at most before it looks again: the answer to a kick that was lost.
const NAP: Duration = Duration::from_millis(100);

/// What a host thread has done.
#[derive(Debug)]
pub struct Served {
    /// The host, to be used again.
    pub host: Host,
    /// Frames delivered.
    pub delivered: u64,
    /// Frames that could not be delivered at all.
    pub undeliverable: u64,
    /// Why it ended before its frames did, if the driver was to blame.
    pub error: Option<HostError>,
}

/// A [`Host`] that offers the frames of a source from a thread of its own, sleeping on the kick
/// line while the driver has no buffer for the next one.
#[derive(Debug)]
pub struct HostThread {
    thread: JoinHandle<Served>,
    stop: Arc<AtomicBool>,
    kick: Arc<EventFd>,
}

impl HostThread {
    /// Starts the thread. `kick` is the line on which the driver says that it has posted buffers.
    ///
    /// # Errors
    /// The system's, when no thread can be had.
    pub fn spawn(
        host: Host,
        frames: impl Iterator<Item = Frame> + Send + 'static,
        kick: Arc<EventFd>,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (of_stop, of_kick) = (Arc::clone(&stop), Arc::clone(&kick));
        let thread = thread::Builder::new()
            .name("vnet-rx-host".into())
            .spawn(move || serve(host, frames, &of_stop, &of_kick))?;
        Ok(Self { thread, stop, kick })
    }

    /// Whether all frames have been offered.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends the thread, after the frame at hand, and says what it has done. `None` if it panicked,
    /// which the source of frames may have made it do.
    pub fn stop(self) -> Option<Served> {
        // Relaxed: the signal below wakes the thread, and the nap is its fallback.
        self.stop.store(true, Ordering::Relaxed);
        self.kick.signal();
        self.thread.join().ok()
    }

    /// Waits until all frames have been offered, and says what the thread has done. Somebody else
    /// must be polling the queue. `None` if the thread panicked.
    pub fn join(self) -> Option<Served> {
        self.thread.join().ok()
    }
}

fn serve(
    mut host: Host,
    frames: impl Iterator<Item = Frame>,
    stop: &AtomicBool,
    kick: &EventFd,
) -> Served {
    host.device().disarm();
    let mut served = Served { host, delivered: 0, undeliverable: 0, error: None };
    for frame in frames {
        loop {
            if stop.load(Ordering::Relaxed) {
                return served;
            }
            match offer_or_sleep(&mut served.host, &frame, kick) {
                Ok(Offer::Delivered(_)) => served.delivered += 1,
                Ok(Offer::Undeliverable(_)) => served.undeliverable += 1,
                Ok(Offer::NoBuffers(_)) => continue,
                Err(fault) => {
                    served.error = Some(fault);
                    return served;
                }
            }
            break;
        }
    }
    served
}

/// Offers a frame; where there is no room, asks for a kick and sleeps until one comes.
fn offer_or_sleep(host: &mut Host, frame: &Frame, kick: &EventFd) -> Result<Offer, HostError> {
    let offer = host.offer(frame)?;
    if let Offer::NoBuffers(seen) = offer {
        // More may have been posted between the offer and the arming: then no kick may come.
        if !host.device().arm(seen)? {
            // An interrupted or failed wait only means looking again sooner.
            let _ = kick.wait(NAP);
            kick.clear();
        }
        host.device().disarm();
    }
    Ok(offer)
}
