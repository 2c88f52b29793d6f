//! Where nodes lie, that they are used again, and that their memory is given back. (With `--cfg bellwether_malloc` there
//! are no slabs.)
#![cfg(not(any(loom, bellwether_malloc)))]

extern crate alloc;

#[allow(dead_code, reason = "only a limbo fetches ahead")]
#[path = "../../src/reclaim/arena.rs"]
mod arena;
#[path = "../common/counting.rs"]
mod counting;
#[path = "../../src/reclaim/extras.rs"]
mod extras;
#[path = "../../src/reclaim/free_list.rs"]
mod free_list;
#[path = "../../src/reclaim/freed.rs"]
mod freed;
#[path = "../../src/reclaim/layout.rs"]
mod layout;
#[path = "../../src/reclaim/renewals.rs"]
mod renewals;
#[path = "../../src/reclaim/single.rs"]
mod single;
#[path = "../common/sys.rs"]
mod sys;

use arena::Arena;
use bellwether::{Cache, Ref};
use counting::Counting;
use std::alloc::Layout;
use std::cell::Cell;
use std::collections::HashSet;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts what a thread has allocated and not freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    /// All of it.
    bytes: isize,
    /// Of blocks that are aligned to a page: chunks of slabs.
    slabs: isize,
    /// Blocks that were allocated so, whether they were freed or not.
    chunks: usize,
}

thread_local! {
    static COUNT: Cell<Count> = const { Cell::new(Count { bytes: 0, slabs: 0, chunks: 0 }) };
}

fn counted() -> Count {
    COUNT.get()
}

fn count(layout: Layout, sign: isize) {
    let _ = COUNT.try_with(|count| {
        let (mut now, size) = (count.get(), sign * layout.size() as isize);
        now.bytes += size;
        if layout.align() >= 4096 {
            now.slabs += size;
            now.chunks += usize::from(sign > 0);
        }
        count.set(now);
    });
}

#[global_allocator]
static COUNTING: Counting = Counting(count);

/// Bytes on the heap of a cache without entries (bells, counters, the first cells), and what ten entries add: a slab, and the
/// first segment of slots.
const EMPTY: isize = 12 << 10;
const TEN: isize = 6 << 10;

/// One at a time of the tests that use caches: a pin of one would keep the others' nodes from being used again.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As large and as aligned as a node.
#[repr(C)]
struct Sized<const WORDS: usize>([u64; WORDS]);
#[repr(C, align(64))]
struct Lines([u8; 64]);
#[repr(C, align(128))]
struct TwoLines(u64);
#[repr(C, align(4096))]
struct Page(u64);

fn free<T>(arena: &Arena<T>, node: NonNull<T>) {
    // SAFETY: from this arena, and not used again by who calls this.
    unsafe { arena.freed().add(node) };
}

/// Nodes overlap with nothing, and are aligned to `align`; their pairs are all zero to begin with and their own.
fn lie_apart<T>(align: usize, fill: impl Fn() -> T) {
    let arena = Arena::<T>::new(false);
    let mut taken = HashSet::new();
    let nodes: Vec<_> = (0..3000).map(|_| arena.allocate(fill())).collect();
    for (i, &node) in nodes.iter().enumerate() {
        // SAFETY: from the arena, which lives; used so until here.
        let cold = unsafe { layout::cold(node) };
        assert_eq!((cold.weight.load(SeqCst), cold.slot.load(SeqCst)), (0, 0));
        cold.weight.store(i as u32 + 1, SeqCst);
        cold.slot.store(i as u32 + 2, SeqCst);
        assert_eq!(node.addr().get() % align, 0);
        for (start, size) in [(node.addr().get(), size_of::<T>()), (std::ptr::from_ref(cold).addr(), 8)] {
            assert_eq!(start % 4, 0);
            assert!((start..start + size).step_by(4).all(|word| taken.insert(word & !3)), "{i} lies on another");
        }
    }
    for (i, &node) in nodes.iter().enumerate() {
        // SAFETY: as above.
        let cold = unsafe { layout::cold(node) };
        let pair = (cold.weight.load(SeqCst), cold.slot.load(SeqCst));
        assert_eq!(pair, (i as u32 + 1, i as u32 + 2));
        free(&arena, node);
    }
}

#[test]
fn nodes_lie_apart() {
    lie_apart(16, || 1u8);
    lie_apart(16, || Sized([1; 3]));
    lie_apart(16, || Sized([1; 9]));
    lie_apart(16, || Sized([1; 37]));
    lie_apart(16, || Sized([1; 126]));
    lie_apart(64, || Lines([1; 64]));
    lie_apart(128, || TwoLines(1));
    // One by one.
    lie_apart(16, || Sized([1; 129]));
    lie_apart(4096, || Page(1));
}

