//! Those who wait for a load are woken, whatever the wakers of others do.

use bellwether::{Cache, Lease, Lookup, Waited, Waiter};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};

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

/// What those leave behind who do not wait for the end is cleared away while the load goes on: whoever sleeps is woken for
/// that, now and then, and sleeps on.
#[test]
fn those_who_leave_leave_nothing_behind() {
    const LEAVERS: usize = 10_000;
    let cache = Arc::new(Cache::<u32, u32>::new(10));
    let Lookup::Lead(lease) = cache.lease_owned(&1) else { panic!("nobody else loads it") };
    let (count, mut stays) = (Arc::new(Count::default()), waiter(&cache));
    let waker = Waker::from(count.clone());
    let mut woken = 0;
    assert!(poll(&mut stays, &waker).is_pending());
    for _ in 0..LEAVERS {
        let mut leaves = waiter(&cache);
        assert!(poll(&mut leaves, Waker::noop()).is_pending());
        drop(leaves);
        if count.0.load(SeqCst) > woken {
            woken = count.0.load(SeqCst);
            assert!(poll(&mut stays, &waker).is_pending());
        }
    }
    assert!((LEAVERS / 1000..=LEAVERS / 10).contains(&woken), "woken {woken} times");
    assert_eq!(lease.fulfil(7).ok().as_deref(), Some(&7));
    assert_eq!(count.0.load(SeqCst), woken + 1);
    assert!(matches!(poll(&mut stays, &waker), Poll::Ready(Waited::Ready(v)) if *v == 7));
}
