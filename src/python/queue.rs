//! The receive queue.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use super::capture::{PyCaptureWriter, now};
use super::errors::{BusyError, ClosedError, ConfigError, OrRaise, exclusive};
use super::memory::{PyPageArena, PySharedMemory};
use super::packet::PyPacket;
use super::values::{PyRingLayout, PyRxConfig, PyStats, timeout as seconds};
use crate::device::source::{CaptureWriter, Frame};
use crate::memory::{PageArena, SharedMemory};
use crate::receive::{ConfigError as Config, Packet, Point, Polled, Readiness, RxError, RxQueue};
use crate::ring::EventFd;
use crate::vhost_user::{Link, Session, Wake};
use crate::virtio::{Features, SplitLayout};

/// How long a sleeper goes without a look at the ring, should a notification be lost (F22, F33).
const WATCHDOG: Duration = Duration::from_millis(500);

/// Packets that `consume` receives at a time: what it reads is still warm when it lets go of it.
const BATCH: usize = 64;

struct State {
    queue: RxQueue,
    /// Kept to save allocations; holds packets between calls only after a hook raised.
    packets: Vec<Packet>,
    /// The connection to a device in another process.
    link: Option<Link>,
}

impl State {
    fn poll(&mut self, budget: usize, hook: impl FnMut(Point)) -> Result<Polled, RxError> {
        let mut polled = self.queue.poll_with(budget, &mut self.packets, hook)?;
        if let Some(link) = &mut self.link {
            link.after_poll(&mut self.queue, &mut polled);
        }
        Ok(polled)
    }

    /// See `PyRxQueue::consume`.
    fn consume(
        &mut self,
        budget: usize,
        mut writer: Option<&mut CaptureWriter>,
    ) -> PyResult<usize> {
        let (mut received, mut delivered) = (0, 0);
        let mut frame = Frame::default();
        while received < budget {
            let batch = BATCH.min(budget - received);
            let polled = self.poll(batch, |_| {}).or_raise()?;
            received += polled.received;
            let written = match &mut writer {
                None => Ok(()),
                Some(writer) => self.packets.iter().try_for_each(|packet| {
                    packet.copy_to(&mut frame.bytes);
                    frame.header = packet.header();
                    writer.write(&frame, now())
                }),
            };
            delivered += self.packets.len();
            self.queue.release(&mut self.packets);
            written.or_raise()?;
            if polled.received < batch || polled.broken.is_some() {
                break;
            }
        }
        Ok(delivered)
    }
}

/// The receive queue of a virtio-net driver (RECEIVE.md): ``RxQueue(config=None, arena=None)``.
///
/// It posts nothing until it is refilled. One thread at a time may use it, others get ``BusyError``;
/// its packets may go anywhere. Give ``memory``, ``layout`` and ``features`` to a device, or use
/// ``Host.of(queue)``.
#[pyclass(frozen, name = "RxQueue", module = "vnet_rx")]
pub(super) struct PyRxQueue {
    state: Mutex<State>,
    /// The line on which the device notifies.
    call: Arc<EventFd>,
    /// The device, where it is in another process.
    session: Option<Arc<Session>>,
    /// Threads in `wait`, which hold the queue now and then, for moments.
    sleepers: AtomicUsize,
    /// Somebody wants the queue closed; whoever has it next does so.
    closing: AtomicBool,
    arena: Arc<PageArena>,
    config: PyRxConfig,
    layout: PyRingLayout,
}

