//! Any builder: a clear refusal, or a cache that survives a script and keeps within its bounds.

mod settings;

use crate::input::Case;
use crate::parts::Token;
use arbitrary::Arbitrary;
use bellwether::{Cache, Clock, Entry, Lease, LoadError, Lookup, ManualClock, Op as Decision, Ref, Waited};
use settings::{Clocking, Number, Settings, Time};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Operations of one input.
const MOST: usize = 64;

pub type Input = Case<Settings, Op>;

#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Ending {
    Fulfil,
    FulfilWithTtl(Time),
    Renew,
    Fail,
    FailWith,
    Drop,
}

/// What a request asks for besides.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub struct Asks {
    ttl: Option<Time>,
    wait: Option<Time>,
    soft: Option<Time>,
    hard: Option<Time>,
    lead: Option<Time>,
    max_stale: Option<Time>,
}

#[derive(Arbitrary, Debug)]
pub enum Op {
    Insert(u8, Number),
    InsertWithTtl(u8, Number, Time),
    Get(u8),
    GetEntry(u8),
    GetWith(u8, Number),
    TryGetWith(u8, Number, bool),
    Request(u8, Number, Asks, bool),
    Lease(u8, Number, Ending),
    Compute(u8, Number, bool),
    Remove(u8),
    InvalidateTag(u8),
    InvalidateAll,
    Expire(u8),
    Purge,
    SetCapacity(Number),
    Advance(Time),
    SetClock(Number),
}

#[derive(Clone, Debug)]
pub struct Value {
    key: u8,
    version: u64,
    weight: u32,
    _token: Token,
}

type Subject = Cache<u8, Value>;

struct Driver<'c> {
    cache: &'c Subject,
    settings: &'c Settings,
    clock: ManualClock,
    /// What may be found. (Whether a loader's value was stored is not always told.)
    allowed: RefCell<BTreeMap<u8, BTreeSet<u64>>>,
    /// What must be, where nothing goes by itself.
    sure: RefCell<BTreeMap<u8, u64>>,
    capacity: Cell<u64>,
    versions: Cell<u64>,
}

/// Runs one input.
pub fn run(input: Input) {
    let clock = ManualClock::new();
    let cache = match input.settings.build(&clock) {
        Ok(cache) => cache,
        Err(why) => return input.settings.refused(&why),
    };
    input.settings.accepted();
    let driver = Driver {
        capacity: Cell::new(cache.capacity()),
        cache: &cache,
        settings: &input.settings,
        clock,
        allowed: RefCell::default(),
        sure: RefCell::default(),
        versions: Cell::new(0),
    };
    assert_eq!(Some(cache.capacity()), input.settings.capacity.map(Number::get));
    for op in input.ops.iter().take(MOST) {
        driver.step(op);
        driver.check();
    }
    drop(cache);
    assert_eq!(Token::alive(), 0, "values that outlive the cache (or were dropped twice)");
}

