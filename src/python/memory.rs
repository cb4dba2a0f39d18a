//! Shared memory, the page arena and the page pool, by hand.

use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::errors::{ClosedError, ConfigError, OrRaise, OutOfPages, exclusive};
use super::values::within;
use crate::memory::{GUEST_BASE, Page, PageArena, PageChain, PagePool, SharedMemory};

/// The region that a device shares with the driver: one sealed memfd, whose descriptor is ``fileno``.
///
/// Addresses are guest addresses, from ``GUEST_BASE`` on. Words are one atomic access each, Acquire to
/// load and Release to store. Raises ``OutOfRange`` for what is not inside or not aligned.
#[pyclass(frozen, name = "SharedMemory", module = "vnet_rx")]
pub(super) struct PySharedMemory(pub Arc<SharedMemory>);

#[pymethods]
impl PySharedMemory {
    #[classattr]
    const GUEST_BASE: u64 = GUEST_BASE;

    fn __len__(&self) -> usize {
        self.0.len()
    }
    fn fileno(&self) -> i32 {
        self.0.fd().as_raw_fd()
    }
    fn load16(&self, addr: u64) -> PyResult<u16> {
        self.0.load16(addr).or_raise()
    }
    fn store16(&self, addr: u64, value: u16) -> PyResult<()> {
        self.0.store16(addr, value).or_raise()
    }
    fn load32(&self, addr: u64) -> PyResult<u32> {
        self.0.load32(addr).or_raise()
    }
    fn store32(&self, addr: u64, value: u32) -> PyResult<()> {
        self.0.store32(addr, value).or_raise()
    }
    fn load64(&self, addr: u64) -> PyResult<u64> {
        self.0.load64(addr).or_raise()
    }
    fn store64(&self, addr: u64, value: u64) -> PyResult<()> {
        self.0.store64(addr, value).or_raise()
    }
    fn read<'py>(&self, py: Python<'py>, addr: u64, len: usize) -> PyResult<Bound<'py, PyBytes>> {
        // Checked first, so that an absurd length allocates nothing.
        self.0.check(addr, len).or_raise()?;
        PyBytes::new_with(py, len, |bytes| self.0.read(addr, bytes).or_raise())
    }
    fn write(&self, addr: u64, data: &[u8]) -> PyResult<()> {
        self.0.write(addr, data).or_raise()
    }
}

/// ``pages`` device-visible pages of 4096 bytes on a lock-free free list (RECEIVE.md, section 2).
///
/// ``fail_allocs(skip, count)`` makes chosen allocations fail: ``skip`` more succeed, then ``count``
/// fail.
#[pyclass(frozen, name = "PageArena", module = "vnet_rx")]
pub(super) struct PyPageArena(pub Arc<PageArena>);

#[pymethods]
impl PyPageArena {
    #[new]
    fn new(pages: i64) -> PyResult<Self> {
        let pages = within("pages", pages)?;
        if pages == 0 {
            return Err(ConfigError::new_err(
                "an arena of 0 pages is not possible: give 1 or more",
            ));
        }
        PageArena::new(pages).or_raise().map(Self)
    }

    #[getter]
    fn memory(&self) -> PySharedMemory {
        PySharedMemory(Arc::clone(self.0.memory()))
    }
    #[getter]
    fn pages(&self) -> usize {
        self.0.len()
    }
    #[getter]
    fn free(&self) -> usize {
        self.0.free()
    }
    #[getter]
    fn free_pages(&self) -> Vec<u32> {
        self.0.free_pages()
    }
    #[getter]
    fn page_allocs(&self) -> u64 {
        self.0.page_allocs()
    }
    #[getter]
    fn page_frees(&self) -> u64 {
        self.0.page_frees()
    }

    /// Takes a page; page 0 is handed out first. Raises ``OutOfPages``.
    fn alloc_page(&self) -> PyResult<PyPage> {
        let page = self.0.alloc_page().ok_or_else(|| {
            OutOfPages::new_err(format!(
                "no page is free ({} of {} are): release packets or make a larger arena",
                self.0.free(),
                self.0.len()
            ))
        })?;
        Ok(PyPage::new(&self.0, page))
    }

