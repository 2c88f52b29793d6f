//! The slot rings by themselves: against a plain model, under four threads, and how much memory they take.
#![cfg(not(loom))]

extern crate alloc;

#[path = "../common/counting.rs"]
mod counting;
#[path = "../../src/policy/rings/mod.rs"]
mod rings;
#[path = "../common/sys.rs"]
mod sys;

use counting::Counting;
use rings::{Popped, Rings, SLOTS, Which};
use std::alloc::Layout;
use std::cell::Cell;
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const BOTH: [Which; 2] = [Which::Small, Which::Main];

// Counts the bytes that a thread has allocated, with 16 for each block's own needs (as glibc has it, rounded up).
thread_local! {
    static BYTES: Cell<isize> = const { Cell::new(0) };
}

fn count(layout: Layout, sign: isize) {
    let _ = BYTES.try_with(|bytes| bytes.set(bytes.get() + sign * (layout.size() as isize + 16)));
}

#[global_allocator]
static COUNTING: Counting = Counting(count);

/// What a slot holds in these tests.
#[derive(Default, Debug)]
struct Item {
    slot: AtomicU32,
    /// In how many places of the rings it is.
    places: AtomicU32,
}

fn items(n: usize) -> Vec<Item> {
    (0..n).map(|_| Item::default()).collect()
}

fn push(rings: &Rings<Item>, ring: Which, item: &Item) {
    rings.push(ring, NonNull::from(item), |slot| {
        assert!(slot > 0 && slot < 1 << 31);
        item.slot.store(slot, Relaxed);
    });
}

/// Index of a popped item, None for a hole.
fn index_of(items: &[Item], popped: &Popped<Item>) -> Option<Option<usize>> {
    match popped {
        Popped::Empty => None,
        Popped::Hole => Some(None),
        Popped::Entry(item) => Some(Some((item.as_ptr() as usize - items.as_ptr() as usize) / size_of::<Item>())),
    }
}

#[test]
fn first_in_first_out_across_segments() {
    let items = items(10 * SLOTS + 3);
    let rings = Rings::new(31);
    let mut popped = [0; 2];
    for (i, item) in items.iter().enumerate() {
        push(&rings, BOTH[i % 2], item);
        // One is taken for each three that are added.
        if i % 6 < 2 {
            assert_eq!(index_of(&items, &rings.peek(BOTH[i % 2])), Some(Some(2 * popped[i % 2] + i % 2)));
            assert_eq!(index_of(&items, &rings.pop(BOTH[i % 2])), Some(Some(2 * popped[i % 2] + i % 2)));
            popped[i % 2] += 1;
        }
    }
    let left = items.len() - popped[0] - popped[1];
    assert_eq!(rings.validate().unwrap().0, left);
    for (r, ring) in BOTH.into_iter().enumerate() {
        assert!(rings.window(ring) >= left / 2 && rings.window(ring) < left / 2 + 2 * SLOTS);
        while let Some(at) = index_of(&items, &rings.pop(ring)) {
            assert_eq!(at, Some(2 * popped[r] + r));
            popped[r] += 1;
        }
        assert!(matches!(rings.peek(ring), Popped::Empty));
        assert!(rings.window(ring) <= SLOTS);
    }
    assert_eq!((popped[0] + popped[1], rings.validate().unwrap().0), (items.len(), 0));
}

#[test]
fn ahead_is_what_comes_later_in_the_same_segment() {
    let items = items(SLOTS + 2);
    let rings = Rings::new(31);
    assert!(rings.ahead(Which::Small, 0).is_none());
    items.iter().for_each(|item| push(&rings, Which::Small, item));
    for first in 0..SLOTS {
        let later = |distance| rings.ahead(Which::Small, 0).and_then(|ahead| ahead(distance));
        assert_eq!(later(0), Some(NonNull::from(&items[first])));
        assert_eq!(later(3), items[..SLOTS].get(first + 3).map(NonNull::from));
        assert_eq!(later(SLOTS), None);
        assert_eq!(index_of(&items, &rings.pop(Which::Small)), Some(Some(first)));
    }
}

#[test]
fn only_few_threads_look_ahead() {
    let (items, rings) = (items(4), Rings::new(31));
    items.iter().for_each(|item| push(&rings, Which::Small, item));
    let looks = |thread: usize| rings.ahead(Which::Small, thread).is_some();
    assert!((0..100).all(|_| looks(0)));
    assert!((0..100).map(|n| looks(n % 8)).filter(|&looks| looks).count() < 50);
    assert!((0..100).all(|n| !looks(n % 8)));
    assert!((0..100).filter(|_| looks(3)).count() > 90);
}

