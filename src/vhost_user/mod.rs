//! The driver side of vhost-user: the device is another process behind a Unix socket, DPDK or Open
//! vSwitch for instance.
//!
//! ```text
//!   endpoint   connect to a socket or listen on one                  -> a stream
//!   deadline   an end to waiting for answers
//!   session    the messages: handshake, stop, is it still there?     -> what the device offers
//!   settings   what is asked for against what is offered             -> features
//!   transmit   the other queue of the pair, small
//!   device     all of it together, with an RxQueue: VhostUser
//! ```
//!
//! The device sees one region of memory, the arena's sealed memfd, and four eventfds. What it writes
//! into the memory is judged by [`RxQueue`](crate::receive::RxQueue) as ever; what it writes into the
//! socket is judged here. Nothing it does on either takes longer than the timeout, leaks a
//! descriptor or panics. When it goes away the queue breaks with `Disconnected`, and a new
//! connection gets new memory, because the old device may still have the old memory mapped.

mod deadline;
mod device;
mod endpoint;
mod error;
mod session;
mod settings;
mod transmit;

pub use device::VhostUser;
#[cfg(feature = "python")]
pub(crate) use device::{Link, Parts};
pub use endpoint::Endpoint;
pub use error::VhostUserError;
pub use session::{Session, Wake};
pub use settings::Settings;
pub use transmit::{SendError, TX_RING_SIZE, TxQueue};
