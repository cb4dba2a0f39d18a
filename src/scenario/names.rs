//! Page numbers, renamed so that two arenas which hand out different pages can be compared; and what
//! every observation must obey.

/// What an observation breaks (`docs/scenario.md`, "Laws").
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Law {
    /// A page is in two places.
    #[error("a page is in two of: pool, posted buffers, held packets")]
    PageTwice,
    /// Pages in the pool, posted, held and free are not all there are.
    #[error("the pages that are in the pool, posted, held or free are not as many as there are")]
    PageCount,
    /// `num` is not the number of posted buffers.
    #[error("num is not the number of posted buffers")]
    Num,
    /// Descriptors of posted buffers and free ones are not all there are.
    #[error("the descriptors that are posted or free are not as many as the ring has")]
    Descriptors,
    /// A closed queue has a posted buffer or a page in its pool.
    #[error("a closed queue has buffers posted or pages in its pool")]
    Closed,
}

#[derive(Clone, Copy, Debug, Default)]
struct Page {
    name: u32,
    /// The observation that saw it last.
    seen: u64,
}

/// The names of pages. A page keeps its name for as long as one observation after the other sees it.
#[derive(Debug)]
pub(super) struct Names {
    pages: Vec<Page>,
    /// Number of the current observation; 0 and 1 are none.
    now: u64,
    next: u32,
    count: usize,
    twice: bool,
}

impl Names {
    pub(super) fn new(pages: usize) -> Self {
        Self { pages: vec![Page::default(); pages], now: 1, next: 0, count: 0, twice: false }
    }

    /// Begins the next observation.
    pub(super) fn begin(&mut self) {
        self.now += 1;
        self.count = 0;
        self.twice = false;
    }

    /// The name of a page that is seen outside the arena; it is new if the last observation did not
    /// see the page.
    pub(super) fn see(&mut self, page: u32) -> u32 {
        let Some(page) = self.pages.get_mut(page as usize) else {
            debug_assert!(false, "the engine has no page {page}");
            return page;
        };
        self.twice |= page.seen == self.now;
        if page.seen + 1 < self.now {
            page.name = self.next;
            self.next += 1;
        }
        page.seen = self.now;
        self.count += 1;
        page.name
    }

    /// The name of a page, if the current observation has seen it.
    pub(super) fn get(&self, page: u64) -> Option<u32> {
        let page = self.pages.get(usize::try_from(page).ok()?)?;
        (page.seen == self.now).then_some(page.name)
    }

    /// Whether every page was seen once or is free.
    pub(super) fn check(&self, free: usize) -> Result<(), Law> {
        if self.twice {
            return Err(Law::PageTwice);
        }
        if self.count + free != self.pages.len() {
            return Err(Law::PageCount);
        }
        Ok(())
    }
}
