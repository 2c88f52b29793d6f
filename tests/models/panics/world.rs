//! A cache all of whose user code can be made to panic, and a count of all that is alive.
#![allow(dead_code, unreachable_pub, reason = "for the test that this is a part of")]

use crate::common::{Census, Member, SECOND, Spread, until};
use bellwether::{
    Builder, Cache, CacheEvent, Clock, Equivalent, Load, LoadAsync, LoadingCache, ManualClock, Observer, Spawn, Tags,
    Task, Timer, ToKey, Work,
};
use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Where a cache calls user code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hook {
    Hash,
    Equal,
    ToKey,
    KeyClone,
    ValueClone,
    KeyDrop,
    ValueDrop,
    ErrorDrop,
    /// Of what a closure or a future has captured.
    CaptureDrop,
    Weigher,
    TtlWith,
    TagsWith,
    Listener,
    Observer,
    Now,
    Precise,
    Timer,
    Spawner,
    Loader,
    Closure,
    Wake,
    WakerClone,
    WakerDrop,
}

impl Hook {
    pub const ALL: [Self; 23] = [
        Self::Hash,
        Self::Equal,
        Self::ToKey,
        Self::KeyClone,
        Self::ValueClone,
        Self::KeyDrop,
        Self::ValueDrop,
        Self::ErrorDrop,
        Self::CaptureDrop,
        Self::Weigher,
        Self::TtlWith,
        Self::TagsWith,
        Self::Listener,
        Self::Observer,
        Self::Now,
        Self::Precise,
        Self::Timer,
        Self::Spawner,
        Self::Loader,
        Self::Closure,
        Self::Wake,
        Self::WakerClone,
        Self::WakerDrop,
    ];
}

thread_local! { static FUSE: Cell<Option<(Hook, u32)>> = const { Cell::new(None) }; }

/// Has a hook panic at a call of this thread, once: after so many others.
pub fn arm(hook: Hook, after: u32) {
    FUSE.set(Some((hook, after)));
}

/// How many calls were left; None: it has panicked.
pub fn disarm() -> Option<u32> {
    FUSE.take().map(|(_, left)| left)
}

/// User code is called. (Not counted while the thread unwinds: a second panic would end the process.)
pub fn called(hook: Hook) {
    match FUSE.get() {
        Some((armed, left)) if armed == hook && !thread::panicking() => {
            FUSE.set(left.checked_sub(1).map(|left| (armed, left)));
            assert!(left != 0, "user code panics, as it was told to");
        }
        _ => {}
    }
}

/// What is counted while it is alive, and may panic as it is dropped.
macro_rules! counted {
    ($name:ident, $hook:ident) => {
        #[derive(Clone)]
        pub struct $name(Member<u32>);

        impl $name {
            pub fn new(n: u32, census: &Census) -> Self {
                Self(census.member(n))
            }
            pub fn n(&self) -> u32 {
                self.0.what
            }
        }
        impl Drop for $name {
            fn drop(&mut self) {
                called(Hook::$hook);
            }
        }
    };
}
counted!(RawKey, KeyDrop);
counted!(RawValue, ValueDrop);
counted!(Failure, ErrorDrop);
counted!(Capture, CaptureDrop);

pub struct Key(RawKey);
pub struct Value(RawValue);

impl Value {
    pub fn new(n: u32, census: &Census) -> Self {
        Self(RawValue::new(n, census))
    }
    pub fn n(&self) -> u32 {
        self.0.n()
    }
}
impl Key {
    pub fn new(n: u32, census: &Census) -> Self {
        Self(RawKey::new(n, census))
    }
    pub fn n(&self) -> u32 {
        self.0.n()
    }
}
impl Clone for Key {
    fn clone(&self) -> Self {
        called(Hook::KeyClone);
        Self(self.0.clone())
    }
}
impl Clone for Value {
    fn clone(&self) -> Self {
        called(Hook::ValueClone);
        Self(self.0.clone())
    }
}
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        called(Hook::Hash);
        self.n().hash(state);
    }
}
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        called(Hook::Equal);
        self.n() == other.n()
    }
}
impl Eq for Key {}

/// Asks for a key.
pub struct Query(pub u32, Census);

impl Hash for Query {
    fn hash<H: Hasher>(&self, state: &mut H) {
        called(Hook::Hash);
        self.0.hash(state);
    }
}
impl Equivalent<Key> for Query {
    fn equivalent(&self, key: &Key) -> bool {
        called(Hook::Equal);
        self.0 == key.n()
    }
}
impl ToKey<Key> for Query {
    fn to_key(&self) -> Key {
        called(Hook::ToKey);
        Key::new(self.0, &self.1)
    }
}