    fn put_page(&self, page: &PyPage) -> PyResult<()> {
        self.0.put_page(page.take(&self.0)?);
        Ok(())
    }

    fn fail_allocs(&self, skip: u64, count: u64) {
        self.0.fail_allocs(skip, count);
    }

    fn address_of(&self, page: u32) -> PyResult<u64> {
        if page as usize >= self.0.len() {
            return Err(ConfigError::new_err(format!(
                "page {page} does not exist: choose 0 to {}",
                self.0.len() - 1
            )));
        }
        Ok(self.0.address_of(page))
    }

    fn __repr__(&self) -> String {
        format!("PageArena(pages={}, free={})", self.0.len(), self.0.free())
    }
}

/// A page in Python's hands; goes back to its arena when nobody holds it any more.
#[pyclass(frozen, name = "Page", module = "vnet_rx")]
pub(super) struct PyPage {
    arena: Arc<PageArena>,
    number: u32,
    page: Mutex<Option<Page>>,
}

impl PyPage {
    fn new(arena: &Arc<PageArena>, page: Page) -> Self {
        Self { arena: Arc::clone(arena), number: page.index(), page: Mutex::new(Some(page)) }
    }

    /// The page itself, to be given to `arena` or one of its pools.
    fn take(&self, arena: &Arc<PageArena>) -> PyResult<Page> {
        if !Arc::ptr_eq(&self.arena, arena) {
            return Err(ConfigError::new_err(format!(
                "page {} belongs to another arena: give it back there",
                self.number
            )));
        }
        let page = self.page.lock().unwrap_or_else(PoisonError::into_inner).take();
        page.ok_or_else(|| ClosedError::new_err(format!("page {} was given back", self.number)))
    }
}

#[pymethods]
impl PyPage {
    #[getter]
    fn number(&self) -> u32 {
        self.number
    }
    #[getter]
    fn address(&self) -> u64 {
        self.arena.address_of(self.number)
    }
    fn __repr__(&self) -> String {
        format!("Page(number={})", self.number)
    }
}

impl Drop for PyPage {
    fn drop(&mut self) {
        if let Some(page) = self.page.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            self.arena.put_page(page);
        }
    }
}

/// A LIFO of pages over an arena, linked through their private words (RECEIVE.md, section 2).
#[pyclass(frozen, name = "PagePool", module = "vnet_rx")]
pub(super) struct PyPagePool(Mutex<PagePool>);

#[pymethods]
impl PyPagePool {
    #[new]
    fn new(arena: &PyPageArena) -> Self {
        Self(Mutex::new(PagePool::new(Arc::clone(&arena.0))))
    }

    /// Sews a chain of pages, in its order, in front of the pool. All or none: where one cannot be
    /// given, none is.
    fn give_pages(&self, pages: Vec<PyRef<'_, PyPage>>) -> PyResult<()> {
        let mut pool = exclusive(&self.0, "the pool")?;
        let arena = Arc::clone(pool.arena());
        let mut taken = Vec::with_capacity(pages.len());
        for page in &pages {
            match page.take(&arena) {
                Ok(one) => taken.push(one),
                Err(error) => {
                    for (page, one) in pages.iter().zip(taken) {
                        *page.page.lock().unwrap_or_else(PoisonError::into_inner) = Some(one);
                    }
                    return Err(error);
                }
            }
        }
        let mut chain = PageChain::new();
        for page in taken {
            chain.push(page, &arena);
        }
        pool.give_pages(chain);
        Ok(())
    }

    /// Takes the head; an empty pool falls through to the arena. Raises ``OutOfPages``.
    fn get_a_page(&self) -> PyResult<PyPage> {
        let mut pool = exclusive(&self.0, "the pool")?;
        let page = pool.get_a_page().ok_or_else(|| {
            OutOfPages::new_err("the pool is empty and the arena has no free page")
        })?;
        Ok(PyPage::new(pool.arena(), page))
    }

    #[getter]
    fn pages(&self) -> PyResult<Vec<u32>> {
        Ok(exclusive(&self.0, "the pool")?.indices().collect())
    }

    fn __len__(&self) -> PyResult<usize> {
        Ok(exclusive(&self.0, "the pool")?.len())
    }
}
