//! A child of `fork`, which has one of its parent's threads: the pins of the others hold up nothing there, its own do.
//! A test binary of its own, with one test: what a child does must not meet the threads of other tests.
#![cfg(all(feature = "std", target_os = "linux", target_pointer_width = "64", not(any(bellwether_crossbeam, miri))))]

#[path = "../common/mod.rs"]
mod common;

use bellwether::Cache;
use common::{Census, Member};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::thread;

type Members = Cache<u32, Member<u32>>;

/// Runs this in a child of the process; whether it got through.
fn in_a_child(run: impl FnOnce()) -> bool {
    // SAFETY: the child has this thread alone, which runs `run` and ends by `_exit`. It allocates, which glibc provides for.
    match unsafe { libc::fork() } {
        -1 => panic!("no fork"),
        0 => {
            let done = catch_unwind(AssertUnwindSafe(run)).is_ok();
            // SAFETY: it does not return.
            unsafe { libc::_exit(i32::from(!done)) }
        }
        child => {
            let mut status = -1;
            // SAFETY: it waits for the child, and writes its status to where a reference points.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            status == 0
        }
    }
}

/// That values are kept, and dropped as they are removed.
fn works(cache: &Members, census: &Census) {
    for key in 0..200_000 {
        cache.insert(key % 50, census.member(key));
        assert!(cache.contains_key(&(key % 50)), "it is kept");
    }
    cache.invalidate_all();
    assert_eq!((cache.len(), cache.stats().retired_bytes), (0, 0));
    assert_eq!(census.alive(), 0, "all are dropped");
}

#[test]
fn a_child_frees_what_its_parents_threads_had_pinned() {
    let census = Census::default();
    let cache: Members = Cache::new(100);
    (0..20).for_each(|key| cache.insert(key, census.member(key)));
    let (pinned, is_pinned) = channel();
    let (end, ends) = channel::<()>();
    thread::scope(|scope| {
        let (cache, census) = (&cache, &census);
        scope.spawn(move || {
            let local = cache.register();
            let (_by_thread, _by_handle) = (cache.get_ref(&1).unwrap(), local.pin());
            pinned.send(()).unwrap();
            let _ = ends.recv();
        });
        is_pinned.recv().unwrap();

        assert!(in_a_child(|| works(cache, census)), "the other thread's pins are nobody's here");

        // What the thread that forks has pinned stays pinned.
        let mine = cache.get_ref(&2).unwrap();
        let of_a_handle = cache.register();
        let child = || {
            let by_handle = of_a_handle.pin();
            let also_mine = by_handle.get_ref(&3).unwrap();
            cache.invalidate_all();
            assert_eq!((census.alive(), mine.what, also_mine.what), (20, 2, 3), "under my own pins");
            drop(also_mine);
            drop(by_handle);
            cache.purge_expired();
            assert_eq!((census.alive(), mine.what), (20, 2), "under one of them");
            drop(mine);
            cache.purge_expired();
            assert_eq!(census.alive(), 0);
            // And with threads of its own.
            thread::scope(|scope| {
                for part in 0..2 {
                    scope.spawn(move || (0..10_000).for_each(|key| cache.insert(key * 2 + part, census.member(key))));
                }
            });
            cache.purge_expired();
            assert_eq!(census.alive(), cache.len() as isize);
            // A child of the child.
            let pinned = cache.iter().next().unwrap();
            assert!(in_a_child(|| {
                drop(pinned);
                works(cache, census);
            }));
        };
        assert!(in_a_child(child));

        assert_eq!((cache.len(), census.alive()), (20, 20), "nothing has changed here");
        end.send(()).unwrap();
    });
    busy_threads_leave_free_nodes();
}

/// Free nodes and open bags that threads had for themselves, as a fork has found them at some point: the child's threads take
/// them over, and no node is used twice.
fn busy_threads_leave_free_nodes() {
    let cache: Cache<u64, u64> = Cache::new(4000);
    let (done, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let insert = |from: u64, count: u64| {
        for key in from..from + count {
            cache.insert(key, key);
            for asked in [key, key - count / 100] {
                assert!(cache.get(&asked).is_none_or(|value| value == asked));
            }
            cache.remove(&(key - 7));
        }
    };
    thread::scope(|scope| {
        for part in 1..=2 {
            let (insert, done, stop) = (&insert, &done, &stop);
            scope.spawn(move || {
                for round in 0.. {
                    insert((part << 40) + round * 1000, 1000);
                    done.fetch_add(1, Relaxed);
                    if stop.load(Relaxed) {
                        break;
                    }
                }
            });
        }
        for fork in 1..=10 {
            while done.load(Relaxed) < 20 * fork {
                thread::yield_now();
            }
            let survived = in_a_child(|| {
                thread::scope(|scope| {
                    for part in 3..=5 {
                        let insert = &insert;
                        scope.spawn(move || insert(part << 40, 10_000));
                    }
                });
            });
            assert!(survived, "in child {fork}");
        }
        stop.store(true, Relaxed);
    });
    cache.validate().unwrap();
}
