//! Plain values: header, configuration, ring layout, counters.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::errors::{ConfigError, OrRaise};
use crate::receive::{IncompleteLimit, RxConfig, Stats, Strategy};
use crate::virtio::{Dialect, Features, Mode, SplitLayout, VnetHeader};

/// A virtio-net header (virtio 1.3, 5.1.6.1), its fields as unsigned integers.
///
/// On a delivered packet: what the device wrote, ``flags`` limited to NEEDS_CSUM (1) and DATA_VALID
/// (2), ``hdr_len``, which is ignored, 0, ``num_buffers`` the number of buffers that were really used.
#[pyclass(frozen, eq, hash, from_py_object, name = "VnetHeader", module = "vnet_rx")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct PyVnetHeader(pub VnetHeader);

#[pymethods]
impl PyVnetHeader {
    #[new]
    #[pyo3(signature = (flags=0, gso_type=0, hdr_len=0, gso_size=0, csum_start=0, csum_offset=0, num_buffers=0))]
    fn new(
        flags: u8,
        gso_type: u8,
        hdr_len: u16,
        gso_size: u16,
        csum_start: u16,
        csum_offset: u16,
        num_buffers: u16,
    ) -> Self {
        Self(VnetHeader {
            flags,
            gso_type,
            hdr_len,
            gso_size,
            csum_start,
            csum_offset,
            num_buffers,
        })
    }

    /// From the 10 or 12 bytes of the wire layout.
    #[staticmethod]
    fn from_bytes(data: &[u8]) -> PyResult<Self> {
        match data.len() {
            10 | 12 => Ok(Self(VnetHeader::from_bytes(data))),
            n => Err(ConfigError::new_err(format!(
                "a virtio-net header of {n} bytes is not possible: give 10 or 12"
            ))),
        }
    }

    /// The 12 bytes of the wire layout; the first 10 are the legacy one.
    #[allow(clippy::wrong_self_convention, reason = "a Python method takes a reference")]
    fn to_bytes(&self) -> [u8; 12] {
        self.0.to_bytes()
    }

    #[getter]
    fn flags(&self) -> u8 {
        self.0.flags
    }
    #[getter]
    fn gso_type(&self) -> u8 {
        self.0.gso_type
    }
    #[getter]
    fn hdr_len(&self) -> u16 {
        self.0.hdr_len
    }
    #[getter]
    fn gso_size(&self) -> u16 {
        self.0.gso_size
    }
    #[getter]
    fn csum_start(&self) -> u16 {
        self.0.csum_start
    }
    #[getter]
    fn csum_offset(&self) -> u16 {
        self.0.csum_offset
    }
    #[getter]
    fn num_buffers(&self) -> u16 {
        self.0.num_buffers
    }

    fn __repr__(&self) -> String {
        let h = &self.0;
        format!(
            "VnetHeader(flags={:#x}, gso_type={:#x}, hdr_len={}, gso_size={}, csum_start={}, \
             csum_offset={}, num_buffers={})",
            h.flags, h.gso_type, h.hdr_len, h.gso_size, h.csum_start, h.csum_offset, h.num_buffers
        )
    }
}

/// Where a split ring lies: its size, and the guest addresses of its three parts.
#[pyclass(frozen, eq, from_py_object, get_all, name = "RingLayout", module = "vnet_rx")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct PyRingLayout {
    size: u32,
    desc: u64,
    avail: u64,
    used: u64,
}

impl From<SplitLayout> for PyRingLayout {
    fn from(layout: SplitLayout) -> Self {
        let SplitLayout { size, desc, avail, used } = layout;
        Self { size, desc, avail, used }
    }
}

impl From<PyRingLayout> for SplitLayout {
    fn from(layout: PyRingLayout) -> Self {
        let PyRingLayout { size, desc, avail, used } = layout;
        Self { size, desc, avail, used }
    }
}

#[pymethods]
impl PyRingLayout {
    #[new]
    fn new(size: u32, desc: u64, avail: u64, used: u64) -> Self {
        Self { size, desc, avail, used }
    }

