//! Delivered packets, and views of their bytes that pin their pages.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

use super::errors::ClosedError;
use super::values::PyVnetHeader;
use crate::device::source::Frame;
use crate::receive::Packet;
use crate::virtio::VnetHeader;

/// What is known of a packet, and who looks at it.
struct Held {
    contents: Contents,
    /// Views that live.
    exports: usize,
}

enum Contents {
    /// In pages of the arena (and the skb's private head).
    Shared {
        packet: Packet,
        /// A joined copy, made when a packet of several segments is viewed as one.
        joined: Option<Box<[u8]>>,
    },
    /// Copied out of the arena.
    Private {
        bytes: Box<[u8]>,
        header: VnetHeader,
    },
    Released,
}

impl Contents {
    fn len(&self) -> usize {
        match self {
            Self::Shared { packet, .. } => packet.len(),
            Self::Private { bytes, .. } => bytes.len(),
            Self::Released => 0,
        }
    }

    /// Number of the packet's segments.
    fn segments(&self) -> usize {
        match self {
            Self::Shared { packet, .. } => packet.segments().count(),
            Self::Private { .. } => 1,
            Self::Released => 0,
        }
    }

    /// Where segment `index` lies and its length.
    fn segment(&self, index: usize) -> Option<(*const u8, usize)> {
        match self {
            Self::Shared { packet, .. } => {
                packet.segments().nth(index).map(|segment| (segment.as_ptr(), segment.len()))
            }
            Self::Private { bytes, .. } => (index == 0).then_some((bytes.as_ptr(), bytes.len())),
            Self::Released => None,
        }
    }

    /// Where all of the packet lies as one, joined if it has to be.
    fn whole(&mut self) -> Option<(*const u8, usize)> {
        if self.segments() == 1 {
            return self.segment(0);
        }
        let Self::Shared { packet, joined } = self else { return None };
        let bytes = joined.get_or_insert_with(|| packet.to_vec().into());
        Some((bytes.as_ptr(), bytes.len()))
    }
}

/// A packet, shared by its Python object and the views of its segments.
struct Shared(Mutex<Held>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Held> {
        // No code that can panic runs under this lock with the contents half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The packet, unless it was released.
    fn live(&self) -> PyResult<MutexGuard<'_, Held>> {
        let held = self.lock();
        if matches!(held.contents, Contents::Released) {
            return Err(ClosedError::new_err("the packet was released"));
        }
        Ok(held)
    }
}

/// A delivered packet (RECEIVE.md, section 4).
///
/// Its pages are its own until it is released or nobody holds it any more, in whichever thread. Views
/// pin them. Bytes in pages are shared with the device, and a hostile one may still write them; those
/// of the head (``head_len``, at most 128) and of a private packet never change.
#[pyclass(frozen, name = "Packet", module = "vnet_rx")]
pub(super) struct PyPacket(Arc<Shared>);

impl PyPacket {
    pub(super) fn new(packet: Packet) -> Self {
        let contents = Contents::Shared { packet, joined: None };
        Self(Arc::new(Shared(Mutex::new(Held { contents, exports: 0 }))))
    }
}

impl PyPacket {
    /// Copies header and bytes out.
    pub(super) fn frame(&self) -> PyResult<Frame> {
        Ok(match &self.0.live()?.contents {
            Contents::Shared { packet, .. } => {
                Frame { header: packet.header(), bytes: packet.to_vec() }
            }
            Contents::Private { bytes, header } => Frame { header: *header, bytes: bytes.to_vec() },
            Contents::Released => Frame::default(),
        })
    }
}

#[pymethods]
impl PyPacket {
    fn __len__(&self) -> PyResult<usize> {
        Ok(self.0.live()?.contents.len())
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        match &self.0.live()?.contents {
            Contents::Private { bytes, .. } => Ok(PyBytes::new(py, bytes)),
            Contents::Shared { packet, .. } => PyBytes::new_with(py, packet.len(), |bytes| {
                packet.copy_into(bytes);
                Ok(())
            }),
            Contents::Released => Ok(PyBytes::new(py, &[])),
        }
    }

    #[getter]
    fn header(&self) -> PyResult<PyVnetHeader> {
        Ok(PyVnetHeader(match &self.0.live()?.contents {
            Contents::Shared { packet, .. } => packet.header(),
            Contents::Private { header, .. } => *header,
            Contents::Released => VnetHeader::default(),
        }))
    }

    /// All bytes as one read-only view: of the packet itself where it lies in one piece, else of a
    /// private copy.
    #[getter]
    fn data<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyMemoryView>> {
        drop(slf.get().0.live()?);
        PyMemoryView::from(slf.as_any())
    }

    /// The packet as it lies in memory: read-only views of the head and of each frag.
    #[getter]
    fn segments<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyMemoryView>>> {
        let count = self.0.live()?.contents.segments();
        (0..count)
            .map(|index| {
                let segment = Bound::new(py, PySegment { packet: Arc::clone(&self.0), index })?;
                PyMemoryView::from(segment.as_any())
            })
            .collect()
    }