/// What `u64 → u64` comes to: one cache line, and little beside it.
#[test]
fn nodes_of_a_line_begin_with_it() {
    lie_apart(64, || Sized([1; 7]));
    let before = counted();
    let arena = Arena::<Sized<7>>::new(false);
    let nodes: Vec<_> = (0..1_000_000).map(|_| arena.allocate(Sized([1; 7]))).collect();
    let slabs = counted().slabs - before.slabs;
    // A chunk may have just been begun.
    assert!(slabs <= (1_000_000 * 651) / 10 + (2 << 20), "{slabs} bytes for a million nodes");
    assert_eq!(layout::bytes::<Sized<7>>(), 64, "with its pair");
    nodes.into_iter().for_each(|node| free(&arena, node));
    drop(arena);
    assert_eq!(counted().slabs, before.slabs, "given back");
}

/// Extra words: none is there before one is used; then they are zero, and each node's its own.
#[test]
fn extra_words() {
    let before = counted();
    let arena = Arena::<Sized<7>>::new(false);
    let nodes: Vec<_> = (0..10_000).map(|n| arena.allocate(Sized([n; 7]))).collect();
    let without = counted().bytes;
    // SAFETY: from the arena, and alive.
    assert!(nodes.iter().all(|&node| unsafe { arena.expiry(node) }.is_none()));
    // SAFETY: as above.
    let none_has_the_other = || nodes.iter().all(|&node| unsafe { arena.tag_sequence(node) }.is_none());
    assert!(none_has_the_other());
    // SAFETY: as above.
    assert!(nodes.iter().all(|&node| unsafe { arena.renewal(node) }.is_none()));
    let last = nodes[9999];
    // SAFETY: as above.
    unsafe { arena.expiry_or_grow(last) }.store(7, SeqCst);
    for (i, &node) in nodes.iter().enumerate() {
        // Of those that are in no segment of words yet there is none.
        // SAFETY: as above.
        let was = unsafe { arena.expiry(node) }.map_or(0, |extra| extra.load(SeqCst));
        assert_eq!(was, if node == last { 7 } else { 0 });
        if node != last {
            // SAFETY: as above.
            unsafe { arena.expiry_or_grow(node) }.store(1000 + i as u64, SeqCst);
        }
    }
    for (i, &node) in nodes.iter().enumerate().take(9999) {
        // SAFETY: as above.
        assert_eq!(unsafe { arena.expiry(node) }.unwrap().load(SeqCst), 1000 + i as u64);
    }
    assert!(counted().bytes - without <= 2 * 8 * 16_384, "{} bytes", counted().bytes - without);
    // SAFETY: as above.
    assert_eq!(unsafe { arena.renewal_or_grow(last) }.load(SeqCst), 0);
    drop(arena);
    drop(nodes);
    assert_eq!(counted().bytes, before.bytes, "given back");
}

#[test]
fn a_freed_node_is_the_next() {
    let arena = Arena::<Sized<8>>::new(false);
    let [one, two, three] = [1, 2, 3].map(|n| arena.allocate(Sized([n; 8])));
    free(&arena, two);
    assert_eq!(arena.allocate(Sized([4; 8])), two);
    let mut both = arena.freed();
    for node in [one, three] {
        // SAFETY: from this arena, and not used again but for the address.
        unsafe { both.add(node) };
    }
    drop(both);
    let again = [arena.allocate(Sized([5; 8])), arena.allocate(Sized([6; 8]))];
    assert_eq!(HashSet::from(again), HashSet::from([one, three]));
    // SAFETY: alive.
    let pairs = [two, one, three].map(|node| unsafe { layout::cold(node) });
    assert!(pairs.iter().all(|pair| pair.weight.load(SeqCst) == 0 && pair.slot.load(SeqCst) == 0), "as good as new");
}

