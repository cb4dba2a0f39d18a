//! Runs scenarios on the engine.

use super::error::ScenarioError;
use super::format::{Scenario, ScenarioConfig};
use super::names::Law;
use super::observe::{Observation, Observer, Outcome};
use super::operation::{Operation, Place};
use crate::device::FaultyDevice;
use crate::memory::PageArena;
use crate::receive::{Packet, Point, RxError, RxQueue};

/// Runs a scenario on a queue and a device of its own.
///
/// # Errors
/// [`ScenarioError`] when the queue cannot exist.
pub fn run(scenario: &Scenario) -> Result<Trace, ScenarioError> {
    let mut runner = Runner::new(&scenario.config)?;
    let step = |operation| runner.step(operation).clone();
    Ok(Trace { observations: scenario.operations.iter().map(step).collect() })
}

/// Runs a scenario and keeps no more of each observation than its digest: the cheap way to compare.
///
/// # Errors
/// As for [`run`].
pub fn digests(scenario: &Scenario) -> Result<Vec<u32>, ScenarioError> {
    let mut runner = Runner::new(&scenario.config)?;
    let mut text = Vec::new();
    let digest = |operation| {
        runner.step(operation).text(&mut text);
        crc32fast::hash(&text)
    };
    Ok(scenario.operations.iter().map(digest).collect())
}

/// What was observed, operation by operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// One for each operation.
    pub observations: Vec<Observation>,
}

impl Trace {
    /// The CRC-32 of each observation's canonical text.
    pub fn digests(&self) -> Vec<u32> {
        self.observations.iter().map(Observation::digest).collect()
    }

    /// The first law that did not hold, and the number of the operation after which it did not.
    pub fn broken_law(&self) -> Option<(usize, Law)> {
        let laws = self.observations.iter().map(|seen| seen.broken_law).enumerate();
        laws.filter_map(|(at, law)| Some((at, law?))).next()
    }
}

/// A queue, the device at its other end, and the packets that are held.
#[derive(Debug)]
pub struct Runner {
    queue: RxQueue,
    device: FaultyDevice,
    held: Vec<Packet>,
    observer: Observer,
    seen: Observation,
}

impl Runner {
    /// A queue with nothing posted.
    ///
    /// # Errors
    /// [`ScenarioError`] when the queue cannot exist.
    pub fn new(config: &ScenarioConfig) -> Result<Self, ScenarioError> {
        let impossible = |what: &dyn std::fmt::Display| ScenarioError::new(what).of("config");
        let rx_config = config.rx_config()?;
        let arena = PageArena::new(config.pages as usize).map_err(|e| impossible(&e))?;
        let queue = RxQueue::new(rx_config, &arena).map_err(|e| impossible(&e))?;
        let device = FaultyDevice::of(&queue).map_err(|e| impossible(&e))?;
        let observer = Observer::new(&queue);
        Ok(Self { queue, device, held: Vec::new(), observer, seen: Observation::default() })
    }

    /// From now on the device zeroes each buffer when it takes it: see
    /// [`FaultyDevice::clean_buffers`].
    pub fn clean_buffers(&mut self) {
        self.device.clean_buffers();
    }

    /// Performs one operation, and observes.
    pub fn step(&mut self, operation: &Operation) -> &Observation {
        self.seen.points.clear();
        let held_before = self.held.len();
        self.seen.result = self.perform(operation);
        let delivered = held_before.min(self.held.len());
        self.observer.observe(&self.queue, &self.held, delivered, &mut self.seen);
        &self.seen
    }

    fn perform(&mut self, operation: &Operation) -> Outcome {
        let queue = &mut self.queue;
        match operation {
            Operation::Refill => queue.refill().into(),
            Operation::Poll { budget, at } => self.poll(*budget, at).into(),
            Operation::Release { packet } => self.release(*packet).into(),
            Operation::ReleaseAll => self.held.drain(..).count().into(),
            Operation::FailPages { skip, count } => {
                queue.arena().fail_allocs((*skip).into(), (*count).into());
                Outcome::Nothing
            }
            Operation::FailSkbs { .. } | Operation::Watchdog if queue.is_closed() => {
                Outcome::Error(RxError::Closed)
            }
            Operation::FailSkbs { skip, count } => {
                queue.fail_skb_allocs((*skip).into(), (*count).into());
                Outcome::Nothing
            }
            Operation::Watchdog => queue.watchdog().into(),
            Operation::Disconnect => queue.disconnect().into(),
            Operation::Stop => queue.stop().into(),
            Operation::Detach => queue.detach_unused_buf().map(|id| id.map(u32::from)).into(),
            Operation::Reset => {
                let result = queue.reset();
                if result.is_ok() {
                    self.device.restart();
                    self.observer.restart();
                }
                result.into()
            }
            Operation::Close => {
                queue.close();
                Outcome::Nothing
            }
            Operation::Device { actions } => {
                self.device.perform_all(actions);
                Outcome::Nothing
            }
        }
    }

    fn poll(&mut self, budget: u16, at: &[Place]) -> Result<usize, RxError> {
        let Self { queue, device, held, seen, .. } = self;
        let mut passes = [0u8; Point::ALL.len()];
        let hook = |point: Point| {
            seen.points.push(point);
            let pass = &mut passes[point as usize];
            *pass = pass.saturating_add(1);
            for place in at.iter().filter(|place| place.point == point && place.pass == *pass) {
                device.perform_all(&place.actions);
            }
        };
        queue.poll_with(budget.into(), held, hook).map(|polled| polled.delivered)
    }

    fn release(&mut self, packet: u16) -> Option<u32> {
        let at = usize::from(packet).checked_rem(self.held.len())?;
        let packet = self.held.remove(at);
        Some(self.observer.crc(&packet))
    }

    /// The queue.
    pub fn queue(&self) -> &RxQueue {
        &self.queue
    }

    /// The packets that are held, oldest first.
    pub fn held(&self) -> &[Packet] {
        &self.held
    }
}
