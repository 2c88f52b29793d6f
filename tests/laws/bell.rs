//! Those who wait for a load are woken, whatever the wakers of others do.

use bellwether::{Cache, Lease, Lookup, ManualClock, Waited, Waiter};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
use std::thread;
use std::time::Duration;

type Waits = Waiter<'static, u32, u32>;

fn waiter(cache: &Arc<Cache<u32, u32>>) -> Waits {
    match cache.lease_owned(&1) {
        Lookup::Wait(waiter) => waiter,
        other => panic!("it is loading, and not {other:?}"),
    }
}

fn poll(waiter: &mut Waits, waker: &Waker) -> Poll<Waited<'static, u32, u32>> {
    Pin::new(waiter).poll(&mut Context::from_waker(waker))
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("by a waker");
    }
}

/// Drops a waiter of the same flight on the spot.
struct Drops(Mutex<Option<Waits>>);

impl Wake for Drops {
    fn wake(self: Arc<Self>) {
        drop(self.0.lock().unwrap().take());
    }
}

#[test]
fn a_waker_that_panics_keeps_nobody_asleep() {
    let cache = Arc::new(Cache::<u32, u32>::new(10));
    let Lookup::Lead(lease) = cache.lease_owned(&1) else { panic!("nobody else loads it") };
    let counts: Vec<_> = (0..3).map(|_| Arc::new(Count::default())).collect();
    let mut waiters: Vec<_> = (0..5).map(|_| waiter(&cache)).collect();
    let panics = Waker::from(Arc::new(Panics));
    let count = |n: usize| Waker::from(counts[n].clone());
    let wakers = [count(0), panics.clone(), count(1), panics, count(2)];
    for (waiter, waker) in waiters.iter_mut().zip(&wakers) {
        assert!(poll(waiter, waker).is_pending());
    }
    assert!(catch_unwind(AssertUnwindSafe(|| lease.fulfil(7).is_ok())).is_err(), "the leader hears of the panic");
    assert!(counts.iter().all(|count| count.0.load(SeqCst) == 1));
    assert!(waiters.iter_mut().all(|w| matches!(poll(w, Waker::noop()), Poll::Ready(Waited::Ready(v)) if *v == 7)));
}

#[test]
fn a_waker_may_drop_a_waiter() {
    let cache = Arc::new(Cache::<u32, u32>::new(10));
    let Lookup::Lead(lease) = cache.lease_owned(&1) else { panic!("nobody else loads it") };
    let (mut one, mut two, mut dropped) = (waiter(&cache), waiter(&cache), waiter(&cache));
    let count = Arc::new(Count::default());
    assert!(poll(&mut dropped, &Waker::from(count.clone())).is_pending());
    let drops = Arc::new(Drops(Mutex::new(Some(dropped))));
    assert!(poll(&mut one, &Waker::from(drops.clone())).is_pending());
    assert!(poll(&mut two, &Waker::from(count.clone())).is_pending());
    assert_eq!(lease.fulfil(7).ok().as_deref(), Some(&7));
    assert!(drops.0.lock().unwrap().is_none(), "the waker ran");
    assert!((1..=2).contains(&count.0.load(SeqCst)));
    assert!(matches!(poll(&mut two, Waker::noop()), Poll::Ready(Waited::Ready(v)) if *v == 7));
}

/// Of a waker whose clone ends the load: after the waiter has looked, and before it sleeps.
struct Ends(Mutex<Option<Lease<'static, u32, u32>>>);

static ENDS: RawWakerVTable = RawWakerVTable::new(
    |ends| {
        // SAFETY: the waker is made of an `Ends` that outlives it.
        let lease = unsafe { &*ends.cast::<Ends>() }.0.lock().unwrap().take();
        lease.into_iter().for_each(|lease| assert!(lease.fulfil(7).is_ok()));
        RawWaker::new(ends, &ENDS)
    },
    |_| (),
    |_| (),
    |_| (),
);

#[test]
fn who_is_about_to_sleep_hears_the_bell() {
    let cache = Arc::new(Cache::<u32, u32>::new(10));
    let Lookup::Lead(lease) = cache.lease_owned(&1) else { panic!("nobody else loads it") };
    let ends = Ends(Mutex::new(Some(lease)));
    let mut waiter = waiter(&cache);
    // SAFETY: its functions do what is asked of a waker's, and `ends` outlives the waiter, and so its clones.
    let waker = unsafe { Waker::from_raw(RawWaker::new((&raw const ends).cast(), &ENDS)) };
    assert!(matches!(poll(&mut waiter, &waker), Poll::Ready(Waited::Ready(v)) if *v == 7));
}

/// A waker that panics as it is cloned, so many clones from now; it wakes nothing.
fn clones_panic(after: usize) -> Waker {
    static LEFT: AtomicUsize = AtomicUsize::new(0);
    static TABLE: RawWakerVTable = RawWakerVTable::new(
        |data| {
            assert_ne!(LEFT.fetch_sub(1, SeqCst), 1, "a clone panics, as it was told to");
            RawWaker::new(data, &TABLE)
        },
        |_| (),
        |_| (),
        |_| (),
    );
    LEFT.store(after, SeqCst);
    // SAFETY: the table's functions have no data, and do not touch it.
    unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &TABLE)) }
}

