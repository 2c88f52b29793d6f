//! Everything that can be done to a cache, in small pieces.
#![allow(unreachable_pub, reason = "for the test that this is a part of")]

use super::world::{CAPACITY, Capture, Failure, Hook, Key, Value, World, called};
use crate::common::{SECOND, Spread};
use bellwether::{Cache, Entry, Loaded, Lookup, Op, Pinned, Waited};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub type Operation = (&'static str, fn(&World));

type Lease<'c> = bellwether::Lease<'c, Key, Value>;
type Waiter<'c> = bellwether::Waiter<'c, Key, Value>;

/// The same of a cache and of a pin.
macro_rules! plain {
    ($on:expr) => {
        [
            ("get", |w| (1..=5).for_each(|n| drop($on(w).get(&w.query(n))))),
            ("get_ref", |w| (1..=5).for_each(|n| _ = $on(w).get_ref(&w.query(n)).map(|found| found.n()))),
            ("get_entry", |w| {
                let entries: Vec<_> = (1..=5).filter_map(|n| $on(w).get_entry(&w.query(n))).collect();
                w.cache.invalidate_all();
                drop(entries.clone());
                drop(entries);
            }),
            ("get_many", |w| {
                let queries: Vec<_> = (1..=20).map(|n| w.query(n)).collect();
                drop($on(w).get_many(&queries));
            }),
            ("peek", |w| (1..=5).for_each(|n| _ = $on(w).peek(&w.query(n)).map(|found| found.n()))),
            ("contains_key", |w| assert!((5..=8).all(|n| !$on(w).contains_key(&w.query(n))))),
            ("is_loading", |w| assert!((1..=8).all(|n| !$on(w).is_loading(&w.query(n))))),
            ("iter", |w| $on(w).iter().for_each(|found| assert!(found.n() < 5))),
            ("insert a new one", |w| $on(w).insert(w.key(5), w.value(5))),
            ("insert another", |w| [1, 3, 4].iter().for_each(|&n| $on(w).insert(w.key(n), w.value(n)))),
            ("insert many", |w| (1..=30).for_each(|n| $on(w).insert(w.key(n % 12), w.value(n % 12)))),
            ("insert for a while", |w| (2..=6).for_each(|n| $on(w).insert_with_ttl(w.key(n), w.value(n), SECOND))),
            ("insert for no time", |w| {
                (1..=5).for_each(|n| $on(w).insert_with_ttl(w.key(n), w.value(n), Duration::ZERO))
            }),
            ("remove", |w| (1..=5).for_each(|n| drop($on(w).remove(&w.query(n))))),
            ("remove_if", |w| {
                for n in 1..=5 {
                    let capture = Capture::new(n, &w.census);
                    let doomed = move |_: &_, _: &_| (called(Hook::Closure), capture.n() < 4).1;
                    drop($on(w).remove_if(&w.query(n), doomed));
                }
            }),
            ("invalidate", |w| (1..=5).for_each(|n| _ = $on(w).invalidate(&w.query(n)))),
            ("expire", |w| (1..=5).for_each(|n| _ = $on(w).expire(&w.query(n)))),
            ("invalidate_all", |w| $on(w).invalidate_all()),
            ("retain", |w| {
                let capture = Capture::new(3, &w.census);
                $on(w).retain(|_, value| (called(Hook::Closure), value.n() == capture.n()).1);
            }),
            ("purge_expired", |w| _ = $on(w).purge_expired()),
            ("set_capacity", |w| {
                $on(w).set_capacity(150);
                $on(w).set_capacity(CAPACITY);
            }),
        ]
    };
}

pub const ON_CACHE: [Operation; 21] = plain!(cache_of);
pub const ON_PIN: [Operation; 21] = plain!(pin_of);

fn cache_of(w: &World) -> &Cache<Key, Value, Spread> {
    &w.cache
}

fn pin_of(w: &World) -> Pinned<'_, Key, Value, Spread> {
    w.cache.pin()
}

