//! Something to read under a pin, while others replace and free it.

use crate::barrier::{on_processor, point};
use crate::collector::{Collector, Participant};
use bellwether_loom_tests::{model, spawn};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

const FRESH: u32 = 7;

/// Items, one of which is to be found, as the first node of a list is.
struct Scene {
    collector: &'static Collector,
    found: AtomicUsize,
    items: [UnsafeCell<u32>; 3],
}

// SAFETY: loom checks every access to the cells.
unsafe impl Send for Scene {}
// SAFETY: as above.
unsafe impl Sync for Scene {}

/// What was unlinked, with its stamp.
struct Retired {
    item: usize,
    stamp: u64,
}

impl Scene {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            collector: Box::leak(Box::new(Collector::new())),
            found: AtomicUsize::new(0),
            items: std::array::from_fn(|_| UnsafeCell::new(FRESH)),
        })
    }

    fn join(&self) -> &'static Participant {
        self.collector.join(0)
    }

    /// Finds the item and reads it.
    fn read(&self, reader: &Participant) {
        point();
        reader.pin(self.collector);
        let item = self.found.load(Ordering::Acquire);
        point();
        // SAFETY: not freed while the pin is held, which is what the models are to show; loom checks.
        assert_eq!(self.items[item].with(|item| unsafe { *item }), FRESH, "freed before the pin's end");
        point();
        reader.unpin();
        point();
    }

    /// Unlinks the item for another, and stamps it.
    fn replace(&self, by: usize) -> Retired {
        let item = self.found.swap(by, Ordering::AcqRel);
        Retired { item, stamp: self.collector.stamp().unwrap() }
    }

    /// Frees the item if nobody can be reading it any more.
    fn free(&self, retired: &Retired) -> bool {
        let ripe = retired.stamp < self.collector.least();
        if ripe {
            // SAFETY: nobody reads it any more; loom checks.
            self.items[retired.item].with_mut(|item| unsafe { *item = 0 });
        }
        ripe
    }

    /// Replaces, and looks twice.
    fn replace_and_free(&self, by: usize) {
        let retired = self.replace(by);
        let _ = self.free(&retired) || self.free(&retired);
    }
}

/// Runs `reader` on a processor, beside `freer`; and with nobody pinned, all that is retired can be freed.
fn beside(preemptions: usize, reader: fn(&Scene, &'static Participant), freer: fn(&Scene)) {
    model(preemptions, move || {
        let scene = Scene::new();
        let participant = scene.join();
        let other = scene.clone();
        let thread = spawn(move || on_processor(0, || reader(&other, participant)));
        freer(&scene);
        thread.join().unwrap();
        let last = scene.replace(2);
        assert!(scene.free(&last), "nobody is pinned");
    });
}

pub(crate) fn pin_meets_free() {
    beside(3, |s, me| s.read(me), |s| s.replace_and_free(1));
}

/// What is freed as the second pin is taken was read under the first.
pub(crate) fn second_pin_meets_free() {
    let reader = |s: &Scene, me| {
        s.read(me);
        s.read(me);
    };
    beside(3, reader, |s| s.replace_and_free(1));
}

/// The outer pin was there before what the inner one finds was unlinked.
pub(crate) fn nested_pins_meet_free() {
    let reader = |s: &Scene, me: &'static Participant| {
        me.pin(s.collector);
        s.read(me);
        s.read(me);
        me.unpin();
    };
    beside(2, reader, |s| s.replace_and_free(1));
}

pub(crate) fn first_pin_meets_free() {
    beside(2, |s, _| s.read(s.join()), |s| s.replace_and_free(1));
}

/// What was stamped first may wait for a pin that came after what was stamped second.
pub(crate) fn pin_meets_two_frees() {
    let freer = |s: &Scene| {
        let first = s.replace(1);
        let second = s.replace(2);
        assert!(first.stamp < second.stamp, "the epoch goes on");
        s.free(&first);
        s.free(&second);
    };
    // (The last item is the one that the model itself retires in the end.)
    model(3, move || {
        let scene = Scene::new();
        let participant = scene.join();
        let other = scene.clone();
        let thread = spawn(move || on_processor(0, || other.read(participant)));
        freer(&scene);
        thread.join().unwrap();
        assert_eq!(scene.collector.least(), u64::MAX);
    });
}

/// The epoch is moved on, and somebody pins, between a freer's first step and its fence.
pub(crate) fn moved_on_meets_free() {
    let reader = |s: &Scene, me: &'static Participant| {
        s.collector.stamp().unwrap();
        s.read(me);
    };
    beside(3, reader, |s| s.replace_and_free(1));
}

/// A thread that ends while it holds a pin goes on being pinned, and only then may another have its place.
pub(crate) fn last_pin_outlives_its_handle() {
    let reader = |s: &Scene, me: &'static Participant| {
        me.pin(s.collector);
        me.leave();
        assert!(!std::ptr::eq(me, s.join()), "taken while it is pinned");
        s.read(me);
        me.unpin();
        assert!(std::ptr::eq(me, s.join()), "it can be taken again");
    };
    beside(2, reader, |s| s.replace_and_free(1));
}

/// Two threads want the place of one that has ended.
pub(crate) fn two_join_where_one_left() {
    model(3, || {
        let scene = Scene::new();
        let me = scene.join();
        scene.read(me);
        me.leave();
        let other = scene.clone();
        let thread = spawn(move || {
            let me = other.join();
            other.read(me);
            std::ptr::from_ref(me).addr()
        });
        let mine = scene.join();
        scene.read(mine);
        assert_ne!(thread.join().unwrap(), std::ptr::from_ref(mine).addr(), "one place for two");
    });
}

/// A test of each model, by its name, in the root of a test binary: there `bugs!` looks for it. Which bugs it sees is said there.
macro_rules! models {
    () => {
        $crate::pins_scene::models!(
            pin_meets_free,
            second_pin_meets_free,
            nested_pins_meet_free,
            first_pin_meets_free,
            pin_meets_two_frees,
            moved_on_meets_free,
            last_pin_outlives_its_handle,
            two_join_where_one_left,
        );
    };
    ($($model:ident,)*) => {
        $(#[test]
        fn $model() {
            pins_scene::$model();
        })*
    };
}
pub(crate) use models;