/// The rings, and what they should be like.
struct Plain<'i> {
    items: &'i [Item],
    rings: Rings<Item>,
    queues: [VecDeque<Option<usize>>; 2],
    /// Where each item is: its ring, and the number of its push there.
    places: Vec<Option<(usize, usize)>>,
    popped: [usize; 2],
    /// The most segments that could be needed so far.
    most: usize,
}

impl Plain<'_> {
    fn cell(&mut self, i: usize) -> Option<&mut Option<usize>> {
        let (ring, at) = self.places[i]?;
        Some(&mut self.queues[ring][at - self.popped[ring]])
    }

    fn push(&mut self, ring: usize, i: usize) {
        if self.places[i].is_none() {
            push(&self.rings, BOTH[ring], &self.items[i]);
            self.places[i] = Some((ring, self.popped[ring] + self.queues[ring].len()));
            self.queues[ring].push_back(Some(i));
        }
        // A ring of n positions may lie in n / SLOTS + 2 segments.
        self.most = self.most.max(self.queues.iter().map(|q| q.len() / SLOTS + 2).sum());
    }

    fn pop(&mut self, ring: usize) {
        let expected = self.queues[ring].pop_front();
        assert_eq!(index_of(self.items, &self.rings.peek(BOTH[ring])), expected);
        assert_eq!(index_of(self.items, &self.rings.pop(BOTH[ring])), expected);
        self.popped[ring] += usize::from(expected.is_some());
        if let Some(Some(i)) = expected {
            self.places[i] = None;
        }
    }

    fn clear(&mut self, i: usize) {
        let item = &self.items[i];
        let (slot, pointer) = (item.slot.load(Relaxed), NonNull::from(item));
        assert_eq!(self.rings.holds(slot, pointer), self.places[i].is_some());
        let ring = self.places[i].map_or(Which::Small, |(ring, _)| BOTH[ring]);
        let cleared = self.rings.clear(slot, pointer, Some(ring));
        assert_eq!(cleared, self.cell(i).and_then(Option::take).is_some());
        self.places[i] = None;
    }

    fn replace(&mut self, old: usize, new: usize) {
        if self.places[new].is_some() {
            return;
        }
        let [from, to] = [old, new].map(|i| &self.items[i]);
        let slot = from.slot.load(Relaxed);
        to.slot.store(slot, Relaxed);
        let replaced = self.rings.replace(slot, NonNull::from(from), NonNull::from(to));
        let expected = self.cell(old).map(|cell| *cell = Some(new)).is_some();
        assert_eq!(replaced, expected);
        if expected {
            self.places[new] = self.places[old].take();
        }
    }
}

#[test]
fn as_a_plain_model() {
    let items = items(2_000);
    let mut plain = Plain {
        items: &items,
        rings: Rings::new(31),
        queues: Default::default(),
        places: vec![None; items.len()],
        popped: [0; 2],
        most: 0,
    };
    let mut random = fastrand::Rng::with_seed(7);
    for step in 0..1_000_000 {
        let (i, ring) = (random.usize(..items.len()), random.usize(..2));
        // Phases: of growing, shrinking, and staying as it is; of one ring or of both.
        let (phase, ring) = (step / 10_000 % 3, if step / 50_000 % 2 == 0 { ring } else { step / 100_000 % 2 });
        match random.usize(..8 + [8, 0, 4][phase]) {
            0..4 => plain.pop(ring),
            4..6 => plain.clear(i),
            6..8 => plain.replace(i, random.usize(..items.len())),
            _ => plain.push(ring, i),
        }
        if step % 100 == 0 {
            let lengths = plain.queues.each_ref().map(|queue| queue.iter().flatten().count() as u64);
            assert_eq!(BOTH.map(|ring| plain.rings.len(ring)), lengths);
        }
        if step % 5_000 == 0 {
            let stored = plain.places.iter().flatten().count();
            let (entries, segments) = plain.rings.validate().unwrap();
            assert_eq!(entries, stored);
            assert!(segments <= plain.most, "{segments} segments, where {} would do", plain.most);
        }
    }
    let (entries, segments) = plain.rings.validate().unwrap();
    println!("{entries} entries at the end, {segments} segments, {} needed at most", plain.most);
}

/// One thread's part in `threads_lose_and_double_nothing`.
struct Hammer<'a> {
    rings: &'a Rings<Item>,
    items: &'a [Item],
    held: Vec<&'a Item>,
    random: fastrand::Rng,
}

impl<'a> Hammer<'a> {
    /// Before an item goes to the rings.
    fn goes(item: &Item) {
        assert_eq!(item.places.swap(1, Relaxed), 0, "pushed twice");
    }

    fn comes(&mut self, item: &'a Item) {
        assert_eq!(item.places.swap(0, Relaxed), 1, "taken twice");
        self.held.push(item);
    }

