//! Scenarios on the engine.

use std::sync::Mutex;
use std::vec;

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::errors::{OrRaise, exclusive};
use crate::receive::Frag;
use crate::scenario::{
    self, COUNTERS, Observation, Operation, Outcome, Rows, Runner, Scenario, ScenarioError,
    SeenDescriptor, SeenPacket,
};

/// Run a scenario on the engine: what is observed after each operation (``docs/scenario.md``).
///
/// Each operation is run when its observation is asked for, so that a long scenario takes no more
/// memory than a short one. Raises ``ConfigError`` naming the field that is wrong.
#[pyfunction]
pub(super) fn run_scenario(py: Python<'_>, json: &str) -> PyResult<PyScenarioTrace> {
    let steps = py.detach(|| {
        let scenario = Scenario::from_json(json)?;
        let runner = Runner::new(&scenario.config)?;
        let operations = scenario.operations.into_iter();
        Ok::<_, ScenarioError>(Steps { runner, operations, last: Last::default() })
    });
    Ok(PyScenarioTrace(Mutex::new(steps.or_raise()?)))
}

/// An engine on its way through a scenario.
struct Steps {
    runner: Runner,
    operations: vec::IntoIter<Operation>,
    last: Last,
}

/// What was shown last of all that mostly stays as it is from one observation to the next.
#[derive(Default)]
struct Last {
    counters: Kept<[u64; COUNTERS]>,
    pool: Kept<Vec<u32>>,
    posted: Kept<Rows<u16, u32>>,
    free_descriptors: Kept<Vec<u16>>,
}

/// A value with the object that shows it: while it stays the same, so does the object.
struct Kept<T>(Option<(T, Py<PyAny>)>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: PartialEq + Clone> Kept<T> {
    fn show<'py>(
        &mut self,
        py: Python<'py>,
        value: &T,
        make: impl FnOnce(&T) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some((last, object)) = &self.0
            && last == value
        {
            return Ok(object.bind(py).clone());
        }
        let object = make(value)?;
        self.0 = Some((value.clone(), object.clone().unbind()));
        Ok(object)
    }
}

/// The observations of a scenario on the engine, one an operation.
#[pyclass(frozen, name = "ScenarioTrace", module = "vnet_rx._core")]
pub(super) struct PyScenarioTrace(Mutex<Steps>);

#[pymethods]
impl PyScenarioTrace {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let mut steps = exclusive(&self.0, "the trace")?;
        let Steps { runner, operations, last } = &mut *steps;
        let seen = operations.next().map(|operation| runner.step(&operation));
        seen.map(|seen| observation(py, seen, last)).transpose()
    }
}

/// Run a scenario: the CRC-32 of each observation's canonical text, the cheap way to compare.
#[pyfunction]
pub(super) fn run_scenario_digests(py: Python<'_>, json: &str) -> PyResult<Vec<u32>> {
    py.detach(|| Scenario::from_json(json).and_then(|scenario| scenario::digests(&scenario)))
        .or_raise()
}

fn object<'py>(py: Python<'py>, value: impl IntoPyObjectExt<'py>) -> PyResult<Bound<'py, PyAny>> {
    value.into_bound_py_any(py)
}

/// A list of the format, as a tuple.
fn tuple<'py, T: IntoPyObject<'py>>(
    py: Python<'py>,
    items: impl IntoIterator<Item = T>,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyTuple::new(py, items.into_iter().collect::<Vec<_>>())?.into_any())
}

fn observation<'py>(
    py: Python<'py>,
    seen: &Observation,
    last: &mut Last,
) -> PyResult<Bound<'py, PyTuple>> {
    let open = seen.state.as_ref();
    let packets = seen.packets.iter().map(|one| packet(py, one)).collect::<PyResult<Vec<_>>>()?;
    let pages = |pages: &[u32]| tuple(py, pages.iter().copied());
    let posted = |posted: &Rows<u16, u32>| rows(py, posted, pages);
    let (free, ids) = (&seen.free_descriptors, |ids: &Vec<u16>| tuple(py, ids.iter().copied()));
    let descriptors = |chain: &[SeenDescriptor]| tuple(py, chain.iter().map(descriptor));
    let fields = [
        result(py, &seen.result)?,
        tuple(py, seen.points.iter().map(|point| point.name()))?,
        tuple(py, packets)?,
        last.counters.show(py, &seen.counters, |counters| tuple(py, *counters))?,
        object(py, open.map(|state| state.num))?,
        object(py, open.map(|state| state.max))?,
        object(py, open.map(|state| state.refill_needed))?,
        object(py, open.and_then(|state| state.broken).map(|fault| fault.name()))?,
        object(py, open.map(|_| last.pool.show(py, &seen.pool, |pool| pages(pool))).transpose()?)?,
        object(py, open.map(|_| last.posted.show(py, &seen.posted, posted)).transpose()?)?,
        object(py, open.map(|_| last.free_descriptors.show(py, free, ids)).transpose()?)?,
        object(py, seen.arena_free)?,
        object(py, seen.avail_flags)?,
        object(py, seen.avail_idx)?,
        object(py, seen.used_event)?,
        rows(py, &seen.published, descriptors)?,
    ];
    PyTuple::new(py, fields)
}

fn result<'py>(py: Python<'py>, result: &Outcome) -> PyResult<Bound<'py, PyAny>> {
    if let Some((code, fault)) = result.error() {
        return object(py, ("error", code, fault.map(|fault| fault.name())));
    }
    match result {
        Outcome::Flag(flag) => object(py, ("ok", flag)),
        Outcome::Number(number) => object(py, ("ok", number)),
        Outcome::Nothing | Outcome::Error(_) => object(py, ("ok", py.None())),
    }
}

fn packet<'py>(py: Python<'py>, seen: &SeenPacket) -> PyResult<Bound<'py, PyAny>> {
    let place = |frag: &Frag| (frag.page, frag.offset, frag.len);
    let header = tuple(py, seen.header)?;
    let frags = tuple(py, seen.frags.iter().map(place))?;
    let linear = seen.linear.as_ref().map(place);
    object(py, (seen.len, seen.crc, header, seen.head_len, linear, frags, seen.truesize))
}

fn descriptor(seen: &SeenDescriptor) -> (Option<u32>, u64, u32, u16, u16) {
    (seen.page, seen.offset, seen.len, seen.flags, seen.next)
}

fn rows<'py, T>(
    py: Python<'py>,
    rows: &Rows<u16, T>,
    values: impl Fn(&[T]) -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let rows = rows.iter().map(|(id, row)| Ok((id, values(row)?)));
    tuple(py, rows.collect::<PyResult<Vec<_>>>()?)
}