/// Several under one pin, which ends after all of them.
pub const UNDER_ONE_PIN: [Operation; 3] = [
    ("writes under one pin", |w| {
        let pin = w.cache.pin();
        (3..=9).for_each(|n| pin.insert(w.key(n), w.value(n)));
        drop(pin.remove(&w.query(9)));
        pin.insert_with_ttl(w.key(8), w.value(8), Duration::ZERO);
        pin.retain(|key, _| key.n() % 2 == 0);
        let entry = pin.get_entry(&w.query(6));
        drop(pin);
        drop(entry);
    }),
    ("a registration", |w| {
        let local = w.cache.register();
        local.pin().insert(w.key(5), w.value(5));
        drop(local.pin().remove(&w.query(3)));
        if let Lookup::Lead(lease) = local.lease(&w.query(6)) {
            drop(lease.fulfil(w.value(6)));
        }
    }),
    ("tags", |w| {
        (3..=5).for_each(|n| w.cache.insert(w.key(n), w.value(n)));
        (3..=5_u32).for_each(|n| w.cache.invalidate_tag(&n));
        (3..=5).for_each(|n| drop(w.cache.get(&w.query(n))));
        _ = w.cache.purge_expired();
    }),
];

pub const READ_THROUGH: [Operation; 21] = [
    ("get_with", |w| (1..=6).for_each(|n| drop(w.cache.get_with(&w.query(n), w.load(n))))),
    ("try_get_with", |w| {
        for n in 1..=6 {
            let load = w.load(n);
            drop(w.cache.try_get_with(&w.query(n), || Ok::<_, Failure>(load())));
        }
    }),
    ("try_get_with that fails", |w| {
        (1..=6).for_each(|n| drop(w.cache.try_get_with(&w.query(n), w.fail(n))));
        (1..=6).for_each(|n| drop(w.cache.try_get_with(&w.query(n), w.fail(n))));
    }),
    ("get_with of its own key", |w| {
        for n in [1, 5] {
            drop(w.cache.get_with(&w.query(n), || {
                drop(w.cache.try_get_with(&w.query(n), w.fail(n)));
                w.cache.get_with(&w.query(n), w.load(n))
            }));
        }
    }),
    ("get_with of what is removed meanwhile", |w| {
        for n in [1, 3, 5] {
            drop(w.cache.get_with(&w.query(n), || {
                drop(w.cache.remove(&w.query(n)));
                w.value(n)
            }));
        }
    }),
    ("compute", |w| {
        for n in [1, 3, 5] {
            w.cache.compute(&w.query(n), |_| (called(Hook::Closure), Op::Put(w.value(n))).1);
            w.cache.compute(&w.query(n), |_| (called(Hook::Closure), Op::Nop).1);
            w.cache.compute(&w.query(n), |_| (called(Hook::Closure), Op::Remove).1);
        }
    }),
    ("get_with_async", |w| {
        (1..=6).for_each(|n| drop(w.poll(3, w.cache.get_with_async(&w.query(n), w.load_async(n)))));
    }),
    ("get_with_async that is dropped", |w| {
        (1..=6).for_each(|n| drop(w.poll(1, w.cache.get_with_async(&w.query(n), w.load_async(n)))));
    }),
    ("try_get_with_async", |w| {
        for n in 1..=6 {
            let fail = w.fail(n);
            drop(w.poll(2, w.cache.try_get_with_async(&w.query(n), || async { fail() })));
        }
    }),
    ("waits of tasks", |w| {
        let query = w.query(5);
        let mut first = Box::pin(w.cache.get_with_async(&query, w.load_async(5)));
        let mut second = Box::pin(w.cache.get_with_async(&query, w.load_async(5)));
        let (one, two) = (w.waker(), w.waker());
        drop(first.as_mut().poll_by(&one));
        drop(second.as_mut().poll_by(&two));
        drop(second.as_mut().poll_by(&one));
        drop(first.as_mut().poll_by(&one));
        drop(second.as_mut().poll_by(&two));
    }),
    ("a load that is handed over", |w| {
        let query = w.query(5);
        let mut first = Box::pin(w.cache.get_with_async(&query, w.load_async(5)));
        let mut second = Box::pin(w.cache.get_with_async(&query, w.load_async(5)));
        let waker = w.waker();
        drop(first.as_mut().poll_by(&waker));
        drop(second.as_mut().poll_by(&waker));
        drop(first);
        drop(second.as_mut().poll_by(&waker));
        drop(second.as_mut().poll_by(&waker));
    }),
    ("entry", |w| {
        (1..=6).for_each(|n| drop(w.cache.entry(&w.query(n)).ttl(SECOND).get_with(w.load(n))));
        (1..=6).for_each(|n| drop(w.cache.entry(&w.query(n)).ttl(Duration::ZERO).try_get_with(w.fail(n))));
    }),
    ("entry of its own key", |w| {
        for n in [1, 5] {
            drop(w.cache.entry(&w.query(n)).get_with(|| {
                drop(w.cache.entry(&w.query(n)).try_get_with(w.fail(n)));
                drop(w.cache.entry(&w.query(n)).get_with(w.load(n)));
                w.value(n)
            }));
        }
    }),
    ("entry for tasks", |w| {
        (1..=6).for_each(|n| drop(w.poll(3, w.cache.entry(&w.query(n)).get_with_async(w.load_async(n)))));
        for n in 1..=6 {
            let fail = w.fail(n);
            drop(w.poll(3, w.cache.entry(&w.query(n)).try_get_with_async(|| async { fail() })));
        }
    }),
    ("revalidate_with", |w| {
        for n in 1..=6 {
            let load = |old: Option<Entry<'_, _, _>>| {
                called(Hook::Loader);
                drop(old);
                Ok::<_, Failure>(match n {
                    1 | 3 | 5 => Loaded::NotModified,
                    2 => Loaded::Unstored(w.value(n)),
                    4 => Loaded::NewFor(w.value(n), SECOND),
                    _ => Loaded::New(w.value(n)),
                })
            };
            drop(w.cache.entry(&w.query(n)).revalidate_with(load));
        }
    }),
    ("revalidate_with for tasks", |w| {
        for n in 1..=6 {
            let query = w.query(n);
            let found = w.cache.entry(&query).revalidate_with_async(|old| async move {
                called(Hook::Loader);
                drop(old);
                if n > 2 { Err(w.error(n)) } else { Ok(Loaded::NotModified) }
            });
            drop(w.poll(2, found));
        }
    }),
    ("detached", |w| {
        w.elsewhere();
        (1..=6).for_each(|n| drop(w.cache.cache().detached(&w.query(n)).try_get_with(w.fail(n))));
        (1..=6).for_each(|n| drop(w.cache.cache().detached(&w.query(n)).get_with(w.load(n))));
    }),
    ("detached for tasks", |w| {
        (1..=6).for_each(|n| drop(w.poll(3, w.cache.cache().detached(&w.query(n)).get_with_async(w.load_async(n)))));
        for n in 1..=6 {
            let fail = w.fail(n);
            drop(w.poll(3, w.cache.cache().detached(&w.query(n)).try_get_with_async(|| async { fail() })));
        }
    }),
    ("load", |w| {
        w.elsewhere();
        [1, 3, 4, 5, 9, 9].iter().for_each(|&n| drop(w.cache.load(&w.query(n))));
    }),
    ("load_async", |w| {
        [1, 3, 4, 5, 9, 9].iter().for_each(|&n| drop(w.poll(3, w.cache.load_async(&w.query(n)))));
    }),
    ("refresh", |w| {
        [1, 3, 5, 9].iter().for_each(|&n| _ = w.cache.refresh(&w.query(n)));
        w.run_jobs();
        [2, 4, 6, 9].iter().for_each(|&n| _ = w.cache.refresh_async(&w.query(n)));
        w.run_jobs();
    }),
];