    fn __repr__(&self) -> String {
        format!(
            "RingLayout(size={}, desc={:#x}, avail={:#x}, used={:#x})",
            self.size, self.desc, self.avail, self.used
        )
    }
}

/// What a receive queue shall be (RECEIVE.md, section 1).
///
/// ``mode`` is small, big or mergeable; ``strategy`` eager or deferred; ``dialect`` legacy or modern.
/// ``features`` is a bit mask that must agree with mode and dialect; by default it is what the mode
/// has room for. A packet that stays incomplete breaks the queue after ``max_incomplete_polls`` polls
/// without progress, or with ``incomplete_timeout`` (for a device in another thread or process) after
/// so many seconds. Raises ``ConfigError`` naming the value and what would be possible.
#[pyclass(frozen, eq, from_py_object, name = "RxConfig", module = "vnet_rx")]
#[derive(Clone, Copy, PartialEq)]
pub(super) struct PyRxConfig(pub RxConfig);

impl Default for PyRxConfig {
    fn default() -> Self {
        Self(RxConfig::new(Mode::Mergeable, Strategy::Deferred, Dialect::Modern))
    }
}

#[pymethods]
impl PyRxConfig {
    #[new]
    #[pyo3(signature = (
        mode="mergeable", strategy="deferred", dialect="modern", ring_size=256, features=None,
        event_idx=true, max_frags=18, max_incomplete_polls=16, incomplete_timeout=None,
        first_index=0,
    ))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of a Python constructor")]
    fn new(
        mode: &str,
        strategy: &str,
        dialect: &str,
        ring_size: i64,
        features: Option<u64>,
        event_idx: bool,
        max_frags: i64,
        max_incomplete_polls: i64,
        incomplete_timeout: Option<f64>,
        first_index: i64,
    ) -> PyResult<Self> {
        let mode: Mode = mode.parse().or_raise()?;
        let strategy: Strategy = strategy.parse().or_raise()?;
        let dialect: Dialect = dialect.parse().or_raise()?;
        let features = match features {
            Some(bits) => {
                let features = Features::from_bits(bits);
                if features.mode() != mode || features.dialect() != dialect {
                    return Err(ConfigError::new_err(format!(
                        "features {bits:#x} select {} mode in the {} dialect, not {} and {}",
                        features.mode().name(),
                        features.dialect().name(),
                        mode.name(),
                        dialect.name()
                    )));
                }
                features
            }
            None if event_idx => Features::default_for(mode, dialect),
            None => Features::default_for(mode, dialect).without(Features::EVENT_IDX),
        };
        let incomplete = match incomplete_timeout {
            None => IncompleteLimit::Polls(within("max_incomplete_polls", max_incomplete_polls)?),
            Some(seconds) => match Duration::try_from_secs_f64(seconds) {
                Ok(time) => IncompleteLimit::Time(time),
                Err(_) => {
                    return Err(ConfigError::new_err(format!(
                        "incomplete_timeout {seconds} is not possible: give seconds above 0"
                    )));
                }
            },
        };
        let config = RxConfig {
            features,
            strategy,
            ring_size: within("ring_size", ring_size)?,
            max_frags: within("max_frags", max_frags)?,
            incomplete,
            first_index: within("first_index", first_index)?,
        };
        config.validate(usize::MAX).or_raise()?;
        Ok(Self(config))
    }

    #[getter]
    fn mode(&self) -> &'static str {
        self.0.mode().name()
    }
    #[getter]
    fn strategy(&self) -> &'static str {
        self.0.strategy.name()
    }
    #[getter]
    fn dialect(&self) -> &'static str {
        self.0.dialect().name()
    }
    #[getter]
    fn ring_size(&self) -> u32 {
        self.0.ring_size
    }
    #[getter]
    fn features(&self) -> u64 {
        self.0.features.bits()
    }
    #[getter]
    fn feature_names(&self) -> Vec<&'static str> {
        self.0.features.names().collect()
    }
    #[getter]
    fn event_idx(&self) -> bool {
        self.0.features.contains(Features::EVENT_IDX)
    }
    #[getter]
    fn max_frags(&self) -> u16 {
        self.0.max_frags
    }
    #[getter]
    fn max_incomplete_polls(&self) -> Option<u32> {
        match self.0.incomplete {
            IncompleteLimit::Polls(polls) => Some(polls),
            IncompleteLimit::Time(_) => None,
        }
    }
    #[getter]
    fn incomplete_timeout(&self) -> Option<f64> {
        match self.0.incomplete {
            IncompleteLimit::Polls(_) => None,
            IncompleteLimit::Time(time) => Some(time.as_secs_f64()),
        }
    }
    #[getter]
    fn first_index(&self) -> u16 {
        self.0.first_index
    }
    #[getter]
    fn header_len(&self) -> usize {
        self.0.features.header_len()
    }
    #[getter]
    fn descriptors_per_buffer(&self) -> usize {
        self.0.descriptors_per_buffer()
    }
    #[getter]
    fn pages_per_buffer(&self) -> usize {
        self.0.pages_per_buffer()
    }
    #[getter]
    fn pages_per_ring(&self) -> usize {
        self.0.pages_per_ring()
    }

    fn __repr__(&self) -> String {
        format!(
            "RxConfig(mode={:?}, strategy={:?}, dialect={:?}, ring_size={}, features={:#x}, \
             max_frags={}, first_index={})",
            self.mode(),
            self.strategy(),
            self.dialect(),
            self.0.ring_size,
            self.features(),
            self.0.max_frags,
            self.0.first_index
        )
    }
}