impl PyRxQueue {
    fn state(&self) -> PyResult<MutexGuard<'_, State>> {
        let mut state = exclusive(&self.state, "the queue")?;
        if self.closing.load(Ordering::Acquire) {
            state.queue.close();
        }
        Ok(state)
    }

    /// The queue, unless it was closed.
    fn live(&self) -> PyResult<MutexGuard<'_, State>> {
        let state = self.state()?;
        if state.queue.is_closed() {
            return Err(ClosedError::new_err("the queue is closed"));
        }
        Ok(state)
    }

    /// What a device needs to know.
    pub(super) fn parts(&self) -> (&Arc<SharedMemory>, SplitLayout, Features) {
        (self.arena.memory(), self.layout.into(), self.config.0.features)
    }

    /// The line on which the device notifies.
    pub(super) fn call(&self) -> &Arc<EventFd> {
        &self.call
    }

    /// A queue of its own memory over `queue`, fed by the device that `link` leads to.
    pub(super) fn linked(queue: RxQueue, link: Link) -> Self {
        let session = Arc::clone(&link.session);
        let call = Arc::clone(session.call());
        Self { session: Some(session), ..Self::over(queue, call, Some(link)) }
    }

    fn over(queue: RxQueue, call: Arc<EventFd>, link: Option<Link>) -> Self {
        let (arena, config) = (Arc::clone(queue.arena()), PyRxConfig(*queue.config()));
        let layout = queue.layout().into();
        let state = Mutex::new(State { queue, packets: Vec::new(), link });
        let (sleepers, closing) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { state, call, session: None, sleepers, closing, arena, config, layout }
    }

    /// Lets go of a device in another process before its buffers are taken away; what it answers
    /// does not matter any more.
    fn hang_up(&self, py: Python<'_>) {
        if let Some(session) = &self.session {
            let _ = py.detach(|| session.stop());
        }
    }

    /// Sleeps until the device notifies or the time is over. A device that is gone breaks the queue,
    /// unless there is something left to poll for.
    fn doze(&self, py: Python<'_>, limit: Duration) -> PyResult<()> {
        match &self.session {
            // An error is an interruption by a signal, and not to be able to sleep is no worse than
            // not to have slept.
            None => {
                if py.detach(|| self.call.wait(limit)).unwrap_or(false) {
                    self.call.clear();
                }
            }
            Some(session) if !session.is_running() => {
                return Err(ClosedError::new_err("the device was stopped: reconnect() to go on"));
            }
            Some(session) => {
                if py.detach(|| session.wait(limit)) == Wake::Gone {
                    let mut state = self.live()?;
                    if state.queue.prepare_to_sleep().or_raise()? != Readiness::Ready {
                        state.queue.disconnect().or_raise()?;
                    }
                }
            }
        }
        py.check_signals()
    }

    /// What a sleeper does; see `wait`.
    fn sleep(&self, py: Python<'_>, until: Option<Instant>) -> PyResult<bool> {
        let mut looked = Instant::now();
        loop {
            let limit = match self.live()?.queue.prepare_to_sleep().or_raise()? {
                Readiness::Ready => return Ok(true),
                Readiness::Sleep(limit) => limit.unwrap_or(WATCHDOG).min(WATCHDOG),
            };
            let now = Instant::now();
            let left = until.map_or(limit, |until| until.saturating_duration_since(now));
            if left.is_zero() {
                return Ok(false);
            }
            self.doze(py, limit.min(left))?;
            if looked.elapsed() >= WATCHDOG {
                looked = Instant::now();
                self.live()?.queue.watchdog();
            }
        }
    }

    /// Sends kicks on this line from now on.
    pub(super) fn set_kick(&self, line: Arc<EventFd>) -> PyResult<()> {
        self.live()?.queue.set_kick(Some(line));
        Ok(())
    }
}

