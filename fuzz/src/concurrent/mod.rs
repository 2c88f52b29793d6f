//! Two threads, each with operations of its own, on one small cache.
//!
//! What they do to each other depends on the machine, so an answer cannot be foretold; but some can be ruled out. A thread
//! knows what it has written or removed itself: it must not find what was there, or had begun to load, before. And of each
//! author's writes of a key none may be seen after a later one ([`values::Memory`]).

mod input;
mod values;

pub use input::Input;

use bellwether::{Cache, Entry, Lease, LoadError, Lookup, Op as Decision, Ref, RemovalCause, Waited};
use input::{Aside, Op, Settings};
use std::collections::BTreeSet;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use values::{Ledger, Memory, Origin, Value};

type Subject = Cache<u8, Value, crate::hashes::Shape>;

/// Leases kept at a time, of impatient threads.
const LEASES: usize = 4;

/// Runs one input.
pub fn run(input: Input) {
    let ledger = Arc::<Ledger>::default();
    let cache = build(&input.settings);
    let there = AtomicUsize::new(0);
    let work = |me: usize| {
        let mut thread = Thread {
            cache: &cache,
            settings: &input.settings,
            me,
            ledger: &ledger,
            memory: Memory::new(me),
            leases: Vec::new(),
            entries: Vec::new(),
        };
        meet(&there, if me == 0 { input.settings.late } else { 0 });
        input.threads[me].iter().for_each(|op| thread.step(*op));
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| work(1));
        work(0);
        // The scope waits for its end, but not until all that the thread had is freed, which would be taken for a leak.
        other.join().unwrap_or_else(|panic| resume_unwind(panic));
    });
    cache.validate().expect("everything is in its place");
    assert!(cache.weight() <= cache.capacity(), "weight {} in {}", cache.weight(), cache.capacity());
    assert_eq!(cache.weight(), cache.len() as u64);
    let keys: Vec<_> = cache.iter().map(|v| (*Ref::key(&v), v.check(*Ref::key(&v))).0).collect();
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "a key is there twice");
    (0..32).for_each(|key| assert!(!cache.is_loading(&key), "a flight of key {key} is left behind"));
    drop(cache);
    assert_eq!(ledger.alive(), 0, "values that outlive the cache (or were dropped twice)");
}

fn build(settings: &Settings) -> Subject {
    let mut builder = Cache::builder()
        .max_capacity(settings.capacity.map_or(u64::MAX, u64::from))
        .shards(1)
        // However many panic: who waits loads. A thread may hold the lease that it would wait for.
        .max_handovers(u32::MAX)
        .bypass(true)
        .eviction_listener(|key: &u8, value: &Value, _: RemovalCause| {
            value.check(*key);
            value.told();
        })
        .hasher(settings.shape);
    if !settings.patient {
        builder = builder.wait_timeout(Duration::ZERO);
    }
    if settings.takes_over {
        builder = builder.lead_timeout(Duration::from_nanos(1));
    }
    builder.build().expect("no number is out of its bounds")
}

/// Both are there; one is a little late.
fn meet(there: &AtomicUsize, late: u8) {
    there.fetch_add(1, SeqCst);
    while there.load(SeqCst) < 2 {
        thread::yield_now();
    }
    (0..u32::from(late) * 8).for_each(|_| spin_loop());
}

/// What loaders panic with: not by `panic!`, whose hook is libFuzzer's, which aborts.
struct Injected;

struct Thread<'c> {
    cache: &'c Subject,
    settings: &'c Settings,
    me: usize,
    ledger: &'c Arc<Ledger>,
    memory: Memory,
    /// With a number from when each was already held.
    leases: Vec<(Lease<'c, u8, Value>, u64)>,
    entries: Vec<Entry<'c, u8, Value>>,
}

