//! Arbitrary interleavings of leases, waiters and tasks, by hand, on one thread, against the model.
//!
//! Handles are held, and end, in any order: fulfilled, failed, renewed, dropped, dropped by a panic, taken over. Waiters
//! and futures are polled by wakers that count; one whose flight has ended, or whose time has come, must have been woken
//! since it was last polled, whether it is polled again or not. What a poll will come to is foretold before it is made.
//! Loaders, the weigher and the listener panic: what they leave must be as good as what they would have left otherwise.

mod foresight;
mod hands;
mod input;
mod traps;

pub use input::Input;

use crate::input::{Time, Worth};
use crate::model::{Came, Flight, Model, NEVER, Terms, nanos};
use crate::parts::{Error, Hashing, Key, Token, Value, take_removed};
use bellwether::{BuildError, Cache, Clock, Entry, Lease, ManualClock, Waiter};
use hands::Bell;
use input::{Op, Script, Settings};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use traps::{attempt, attempt_unwinding};

type Subject = Cache<Key, Value, Hashing>;

/// Handles kept at a time.
const HANDS: usize = 12;
/// Futures borrow their keys.
static KEYS: [u8; 6] = [0, 1, 2, 3, 4, 5];

/// A handle. Those that keep the cache alive by themselves are told apart: they may outlive the `Arc`.
struct Held {
    owned: bool,
    what: What,
}

