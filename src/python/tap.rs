//! A TAP, and a TAP at the other end of a queue's ring.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::errors::{ClosedError, ConfigError, OrRaise, exclusive};
use super::memory::PySharedMemory;
use super::packet::PyPacket;
use super::queue::PyRxQueue;
use super::values::{PyRingLayout, PyVnetHeader, timeout as seconds};
use crate::device::source::{Frame, Tap};
use crate::device::{Host, TapHost};
use crate::ring::EventFd;
use crate::virtio::{Dialect, Features, Mode};

/// A TAP with virtio-net headers, for a driver that would like to negotiate ``features``:
/// ``Tap(name="", features=None)``, by default those of mergeable mode.
///
/// It is opened, or made if it does not exist; an empty name is of the kernel's choice. Raises
/// ``ConfigError`` for a name that is none, and ``DeviceError`` with what to do.
#[pyclass(frozen, name = "Tap", module = "vnet_rx")]
pub(super) struct PyTap(Mutex<Option<Arc<Tap>>>);

impl PyTap {
    fn live(&self) -> PyResult<Arc<Tap>> {
        let tap = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tap.ok_or_else(|| ClosedError::new_err("the TAP was closed"))
    }

    fn made(tap: Tap) -> Self {
        Self(Mutex::new(Some(Arc::new(tap))))
    }
}

/// The features asked for.
fn wanted(features: Option<u64>) -> Features {
    let default = Features::default_for(Mode::Mergeable, Dialect::Modern);
    features.map_or(default, Features::from_bits)
}

#[pymethods]
impl PyTap {
    #[new]
    #[pyo3(signature = (name="", features=None))]
    fn new(name: &str, features: Option<u64>) -> PyResult<Self> {
        Tap::open(name, wanted(features)).or_raise().map(Self::made)
    }

    /// A TAP that somebody has opened with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR, in another network
    /// namespace perhaps. The descriptor is duplicated and stays the caller's.
    #[staticmethod]
    #[pyo3(signature = (fd, features=None))]
    fn adopt(fd: i32, features: Option<u64>) -> PyResult<Self> {
        Tap::adopt(fd, wanted(features)).or_raise().map(Self::made)
    }

    #[getter]
    fn name(&self) -> PyResult<String> {
        Ok(self.live()?.name().to_owned())
    }
    /// What was wanted, less the offloads that this kernel does not have.
    #[getter]
    fn features(&self) -> PyResult<u64> {
        Ok(self.live()?.features().bits())
    }
    fn fileno(&self) -> PyResult<i32> {
        Ok(self.live()?.as_fd().as_raw_fd())
    }

    /// Gives the kernel a frame to receive: ``bytes`` with a header (none by default), or a packet
    /// with its own. False if the kernel has no room for it now. Raises ``DeviceError`` when the header
    /// makes no sense to the kernel, the interface is down, or gone.
    #[pyo3(signature = (frame, header=None))]
    fn send(
        &self,
        py: Python<'_>,
        frame: &Bound<'_, PyAny>,
        header: Option<PyVnetHeader>,
    ) -> PyResult<bool> {
        let tap = self.live()?;
        let mut frame = if let Ok(packet) = frame.cast::<PyPacket>() {
            packet.get().frame()?
        } else if let Ok(bytes) = frame.cast::<PyBytes>() {
            Frame { bytes: bytes.as_bytes().to_vec(), ..Frame::default() }
        } else {
            return Err(PyTypeError::new_err(format!(
                "a frame is bytes or a Packet, not {}",
                frame.get_type().name()?
            )));
        };
        if let Some(header) = header {
            frame.header = header.0;
        }
        py.detach(|| tap.send(&frame.header, &frame.bytes)).or_raise()
    }

    /// Closes it, as soon as no host uses it. Twice is fine.
    fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }
    #[pyo3(signature = (*_exc))]
    fn __exit__(&self, _exc: &Bound<'_, PyTuple>) {
        self.close();
    }
    fn __repr__(&self) -> String {
        self.live().map_or_else(|_| "<Tap, closed>".to_owned(), |tap| format!("<Tap {tap}>"))
    }
}