pub const BULK: [Operation; 3] = [
    ("load_all", |w| {
        w.elsewhere();
        drop(w.cache.load_all(&[1, 3, 5, 5, 9].map(|n| w.query(n))));
    }),
    ("load_all with one that another has", |w| {
        w.elsewhere();
        let queries = [5, 6, 9].map(|n| w.query(n));
        let lease = led(w, 6);
        drop(lease.fulfil(w.value(6)));
        drop(w.cache.load_all(&queries));
    }),
    ("load_all_async", |w| {
        let queries = [1, 3, 5, 5, 9].map(|n| w.query(n));
        drop(w.poll(3, w.cache.load_all_async(&queries)));
    }),
];

/// The lease of a key that nobody has.
fn led(w: &World, n: u32) -> Lease<'_> {
    loop {
        match w.cache.lease(&w.query(n)) {
            Lookup::Lead(lease) | Lookup::Refresh(_, lease) => return lease,
            Lookup::Hit(_) => _ = w.cache.invalidate(&w.query(n)),
            _ => panic!("there is nobody else"),
        }
    }
}

/// A lease of each sort: of a key that is there, over, and missing.
fn leases(w: &World) -> impl Iterator<Item = Lease<'_>> {
    [1, 2, 3, 5].into_iter().filter_map(|n| match w.cache.lease(&w.query(n)) {
        Lookup::Lead(lease) | Lookup::Refresh(_, lease) => Some(lease),
        _ => None,
    })
}