/// A budget that is possible.
fn positive(budget: i64) -> PyResult<usize> {
    usize::try_from(budget).ok().filter(|&budget| budget > 0).ok_or_else(|| {
        ConfigError::new_err(format!("budget {budget} is not possible: choose at least 1"))
    })
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
        Ok(Self::over(queue, Arc::new(EventFd::new()?), None))
    }

    /// Posts buffers until the ring is full or memory runs out (``refill_needed``); how many.
    fn refill(&self, py: Python<'_>) -> PyResult<usize> {
        let mut state = self.state()?;
        let state = &mut *state;
        py.detach(|| state.queue.refill()).or_raise()
    }

    /// At most ``budget`` packets; never waits. Raises ``QueueBroken`` once a device was found to be
    /// untrustworthy; the poll that finds it out returns what it had and sets ``broken``.
    ///
    /// ``hook`` is called with the name of each interleave point that is passed (section 11). If it
    /// raises, so does this call, and what was received is returned by the next one.
    #[pyo3(signature = (budget=64, hook=None))]
    fn poll(
        &self,
        py: Python<'_>,
        budget: i64,
        hook: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Vec<PyPacket>> {
        let budget = positive(budget)?;
        let mut state = self.state()?;
        let state = &mut *state;
        match hook {
            None => py.detach(|| state.poll(budget, |_| {})).or_raise()?,
            Some(hook) => {
                let mut raised = None;
                let call = |point: Point| {
                    if raised.is_none() {
                        raised = hook.call1((point.name(),)).err();
                    }
                };
                let polled = state.poll(budget, call).or_raise()?;
                if let Some(error) = raised {
                    return Err(error);
                }
                polled
            }
        };
        Ok(state.packets.drain(..).map(PyPacket::new).collect())
    }

    /// Receives at most ``budget`` packets, good or bad, appends the good ones to ``writer`` if one is
    /// given, and lets go of them; how many good ones there were. No Python object is made for any.
    /// Errors are those of ``poll``, and ``CaptureError``.
    #[pyo3(signature = (budget=1024, writer=None))]
    fn consume(
        &self,
        py: Python<'_>,
        budget: i64,
        writer: Option<&PyCaptureWriter>,
    ) -> PyResult<usize> {
        let budget = positive(budget)?;
        let mut state = self.state()?;
        let state = &mut *state;
        match writer {
            None => py.detach(|| state.consume(budget, None)),
            Some(writer) => writer.with(|writer| py.detach(|| state.consume(budget, Some(writer)))),
        }
    }

    /// Sleeps until there is something to poll for: True, or False when ``timeout`` seconds are
    /// over first (None waits for ever).
    ///
    /// It sleeps on an eventfd that the device signals, with the re-arm protocol of RECEIVE.md,
    /// section 6, and uses no processor meanwhile. While memory is short it retries the refill; a
    /// lost notification is noticed within half a second. Ctrl-C ends it, and so does ``close`` in
    /// another thread, with ``ClosedError``.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let until = seconds(timeout)?.and_then(|timeout| Instant::now().checked_add(timeout));
        self.sleepers.fetch_add(1, Ordering::AcqRel);
        let result = self.sleep(py, until);
        self.sleepers.fetch_sub(1, Ordering::AcqRel);
        result
    }

    /// The descriptor of the eventfd on which the device notifies, for ``select`` and event loops.
    fn fileno(&self) -> i32 {
        self.call.as_fd().as_raw_fd()
    }

    /// Kicks the device regardless if buffers are outstanding and nothing moved since the last call.
    fn watchdog(&self) -> PyResult<bool> {
        Ok(self.live()?.queue.watchdog())
    }
    fn disconnect(&self) -> PyResult<()> {
        self.state()?.queue.disconnect().or_raise()?;
        self.call.signal();
        Ok(())
    }
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        self.hang_up(py);
        self.state()?.queue.stop().or_raise()?;
        self.call.signal();
        Ok(())
    }
    fn detach_unused_buf(&self) -> PyResult<Option<u16>> {
        self.state()?.queue.detach_unused_buf().or_raise()
    }
    /// Takes all buffers back and starts the ring anew, with nothing posted; make a new device too.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        self.hang_up(py);
        self.state()?.queue.reset().or_raise()
    }
    /// Packets live on. Closing twice is fine; a thread in ``wait`` is woken with ``ClosedError``.
    pub(super) fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.hang_up(py);
        self.closing.store(true, Ordering::Release);
        self.call.signal();
        match self.state() {
            Ok(_) => Ok(()),
            // A sleeper has it for a moment, and closes it when it looks next.
            Err(_) if self.sleepers.load(Ordering::Acquire) > 0 => Ok(()),
            Err(_) => {
                self.closing.store(false, Ordering::Release);
                Err(BusyError::new_err("the queue is being polled: close it afterwards"))
            }
        }
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
    fn __exit__(&self, py: Python<'_>, _exc: &Bound<'_, pyo3::types::PyTuple>) -> PyResult<()> {
        self.close(py)
    }
    fn __repr__(&self) -> String {
        format!("<RxQueue, {} {}>", self.config.0.mode().name(), self.config.0.strategy.name())
    }
}
