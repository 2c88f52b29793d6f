//! The cache in a program that has no std: a lease driven by hand, plain operations on a pin, and a clock of one's own.
//!
//! It links libc for memory and output, and nothing else. `check.sh` builds and runs it, and then sees the build fail
//! when a dependency brings std in. Exit code 0: everything held.
#![no_std]
#![no_main]

extern crate alloc;

mod host;

use alloc::{format, string::String, sync::Arc};
use bellwether::{BuildError, Cache, Clock, Lease, Local, Lookup, RemovalCause, Waited, Waiter};
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;

type Strings = Cache<String, u64>;
type Part = (&'static str, fn() -> bool);

macro_rules! hold {
    ($condition:expr) => {
        if !$condition {
            host::print(concat!("FAILED: ", stringify!($condition), " (line ", line!(), ")"));
            return false;
        }
    };
}

#[unsafe(no_mangle)]
pub extern "C" fn main() -> i32 {
    let parts: [Part; 5] = [
        ("a lease is fulfilled, and its waiter gets the value", fulfilled),
        ("a lease that is dropped goes to a waiter", handed_over),
        ("plain operations on a pin", plain),
        ("a time to live by a clock of one's own", expired),
        ("expiry without a clock is refused", refused),
    ];
    let mut failed = 0;
    for (name, part) in parts {
        let held = part();
        host::print(&format!("no_std: {} ... {}", name, if held { "ok" } else { "FAILED" }));
        failed += i32::from(!held);
    }
    if host::LIVE.load(Ordering::Relaxed) != 0 {
        host::print("FAILED: memory is left allocated after every cache was dropped");
        failed += 1;
    }
    failed
}

fn lead<'c>(
    local: &Local<'c, String, u64, bellwether::DefaultHashBuilder>,
    key: &str,
) -> Option<Lease<'c, String, u64>> {
    match local.lease(key) {
        Lookup::Lead(lease) => Some(lease),
        _ => None,
    }
}

fn join<'c>(
    local: &Local<'c, String, u64, bellwether::DefaultHashBuilder>,
    key: &str,
) -> Option<Waiter<'c, String, u64>> {
    match local.lease(key) {
        Lookup::Wait(waiter) => Some(waiter),
        _ => None,
    }
}

/// One poll, with nobody to wake.
fn poll<'c>(waiter: Pin<&mut Waiter<'c, String, u64>>) -> Poll<Waited<'c, String, u64>> {
    waiter.poll(&mut Context::from_waker(Waker::noop()))
}

fn fulfilled() -> bool {
    let cache: Strings = Cache::builder().max_capacity(10).build().unwrap();
    let local = cache.register();
    let Some(lease) = lead(&local, "answer") else { return false };
    hold!(lease.key() == "answer" && lease.stale().is_none());
    let Some(waiter) = join(&local, "answer") else { return false };
    let mut waiter = pin!(waiter);
    hold!(poll(waiter.as_mut()).is_pending());
    hold!(local.pin().is_loading("answer") && local.pin().get("answer").is_none());
    let stored = lease.fulfil(42);
    hold!(stored.is_ok_and(|entry| *entry == 42));
    hold!(matches!(poll(waiter.as_mut()), Poll::Ready(Waited::Ready(entry)) if *entry == 42));
    hold!(matches!(local.lease("answer"), Lookup::Hit(entry) if *entry == 42));
    hold!(cache.stats().loads == 1 && cache.stats().coalesced == 1);

    // The same through the cache: each call registers for itself.
    let Lookup::Lead(lease) = cache.lease("other") else { return false };
    lease.fail_with("no luck");
    hold!(matches!(cache.lease("other"), Lookup::Lead(_)));
    hold!(cache.len() == 1);
    true
}

fn handed_over() -> bool {
    let cache: Strings = Cache::builder().max_capacity(10).build().unwrap();
    let local = cache.register();
    let Some(first) = lead(&local, "k") else { return false };
    let (Some(one), Some(other)) = (join(&local, "k"), join(&local, "k")) else { return false };
    let (mut one, mut other) = (pin!(one), pin!(other));
    hold!(poll(one.as_mut()).is_pending() && poll(other.as_mut()).is_pending());
    drop(first);
    let Poll::Ready(Waited::Lead(second)) = poll(one.as_mut()) else { return false };
    hold!(poll(other.as_mut()).is_pending());
    hold!(second.fulfil(7).is_ok());
    hold!(matches!(poll(other.as_mut()), Poll::Ready(Waited::Ready(entry)) if *entry == 7));
    hold!(cache.stats().handovers == 1);

    // Nobody waits: the flight ends with its lease, and the next caller begins another.
    drop(lead(&local, "lonely"));
    hold!(!local.pin().is_loading("lonely"));
    hold!(lead(&local, "lonely").is_some());

    // An error goes to all who wait.
    let Some(failing) = lead(&local, "bad") else { return false };
    let Some(waiter) = join(&local, "bad") else { return false };
    failing.fail_with(13_u8);
    let answer = poll(pin!(waiter));
    hold!(matches!(answer, Poll::Ready(Waited::Failed(error)) if error.downcast_ref() == Some(&13_u8)));
    true
}

