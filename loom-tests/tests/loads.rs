//! Leases that callers take over in passing, from leaders that hang, and callers who wait until they may load.
//!
//! The clock stands still while threads run.
#![cfg(loom)]

use bellwether::Lookup;
use bellwether_loom_tests::*;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A cache with a flight of `KEY` whose leader has held its lease for too long, and of which nobody
/// else knows.
type Hung = (Shared, Told, Led, Still);

/// Of a key that had no value.
fn cold() -> Hung {
    let (clock, told) = (Still::default(), Told::default());
    let builder = builder(10).clock(clock.clone()).timer(Never).lead_timeout(SECOND);
    let cache = warmed(share(builder.eviction_listener(told.listener())), &told);
    let lease = lead(&cache);
    clock.tick();
    (cache, told, lease, clock)
}

/// A refresh of the value 1, which is over.
fn stale() -> Hung {
    let (clock, told) = (Still::default(), Told::default());
    let builder = builder(10).clock(clock.clone()).timer(Never).lead_timeout(SECOND).time_to_live(SECOND);
    let cache = share(builder.error_cooldown(Duration::ZERO).eviction_listener(told.listener()));
    cache.insert(KEY, Value::new(1));
    clock.tick();
    let lease = lead(&cache);
    clock.tick();
    (cache, told, lease, clock)
}

/// What a caller ends up with who leads, or is given another's value.
fn passes_by(cache: &Shared, number: u32) -> u32 {
    loop {
        let got = match ask(cache) {
            Lookup::Hit(entry) => Some(entry.read()),
            Lookup::Lead(lease) => Some(fulfil(lease, number)),
            Lookup::Wait(waiter) => polled(waiter, number),
            other => panic!("{other:?}"),
        };
        if let Some(number) = got {
            return number;
        }
    }
}

/// A leader that hung comes to its value as a caller passes by: it is stored and the caller's, or the caller leads.
/// Sees «taken over in passing and counted».
#[test]
fn passer_by_meets_fulfil() {
    for (set, old) in [(cold as fn() -> Hung, 0), (stale, 1)] {
        model(2, move || {
            let (cache, told, lease, _) = set();
            let thread = spawn({
                let cache = cache.clone();
                move || passes_by(&cache, 8)
            });
            let first = lease.fulfil(Value::new(7)).is_ok();
            let winner = if first { 7 } else { 8 };
            assert_eq!(thread.join().unwrap(), winner);
            assert_eq!(cache.stats().takeovers, u64::from(!first));
            settled(&cache, &told, old + 1, Some(winner));
        });
    }
}

/// The leader gives up instead: the caller leads, by the one or the other.
/// Sees «taken over in passing and counted».
#[test]
fn passer_by_meets_an_abandon() {
    for (set, old) in [(cold as fn() -> Hung, 0), (stale, 1)] {
        model(3, move || {
            let (cache, told, lease, _) = set();
            let thread = spawn({
                let cache = cache.clone();
                move || passes_by(&cache, 8)
            });
            drop(lease);
            assert_eq!(thread.join().unwrap(), 8);
            settled(&cache, &told, old + 1, Some(8));
        });
    }
}

/// Two callers pass by: one takes over, and gives up; the other waits for that one's lease, or begins anew.
/// Sees «taken over in passing and counted», «any lease is taken over».
#[test]
fn passer_by_meets_another() {
    model(2, || {
        let (cache, told, lease, _) = cold();
        let leaves = |lookup: Lookup<'static, u64, Value>| match lookup {
            Lookup::Lead(lease) => drop(lease),
            Lookup::Wait(waiter) => drop(waiter),
            other => panic!("{other:?}"),
        };
        let thread = spawn({
            let cache = cache.clone();
            move || leaves(ask(&cache))
        });
        leaves(ask(&cache));
        thread.join().unwrap();
        assert_eq!(cache.stats().takeovers, 1);
        settled(&cache, &told, 0, None);
        // Fenced: there is no flight to be given up.
        drop(lease);
        settled(&cache, &told, 0, None);
    });
}

/// The flight is removed as a caller passes by: the caller has its own value, which is stored, handed over, or removed.
/// Sees «weight left behind».
#[test]
fn passer_by_meets_removal() {
    for (set, old) in [(cold as fn() -> Hung, 0), (stale, 1)] {
        model(2, move || {
            let (cache, told, lease, _) = set();
            let thread = spawn({
                let cache = cache.clone();
                move || match ask(&cache) {
                    Lookup::Lead(lease) => lease.fulfil(Value::new(8)).is_ok(),
                    other => panic!("{other:?}"),
                }
            });
            cache.invalidate(&KEY);
            let stored = old + usize::from(thread.join().unwrap());
            assert!(lease.fulfil(Value::new(7)).is_err());
            let there = cache.get_ref(&KEY).map(|v| v.read());
            assert!(matches!(there, None | Some(8)));
            settled(&cache, &told, stored, there);
        });
    }
}

/// A cache that lets one load run, with that.
fn busy() -> (Shared, Led) {
    let cache = share(builder(10).max_loads(1));
    let lease = lead(&cache);
    (cache, lease)
}

/// Loads another key, as soon as that may be.
fn queues(cache: &Shared) -> u32 {
    cache.get_with(&SAME, || Value::new(8)).read()
}

/// The one load that may run ends with a value as a caller begins to wait for that: the caller loads.
/// Sees «queue not rung», «queue looks without an update», «queues up blindly».
#[test]
fn queue_meets_fulfil() {
    model(3, || {
        let (cache, lease) = busy();
        let thread = spawn({
            let cache = cache.clone();
            move || queues(&cache)
        });
        fulfil(lease, 7);
        assert_eq!(thread.join().unwrap(), 8);
        assert_eq!(cache.len(), 2);
        assert_eq!(cache.validate(), Ok(()));
    });
}

/// The same as it is given up.
/// Sees «queue not rung», «queue looks without an update», «queues up blindly».
#[test]
fn queue_meets_an_abandon() {
    model(3, || {
        let (cache, lease) = busy();
        let thread = spawn({
            let cache = cache.clone();
            move || queues(&cache)
        });
        drop(lease);
        assert_eq!(thread.join().unwrap(), 8);
        assert_eq!(cache.len(), 1);
        assert_eq!(cache.validate(), Ok(()));
    });
}

/// Two wait: one is let in, and its end lets in the other.
/// Sees «queue not rung».
#[test]
fn queue_meets_another() {
    model(2, || {
        let (cache, lease) = busy();
        let thread = spawn({
            let cache = cache.clone();
            move || queues(&cache)
        });
        drop(lease);
        assert_eq!(cache.get_with(&KEY, || Value::new(9)).read(), 9);
        assert_eq!(thread.join().unwrap(), 8);
        assert_eq!(cache.len(), 2);
        assert_eq!(cache.validate(), Ok(()));
    });
}

bugs! {
    passer_by_meets_fulfil: "taken over in passing and counted";
    passer_by_meets_an_abandon: "taken over in passing and counted";
    passer_by_meets_another: "taken over in passing and counted", "any lease is taken over";
    passer_by_meets_removal: "weight left behind";
    queue_meets_fulfil: "queue not rung", "queue looks without an update", "queues up blindly";
    queue_meets_an_abandon: "queue not rung", "queue looks without an update", "queues up blindly";
    queue_meets_another: "queue not rung";
}