impl<'c> Thread<'c> {
    fn step(&mut self, op: Op) {
        let cache = self.cache;
        match op {
            Op::Insert(key) => self.insert(key.id()),
            Op::InsertForNoTime(key) => {
                let value = self.value(key.id(), Origin::Inserted);
                self.written(key.id(), |key| cache.insert_with_ttl(key, value, Duration::ZERO));
            }
            Op::InsertMany(from, many) => {
                (0..many % 32).for_each(|i| self.insert((from.id() + i) % 32));
            }
            Op::Get(key) => {
                if let Some(value) = cache.get(&key.id()) {
                    self.memory.see(key.id(), &value);
                }
            }
            Op::GetRef(key) => {
                if let Some(value) = cache.get_ref(&key.id()) {
                    self.memory.see(key.id(), &value);
                    self.insert(key.id());
                    value.check(key.id());
                }
            }
            Op::GetEntry(key) => {
                if let Some(value) = cache.get_entry(&key.id()) {
                    self.memory.see(key.id(), &value);
                    self.entries.push(value);
                }
                if self.entries.len() > LEASES {
                    let first = self.entries.remove(0);
                    first.check(*Entry::key(&first));
                }
            }
            Op::Fulfil(at) => self.end_lease(at, true),
            Op::GiveUp(at) => self.end_lease(at, false),
            Op::GetWith(key, aside) => self.get_with(key.id(), aside),
            Op::TryGetWith(key, aside) => self.try_get_with(key.id(), aside),
            Op::Lease(key, aside) => self.lease(key.id(), aside),
            // It would wait for the other, who may wait for what is held here.
            Op::Compute(..) if !self.settings.patient => {}
            Op::Compute(key, put) => self.compute(key.id(), put),
            Op::Purge => _ = cache.purge_expired(),
            Op::Expire(key) => _ = self.written(key.id(), |key| cache.expire(&key)),
            Op::SetCapacity(capacity) if self.settings.capacity.is_some() => cache.set_capacity(capacity.into()),
            Op::SetCapacity(_) => {}
            Op::Iterate => {
                for value in cache {
                    let key = *Ref::key(&value);
                    self.memory.see(key, &value);
                }
            }
            Op::Remove(..) | Op::RemoveIf(..) | Op::Invalidate(..) | Op::InvalidateAll | Op::Retain(..) => {
                self.remove(op);
            }
        }
    }

    fn value(&self, key: u8, origin: Origin) -> Value {
        Value::new(key, self.me, origin, self.ledger)
    }

    /// Does a write, and remembers when it began.
    fn written<R>(&mut self, key: u8, write: impl FnOnce(u8) -> R) -> R {
        let began = self.ledger.next();
        let done = write(key);
        self.memory.written(key, began);
        done
    }

    fn insert(&mut self, key: u8) {
        let began = self.ledger.next();
        self.cache.insert(key, self.value(key, Origin::Inserted));
        self.memory.written(key, began);
    }

    fn remove(&mut self, op: Op) {
        let cache = self.cache;
        match op {
            Op::Remove(key) => {
                let before = cache.get(&key.id());
                before.iter().for_each(|value| self.memory.see(key.id(), value));
                if let Some(value) = self.written(key.id(), |key| cache.remove(&key)) {
                    value.check(key.id());
                }
            }
            Op::RemoveIf(key) => {
                let began = self.ledger.next();
                let found = cache.remove_if(&key.id(), |k, v| {
                    v.check(*k);
                    v.version % 2 == 0
                });
                if let Some(value) = found {
                    value.check(key.id());
                    self.memory.written(key.id(), began);
                }
            }
            Op::Invalidate(key) => _ = self.written(key.id(), |key| cache.invalidate(&key)),
            Op::InvalidateAll => {
                let began = self.ledger.next();
                cache.invalidate_all();
                (0..32).for_each(|key| self.memory.written(key, began));
            }
            Op::Retain(of) => {
                let (began, of) = (self.ledger.next(), of % 4 + 1);
                cache.retain(|key, value| {
                    value.check(*key);
                    *key % of != 0
                });
                (0..32).filter(|key| key % of == 0).for_each(|key| self.memory.written(key, began));
            }
            _ => unreachable!("not a removal"),
        }
    }

    // Loads.

    /// A loader: what it does besides, and its value.
    fn load(&mut self, key: u8, aside: Aside) -> Result<Value, u64> {
        let since = self.ledger.next();
        match aside {
            Aside::Insert => self.insert(key),
            Aside::Remove => {
                self.written(key, |key| self.cache.remove(&key));
            }
            Aside::Invalidate => {
                self.written(key, |key| self.cache.invalidate(&key));
            }
            Aside::Fail => return Err(since),
            Aside::Panic => resume_unwind(Box::new(Injected)),
            Aside::Yield => thread::yield_now(),
            Aside::Nothing => {}
        }
        Ok(self.value(key, Origin::Loaded(since)))
    }

