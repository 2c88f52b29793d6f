//! The bags that wait on Linux (`src/reclaim/membarrier/graces.rs`): one thread stamps a bag and puts it into the list as another frees
//! what is there. With fences on both sides, as `membarrier` is a matter of `pins.rs`.
#![cfg(loom)]
#![allow(unexpected_cfgs, reason = "the included sources look at the feature `std` of their crate")]

extern crate alloc;

#[path = "fences/mod.rs"]
mod barrier;
#[allow(dead_code, reason = "the face uses the rest")]
#[path = "../../src/reclaim/membarrier/collector.rs"]
mod collector;
#[allow(dead_code, reason = "the limbo uses the rest")]
#[path = "../../src/reclaim/membarrier/grace.rs"]
mod grace;
#[path = "../../tests/common/sys.rs"]
mod sys;

use bellwether_loom_tests::{bugs, model, spawn};
use collector::Collector;
use grace::{Grace, Graces};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

/// What `graces.rs` knows of the back end's face.
struct Epoch(&'static Collector);
struct Pin;

impl Epoch {
    fn collector(&self) -> &'static Collector {
        self.0
    }
}

const FRESH: u32 = 7;

/// Items, of which one can be found, a bag for each of which another takes the place, with a list of those that wait, by bits.
struct Scene {
    epoch: Epoch,
    graces: Graces,
    bags: [Grace; 2],
    waiting: AtomicUsize,
    found: AtomicUsize,
    items: [UnsafeCell<u32>; 3],
}

// SAFETY: loom checks every access to the cells.
unsafe impl Send for Scene {}
// SAFETY: as above.
unsafe impl Sync for Scene {}

impl Scene {
    fn new() -> Arc<Self> {
        let graces = Graces::new();
        Arc::new(Self {
            epoch: Epoch(Box::leak(Box::new(Collector::new()))),
            bags: [graces.grace(), graces.grace()],
            graces,
            waiting: AtomicUsize::new(0),
            found: AtomicUsize::new(0),
            items: std::array::from_fn(|_| UnsafeCell::new(FRESH)),
        })
    }

    /// Unlinks the item for another; its bag begins to wait.
    fn replace(&self, by: usize) {
        let item = self.found.swap(by, Ordering::AcqRel);
        let bag = &self.bags[item];
        self.graces.seal(&Pin, bag);
        assert!(self.graces.begin(&self.epoch, std::iter::once(bag)));
        let mark = bag.mark();
        // As `Limbo::push`.
        self.waiting.fetch_or(1 << item, Ordering::Release);
        self.graces.waits(mark);
    }

    /// As `Limbo::collect`, without what is sealed.
    fn free(&self) {
        if !self.graces.due(&self.epoch) {
            return;
        }
        let (bags, horizon) = self.graces.look(&self.epoch, || self.waiting.swap(0, Ordering::Acquire));
        for item in (0..2).filter(|item| bags & (1 << item) != 0) {
            if horizon.passed(&self.bags[item]) {
                // SAFETY: nobody reads it any more; loom checks.
                self.items[item].with_mut(|item| unsafe { *item = 0 });
            } else {
                self.waiting.fetch_or(1 << item, Ordering::Release);
                self.graces.waits(self.bags[item].mark());
            }
        }
    }

    /// With nobody pinned nothing is left.
    fn end(&self) {
        self.free();
        assert_eq!(self.waiting.load(Ordering::Acquire), 0, "a bag waits, and nobody looks for it");
    }
}

/// A thread pins, unlinks what it has found, whose bag it puts into the list, and goes on reading it, all that as another
/// thread looks what can be freed. Sees «pins before bags».
#[test]
fn stamp_meets_a_look() {
    model(3, || {
        let scene = Scene::new();
        let reader = scene.epoch.0.join(1);
        // Something waits already, so that there is something to look for.
        scene.replace(1);
        let other = scene.clone();
        let thread = spawn(move || {
            reader.pin(other.epoch.0);
            let item = other.found.load(Ordering::Acquire);
            other.replace(2);
            // SAFETY: not freed while the pin is held, which is what the model is to show; loom checks.
            assert_eq!(other.items[item].with(|item| unsafe { *item }), FRESH, "freed before the pin's end");
            reader.unpin();
        });
        scene.free();
        thread.join().unwrap();
        scene.end();
    });
}

/// A bag is put into the list as another thread takes what is there: it is noted, or taken.
/// Sees «look after taking».
#[test]
fn note_meets_a_look() {
    model(3, || {
        let scene = Scene::new();
        scene.replace(1);
        let other = scene.clone();
        let thread = spawn(move || other.free());
        scene.replace(2);
        thread.join().unwrap();
        scene.end();
    });
}

bugs! {
    stamp_meets_a_look: "pins before bags";
    note_meets_a_look: "look after taking";
}
