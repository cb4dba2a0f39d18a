//! The free list of pages and the slab of skbs.

use loom::cell::UnsafeCell;
use loom::sync::{Arc, mpsc};
use loom::thread;
use vnet_rx::memory::{FreeList, Pushed, Recycle, Slab};

use crate::model;

/// Pages whose bytes belong to whoever took them: loom reports a race on the cell if two own one
/// page, or if a page's last use is not ordered before its next.
struct Pages {
    list: FreeList,
    bytes: Vec<UnsafeCell<u32>>,
}

impl Pages {
    fn new(count: u32) -> Arc<Self> {
        let bytes = (0..count).map(|_| UnsafeCell::new(0)).collect();
        Arc::new(Self { list: FreeList::full(count), bytes })
    }

    fn take(&self) -> Option<u32> {
        let page = self.list.pop()?;
        // SAFETY: the page was taken; loom checks that nobody else has it.
        self.bytes[page as usize].with_mut(|bytes| unsafe { *bytes += 1 });
        Some(page)
    }

    fn take_many(&self, most: u32) -> Vec<u32> {
        self.take_pushed(most, None)
    }

    fn take_pushed(&self, most: u32, pushed: Option<Pushed>) -> Vec<u32> {
        let Some((first, last, count)) = self.list.pop_many(most, pushed) else {
            return Vec::new();
        };
        let links = std::iter::successors(Some(first), |&page| Some(self.list.link(page)));
        let taken: Vec<u32> = links.take(count as usize).collect();
        assert_eq!(taken.last(), Some(&last));
        for &page in &taken {
            // SAFETY: as above.
            self.bytes[page as usize].with_mut(|bytes| unsafe { *bytes += 1 });
        }
        taken
    }

    fn give(&self, page: u32) {
        // SAFETY: as above.
        self.bytes[page as usize].with_mut(|bytes| unsafe { *bytes += 1 });
        self.list.push(page, page, 1);
    }

    fn check(&self) {
        let mut free = self.list.free();
        free.sort_unstable();
        assert_eq!(free, (0..self.bytes.len() as u32).collect::<Vec<_>>(), "a page is lost");
    }
}

#[test]
fn two_threads_take_and_give_pages() {
    model(None, || {
        let pages = Pages::new(2);
        let other = Arc::clone(&pages);
        let thread = thread::spawn(move || {
            if let Some(page) = other.take() {
                other.give(page);
            }
        });
        if let Some(page) = pages.take() {
            pages.give(page);
        }
        thread.join().unwrap();
        pages.check();
    });
}

/// A thread that does so, and ends with the second.
fn takes_two_and_puts_the_first_back(pages: &Arc<Pages>) -> thread::JoinHandle<Option<u32>> {
    let pages = Arc::clone(pages);
    thread::spawn(move || {
        let (first, second) = (pages.take(), pages.take());
        if let Some(page) = first {
            pages.give(page);
        }
        second
    })
}

/// The ABA shape: while one pop is under way, another thread takes two pages and puts the first
/// back, so that `head` names the same page with another successor.
#[test]
fn a_page_that_comes_back_under_a_pop_is_noticed() {
    model(Some(4), || {
        let pages = Pages::new(3);
        let thread = takes_two_and_puts_the_first_back(&pages);
        let mine = [pages.take(), pages.take()];
        let theirs = thread.join().unwrap();
        mine.into_iter().flatten().chain(theirs).for_each(|page| pages.give(page));
        pages.check();
    });
}

/// Two pages are taken in one step while another thread takes and gives: the links walked on the
/// way may change underneath.
#[test]
fn pages_are_taken_at_once_while_another_thread_takes_and_gives() {
    model(Some(4), || {
        let pages = Pages::new(3);
        let thread = takes_two_and_puts_the_first_back(&pages);
        let mine = pages.take_many(2);
        let theirs = thread.join().unwrap();
        mine.into_iter().chain(theirs).for_each(|page| pages.give(page));
        pages.check();
    });
}

/// Two pages that were just pushed are taken without walking along them, while another thread takes
/// both and puts the first back.
#[test]
fn pages_just_pushed_are_taken_at_once_unless_another_thread_was_there() {
    model(Some(4), || {
        let pages = Pages::new(3);
        let (Some(first), Some(last)) = (pages.take(), pages.take()) else { panic!("two pages") };
        pages.list.set_link(first, last);
        let pushed = pages.list.push(first, last, 2);
        let thread = takes_two_and_puts_the_first_back(&pages);
        let mine = pages.take_pushed(2, Some(pushed));
        let theirs = thread.join().unwrap();
        mine.into_iter().chain(theirs).for_each(|page| pages.give(page));
        pages.check();
    });
}

#[test]
fn three_threads_take_and_give_pages() {
    model(Some(3), || {
        let pages = Pages::new(2);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let pages = Arc::clone(&pages);
                thread::spawn(move || {
                    if let Some(page) = pages.take() {
                        pages.give(page);
                    }
                })
            })
            .collect();
        if let Some(page) = pages.take() {
            pages.give(page);
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        pages.check();
    });
}

/// An object whose contents loom watches.
struct Object(UnsafeCell<u32>);

impl Recycle for Object {
    fn recycle(&mut self) {
        // SAFETY: `&mut self`; loom checks that it is ordered after every other use.
        self.0.with_mut(|n| unsafe { *n = 0 });
    }
}

/// Freeing reads what recycling wrote: without it loom would not see that `close` needs its Acquire,
/// because the links of the lists are plain words.
impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: as above.
        self.0.with_mut(|n| unsafe { *n += 1 });
    }
}

fn slab() -> Slab<Object> {
    Slab::new(|| Object(UnsafeCell::new(0)))
}

#[test]
fn an_object_dropped_elsewhere_is_reused_as_good_as_new() {
    model(Some(3), || {
        let mut slab = slab();
        let (one, two) = (slab.alloc().unwrap(), slab.alloc().unwrap());
        let threads = [one, two].map(|object| thread::spawn(move || drop(object)));
        for _ in 0..2 {
            let object = slab.alloc().unwrap();
            // SAFETY: the object is ours; loom checks that its last use is ordered before.
            object.0.with_mut(|n| unsafe {
                assert_eq!(*n, 0);
                *n = 7;
            });
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!((slab.allocs(), slab.frees()), (4, 4));
    });
}

/// Loom counts its `Arc`s: an object that is not freed in some interleaving is a leak it reports.
#[test]
fn a_slab_closed_while_objects_are_dropped_leaks_none() {
    model(None, || {
        let mut slab = slab();
        let (one, two) = (slab.alloc().unwrap(), slab.alloc().unwrap());
        let (sender, receiver) = mpsc::channel();
        let thread = thread::spawn(move || {
            drop(one);
            sender.send(two).unwrap();
        });
        slab.close();
        thread.join().unwrap();
        drop(receiver.recv().unwrap());
        assert_eq!(slab.frees(), 2);
    });
}

/// Two drops in two threads race with closing: each object is freed exactly once, by `close` if it
/// came home in time, else by the thread that dropped it.
#[test]
fn closing_races_with_drops_in_two_threads() {
    model(Some(3), || {
        let mut slab = slab();
        let (one, two) = (slab.alloc().unwrap(), slab.alloc().unwrap());
        let threads = [one, two].map(|object| thread::spawn(move || drop(object)));
        slab.close();
        assert!(slab.alloc().is_none());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!((slab.allocs(), slab.frees()), (2, 2));
    });
}
