//! The eviction policy alone, on one thread and without a cache around it, against the cache: the same hits, request by
//! request. So whatever the concurrent cache adds (flights, marks, shares, reclamation) costs no hit.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "the sources are included as they are")]

extern crate alloc;

#[path = "../common/mod.rs"]
mod common;
#[path = "../../src/policy/mod.rs"]
mod policy;
#[path = "../common/sys.rs"]
mod sys;

use common::Spread;
use policy::{Budget, Coming, Evictor, Policy, PolicyEntry, Seats};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::ptr::NonNull;
use std::time::Duration;
use sys::sync::AtomicU32;

/// An entry that is nothing but what the policy sees of it.
struct Plain {
    key: u32,
    weight: u32,
    uses: Cell<u32>,
    slot: AtomicU32,
}

impl PolicyEntry for Plain {
    fn hash(&self) -> u32 {
        order(self.key)
    }
    fn weight(&self) -> u32 {
        self.weight
    }
    fn uses(&self) -> u32 {
        self.uses.get()
    }
    fn set_uses(&self, uses: u32) {
        self.uses.set(uses);
    }
    fn slot(&self) -> &AtomicU32 {
        &self.slot
    }
}

/// The entries, and how much they weigh.
#[derive(Default)]
struct Shelf {
    entries: RefCell<HashMap<u32, NonNull<Plain>>>,
    weight: Cell<u64>,
    /// The key that room is made for.
    newcomer: Cell<u32>,
    /// Entries that the hand was shown since this was last reset.
    touched: Cell<usize>,
    /// Whether the hand is told that entries may expire. None has.
    any_expires: bool,
}

impl Seats<Plain> for &Shelf {
    fn recheck(&self, _: &Plain) {
        self.touched.set(self.touched.get() + 1);
    }
}

impl Evictor<Plain> for &Shelf {
    fn removed(&self, _: &Plain) -> bool {
        false
    }
    fn any_expires(&self) -> bool {
        self.any_expires
    }
    fn expired(&self, _: &Plain) -> bool {
        false
    }
    fn release(&self, _: NonNull<Plain>) {
        unreachable!("nothing is removed but by the hand");
    }
    fn spared(&self, entry: &Plain) -> Option<bool> {
        (entry.key == self.newcomer.get()).then_some(true)
    }
    fn evict(&self, entry: &Plain) -> bool {
        self.weight.set(self.weight.get() - u64::from(entry.weight));
        let gone = self.entries.borrow_mut().remove(&entry.key).unwrap();
        // SAFETY: made by `Alone::request`, and nobody has it any more: it is in no slot.
        drop(unsafe { Box::from_raw(gone.as_ptr()) });
        true
    }
    fn reopened(&self, _: &Plain) -> bool {
        unreachable!("nothing is refused");
    }
}

/// A cache for one thread around the policy.
struct Alone {
    policy: Policy<Plain>,
    shelf: Shelf,
    capacity: u64,
    /// The most entries that were put back or moved for one request.
    most: usize,
}

impl Alone {
    /// `any_expires`: the hand has to ask which entries have expired.
    fn new(capacity: u64, weighs: bool, any_expires: bool) -> Self {
        let shelf = Shelf { any_expires, ..Shelf::default() };
        Self { policy: Policy::numbered(0, 0, weighs), shelf, capacity, most: 0 }
    }

    fn budget(&self) -> Budget {
        Budget { capacity: self.capacity, entries: self.shelf.entries.borrow().len() }
    }

    fn request(&mut self, key: u32, weight: u32) -> bool {
        if let Some(entry) = self.shelf.entries.borrow().get(&key) {
            // SAFETY: alive while it is on the shelf.
            let uses = unsafe { &entry.as_ref().uses };
            uses.set((uses.get() + 1).min(3));
            return true;
        }
        let plain = Plain { key, weight, uses: Cell::new(0), slot: AtomicU32::new(0) };
        let entry = NonNull::from(Box::leak(Box::new(plain)));
        self.shelf.touched.set(0);
        self.shelf.newcomer.set(key);
        let budget = self.budget();
        // SAFETY: just made.
        let ring = self.policy.choose(unsafe { entry.as_ref() }.hash(), budget, || &self.shelf);
        if self.shelf.weight.get() + u64::from(weight) > self.capacity {
            self.policy.displace(budget, Coming::into(ring, weight), &&self.shelf);
        }
        self.shelf.entries.borrow_mut().insert(key, entry);
        self.shelf.weight.set(self.shelf.weight.get() + u64::from(weight));
        self.policy.admit(ring, entry, budget, &&self.shelf);
        while self.shelf.weight.get() > self.capacity {
            assert!(self.policy.evict(self.budget(), &&self.shelf));
        }
        self.most = self.most.max(self.shelf.touched.get());
        false
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let mut slots = 0;
        while self.policy.drain().is_some() {
            slots += 1;
        }
        let entries = self.shelf.entries.get_mut();
        assert_eq!(slots, entries.len(), "an entry for each slot");
        for (_, entry) in entries.drain() {
            // SAFETY: made by `request`, and out of the policy by now.
            drop(unsafe { Box::from_raw(entry.as_ptr()) });
        }
    }
}