enum What {
    /// With the number that the model gives it.
    Lease(Lease<'static, Key, Value>, Rc<Flight>, u32),
    Waiter(Waiter<'static, Key, Value>, Waits),
    Task(Pin<Box<dyn Future<Output = Answer>>>, Task),
    Entry(Entry<'static, Key, Value>, u64),
}

/// A place among those who wait.
struct Waits {
    /// None: it was refused.
    flight: Option<Rc<Flight>>,
    /// The lease that it knew of when it last looked.
    known: u32,
    came: Option<Came>,
    bell: Bell,
}

/// What a future comes to.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Answer {
    Value(u64),
    Failed(Option<u64>),
    TimedOut,
    Overloaded,
    Panicked,
    Other,
}

/// A future, as the model knows it.
struct Task {
    key: u8,
    /// Of `get_with_async`: it has no way to report an error.
    lenient: bool,
    script: Script,
    /// What its loader will give.
    value: Value,
    error: u64,
    stage: Stage,
    /// From when on its `wait_timeout` counts.
    began: Option<u64>,
    bell: Bell,
}

enum Stage {
    Unpolled,
    /// With the lease that it knew of when it last looked, and when it came.
    Waits(Rc<Flight>, u32, Came),
    /// Under this lease of a flight; None: for itself alone.
    Loads(Option<(Rc<Flight>, u32)>),
}

struct Driver {
    cache: &'static Arc<Subject>,
    clock: ManualClock,
    model: Model,
    lead_timeout: u64,
    wait_timeout: u64,
    max_waiters: u32,
    max_loads: usize,
    weighs: bool,
    held: RefCell<Vec<Held>>,
    order: Cell<u64>,
}

/// Runs one input.
pub fn run(input: Input) {
    traps::disarm();
    let clock = ManualClock::new();
    let cache = match build(&input.settings, &clock) {
        Ok(cache) => cache,
        Err(BuildError::ZeroLeadTimeout) => {
            return assert_eq!(input.settings.lead_timeout.map(Time::duration), Some(Duration::ZERO));
        }
        Err(other) => panic!("{other}"),
    };
    take_removed();
    // For borrowed handles in one list with owned ones. Taken back below.
    let place = Box::into_raw(Box::new(Arc::new(cache)));
    // SAFETY: just made, and freed below, when nothing borrows it any more.
    let driver = Driver::new(&input.settings, clock, unsafe { &*place });
    for op in &input.ops {
        driver.step(op);
        driver.check();
    }
    // Borrowed handles first, and some of the owned ones.
    while let Some(held) = driver.any(|held, order| !held.owned || order % 4 == 0) {
        driver.let_go(held);
        driver.check();
    }
    // SAFETY: from the `Box` above; whatever borrowed it is gone, and the driver looks at the cache no more.
    drop(unsafe { Box::from_raw(place) });
    while let Some(held) = driver.any(|_, _| true) {
        driver.let_go(held);
        driver.all_woken();
    }
    take_removed();
    drop(driver);
    assert_eq!(Token::alive(), 0, "keys, values and errors that outlive the cache (or were dropped twice)");
}

fn build(settings: &Settings, clock: &ManualClock) -> Result<Subject, BuildError> {
    let mut builder = Cache::builder()
        .max_capacity(settings.capacity.map_or(u64::MAX, u64::from))
        .xfetch(0.0)
        .clock(clock.clone())
        .timer(clock.clone())
        .bypass(true)
        .max_handovers(u32::MAX)
        .eviction_listener(traps::listener)
        .hasher(Hashing(settings.hash));
    if settings.weighs {
        builder = builder.weigher(traps::weigher);
    }
    if let Some(ttl) = settings.ttl {
        builder = builder.time_to_live(ttl.duration());
    }
    if let Some(timeout) = settings.lead_timeout {
        builder = builder.lead_timeout(timeout.duration());
    }
    if let Some(timeout) = settings.wait_timeout {
        builder = builder.wait_timeout(timeout.duration());
    }
    if let Some(most) = settings.most_waiters() {
        builder = builder.max_waiters(usize::from(most));
    }
    if let Some(most) = settings.most_loads() {
        builder = builder.max_loads(usize::from(most));
    }
    builder.build()
}

impl Driver {
    fn new(settings: &Settings, clock: ManualClock, cache: &'static Arc<Subject>) -> Self {
        let terms = Terms {
            capacity: settings.capacity.map(u64::from),
            weighs: settings.weighs,
            ttl: settings.ttl.map(Time::duration),
            ..Terms::default()
        };
        Self {
            cache,
            clock,
            model: Model::new(&terms),
            lead_timeout: settings.lead_timeout.map_or(NEVER, |t| nanos(t.duration())),
            wait_timeout: settings.wait_timeout.map_or(NEVER, |t| nanos(t.duration())),
            max_waiters: settings.most_waiters().map_or(u32::MAX, u32::from),
            max_loads: settings.most_loads().map_or(usize::MAX, usize::from),
            weighs: settings.weighs,
            held: RefCell::default(),
            order: Cell::new(settings.order),
        }
    }

    fn step(&self, op: &Op) {
        match *op {
            Op::Lease(key) => self.lease(key.id(), false),
            Op::LeaseOwned(key) => self.lease(key.id(), true),
            Op::Get(key, worth, script) => self.begin(key.id(), true, worth, script),
            Op::TryGet(key, worth, script) => self.begin(key.id(), false, worth, script),
            Op::Poll(at, anew) => {
                if let Some(held) = self.take(at, |h| matches!(h.what, What::Waiter(..) | What::Task(..))) {
                    self.poll(held, anew);
                }
            }
            Op::PollAll(at) => {
                let pollable = |h: &Held| matches!(h.what, What::Waiter(..) | What::Task(..));
                let many = self.held.borrow().iter().filter(|h| pollable(h)).count();
                for _ in 0..many {
                    self.take(at, pollable).into_iter().for_each(|held| self.poll(held, false));
                    // The next one may meet what was evicted for this one's value.
                    self.check();
                }
            }
            Op::Fulfil(at, worth) => self.fulfil(at, worth, None),
            Op::FulfilWithTtl(at, worth, ttl) => self.fulfil(at, worth, Some(ttl.duration())),
            Op::Renew(at) => self.renew(at),
            Op::Fail(at) => self.fail(at, None),
            Op::FailWith(at, own_type) => self.fail(at, Some(own_type)),
            Op::Drop(at) => {
                if let Some(held) = self.take(at, |_| true) {
                    self.let_go(held);
                }
            }
            Op::Unwind(at) => self.unwind(at),
            Op::Arm(trap) => traps::arm(trap),
            Op::Advance(by) => {
                // Not to the end of time: nothing is due there.
                self.clock.advance(by.duration().min(Duration::from_secs(3600)));
                self.model.now.set(self.clock.now());
            }
            _ => self.change(op),
        }
    }

    /// What needs no handle.
    fn change(&self, op: &Op) {
        let (cache, model) = (self.cache, &self.model);
        match *op {
            Op::Peek(key) => assert_eq!(cache.get(&key.id()).map(|v| v.id), model.get(key.id()).map(|e| e.value)),
            Op::Insert(key, worth) => self.insert(key.id(), worth),
            Op::Remove(key) => {
                let expected = model.peek(key.id()).map(|e| e.value);
                model.clear(key.id());
                if let Some(found) = attempt(|| cache.remove(&key.id()).map(|v| v.id)) {
                    assert_eq!(found, expected);
                }
            }
            Op::Invalidate(key) => {
                let expected = model.peek(key.id()).is_some();
                model.clear(key.id());
                if let Some(found) = attempt(|| cache.invalidate(&key.id())) {
                    assert_eq!(found, expected);
                }
            }
            Op::InvalidateAll => {
                model.keys().into_iter().for_each(|key| model.clear(key));
                attempt(|| cache.invalidate_all());
            }
            Op::Expire(key) => assert_eq!(cache.expire(&key.id()), model.expire(key.id())),
            Op::SetCapacity(capacity) => {
                if model.bounded() {
                    model.capacity.set(capacity.into());
                    attempt(|| cache.set_capacity(capacity.into()));
                }
            }
            Op::Purge => {
                let expected = model.purge();
                if let Some(purged) = attempt(|| cache.purge_expired()) {
                    assert_eq!(purged, expected);
                }
            }
            _ => unreachable!("it has a handle"),
        }
    }

    fn insert(&self, key: u8, worth: Worth) {
        let value = Value::new(worth);
        // A weigher that panics has changed nothing.
        if !self.weigher_panics() {
            self.model.insert(key, &value, None);
        }
        attempt(|| self.cache.insert(Key::new(key), value));
    }

    /// What must hold after every operation.
    fn check(&self) {
        self.model.settle(take_removed());
        self.model.agree(self.cache);
        for key in KEYS {
            assert_eq!(self.cache.is_loading(&key), self.model.flight(key).is_some());
            assert_eq!(self.cache.peek(&key).map(|v| v.id), self.model.peek(key).map(|e| e.value));
        }
        self.all_woken();
    }

    /// Nobody sleeps whose flight has ended, or whose time has come.
    fn all_woken(&self) {
        for held in &*self.held.borrow() {
            match &held.what {
                What::Waiter(_, Waits { flight: Some(flight), bell, .. }) => self.woken(flight, bell, None),
                What::Task(_, Task { stage: Stage::Waits(flight, ..), bell, began, .. }) => {
                    self.woken(flight, bell, *began);
                }
                _ => {}
            }
        }
    }
}
