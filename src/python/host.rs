//! The honest device, in the caller's thread or its own, and frames for it.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::{PyIndexError, PyOSError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyIterator, PyList};

use super::errors::{BusyError, ClosedError, ConfigError, IntoPyErr, OrRaise, exclusive};
use super::memory::PySharedMemory;
use super::queue::PyRxQueue;
use super::values::{PyRingLayout, PyVnetHeader, within};
use crate::device::source::{Frame, Generator, Sizes};
use crate::device::{Host, HostThread, Offer};
use crate::ring::EventFd;
use crate::virtio::Features;

/// Frames with their virtio-net headers, immutable: from an iterable of ``bytes`` or
/// ``(bytes, VnetHeader)``, from a capture or a generator.
#[pyclass(frozen, name = "Frames", module = "vnet_rx")]
pub(super) struct PyFrames(pub Arc<[Frame]>);

#[pymethods]
impl PyFrames {
    /// From any iterable of `bytes` or `(bytes, VnetHeader)`.
    #[new]
    fn new(frames: &Bound<'_, PyAny>) -> PyResult<Self> {
        let frames = frames.try_iter()?.map(|one| frame_from(&one?));
        Ok(Self(frames.collect::<PyResult<Vec<_>>>()?.into()))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        let all = self.0.iter().map(|f| (PyBytes::new(py, &f.bytes), PyVnetHeader(f.header)));
        PyList::new(py, all.collect::<Vec<_>>())?.try_iter()
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        index: isize,
    ) -> PyResult<(Bound<'py, PyBytes>, PyVnetHeader)> {
        let at = if index < 0 { index + self.0.len() as isize } else { index };
        let frame = usize::try_from(at).ok().and_then(|at| self.0.get(at));
        let frame = frame.ok_or_else(|| {
            PyIndexError::new_err(format!("frame {index} of {} does not exist", self.0.len()))
        })?;
        Ok((PyBytes::new(py, &frame.bytes), PyVnetHeader(frame.header)))
    }
}

fn frame_from(one: &Bound<'_, PyAny>) -> PyResult<Frame> {
    if let Ok((bytes, header)) = one.extract::<(Vec<u8>, PyVnetHeader)>() {
        return Ok(Frame { header: header.0, bytes });
    }
    match one.cast::<PyBytes>() {
        Ok(bytes) => Ok(Frame { bytes: bytes.as_bytes().to_vec(), ..Frame::default() }),
        Err(_) => Err(PyTypeError::new_err(format!(
            "a frame is bytes or (bytes, VnetHeader), not {}",
            one.get_type().name()?
        ))),
    }
}

/// An endless source of pseudo-random frames, the same for the same seed.
///
/// ``sizes`` is a length, a range ``(shortest, longest)``, or a list to go through in turn. Frames that
/// no wire could carry get the segmentation metadata that ``features`` allow.
#[pyclass(frozen, name = "Generator", module = "vnet_rx")]
pub(super) struct PyGenerator(Mutex<Generator>);

#[derive(FromPyObject)]
enum SizesArg {
    Fixed(i64),
    Uniform((i64, i64)),
    Cycle(Vec<i64>),
}

#[pymethods]
impl PyGenerator {
    #[new]
    #[pyo3(signature = (sizes, features=0, seed=0))]
    fn new(sizes: SizesArg, features: u64, seed: u64) -> PyResult<Self> {
        let size = |n| match within::<usize>("frame size", n)? {
            n if (14..=1 << 20).contains(&n) => Ok(n),
            n => Err(ConfigError::new_err(format!(
                "frame size {n} is not possible: choose 14 to {}",
                1 << 20
            ))),
        };
        let sizes = match sizes {
            SizesArg::Fixed(n) => Sizes::Fixed(size(n)?),
            SizesArg::Uniform((low, high)) if low <= high => {
                Sizes::Uniform(size(low)?, size(high)?)
            }
            SizesArg::Uniform((low, high)) => {
                return Err(ConfigError::new_err(format!(
                    "frame sizes from {low} to {high} are none: put the smaller first"
                )));
            }
            SizesArg::Cycle(all) if all.is_empty() => {
                return Err(ConfigError::new_err("no frame size: give at least one"));
            }
            SizesArg::Cycle(all) => {
                Sizes::Cycle(all.into_iter().map(size).collect::<PyResult<_>>()?)
            }
        };
        Ok(Self(Mutex::new(Generator::new(sizes, Features::from_bits(features), seed))))
    }

    fn take(&self, count: usize) -> PyResult<PyFrames> {
        let mut generator = exclusive(&self.0, "the generator")?;
        Ok(PyFrames(generator.by_ref().take(count).collect()))
    }
}

/// An honest virtio-net device at the other end of anybody's ring.
#[pyclass(frozen, name = "Host", module = "vnet_rx")]
pub(super) struct PyHost {
    host: Mutex<Slot>,
}

/// Where the host is: here, or in its thread.
enum Slot {
    Here { host: Box<Host>, delivered: u64, undeliverable: u64 },
    Away,
}

#[pymethods]
impl PyHost {
    #[new]
    fn new(memory: &PySharedMemory, layout: PyRingLayout, features: u64) -> PyResult<Self> {
        let host = Host::new(&memory.0, layout.into(), Features::from_bits(features)).or_raise()?;
        Ok(Self::here(host))
    }

    /// The host at the other end of ``queue``'s ring, which notifies ``queue.wait``.
    #[staticmethod]
    fn of(queue: &PyRxQueue) -> PyResult<Self> {
        let (memory, layout, features) = queue.parts();
        let mut host = Host::new(memory, layout, features).or_raise()?;
        host.set_call(Some(Arc::clone(queue.call())));
        Ok(Self::here(host))
    }