    #[getter]
    fn head_len(&self) -> PyResult<usize> {
        Ok(match &self.0.live()?.contents {
            Contents::Shared { packet, .. } => packet.head_len(),
            contents => contents.len(),
        })
    }

    /// The frags: ``(page, offset, length)``.
    #[getter]
    fn frags(&self) -> PyResult<Vec<(u32, u16, u16)>> {
        Ok(match &self.0.live()?.contents {
            Contents::Shared { packet, .. } => {
                packet.frags().map(|frag| (frag.page, frag.offset, frag.len)).collect()
            }
            _ => Vec::new(),
        })
    }

    /// The linear part that stands in place of a private head (small mode, eager big mode):
    /// ``(page, offset, length)``, or None.
    #[getter]
    fn linear(&self) -> PyResult<Option<(u32, u16, u16)>> {
        Ok(match &self.0.live()?.contents {
            Contents::Shared { packet, .. } => {
                packet.linear().map(|part| (part.page, part.offset, part.len))
            }
            _ => None,
        })
    }

    /// Bytes of memory that the packet pins.
    #[getter]
    fn truesize(&self) -> PyResult<usize> {
        Ok(match &self.0.live()?.contents {
            Contents::Shared { packet, .. } => packet.truesize(),
            contents => contents.len(),
        })
    }

    #[getter]
    fn is_private(&self) -> PyResult<bool> {
        Ok(matches!(self.0.live()?.contents, Contents::Private { .. }))
    }

    /// Copies the bytes out of the arena and gives the pages back. Raises BufferError while views live.
    fn make_private(&self) -> PyResult<()> {
        let mut held = self.0.live()?;
        no_views(&held)?;
        if let Contents::Shared { packet, .. } = &held.contents {
            let (bytes, header) = (packet.to_vec().into(), packet.header());
            held.contents = Contents::Private { bytes, header };
        }
        Ok(())
    }

    /// Gives the pages back. Raises BufferError while views live; twice is fine.
    fn release(&self) -> PyResult<()> {
        let mut held = self.0.lock();
        no_views(&held)?;
        held.contents = Contents::Released;
        Ok(())
    }

    fn __repr__(&self) -> String {
        match &self.0.lock().contents {
            Contents::Released => "<Packet, released>".to_owned(),
            contents => format!("<Packet of {} bytes>", contents.len()),
        }
    }

    /// The whole packet as one read-only view.
    ///
    /// # Safety
    /// Called by the interpreter with a view to fill in.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let mut held = slf.get().0.live()?;
        let place = held.contents.whole();
        // SAFETY: `view` is the interpreter's; the place stays valid while `exports` is above 0,
        // because nothing changes the contents then.
        unsafe { export(slf.as_any(), &mut held, place, view, flags) }
    }

    /// # Safety
    /// Called by the interpreter, once for each view it was given.
    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.0.lock().exports -= 1;
    }
}

/// One segment of a packet; exists only behind a memoryview.
#[pyclass(frozen, name = "_Segment", module = "vnet_rx")]
struct PySegment {
    packet: Arc<Shared>,
    index: usize,
}

#[pymethods]
impl PySegment {
    /// The segment as a read-only view.
    ///
    /// # Safety
    /// Called by the interpreter with a view to fill in.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let segment = slf.get();
        let mut held = segment.packet.live()?;
        let place = held.contents.segment(segment.index);
        // SAFETY: as for the whole packet.
        unsafe { export(slf.as_any(), &mut held, place, view, flags) }
    }

    /// # Safety
    /// Called by the interpreter, once for each view it was given.
    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.packet.lock().exports -= 1;
    }
}

fn no_views(held: &Held) -> PyResult<()> {
    if held.exports > 0 {
        return Err(PyBufferError::new_err(format!(
            "{} views of the packet live: release them first",
            held.exports
        )));
    }
    Ok(())
}

/// Fills in a read-only view of `place` and counts it.
///
/// # Safety
/// `view` is null or may be written; `place` stays valid until the view is released.
unsafe fn export(
    owner: &Bound<'_, PyAny>,
    held: &mut Held,
    place: Option<(*const u8, usize)>,
    view: *mut ffi::Py_buffer,
    flags: c_int,
) -> PyResult<()> {
    let (at, len) = place.unwrap_or((ptr::dangling(), 0));
    // SAFETY: promised by the caller. Pages are only ever read through the view, though a device
    // may write them meanwhile; the documentation says so.
    let failed = unsafe {
        ffi::PyBuffer_FillInfo(
            view,
            owner.as_ptr(),
            at.cast_mut().cast::<c_void>(),
            len as ffi::Py_ssize_t,
            1,
            flags,
        )
    };
    if failed != 0 {
        return Err(PyErr::fetch(owner.py()));
    }
    held.exports += 1;
    Ok(())
}
