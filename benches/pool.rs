//! The page pool: pages chained through a word of their own (what the patch did) against a `Vec` of
//! pages and a stack of page numbers.
//!
//! | pattern | what happens | what is timed |
//! |---|---|---|
//! | `page` | 64 pages are taken, then given back one by one | both |
//! | `buffer` | 19 pages are taken as one buffer, then given back together | both |
//! | `give-buffer` | as above | giving back |

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use vnet_rx::memory::{Page, PageArena, PageChain, PagePool};

/// Pages of a buffer in big mode.
const BUFFER: usize = 19;
const PAGES: usize = 64;
/// Rounds between two looks at the clock.
const ROUNDS: u64 = 32;

pub fn bench(c: &mut Criterion) {
    let arena = PageArena::new(1024).expect("memory");
    run(c, "intrusive-chain", &mut Intrusive::new(&arena));
    let arena = PageArena::new(1024).expect("memory");
    run(c, "vec", &mut Listed::new(&arena));
    run(c, "index-stack", &mut Numbered::new());
}

/// A free list under measurement. It gives out pages, and buffers of pages however it holds them.
trait FreeList {
    type Page;
    type Buffer;
    fn take_page(&mut self) -> Self::Page;
    fn give_page(&mut self, page: Self::Page);
    fn take(&mut self) -> Self::Buffer;
    fn give(&mut self, buffer: Self::Buffer);
    /// The sum of the page numbers in the pool, and how many there are.
    fn digest(&self) -> (u64, usize);
}

fn run<L: FreeList>(c: &mut Criterion, name: &str, list: &mut L) {
    let mut group = c.benchmark_group(format!("pool/{name}"));
    let mut cell = |pattern: &str, pages: usize, work: &mut dyn FnMut(&mut L, u64) -> Duration| {
        let before = list.digest();
        group.throughput(Throughput::Elements(pages as u64));
        group.bench_function(BenchmarkId::from_parameter(pattern), |b| {
            b.iter_custom(|rounds| work(list, rounds));
        });
        assert_eq!(list.digest(), before, "a page was lost or doubled");
    };
    let mut single = Vec::with_capacity(PAGES);
    let mut out = Vec::with_capacity(ROUNDS as usize);
    cell("page", PAGES, &mut |list, rounds| {
        let began = Instant::now();
        for _ in 0..rounds {
            single.extend((0..PAGES).map(|_| list.take_page()));
            single.drain(..).for_each(|page| list.give_page(page));
        }
        began.elapsed()
    });
    cell("buffer", BUFFER, &mut |list, rounds| {
        let began = Instant::now();
        for _ in 0..rounds {
            let buffer = black_box(list.take());
            list.give(buffer);
        }
        began.elapsed()
    });
    cell("give-buffer", BUFFER, &mut |list, rounds| {
        let mut time = Duration::ZERO;
        let mut left = rounds;
        while left > 0 {
            let n = left.min(ROUNDS);
            out.extend((0..n).map(|_| list.take()));
            let began = Instant::now();
            out.drain(..).for_each(|buffer| list.give(buffer));
            time += began.elapsed();
            left -= n;
        }
        time
    });
}

/// This library's: one word a page, a chain given back by writing one of them.
struct Intrusive {
    pool: PagePool,
    arena: Arc<PageArena>,
}

impl Intrusive {
    fn new(arena: &Arc<PageArena>) -> Self {
        let mut pool = PagePool::new(Arc::clone(arena));
        let mut chain = PageChain::new();
        while let Some(page) = arena.alloc_page() {
            chain.push(page, arena);
        }
        pool.give_pages(chain);
        Self { pool, arena: Arc::clone(arena) }
    }
}

impl FreeList for Intrusive {
    type Page = Page;
    type Buffer = PageChain;
    #[inline]
    fn take_page(&mut self) -> Page {
        self.pool.get_a_page().expect("a page")
    }
    #[inline]
    fn give_page(&mut self, page: Page) {
        self.pool.give_page(page);
    }
    #[inline]
    fn take(&mut self) -> PageChain {
        let mut chain = PageChain::new();
        for _ in 0..BUFFER {
            chain.push(self.take_page(), &self.arena);
        }
        chain
    }
    #[inline]
    fn give(&mut self, chain: PageChain) {
        self.pool.give_pages(chain);
    }
    fn digest(&self) -> (u64, usize) {
        (self.pool.indices().map(u64::from).sum(), self.pool.len())
    }
}

/// A `Vec` of page tokens; a buffer is a small array of them, as it would lie in its owner.
struct Listed {
    pages: Vec<Page>,
    arena: Arc<PageArena>,
}

impl Listed {
    fn new(arena: &Arc<PageArena>) -> Self {
        let pages = std::iter::from_fn(|| arena.alloc_page()).collect();
        Self { pages, arena: Arc::clone(arena) }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.pages.drain(..).for_each(|page| self.arena.put_page(page));
    }
}

impl FreeList for Listed {
    type Page = Page;
    type Buffer = [Page; BUFFER];
    #[inline]
    fn take_page(&mut self) -> Page {
        self.pages.pop().expect("a page")
    }
    #[inline]
    fn give_page(&mut self, page: Page) {
        self.pages.push(page);
    }
    #[inline]
    fn take(&mut self) -> Self::Buffer {
        std::array::from_fn(|_| self.take_page())
    }
    #[inline]
    fn give(&mut self, buffer: Self::Buffer) {
        self.pages.extend(buffer);
    }
    fn digest(&self) -> (u64, usize) {
        (self.pages.iter().map(|page| u64::from(page.index())).sum(), self.pages.len())
    }
}

/// A stack of page numbers in an array that never grows, without any token: the least there can be.
struct Numbered {
    stack: Box<[u32]>,
    top: usize,
}

impl Numbered {
    fn new() -> Self {
        Self { stack: (0..1024).collect(), top: 1024 }
    }
}

impl FreeList for Numbered {
    type Page = u32;
    type Buffer = [u32; BUFFER];
    #[inline]
    fn take_page(&mut self) -> u32 {
        self.top -= 1;
        self.stack[self.top]
    }
    #[inline]
    fn give_page(&mut self, page: u32) {
        self.stack[self.top] = page;
        self.top += 1;
    }
    #[inline]
    fn take(&mut self) -> Self::Buffer {
        self.top -= BUFFER;
        std::array::from_fn(|i| self.stack[self.top + i])
    }
    #[inline]
    fn give(&mut self, buffer: Self::Buffer) {
        self.stack[self.top..self.top + BUFFER].copy_from_slice(&buffer);
        self.top += BUFFER;
    }
    fn digest(&self) -> (u64, usize) {
        (self.stack[..self.top].iter().map(|&page| u64::from(page)).sum(), self.top)
    }
}
