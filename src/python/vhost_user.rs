//! A device behind a vhost-user socket.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::errors::{ClosedError, ConfigError, OrRaise, exclusive};
use super::queue::PyRxQueue;
use super::values::within;
use crate::vhost_user::{Endpoint, Parts, Session, Settings, TxQueue, VhostUserError};
use crate::virtio::Features;

/// How long to wait for the device at a stretch, between looks at Unix signals.
const SLICE: Duration = Duration::from_millis(100);

/// One connection.
struct Connection {
    queue: Py<PyRxQueue>,
    tx: TxQueue,
    session: Arc<Session>,
}

/// A device behind a vhost-user socket, DPDK or Open vSwitch for instance, and the queue it feeds.
///
/// It connects to ``path``, or with ``listen`` waits there for the device to connect, and does the
/// handshake; then packets arrive in ``queue``. ``timeout`` is how many seconds the device may take
/// to accept, to do the handshake, and to stop; ``patience`` how many it may take to come, when it is
/// not there yet. ``mode`` is the best that the device offers unless asked for; ``features`` is a mask
/// of those to accept. Raises ``DeviceError`` (``DeviceTimeout``, ``ProtocolError``) and
/// ``ConfigError``, and leaves nothing open then.
///
/// When the device goes away, ``queue`` breaks with ``Disconnected`` once everything was polled;
/// ``reconnect`` makes a new queue.
#[pyclass(frozen, name = "VhostUser", module = "vnet_rx")]
pub(super) struct PyVhostUser {
    endpoint: Mutex<Option<Arc<Endpoint>>>,
    connection: Mutex<Option<Connection>>,
    /// What the devices of earlier connections sent.
    notifications: AtomicU64,
    settings: Settings,
    path: PathBuf,
}

impl PyVhostUser {
    /// Meets the device. With `patience`, waits that long for one that is not there yet.
    fn meet(
        &self,
        py: Python<'_>,
        endpoint: &Endpoint,
        patience: Option<Duration>,
    ) -> PyResult<Connection> {
        let wait = patience.is_some() || matches!(endpoint, Endpoint::Listen(_));
        let timeout = patience.unwrap_or(self.settings.timeout);
        let until = Instant::now() + timeout;
        let stream = loop {
            let left = until.saturating_duration_since(Instant::now());
            let slice = left.min(SLICE);
            match py
                .detach(|| if wait { endpoint.open_patiently(slice) } else { endpoint.open(slice) })
            {
                Ok(stream) => break stream,
                Err(error) if wait && error.is_absent() && left > slice => py.check_signals()?,
                Err(VhostUserError::NoConnection { .. }) if left > slice => py.check_signals()?,
                Err(VhostUserError::NoConnection { path, .. }) => {
                    return Err(VhostUserError::NoConnection { path, timeout }).or_raise();
                }
                Err(error) => return Err(error).or_raise(),
            }
        };
        // A device that has just come gets the whole time for its answers.
        let until = Instant::now() + self.settings.timeout;
        let parts = py.detach(|| Parts::establish(stream, &self.settings, until)).or_raise()?;
        let Parts { rx, tx, link } = parts;
        let session = Arc::clone(&link.session);
        Ok(Connection { queue: Py::new(py, PyRxQueue::linked(rx, link))?, tx, session })
    }

    /// Hangs up and takes all buffers back.
    fn end(&self, py: Python<'_>, connection: Connection) -> PyResult<()> {
        let sent = connection.session.notifications();
        self.notifications.fetch_add(sent, Ordering::Relaxed);
        connection.queue.get().close(py)
    }

    fn with<T>(&self, what: impl FnOnce(&mut Connection) -> PyResult<T>) -> PyResult<T> {
        match &mut *exclusive(&self.connection, "the connection")? {
            Some(connection) => what(connection),
            None => Err(ClosedError::new_err("not connected: reconnect() to go on")),
        }
    }
}

