//! Helpers of the loom models in `tests/`. Empty without `--cfg loom`; see README.md.
#![cfg(loom)]

use bellwether::{Builder, Cache, Entry, Lease, Lookup, RemovalCause, Waited, Waiter};
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

pub use loom::thread::spawn;

/// Explores `script` with every schedule of at most `preemptions` preemptions, and says how many there were.
/// `LOOM_MAX_PREEMPTIONS` overrides the number.
pub fn model(preemptions: usize, script: impl Fn() + Send + Sync + 'static) {
    let executions = Arc::new(AtomicUsize::new(0));
    let mut builder = loom::model::Builder::new();
    let preemptions = *builder.preemption_bound.get_or_insert(preemptions);
    // More, and loom's own clocks (of 16 bits) might wrap before it says that something makes no progress.
    builder.max_branches = 20_000;
    let (count, begun) = (executions.clone(), Instant::now());
    builder.check(move || {
        count.fetch_add(1, Relaxed);
        script();
    });
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    println!("model {name}: bound {preemptions}, {} executions, {:.2?}", executions.load(Relaxed), begun.elapsed());
}

/// Runs the model `name` of this test binary in a process of its own, with the bug `mutant` injected, and expects it to
/// fail: with one preemption, which is soon done, or with as many as the model has. A child, because loom may abort where a
/// model deadlocks or panics on several threads.
pub fn caught(name: &str, mutant: &str) {
    let exe = std::env::current_exe().expect("the path of the test binary");
    let begun = Instant::now();
    for bound in [Some("1"), None] {
        let mut child = std::process::Command::new(&exe);
        child
            .args(["--exact", name, "--include-ignored", "--nocapture", "--test-threads=1"])
            .env("BELLWETHER_MUTANT", mutant);
        child.envs(bound.map(|bound| ("LOOM_MAX_PREEMPTIONS", bound)));
        let out = child.output().expect("the test binary runs");
        let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(stdout.contains("running 1 test"), "no model is named {name}:\n{stdout}{stderr}");
        if !out.status.success() {
            let said = stderr.lines().skip_while(|l| !l.starts_with("thread ")).nth(1).unwrap_or("");
            let bound = bound.unwrap_or("its own");
            println!("mutant «{mutant}» caught by {name} in {:.2?}, bound {bound}: {said}", begun.elapsed());
            return;
        }
    }
    panic!("the model {name} does not see the bug «{mutant}»");
}

/// For each model the bugs that it must see: one test a model, `bugs::` and its name.
#[macro_export]
macro_rules! bugs {
    ($($model:ident: $($mutant:literal),+;)*) => {
        mod bugs {
            $(#[test]
            fn $model() {
                let _exists = super::$model;
                $($crate::caught(stringify!($model), $mutant);)+
            })*
        }
    };
}

/// A value that loom watches: it panics if one leaks, if one is dropped twice, and if one is read without having been
/// published properly, or while or after it is dropped.
#[derive(Debug)]
pub struct Value {
    number: loom::cell::UnsafeCell<u32>,
    drops: loom::sync::Arc<()>,
}

impl Value {
    /// A value that reads `number`.
    pub fn new(number: u32) -> Self {
        Self { number: loom::cell::UnsafeCell::new(number), drops: loom::sync::Arc::new(()) }
    }

    /// The number, by an access that loom checks.
    pub fn read(&self) -> u32 {
        // SAFETY: written at creation only; loom checks that this happened before.
        self.number.with(|n| unsafe { *n })
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        Self::new(self.read())
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // A write, to loom: every read must have happened before.
        self.number.with_mut(|_| ());
        let _ = &self.drops;
    }
}

// SAFETY: loom checks every access to the cell.
unsafe impl Send for Value {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Value {}

/// Hashes a `u64` to itself: the key says its bucket, and keys that differ by 2³² collide in the order of the list.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain(u64);

impl BuildHasher for Plain {
    type Hasher = Self;
    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u64")
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// A key of bucket 0, and `SAME` one of the same hash (of the bits that count).
pub const KEY: u64 = 0;
/// Collides with [`KEY`], and is not equal to it.
pub const SAME: u64 = 1 << 32;
/// A third one.
pub const SAME_TOO: u64 = 2 << 32;

/// The cache of the models.
pub type Models = Cache<u64, Value, Plain>;
/// Shared by the threads of a model.
pub type Shared = Arc<Models>;
/// A lease of any cache here.
pub type Led = Lease<'static, u64, Value>;
/// A waiter of any cache here.
pub type Waits = Waiter<'static, u64, Value>;
/// An entry of any cache here.
pub type Got = Entry<'static, u64, Value>;

/// What the listener was told.
#[derive(Clone, Debug, Default)]
pub struct Told(Arc<std::sync::Mutex<Vec<(u64, u32, RemovalCause)>>>);

impl Told {
    /// Everything so far.
    pub fn all(&self) -> Vec<(u64, u32, RemovalCause)> {
        self.0.lock().unwrap().clone()
    }

