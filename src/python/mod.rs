//! The Python classes (`vnet_rx._core`), and nothing else: they check arguments, release the GIL
//! around whole batches, and turn errors into those of `vnet_rx.errors`.

mod capture;
mod errors;
mod host;
mod memory;
mod packet;
mod queue;
mod replay;
mod scenario;
mod tap;
mod values;
mod vhost_user;
mod vring;

use pyo3::prelude::*;

/// The native module behind the package `vnet_rx`.
#[pymodule]
mod _core {
    #[pymodule_export]
    use super::capture::{PyCapture, PyCaptureWriter};
    #[pymodule_export]
    use super::host::{PyFrames, PyGenerator, PyHost, PyHostThread};
    #[pymodule_export]
    use super::memory::{PyPage, PyPageArena, PyPagePool, PySharedMemory};
    #[pymodule_export]
    use super::packet::PyPacket;
    #[pymodule_export]
    use super::queue::PyRxQueue;
    #[pymodule_export]
    use super::replay::PyReplay;
    #[pymodule_export]
    use super::scenario::{PyScenarioTrace, run_scenario, run_scenario_digests};
    #[pymodule_export]
    use super::tap::{PyTap, PyTapHost};
    #[pymodule_export]
    use super::values::{PyRingLayout, PyRxConfig, PyStats, PyVnetHeader};
    #[pymodule_export]
    use super::vhost_user::PyVhostUser;
    #[pymodule_export]
    use super::vring::PyVring;
}
