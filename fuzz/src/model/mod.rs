//! What the cache must do, said plainly.

mod flights;

pub use flights::{Came, Flight, State};

use crate::parts::{Hashing, Key, Value};
use bellwether::{Cache, RemovalCause, Stats};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

pub const NEVER: u64 = u64::MAX;
/// Entries remember no later time than this one, some 35 years, for when to be looked at closely.
const HORIZON: u64 = ((1 << 50) - 2) * 1000;

/// A value that is or was stored, or was only handed over.
pub struct Entry {
    pub value: u64,
    pub weight: u64,
    hint: Option<Duration>,
    expires: Cell<u64>,
    idle: Cell<u64>,
    delta: Cell<u64>,
    /// How often all values had been ended when its load began.
    pub began: Cell<u64>,
    /// No dice before this, after a failed refresh.
    calm: Cell<u64>,
}

#[derive(Default)]
struct Slot {
    entry: Option<Rc<Entry>>,
    flight: Option<Rc<Flight>>,
}

/// The settings that the model knows of.
#[derive(Default)]
pub struct Terms {
    /// None: unbounded.
    pub capacity: Option<u64>,
    pub weighs: bool,
    pub ttl: Option<Duration>,
    pub ttl_with: bool,
    pub idle: Option<Duration>,
    pub beta: f64,
    pub cooldown: Duration,
}

pub struct Model {
    slots: RefCell<BTreeMap<u8, Slot>>,
    pub capacity: Cell<u64>,
    bounded: bool,
    weighs: bool,
    ttl: u64,
    ttl_with: bool,
    idle: u64,
    beta: f64,
    cooldown: u64,
    /// The longest load so far. What was not loaded is taken for as costly as another load, or for less.
    longest: Cell<u64>,
    /// How often all values were ended.
    pub ends: Cell<u64>,
    /// The cache's time: ns since it was built.
    pub now: Cell<u64>,
    /// Values whose removal the listener has yet to tell.
    left: RefCell<Vec<(u8, u64)>>,
    /// Values that were not kept, of which the listener has yet to tell.
    rejected: RefCell<Vec<(u8, u64)>>,
    pub stats: RefCell<Stats>,
}

pub fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(NEVER)
}

impl Model {
    pub fn new(terms: &Terms) -> Self {
        Self {
            slots: RefCell::default(),
            capacity: Cell::new(terms.capacity.unwrap_or(NEVER)),
            bounded: terms.capacity.is_some(),
            weighs: terms.weighs,
            ttl: terms.ttl.map_or(NEVER, nanos),
            ttl_with: terms.ttl_with,
            idle: terms.idle.map_or(NEVER, nanos),
            beta: terms.beta,
            longest: Cell::new(0),
            ends: Cell::new(0),
            cooldown: nanos(terms.cooldown),
            now: Cell::new(0),
            left: RefCell::default(),
            rejected: RefCell::default(),
            stats: RefCell::default(),
        }
    }

    pub fn bounded(&self) -> bool {
        self.bounded
    }

    pub fn idles(&self) -> bool {
        self.idle != NEVER
    }

    pub fn count(&self, what: impl FnOnce(&mut Stats) -> &mut u64) {
        *what(&mut self.stats.borrow_mut()) += 1;
    }

    // Time.

    pub fn over(&self, entry: &Entry) -> bool {
        let (now, expires) = (self.now.get(), entry.expires.get());
        entry.began.get() < self.ends.get()
            || (expires != NEVER && now >= expires)
            || (self.idles() && now >= entry.idle.get())
    }

    fn idle_deadline(&self) -> u64 {
        self.now.get().saturating_add(self.idle)
    }

    fn life(&self, explicit: Option<Duration>, hint: Option<Duration>) -> u64 {
        let asked = explicit.or(if self.ttl_with { hint } else { None });
        asked.map_or(self.ttl, nanos)
    }

    /// Whether the dice may say: refresh it now.
    pub fn may_roll(&self, entry: &Entry) -> bool {
        let (now, expires, delta) = (self.now.get(), entry.expires.get(), entry.delta.get());
        let ahead = (44.5 * self.beta * delta as f64) as u64;
        self.beta > 0.0
            && delta > 0
            && expires != NEVER
            && now.saturating_add(ahead).saturating_add(1000) >= expires
            && now.saturating_add(1000) >= entry.calm.get()
    }

