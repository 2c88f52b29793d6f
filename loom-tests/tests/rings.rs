//! The slot rings by themselves: positions, and segments one after another. They are included by path, as their ways
//! through [recycling](recycling.rs) are too long to be driven through a cache. A segment has two cells.
#![cfg(loom)]
#![allow(unexpected_cfgs, reason = "the included sources look at the feature `std` of their crate")]

extern crate alloc;

#[allow(dead_code, reason = "the models use only a part of it")]
#[path = "../../src/policy/rings/mod.rs"]
mod rings;
mod rings_scene;
#[path = "../../tests/common/sys.rs"]
mod sys;

use Which::{Main, Small};
use bellwether_loom_tests::{bugs, model, spawn};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering};
use rings::{Popped, Rings, SLOTS, Which};
use rings_scene::{Scene, two};
use std::ptr::NonNull;
use std::sync::Arc;
use sys::segmented::SegmentedArray;

/// Two fill cells, and there is one left in this lap.
/// Sees «blind push».
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
/// Sees «torn append», «segment lost», «segment acquire», «segment release».
#[test]
fn first_push_meets_first_push() {
    two(3, |_| (), |s| s.push(Small, 0), |s| s.push(Small, 1), |_| ());
}

/// The first push of a ring against the hand: it finds the ring empty, or the segment whole.
/// Sees «link release».
#[test]
fn first_push_meets_pop() {
    two(4, |_| (), |s| _ = s.pop(Small), |s| s.push(Small, 0), |_| ());
}

/// The hand comes to the cell that a pusher is about to fill: it finds the ring empty, or the entry.
/// Sees «push release».
#[test]
fn push_meets_pop() {
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
    two(3, ready, hand, hand, |s| assert_eq!(s.rings.window(Small), SLOTS));
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
        s.push(Small, 2);
        let _ = [s.pop(Small), s.pop(Small), s.pop(Small)];
    };
    two(1, |s| s.push_all(Small, 0..2), |s| _ = s.pop(Small), mover, |_| ());
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
    two(2, |s| s.push_all(Small, 0..2), |s| s.push(Small, 2), |s| s.push_all(Small, 3..5), |_| ());
}

/// An entry is cleared as the hand comes by: one of the two has it, and a hole is counted for as long as it is there.
/// Sees «slot not emptied», «torn exchange», «torn count».
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

/// There are seven segments of two under loom.
#[test]
#[should_panic = "a shard cannot hold this many entries"]
fn too_many_entries() {
    model(0, || {
        let (rings, item) = (Rings::new(31), 0);
        (1..=15).for_each(|n| rings.push(Main, NonNull::from(&item), |slot| assert_eq!(slot, n)));
    });
}

/// An element that two threads need first: it has one address.
/// Sees «torn growth».
#[test]
fn growth_meets_growth() {
    model(4, || {
        // SAFETY: under loom there is no requirement.
        let array = Arc::new(unsafe { SegmentedArray::<AtomicU32, 0, 3>::new(|| AtomicU32::new(0)) });
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
    struct Watched(SegmentedArray<UnsafeCell<u32>, 0, 2>);
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
        let array = Arc::new(Watched(unsafe { SegmentedArray::new(make) }));
        let other = array.clone();
        let thread = spawn(move || assert_eq!(other.read(true), Some(7)));
        assert!([None, Some(7)].contains(&array.read(false)));
        assert_eq!(array.read(true), Some(7));
        thread.join().unwrap();
    });
}

bugs! {
    push_meets_push: "blind push";
    first_push_meets_first_push: "torn append", "segment lost", "segment acquire", "segment release";
    first_push_meets_pop: "link release";
    push_meets_pop: "push release";
    pop_meets_pop: "torn pop", "slot not emptied";
    pop_meets_pop_at_the_end: "torn advance";
    peek_meets_pop_at_the_end: "torn advance";
    pop_meets_a_ring_that_moves_on: "first release";
    append_meets_append: "torn append", "segment lost";
    push_meets_append: "last release", "link release";
    clear_meets_pop: "slot not emptied", "torn exchange", "torn count";
    replace_meets_pop: "slot not emptied", "torn exchange";
    growth_meets_growth: "torn growth";
    growth_meets_a_reader: "array release", "array acquire";
}
