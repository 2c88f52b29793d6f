//! The slot rings by themselves: positions, segments that come and go, and late pushes. They are included by path, as
//! their ways through recycling are too long to be driven through a cache. A segment has two cells.
#![cfg(loom)]
#![allow(unexpected_cfgs, reason = "the included sources look at the feature `std` of their crate")]

extern crate alloc;

#[path = "../../src/doubling.rs"]
mod doubling;
#[path = "../../src/policy/rings/mod.rs"]
mod rings;
#[allow(dead_code, unused_imports, reason = "the rings use only a part of it")]
#[path = "../../src/sync.rs"]
mod sync;

use Which::{Main, Small};
use bellwether_loom_tests::{bugs, model, spawn};
use doubling::Doubling;
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering};
use rings::{Popped, Rings, SLOTS, Which};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

struct Item {
    number: UnsafeCell<usize>,
    slot: AtomicU32,
}

/// Rings, and ten items for them.
struct Scene {
    /// Every operation writes this first. Loom looks for a conflict at the last access of an atomic only, and so does not
    /// see that a load comes before the CAS of a thread that has loaded as well; this makes it try both orders.
    gate: AtomicU32,
    rings: Rings<Item>,
    items: Vec<Item>,
    /// Where each item is: in this ring, or with whoever took it. Loom does not see this.
    places: Mutex<[Option<Which>; 10]>,
}

// SAFETY: loom checks every access to the cells.
unsafe impl Send for Scene {}
// SAFETY: as above.
unsafe impl Sync for Scene {}

impl Scene {
    fn new() -> Arc<Self> {
        let item = |_| Item { number: UnsafeCell::new(99), slot: AtomicU32::new(0) };
        Arc::new(Self {
            gate: AtomicU32::new(0),
            rings: Rings::new(),
            items: (0..10).map(item).collect(),
            places: Mutex::new([None; 10]),
        })
    }

    /// Item `i` is written, and goes to the end of a ring.
    fn push(&self, ring: Which, i: usize) {
        self.gate();
        let item = &self.items[i];
        // SAFETY: not pushed yet; loom checks.
        item.number.with_mut(|number| unsafe { *number = i });
        assert_eq!(self.places.lock().unwrap()[i].replace(ring), None);
        self.rings.push(ring, NonNull::from(item), |slot| item.slot.store(slot, Ordering::Relaxed));
    }

    fn gate(&self) {
        self.gate.fetch_add(1, Ordering::Relaxed);
    }

    fn push_all(&self, ring: Which, items: impl IntoIterator<Item = usize>) {
        items.into_iter().for_each(|i| self.push(ring, i));
    }

    /// Who took an item reads it, and says which it was.
    fn took(&self, item: &Item) -> usize {
        // SAFETY: taken out of the rings; loom checks.
        let i = item.number.with_mut(|number| unsafe { *number });
        assert!(self.places.lock().unwrap()[i].take().is_some(), "{i} was taken twice");
        i
    }

    fn entry(&self, popped: Popped<Item>) -> Option<Option<usize>> {
        match popped {
            // SAFETY: the items outlive the rings.
            Popped::Entry(item) => Some(Some(self.took(unsafe { item.as_ref() }))),
            Popped::Hole => Some(None),
            Popped::Empty => None,
        }
    }

    /// One step of the hand: what it took.
    fn pop(&self, ring: Which) -> Option<usize> {
        self.gate();
        self.entry(self.rings.pop(ring)).flatten()
    }

    fn clear(&self, i: usize) -> bool {
        self.gate();
        let item = &self.items[i];
        let cleared = self.rings.clear(item.slot.load(Ordering::Relaxed), NonNull::from(item));
        assert!(!cleared || self.took(item) == i);
        assert!(!self.rings.holds(item.slot.load(Ordering::Relaxed), NonNull::from(item)));
        cleared
    }

    /// With nobody else at work: everything is where it should be. Gives what the hand finds.
    fn drain(&self, ring: Which) -> Vec<usize> {
        let expected = self.places.lock().unwrap().iter().flatten().count();
        let (entries, _) = self.rings.validate().unwrap();
        assert_eq!(entries, expected, "an entry is lost, or one too many is there");
        let mut found = Vec::new();
        let home = *self.places.lock().unwrap();
        while let Some(popped) = self.entry(self.rings.pop(ring)) {
            found.extend(popped);
        }
        assert!(found.iter().all(|&i| home[i] == Some(ring)), "at rest in another ring than it was pushed to");
        found
    }

