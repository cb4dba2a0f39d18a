//! Capture files.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::errors::{CaptureError, ClosedError, IntoPyErr, OrRaise, exclusive};
use super::host::PyFrames;
use super::values::PyVnetHeader;
use crate::device::source::{Capture, CaptureError as Failure, CaptureWriter, Frame};

impl IntoPyErr for Failure {
    fn into_py_err(self) -> PyErr {
        CaptureError::new_err(self.to_string())
    }
}

/// A pcap or pcapng file of Ethernet frames, read whole. Raises ``CaptureError``.
///
/// A packet whose comment holds a virtio-net header has that header; for any other it is derived
/// from the frame.
#[pyclass(frozen, name = "Capture", module = "vnet_rx")]
pub(super) struct PyCapture(Capture);

#[pymethods]
impl PyCapture {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        py.detach(|| Capture::read(&path)).or_raise().map(Self)
    }

    /// The frames and their headers.
    #[getter]
    fn frames(&self) -> PyFrames {
        PyFrames(Arc::clone(&self.0.frames))
    }

    /// The capture in figures: file, format, frames, bytes, longest, recorded_headers, cut_short.
    fn describe<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let name = self.0.path.file_name().unwrap_or_default().to_string_lossy();
        let dict = PyDict::new(py);
        dict.set_item("file", name)?;
        dict.set_item("format", self.0.format.name())?;
        dict.set_item("frames", self.0.frames.len())?;
        dict.set_item("bytes", self.0.bytes())?;
        dict.set_item("longest", self.0.longest())?;
        dict.set_item("recorded_headers", self.0.recorded_headers)?;
        dict.set_item("cut_short", self.0.cut_short)?;
        Ok(dict)
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }
}

/// Writes a pcapng file of Ethernet frames, each with its virtio-net header in its comment.
///
/// With ``complete_checksums``, a frame that needs its checksum completed (NEEDS_CSUM) gets it, and a
/// header that says so: DATA_VALID, and no segmentation. Such a file is for reading; one to be
/// replayed keeps the headers as they came.
#[pyclass(frozen, name = "CaptureWriter", module = "vnet_rx")]
pub(super) struct PyCaptureWriter(Mutex<Option<CaptureWriter>>);

impl PyCaptureWriter {
    /// Runs `what` on the writer.
    pub(super) fn with<T>(
        &self,
        what: impl FnOnce(&mut CaptureWriter) -> PyResult<T>,
    ) -> PyResult<T> {
        match &mut *exclusive(&self.0, "the writer")? {
            Some(writer) => what(writer),
            None => Err(ClosedError::new_err("the capture file is closed")),
        }
    }
}

/// The time since the epoch.
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[pymethods]
impl PyCaptureWriter {
    #[new]
    #[pyo3(signature = (path, complete_checksums=false))]
    fn new(path: PathBuf, complete_checksums: bool) -> PyResult<Self> {
        let mut writer = CaptureWriter::create(&path).or_raise()?;
        writer.set_complete_checksums(complete_checksums);
        Ok(Self(Mutex::new(Some(writer))))
    }

    /// Appends a frame; without a timestamp (nanoseconds since the epoch) it is now.
    #[pyo3(signature = (frame, header=None, timestamp_ns=None))]
    fn write(
        &self,
        frame: &[u8],
        header: Option<PyVnetHeader>,
        timestamp_ns: Option<u64>,
    ) -> PyResult<()> {
        let time = timestamp_ns.map_or_else(now, Duration::from_nanos);
        let header = header.map(|header| header.0).unwrap_or_default();
        let frame = Frame { header, bytes: frame.to_vec() };
        self.with(|writer| writer.write(&frame, time).or_raise())
    }

    /// Writes out what is still buffered. Closing twice is fine.
    fn close(&self) -> PyResult<()> {
        let writer = exclusive(&self.0, "the writer")?.take();
        writer.map_or(Ok(()), |writer| writer.finish().or_raise())
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }
    #[pyo3(signature = (*_exc))]
    fn __exit__(&self, _exc: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.close()
    }
}