/// Four threads take and free: what a node holds is its owner's for as long as it has it, and few nodes are ever made.
#[test]
fn nodes_are_one_owners_at_a_time() {
    const HELD: usize = 7;
    let arena = Arc::new(Arena::<Sized<7>>::new(false));
    let threads = [1, 2, 3, 4].map(|thread| {
        let arena = arena.clone();
        std::thread::spawn(move || {
            for round in 0..30_000 {
                let held: [_; HELD] = std::array::from_fn(|i| arena.allocate(Sized([thread + round + i as u64; 7])));
                let mut freed = arena.freed();
                for (i, node) in held.into_iter().enumerate() {
                    // SAFETY: alive; nobody else has it, or the next line says so.
                    let content = unsafe { &node.as_ref().0 };
                    assert_eq!(content, &[thread + round + i as u64; 7]);
                    // SAFETY: from this arena, and not used again.
                    unsafe { freed.add(node) };
                }
            }
        })
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    // Each is free once; and no more were ever made than the threads have held at once, so the next ones come in turn.
    let nodes: Vec<_> = (0..5 * HELD).map(|_| arena.allocate(Sized([0; 7])).addr().get()).collect();
    assert_eq!(nodes.iter().collect::<HashSet<_>>().len(), 5 * HELD, "a node is free twice");
    assert!(nodes[4 * HELD..].windows(2).all(|two| two[1] == two[0] + 64), "more were made: {nodes:x?}");
}

/// Once a cache is full, its nodes come from those that were evicted.
#[test]
fn a_full_cache_takes_no_more_slabs() {
    let _alone = alone();
    let cache: Cache<u64, u64> = Cache::new(1000);
    let mut key = 0;
    let mut fill = |n: u64| {
        for _ in 0..n {
            key += 1;
            cache.insert(key, key);
        }
    };
    fill(20_000);
    let full = counted();
    fill(200_000);
    assert_eq!(counted().chunks, full.chunks, "a chunk was allocated");
    assert_eq!(counted().slabs, full.slabs);
    assert!(counted().slabs <= 512 << 10, "{:?} for a thousand entries", counted());
}

/// Does the same on eight threads, which take turns: each has free nodes of its own, and they are few.
#[test]
fn threads_keep_few_nodes() {
    const THREADS: usize = 8;
    let _alone = alone();
    let before = counted();
    let cache: Cache<u64, u64> = Cache::new(20_000);
    let turn = Mutex::new(());
    let slabs = std::thread::scope(|scope| {
        let filler = |thread: u64| {
            let (cache, turn) = (&cache, &turn);
            scope.spawn(move || {
                for round in 0..200 {
                    let _mine = turn.lock().unwrap();
                    (0..200).for_each(|key| cache.insert((round * 200 + key) * THREADS as u64 + thread, key));
                }
                counted().slabs
            })
        };
        let threads: Vec<_> = (0..THREADS as u64).map(filler).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<isize>()
    });
    // The entries, those that wait for their grace period (three batches at most), and a magazine a thread.
    assert!(slabs + counted().slabs - before.slabs <= 2 << 20, "{slabs} bytes for 20,000 entries");
}

/// Threads that have ended leave bags that are not full, and a clean-up finds them.
#[test]
fn a_clean_up_frees_what_ended_threads_have_left() {
    let _alone = alone();
    let cache: Cache<u64, u64> = Cache::new(20_000);
    let retired = || (cache.stats().retired_bytes, cache.stats().retired_weight);
    for round in 0..3 {
        std::thread::scope(|scope| {
            let filler = |thread| {
                let cache = &cache;
                scope.spawn(move || (0..30_011).for_each(|key| cache.insert((round * 4 + thread) << 32 | key, key)))
            };
            // (Joined one by one: a scope may end before its threads have given up their registrations.)
            [0, 1, 2, 3].map(filler).into_iter().for_each(|thread| thread.join().unwrap());
        });
        assert_ne!(retired(), (0, 0), "some are in bags");
        cache.set_capacity(20_000 - round);
        cache.purge_expired();
        assert_eq!(retired(), (0, 0));
    }
    cache.validate().unwrap();
}

/// Values of which every hundredth panics as it is dropped, which all others survive: each is dropped once, and the nodes
/// of their bag are used again.
#[test]
fn a_panic_in_a_drop_loses_no_node() {
    struct Angry(Arc<AtomicUsize>, u64);
    impl Drop for Angry {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
            assert!(self.1 % 100 != 7 || std::thread::panicking(), "dropped");
        }
    }
    let _alone = alone();
    let (before, dropped) = (counted(), Arc::new(AtomicUsize::new(0)));
    let cache: Cache<u64, Angry> = Cache::new(1000);
    let fill = |keys: std::ops::Range<u64>| {
        keys.filter(|&key| {
            let value = Angry(dropped.clone(), key);
            catch_unwind(AssertUnwindSafe(|| cache.insert(key, value))).is_err()
        })
        .count()
    };
    let panicked = fill(0..10_000);
    assert!(panicked > 0);
    let full = counted();
    fill(10_000..50_000);
    assert_eq!(counted().chunks, full.chunks, "a chunk was allocated");
    let _panics = catch_unwind(AssertUnwindSafe(|| drop(cache)));
    assert_eq!(dropped.load(SeqCst), 50_000);
    assert_eq!(counted().slabs, before.slabs, "given back");
}

/// Bags and magazines go with the cache.
#[test]
fn all_of_it_is_given_back() {
    let _alone = alone();
    let fill = |capacity: u64| {
        let cache: Cache<u64, Box<u64>> = Cache::new(capacity);
        (0..3 * capacity).for_each(|key| cache.insert(key, Box::new(key)));
        (0..capacity).for_each(|key| drop(cache.remove(&key)));
        cache.set_capacity(10);
        (0..capacity).for_each(|key| cache.insert(key, Box::new(key)));
    };
    // The thread registers itself.
    fill(100);
    // (With each number of nodes in the last bag.)
    for capacity in [100, 1000, 20_000].into_iter().chain(512..580) {
        let before = counted();
        fill(capacity);
        let after = counted();
        assert_eq!((after.bytes, after.slabs), (before.bytes, before.slabs), "capacity {capacity}");
    }
}

/// A peak's slabs stay with the cache, for its own use, and go with it. Keys and values that are removed do not stay.
#[test]
fn after_a_peak() {
    let _alone = alone();
    let alive = Arc::new(());
    let before = counted();
    let cache: Cache<u64, Arc<()>> = Cache::new(u64::MAX);
    let fill = || (0..50_000).for_each(|key| cache.insert(key, alive.clone()));
    fill();
    let peak = counted();
    assert!(peak.slabs - before.slabs >= 50_000 * 64);
    cache.invalidate_all();
    for _ in 0..1000 {
        if Arc::strong_count(&alive) == 1 {
            break;
        }
        cache.purge_expired();
        std::thread::yield_now();
    }
    assert_eq!((Arc::strong_count(&alive), cache.stats().retired_bytes), (1, 0), "{:?}", cache.stats());
    assert_eq!(counted().slabs, peak.slabs);
    fill();
    assert_eq!(counted().chunks, peak.chunks, "used again");
    drop(cache);
    assert_eq!((Arc::strong_count(&alive), counted().slabs), (1, before.slabs));
}

#[test]
fn small_caches_are_small() {
    let _alone = alone();
    let before = counted();
    let cache: Cache<u64, u64> = Cache::new(10);
    let empty = counted().bytes - before.bytes;
    assert_eq!(counted().slabs, before.slabs, "no slab before there is an entry");
    (0..10).for_each(|key| cache.insert(key, key));
    let ten = counted().bytes - before.bytes - empty;
    println!("{empty} bytes empty, {ten} more with ten entries, and {} within", size_of_val(&cache));
    assert_eq!(counted().slabs - before.slabs, 4096, "one slab");
    assert!(empty <= EMPTY && ten <= TEN, "{empty} bytes empty, {ten} more with ten entries");
}

/// Keys and values of all sizes and alignments, through a cache: found, where they should be, and dropped.
fn kept<K: Hash + Eq + Send + Sync, V: Send + Sync>(key: fn(u64) -> K, value: fn(u64) -> V, number: fn(&V) -> u64) {
    let before = counted();
    let cache: Cache<K, V> = Cache::new(300);
    for n in 0..2000 {
        cache.insert(key(n), value(n));
        let found = cache.get_ref(&key(n)).expect("just inserted");
        assert_eq!(number(&found), number(&value(n)));
        assert_eq!(std::ptr::from_ref(&*found).addr() % align_of::<V>(), 0);
        assert_eq!(std::ptr::from_ref(Ref::key(&found)).addr() % align_of::<K>(), 0);
        assert!(*Ref::key(&found) == key(n));
    }
    drop(cache);
    assert_eq!(counted().slabs, before.slabs);
}

#[derive(PartialEq, Eq, Hash)]
#[repr(align(64))]
struct Key64(u64);
#[derive(PartialEq, Eq, Hash)]
#[repr(align(4096))]
struct KeyPage(u64);

#[test]
fn all_sizes_and_alignments() {
    let _alone = alone();
    kept(|n| n, |n| n, |&n| n);
    kept(|n| n as u8, |n| n as u8, |&n| n.into());
    kept(|_| (), |_| (), |()| 0);
    kept(|n| n, |_| (), |()| 0);
    kept(|_| (), |n| n, |&n| n);
    kept(|n| n.to_string(), |n| n.to_string(), |s| s.parse().unwrap());
    kept(|n| n, |n| [n; 100], |n| n[99]);
    kept(|n| n, |n| [n; 5000], |n| n[4999]);
    kept(|n| [n; 200], |n| n, |&n| n);
    kept(Key64, |n| n, |&n| n);
    kept(|n| n, |n| Lines([n as u8; 64]), |n| n.0[63].into());
    kept(Key64, TwoLines, |n| n.0);
    kept(|n| n, Page, |n| n.0);
    kept(KeyPage, TwoLines, |n| n.0);
}
