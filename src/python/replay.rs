//! The engine of `vnet-rx compare`.

use std::sync::{Arc, Mutex};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::errors::{OrRaise, exclusive};
use super::host::PyFrames;
use super::values::{PyRxConfig, PyStats, within};
use crate::replay::{DEFAULT_BUDGET, Replay};

/// The engine of ``vnet-rx compare``: frames through host and queue, every byte checked, the
/// driver's work timed.
#[pyclass(frozen, name = "Replay", module = "vnet_rx")]
pub(super) struct PyReplay(Mutex<Replay>);

#[pymethods]
impl PyReplay {
    #[classattr]
    const DEFAULT_BUDGET: usize = DEFAULT_BUDGET;

    #[new]
    #[pyo3(signature = (config, frames, budget=DEFAULT_BUDGET as i64))]
    fn new(config: PyRxConfig, frames: &PyFrames, budget: i64) -> PyResult<Self> {
        let budget = within("budget", budget)?;
        Replay::new(config.0, Arc::clone(&frames.0), budget, None)
            .or_raise()
            .map(|replay| Self(Mutex::new(replay)))
    }

    /// Replays all frames once more; the seconds that the driver's work took.
    fn pass_once(&self, py: Python<'_>) -> PyResult<f64> {
        let mut replay = exclusive(&self.0, "the replay")?;
        let replay = &mut *replay;
        let before = replay.total().driver_time;
        py.detach(|| replay.pass()).or_raise()?;
        Ok((replay.total().driver_time - before).as_secs_f64())
    }

    /// What all passes so far came to.
    fn total<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let total = exclusive(&self.0, "the replay")?.total();
        let dict = PyDict::new(py);
        dict.set_item("offered", total.offered)?;
        dict.set_item("delivered", total.delivered)?;
        dict.set_item("undeliverable", total.undeliverable)?;
        dict.set_item("mismatched", total.mismatched)?;
        Ok(dict)
    }

    fn stats(&self) -> PyResult<PyStats> {
        Ok(PyStats(exclusive(&self.0, "the replay")?.stats()))
    }
}