impl Driver<'_> {
    fn step(&self, op: &Op) {
        let cache = self.cache;
        match *op {
            Op::Insert(key, weight) => {
                let (key, value) = self.inserted(key, weight);
                cache.insert(key, value);
            }
            Op::InsertWithTtl(key, weight, ttl) => {
                let (key, value) = self.inserted(key, weight);
                // That may be over at once, or by the system's clock.
                self.sure.borrow_mut().remove(&key);
                cache.insert_with_ttl(key, value, ttl.get());
            }
            Op::Get(key) => self.found(key % 8, cache.get(&(key % 8)), None),
            Op::GetEntry(key) => {
                if let Some(entry) = cache.get_entry(&(key % 8)) {
                    self.entry(key % 8, &entry);
                    assert_ne!(Entry::weight(&entry), 0, "what is found is stored");
                }
            }
            Op::GetWith(key, weight) => {
                let (key, value) = self.value(key, weight);
                let mine = value.version;
                let found = cache.get_with(&key, || value);
                self.found(key, Some(found), Some(mine));
            }
            Op::TryGetWith(key, weight, fails) => {
                let (key, value) = self.value(key, weight);
                let mine = value.version;
                let found = cache.try_get_with(&key, || if fails { Err("as it was told") } else { Ok(value) });
                self.told(key, found, mine);
            }
            Op::Request(key, weight, asks, fails) => self.request(key, weight, asks, fails),
            Op::Lease(key, weight, ending) => self.lease(key, weight, ending),
            Op::Compute(key, weight, put) => self.compute(key, weight, put),
            _ => self.change(op),
        }
    }

    /// What gives no value a place.
    fn change(&self, op: &Op) {
        let cache = self.cache;
        match *op {
            Op::Remove(key) => {
                self.found(key % 8, cache.remove(&(key % 8)), None);
                self.gone(key % 8);
            }
            Op::InvalidateTag(tag) => {
                cache.invalidate_tag(&tag);
                self.sure.borrow_mut().clear();
                let found = cache.peek(&tag).map(|v| v.version);
                assert!(found.is_none_or(|version| !self.settings.has_tags(version)), "its tag was invalidated");
            }
            Op::InvalidateAll => {
                cache.invalidate_all();
                (0..8).for_each(|key| self.gone(key));
                assert_eq!((cache.len(), cache.weight()), (0, 0));
            }
            Op::Expire(key) => {
                cache.expire(&(key % 8));
                self.sure.borrow_mut().remove(&(key % 8));
                assert!(!cache.contains_key(&(key % 8)));
            }
            Op::Purge => assert!(cache.purge_expired() <= 8),
            Op::SetCapacity(capacity) => {
                self.capacity.set(capacity.get());
                self.sure.borrow_mut().clear();
                cache.set_capacity(capacity.get());
            }
            Op::Advance(by) => {
                self.clock.advance(by.get());
                // Its last moment stands for the time that never comes.
                self.clock.set(self.clock.now().min(u64::MAX - 1));
            }
            Op::SetClock(at) => self.clock.set(at.get().min(u64::MAX - 1)),
            _ => unreachable!("it gives one"),
        }
    }

    fn check(&self) {
        let cache = self.cache;
        cache.validate().expect("everything is in its place");
        assert_eq!(cache.capacity(), self.capacity.get());
        assert!(cache.weight() <= cache.capacity(), "weight {} in {}", cache.weight(), cache.capacity());
        assert!(cache.len() as u64 <= cache.weight(), "each entry weighs something");
        assert!(cache.len() <= 8);
        for value in cache {
            let key = *Ref::key(&value);
            assert!(self.may_be(key, value.key, value.version));
            let _ = (Ref::age(&value), Ref::expires_in(&value));
        }
        for (key, version) in &*self.sure.borrow() {
            assert_eq!(cache.peek(key).map(|v| v.version), Some(*version), "key {key} is gone");
        }
        assert!((0..8).all(|key| !cache.is_loading(&key)), "a flight is left behind");
        let stats = cache.stats();
        assert!(stats.retired_bytes < 1 << 20, "{} bytes retired", stats.retired_bytes);
        assert!(self.settings.clocking == Clocking::System || self.clock.now() == self.clock.precise());
    }

    // What may be found.

    fn value(&self, key: u8, weight: Number) -> (u8, Value) {
        self.versions.set(self.versions.get() + 1);
        let weight = u32::try_from(weight.get()).unwrap_or(u32::MAX);
        (key % 8, Value { key: key % 8, version: self.versions.get(), weight, _token: Token::new() })
    }

    fn inserted(&self, key: u8, weight: Number) -> (u8, Value) {
        let (key, value) = self.value(key, weight);
        self.allowed.borrow_mut().insert(key, [value.version].into());
        if self.settings.keeps_all() && self.capacity.get() == u64::MAX {
            self.sure.borrow_mut().insert(key, value.version);
        }
        (key, value)
    }

    fn loaded(&self, key: u8, version: u64) {
        self.allowed.borrow_mut().entry(key).or_default().insert(version);
    }

    fn gone(&self, key: u8) {
        self.allowed.borrow_mut().remove(&key);
        self.sure.borrow_mut().remove(&key);
    }

    fn may_be(&self, key: u8, of: u8, version: u64) -> bool {
        of == key && self.allowed.borrow().get(&key).is_some_and(|all| all.contains(&version))
    }

    /// `mine`: what a loader would have given.
    fn found(&self, key: u8, found: Option<Value>, mine: Option<u64>) {
        if let Some(sure) = self.sure.borrow().get(&key) {
            assert_eq!(found.as_ref().map(|v| v.version), Some(*sure));
        }
        let Some(found) = found else { return };
        if mine == Some(found.version) {
            self.loaded(key, found.version);
        }
        assert!(self.may_be(key, found.key, found.version), "key {key}: a value that was removed, or another's");
    }

    fn told(&self, key: u8, found: std::result::Result<Value, LoadError<&'static str>>, mine: u64) {
        match found {
            Ok(found) => self.found(key, Some(found), Some(mine)),
            Err(LoadError::Load(_) | LoadError::Overloaded) => {
                assert!(!self.sure.borrow().contains_key(&key), "an error in spite of a good value");
            }
            Err(other) => panic!("key {key}: {other}, and nobody else is loading"),
        }
    }

    fn entry(&self, key: u8, entry: &Entry<'_, u8, Value>) {
        assert!(*Entry::key(entry) == key && self.may_be(key, entry.key, entry.version));
        let weight = Entry::weight(entry);
        match self.settings.weigher {
            None => assert!(weight <= 1),
            Some(settings::Weigher::Changes) => {}
            Some(weigher) => assert!(weight == 0 || weight == weigher.weigh(entry).max(1)),
        }
        let _ = (Entry::age(entry), Entry::expires_in(entry));
    }

    // Read-through.

    fn request(&self, key: u8, weight: Number, asks: Asks, fails: bool) {
        let (key, value) = self.value(key, weight);
        let mine = value.version;
        let mut request = self.cache.entry(&key);
        macro_rules! ask {
            ($($setting:ident: $value:expr),*) => { $(if let Some(t) = $value { request = request.$setting(t.get()); })* };
        }
        ask!(ttl: asks.ttl, wait_timeout: asks.wait, soft_timeout: asks.soft, hard_timeout: asks.hard,
             lead_timeout: asks.lead, max_stale: asks.max_stale);
        let found = request.try_get_with(|| if fails { Err("as it was told") } else { Ok(value) });
        if let Ok((entry, _)) = &found {
            if entry.version == mine {
                self.loaded(key, mine);
            }
            self.entry(key, entry);
        }
        self.told(key, found.map(|(entry, _)| Value::clone(&entry)), mine);
    }

    fn lease(&self, key: u8, weight: Number, ending: Ending) {
        let (key, value) = self.value(key, weight);
        match self.cache.lease(&key) {
            Lookup::Hit(entry) => self.entry(key, &entry),
            Lookup::Refresh(entry, lease) => {
                self.entry(key, &entry);
                self.end(lease, value, ending);
            }
            Lookup::Lead(lease) => self.end(lease, value, ending),
            Lookup::Wait(waiter) => {
                let polled = pin!(waiter).poll(&mut Context::from_waker(Waker::noop()));
                assert!(matches!(polled, Poll::Ready(Waited::Overloaded)), "nobody else is loading");
            }
            other => panic!("{other:?}"),
        }
    }

    fn end(&self, lease: Lease<'_, u8, Value>, value: Value, ending: Ending) {
        let key = *lease.key();
        let mine = value.version;
        if let Some(stale) = lease.stale() {
            assert!(self.may_be(key, stale.key, stale.version));
        }
        let landed = match ending {
            Ending::Fulfil => lease.fulfil(value),
            Ending::FulfilWithTtl(ttl) => lease.fulfil_with_ttl(value, ttl.get()),
            Ending::Renew => return lease.renew().iter().for_each(|entry| self.entry(key, entry)),
            Ending::Fail => return lease.fail(),
            Ending::FailWith => return lease.fail_with("as it was told"),
            Ending::Drop => return drop(lease),
        };
        // Whatever was there has gone, though it was not kept.
        self.gone(key);
        self.loaded(key, mine);
        let (Ok(entry) | Err(entry), stored) = (&landed, landed.is_ok());
        assert_eq!((entry.version, Entry::weight(entry) != 0), (mine, stored));
        self.entry(key, entry);
    }

    fn compute(&self, key: u8, weight: Number, put: bool) {
        let (key, value) = self.value(key, weight);
        let mine = value.version;
        self.cache.compute(&key, |found| {
            assert!(found.is_none_or(|v| self.may_be(key, v.key, v.version)));
            if put { Decision::Put(value) } else { Decision::Remove }
        });
        self.gone(key);
        if put {
            self.loaded(key, mine);
        }
    }
}