/// A TAP at the other end of anybody's ring: ``TapHost(tap, memory, layout)``, for a driver that
/// negotiated the features of the TAP, or ``TapHost.of(tap, queue)``. It works in the thread that calls
/// ``pump``. Raises ``DriverFault`` when the driver's ring makes no sense.
#[pyclass(frozen, name = "TapHost", module = "vnet_rx")]
pub(super) struct PyTapHost {
    host: Mutex<Option<TapHost>>,
    /// Wakes a thread in `wait`.
    wake: EventFd,
    closing: AtomicBool,
}

impl PyTapHost {
    fn over(host: Host, tap: Arc<Tap>) -> PyResult<Self> {
        Ok(Self {
            host: Mutex::new(Some(TapHost::new(host, tap))),
            wake: EventFd::new()?,
            closing: AtomicBool::new(false),
        })
    }

    /// Runs `what` on the host; a `close` meanwhile takes effect afterwards.
    fn with<T>(&self, what: impl FnOnce(&mut TapHost) -> PyResult<T>) -> PyResult<T> {
        let result = match &mut *exclusive(&self.host, "the TAP host")? {
            Some(host) if !self.closing.load(Ordering::Acquire) => what(host),
            _ => Err(ClosedError::new_err("the TAP host was closed")),
        };
        self.let_go();
        result
    }

    /// Drops the host if it was closed. Whoever has it at the moment does so afterwards.
    fn let_go(&self) {
        if self.closing.load(Ordering::Acquire)
            && let Ok(mut host) = self.host.try_lock()
        {
            host.take();
        }
    }
}

#[pymethods]
impl PyTapHost {
    #[new]
    fn new(tap: &PyTap, memory: &PySharedMemory, layout: PyRingLayout) -> PyResult<Self> {
        let tap = tap.live()?;
        let host = Host::new(&memory.0, layout.into(), tap.features()).or_raise()?;
        Self::over(host, tap)
    }

    /// A host at the other end of ``queue``'s ring, which notifies ``queue.wait``. Raises
    /// ``ConfigError`` unless TAP and queue agree on the features.
    #[staticmethod]
    fn of(tap: &PyTap, queue: &PyRxQueue) -> PyResult<Self> {
        let tap = tap.live()?;
        let (memory, layout, features) = queue.parts();
        if tap.features() != features {
            return Err(ConfigError::new_err(format!(
                "the TAP is set up for features {:#x}, the queue for {:#x}: make the queue with \
                 the features of the TAP",
                tap.features().bits(),
                features.bits()
            )));
        }
        let mut host = Host::new(memory, layout, features).or_raise()?;
        host.set_call(Some(Arc::clone(queue.call())));
        Self::over(host, tap)
    }

    /// Moves at most ``most`` frames from the TAP into the ring; how many are done with. Never waits.
    #[pyo3(signature = (most=64))]
    fn pump(&self, py: Python<'_>, most: usize) -> PyResult<usize> {
        self.with(|host| py.detach(|| host.pump(most)).or_raise())
    }

    /// Sleeps until ``pump`` may move something: True, or False when ``timeout`` seconds are over first
    /// (None waits for ever). While the queue has too few buffers it sleeps 20 ms at most.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let timeout = seconds(timeout)?;
        // An error is an interruption by a signal.
        let ready =
            self.with(|host| Ok(py.detach(|| host.wait(&self.wake, timeout)).unwrap_or(false)))?;
        py.check_signals()?;
        Ok(ready)
    }

    #[getter]
    fn delivered(&self) -> PyResult<u64> {
        self.with(|host| Ok(host.delivered()))
    }
    /// Frames that were too long for the queue's buffers.
    #[getter]
    fn undeliverable(&self) -> PyResult<u64> {
        self.with(|host| Ok(host.undeliverable()))
    }
    #[getter]
    fn notifications(&self) -> PyResult<u64> {
        self.with(|host| Ok(host.notifications()))
    }

    /// Lets go of TAP and ring; a thread in ``wait`` is woken. Twice is fine.
    fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.wake.signal();
        self.let_go();
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }
    #[pyo3(signature = (*_exc))]
    fn __exit__(&self, _exc: &Bound<'_, PyTuple>) {
        self.close();
    }
}