    /// A load has taken so long.
    pub fn note_cost(&self, delta: u64) {
        self.longest.set(self.longest.get().max(delta));
    }

    /// At most what a value costs that was not loaded.
    pub fn longest(&self) -> u64 {
        self.longest.get()
    }

    /// A load that refreshed an entry has failed.
    pub fn cool_down(&self, entry: &Entry) {
        if entry.expires.get() != NEVER && !self.idles() {
            let calm = self.now.get().saturating_add(self.cooldown).min(entry.expires.get());
            entry.calm.set(calm.min(HORIZON));
        }
    }

    /// Whether it is kept: not for no time.
    fn renew(&self, entry: &Entry, began: u64, delta: u64) -> bool {
        let life = self.life(None, entry.hint);
        if life == 0 {
            return false;
        }
        entry.expires.set(self.now.get().saturating_add(life));
        entry.began.set(began);
        entry.idle.set(self.idle_deadline());
        entry.delta.set(delta);
        entry.calm.set(0);
        true
    }

    // Looking.

    pub fn entry(&self, key: u8) -> Option<Rc<Entry>> {
        self.slots.borrow().get(&key)?.entry.clone()
    }

    pub fn flight(&self, key: u8) -> Option<Rc<Flight>> {
        self.slots.borrow().get(&key)?.flight.clone()
    }

    /// The entry that a plain read finds.
    pub fn peek(&self, key: u8) -> Option<Rc<Entry>> {
        self.entry(key).filter(|e| !self.over(e))
    }

    /// The same, as a use.
    pub fn get(&self, key: u8) -> Option<Rc<Entry>> {
        let entry = self.peek(key)?;
        entry.idle.set(self.idle_deadline());
        Some(entry)
    }

    pub fn good(&self) -> Vec<(u8, u64)> {
        let slots = self.slots.borrow();
        let entry = |(key, slot): (&u8, &Slot)| slot.entry.as_ref().filter(|e| !self.over(e)).map(|e| (*key, e.value));
        slots.iter().filter_map(entry).collect()
    }

    pub fn keys(&self) -> Vec<u8> {
        self.slots.borrow().keys().copied().collect()
    }

    pub fn len(&self) -> usize {
        self.slots.borrow().values().filter(|s| s.entry.is_some()).count()
    }

    pub fn weight(&self) -> u64 {
        self.slots.borrow().values().filter_map(|s| s.entry.as_ref()).map(|e| e.weight).sum()
    }

    /// Whether every entry is being refreshed, so that none can be evicted.
    pub fn all_refreshing(&self) -> bool {
        self.slots.borrow().values().all(|s| s.entry.is_none() || s.flight.is_some())
    }

    // Writing.

    /// Its time ends now; whether it had not. A load in flight is fenced; without an old value it goes on for those who wait.
    pub fn expire(&self, key: u8) -> bool {
        match (self.entry(key), self.flight(key)) {
            (Some(_), Some(flight)) => flight.fenced.set(true),
            (None, Some(_)) => self.clear(key),
            (_, None) => {}
        }
        let good = self.peek(key);
        good.iter().for_each(|entry| entry.expires.set(self.now.get()));
        good.is_some()
    }

    /// The time of all values ends whose loads began before.
    pub fn expire_all(&self) {
        self.ends.set(self.ends.get() + 1);
    }

    fn leaves(&self, key: u8, entry: Option<Rc<Entry>>) {
        if let Some(entry) = entry {
            self.left.borrow_mut().push((key, entry.value));
        }
    }

    /// Nothing is at the key any more; a flight goes on for those who wait.
    pub fn clear(&self, key: u8) {
        let slot = self.slots.borrow_mut().remove(&key).unwrap_or_default();
        if let Some(flight) = slot.flight {
            flight.attached.set(false);
        }
        self.leaves(key, slot.entry);
    }

    fn make(&self, value: &Value, explicit: Option<Duration>, began: u64, delta: u64) -> (Rc<Entry>, bool) {
        let life = self.life(explicit, value.ttl);
        let weight = if self.weighs { u64::from(value.weight).max(1) } else { 1 };
        let entry = Entry {
            value: value.id,
            weight,
            hint: value.ttl,
            expires: Cell::new(self.now.get().saturating_add(life)),
            idle: Cell::new(self.idle_deadline()),
            delta: Cell::new(delta),
            began: Cell::new(began),
            calm: Cell::new(0),
        };
        (Rc::new(entry), life != 0 && weight <= self.capacity.get())
    }