    /// The same for both rings, after which nothing is left. Segments can still be used.
    fn end(&self) {
        self.drain(Small);
        self.drain(Main);
        assert!(self.places.lock().unwrap().iter().all(Option::is_none), "the hand does not reach an entry");
        let (_, segments) = self.rings.validate().unwrap();
        assert!(segments <= 7, "{segments} segments");
    }
}

/// Two threads do something with a scene that is `ready`. Who of them is started by the other makes a difference to what
/// loom explores, so both ways.
fn two(preemptions: usize, ready: fn(&Scene), one: fn(&Scene), other: fn(&Scene), then: fn(&Scene)) {
    for (first, second) in [(one, other), (other, one)] {
        model(preemptions, move || {
            let scene = Scene::new();
            ready(&scene);
            let shared = scene.clone();
            let thread = spawn(move || second(&shared));
            first(&scene);
            thread.join().unwrap();
            then(&scene);
            scene.end();
        });
    }
}

/// Two reserve positions, and there is one left in this lap.
/// Sees «blind reserve».
#[test]
fn push_meets_push() {
    two(
        4,
        |s| s.push(Small, 0),
        |s| s.push(Small, 1),
        |s| s.push(Small, 2),
        |s| {
            let found = s.drain(Small);
            assert!(found == [0, 1, 2] || found == [0, 2, 1], "{found:?}");
        },
    );
}

/// The first two pushes of a ring that has no segment.
/// Sees «torn append», «segment lost».
#[test]
fn first_push_meets_first_push() {
    two(4, |_| (), |s| s.push(Small, 0), |s| s.push(Small, 1), |_| ());
}

/// The first push of a ring against the hand: it finds the ring empty, or the segment whole.
/// Sees «link release», «fill order».
#[test]
fn first_push_meets_pop() {
    two(4, |_| (), |s| _ = s.pop(Small), |s| s.push(Small, 0), |_| ());
}

/// The hand passes the position that a pusher has reserved and not yet filled.
/// Sees «overtaken push stays», «fill order».
#[test]
fn push_overtaken_by_pop() {
    let hand = |s: &Scene| _ = (s.pop(Small), s.pop(Small));
    two(4, |s| s.push(Small, 0), hand, |s| s.push(Small, 1), |_| ());
}

/// Two hands take different entries.
/// Sees «torn pop», «slot not emptied».
#[test]
fn pop_meets_pop() {
    let hand = |s: &Scene| assert!(s.pop(Small).is_some());
    two(4, |s| s.push_all(Small, [0, 1]), hand, hand, |_| ());
}

/// Two hands at the end of a segment: one of them gives it back.
/// Sees «torn advance».
#[test]
fn pop_meets_pop_at_the_end() {
    let ready = |s: &Scene| {
        s.push_all(Small, 0..4);
        assert_eq!([s.pop(Small), s.pop(Small)], [Some(0), Some(1)]);
    };
    let hand = |s: &Scene| assert!(s.pop(Small).is_some());
    two(4, ready, hand, hand, |s| assert_eq!(s.rings.window(Small), SLOTS));
}

/// One who only looks at the end of a segment moves the ring on as well.
/// Sees «torn advance».
#[test]
fn peek_meets_pop_at_the_end() {
    let ready = |s: &Scene| {
        s.push_all(Small, 0..3);
        assert_eq!([s.pop(Small), s.pop(Small)], [Some(0), Some(1)]);
    };
    let look = |s: &Scene| {
        s.gate();
        match s.rings.peek(Small) {
            Popped::Entry(item) => assert_eq!(item, NonNull::from(&s.items[2])),
            popped => assert!(matches!(popped, Popped::Empty | Popped::Hole)),
        }
    };
    two(4, ready, look, |s| assert_eq!(s.pop(Small), Some(2)), |_| ());
}

/// A hand follows where another has moved on to.
/// Sees «first release».
#[test]
fn pop_meets_a_ring_that_moves_on() {
    let mover = |s: &Scene| {
        s.push_all(Small, 2..5);
        let _ = [s.pop(Small), s.pop(Small), s.pop(Small)];
    };
    two(3, |s| s.push_all(Small, 0..2), |s| _ = s.pop(Small), mover, |_| ());
}

/// Two pushers at a full segment: one successor, and the other's segment is kept for later.
/// Sees «torn append», «segment lost».
#[test]
fn append_meets_append() {
    two(
        3,
        |s| s.push_all(Small, 0..2),
        |s| s.push(Small, 2),
        |s| s.push(Small, 3),
        |s| {
            assert_eq!(s.drain(Small)[..2], [0, 1]);
        },
    );
}