    fn step(&mut self) {
        let ring = BOTH[self.random.usize(..2)];
        let other = &self.items[self.random.usize(..self.items.len())];
        match self.random.u32(..8) {
            0..4 => {
                if let Some(item) = self.held.pop() {
                    Self::goes(item);
                    push(self.rings, ring, item);
                }
            }
            4 | 5 => {
                if let Popped::Entry(item) = self.rings.pop(ring) {
                    let at = index_of(self.items, &Popped::Entry(item)).flatten().unwrap();
                    self.comes(&self.items[at]);
                }
            }
            6 => {
                let counts = [None, Some(ring)][self.random.usize(..2)];
                if self.rings.clear(other.slot.load(Relaxed), NonNull::from(other), counts) {
                    self.comes(other);
                }
            }
            _ => {
                let Some(new) = self.held.pop() else { return };
                let slot = other.slot.load(Relaxed);
                new.slot.store(slot, Relaxed);
                Self::goes(new);
                if self.rings.replace(slot, NonNull::from(other), NonNull::from(new)) {
                    self.comes(other);
                } else {
                    self.comes(new);
                }
            }
        }
    }
}

#[test]
fn threads_lose_and_double_nothing() {
    const THREADS: usize = 4;
    let times: usize = std::env::var("BELLWETHER_STRESS").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    // Few items, so that the segments go round quickly; and many.
    for n in [8, 64, 3_000] {
        let (items, rings) = (items(n + 2), Rings::new(31));
        let held: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = items[..n]
                .chunks(n / THREADS)
                .enumerate()
                .map(|(t, mine)| {
                    let (rings, items) = (&rings, &items[..n]);
                    let random = fastrand::Rng::with_seed(t as u64);
                    let mut hammer = Hammer { rings, items, held: mine.iter().collect(), random };
                    scope.spawn(move || {
                        (0..200_000 * times).for_each(|_| hammer.step());
                        hammer.held.len()
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        let (entries, segments) = rings.validate().unwrap();
        println!("{n} items: {entries} in {segments} segments");
        assert_eq!(entries + held, n);
        assert_eq!(entries, items.iter().filter(|item| item.places.load(Relaxed) == 1).count());
        // After a push, no late store hides one of a ring's entries from its length any more.
        for (ring, item) in BOTH.into_iter().zip(&items[n..]) {
            Hammer::goes(item);
            push(&rings, ring, item);
        }
        let lengths = BOTH.map(|ring| rings.len(ring));
        assert!(lengths.iter().sum::<u64>() >= entries as u64 + 2, "{lengths:?}, {entries} entries");
        for ring in BOTH {
            while let Some(at) = index_of(&items, &rings.pop(ring)) {
                at.into_iter().for_each(|i| assert_eq!(items[i].places.swap(0, Relaxed), 1));
            }
        }
        assert!(items.iter().all(|item| item.places.load(Relaxed) == 0));
        assert_eq!(rings.validate().unwrap().0, 0);
        assert_eq!(BOTH.map(|ring| rings.len(ring)), [0; 2]);
    }
}

#[test]
fn memory_of_a_slot() {
    let items = items(1_000_000);
    let before = BYTES.get();
    let rings = Rings::new(31);
    assert!(matches!(rings.pop(Which::Main), Popped::Empty));
    assert!(matches!(rings.peek(Which::Small), Popped::Empty));
    assert_eq!((BYTES.get() - before, rings.window(Which::Main)), (0, 0), "an empty ring allocates nothing");
    let sizes = [1, 100, 1_000, 10_000, 100_000, 1_000_000];
    // (Printed at the end: what a test prints is kept in memory.)
    let (mut taken, mut measured) = (0, [0; 6]);
    for (n, bytes) in sizes.into_iter().zip(&mut measured) {
        let pushed: usize = taken;
        items[pushed..n].iter().for_each(|item| push(&rings, Which::Small, item));
        taken = n;
        *bytes = BYTES.get() - before;
        assert!(n < 10_000 || (*bytes as f64) < 9.4 * n as f64);
    }
    // Moving all to the other ring needs no more than a segment or two.
    let full = BYTES.get();
    while let Popped::Entry(item) = rings.pop(Which::Small) {
        rings.push(Which::Main, item, |_| ());
    }
    assert!(BYTES.get() - full <= 2 * (9 * SLOTS as isize), "{} bytes more", BYTES.get() - full);
    drop(rings);
    assert_eq!(BYTES.get(), before, "all is freed");
    println!("the struct itself: {} bytes", size_of::<Rings<Item>>());
    for (n, bytes) in sizes.into_iter().zip(measured) {
        println!("{n} entries: {bytes} bytes, {:.3} a slot", bytes as f64 / n as f64);
    }
}