/// A waker that is counted.
pub fn waker(census: &Census) -> Waker {
    static TABLE: RawWakerVTable = RawWakerVTable::new(
        |data| {
            called(Hook::WakerClone);
            // SAFETY: a waker's data is a box of this type, alive as long as the waker.
            raw(unsafe { &*data.cast::<Member<Census>>() }.what.clone())
        },
        |data| {
            // SAFETY: as above; the waker ends here.
            let _waker = unsafe { Box::from_raw(data.cast_mut().cast::<Member<Census>>()) };
            called(Hook::Wake);
        },
        |_| called(Hook::Wake),
        |data| {
            // SAFETY: as above; the waker ends here.
            let _waker = unsafe { Box::from_raw(data.cast_mut().cast::<Member<Census>>()) };
            called(Hook::WakerDrop);
        },
    );
    fn raw(census: Census) -> RawWaker {
        let member = census.clone().member(census);
        RawWaker::new(Box::into_raw(Box::new(member)).cast_const().cast(), &TABLE)
    }
    // SAFETY: the table's functions do what the contract asks: each waker has a box of its own.
    unsafe { Waker::from_raw(raw(census.clone())) }
}

/// The loader of the cache: multiples of nine fail.
pub struct Loads(Census);

impl Loads {
    fn run(&self, n: u32) -> Result<Value, Failure> {
        called(Hook::Loader);
        if n % 9 == 0 { Err(Failure::new(n, &self.0)) } else { Ok(Value::new(n, &self.0)) }
    }
}
impl Load<Key, Value> for Loads {
    type Error = Failure;
    fn load(&self, key: &Key) -> Result<Value, Failure> {
        self.run(key.n())
    }
}
impl LoadAsync<Key, Value> for Loads {
    type Error = Failure;
    async fn load(&self, key: &Key) -> Result<Value, Failure> {
        self.run(key.n())
    }
}

enum Job {
    Task(Task),
    Work(Work),
}

impl Job {
    fn run(self) {
        match self {
            Self::Work(work) => work(),
            Self::Task(task) => {
                let mut task = pin!(task);
                // Nothing that these wait for comes later.
                let mut ended = || task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
                let _ = ended() || ended() || ended();
            }
        }
    }
}

/// Runs loads when it is told to, on the thread that is armed; or at once, on another one.
#[derive(Default)]
pub struct Jobs {
    queue: Mutex<VecDeque<Job>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    elsewhere: AtomicBool,
}

impl Jobs {
    fn take(&self, job: Job) {
        called(Hook::Spawner);
        if self.elsewhere.load(SeqCst) {
            self.threads.lock().unwrap().push(thread::spawn(|| job.run()));
        } else {
            self.queue.lock().unwrap().push_back(job);
        }
    }

    fn run(&self) {
        loop {
            let job = self.queue.lock().unwrap().pop_front();
            let Some(job) = job else { break };
            let _ = catch_unwind(AssertUnwindSafe(|| job.run()));
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap());
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

struct Spawner(Arc<Jobs>);

impl Spawn for Spawner {
    fn spawn(&self, task: Task) {
        self.0.take(Job::Task(task));
    }
    fn spawn_blocking(&self, work: Work) {
        self.0.take(Job::Work(work));
    }
}

struct Watch(ManualClock);

impl Clock for Watch {
    fn now(&self) -> u64 {
        called(Hook::Now);
        self.0.now()
    }
    fn precise(&self) -> u64 {
        called(Hook::Precise);
        self.0.precise()
    }
}
impl Timer for Watch {
    fn wake_at(&self, ns: u64, waker: Waker) {
        called(Hook::Timer);
        self.0.wake_at(ns, waker);
    }
}

struct Observes;

impl Observer for Observes {
    fn observe(&self, _: &str, _: &CacheEvent) {
        called(Hook::Observer);
    }
}

/// What a cache is built with, beside what all have: a weigher, a listener, an observer, a clock and a timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setting {
    Plain,
    Timed,
    Stale,
    Early,
    Tagged,
    Idle,
    Bounded,
}

pub const CAPACITY: u64 = 400;

pub struct World {
    pub cache: LoadingCache<Key, Value, Loads, Spread>,
    pub clock: ManualClock,
    pub census: Census,
    pub jobs: Arc<Jobs>,
}

impl World {
    /// Of keys 1 to 4 the first two are over, if anything ever is, and the tag of the last one is invalidated.
    pub fn new(setting: Setting) -> Self {
        let (census, clock, jobs) = (Census::default(), ManualClock::new(), Arc::<Jobs>::default());
        let builder: Builder<Key, Value, Spread> = Cache::builder()
            .max_capacity(CAPACITY)
            .hasher(Spread::default())
            .weigher(|_: &Key, _: &Value| (called(Hook::Weigher), 100).1)
            .eviction_listener(|_, _, _| called(Hook::Listener))
            .observer(Observes)
            .clock(Watch(clock.clone()))
            .timer(Watch(clock.clone()))
            .spawner(Spawner(jobs.clone()))
            .seed(7);
        let timed = |builder: Builder<_, _, _>| {
            builder.time_to_live(10 * SECOND).ttl_with(|_, _| (called(Hook::TtlWith), None::<Duration>).1)
        };
        let tags = |_: &Key, value: &Value, tags: &mut Tags<'_>| {
            called(Hook::TagsWith);
            tags.add(&value.n());
        };
        let builder = match setting {
            Setting::Plain => builder,
            Setting::Timed => timed(builder).xfetch(0.0),
            Setting::Stale => timed(builder).xfetch(0.0).stale_while_refresh(5 * SECOND).stale_if_error(5 * SECOND),
            Setting::Early => timed(builder).xfetch(1e9),
            Setting::Tagged => timed(builder).tags_with(tags).stale_if_error(5 * SECOND),
            Setting::Idle => builder.time_to_idle(10 * SECOND),
            Setting::Bounded => timed(builder)
                .stale_while_refresh(5 * SECOND)
                .max_loads(3)
                .max_waiters(1)
                .wait_timeout(20 * SECOND)
                .lead_timeout(3 * SECOND)
                .negative_ttl(5 * SECOND)
                .soft_timeout(10 * SECOND)
                .hard_timeout(30 * SECOND),
        };
        let cache = builder.loader(Loads(census.clone())).build().unwrap();
        let world = Self { cache, clock, census, jobs };
        for n in 1..=4 {
            world.cache.get_with(&world.query(n), || (world.clock.advance(SECOND), world.value(n)).1);
        }
        world.clock.advance(5 * SECOND);
        (3..=4).for_each(|n| world.cache.insert(world.key(n), world.value(n)));
        world.clock.advance(4 * SECOND);
        world.cache.invalidate_tag(&4_u32);
        world
    }

