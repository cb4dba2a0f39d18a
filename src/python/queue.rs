//! The receive queue.

use std::sync::{Arc, Mutex, MutexGuard};

use pyo3::prelude::*;

use super::errors::{ClosedError, ConfigError, OrRaise, exclusive};
use super::memory::{PyPageArena, PySharedMemory};
use super::packet::PyPacket;
use super::values::{PyRingLayout, PyRxConfig, PyStats};
use crate::memory::PageArena;
use crate::receive::{ConfigError as Config, Packet, Point, RxQueue};
use crate::ring::EventFd;

struct State {
    queue: RxQueue,
    /// Kept to save allocations; holds packets between calls only after a hook raised.
    packets: Vec<Packet>,
}

/// The receive queue of a virtio-net driver.
#[pyclass(frozen, name = "RxQueue", module = "vnet_rx")]
pub(super) struct PyRxQueue {
    state: Mutex<State>,
    arena: Arc<PageArena>,
    config: PyRxConfig,
    layout: PyRingLayout,
}

impl PyRxQueue {
    fn state(&self) -> PyResult<MutexGuard<'_, State>> {
        exclusive(&self.state, "the queue")
    }

    /// The queue, unless it was closed.
    fn live(&self) -> PyResult<MutexGuard<'_, State>> {
        let state = self.state()?;
        if state.queue.is_closed() {
            return Err(ClosedError::new_err("the queue is closed"));
        }
        Ok(state)
    }

    /// Sends kicks on this line from now on.
    pub(super) fn set_kick(&self, line: Arc<EventFd>) -> PyResult<()> {
        self.live()?.queue.set_kick(Some(line));
        Ok(())
    }
}

#[pymethods]
impl PyRxQueue {
    #[new]
    #[pyo3(signature = (config=None, arena=None))]
    fn new(config: Option<PyRxConfig>, arena: Option<&PyPageArena>) -> PyResult<Self> {
        let config = config.unwrap_or_default();
        let arena = match arena {
            Some(arena) => Arc::clone(&arena.0),
            None => {
                let pages = 4 * config.0.pages_per_ring();
                PageArena::new(pages).map_err(Config::from).or_raise()?
            }
        };
        let queue = RxQueue::new(config.0, &arena).or_raise()?;
        let layout = queue.layout().into();
        let state = Mutex::new(State { queue, packets: Vec::new() });
        Ok(Self { state, arena, config, layout })
    }

    fn refill(&self, py: Python<'_>) -> PyResult<usize> {
        let mut state = self.state()?;
        let state = &mut *state;
        py.detach(|| state.queue.refill()).or_raise()
    }

    /// Packets are lost neither when the budget is refused nor when the hook raises: what was
    /// received in that call is returned by the next one.
    #[pyo3(signature = (budget=64, hook=None))]
    fn poll(
        &self,
        py: Python<'_>,
        budget: i64,
        hook: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Vec<PyPacket>> {
        let budget =
            usize::try_from(budget).ok().filter(|&budget| budget > 0).ok_or_else(|| {
                ConfigError::new_err(format!("budget {budget} is not possible: choose at least 1"))
            })?;
        let mut state = self.state()?;
        let State { queue, packets } = &mut *state;
        match hook {
            None => py.detach(|| queue.poll(budget, packets)).or_raise()?,
            Some(hook) => {
                let mut raised = None;
                let call = |point: Point| {
                    if raised.is_none() {
                        raised = hook.call1((point.name(),)).err();
                    }
                };
                let polled = queue.poll_with(budget, packets, call).or_raise()?;
                if let Some(error) = raised {
                    return Err(error);
                }
                polled
            }
        };
        Ok(packets.drain(..).map(PyPacket::new).collect())
    }

    fn watchdog(&self) -> PyResult<bool> {
        Ok(self.live()?.queue.watchdog())
    }
    fn disconnect(&self) -> PyResult<()> {
        self.state()?.queue.disconnect().or_raise()
    }
    fn stop(&self) -> PyResult<()> {
        self.state()?.queue.stop().or_raise()
    }
    fn detach_unused_buf(&self) -> PyResult<Option<u16>> {
        self.state()?.queue.detach_unused_buf().or_raise()
    }
    fn reset(&self) -> PyResult<()> {
        self.state()?.queue.reset().or_raise()
    }
    fn close(&self) -> PyResult<()> {
        self.state()?.queue.close();
        Ok(())
    }
    fn fail_skb_allocs(&self, skip: u64, count: u64) -> PyResult<()> {
        self.live()?.queue.fail_skb_allocs(skip, count);
        Ok(())
    }
    fn stats(&self) -> PyResult<PyStats> {
        Ok(PyStats(self.state()?.queue.stats()))
    }

    #[getter]
    fn config(&self) -> PyRxConfig {
        self.config
    }
    #[getter]
    fn features(&self) -> u64 {
        self.config.0.features.bits()
    }
    #[getter]
    fn layout(&self) -> PyRingLayout {
        self.layout
    }
    #[getter]
    fn arena(&self) -> PyPageArena {
        PyPageArena(Arc::clone(&self.arena))
    }
    #[getter]
    fn memory(&self) -> PySharedMemory {
        PySharedMemory(Arc::clone(self.arena.memory()))
    }
    #[getter]
    fn num(&self) -> PyResult<u16> {
        Ok(self.live()?.queue.num())
    }
    #[getter]
    fn max(&self) -> PyResult<u16> {
        Ok(self.live()?.queue.max())
    }
    #[getter]
    fn refill_needed(&self) -> PyResult<bool> {
        Ok(self.live()?.queue.refill_needed())
    }
    #[getter]
    fn broken(&self) -> PyResult<Option<&'static str>> {
        Ok(self.live()?.queue.broken().map(|fault| fault.name()))
    }
    #[getter]
    fn closed(&self) -> PyResult<bool> {
        Ok(self.state()?.queue.is_closed())
    }
    #[getter]
    fn pool(&self) -> PyResult<Vec<u32>> {
        Ok(self.live()?.queue.pool())
    }
    #[getter]
    fn posted(&self) -> PyResult<Vec<(u16, Vec<u32>)>> {
        let posted = self.live()?.queue.posted();
        Ok(posted.into_iter().map(|one| (one.id, one.pages)).collect())
    }
    #[getter]
    fn free_descriptors(&self) -> PyResult<Vec<u16>> {
        Ok(self.live()?.queue.free_descriptors())
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }
    #[pyo3(signature = (*_exc))]
    fn __exit__(&self, _exc: &Bound<'_, pyo3::types::PyTuple>) -> PyResult<()> {
        self.close()
    }
    fn __repr__(&self) -> String {
        format!("<RxQueue, {} {}>", self.config.0.mode().name(), self.config.0.strategy.name())
    }
}
