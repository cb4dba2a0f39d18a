//! The driver half of a split ring, by hand. Tokens are any Python objects.

use std::sync::Mutex;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::errors::{
    ClosedError, ConfigError, OrRaise, QueueBroken, RingFull, RingRunning, exclusive,
};
use super::memory::{PyPageArena, PySharedMemory};
use super::values::{PyRingLayout, within};
use crate::memory::RingArea;
use crate::receive::DeviceFault;
use crate::ring::split::{LayoutError, SplitDriver, check_size};
use crate::ring::{AddError, RingFault, Segment};

/// A split ring in an arena's memory, and its driver half (RECEIVE.md, section 6).
///
/// A buffer is a list of ``(guest address, length)`` with a token, any object, which comes back from
/// ``get_buf`` or ``detach_unused_buf``.
#[pyclass(frozen, name = "Vring", module = "vnet_rx")]
pub(super) struct PyVring {
    ring: Mutex<SplitDriver<Py<PyAny>>>,
    area: RingArea,
}

fn broken(fault: RingFault) -> PyErr {
    QueueBroken::new_err(DeviceFault::from(fault).name())
}

#[pymethods]
impl PyVring {
    #[new]
    #[pyo3(signature = (arena, size=256, event_idx=false, first_index=0))]
    fn new(arena: &PyPageArena, size: i64, event_idx: bool, first_index: i64) -> PyResult<Self> {
        let size: u32 = within("size", size)?;
        check_size(size).or_raise()?;
        let area = RingArea::new(&arena.0, size).ok_or_else(|| {
            ConfigError::new_err(format!("no room for a ring of {size} in this arena"))
        })?;
        let first = within("first_index", first_index)?;
        let ring = SplitDriver::new(arena.0.memory(), area.layout(), event_idx, first);
        let ring = ring.map_err(|e: LayoutError| e).or_raise()?;
        Ok(Self { ring: Mutex::new(ring), area })
    }

    /// Posts a buffer, and returns the id of its chain's head. Raises ``RingFull``.
    fn add(&self, segments: Vec<(u64, u32)>, token: Py<PyAny>) -> PyResult<u16> {
        let segments: Vec<Segment> =
            segments.into_iter().map(|(addr, len)| Segment { addr, len }).collect();
        for segment in &segments {
            self.area.arena().memory().check(segment.addr, segment.len as usize).or_raise()?;
        }
        let mut ring = exclusive(&self.ring, "the ring")?;
        let free = ring.free();
        let head = ring.add(&segments, token).map_err(|error| match error {
            AddError::RingFull(_) => RingFull::new_err(format!(
                "a buffer of {} segments does not fit: {free} descriptors are free",
                segments.len()
            )),
            AddError::NoSegments(_) => ConfigError::new_err("a buffer needs at least one segment"),
            AddError::Stopped(_) => ClosedError::new_err("the ring is stopped"),
        })?;
        Ok(head.id())
    }

    /// Makes what was added visible to the device; whether it wants to be kicked.
    fn publish(&self) -> PyResult<bool> {
        Ok(exclusive(&self.ring, "the ring")?.publish())
    }

    /// The next completion: ``(token, bytes the device says it wrote)``, or None. Raises
    /// ``QueueBroken`` when what the device wrote cannot be.
    fn get_buf(&self) -> PyResult<Option<(Py<PyAny>, u32)>> {
        let mut ring = exclusive(&self.ring, "the ring")?;
        if ring.pending() == 0 {
            ring.refresh().map_err(broken)?;
        }
        if ring.pending() == 0 {
            return Ok(None);
        }
        let completion = ring.claim(0).map_err(broken)?;
        Ok(ring.take(completion.head).map(|token| (token, completion.len)))
    }

    /// Asks the device for silence.
    fn disable_cb(&self) -> PyResult<()> {
        exclusive(&self.ring, "the ring")?.disarm();
        Ok(())
    }

    /// Asks the device for a notification and looks again: True when there was nothing more, so that
    /// sleeping is safe.
    fn enable_cb(&self) -> PyResult<bool> {
        let mut ring = exclusive(&self.ring, "the ring")?;
        if ring.pending() > 0 {
            return Ok(false);
        }
        ring.arm();
        Ok(!ring.recheck())
    }

    fn stop(&self) -> PyResult<()> {
        exclusive(&self.ring, "the ring")?.stop();
        Ok(())
    }

    /// The token of a buffer that was never completed, lowest id first, or None. Raises
    /// ``RingRunning`` unless the ring was stopped.
    fn detach_unused_buf(&self) -> PyResult<Option<Py<PyAny>>> {
        let mut ring = exclusive(&self.ring, "the ring")?;
        let detached =
            ring.detach_unused_buf().map_err(|error| RingRunning::new_err(error.to_string()))?;
        Ok(detached.map(|(_, token)| token))
    }

    /// Tokens may refer back to the ring; the interpreter's collector must see them.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Ok(ring) = self.ring.try_lock() {
            for (_, token) in ring.posted() {
                visit.call(token)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        if let Ok(mut ring) = self.ring.try_lock() {
            ring.stop();
            while let Ok(Some(token)) = ring.detach_unused_buf() {
                drop(token);
            }
        }
    }

    #[getter]
    fn layout(&self) -> PyRingLayout {
        self.area.layout().into()
    }
    #[getter]
    fn memory(&self) -> PySharedMemory {
        PySharedMemory(self.area.arena().memory().clone())
    }
    #[getter]
    fn num_free(&self) -> PyResult<u16> {
        Ok(exclusive(&self.ring, "the ring")?.free())
    }
    #[getter]
    fn outstanding(&self) -> PyResult<u16> {
        Ok(exclusive(&self.ring, "the ring")?.outstanding())
    }
}