/// A pusher follows where another has moved on to.
/// Sees «last release», «link release».
#[test]
fn push_meets_append() {
    two(4, |s| s.push_all(Small, 0..2), |s| s.push(Small, 2), |s| s.push_all(Small, 3..5), |_| ());
}

/// A segment is appended as the hand leaves the one before, which goes to the other ring.
/// Sees «first passes last», «next stays», «any lap», «link release», «link acquire».
#[test]
fn append_meets_recycling() {
    let ready = |s: &Scene| {
        s.push_all(Small, 0..2);
        assert_eq!([s.pop(Small), s.pop(Small)], [Some(0), Some(1)]);
    };
    let recycler = |s: &Scene| {
        s.pop(Small);
        s.push_all(Main, 3..6);
        s.push(Small, 6);
    };
    two(3, ready, recycler, |s| s.push(Small, 2), |_| ());
}

/// An entry is cleared as the hand comes by: one of the two has it.
/// Sees «slot not emptied», «torn exchange».
#[test]
fn clear_meets_pop() {
    let clear = |s: &Scene| _ = s.clear(0);
    two(4, |s| s.push(Small, 0), |s| _ = s.pop(Small), clear, |_| ());
}

/// An entry is replaced as the hand comes by: it takes the old one or the new one, and the old one leaves once.
/// Sees «slot not emptied», «torn exchange».
#[test]
fn replace_meets_pop() {
    let replace = |s: &Scene| {
        let [old, new] = [&s.items[0], &s.items[1]];
        // SAFETY: not pushed yet; loom checks.
        new.number.with_mut(|number| unsafe { *number = 1 });
        s.places.lock().unwrap()[1] = Some(Small);
        s.gate();
        let slot = old.slot.load(Ordering::Relaxed);
        new.slot.store(slot, Ordering::Relaxed);
        let replaced = s.rings.replace(slot, NonNull::from(old), NonNull::from(new));
        assert_eq!(s.took(if replaced { old } else { new }), usize::from(!replaced));
    };
    two(4, |s| s.push(Small, 0), |s| assert!(s.pop(Small).is_some()), replace, |_| ());
}

/// The position that a pusher has reserved is passed, and its segment is in the other ring when it fills the cell; or it
/// has not even reserved one when that happens.
/// Sees «overtaken push stays», «any lap», «next stays», «fill order».
#[test]
fn late_push_meets_the_other_ring() {
    let ready = |s: &Scene| {
        s.push(Small, 0);
        assert_eq!(s.pop(Small), Some(0));
    };
    let recycler = |s: &Scene| {
        s.pop(Small);
        s.push_all(Small, 1..3);
        let _ = [s.pop(Small), s.pop(Small)];
        s.push_all(Main, 3..5);
    };
    two(2, ready, recycler, |s| s.push(Small, 9), |_| ());
}

/// The same, and the hand of the other ring comes by before the late pusher takes its entry back.
/// Sees «overtaken push stays», «any lap».
#[test]
fn late_push_meets_the_other_hand() {
    let ready = |s: &Scene| {
        s.push_all(Small, 0..3);
        assert_eq!([s.pop(Small), s.pop(Small), s.pop(Small)], [Some(0), Some(1), Some(2)]);
    };
    // Small is at the second segment, the first is free.
    let recycler = |s: &Scene| {
        s.pop(Small);
        s.push_all(Main, 3..5);
        s.push(Small, 5);
        let _ = [s.pop(Small), s.pop(Main), s.pop(Main)];
        s.push_all(Main, 6..8);
        s.pop(Main);
    };
    two(3, ready, recycler, |s| s.push(Small, 9), |_| ());
}

/// A slow hand has claimed a position and takes what is there when its segment is in the other ring.
/// Sees «slot not emptied», «any lap».
#[test]
fn late_pop_meets_the_other_ring() {
    let ready = |s: &Scene| {
        s.push_all(Small, 0..3);
        assert_eq!(s.pop(Small), Some(0));
    };
    let recycler = |s: &Scene| {
        s.pop(Small);
        s.pop(Small);
        s.push_all(Main, 3..5);
        s.clear(1);
        s.push(Main, 5);
    };
    two(3, ready, recycler, |s| _ = s.pop(Small), |_| ());
}

/// A segment is given back as another ring takes one.
/// Sees «free list order».
#[test]
fn take_meets_give() {
    let giver = |s: &Scene| {
        s.push_all(Small, 0..3);
        let _ = [s.pop(Small), s.pop(Small), s.pop(Small)];
    };
    two(3, |_| (), |s| s.push(Main, 3), giver, |_| ());
}

