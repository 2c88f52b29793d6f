//! Any sequence of operations on a small cache, against the model.
//!
//! One thread, a manual clock that also steps back, six keys. The model ([`crate::model`]) knows each entry, each flight and
//! each handle; it foretells every answer, except where XFetch's dice or the hand decide, and there it says what they may
//! decide. Evictions are learned from the listener, so that presence is exact in bounded caches, too.

mod hands;
mod input;
mod loads;

pub use input::Input;

use crate::input::{Time, Worth};
use crate::model::{Came, Entry as Known, Flight, Model, State, Terms};
use crate::parts::{Error, Hashing, Key, Token, Value, removed, take_removed};
use bellwether::{
    BuildError, Cache, Clock, Entry, Lease, LoadError, Lookup, ManualClock, Op as Decision, Waited, Waiter,
};
use input::{Aside, Beta, More, Op, Settings, Step};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

type Subject = Cache<Key, Value, Hashing>;

/// The cache is built at this time of its clock, which can step back behind it.
const ORIGIN: u64 = 1_000_000_000;
/// Handles kept at a time.
const HANDS: usize = 8;

enum Held<'c> {
    Lease(Lease<'c, Key, Value>, Rc<Flight>, u64),
    Waiter(Waiter<'c, Key, Value>, Rc<Flight>, Came),
    Entry(Entry<'c, Key, Value>, u64),
}

struct Driver<'c> {
    cache: &'c Subject,
    clock: &'c ManualClock,
    model: Model,
    held: RefCell<Vec<Held<'c>>>,
}

/// Runs one input.
pub fn run(input: Input) {
    let clock = ManualClock::new();
    clock.set(ORIGIN);
    let beta = match input.settings.beta {
        Beta::Off => 0.0,
        Beta::One => 1.0,
        Beta::Eager => 50.0,
    };
    let cache = match build(&input.settings, beta, &clock) {
        Ok(cache) => cache,
        Err(BuildError::ZeroTimeToIdle) => return,
        Err(other) => panic!("{other}"),
    };
    take_removed();
    let model = Model::new(&terms(&input.settings, beta));
    let driver = Driver { cache: &cache, clock: &clock, model, held: RefCell::default() };
    for step in &input.ops {
        match step {
            Step::Op(op) => driver.step(op),
            Step::More(more) => driver.more(more),
        }
        driver.check();
    }
    drop(driver);
    // A lease that ends may make room: what was being refreshed as the capacity shrank can go now.
    take_removed();
    drop(cache);
    assert_eq!(Token::alive(), 0, "keys, values and errors that outlive the cache (or were dropped twice)");
    assert!(take_removed().is_empty(), "the listener is not for the cache's own end");
}

fn terms(settings: &Settings, beta: f64) -> Terms {
    Terms {
        capacity: settings.capacity.map(u64::from),
        weighs: settings.weighs,
        ttl: settings.ttl.map(Time::duration),
        ttl_with: settings.ttl_with,
        idle: settings.idle.map(Time::duration),
        beta,
        cooldown: settings.cooldown.duration(),
    }
}

fn build(settings: &Settings, beta: f64, clock: &ManualClock) -> Result<Subject, BuildError> {
    let mut builder = Cache::builder()
        .max_capacity(settings.capacity.map_or(u64::MAX, u64::from))
        .xfetch(beta)
        .error_cooldown(settings.cooldown.duration())
        .seed(settings.seed)
        .wait_timeout(Duration::ZERO)
        .bypass(true)
        .clock(clock.clone())
        .timer(clock.clone())
        .eviction_listener(removed)
        .hasher(Hashing(settings.hash));
    if settings.weighs {
        // There are several shards only where enough entries are expected, and that is a guess only with a weigher.
        let shards = usize::from(settings.shards % 3) + 1;
        builder = builder.weigher(|_, v: &Value| v.weight.into()).initial_capacity(4096 * shards).shards(shards);
    }
    if let Some(ttl) = settings.ttl {
        builder = builder.time_to_live(ttl.duration());
    }
    if settings.ttl_with {
        builder = builder.ttl_with(|_, v: &Value| v.ttl);
    }
    if let Some(idle) = settings.idle {
        builder = builder.time_to_idle(idle.duration());
    }
    if settings.record_stats {
        builder = builder.record_stats();
    }
    builder.build()
}

fn id(entry: &Option<Rc<Known>>) -> Option<u64> {
    entry.as_ref().map(|e| e.value)
}

impl<'c> Driver<'c> {
    fn step(&self, op: &Op) {
        match *op {
            Op::Insert(key, worth) => self.insert(key.id(), worth, None),
            Op::InsertWithTtl(key, worth, ttl) => self.insert(key.id(), worth, Some(ttl.duration())),
            Op::GetWith(key, worth, aside) => self.get_with(key.id(), worth, aside),
            Op::TryGetWith(key, worth, aside) => self.try_get_with(key.id(), worth, aside),
            Op::Lease(key) => self.lease(key.id()),
            Op::Fulfil(at, worth) => self.with_lease(at, |l, f, s| self.fulfil(l, f, s, worth, None)),
            Op::FulfilWithTtl(at, worth, ttl) => {
                self.with_lease(at, |l, f, s| self.fulfil(l, f, s, worth, Some(ttl.duration())));
            }
            Op::Renew(at) => self.with_lease(at, |l, f, s| self.renew(l, f, s)),
            Op::Fail(at) if at >= 128 => self.with_lease(at, |lease, flight, _| {
                lease.not_found();
                self.model.absent(&flight);
            }),
            Op::Fail(at) => self.with_lease(at, |lease, flight, _| {
                lease.fail();
                self.model.fail(&flight, None);
            }),
            Op::FailWith(at) => self.with_lease(at, |lease, flight, _| {
                let error = Error::new();
                self.model.fail(&flight, Some(error.id));
                lease.fail_with(error);
            }),
            Op::Drop(at) => {
                if let Some(held) = self.take(at, |_| true) {
                    self.let_go(held);
                }
            }
            Op::Poll(at) => {
                self.wait(at, |mut waiter| match Pin::new(&mut waiter).poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(answer) => Ok(answer),
                    Poll::Pending => Err(waiter),
                })
            }
            Op::WaitTimeout(at) => self.wait(at, |waiter| waiter.wait_timeout(Duration::ZERO)),
            Op::SetCapacity(capacity) => {
                if self.model.bounded() {
                    self.model.capacity.set(capacity.into());
                    self.cache.set_capacity(capacity.into());
                }
            }
            Op::Purge => assert_eq!(self.cache.purge_expired(), self.model.purge()),
            Op::Iterate => self.iterate(),
            Op::Advance(by) => self.advance(by.duration()),
            Op::AdvanceFar => self.advance(Duration::from_secs(1 << 40)),
            Op::StepBack(by) => self.step_back(by),
            Op::Get(..) | Op::GetRef(..) | Op::GetEntry(..) | Op::GetMany(..) | Op::Peek(..) => self.read(op),
            Op::Contains(..) | Op::IsLoading(..) => self.read(op),
            Op::Remove(..) | Op::RemoveIf(..) | Op::Invalidate(..) | Op::InvalidateAll | Op::Retain(..) => {
                self.remove(op);
            }
            Op::ComputePut(..) | Op::ComputeRemove(..) | Op::ComputeNop(..) => self.compute(op),
        }
    }

    fn more(&self, more: &More) {
        match *more {
            More::Expire(key) => assert_eq!(self.cache.expire(&key.id()), self.model.expire(key.id())),
            More::ExpireAll => {
                self.cache.expire_all();
                self.model.expire_all();
            }
        }
    }

    /// What must hold after every operation.
    fn check(&self) {
        self.model.settle(take_removed());
        self.model.agree(self.cache);
    }

    // Time.

    fn tick(&self) {
        self.model.now.set(self.clock.now().saturating_sub(ORIGIN));
    }

    fn advance(&self, by: Duration) {
        // Idle deadlines are kept for some 35 years only: no leaps there.
        let by = if self.model.idles() { by.min(Duration::from_millis(300)) } else { by };
        self.clock.advance(by);
        self.tick();
    }

    fn step_back(&self, by: Time) {
        let by = u64::try_from(by.duration().as_nanos()).unwrap_or(u64::MAX);
        self.clock.set(self.clock.now().saturating_sub(by));
        self.tick();
    }

    // Reads.

    fn read(&self, op: &Op) {
        let (cache, model) = (self.cache, &self.model);
        match *op {
            Op::Get(key) => {
                let found = cache.get(&key.id()).map(|v| v.id);
                assert_eq!(found, id(&model.get(key.id())));
            }
            Op::GetRef(key) => {
                let found = cache.get_ref(&key.id());
                assert_eq!(found.as_ref().map(|v| v.id), id(&model.get(key.id())));
            }
            Op::GetEntry(key) => {
                let expected = model.get(key.id());
                let found = cache.get_entry(&key.id());
                assert_eq!(
                    found.as_ref().map(|e| (e.id, u64::from(Entry::weight(e)))),
                    expected.map(|e| (e.value, e.weight))
                );
                if let Some(entry) = found {
                    let value = entry.id;
                    self.hold(Held::Entry(entry, value));
                }
            }
            Op::GetMany(a, b) => {
                let found: Vec<_> = cache.get_many([&a.id(), &b.id()]).into_iter().map(|v| v.map(|v| v.id)).collect();
                assert_eq!(found, [id(&model.get(a.id())), id(&model.get(b.id()))]);
            }
            Op::Peek(key) => {
                assert_eq!(cache.peek(&key.id()).map(|v| v.id), id(&model.peek(key.id())));
            }
            Op::Contains(key) => assert_eq!(cache.contains_key(&key.id()), model.peek(key.id()).is_some()),
            Op::IsLoading(key) => assert_eq!(cache.is_loading(&key.id()), model.flight(key.id()).is_some()),
            _ => unreachable!("not a read"),
        }
    }

    fn iterate(&self) {
        let mut seen: Vec<_> = self.cache.iter().map(|v| (bellwether::Ref::key(&v).id, v.id)).collect();
        seen.sort_unstable();
        assert_eq!(seen, self.model.good());
    }

    // Writes.

    fn insert(&self, key: u8, worth: Worth, ttl: Option<Duration>) {
        let value = Value::new(worth);
        self.model.insert(key, &value, ttl);
        match ttl {
            None if value.weight % 2 == 0 => self.cache.pin().insert(Key::new(key), value),
            None => self.cache.insert(Key::new(key), value),
            Some(ttl) => self.cache.insert_with_ttl(Key::new(key), value, ttl),
        }
    }

    fn remove(&self, op: &Op) {
        let (cache, model) = (self.cache, &self.model);
        match *op {
            Op::Remove(key) => {
                assert_eq!(cache.remove(&key.id()).map(|v| v.id), id(&model.peek(key.id())));
                model.clear(key.id());
            }
            Op::RemoveIf(key, doomed) => {
                let expected = model.peek(key.id());
                let asked = Cell::new(0);
                let found = cache.remove_if(&key.id(), |k, v| {
                    asked.set(asked.get() + 1);
                    assert_eq!((k.id, Some(v.id)), (key.id(), id(&expected)));
                    doomed
                });
                assert_eq!(asked.get(), i32::from(expected.is_some()));
                assert_eq!(found.map(|v| v.id), id(&expected).filter(|_| doomed));
                if doomed && expected.is_some() {
                    model.clear(key.id());
                }
            }
            Op::Invalidate(key) => {
                assert_eq!(cache.invalidate(&key.id()), model.peek(key.id()).is_some());
                model.clear(key.id());
            }
            Op::InvalidateAll => self.invalidate_all(),
            Op::Retain(keep) => self.retain(keep),
            _ => unreachable!("not a removal"),
        }
    }

    fn invalidate_all(&self) {
        self.cache.invalidate_all();
        self.model.keys().into_iter().for_each(|key| self.model.clear(key));
    }

    fn retain(&self, keep: u8) {
        let model = &self.model;
        let kept = |key: u8| keep >> key & 1 == 1;
        let mut asked = Vec::new();
        self.cache.retain(|k, v| {
            asked.push((k.id, v.id));
            kept(k.id)
        });
        asked.sort_unstable();
        // Loads of keys without a value, or with one that is over, go unasked; other entries are asked about,
        // those that are being refreshed, and expired ones, too.
        let asked_about = |key: u8| model.entry(key).filter(|e| model.flight(key).is_none() || !model.over(e));
        let expected: Vec<_> = model.keys().into_iter().filter_map(|k| Some((k, asked_about(k)?.value))).collect();
        assert_eq!(asked, expected);
        for key in model.keys() {
            if !kept(key) || asked_about(key).is_none() {
                model.clear(key);
            }
        }
    }

    fn compute(&self, op: &Op) {
        let (Op::ComputePut(key, _) | Op::ComputeRemove(key) | Op::ComputeNop(key)) = *op else { unreachable!() };
        let (key, model) = (key.id(), &self.model);
        if model.flight(key).is_some_and(|f| !f.empty()) {
            return; // It would wait for a lease that this thread holds.
        }
        // To take over what was given up is no use of the entry.
        let present = if model.flight(key).is_some() { model.peek(key) } else { model.get(key) };
        let flight = model.lead(key);
        let called = Cell::new(false);
        self.cache.compute(&key, |value| {
            called.set(true);
            assert_eq!(value.map(|v| v.id), id(&present));
            match *op {
                Op::ComputePut(_, worth) => {
                    let value = Value::new(worth);
                    model.publish(&flight, &value, None, model.longest());
                    Decision::Put(value)
                }
                Op::ComputeRemove(_) => {
                    if flight.old.is_some() {
                        model.clear(key);
                    }
                    model.give_up(&flight);
                    Decision::Remove
                }
                _ => {
                    model.give_up(&flight);
                    Decision::Nop
                }
            }
        });
        assert!(called.get());
    }

    // Read-through.
}

/// What a caller meets. Read-through calls and leases count as a use of what they meet.
enum Meeting {
    /// This value; or, if the dice may say so, a refresh of it.
    Hit(u64, bool),
    Leads,
    Waits(Rc<Flight>),
}

impl std::fmt::Debug for Meeting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hit(value, early) => write!(f, "Hit({value}, {early})"),
            Self::Leads => f.write_str("Leads"),
            Self::Waits(_) => f.write_str("Waits"),
        }
    }
}

fn name(lookup: &Lookup<'_, Key, Value>) -> &'static str {
    match lookup {
        Lookup::Hit(_) => "Hit",
        Lookup::Refresh(..) => "Refresh",
        Lookup::Lead(_) => "Lead",
        Lookup::Wait(_) => "Wait",
        _ => "something new",
    }
}

fn said(waited: &Waited<'_, Key, Value>) -> &'static str {
    match waited {
        Waited::Ready(_) => "Ready",
        Waited::Lead(_) => "Lead",
        Waited::Failed(_) => "Failed",
        Waited::NotFound => "NotFound",
        Waited::Abandoned => "Abandoned",
        _ => "something else",
    }
}