fn plain() -> bool {
    static REMOVED: AtomicU32 = AtomicU32::new(0);
    let count = |_: &u64, _: &u64, cause| {
        if cause != RemovalCause::Replaced {
            REMOVED.fetch_add(1, Ordering::Relaxed);
        }
    };
    let cache: Cache<u64, u64> = Cache::builder().max_capacity(100).eviction_listener(count).build().unwrap();
    let local = cache.register();
    for key in 0..1000 {
        local.pin().insert(key, 2 * key);
    }
    hold!(cache.len() == 100 && cache.weight() == 100);
    let pinned = local.pin();
    hold!(pinned.iter().count() == 100 && pinned.iter().all(|v| *v % 2 == 0));
    hold!(pinned.get(&999) == Some(1998) && pinned.get_ref(&999).as_deref() == Some(&1998));
    hold!(pinned.peek(&999).is_some() && pinned.contains_key(&999) && !pinned.contains_key(&1000));
    hold!(pinned.get_entry(&999).is_some_and(|entry| *entry == 1998));
    hold!(pinned.remove(&999) == Some(1998) && pinned.remove(&999).is_none());
    // Which of the older keys are there is up to the policy.
    pinned.insert(2000, 4000);
    hold!(pinned.remove_if(&2000, |_, v| *v == 0).is_none() && pinned.remove_if(&2000, |_, _| true) == Some(4000));
    pinned.insert(2001, 4002);
    hold!(pinned.invalidate(&2001) && !pinned.invalidate(&2001));
    pinned.retain(|k, _| k % 2 == 0);
    hold!(pinned.iter().count() == cache.len() && pinned.iter().all(|v| *v % 4 == 0));
    pinned.set_capacity(10);
    hold!(cache.weight() <= 10 && !cache.is_empty());
    pinned.invalidate_all();
    hold!(cache.is_empty() && cache.weight() == 0);
    drop(pinned);
    hold!(REMOVED.load(Ordering::Relaxed) == 1002);
    // Retired nodes are freed while the cache lives.
    for round in 0..100_000 {
        local.pin().insert(1, round);
    }
    hold!(cache.stats().retired_bytes < 256 << 10);
    true
}

struct Ticks(AtomicU64);

impl Clock for Ticks {
    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn expired() -> bool {
    let ticks = Arc::new(Ticks(AtomicU64::new(77)));
    let cache: Cache<u32, &str> = Cache::builder()
        .max_capacity(10)
        .time_to_live(Duration::from_secs(10))
        .seed(1)
        .clock(ticks.clone())
        .build()
        .unwrap();
    let advance = |seconds: u64| ticks.0.fetch_add(seconds * 1_000_000_000, Ordering::Relaxed);
    let local = cache.register();
    local.pin().insert(1, "inserted");
    let Lookup::Lead(lease) = local.lease(&2) else { return false };
    hold!(lease.fulfil_with_ttl("loaded", Duration::from_secs(20)).is_ok());
    advance(9);
    hold!(local.pin().get(&1) == Some("inserted"));
    advance(1);
    hold!(local.pin().get(&1).is_none() && local.pin().get(&2) == Some("loaded"));
    hold!(local.pin().purge_expired() == 1 && cache.len() == 1);
    advance(10);
    hold!(local.pin().get(&2).is_none());

    // Expired, not yet removed: the old value comes with the lease, and can be confirmed.
    let Lookup::Lead(lease) = local.lease(&2) else { return false };
    hold!(lease.stale() == Some(&"loaded"));
    hold!(lease.renew().is_some());
    hold!(local.pin().get(&2) == Some("loaded"));

    // A load that took long is refreshed early, by dice (libm's logarithm): nearly always, just before it expires.
    let Lookup::Lead(slow) = local.lease(&3) else { return false };
    advance(5);
    hold!(slow.fulfil("slow").is_ok());
    advance(10);
    ticks.0.fetch_sub(1, Ordering::Relaxed);
    let Lookup::Refresh(entry, lease) = local.lease(&3) else { return false };
    hold!(*entry == "slow" && lease.stale() == Some(&"slow"));
    hold!(lease.fulfil("fresh").is_ok());
    hold!(local.pin().get(&3) == Some("fresh"));
    true
}

fn refused() -> bool {
    let build = Cache::<u32, u32>::builder().max_capacity(10).time_to_live(Duration::from_secs(1)).build();
    hold!(matches!(build, Err(BuildError::MissingClock)));
    true
}