/// The segment on top of the free list is taken, the one below it as well, and the first is back on top, while another
/// is about to take it.
/// Sees «no version».
#[test]
fn take_meets_take_take_give() {
    let ready = |s: &Scene| {
        s.push_all(Small, 0..6);
        (0..6).for_each(|i| assert_eq!(s.pop(Small), Some(i)));
    };
    // Two are free, and Small's one is used up.
    let other = |s: &Scene| {
        s.push_all(Small, 0..3);
        let _ = [s.pop(Small), s.pop(Small), s.pop(Small)];
    };
    two(3, ready, other, |s| s.push(Main, 9), |_| ());
}

/// There are seven segments of two under loom.
#[test]
#[should_panic = "a shard cannot hold this many entries"]
fn too_many_entries() {
    model(0, || {
        let (rings, item) = (Rings::new(), 0);
        (1..=15).for_each(|n| rings.push(Main, NonNull::from(&item), |slot| assert_eq!(slot, n)));
    });
}

/// An element that two threads need first: it has one address.
/// Sees «torn growth».
#[test]
fn growth_meets_growth() {
    model(4, || {
        // SAFETY: under loom there is no requirement.
        let array = Arc::new(unsafe { Doubling::<AtomicU32, 0, 3>::new(|| AtomicU32::new(0)) });
        let other = array.clone();
        let thread = spawn(move || other.get_or_grow(2).fetch_add(1, Ordering::Relaxed));
        let _ = array.get_or_grow(3).fetch_add(1, Ordering::Relaxed);
        let _ = array.get_or_grow(2).fetch_add(1, Ordering::Relaxed);
        thread.join().unwrap();
        assert_eq!([2, 3].map(|i| array.get(i).unwrap().load(Ordering::Relaxed)), [2, 1]);
        assert!(array.get(1).is_none() && array.get(4).is_none());
    });
}

/// An element is found whole, or not at all.
/// Sees «array release», «array acquire».
#[test]
fn growth_meets_a_reader() {
    fn make() -> UnsafeCell<u32> {
        let cell = UnsafeCell::new(0);
        // SAFETY: nobody else has it.
        cell.with_mut(|number| unsafe { *number = 7 });
        cell
    }
    struct Watched(Doubling<UnsafeCell<u32>, 0, 2>);
    // SAFETY: loom checks every access to the cells.
    unsafe impl Send for Watched {}
    // SAFETY: as above.
    unsafe impl Sync for Watched {}
    impl Watched {
        fn read(&self, grow: bool) -> Option<u32> {
            let element = if grow { Some(self.0.get_or_grow(1)) } else { self.0.get(1) };
            // SAFETY: written at creation only; loom checks.
            element.map(|cell| cell.with(|number| unsafe { *number }))
        }
    }
    model(4, || {
        // SAFETY: under loom there is no requirement.
        let array = Arc::new(Watched(unsafe { Doubling::new(make) }));
        let other = array.clone();
        let thread = spawn(move || assert_eq!(other.read(true), Some(7)));
        assert!([None, Some(7)].contains(&array.read(false)));
        assert_eq!(array.read(true), Some(7));
        thread.join().unwrap();
    });
}

bugs! {
    push_meets_push: "blind reserve";
    first_push_meets_first_push: "torn append", "segment lost";
    first_push_meets_pop: "link release", "fill order";
    push_overtaken_by_pop: "overtaken push stays", "fill order";
    pop_meets_pop: "torn pop", "slot not emptied";
    pop_meets_pop_at_the_end: "torn advance";
    peek_meets_pop_at_the_end: "torn advance";
    pop_meets_a_ring_that_moves_on: "first release";
    append_meets_append: "torn append", "segment lost";
    push_meets_append: "last release", "link release";
    append_meets_recycling: "first passes last", "next stays", "any lap", "link release", "link acquire";
    clear_meets_pop: "slot not emptied", "torn exchange";
    replace_meets_pop: "slot not emptied", "torn exchange";
    late_push_meets_the_other_ring: "overtaken push stays", "any lap", "next stays", "fill order";
    late_push_meets_the_other_hand: "overtaken push stays", "any lap";
    late_pop_meets_the_other_ring: "slot not emptied", "any lap";
    take_meets_give: "free list order";
    take_meets_take_take_give: "no version";
    growth_meets_growth: "torn growth";
    growth_meets_a_reader: "array release", "array acquire";
}
