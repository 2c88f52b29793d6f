//! What threads have for themselves in a cache (`src/reclaim/cells.rs`), handed over with the registrations of
//! `src/reclaim/membarrier/collector.rs`, and the depot where bags of free nodes wait for a thread (`src/reclaim/depot.rs`).
//! With fences on both sides, as `membarrier` is a matter of `pins.rs`.
#![cfg(loom)]
#![allow(unexpected_cfgs, reason = "the included sources look at the feature `std` of their crate")]

extern crate alloc;

#[path = "fences/mod.rs"]
mod barrier;
#[allow(dead_code, reason = "the limbo uses the rest")]
#[path = "../../src/reclaim/cells.rs"]
mod cells;
#[allow(dead_code, reason = "the face uses the rest")]
#[path = "../../src/reclaim/membarrier/collector.rs"]
mod collector;
#[path = "../../src/reclaim/depot.rs"]
mod depot;
#[path = "../../tests/common/sys.rs"]
mod sys;

/// What the included sources know of the back end's face.
mod epoch {
    use crate::collector::{Collector, Participant};

    pub(crate) const CELLS: usize = 2;

    pub(crate) struct Pin(&'static Participant);

    impl Pin {
        pub(crate) fn of(participant: &'static Participant, collector: &Collector) -> Self {
            participant.pin(collector);
            Self(participant)
        }

        pub(crate) fn number(&self) -> usize {
            self.0.number()
        }
    }

    impl Drop for Pin {
        fn drop(&mut self) {
            self.0.unpin();
        }
    }
}

use bellwether_loom_tests::{bugs, model, spawn};
use cells::Cells;
use collector::Collector;
use depot::Depot;
use epoch::Pin;
use loom::cell::UnsafeCell;
use std::sync::Arc;

/// What one thread changes by plain loads and stores.
struct Count(UnsafeCell<u32>);

// SAFETY: loom checks every access to the cell.
unsafe impl Send for Count {}
// SAFETY: as above.
unsafe impl Sync for Count {}

struct Scene {
    collector: &'static Collector,
    cells: Cells<Count>,
}

impl Scene {
    fn new() -> Self {
        Self { collector: Box::leak(Box::new(Collector::new())), cells: Cells::new() }
    }

    /// A thread begins, counts in its own cell, and ends.
    fn live_and_count(&self) {
        let me = self.collector.join(0);
        self.count(&Pin::of(me, self.collector));
        me.leave();
    }

    /// Counts in the cell of the thread that holds this pin.
    fn count(&self, pin: &Pin) {
        let own = || self.cells.own_or_make(pin, 2, || Count(UnsafeCell::new(0)));
        let cell = self.cells.own(pin).or_else(own).expect("a cell for each of two threads");
        // SAFETY: nobody else's, or loom says so.
        cell.0.with_mut(|count| unsafe { *count += 1 });
    }

    /// Counts in the cell of the first thread, if that has ended. Returns how much it has counted.
    fn adopt_and_count(&self) -> u32 {
        let mut adopted = 0;
        self.collector.adopt(0, 0, || {
            let cell = self.cells.numbered().find(|&(number, _)| number == 0);
            cell.into_iter().for_each(|(_, cell)| {
                // SAFETY: nobody else's, or loom says so.
                cell.0.with_mut(|count| unsafe { *count += 1 });
                adopted += 1;
            });
        });
        adopted
    }

    /// Returns what all have counted.
    fn sum(&self) -> u32 {
        // SAFETY: all others have ended.
        self.cells.iter().map(|cell| cell.0.with(|count| unsafe { *count })).sum()
    }
}

/// A thread ends, and two begin: one of them finds what the first had for itself, as it left it.
/// Sees «joins blindly», «leaves unreleased».
#[test]
fn cells_are_handed_over() {
    model(3, || {
        let scene = Arc::new(Scene::new());
        let other = scene.clone();
        let thread = spawn(move || {
            other.live_and_count();
        });
        scene.live_and_count();
        scene.live_and_count();
        thread.join().unwrap();
        assert_eq!(scene.sum(), 3, "a count is lost");
    });
}

/// A clean-up counts in the cell of a thread that has ended, as another thread takes its registration over: one after the
/// other. Sees «joins blindly», «leaves unreleased».
#[test]
fn adoption_meets_a_new_thread() {
    model(3, || {
        let scene = Arc::new(Scene::new());
        scene.live_and_count();
        let other = scene.clone();
        let thread = spawn(move || other.adopt_and_count());
        scene.live_and_count();
        let adopted = thread.join().unwrap();
        assert_eq!(scene.sum(), 2 + adopted, "a count is lost");
    });
}

/// A thread ends with a pin in hand, and goes on using its cell under that pin. A clean-up gets the cell only afterwards.
/// Sees «leaves while pinned».
#[test]
fn adoption_meets_a_last_pin() {
    model(3, || {
        let scene = Arc::new(Scene::new());
        let me = scene.collector.join(0);
        let pin = Pin::of(me, scene.collector);
        me.leave();
        let other = scene.clone();
        let thread = spawn(move || other.adopt_and_count());
        scene.count(&pin);
        drop(pin);
        let adopted = thread.join().unwrap();
        assert_eq!(scene.sum(), 1 + adopted, "a count is lost");
    });
}

/// Two threads put a bag each into a depot with room for both. Sees «depot overwritten».
#[test]
fn put_meets_put() {
    model(3, || {
        let depot = Arc::new(Depot::new());
        let put = |depot: &Depot<Count>| {
            depot.put(Box::new(Count(UnsafeCell::new(0))), 2).ok().expect("an empty place");
        };
        let other = depot.clone();
        let thread = spawn(move || put(&other));
        put(&depot);
        thread.join().unwrap();
        let taken = [(); 3].map(|()| depot.take());
        assert_eq!(taken.iter().flatten().count(), 2, "a bag is lost");
    });
}

/// Uses a bag as its owner.
fn empty(bag: &Count) {
    // SAFETY: nobody else's, or loom says so.
    bag.0.with_mut(|content| unsafe { *content += 1 });
}

/// Two take a bag at once, and one brings it back: it has one owner at any time, who sees what the last one did with it. Sees
/// «depot taken twice», «depot put», «depot take».
#[test]
fn take_meets_take_and_put() {
    model(3, || {
        let depot = Arc::new(Depot::new());
        depot.put(Box::new(Count(UnsafeCell::new(0))), 2).ok().expect("an empty place");
        let other = depot.clone();
        let take_and_put = move |depot: &Depot<Count>| match depot.take() {
            None => 0,
            Some(bag) => {
                empty(&bag);
                depot.put(bag, 2).ok().expect("an empty place");
                1
            }
        };
        let thread = spawn(move || take_and_put(&other));
        let mine = take_and_put(&depot);
        let theirs = thread.join().unwrap();
        let bag = depot.take().expect("it was brought back");
        // SAFETY: all others have ended.
        let uses = bag.0.with(|content| unsafe { *content });
        assert_eq!(uses, mine + theirs, "a use is lost");
        assert!(depot.take().is_none(), "it is there twice");
    });
}

bugs! {
    cells_are_handed_over: "joins blindly", "leaves unreleased";
    adoption_meets_a_new_thread: "joins blindly", "leaves unreleased";
    adoption_meets_a_last_pin: "leaves while pinned";
    put_meets_put: "depot overwritten";
    take_meets_take_and_put: "depot taken twice", "depot put", "depot take";
}
