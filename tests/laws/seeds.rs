//! What other caches test, or had to learn, about stampedes, where no other file has it yet. (Their herds, failures, deadlines
//! and cancellations are scenarios of `tests/modes`; leaders dropped at each await are in `tests/laws/tasks_cancel.rs`.)

use crate::common::tasks::*;
use crate::common::*;
use bellwether::{Cache, Clock, LoadError, Lookup, ManualClock, Ref};
use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::Waker;
use std::thread;
use std::time::Duration;

/// moka: a leader that is neither polled nor dropped. (Tasks that are only kept: `tests/features/tasks_time.rs`.)
#[test]
fn a_forgotten_leader_holds_nobody_up_for_longer_than_their_deadlines() {
    let census = Census::default();
    let clock = ManualClock::new();
    let builder = Cache::builder().max_capacity(10).clock(clock.clone()).timer(clock.clone());
    let cache: Cache<Member<u32>, Member<u64>> = builder.wait_timeout(2 * SECOND).bypass(true).build().unwrap();
    let (key, own) = (census.member(1), || async { census.member(7) });
    let Lookup::Lead(lease) = cache.lease(&key) else { panic!() };
    std::mem::forget(lease);
    let mut strict: Vec<_> =
        (0..3).map(|_| Task::new(cache.try_get_with_async(&key, || async { Ok::<_, Broken>(own().await) }))).collect();
    strict.iter_mut().for_each(Task::step);
    let mut lenient = Task::new(cache.get_with_async(&key, own));
    lenient.step();
    clock.advance(2 * SECOND);
    assert!(run(strict).into_iter().all(|told| matches!(told, Err(LoadError::TimedOut))));
    assert_eq!(lenient.finish().what, 7, "loaded for itself alone");
    assert!(cache.is_loading(&key) && cache.get(&key).is_none());
    drop((key, cache));
    assert_eq!(census.alive(), 0, "what the forgotten lease had a share of went with the cache");
}

/// Flights that are left behind, one in a great many loads, are a leak.
#[test]
fn a_million_distinct_loads_leave_no_flight() {
    // Of a million, a debug build has ten seconds' work.
    const LOADS: Key = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    let cache: TestCache = Cache::new(1000);
    let load = |key: Key| match key % 8 {
        // A task, one whose leader is dropped, and one whose load fails, among the plain ones.
        0 => assert_eq!(Task::new(cache.get_with_async(&key, async || key.into())).poll(), Some(key.into())),
        1 => drop(cache.lease(&key)),
        2 => assert!(cache.try_get_with(&key, || Err(Broken("no"))).is_err()),
        _ => assert_eq!(cache.get_with(&key, || key.into()), u64::from(key)),
    };
    thread::scope(|scope| {
        for half in 0..2 {
            let load = &load;
            scope.spawn(move || (half..LOADS).step_by(2).for_each(load));
        }
    });
    assert!((0..LOADS).all(|key| !cache.is_loading(&key)));
    assert_eq!((cache.len(), cache.weight()), (1000, 1000));
    cache.validate().unwrap();
}

/// A task that moves from one waker to the next in the moment in which its flight ends, by a value or by a hand-over.
#[test]
fn a_waker_that_is_swapped_as_the_flight_ends_is_woken() {
    for round in 0..2000 {
        let cache: TestCache = Cache::new(10);
        let (lands, side) = (round % 2 == 0, AtomicUsize::new(0));
        let Lookup::Lead(lease) = cache.lease(&1) else { panic!() };
        let [a, b]: [Arc<Wakes>; 2] = Default::default();
        let mut task = Task::new(cache.get_with_async(&1, async || 5));
        assert!(task.poll_by(&Waker::from(a)).is_none());
        let told = thread::scope(|scope| {
            // The two meet, and one of them is a little late.
            let meet = |late: usize| {
                side.fetch_add(1, SeqCst);
                until("both are there", || side.load(SeqCst) == 2);
                (0..late).for_each(|_| spin_loop());
            };
            scope.spawn(move || {
                meet(round % 100);
                if lands { drop(lease.fulfil(2)) } else { drop(lease) }
            });
            meet(100 - round % 100);
            task.poll_by(&Waker::from(b.clone())).unwrap_or_else(|| {
                until("the last waker is woken", || b.count() > 0);
                task.poll_by(&Waker::from(b.clone())).expect("it was woken to be answered")
            })
        });
        assert_eq!(told, if lands { 2 } else { 5 });
        nothing_in_flight(&cache, 1);
    }
}

/// A value that knows until when it may be seen, and notices if it is torn.
#[derive(Clone, Copy)]
struct Sealed {
    until: u64,
    seal: u64,
}

impl Sealed {
    fn until(until: u64) -> Self {
        Self { until, seal: !until }
    }
}

/// What is known of the value of key 1, while it is.
#[derive(Clone, Copy, PartialEq)]
enum Known {
    Nothing,
    Good,
    Over,
}