    /// None: the loader has panicked.
    fn caught<R>(op: impl FnOnce() -> R) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(op)) {
            Ok(done) => Some(done),
            Err(panic) if panic.is::<Injected>() => None,
            Err(panic) => resume_unwind(panic),
        }
    }

    /// One's own value tells nothing: it may have been handed over only, and not stored.
    fn loaded(&mut self, key: u8, value: &Value, mine: Option<u64>) {
        value.check(key);
        if mine != Some(value.version) {
            self.memory.check(key, value);
        }
    }

    fn get_with(&mut self, key: u8, aside: Aside) {
        let aside = if let Aside::Fail = aside { Aside::Yield } else { aside };
        let (cache, mut mine) = (self.cache, None);
        let found = Self::caught(|| {
            cache.get_with(&key, || {
                let value = self.load(key, aside).unwrap_or_else(|_| unreachable!("it does not fail"));
                mine = Some(value.version);
                value
            })
        });
        found.iter().for_each(|value| self.loaded(key, value, mine));
    }

    fn try_get_with(&mut self, key: u8, aside: Aside) {
        let (cache, mut mine) = (self.cache, None);
        let found = Self::caught(|| {
            cache.try_get_with(&key, || {
                let loaded = self.load(key, aside);
                mine = loaded.as_ref().ok().map(|v| v.version);
                loaded
            })
        });
        match found {
            Some(Ok(value)) => self.loaded(key, &value, mine),
            Some(Err(LoadError::TimedOut)) => assert!(!self.settings.patient, "it has all the time there is"),
            Some(Err(LoadError::Load(_))) | None => {}
            Some(Err(LoadError::Abandoned)) => {}
            Some(Err(other)) => panic!("key {key}: {other}"),
        }
    }

    fn lease(&mut self, key: u8, aside: Aside) {
        match self.cache.lease(&key) {
            Lookup::Hit(entry) => self.memory.check(key, &entry),
            Lookup::Lead(lease) => self.lead(lease, aside),
            Lookup::Wait(waiter) if self.settings.patient => match waiter.wait() {
                Waited::Ready(entry) => self.memory.check(key, &entry),
                Waited::Lead(lease) => self.lead(lease, aside),
                Waited::Failed(_) | Waited::Abandoned => {}
                other => panic!("key {key}: {other:?}"),
            },
            Lookup::Wait(waiter) => drop(waiter),
            // Of a `compute` that has taken too long; nothing expires.
            Lookup::Refresh(entry, lease) if self.settings.takes_over => {
                self.memory.check(key, &entry);
                self.lead(lease, aside);
            }
            Lookup::Refresh(..) => panic!("key {key}: nothing expires"),
            other => panic!("key {key}: {other:?}"),
        }
    }

    /// Who waits for others holds no lease meanwhile: they may wait for that one.
    fn lead(&mut self, lease: Lease<'c, u8, Value>, aside: Aside) {
        let (key, since) = (*lease.key(), self.ledger.next());
        let lease = Self::caught(|| match self.load(key, aside) {
            Ok(_) => Some(lease),
            Err(error) => {
                lease.fail_with(error);
                None
            }
        });
        if let Some(Some(lease)) = lease {
            self.leases.push((lease, since));
        }
        if self.settings.patient || self.leases.len() > LEASES {
            self.end_lease(0, true);
        }
    }

    fn end_lease(&mut self, at: u8, fulfil: bool) {
        if self.leases.is_empty() {
            return;
        }
        let (lease, since) = self.leases.remove(usize::from(at) % self.leases.len());
        if !fulfil {
            return drop(lease);
        }
        let key = *lease.key();
        let (Ok(entry) | Err(entry)) = lease.fulfil(self.value(key, Origin::Loaded(since)));
        entry.check(key);
    }

    fn compute(&mut self, key: u8, put: bool) {
        let (cache, mut asked) = (self.cache, 0);
        cache.compute(&key, |found| {
            asked += 1;
            let since = self.ledger.next();
            found.iter().for_each(|value| self.memory.see(key, value));
            if put { Decision::Put(self.value(key, Origin::Loaded(since))) } else { Decision::Remove }
        });
        assert_eq!(asked, 1);
    }
}
