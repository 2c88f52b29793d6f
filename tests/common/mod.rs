//! What the scenarios are made of. A scenario says who asks for what and how each load ends; *how* a caller waits is the
//! driver's affair, so that the same scenarios can be run by threads, by tasks, and mixed.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part of it")]

pub mod tasks;

use bellwether::{Builder, Cache, Lease, LoadError, Lookup, ManualClock};
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

pub type Key = u32;
pub type TestCache<S = bellwether::DefaultHashBuilder> = Cache<Key, u64, S>;

pub const SECOND: Duration = Duration::from_secs(1);

/// The error of a load that fails.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken(pub &'static str);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
impl std::error::Error for Broken {}

/// Waits, without sleeping for a set time, until something has come about in another thread.
pub fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "never came about: {what}");
        thread::yield_now();
    }
}

/// Holds a load up until the test opens it.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub fn pass(&self) {
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(open, |open| !*open).unwrap());
    }
}

/// How a load ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    Value(u64),
    Fail(&'static str),
    Panic,
}

/// A loader that counts its calls, can be held up at a gate, and ends as it is told.
#[derive(Clone)]
pub struct Loader {
    pub end: End,
    pub gate: Option<Gate>,
    pub calls: Arc<AtomicUsize>,
}

impl Loader {
    pub fn new(end: End) -> Self {
        Self { end, gate: None, calls: Arc::default() }
    }

    pub fn gated(end: End) -> (Self, Gate) {
        let gate = Gate::default();
        (Self { gate: Some(gate.clone()), ..Self::new(end) }, gate)
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Waits until this many calls have begun.
    pub fn begun(&self, calls: usize) {
        until("a load begins", || self.calls() >= calls);
    }

    pub fn run(&self) -> Result<u64, Broken> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = &self.gate {
            gate.pass();
        }
        match self.end {
            End::Value(value) => Ok(value),
            End::Fail(why) => Err(Broken(why)),
            End::Panic => panic!("the loader panics, as it was told to"),
        }
    }
}

/// What a caller got.
#[derive(Clone, Debug)]
pub enum Answer {
    Value(u64),
    Error(LoadError<Broken>),
    Panicked,
}

impl Answer {
    pub fn value(&self) -> u64 {
        match self {
            Self::Value(value) => *value,
            other => panic!("a value was expected, not {other:?}"),
        }
    }

    pub fn load_error(&self) -> &Broken {
        match self {
            Self::Error(LoadError::Load(error)) => error,
            other => panic!("an error of the load was expected, not {other:?}"),
        }
    }

    pub fn panicked(&self) -> bool {
        matches!(self, Self::Panicked)
    }
}

/// A caller at work.
pub struct Caller<'s>(ScopedJoinHandle<'s, Answer>);

impl Caller<'_> {
    pub fn answer(self) -> Answer {
        self.0.join().unwrap()
    }
}

/// Starts a caller who asks for `key` by the fallible verb.
pub fn ask<'s, S: BuildHasher + Sync>(
    scope: &'s Scope<'s, '_>,
    cache: &'s TestCache<S>,
    key: Key,
    loader: &Loader,
) -> Caller<'s> {
    let loader = loader.clone();
    Caller(spawn(scope, move || match catch_unwind(AssertUnwindSafe(|| cache.try_get_with(&key, || loader.run()))) {
        Ok(Ok(value)) => Answer::Value(value),
        Ok(Err(error)) => Answer::Error(error),
        Err(_) => Answer::Panicked,
    }))
}

/// The same by the infallible verb (the loader must not fail).
pub fn ask_infallibly<'s>(scope: &'s Scope<'s, '_>, cache: &'s TestCache, key: Key, loader: &Loader) -> Caller<'s> {
    let loader = loader.clone();
    Caller(spawn(scope, move || {
        match catch_unwind(AssertUnwindSafe(|| cache.get_with(&key, || loader.run().unwrap()))) {
            Ok(value) => Answer::Value(value),
            Err(_) => Answer::Panicked,
        }
    }))
}

/// Callers need little stack, and there are up to a thousand of them.
fn spawn<'s, T: Send + 's>(scope: &'s Scope<'s, '_>, f: impl FnOnce() -> T + Send + 's) -> ScopedJoinHandle<'s, T> {
    thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, f).unwrap()
}

/// Starts a leader whose load is held up, and `waiters` callers who are seen to wait for it.
pub fn flight<'s, S: BuildHasher + Sync>(
    scope: &'s Scope<'s, '_>,
    cache: &'s TestCache<S>,
    key: Key,
    loader: &Loader,
    waiters: usize,
    theirs: &Loader,
) -> (Caller<'s>, Vec<Caller<'s>>) {
    let (begun, coalesced) = (loader.calls(), cache.stats().coalesced);
    let leader = ask(scope, cache, key, loader);
    loader.begun(begun + 1);
    let waiting = (0..waiters).map(|_| ask(scope, cache, key, theirs)).collect();
    waiting_for(cache, coalesced + waiters as u64);
    (leader, waiting)
}