const STATES: [Known; 3] = [Known::Nothing, Known::Good, Known::Over];
/// In ns. No whole number of µs: the cache keeps some of its times by those.
const SPAN: u64 = 1500;
const SHORT: Duration = Duration::from_nanos(SPAN);
const NANOSECOND: Duration = Duration::from_nanos(1);

/// A cache whose one value has its time to live flipped, while others read it.
struct Flipped {
    cache: Cache<Key, Sealed>,
    clock: ManualClock,
    /// Whether a value that is renewed lives for a short time. Otherwise it has none.
    short: Arc<AtomicBool>,
    /// Counts up; the rest by three is the index of what is known.
    phase: AtomicUsize,
    /// Reads that fell into the present phase.
    reads: AtomicUsize,
    done: AtomicBool,
}

/// Ends the readers, however the flips end.
struct Done<'f>(&'f AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

impl Flipped {
    fn new() -> Self {
        let clock = ManualClock::new();
        let short: Arc<AtomicBool> = Arc::default();
        let renewed = short.clone();
        let ttl = move |_: &Key, _: &Sealed| Some(if renewed.load(SeqCst) { SHORT } else { Duration::MAX });
        let cache = Cache::builder().max_capacity(10).clock(clock.clone()).ttl_with(ttl).build().unwrap();
        let (phase, reads, done) = Default::default();
        Self { cache, clock, short, phase, reads, done }
    }

    fn now(&self) -> u64 {
        Clock::now(&self.clock)
    }

    /// Tells the readers, and lets them look.
    fn is(&self, known: Known) {
        let next = (self.phase.load(SeqCst) + 1..).find(|phase| STATES[phase % 3] == known);
        self.phase.store(next.unwrap(), SeqCst);
        self.reads.store(0, SeqCst);
        until("readers look", || known == Known::Nothing || self.reads.load(SeqCst) >= 3);
    }

    fn read(&self) {
        let (phase, before) = (self.phase.load(SeqCst), self.now());
        let read = self.cache.get_ref(&1).map(|value| (*value, Ref::expires_in(&value)));
        let (after, present) = (self.now(), self.cache.get(&1).is_some());
        if self.phase.load(SeqCst) == phase && STATES[phase % 3] != Known::Nothing {
            let good = STATES[phase % 3] == Known::Good;
            assert_eq!((read.is_some(), present), (good, good));
            self.reads.fetch_add(1, SeqCst);
        }
        let Some((value, left)) = read else { return };
        assert_eq!(value.until, !value.seal, "a torn value");
        assert!(value.until > before, "it was over before it was looked for");
        match left.map(|left| left.as_nanos() as u64) {
            None => assert_eq!(value.until, u64::MAX, "the time of another value"),
            Some(left) if value.until == u64::MAX => assert!(left <= SPAN, "no time that it was ever given"),
            Some(left) => assert!((value.until.saturating_sub(after)..=value.until - before).contains(&left)),
        }
    }

    fn while_read(&self, flip: impl Fn()) {
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !self.done.load(SeqCst) {
                        self.read();
                        thread::yield_now();
                    }
                });
            }
            let _done = Done(&self.done);
            (0..1000).for_each(|_| flip());
        });
        assert_eq!(self.cache.len(), 1);
        self.cache.validate().unwrap();
    }

    /// A short time to live goes by, to the nanosecond.
    fn runs_out(&self) {
        self.clock.advance(SHORT - NANOSECOND);
        self.is(Known::Good);
        self.is(Known::Nothing);
        self.clock.advance(NANOSECOND);
        self.is(Known::Over);
        self.is(Known::Nothing);
    }
}

#[test]
fn a_time_to_live_that_inserts_flip_is_kept_to() {
    let flipped = Flipped::new();
    flipped.while_read(|| {
        flipped.cache.insert_with_ttl(1, Sealed::until(u64::MAX), Duration::MAX);
        flipped.is(Known::Good);
        // Good throughout: the key is not absent in between.
        flipped.cache.insert_with_ttl(1, Sealed::until(flipped.now() + SPAN), SHORT);
        flipped.runs_out();
    });
}

#[test]
fn a_time_to_live_that_renewals_flip_is_kept_to() {
    let flipped = Flipped::new();
    flipped.cache.insert(1, Sealed::until(u64::MAX));
    let renew = |short| {
        flipped.short.store(short, SeqCst);
        let Lookup::Lead(lease) = flipped.cache.lease(&1) else { panic!("it is over") };
        assert!(lease.renew().is_some());
        flipped.is(Known::Good);
        flipped.is(Known::Nothing);
    };
    flipped.while_read(|| {
        assert!(flipped.cache.expire(&1));
        flipped.is(Known::Over);
        flipped.is(Known::Nothing);
        renew(true);
        flipped.runs_out();
        renew(false);
    });
}