/// An integer argument in the range of its Rust type; the configuration checks it further.
pub(super) fn within<T: TryFrom<i64> + Bounded>(name: &str, value: i64) -> PyResult<T> {
    T::try_from(value).map_err(|_| {
        ConfigError::new_err(format!("{name} {value} is not possible: choose 0 to {}", T::MOST))
    })
}

/// A timeout in seconds; None waits for ever.
pub(super) fn timeout(seconds: Option<f64>) -> PyResult<Option<Duration>> {
    seconds.map(Duration::try_from_secs_f64).transpose().map_err(|_| {
        ConfigError::new_err(format!(
            "timeout {} is not possible: give seconds, 0 or more",
            seconds.unwrap_or_default()
        ))
    })
}

/// The largest value of an integer type, for messages.
pub(super) trait Bounded {
    const MOST: u64;
}

impl Bounded for u16 {
    const MOST: u64 = u16::MAX as u64;
}

impl Bounded for u32 {
    const MOST: u64 = u32::MAX as u64;
}

impl Bounded for usize {
    const MOST: u64 = isize::MAX as u64;
}

/// The counters of a receive queue at one moment (RECEIVE.md, section 10).
#[pyclass(frozen, eq, name = "Stats", module = "vnet_rx")]
#[derive(Clone, Copy, PartialEq)]
pub(super) struct PyStats(pub Stats);

/// One getter for each counter, so that tools see them.
macro_rules! counters {
    ($($name:ident)*) => {
        #[pymethods]
        impl PyStats {
            $(#[getter]
            fn $name(&self) -> u64 {
                self.0.$name
            })*

            /// How often each fault was met, by its name in RECEIVE.md, section 5.
            #[getter]
            fn faults<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
                let dict = PyDict::new(py);
                for (fault, count) in self.0.faults.iter() {
                    dict.set_item(fault.name(), count)?;
                }
                Ok(dict)
            }

            /// All counters by name, the faults as a dict of their own.
            fn as_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
                let dict = PyDict::new(py);
                for (name, value) in self.0.counters() {
                    dict.set_item(name, value)?;
                }
                dict.set_item("faults", self.faults(py)?)?;
                Ok(dict)
            }

            fn __repr__(&self) -> String {
                let counters: Vec<String> = self
                    .0
                    .counters()
                    .filter(|(_, n)| *n > 0)
                    .map(|(name, n)| format!("{name}={n}"))
                    .collect();
                format!("Stats({})", counters.join(", "))
            }
        }
    };
}

counters! {
    rx_packets rx_bytes rx_length_errors rx_frame_errors rx_dropped skb_allocs skb_frees
    page_allocs page_frees pool_gets pool_gives bytes_copied buffers_posted kicks polls
}
