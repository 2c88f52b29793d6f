//! Rings with items in them, for two threads to work on.

use crate::rings::{Popped, Rings, Which, Which::Main, Which::Small};
use bellwether_loom_tests::{model, spawn};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

/// What is in a ring.
pub(crate) struct Item {
    pub(crate) number: UnsafeCell<usize>,
    pub(crate) slot: AtomicU32,
}

/// Rings, and ten items for them.
pub(crate) struct Scene {
    /// Every operation writes this first. Loom looks for a conflict at the last access of an atomic only, and so does not
    /// see that a load comes before the CAS of a thread that has loaded as well; this makes it try both orders.
    gate: AtomicU32,
    pub(crate) rings: Rings<Item>,
    pub(crate) items: Vec<Item>,
    /// Where each item is: in this ring, or with whoever took it. Loom does not see this.
    pub(crate) places: Mutex<[Option<Which>; 10]>,
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
            rings: Rings::new(31),
            items: (0..10).map(item).collect(),
            places: Mutex::new([None; 10]),
        })
    }

    /// Item `i` is written, and goes to the end of a ring.
    pub(crate) fn push(&self, ring: Which, i: usize) {
        self.gate();
        let item = &self.items[i];
        // SAFETY: not pushed yet; loom checks.
        item.number.with_mut(|number| unsafe { *number = i });
        assert_eq!(self.places.lock().unwrap()[i].replace(ring), None);
        self.rings.push(ring, NonNull::from(item), |slot| item.slot.store(slot, Ordering::Relaxed));
    }

    pub(crate) fn gate(&self) {
        self.gate.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn push_all(&self, ring: Which, items: impl IntoIterator<Item = usize>) {
        items.into_iter().for_each(|i| self.push(ring, i));
    }

    /// Who took an item reads it, and says which it was.
    pub(crate) fn took(&self, item: &Item) -> usize {
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
    pub(crate) fn pop(&self, ring: Which) -> Option<usize> {
        self.gate();
        self.entry(self.rings.pop(ring)).flatten()
    }

    pub(crate) fn clear(&self, i: usize) -> bool {
        self.gate();
        let item = &self.items[i];
        let cleared = self.rings.clear(item.slot.load(Ordering::Relaxed), NonNull::from(item), Some(Small));
        assert!(!cleared || self.took(item) == i);
        assert!(!self.rings.holds(item.slot.load(Ordering::Relaxed), NonNull::from(item)));
        cleared
    }

    /// With nobody else at work: everything is where it should be. Gives what the hand finds.
    pub(crate) fn drain(&self, ring: Which) -> Vec<usize> {
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
pub(crate) fn two(preemptions: usize, ready: fn(&Scene), one: fn(&Scene), other: fn(&Scene), then: fn(&Scene)) {
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