    /// The listener that tells.
    pub fn listener(&self) -> impl Fn(&u64, &Value, RemovalCause) + Send + Sync + 'static {
        let log = self.0.clone();
        move |key, value, cause| {
            let line = (*key, value.read(), cause);
            log.lock().unwrap().push(line);
        }
    }

    /// How often the listener was called.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// A builder with this capacity, and with as many buckets as there can be under loom.
pub fn builder(capacity: u64) -> Builder<u64, Value, Plain> {
    growing(capacity).initial_capacity(4)
}

/// The same with one bucket to begin with.
pub fn growing(capacity: u64) -> Builder<u64, Value, Plain> {
    Cache::builder().max_capacity(capacity).shards(1).seed(1).hasher(Plain::default())
}

/// A cache without listener and expiry.
pub fn cache(capacity: u64) -> Shared {
    warmed(share(builder(capacity)), &Told::default())
}

/// Has a cache make the first segment of its ring: with that, two first insertions at once would be too many schedules.
pub fn warmed(cache: Shared, told: &Told) -> Shared {
    cache.insert(64, Value::new(1));
    assert!(cache.invalidate(&64));
    cache.purge_expired();
    told.0.lock().unwrap().clear();
    cache
}

/// Builds and shares.
pub fn share(builder: Builder<u64, Value, Plain>) -> Shared {
    Arc::new(builder.build().expect("a valid configuration"))
}

/// A cache, and what its listener is told.
pub fn listened(capacity: u64) -> (Shared, Told) {
    let told = Told::default();
    (warmed(share(builder(capacity).eviction_listener(told.listener())), &told), told)
}

/// The same, where a value weighs what it reads.
pub fn weighed(capacity: u64) -> (Shared, Told) {
    let told = Told::default();
    let builder = builder(capacity).weigher(|_, value: &Value| value.read());
    (warmed(share(builder.eviction_listener(told.listener())), &told), told)
}

/// A clock that loom does not see: models never move it while threads run.
#[derive(Clone, Debug, Default)]
pub struct Still(Arc<std::sync::atomic::AtomicU64>);

impl Still {
    /// Moves the time on by a second.
    pub fn tick(&self) {
        self.0.fetch_add(1_000_000_000, Relaxed);
    }
}

impl bellwether::Clock for Still {
    fn now(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The timer of a clock that stands [`Still`] while threads run: nobody is ever to be woken.
#[derive(Clone, Copy, Debug)]
pub struct Never;

impl bellwether::Timer for Never {
    fn wake_at(&self, _: u64, _: std::task::Waker) {}
}

/// A cache whose `KEY` has the value 1, which has just expired: who asks refreshes it.
pub fn expired() -> Shared {
    expired_and_listened().0
}

/// The same, and what its listener is told.
pub fn expired_and_listened() -> (Shared, Told) {
    expired_of(10)
}

/// The same with this capacity.
pub fn expired_of(capacity: u64) -> (Shared, Told) {
    expired_with(builder(capacity))
}

/// The same, built like this.
pub fn expired_with(builder: Builder<u64, Value, Plain>) -> (Shared, Told) {
    let (clock, told) = (Still::default(), Told::default());
    let builder = builder.time_to_live(Duration::from_secs(1)).clock(clock.clone());
    let cache = share(builder.eviction_listener(told.listener()));
    cache.insert(KEY, Value::new(1));
    clock.tick();
    (cache, told)
}

/// Asks for `KEY`, with handles that can go to a thread.
pub fn ask(cache: &Shared) -> Lookup<'static, u64, Value> {
    cache.lease_owned(&KEY)
}

/// Asks for `KEY`, which must be for this caller to load.
pub fn lead(cache: &Shared) -> Led {
    lead_for(cache, KEY)
}

/// Asks for a key, which must be for this caller to load.
pub fn lead_for(cache: &Shared, key: u64) -> Led {
    match cache.lease_owned(&key) {
        Lookup::Lead(lease) => lease,
        other => panic!("expected to lead, got {other:?}"),
    }
}

/// Asks for `KEY`, which must be loading.
pub fn wait(cache: &Shared) -> Waits {
    wait_for(cache, KEY)
}

/// Asks for a key, which must be loading.
pub fn wait_for(cache: &Shared, key: u64) -> Waits {
    match cache.lease_owned(&key) {
        Lookup::Wait(waiter) => waiter,
        other => panic!("expected to wait, got {other:?}"),
    }
}

/// Waits, loads what it comes to lead, and gives the number it ends up with; None: no value, look again.
pub fn answer(waiter: Waits, load: u32) -> Option<u32> {
    outcome(waiter.wait(), load)
}

/// The same as a task. (A thread that waits until a time by another clock than the system's is parked by std, unseen by loom.)
pub fn polled(waiter: Waits, load: u32) -> Option<u32> {
    let (mut waiter, waker) = (pin!(waiter), Waker::from(Arc::new(Unpark(loom::thread::current()))));
    loop {
        match waiter.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(waited) => return outcome(waited, load),
            Poll::Pending => loom::thread::park(),
        }
    }
}

/// Polls a task to its end.
pub fn run<T>(task: impl Future<Output = T>) -> T {
    let (mut task, waker) = (pin!(task), Waker::from(Arc::new(Unpark(loom::thread::current()))));
    loop {
        match task.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => loom::thread::park(),
        }
    }
}

/// A thread of loom's as a waker. (The wakers of `loom::future::block_on` deny that they wake what their clones do.)
struct Unpark(loom::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Whether a waiter that was polled once, by nobody's waker, sleeps.
pub fn asleep(waiter: &mut Waits) -> bool {
    Pin::new(waiter).poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

/// What [`answer`] makes of how a wait ended.
pub fn outcome(waited: Waited<'static, u64, Value>, load: u32) -> Option<u32> {
    match waited {
        Waited::Ready(entry) => Some(entry.read()),
        Waited::Lead(lease) => Some(fulfil(lease, load)),
        Waited::Failed(error) => Some(error.downcast_ref::<Value>().expect("the leader's error").read()),
        Waited::Abandoned => None,
        other => panic!("{other:?}"),
    }
}

/// Fulfils a lease; the number of the entry, stored or only handed over.
pub fn fulfil(lease: Led, number: u32) -> u32 {
    let (Ok(entry) | Err(entry)) = lease.fulfil(Value::new(number));
    entry.read()
}

/// Read-through by hand: looks again until it has a value.
pub fn load(cache: &Shared, number: u32) -> u32 {
    loop {
        let got = match ask(cache) {
            Lookup::Hit(entry) => Some(entry.read()),
            Lookup::Lead(lease) => Some(fulfil(lease, number)),
            Lookup::Wait(waiter) => answer(waiter, number),
            other => panic!("{other:?}"),
        };
        if let Some(number) = got {
            return number;
        }
    }
}

/// Nothing is in flight, and this is the value.
pub fn landed(cache: &Shared, number: Option<u32>) {
    assert!(!cache.is_loading(&KEY), "a flight was left behind");
    assert_eq!(cache.get_ref(&KEY).map(|v| v.read()), number);
    let stored = usize::from(number.is_some());
    assert_eq!((cache.len(), cache.weight()), (stored, stored as u64));
}

/// Two threads do something with a cache that is `ready`. Who of them is started by the other makes a difference to what
/// loom explores (it looks for a conflict at the last access of an atomic only), so both ways.
pub fn two<R: 'static>(
    preemptions: usize,
    ready: fn() -> (Shared, Told),
    one: fn(&Shared) -> R,
    other: fn(&Shared) -> R,
    then: fn(&Shared, &Told, R, R),
) {
    for swapped in [false, true] {
        model(preemptions, move || {
            let (cache, told) = ready();
            let (first, second) = if swapped { (other, one) } else { (one, other) };
            let shared = cache.clone();
            let thread = spawn(move || second(&shared));
            let (a, b) = (first(&cache), thread.join().unwrap());
            let (a, b) = if swapped { (b, a) } else { (a, b) };
            then(&cache, &told, a, b);
        });
    }
}

/// Everything that was stored was told of, or is still there.
pub fn all_told(cache: &Shared, told: &Told, stored: usize) {
    assert_eq!(told.count() + cache.len(), stored, "{told:?}");
    all_reached(cache, told, stored);
}

/// Everything is in its place and counted; weight is within the capacity; the hand still reaches everything; `stored` values were each told of once.
pub fn all_reached(cache: &Shared, told: &Told, stored: usize) {
    assert_eq!(cache.validate(), Ok(()));
    assert!(cache.weight() <= cache.capacity(), "{} of {}", cache.weight(), cache.capacity());
    cache.set_capacity(0);
    assert_eq!((cache.len(), cache.weight()), (0, 0), "the hand does not reach an entry");
    assert_eq!(cache.iter().count(), 0);
    assert_eq!(told.count(), stored, "{told:?}");
}

/// `told` and the cache have all that was ever stored; `number` is what a reader of `KEY` finds; nothing is in flight.
pub fn settled(cache: &Shared, told: &Told, stored: usize, number: Option<u32>) {
    assert!(!cache.is_loading(&KEY), "a flight was left behind");
    assert_eq!(cache.get_ref(&KEY).map(|v| v.read()), number);
    assert_eq!(told.count() + cache.len(), stored, "{told:?}");
    assert_eq!(cache.weight(), cache.len() as u64);
    assert_eq!(cache.validate(), Ok(()));
}
