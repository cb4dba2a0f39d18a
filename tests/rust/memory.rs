//! The arena, the pool, the slab and shared memory, by themselves and from several threads.

use std::collections::HashSet;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use vnet_rx::memory::{
    GUEST_BASE, MAX_PARTS, MemoryError, Page, PageArena, PageChain, PagePool, ReadError, Recycle,
    SharedMemory, Slab,
};

#[test]
fn pages_are_handed_out_in_order_and_come_back_last_in_first_out() {
    let arena = PageArena::new(4).unwrap();
    let pages: Vec<Page> = std::iter::from_fn(|| arena.alloc_page()).collect();
    assert_eq!(pages.iter().map(Page::index).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(arena.alloc_page().is_none());
    for page in pages {
        arena.put_page(page);
    }
    assert_eq!(arena.free_pages(), [3, 2, 1, 0]);
    assert_eq!((arena.page_allocs(), arena.page_frees(), arena.free()), (4, 4, 4));
}

#[test]
fn a_chain_goes_in_front_of_the_pool_in_its_own_order() {
    let arena = PageArena::new(8).unwrap();
    let mut pool = PagePool::new(Arc::clone(&arena));
    let chain_of = |n| {
        let mut chain = PageChain::new();
        for _ in 0..n {
            chain.push(arena.alloc_page().unwrap(), &arena);
        }
        chain
    };
    pool.give_pages(chain_of(3));
    pool.give_pages(chain_of(2));
    assert_eq!(pool.indices().collect::<Vec<_>>(), [3, 4, 0, 1, 2]);
    let head = pool.get_a_page().unwrap();
    assert_eq!((head.index(), pool.gets(), pool.gives()), (3, 1, 5));
    arena.put_page(head);
    drop(pool);
    assert_eq!(arena.free(), 8, "a dropped pool gives its pages back");
}

#[test]
fn an_empty_pool_falls_through_to_the_arena() {
    let arena = PageArena::new(1).unwrap();
    let mut pool = PagePool::new(Arc::clone(&arena));
    let page = pool.get_a_page().unwrap();
    assert_eq!((pool.gets(), arena.page_allocs()), (0, 1));
    assert!(pool.get_a_page().is_none());
    arena.put_page(page);
}

#[test]
fn any_chosen_allocation_can_be_made_to_fail() {
    let arena = PageArena::new(8).unwrap();
    arena.fail_allocs(2, 2);
    let got: Vec<_> = (0..6).map(|_| arena.alloc_page()).collect();
    let pattern: Vec<bool> = got.iter().map(Option::is_some).collect();
    assert_eq!(pattern, [true, true, false, false, true, true]);
    assert_eq!(arena.page_allocs(), 4, "successes only");
    got.into_iter().flatten().for_each(|page| arena.put_page(page));
}

#[test]
fn pages_are_taken_at_once_as_they_are_one_by_one() {
    let arena = PageArena::new(8).unwrap();
    // Put back in order, so that they come back to front.
    let mut all: Vec<Page> = std::iter::from_fn(|| arena.alloc_page()).collect();
    all.drain(..).for_each(|page| arena.put_page(page));
    let order = arena.free_pages();
    let chain = arena.alloc_pages(3);
    assert_eq!(chain.indices(&arena).collect::<Vec<_>>(), order[..3]);
    assert_eq!((arena.free_pages(), arena.page_allocs()), (order[3..].to_vec(), 8 + 3));
    let rest = arena.alloc_pages(100);
    assert_eq!(rest.indices(&arena).collect::<Vec<_>>(), order[3..]);
    assert!(arena.alloc_pages(1).is_empty() && arena.alloc_pages(0).is_empty());
    arena.put_pages(rest);
    arena.put_pages(chain);
    assert_eq!(arena.free_pages(), order);
    arena.fail_allocs(100, 1);
    assert!(arena.alloc_pages(3).is_empty(), "a planned failure strikes single allocations");
}

#[test]
fn a_pool_gives_and_takes_many_pages_as_it_does_one_by_one() {
    let arena = PageArena::new(8).unwrap();
    let mut pool = PagePool::new(Arc::clone(&arena));
    pool.give_each(arena.alloc_pages(4));
    assert_eq!(pool.indices().collect::<Vec<_>>(), [3, 2, 1, 0]);
    let within = pool.get_pages(3).unwrap();
    assert_eq!(within.indices(&arena).collect::<Vec<_>>(), [3, 2, 1]);
    let beyond = pool.get_pages(3).unwrap();
    assert_eq!(beyond.indices(&arena).collect::<Vec<_>>(), [0, 4, 5]);
    assert_eq!((pool.gets(), pool.gives(), pool.len(), arena.page_allocs()), (4, 4, 0, 6));
    assert!(pool.get_pages(3).is_none());
    assert_eq!(pool.indices().collect::<Vec<_>>(), [6, 7], "what there was, as one chain");
    pool.give_pages(within);
    pool.give_pages(beyond);
}

#[test]
#[should_panic = "does not belong to"]
fn a_page_of_another_arena_is_refused() {
    let (one, other) = (PageArena::new(1).unwrap(), PageArena::new(1).unwrap());
    other.put_page(one.alloc_page().unwrap());
}

#[cfg(debug_assertions)]
#[test]
#[should_panic = "was dropped instead of given back"]
fn a_page_that_is_dropped_is_noticed() {
    let arena = PageArena::new(1).unwrap();
    drop(arena.alloc_page());
}

#[cfg(debug_assertions)]
#[test]
#[should_panic = "were dropped, not given back"]
fn a_chain_that_is_dropped_is_noticed() {
    let arena = PageArena::new(1).unwrap();
    let mut chain = PageChain::new();
    chain.push(arena.alloc_page().unwrap(), &arena);
    drop(chain);
}

#[test]
fn no_page_is_lost_or_handed_out_twice_among_threads() {
    let arena = PageArena::new(64).unwrap();
    let owned: Arc<Vec<AtomicUsize>> = Arc::new((0..64).map(|_| AtomicUsize::new(0)).collect());
    let threads: Vec<_> = (0..4u64)
        .map(|seed| {
            let (arena, owned) = (Arc::clone(&arena), Arc::clone(&owned));
            thread::spawn(move || {
                let (mut held, mut random) = (Vec::new(), seed + 1);
                let give = |pages: std::vec::Drain<'_, Page>| {
                    let mut chain = PageChain::new();
                    for page in pages {
                        owned[page.index() as usize].fetch_sub(1, Ordering::AcqRel);
                        chain.push(page, &arena);
                    }
                    arena.put_pages(chain);
                };
                for _ in 0..50_000 {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    if random % 3 > 0 && held.len() < 24 {
                        if let Some(page) = arena.alloc_page() {
                            let before =
                                owned[page.index() as usize].fetch_add(1, Ordering::AcqRel);
                            assert_eq!(before, 0, "handed out twice");
                            held.push(page);
                        }
                        continue;
                    }
                    let from = held.len() - held.len().min(3);
                    give(held.drain(from..));
                }
                give(held.drain(..));
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let free: HashSet<u32> = arena.free_pages().into_iter().collect();
    assert_eq!(free.len(), 64);
}

/// Counts how often it was made, and that it is empty when it is handed out.
#[derive(Default)]
struct Object(Vec<u8>);

impl Recycle for Object {
    fn recycle(&mut self) {
        self.0.clear();
    }
}

#[test]
fn objects_are_reused_and_counted_wherever_they_are_dropped() {
    let made = Arc::new(AtomicUsize::new(0));
    let of_made = Arc::clone(&made);
    let mut slab = Slab::new(move || {
        of_made.fetch_add(1, Ordering::Relaxed);
        Object::default()
    });
    let (sender, receiver) = mpsc::sync_channel(32);
    let dropper = thread::spawn(move || {
        for object in receiver {
            drop(object)
        }
    });
    for _ in 0..20_000 {
        let mut object = slab.alloc().unwrap();
        assert!(object.0.is_empty(), "as good as new");
        object.0.push(1);
        sender.send(object).unwrap();
        let spare = slab.alloc().unwrap();
        slab.free(spare);
    }
    drop(sender);
    dropper.join().unwrap();
    assert_eq!((slab.allocs(), slab.frees()), (40_000, 40_000));
    assert!(made.load(Ordering::Relaxed) <= 40, "reused, not made anew");
}

#[test]
fn objects_outlive_their_slab() {
    let mut slab = Slab::new(Object::default);
    let objects: Vec<_> = (0..10).map(|_| slab.alloc().unwrap()).collect();
    let more = slab.alloc().unwrap();
    drop(more);
    slab.close();
    assert!(slab.alloc().is_none(), "a closed slab has nothing to give");
    assert_eq!((slab.allocs(), slab.frees()), (11, 1));
    thread::spawn(move || drop(objects)).join().unwrap();
    assert_eq!(slab.frees(), 11);
}

#[test]
fn f39_the_memory_cannot_be_shrunk_by_a_peer() {
    let arena = PageArena::new(4).unwrap();
    let file = arena.memory().try_clone_file().unwrap();
    assert!(file.set_len(0).is_err());
    assert!(file.set_len(1 << 30).is_err());
    assert_eq!(file.metadata().unwrap().len(), arena.memory().len() as u64);
}

#[test]
fn only_aligned_addresses_inside_the_region_are_touched() {
    let memory = SharedMemory::new(4096).unwrap();
    memory.store64(GUEST_BASE + 4088, 0x0102_0304_0506_0708).unwrap();
    assert_eq!(memory.load16(GUEST_BASE + 4094), Ok(0x0102));
    assert_eq!(memory.load32(GUEST_BASE + 4088), Ok(0x0506_0708));
    for addr in [0, GUEST_BASE - 2, GUEST_BASE + 1, GUEST_BASE + 4096, u64::MAX, u64::MAX - 1] {
        assert!(memory.load16(addr).is_err(), "{addr:#x}");
        assert!(memory.store64(addr, 1).is_err(), "{addr:#x}");
    }
    let mut bytes = [0; 8];
    assert!(memory.read(GUEST_BASE + 4089, &mut bytes).is_err());
    assert!(memory.write(GUEST_BASE + 4089, &bytes).is_err());
    assert!(memory.read(GUEST_BASE + 4096, &mut []).is_ok());
}

#[test]
fn impossible_sizes_are_refused() {
    assert!(matches!(SharedMemory::new(0), Err(MemoryError::Length(0))));
    assert!(SharedMemory::new(usize::MAX).is_err());
    for pages in [0, u32::MAX as usize, usize::MAX] {
        let error = PageArena::new(pages).unwrap_err().to_string();
        assert!(error.contains("bytes"), "{error}");
    }
}

#[test]
fn a_file_is_read_into_parts_and_the_rest() {
    let memory = SharedMemory::new(4096).unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"headerpayloadtail").unwrap();
    let parts = [(GUEST_BASE + 100, 6), (GUEST_BASE, 7)];
    let mut rest = [0; 16];
    assert_eq!(memory.read_from(&reader, parts, &mut rest).unwrap(), 17);
    let (mut first, mut second) = ([0; 7], [0; 8]);
    memory.read(GUEST_BASE + 100, &mut first).unwrap();
    memory.read(GUEST_BASE, &mut second).unwrap();
    assert_eq!((&first, &second, &rest[..5]), (b"header\0", b"payload\0", &b"tail\0"[..]));
}

#[test]
fn nothing_is_read_into_parts_that_are_not_inside() {
    let memory = SharedMemory::new(4096).unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"bytes").unwrap();
    for part in [(GUEST_BASE + 4090, 7), (0, 1), (u64::MAX, 2), (GUEST_BASE, usize::MAX)] {
        let parts = [(GUEST_BASE, 4), part];
        let refused = memory.read_from(&reader, parts, &mut []);
        assert!(matches!(refused, Err(ReadError::OutOfRange(_))), "{part:x?}: {refused:?}");
    }
    let many = vec![(GUEST_BASE, 1); MAX_PARTS + 1];
    assert!(matches!(memory.read_from(&reader, many, &mut []), Err(ReadError::TooManyParts)));
    let all = vec![(GUEST_BASE, 1); MAX_PARTS];
    assert_eq!(memory.read_from(&reader, all, &mut []).unwrap(), 5, "all of it is still there");
    drop(writer);
    let closed = std::fs::File::open("/").unwrap();
    let refused = memory.read_from(&closed, [(GUEST_BASE, 1)], &mut []);
    assert!(matches!(refused, Err(ReadError::System(_))), "{refused:?}");
}

#[test]
fn copies_of_every_length_are_whole_and_touch_nothing_else() {
    let memory = SharedMemory::new(1024).unwrap();
    let bytes: Vec<u8> = (1..=255).collect();
    for len in 0..=255 {
        memory.write(GUEST_BASE, &[0; 1024]).unwrap();
        memory.write(GUEST_BASE + 33, &bytes[..len]).unwrap();
        let mut all = [0; 1024];
        memory.read(GUEST_BASE, &mut all).unwrap();
        let (before, rest) = all.split_at(33);
        let (copy, behind) = rest.split_at(len);
        assert_eq!(copy, &bytes[..len], "{len} bytes");
        assert!(before.iter().chain(behind).all(|&byte| byte == 0), "{len} bytes");
    }
}

#[test]
fn an_arena_of_more_pages_than_there_can_be_is_refused() {
    for pages in [0, (1 << 31) + 1, u32::MAX as usize, usize::MAX] {
        assert!(PageArena::new(pages).is_err(), "{pages} pages");
    }
}