/// Whichever clone of a waker panics: polled by another afterwards, the waiter is woken, by the timer as by the bell.
#[test]
fn a_waker_whose_clone_panics_keeps_nobody_asleep() {
    let mut panics = 0;
    for after in 1..=4 {
        let (clock, timeout) = (ManualClock::new(), Duration::from_secs(2));
        let builder = Cache::<u32, u32>::builder().max_capacity(10).lead_timeout(timeout);
        let cache = Arc::new(builder.clock(clock.clone()).timer(clock.clone()).build().unwrap());
        let Lookup::Lead(_hangs) = cache.lease_owned(&1) else { panic!("nobody else loads it") };
        let Lookup::Lead(lease) = cache.lease_owned(&2) else { panic!("nobody else loads it") };
        let Lookup::Wait(mut rung) = cache.lease_owned(&2) else { panic!("it is loading") };
        let mut timed = waiter(&cache);
        for waiter in [&mut timed, &mut rung] {
            assert!(poll(waiter, Waker::noop()).is_pending());
            let by = clones_panic(after);
            panics += usize::from(catch_unwind(AssertUnwindSafe(|| poll(waiter, &by))).is_err());
        }
        let counts: [Arc<Count>; 2] = Default::default();
        assert!(poll(&mut timed, &Waker::from(counts[0].clone())).is_pending());
        assert!(poll(&mut rung, &Waker::from(counts[1].clone())).is_pending());
        assert!(lease.fulfil(7).is_ok());
        clock.advance(timeout);
        assert!(counts.iter().all(|count| count.0.load(SeqCst) > 0), "clone {after} panicked");
        assert!(matches!(poll(&mut timed, Waker::noop()), Poll::Ready(Waited::Lead(_))));
        assert!(matches!(poll(&mut rung, Waker::noop()), Poll::Ready(Waited::Ready(v)) if *v == 7));
    }
    assert_eq!(panics, 2 * 3, "two clones for the timer, and one for the bell");
}

/// Those who do not wait for the end leave nothing behind, and wake nobody.
#[test]
fn those_who_leave_wake_nobody() {
    let cache = Arc::new(Cache::<u32, u32>::new(10));
    let Lookup::Lead(lease) = cache.lease_owned(&1) else { panic!("nobody else loads it") };
    let (count, mut stays) = (Arc::new(Count::default()), waiter(&cache));
    let waker = Waker::from(count.clone());
    assert!(poll(&mut stays, &waker).is_pending());
    for _ in 0..10_000 {
        let mut leaves = waiter(&cache);
        assert!(poll(&mut leaves, Waker::noop()).is_pending());
        drop(leaves);
    }
    assert_eq!(count.0.load(SeqCst), 0);
    assert_eq!(Arc::strong_count(&count), 3, "this one, the waker above, and the waiter's");
    assert_eq!(lease.fulfil(7).ok().as_deref(), Some(&7));
    assert_eq!(count.0.load(SeqCst), 1);
    assert!(matches!(poll(&mut stays, &waker), Poll::Ready(Waited::Ready(v)) if *v == 7));
    drop((waker, stays));
    assert_eq!(Arc::strong_count(&count), 1);
}

/// When a waker of user code does something.
#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    /// As the bell rings.
    Woken,
    /// As its waiter is polled by another waker.
    Replaced,
    /// As its waiter leaves.
    Left,
    /// As the ringer drops it: its wake-up drops the waiter that it is of.
    WokenAndLeft,
}

/// What a waker of user code does.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Panics,
    /// Drops a waiter that sleeps at the same bell.
    DropsAWaiter,
    /// Asks the same cache, waits there as a task, and loads.
    CallsTheCache,
    /// Ends the load that it waits for, if that goes on.
    EndsTheLoad,
}

/// What a deed is done to.
struct Scene {
    deed: Deed,
    cache: Arc<Cache<u32, u32>>,
    lease: Mutex<Option<Lease<'static, u32, u32>>>,
    /// Another waiter, asleep.
    other: Mutex<Option<Waits>>,
    done: AtomicUsize,
}

impl Scene {
    fn act(&self) {
        self.done.fetch_add(1, SeqCst);
        match self.deed {
            Deed::Panics => panic!("by a waker, as it was told to"),
            Deed::DropsAWaiter => drop(self.other.lock().unwrap().take()),
            Deed::CallsTheCache => {
                // At so many flights, some of them are at this very bell.
                let waits = (100..300).map(|key| {
                    let Lookup::Lead(lease) = self.cache.lease_owned(&key) else { panic!("nobody else loads {key}") };
                    let Lookup::Wait(mut waiter) = self.cache.lease_owned(&key) else { panic!("{key} is loading") };
                    assert!(poll(&mut waiter, Waker::noop()).is_pending());
                    (lease, waiter)
                });
                for (lease, mut waiter) in waits.collect::<Vec<_>>() {
                    let key = *lease.key();
                    assert!(lease.fulfil(key).is_ok());
                    assert!(matches!(poll(&mut waiter, Waker::noop()), Poll::Ready(Waited::Ready(v)) if *v == key));
                    assert_eq!(self.cache.get(&key), Some(key));
                }
            }
            Deed::EndsTheLoad => self.end(),
        }
    }

