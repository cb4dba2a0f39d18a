//! What can go wrong with a vhost-user device, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::receive::ConfigError;
use crate::virtio::Mode;

/// Why there is no connection to a device, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum VhostUserError {
    /// There is no such file.
    #[error("no socket at {0}: start the device first, or check the path")]
    NotFound(PathBuf),
    /// There is a file, but it is not a stream socket.
    #[error("{0} is not a Unix stream socket: give the path that the device listens at")]
    NotASocket(PathBuf),
    /// The socket was left behind.
    #[error("nobody listens at {0}: the process that made this socket is gone, start it again")]
    Refused(PathBuf),
    /// The file system forbids it.
    #[error(
        "permission denied for {0}: connecting needs write permission for the socket, listening for \
         its directory"
    )]
    Permission(PathBuf),
    /// The path does not fit into a socket address.
    #[error("the socket path {0} is too long: Unix sockets take at most 107 bytes")]
    PathTooLong(PathBuf),
    /// Somebody else listens there, or there is another file.
    #[error(
        "{0} exists and is in use: choose another path, or stop the process that listens there"
    )]
    InUse(PathBuf),
    /// Nobody came, or nobody accepted.
    #[error("no connection at {path} within {timeout:?}: is the device running, with this path?")]
    NoConnection {
        /// The socket.
        path: PathBuf,
        /// How long was waited.
        timeout: Duration,
    },
    /// The kernel refused something.
    #[error("{what} failed: {source}")]
    System {
        /// The step that failed.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The device hung up.
    #[error("the device closed the connection at {0}: its log says why")]
    Closed(&'static str),
    /// The device did not answer in time.
    #[error(
        "the device did not answer {message} within {timeout:?}: it hangs, or it does not speak \
         vhost-user"
    )]
    Silent {
        /// The message that was under way.
        message: &'static str,
        /// How long was waited.
        timeout: Duration,
    },
    /// The device answered with an error.
    #[error("the device refused {0}: its log says why")]
    Rejected(&'static str),
    /// What came was not an answer to what was asked.
    #[error(
        "the answer to {0} is not one: a wrong message, a wrong size or descriptors that do not \
         belong there; does the other side speak vhost-user?"
    )]
    Garbled(&'static str),
    /// The device lacks something without which it cannot be used.
    #[error("the device does not offer {0}, which is needed: use a newer one")]
    Lacks(&'static str),
    /// A number of queues that cannot be.
    #[error("the device says that it has {0} queues")]
    QueueCount(u64),
    /// A buffer mode was asked for that the device cannot serve.
    #[error(
        "{} mode is not possible: it needs {needs}, and the device offers {offered}; choose another \
         mode, or none to take the best there is", mode.name()
    )]
    Mode {
        /// The mode asked for.
        mode: Mode,
        /// The features it needs.
        needs: &'static str,
        /// The features that the device offers and that were to be accepted.
        offered: String,
    },
    /// The device was stopped or went away before.
    #[error("the device is no longer connected: reconnect() to go on")]
    Gone,
    /// No queue can be made of the settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl VhostUserError {
    /// Whether the device was merely not there, and may come.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::NotFound(_) | Self::Refused(_) | Self::NoConnection { .. })
    }

    /// For `map_err` of a system call.
    pub(super) fn system(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