    fn store(&self, key: u8, entry: Rc<Entry>) {
        self.clear(key);
        self.slots.borrow_mut().insert(key, Slot { entry: Some(entry), flight: None });
    }

    pub fn insert(&self, key: u8, value: &Value, explicit: Option<Duration>) {
        let (entry, kept) = self.make(value, explicit, self.ends.get(), self.longest());
        if kept {
            return self.store(key, entry);
        }
        self.clear(key);
        self.reject(key, value);
    }

    /// A value was given to the cache, and is not kept.
    fn reject(&self, key: u8, value: &Value) {
        self.rejected.borrow_mut().push((key, value.id));
        self.count(|s| &mut s.rejected);
    }

    /// How many entries go.
    pub fn purge(&self) -> usize {
        let mut purged = 0;
        for key in self.keys() {
            match (self.entry(key), self.flight(key)) {
                // A refresh that was given up ends; its entry is looked at next time.
                (_, Some(flight)) if flight.empty() => self.end(&flight, State::Dead),
                (Some(entry), None) if self.over(&entry) => {
                    self.clear(key);
                    purged += 1;
                }
                _ => {}
            }
        }
        purged
    }

    // Accounts.

    /// What the listener was told: everything that left, and what was evicted.
    pub fn settle(&self, told: Vec<(u8, u64, RemovalCause)>) {
        for (key, value, cause) in told {
            if cause == RemovalCause::Rejected {
                let rejected = self.rejected.borrow().iter().position(|r| *r == (key, value));
                self.rejected.borrow_mut().swap_remove(rejected.expect("rejected what was to be kept"));
                continue;
            }
            let left = self.left.borrow().iter().position(|l| *l == (key, value));
            if let Some(at) = left {
                self.left.borrow_mut().swap_remove(at);
                assert_ne!(cause, RemovalCause::Size, "key {key}");
                continue;
            }
            assert!(self.bounded || cause == RemovalCause::Expired, "key {key} left an unbounded cache: {cause:?}");
            let entry = self.entry(key).filter(|e| e.value == value).expect("evicted what was not there");
            assert!(self.flight(key).is_none(), "evicted an entry that is being refreshed");
            match cause {
                RemovalCause::Size => self.count(|s| &mut s.evictions),
                other => assert!(other == RemovalCause::Expired && self.over(&entry), "evicted as {other:?}"),
            }
            self.slots.borrow_mut().remove(&key);
        }
        let left = self.left.borrow();
        assert!(left.is_empty(), "the listener was not told of {left:?}");
        let rejected = self.rejected.borrow();
        assert!(rejected.is_empty(), "the listener was not told that {rejected:?} were not kept");
    }

    /// What must hold after every operation, once the model has [settled](Self::settle).
    pub fn agree(&self, cache: &Cache<Key, Value, Hashing>) {
        cache.validate().expect("everything is in its place");
        assert_eq!((cache.len(), cache.weight()), (self.len(), self.weight()));
        assert_eq!(cache.capacity(), self.capacity.get());
        assert!(
            cache.weight() <= cache.capacity() || self.all_refreshing(),
            "weight {} in {}",
            cache.weight(),
            cache.capacity()
        );
        let (stats, expected) = (cache.stats(), self.stats.borrow());
        assert_eq!(stats.loads, expected.loads);
        assert_eq!(stats.load_failures, expected.load_failures);
        assert_eq!(stats.coalesced, expected.coalesced);
        assert_eq!(stats.evictions, expected.evictions);
        assert_eq!(stats.handovers, expected.handovers);
        assert_eq!(stats.takeovers, expected.takeovers);
        assert_eq!(stats.wait_timeouts, expected.wait_timeouts);
        assert_eq!(stats.bypassed, expected.bypassed);
        assert_eq!(stats.stale_serves, expected.stale_serves);
        assert_eq!(stats.rejected, expected.rejected);
        // One thread, no pin kept: what is retired is freed after a few bags.
        assert!(stats.retired_bytes < 256 << 10, "{} bytes retired", stats.retired_bytes);
    }
}