fn waiting(w: &World, n: u32) -> Option<Waiter<'_>> {
    match w.cache.lease(&w.query(n)) {
        Lookup::Wait(waiter) => Some(waiter),
        _ => None,
    }
}

pub const BY_HAND: [Operation; 16] = [
    ("fulfil", |w| {
        for lease in leases(w) {
            let value = w.value(lease.key().n());
            drop(lease.fulfil(value));
        }
    }),
    ("fulfil for no time", |w| {
        for lease in leases(w) {
            let value = w.value(lease.key().n());
            drop(lease.fulfil_with_ttl(value, Duration::ZERO));
        }
    }),
    ("fail", |w| leases(w).for_each(Lease::fail)),
    ("fail_with", |w| leases(w).for_each(|lease| lease.fail_with(w.error(1)))),
    ("renew", |w| leases(w).for_each(|lease| drop(lease.renew()))),
    ("give up", |w| leases(w).for_each(drop)),
    ("a lease that keeps the cache", |w| {
        if let Lookup::Lead(lease) = w.cache.cache().lease_owned(&w.query(5)) {
            drop(lease.fulfil(w.value(5)));
        }
    }),
    ("removed meanwhile", |w| {
        for lease in leases(w) {
            let n = lease.key().n();
            drop(w.cache.remove(&w.query(n)));
            drop(lease.fulfil(w.value(n)));
        }
    }),
    ("overwritten meanwhile", |w| {
        for lease in leases(w) {
            let n = lease.key().n();
            w.cache.insert(w.key(n), w.value(n));
            lease.fail_with(w.error(n));
        }
    }),
    ("waiting for a value", |w| {
        let (lease, waiter) = (led(w, 5), waiting(w, 5));
        let left = waiting(w, 5);
        drop(left);
        drop(lease.fulfil(w.value(5)));
        drop(waiter.map(Waiter::wait));
    }),
    ("waiting for no time", |w| {
        let (lease, waiter) = (led(w, 5), waiting(w, 5));
        let waiter = waiter.and_then(|waiter| waiter.wait_timeout(Duration::ZERO).err());
        drop(lease.fulfil(w.value(5)));
        drop(waiter.map(|waiter| waiter.wait_timeout(Duration::ZERO)));
    }),
    ("waiting for a value as a task", |w| {
        let (lease, waiter, waker) = (led(w, 5), waiting(w, 5), w.waker());
        let mut waiter = waiter.map(Box::pin);
        drop(waiter.as_mut().map(|waiter| waiter.as_mut().poll_by(&waker)));
        drop(lease.fulfil_with_ttl(w.value(5), Duration::ZERO));
        drop(waiter.as_mut().map(|waiter| waiter.as_mut().poll_by(&waker)));
    }),
    ("waiting for a failure", |w| {
        for n in [1, 5] {
            let (lease, waiter) = (led(w, n), waiting(w, n));
            lease.fail_with(w.error(n));
            drop(waiter.map(Waiter::wait));
        }
    }),
    ("waiting for a renewal", |w| {
        let (lease, waiter) = (led(w, 1), waiting(w, 1));
        drop(lease.renew());
        drop(waiter.map(Waiter::wait));
    }),
    ("waiting for one that gives up", |w| {
        for n in [1, 5] {
            let (lease, waiter) = (led(w, n), waiting(w, n));
            drop(lease);
            if let Some(Waited::Lead(lease)) = waiter.map(Waiter::wait) {
                drop(lease.fulfil(w.value(n)));
            }
        }
    }),
    ("a leader that hangs", |w| {
        for n in [1, 5] {
            let (lease, waiter, waker) = (led(w, n), waiting(w, n), w.waker());
            let mut waiter = waiter.map(Box::pin);
            drop(waiter.as_mut().map(|waiter| waiter.as_mut().poll_by(&waker)));
            w.clock.advance(4 * SECOND);
            // Taken over, where there is a time for that; else it waits on.
            let polled = waiter.as_mut().map(|waiter| waiter.as_mut().poll_by(&waker));
            if let Some(Some(Waited::Lead(other))) = polled {
                drop(other.fulfil(w.value(n)));
            }
            drop(lease.fulfil(w.value(n)));
        }
    }),
];

/// Polls a future once.
trait PollBy {
    type Output;
    fn poll_by(self, waker: &Waker) -> Option<Self::Output>;
}

impl<F: Future> PollBy for Pin<&mut F> {
    type Output = F::Output;
    fn poll_by(self, waker: &Waker) -> Option<F::Output> {
        match self.poll(&mut Context::from_waker(waker)) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }
}