/// Until this many callers have ever been counted as waiting.
pub fn waiting_for<S: BuildHasher>(cache: &TestCache<S>, coalesced: u64) {
    until("callers wait", || cache.stats().coalesced >= coalesced);
}

/// A builder with a capacity of 100, a manual clock that is its timer too, and a seed.
pub fn timed() -> (Builder<Key, u64>, ManualClock) {
    let clock = ManualClock::new();
    // Off the origin, so that a clock can step back.
    clock.advance(1000 * SECOND);
    (Cache::builder().max_capacity(100).clock(clock.clone()).timer(clock.clone()).seed(7), clock)
}

/// A cache with a TTL of ten seconds and without early refresh.
pub fn ten_seconds() -> (TestCache, ManualClock) {
    let (builder, clock) = timed();
    (builder.time_to_live(10 * SECOND).xfetch(0.0).build().unwrap(), clock)
}

/// A cache whose leaders are given three seconds.
pub fn three_seconds(set: impl FnOnce(Builder<Key, u64>) -> Builder<Key, u64>) -> (TestCache, ManualClock) {
    let (builder, clock) = timed();
    (set(builder.lead_timeout(3 * SECOND)).build().unwrap(), clock)
}

/// The lease of key 1, which nobody has, and which has no good value.
pub fn lead(cache: &TestCache) -> Lease<'_, Key, u64> {
    match cache.lease(&1) {
        Lookup::Lead(lease) => lease,
        other => panic!("{other:?}"),
    }
}

/// Overwrites key 1 so many times, the last time with `times - 1`; the most bytes that were retired meanwhile. (It looks at every
/// sixteenth, as a look takes longer than an insert.)
pub fn most_retired(cache: &TestCache, times: u64) -> u64 {
    let mut most = 0;
    for value in 0..times {
        cache.insert(1, value);
        if value % 16 == 0 {
            most = most.max(cache.stats().retired_bytes);
        }
    }
    most
}

/// A cache whose next read-through of key 1, holding value 1, refreshes it early for sure.
pub fn due_for_early_refresh() -> (TestCache, ManualClock) {
    let (builder, clock) = timed();
    let cache: TestCache = builder.time_to_live(10 * SECOND).xfetch(1e9).build().unwrap();
    cache.get_with(&1, || {
        clock.advance(SECOND);
        1
    });
    (cache, clock)
}

/// Sends every key to one bucket, in one order.
#[derive(Clone, Copy, Default)]
pub struct Constant;

/// Hashes integers well, and the same in every run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        let x = self.0.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 31)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 29)
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are integers");
    }
    fn write_u32(&mut self, key: u32) {
        self.write_u64(key.into());
    }
    fn write_u64(&mut self, key: u64) {
        self.0 = key.wrapping_add(0x9E37_79B9_7F4A_7C15);
    }
}

impl BuildHasher for Spread {
    type Hasher = Self;
    fn build_hasher(&self) -> Self {
        Self::default()
    }
}

impl BuildHasher for Constant {
    type Hasher = Constant;
    fn build_hasher(&self) -> Constant {
        Constant
    }
}

impl Hasher for Constant {
    fn finish(&self) -> u64 {
        42
    }
    fn write(&mut self, _: &[u8]) {}
}

/// Counts what is alive: constructed minus dropped.
#[derive(Clone, Default)]
pub struct Census(Arc<AtomicIsize>);

impl Census {
    pub fn alive(&self) -> isize {
        self.0.load(Ordering::SeqCst)
    }

    pub fn member<T>(&self, what: T) -> Member<T> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Member { what, census: self.clone(), dropped: AtomicBool::new(false) }
    }
}

/// A value that is counted while it is alive, and notices when it is dropped twice.
pub struct Member<T> {
    pub what: T,
    census: Census,
    dropped: AtomicBool,
}

impl<T: Clone> Clone for Member<T> {
    fn clone(&self) -> Self {
        self.census.member(self.what.clone())
    }
}

impl<T: PartialEq> PartialEq for Member<T> {
    fn eq(&self, other: &Self) -> bool {
        self.what == other.what
    }
}
impl<T: Eq> Eq for Member<T> {}

impl<T: std::hash::Hash> std::hash::Hash for Member<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.what.hash(state);
    }
}

impl<T> Drop for Member<T> {
    fn drop(&mut self) {
        assert!(!self.dropped.swap(true, Ordering::SeqCst), "dropped twice");
        self.census.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Runs `f` without a panic message of its own threads on the terminal.
pub fn quietly<R>(f: impl FnOnce() -> R) -> R {
    use std::sync::Once;
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let told = info.payload().downcast_ref::<&str>().is_some_and(|s| s.contains("as it was told to"));
            if !told {
                usual(info);
            }
        }));
    });
    f()
}

/// That nothing of the flight is left.
pub fn nothing_in_flight<S: BuildHasher>(cache: &TestCache<S>, key: Key) {
    assert!(!cache.is_loading(&key), "a flight was left behind");
    assert_eq!(cache.len(), cache.iter().count(), "len differs from a walk");
}