/// What a node's link has of a key's hash.
fn order(key: u32) -> u32 {
    (Spread::default().hash_one(key).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32 | 1
}

/// Requests of every kind that policies are told apart by, one kind after the other.
fn requests() -> Vec<u32> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut zipf = |keys: f64| (keys.powf(random.f64()) - 1.0) as u32;
    let mut all: Vec<u32> = (0..15_000).map(|_| zipf(3_000.0)).collect();
    all.extend((0..8_000).map(|at| 5_000 + at % 700));
    all.extend((0..15_000).map(|at| if at % 3 == 0 { 10_000 + at } else { zipf(3_000.0) }));
    all.extend((0..15_000).map(|at| zipf(2_000.0) + at / 2_500 * 500));
    all
}

/// How a cache is set up, in ways that change no eviction: its hand asks for more.
const SETTINGS: [fn(Builder) -> Builder; 3] =
    [|plain| plain, |kept| kept.keep_while(|_, _| false), |ends| ends.time_to_live(Duration::from_secs(1 << 20))];

type Builder = bellwether::Builder<u32, u32>;

/// Compares caches of the first `settings` of [`SETTINGS`] with the policy.
fn compare(capacity: u64, weigher: Option<fn(u32) -> u32>, settings: usize) {
    let mut alone = [false, true].map(|any_expires| Alone::new(capacity, weigher.is_some(), any_expires));
    let caches = SETTINGS[..settings].iter().map(|set| {
        let mut builder = set(bellwether::Cache::builder().max_capacity(capacity).shards(1));
        if let Some(weigh) = weigher {
            builder = builder.weigher(move |&key, _| weigh(key));
        }
        builder.hasher(Spread::default()).build().unwrap()
    });
    let caches: Vec<bellwether::Cache<u32, u32, Spread>> = caches.collect();
    let weigh = weigher.unwrap_or(|_| 1);
    let mut hits = 0;
    for (at, key) in requests().into_iter().enumerate() {
        let hit = alone[0].request(key, weigh(key));
        assert_eq!(alone[1].request(key, weigh(key)), hit, "request {at}, key {key}, capacity {capacity}, asking");
        for (setting, cache) in caches.iter().enumerate() {
            let mut loaded = false;
            let value = cache.get_with(&key, || (loaded = true, !key).1);
            assert_eq!(value, !key);
            assert_eq!(hit, !loaded, "request {at}, key {key}, capacity {capacity}, setting {setting}");
        }
        hits += u32::from(hit);
    }
    for cache in &caches {
        assert_eq!(cache.len(), alone[0].shelf.entries.borrow().len());
    }
    assert!(hits > 1_000 || capacity < 10, "{hits} hits");
}

// One test, so that no other thread's pin holds up what is retired here: past a bound of that, values are not kept.
#[test]
fn the_cache_hits_as_its_policy_does() {
    for (capacity, settings) in [(1, 1), (2, 3), (100, 1), (600, 3), (2_000, 1)] {
        compare(capacity, None, settings);
    }
    // The weights that are kept tell the same as the positions do.
    for capacity in [2, 600] {
        compare(capacity, Some(|_| 1), 1);
    }
    for (capacity, settings) in [(40, 1), (1_000, 3), (20_000, 1)] {
        compare(capacity, Some(|key| key % 29 + 1), settings);
    }
}

/// The bound that `policy` states: eight moved from small to main, eight passed over, eight more for a remembered key, and
/// the newcomer itself, with two more moved on if there are holes.
#[test]
fn the_hand_moves_few_entries_for_each_newcomer() {
    let mut alone = Alone::new(1_000, false, false);
    // The worst case: everything has been used all the time.
    for round in 0..5 {
        for key in (0..4).flat_map(|_| 0..1_000) {
            alone.request(key, 1);
        }
        for key in 0..3_000 {
            alone.request(10_000 + round * 1_000 + key, 1);
        }
    }
    for key in requests() {
        alone.request(key, 1);
    }
    let bound = policy::PROMOTIONS + 2 * policy::CHANCES + 3;
    assert!((bound / 2..=bound).contains(&alone.most), "{} of {bound}", alone.most);
}