    /// Delivers one frame; how many buffers it took, 0 when the driver has too few for now. Raises
    /// ``Undeliverable``, or ``DriverFault`` when the driver's ring makes no sense.
    #[pyo3(signature = (frame, header=None))]
    fn offer(&self, frame: &[u8], header: Option<PyVnetHeader>) -> PyResult<u16> {
        let header = header.map_or_else(Default::default, |header| header.0);
        let frame = Frame { header, bytes: frame.to_vec() };
        self.with(|host, delivered, undeliverable| match host.offer(&frame).or_raise()? {
            Offer::Delivered(buffers) => {
                *delivered += 1;
                Ok(buffers)
            }
            Offer::NoBuffers(_) => Ok(0),
            Offer::Undeliverable(why) => {
                *undeliverable += 1;
                Err(why.into_py_err())
            }
        })
    }

    /// How many frames from `start` on are done with, delivered or undeliverable.
    #[pyo3(signature = (frames, start=0, most=None))]
    fn offer_all(
        &self,
        py: Python<'_>,
        frames: &PyFrames,
        start: usize,
        most: Option<usize>,
    ) -> PyResult<usize> {
        let rest = frames.0.get(start..).unwrap_or_default();
        let rest = &rest[..rest.len().min(most.unwrap_or(usize::MAX))];
        self.with(|host, delivered, undeliverable| {
            py.detach(|| {
                host.offer_all(rest, |_, offer| match offer {
                    Offer::Delivered(_) => *delivered += 1,
                    _ => *undeliverable += 1,
                })
            })
            .or_raise()
        })
    }

    /// Serves `frames`, `repeat` times over, from a thread of its own.
    #[pyo3(signature = (queue, frames, repeat=1))]
    fn start(
        slf: Bound<'_, Self>,
        queue: &PyRxQueue,
        frames: &PyFrames,
        repeat: u64,
    ) -> PyResult<PyHostThread> {
        let kick = Arc::new(EventFd::new()?);
        queue.set_kick(Arc::clone(&kick))?;
        let slot = std::mem::replace(&mut *exclusive(&slf.get().host, "the host")?, Slot::Away);
        let Slot::Here { host, delivered, undeliverable } = slot else {
            return Err(away());
        };
        let all = Arc::clone(&frames.0);
        let count = (all.len() as u64).saturating_mul(repeat);
        let source = (0..count).map(move |i| all[(i % all.len() as u64) as usize].clone());
        let thread = HostThread::spawn(*host, source, kick)
            .map_err(|error| PyOSError::new_err(format!("no thread for the host: {error}")))?;
        let thread = Mutex::new(Some(thread));
        Ok(PyHostThread { thread, home: slf.unbind(), before: (delivered, undeliverable) })
    }

    #[getter]
    fn delivered(&self) -> PyResult<u64> {
        self.with(|_, delivered, _| Ok(*delivered))
    }
    #[getter]
    fn undeliverable(&self) -> PyResult<u64> {
        self.with(|_, _, undeliverable| Ok(*undeliverable))
    }
    #[getter]
    fn notifications(&self) -> PyResult<u64> {
        self.with(|host, _, _| Ok(host.notifications()))
    }
}

fn away() -> PyErr {
    BusyError::new_err("the host is serving from its thread: stop or join that first")
}

impl PyHost {
    fn here(host: Host) -> Self {
        let slot = Slot::Here { host: Box::new(host), delivered: 0, undeliverable: 0 };
        Self { host: Mutex::new(slot) }
    }

    /// Runs `what` on the host and its two counters.
    fn with<T>(
        &self,
        what: impl FnOnce(&mut Host, &mut u64, &mut u64) -> PyResult<T>,
    ) -> PyResult<T> {
        match &mut *exclusive(&self.host, "the host")? {
            Slot::Here { host, delivered, undeliverable } => what(host, delivered, undeliverable),
            Slot::Away => Err(away()),
        }
    }
}

/// A host that serves from a thread of its own.
#[pyclass(frozen, name = "HostThread", module = "vnet_rx")]
pub(super) struct PyHostThread {
    thread: Mutex<Option<HostThread>>,
    home: Py<PyHost>,
    before: (u64, u64),
}

#[pymethods]
impl PyHostThread {
    #[getter]
    fn finished(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().is_none_or(HostThread::is_finished)
    }

    /// Ends the thread and brings the host back; what it has done, as a dict.
    fn stop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let thread = exclusive(&self.thread, "the host's thread")?
            .take()
            .ok_or_else(|| ClosedError::new_err("the host's thread was ended before"))?;
        let served = py.detach(|| thread.stop());
        let served = served.ok_or_else(|| ClosedError::new_err("the host's thread died"))?;
        let (delivered, undeliverable) = (served.delivered, served.undeliverable);
        let host = Slot::Here {
            host: Box::new(served.host),
            delivered: self.before.0 + delivered,
            undeliverable: self.before.1 + undeliverable,
        };
        *exclusive(&self.home.get().host, "the host")? = host;
        if let Some(error) = served.error {
            return Err(error.into_py_err());
        }
        let dict = PyDict::new(py);
        dict.set_item("delivered", delivered)?;
        dict.set_item("undeliverable", undeliverable)?;
        Ok(dict)
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }
    #[pyo3(signature = (*_exc))]
    fn __exit__(&self, py: Python<'_>, _exc: &Bound<'_, pyo3::types::PyTuple>) -> PyResult<()> {
        if self.thread.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            self.stop(py)?;
        }
        Ok(())
    }
}

impl Drop for PyHostThread {
    fn drop(&mut self) {
        // Nobody can stop it any more.
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.stop();
        }
    }
}