#[pymethods]
impl PyVhostUser {
    #[new]
    #[pyo3(signature = (
        path, *, listen=false, mode=None, strategy="deferred", ring_size=256, max_frags=18,
        features=None, incomplete_timeout=1.0, pages=None, timeout=5.0,
        patience=None,
    ))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of a Python constructor")]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        listen: bool,
        mode: Option<&str>,
        strategy: &str,
        ring_size: i64,
        max_frags: i64,
        features: Option<u64>,
        incomplete_timeout: f64,
        pages: Option<i64>,
        timeout: f64,
        patience: Option<f64>,
    ) -> PyResult<Self> {
        let settings = Settings {
            mode: mode.map(str::parse).transpose().or_raise()?,
            strategy: strategy.parse().or_raise()?,
            ring_size: within("ring_size", ring_size)?,
            max_frags: within("max_frags", max_frags)?,
            accept: features.map_or(Settings::KNOWN, Features::from_bits),
            incomplete: seconds("incomplete_timeout", incomplete_timeout)?,
            pages: pages.map(|n| within::<u32>("pages", n)).transpose()?.map(|n| n as usize),
            timeout: seconds("timeout", timeout)?,
        };
        let patience = patience.map(|patience| seconds("patience", patience)).transpose()?;
        settings.validate().or_raise()?;
        let endpoint =
            if listen { Endpoint::listen(&path).or_raise()? } else { Endpoint::connect(&path) };
        let this = Self {
            endpoint: Mutex::new(None),
            connection: Mutex::new(None),
            notifications: AtomicU64::new(0),
            settings,
            path,
        };
        let connection = this.meet(py, &endpoint, patience)?;
        *exclusive(&this.connection, "the connection")? = Some(connection);
        *exclusive(&this.endpoint, "the connection")? = Some(Arc::new(endpoint));
        Ok(this)
    }

    /// Ends the connection if there still is one, and meets the device again, waiting at most
    /// ``timeout`` seconds for it (by default the time given at first). ``queue`` is a new one then,
    /// over new memory and with counters of its own; the old one is closed.
    #[pyo3(signature = (timeout=None))]
    fn reconnect(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let timeout = match timeout {
            Some(timeout) => seconds("timeout", timeout)?,
            None => self.settings.timeout,
        };
        let endpoint = exclusive(&self.endpoint, "the connection")?.as_ref().map(Arc::clone);
        let endpoint = endpoint.ok_or_else(|| ClosedError::new_err("the device is closed"))?;
        let mut connection = exclusive(&self.connection, "the connection")?;
        if let Some(old) = connection.take() {
            self.end(py, old)?;
        }
        *connection = Some(self.meet(py, &endpoint, Some(timeout))?);
        Ok(())
    }

    /// Stops the device. What it has completed can still be polled, and nothing follows. Raises
    /// ``ProtocolError``, ``DeviceTimeout`` or, if it was stopped or closed before, ``ClosedError``.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        let session = self.with(|connection| Ok(Arc::clone(&connection.session)))?;
        py.detach(|| session.stop()).or_raise()
    }

    /// Copies a frame of 14 to 4084 bytes into a page and sends it, without waiting for the device
    /// to read it. Raises ``RingFull`` while the device has not read earlier ones.
    fn send(&self, frame: &[u8]) -> PyResult<()> {
        self.with(|connection| connection.tx.send(frame).or_raise())
    }

    /// Ends the connection, closes the queue and, where it listened, removes the socket. Packets
    /// live on. Closing twice is fine.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        exclusive(&self.endpoint, "the connection")?.take();
        match exclusive(&self.connection, "the connection")?.take() {
            Some(connection) => self.end(py, connection),
            None => Ok(()),
        }
    }

    #[getter]
    fn queue(&self, py: Python<'_>) -> PyResult<Py<PyRxQueue>> {
        self.with(|connection| Ok(connection.queue.clone_ref(py)))
    }
    #[getter]
    fn connected(&self) -> PyResult<bool> {
        let connection = exclusive(&self.connection, "the connection")?;
        Ok(connection.as_ref().is_some_and(|c| c.session.is_running() && !c.session.is_gone()))
    }
    #[getter]
    fn path(&self) -> PathBuf {
        self.path.clone()
    }
    #[getter]
    fn sent(&self) -> PyResult<u64> {
        self.with(|connection| Ok(connection.tx.sent()))
    }
    #[getter]
    fn notifications(&self) -> PyResult<u64> {
        let connection = exclusive(&self.connection, "the connection")?;
        let now = connection.as_ref().map_or(0, |connection| connection.session.notifications());
        Ok(self.notifications.load(Ordering::Relaxed) + now)
    }
    /// Pages of frames sent that the device has not read yet.
    #[getter]
    fn tx_outstanding(&self) -> PyResult<u16> {
        self.with(|connection| {
            connection.tx.reclaim().or_raise()?;
            Ok(connection.tx.outstanding())
        })
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }
    #[pyo3(signature = (*_exc))]
    fn __exit__(&self, py: Python<'_>, _exc: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.close(py)
    }
    fn __repr__(&self) -> String {
        format!("<VhostUser {}>", self.path.display())
    }
}

/// A time in seconds, more than 0.
fn seconds(name: &str, value: f64) -> PyResult<Duration> {
    match Duration::try_from_secs_f64(value) {
        Ok(time) if !time.is_zero() && time < Duration::from_secs(1 << 31) => Ok(time),
        _ => Err(ConfigError::new_err(format!(
            "{name} {value} is not possible: give seconds, more than 0"
        ))),
    }
}
