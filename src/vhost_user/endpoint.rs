//! Where the device is to be met: at its socket, or at ours.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::error::VhostUserError;

/// Pause between two tries to meet a device that is not there yet.
const RETRY: Duration = Duration::from_millis(20);

/// A Unix socket at which a device is met.
#[derive(Debug)]
pub enum Endpoint {
    /// The device listens there (DPDK's `net_vhost`, Open vSwitch's `dpdkvhostuser`).
    Connect(PathBuf),
    /// We listen there, and the device connects (Open vSwitch's `dpdkvhostuserclient`).
    Listen(Listener),
}

/// A socket on which we listen; its file is removed when it is dropped.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Endpoint {
    /// The device listens at `path`; nothing is done yet.
    pub fn connect(path: impl Into<PathBuf>) -> Self {
        Self::Connect(path.into())
    }

    /// Listens at `path` from now on. A socket that a process left behind is replaced.
    ///
    /// # Errors
    /// [`VhostUserError`] naming the path.
    pub fn listen(path: impl Into<PathBuf>) -> Result<Self, VhostUserError> {
        let path = path.into();
        address(&path)?;
        let bound = UnixListener::bind(&path).or_else(|error| {
            let left_behind = error.kind() == io::ErrorKind::AddrInUse
                && is_socket(&path)
                && UnixStream::connect(&path)
                    .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
            if !left_behind {
                return Err(error);
            }
            std::fs::remove_file(&path)?;
            UnixListener::bind(&path)
        });
        let socket = bound.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => VhostUserError::InUse(path.clone()),
            _ => from_kernel("listening", &path, error),
        })?;
        socket.set_nonblocking(true).map_err(VhostUserError::system("listening"))?;
        Ok(Self::Listen(Listener { socket, path }))
    }

    /// The socket's path.
    pub fn path(&self) -> &Path {
        match self {
            Self::Connect(path) => path,
            Self::Listen(listener) => &listener.path,
        }
    }

    /// One try: connects, or waits for a connection for at most `timeout`.
    ///
    /// # Errors
    /// [`VhostUserError`] naming the path; [`VhostUserError::is_absent`] says whether the device
    /// may still come.
    pub fn open(&self, timeout: Duration) -> Result<UnixStream, VhostUserError> {
        match self {
            Self::Connect(path) => connect_within(path, timeout),
            Self::Listen(listener) => listener.accept(timeout),
        }
    }

    /// Tries for at most `timeout`, until the device is there.
    ///
    /// # Errors
    /// As for [`open`](Self::open): what the last try came to.
    pub fn open_patiently(&self, timeout: Duration) -> Result<UnixStream, VhostUserError> {
        let until = Instant::now() + timeout;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.open(left) {
                Err(error) if error.is_absent() && left > RETRY => std::thread::sleep(RETRY),
                result => return result,
            }
        }
    }
}

impl Listener {
    fn accept(&self, timeout: Duration) -> Result<UnixStream, VhostUserError> {
        let failed = VhostUserError::system("accepting");
        let until = Instant::now() + timeout;
        loop {
            match self.socket.accept() {
                Ok((stream, _)) => {
                    return match stream.set_nonblocking(false) {
                        Ok(()) => Ok(stream),
                        Err(error) => Err(failed(error)),
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(failed(error)),
            }
            let left = until.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
            match poll(&mut fds, Some(&left.try_into().unwrap_or_default())) {
                Ok(1..) => {}
                // Interrupted is as good as over: the caller may want to look at its signals.
                Ok(0) | Err(Errno::INTR) => {
                    let path = self.path.clone();
                    return Err(VhostUserError::NoConnection { path, timeout });
                }
                Err(error) => return Err(failed(error.into())),
            }
        }
    }
}

/// A connected stream. Connecting blocks only while the other side's backlog is full.
fn connect_within(path: &Path, timeout: Duration) -> Result<UnixStream, VhostUserError> {
    let address = address(path)?;
    let failed = |error: Errno| VhostUserError::system("connecting")(error.into());
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(failed)?;
    // No time at all would mean for ever.
    let limit = timeout.max(Duration::from_millis(1));
    set_socket_timeout(&socket, Timeout::Send, Some(limit)).map_err(failed)?;
    let timed_out = || VhostUserError::NoConnection { path: path.to_owned(), timeout };
    connect(&socket, &address).map_err(|error| match error {
        Errno::AGAIN | Errno::INTR => timed_out(),
        error => from_kernel("connecting", path, error.into()),
    })?;
    set_socket_timeout(&socket, Timeout::Send, None).map_err(failed)?;
    Ok(UnixStream::from(socket))
}

fn address(path: &Path) -> Result<SocketAddrUnix, VhostUserError> {
    SocketAddrUnix::new(path).map_err(|error| match error {
        Errno::NAMETOOLONG => VhostUserError::PathTooLong(path.to_owned()),
        _ => VhostUserError::NotASocket(path.to_owned()),
    })
}

fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// The kernel's answer for a socket path, in terms of what to do.
fn from_kernel(what: &'static str, path: &Path, error: io::Error) -> VhostUserError {
    let path = path.to_owned();
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR) => VhostUserError::NotFound(path),
        Some(Errno::ACCESS | Errno::PERM) => VhostUserError::Permission(path),
        Some(Errno::PROTOTYPE) => VhostUserError::NotASocket(path),
        // Linux says so of any file that is not a socket, too.
        Some(Errno::CONNREFUSED) if !is_socket(&path) => VhostUserError::NotASocket(path),
        Some(Errno::CONNREFUSED) => VhostUserError::Refused(path),
        _ => VhostUserError::System { what, source: error },
    }
}