    pub fn key(&self, n: u32) -> Key {
        Key::new(n, &self.census)
    }
    pub fn value(&self, n: u32) -> Value {
        Value::new(n, &self.census)
    }
    pub fn error(&self, n: u32) -> Failure {
        Failure::new(n, &self.census)
    }
    pub fn query(&self, n: u32) -> Query {
        Query(n, self.census.clone())
    }
    pub fn waker(&self) -> Waker {
        waker(&self.census)
    }

    /// A loader, for one call.
    pub fn load(&self, n: u32) -> impl FnOnce() -> Value + Send + 'static {
        let (census, capture) = (self.census.clone(), Capture::new(n, &self.census));
        move || {
            called(Hook::Loader);
            // A local as the capture is dropped: what is just being returned would never be.
            let value = Value::new(capture.n(), &census);
            drop(capture);
            value
        }
    }

    /// One that fails.
    pub fn fail(&self, n: u32) -> impl FnOnce() -> Result<Value, Failure> + Send + 'static {
        let (census, capture) = (self.census.clone(), Capture::new(n, &self.census));
        move || {
            called(Hook::Loader);
            let error = Failure::new(capture.n(), &census);
            drop(capture);
            Err(error)
        }
    }

    /// One for tasks, pending once.
    pub fn load_async(
        &self,
        n: u32,
    ) -> impl FnOnce() -> std::pin::Pin<Box<dyn Future<Output = Value> + Send>> + Send + 'static {
        let (census, capture) = (self.census.clone(), Capture::new(n, &self.census));
        move || {
            called(Hook::Closure);
            let mut begun = false;
            Box::pin(std::future::poll_fn(move |cx| {
                if !std::mem::replace(&mut begun, true) {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                called(Hook::Loader);
                Poll::Ready(Value::new(capture.n(), &census))
            }))
        }
    }

    /// Polls a future so often; it may not have ended then, and is dropped.
    pub fn poll<T>(&self, times: usize, future: impl Future<Output = T>) -> Option<T> {
        let (mut future, mut done) = (Box::pin(future), None);
        for _ in 0..times {
            let waker = self.waker();
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(output) => {
                    done = Some(output);
                    break;
                }
                Poll::Pending => self.jobs.run(),
            }
        }
        drop(future);
        done
    }

    pub fn run_jobs(&self) {
        self.jobs.run();
    }

    /// Loads in the background run at once, on other threads: for callers who sleep.
    pub fn elsewhere(&self) {
        self.jobs.elsewhere.store(true, SeqCst);
    }

    /// That nothing is in flight, all is in its place, and the cache can be used.
    pub fn check(&self, what: &str) {
        let cache = &self.cache;
        for n in 0..20 {
            assert!(!cache.is_loading(&self.query(n)), "{what}: {n} is in flight");
        }
        cache.validate().unwrap_or_else(|why| panic!("{what}: {why}"));
        assert!(cache.weight() <= CAPACITY, "{what}: {} weigh {}", cache.len(), cache.weight());
        let leases: Vec<_> = (101..=103).map(|n| cache.lease(&self.query(n))).collect();
        let leads = leases.iter().filter(|lookup| matches!(lookup, bellwether::Lookup::Lead(_))).count();
        assert_eq!(leads, 3, "{what}: places among the loads");
        drop(leases);
        for n in (1..=8).chain(101..=103) {
            assert_eq!(cache.entry(&self.query(n)).get_with(|| self.value(n)).0.n(), n, "{what}");
        }
        // (Another thread's pin may hold up memory, and while too much of it waits nothing is kept.)
        until("a value is kept", || {
            cache.insert(self.key(7), self.value(7));
            cache.get(&self.query(7)).is_some()
        });
        self.run_jobs();
        cache.invalidate_all();
        assert_eq!((cache.len(), cache.weight()), (0, 0), "{what}");
        cache.validate().unwrap_or_else(|why| panic!("{what}: {why}"));
    }
}