    fn end(&self) {
        let lease = self.lease.lock().unwrap().take();
        lease.into_iter().for_each(|lease| assert!(lease.fulfil(7).is_ok()));
    }
}

/// A waker that does its deed once.
struct Acts {
    when: When,
    scene: Arc<Scene>,
    /// The waiter that it is of.
    own: Mutex<Option<Waits>>,
}

impl Wake for Acts {
    fn wake(self: Arc<Self>) {
        match self.when {
            When::Woken => self.scene.act(),
            When::WokenAndLeft => drop(self.own.lock().unwrap().take()),
            When::Replaced | When::Left => {}
        }
    }
}

impl Drop for Acts {
    fn drop(&mut self) {
        if self.when != When::Woken {
            self.scene.act();
        }
    }
}

/// Among tasks and threads that wait for one load there is one whose waker does this then.
fn harmless(when: When, deed: Deed) {
    let cache = Arc::new(Cache::<u32, u32>::new(1000));
    let Lookup::Lead(lease) = cache.lease_owned(&1) else { panic!("nobody else loads it") };
    let counts: [Arc<Count>; 3] = Default::default();
    let count = |n: usize| Waker::from(counts[n].clone());
    let mut other = waiter(&cache);
    assert!(poll(&mut other, Waker::noop()).is_pending());
    let (lease, other) = (Mutex::new(Some(lease)), Mutex::new(Some(other)));
    let scene = Arc::new(Scene { deed, cache: cache.clone(), lease, other, done: AtomicUsize::new(0) });
    let acts = Arc::new(Acts { when, scene: scene.clone(), own: Mutex::new(None) });

    let threads = [(); 2].map(|()| {
        let waiter = waiter(&cache);
        thread::spawn(move || matches!(waiter.wait(), Waited::Ready(v) if *v == 7))
    });
    let (mut before, mut acting, mut after) = (waiter(&cache), waiter(&cache), waiter(&cache));
    assert!(poll(&mut before, &count(0)).is_pending());
    assert!(poll(&mut acting, &Waker::from(acts.clone())).is_pending());
    assert!(poll(&mut after, &count(1)).is_pending());
    let mut acting = Some(acting);
    if when == When::WokenAndLeft {
        *acts.own.lock().unwrap() = acting.take();
    }
    // From here on the waiter's registration has the only one.
    let waker = Arc::downgrade(&acts);
    drop(acts);

    let first = catch_unwind(AssertUnwindSafe(|| match when {
        When::Replaced => drop(poll(acting.as_mut().unwrap(), &count(2))),
        When::Left => drop(acting.take()),
        When::Woken | When::WokenAndLeft => {}
    }));
    let second = catch_unwind(AssertUnwindSafe(|| scene.end()));

    let panics = usize::from(first.is_err()) + usize::from(second.is_err());
    assert_eq!(panics, usize::from(matches!(deed, Deed::Panics)), "{when:?} {deed:?}: one hears of it");
    assert_eq!(scene.done.load(SeqCst), 1, "{when:?} {deed:?}");
    let woken = [1, 1, usize::from(when == When::Replaced)];
    assert_eq!([0, 1, 2].map(|n| counts[n].0.load(SeqCst)), woken, "{when:?} {deed:?}: each of them, and once");
    assert!(threads.into_iter().all(|thread| thread.join().unwrap()), "{when:?} {deed:?}");
    for waiter in [Some(before), acting, Some(after)].iter_mut().flatten() {
        assert!(matches!(poll(waiter, Waker::noop()), Poll::Ready(Waited::Ready(v)) if *v == 7), "{when:?} {deed:?}");
    }
    assert_eq!(waker.strong_count(), 0, "{when:?} {deed:?}: it is kept by nobody");
    assert_eq!(cache.get(&1), Some(7));
}

#[test]
fn whatever_a_waker_does_as_it_is_woken_is_harmless() {
    for deed in [Deed::Panics, Deed::DropsAWaiter, Deed::CallsTheCache] {
        harmless(When::Woken, deed);
    }
}

#[test]
fn whatever_a_waker_does_as_another_takes_its_place_is_harmless() {
    for deed in [Deed::Panics, Deed::DropsAWaiter, Deed::CallsTheCache, Deed::EndsTheLoad] {
        harmless(When::Replaced, deed);
    }
}

#[test]
fn whatever_a_waker_does_as_its_waiter_leaves_is_harmless() {
    for deed in [Deed::Panics, Deed::DropsAWaiter, Deed::CallsTheCache, Deed::EndsTheLoad] {
        harmless(When::Left, deed);
    }
}

#[test]
fn whatever_a_waker_does_as_the_ringer_drops_it_is_harmless() {
    for deed in [Deed::Panics, Deed::DropsAWaiter, Deed::CallsTheCache] {
        harmless(When::WokenAndLeft, deed);
    }
}
