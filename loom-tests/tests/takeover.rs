//! Leases that are taken over by those who wait, and the leaders that are fenced by it.
//!
//! The clock stands still while threads run: whoever waits for the first lease has waited for too long, and whoever waits
//! for a later one never has.
#![cfg(loom)]

use bellwether::{Entry, Lookup, RemovalCause, Waited};
use bellwether_loom_tests::*;
use std::array::from_fn;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A flight of `KEY` whose leader has held its lease for too long, and those who wait for it.
struct Scene<const N: usize> {
    cache: Shared,
    told: Told,
    lease: Led,
    waiters: [Waits; N],
    /// Values that were stored so far.
    stored: usize,
    clock: Still,
}

type Set<const N: usize> = fn() -> Scene<N>;

fn scene<const N: usize>(cache: Shared, told: Told, clock: Still, stored: usize) -> Scene<N> {
    let lease = lead(&cache);
    let waiters = from_fn(|_| wait(&cache));
    clock.tick();
    Scene { cache, told, lease, waiters, stored, clock }
}

/// Of a key that had no value.
fn cold<const N: usize>() -> Scene<N> {
    let (clock, told) = (Still::default(), Told::default());
    let builder = builder(10).clock(clock.clone()).timer(Never).lead_timeout(SECOND);
    scene(warmed(share(builder.eviction_listener(told.listener())), &told), told, clock, 0)
}

/// A refresh of the value 1, which is over.
fn stale<const N: usize>() -> Scene<N> {
    let (clock, told) = (Still::default(), Told::default());
    let builder = builder(10).clock(clock.clone()).timer(Never).lead_timeout(SECOND).time_to_live(SECOND);
    let cache = share(builder.error_cooldown(Duration::ZERO).eviction_listener(told.listener()));
    cache.insert(KEY, Value::new(1));
    clock.tick();
    scene(cache, told, clock, 1)
}

/// A leader comes to its value, perhaps too late. Whether that was stored; it has it in any case, under its key.
fn lands(lease: Led, number: u32) -> bool {
    let fulfilled = lease.fulfil(Value::new(number));
    let stored = fulfilled.is_ok();
    let (Ok(entry) | Err(entry)) = fulfilled;
    assert_eq!((*Entry::key(&entry), entry.read()), (KEY, number));
    stored
}

/// The lease that a waiter must come by.
fn taken(waiter: Waits) -> Led {
    match loom::future::block_on(waiter) {
        Waited::Lead(lease) => lease,
        other => panic!("{other:?}"),
    }
}

/// The leader comes to its value as its lease is taken over: it is stored and the waiter's, or the leader's alone.
/// Sees «no fence», «publishing is due», «fenced without a share», «fenced handle lost».
#[test]
fn take_over_meets_fulfil() {
    for set in [cold as Set<1>, stale] {
        model(3, move || {
            let Scene { cache, told, lease, waiters: [waiter], stored, .. } = set();
            let thread = spawn(move || polled(waiter, 8));
            let first = lands(lease, 7);
            let winner = Some(if first { 7 } else { 8 });
            assert_eq!(thread.join().unwrap(), winner);
            assert_eq!(cache.stats().takeovers, u64::from(!first));
            settled(&cache, &told, stored + 1, winner);
        });
    }
}

/// The same for a thread that waits.
/// Sees «no fence».
#[test]
fn take_over_by_a_thread_meets_fulfil() {
    model(3, || {
        let Scene { cache, told, lease, waiters: [waiter], stored, .. } = cold();
        let thread = spawn(move || answer(waiter, 8));
        let winner = Some(if lands(lease, 7) { 7 } else { 8 });
        assert_eq!(thread.join().unwrap(), winner);
        settled(&cache, &told, stored + 1, winner);
    });
}

/// The leader fails as its lease is taken over: the waiter gets the error, or loads, and the error is nobody's.
/// Sees «no fence», «fenced error lost».
#[test]
fn take_over_meets_failure() {
    for set in [cold as Set<1>, stale] {
        model(3, move || {
            let Scene { cache, told, lease, waiters: [waiter], stored, .. } = set();
            let thread = spawn(move || polled(waiter, 8));
            lease.fail_with(Value::new(9));
            let number = thread.join().unwrap();
            assert_eq!(cache.stats().takeovers, u64::from(number == Some(8)));
            match number {
                Some(8) => settled(&cache, &told, stored + 1, number),
                _ => settled(&cache, &told, stored, None),
            }
        });
    }
}

/// The leader gives up as its lease is taken over: the waiter leads on, by the one or the other.
/// Sees «no fence».
#[test]
fn take_over_meets_an_abandon() {
    for set in [cold as Set<1>, stale] {
        model(3, move || {
            let Scene { cache, told, lease, waiters: [waiter], stored, .. } = set();
            let thread = spawn(move || assert!(lands(taken(waiter), 8)));
            drop(lease);
            thread.join().unwrap();
            assert_eq!(cache.stats().takeovers + cache.stats().handovers, 1);
            settled(&cache, &told, stored + 1, Some(8));
        });
    }
}

/// The same with two who wait: one takes the lease over or claims the flight, the other waits for that one's value.
/// Sees «no fence», «due for another lease».
#[test]
fn take_over_meets_an_abandon_and_a_claim() {
    model(2, || {
        let Scene { cache, told, lease, waiters: [one, two], stored, .. } = cold();
        let thread = spawn(move || polled(one, 8));
        drop(lease);
        let number = polled(two, 9);
        assert_eq!(thread.join().unwrap(), number);
        assert_eq!(cache.stats().takeovers + cache.stats().handovers, 1);
        settled(&cache, &told, stored + 1, number);
    });
}

/// The leader confirms the old value as its lease is taken over: that is good again and the waiter's, or as old as it was.
/// Sees «no fence», «fenced renewal».
#[test]
fn take_over_meets_renewal() {
    model(3, || {
        let Scene { cache, told, lease, waiters: [waiter], stored, .. } = stale();
        let thread = spawn(move || match loom::future::block_on(waiter) {
            Waited::Ready(entry) => Some(entry.read()),
            Waited::Lead(lease) => (lease.fail(), None).1,
            other => panic!("{other:?}"),
        });
        assert_eq!(lease.renew().map(|entry| entry.read()), Some(1));
        let number = thread.join().unwrap();
        assert_eq!(cache.stats().takeovers, u64::from(number.is_none()));
        settled(&cache, &told, stored, number);
    });
}

/// Two have waited for too long: one takes the lease over, the other waits for it as long again.
/// Sees «any lease is taken over», «due for another lease».
#[test]
fn take_over_meets_take_over() {
    for set in [cold as Set<2>, stale] {
        model(3, move || {
            let Scene { cache, told, lease, waiters: [one, two], stored, .. } = set();
            let thread = spawn(move || polled(one, 8));
            let number = polled(two, 9);
            assert_eq!(thread.join().unwrap(), number);
            assert_eq!(cache.stats().takeovers, 1);
            assert!(!lands(lease, 7));
            settled(&cache, &told, stored + 1, number);
        });
    }
}

/// One has waited for too long as the leader comes to its value, on whose thread another polls then: it is given one of the
/// two values.
/// Sees «no fence», «due for another lease».
#[test]
fn take_over_meets_fulfil_and_a_poll() {
    model(3, || {
        let Scene { cache, told, lease, waiters: [one, two], stored, .. } = cold();
        let thread = spawn(move || polled(one, 8));
        let first = lands(lease, 7);
        let number = polled(two, 9);
        assert_eq!((thread.join().unwrap(), number == Some(7)), (number, first));
        assert_eq!(cache.stats().takeovers, u64::from(!first));
        settled(&cache, &told, stored + 1, number);
    });
}

/// Two have waited for too long as the leader comes to its value, each on a thread of its own.
#[test]
#[ignore = "takes minutes"]
fn take_over_meets_take_over_and_fulfil() {
    model(2, || {
        let Scene { cache, told, lease, waiters: [one, two], stored, .. } = cold();
        let first = spawn(move || polled(one, 8));
        let second = spawn(move || polled(two, 9));
        let stored_first = lands(lease, 7);
        let number = first.join().unwrap();
        assert_eq!((second.join().unwrap(), number == Some(7)), (number, stored_first));
        assert_eq!(cache.stats().takeovers, u64::from(!stored_first));
        settled(&cache, &told, stored + 1, number);
    });
}

/// The lease that was taken over is held for too long again: both leaders come to their values as a third takes over.
/// Sees «no fence».
#[test]
fn second_take_over_meets_fulfil() {
    model(2, || {
        let Scene { cache, told, lease: one, waiters: [waiter, other], stored, clock } = cold();
        let two = taken(waiter);
        let Err(other) = other.wait_timeout(Duration::ZERO) else { panic!("the second leader has just begun") };
        clock.tick();
        let late = spawn(move || assert!(!lands(one, 6)));
        let third = spawn(move || polled(other, 8));
        let winner = Some(if lands(two, 7) { 7 } else { 8 });
        late.join().unwrap();
        assert_eq!(third.join().unwrap(), winner);
        settled(&cache, &told, stored + 1, winner);
    });
}

/// One takes the lease over as a caller joins: that takes it over itself, or waits for the other's value.
/// Sees «any lease is taken over», «due for another lease».
#[test]
fn take_over_meets_a_caller() {
    model(3, || {
        let Scene { cache, told, lease, waiters: [waiter], stored, .. } = cold();
        let thread = spawn(move || polled(waiter, 8));
        let number = match ask(&cache) {
            Lookup::Hit(entry) => Some(entry.read()),
            Lookup::Lead(lease) => Some(fulfil(lease, 9)),
            Lookup::Wait(waiter) => polled(waiter, 9),
            other => panic!("{other:?}"),
        };
        assert_eq!(thread.join().unwrap(), number);
        assert_eq!(cache.stats().takeovers, 1);
        assert!(!lands(lease, 7));
        settled(&cache, &told, stored + 1, number);
    });
}

/// One takes the lease over, and gives up, as the other who waits leaves: nobody is left, and nothing.
/// Sees «taken over and counted», «torn update».
#[test]
fn take_over_meets_a_leaver() {
    for set in [cold as Set<2>, stale] {
        model(3, move || {
            let Scene { cache, told, lease, waiters: [one, two], stored, .. } = set();
            let thread = spawn(move || drop(taken(one)));
            drop(two);
            thread.join().unwrap();
            settled(&cache, &told, stored, None);
            // Fenced: there is no flight to be given up.
            drop(lease);
            settled(&cache, &told, stored, None);
        });
    }
}

/// Whether a waiter for a flight that is being removed led, and its value was stored; if not, the flight had ended.
fn relieved(waiter: Waits, number: u32) -> bool {
    match loom::future::block_on(waiter) {
        Waited::Lead(lease) => lands(lease, number),
        Waited::Abandoned => false,
        other => panic!("{other:?}"),
    }
}

/// The lease of a flight that is being removed is taken over, and its value is handed over, or removed; or it has ended.
/// Sees «weight left behind».
#[test]
fn take_over_meets_removal() {
    for set in [cold as Set<1>, stale] {
        model(2, move || {
            let Scene { cache, told, lease, waiters: [waiter], stored, .. } = set();
            let thread = spawn(move || relieved(waiter, 8));
            cache.invalidate(&KEY);
            let stored = stored + usize::from(thread.join().unwrap());
            assert!(!lands(lease, 7));
            settled(&cache, &told, stored, None);
        });
    }
}

/// The same, the key being overwritten.
/// Sees «weight left behind».
#[test]
fn take_over_meets_insert() {
    for set in [cold as Set<1>, stale] {
        model(2, move || {
            let Scene { cache, told, lease, waiters: [waiter], stored, .. } = set();
            let thread = spawn(move || relieved(waiter, 8));
            cache.insert(KEY, Value::new(5));
            let stored = stored + usize::from(thread.join().unwrap());
            assert!(!lands(lease, 7));
            settled(&cache, &told, stored + 1, Some(5));
            // (The time of the value 1 is over.)
            let ended = |number| if number == 1 { RemovalCause::Expired } else { RemovalCause::Replaced };
            assert!(told.all().iter().all(|&(_, number, cause)| cause == ended(number)), "{told:?}");
        });
    }
}

/// Two have waited for too long at a flight that was removed: one ends it, and neither leads.
/// Sees «leads what was removed».
#[test]
fn end_of_a_removed_flight_meets_another() {
    for set in [cold as Set<2>, stale] {
        model(3, move || {
            let Scene { cache, told, lease, waiters: [one, two], stored, .. } = set();
            cache.invalidate(&KEY);
            let abandoned = |waiter| matches!(loom::future::block_on::<Waits>(waiter), Waited::Abandoned);
            let thread = spawn(move || assert!(abandoned(one)));
            assert!(abandoned(two));
            thread.join().unwrap();
            assert_eq!(cache.stats().takeovers, 0);
            settled(&cache, &told, stored, None);
            assert!(!lands(lease, 7));
            settled(&cache, &told, stored, None);
        });
    }
}

/// One ends a flight that was removed as its leader comes to the value: that is the waiter's, too, or the leader's alone.
/// Sees «leads what was removed».
#[test]
fn end_of_a_removed_flight_meets_fulfil() {
    for set in [cold as Set<1>, stale] {
        model(3, move || {
            let Scene { cache, told, lease, waiters: [waiter], stored, .. } = set();
            cache.insert(KEY, Value::new(5));
            let thread = spawn(move || match loom::future::block_on(waiter) {
                Waited::Ready(entry) => assert_eq!(entry.read(), 7),
                Waited::Abandoned => {}
                other => panic!("{other:?}"),
            });
            assert!(!lands(lease, 7));
            thread.join().unwrap();
            settled(&cache, &told, stored + 1, Some(5));
        });
    }
}

bugs! {
    take_over_meets_fulfil: "no fence", "publishing is due", "fenced without a share", "fenced handle lost";
    take_over_by_a_thread_meets_fulfil: "no fence";
    take_over_meets_failure: "no fence", "fenced error lost";
    take_over_meets_an_abandon: "no fence";
    take_over_meets_an_abandon_and_a_claim: "no fence", "due for another lease";
    take_over_meets_renewal: "no fence", "fenced renewal";
    take_over_meets_take_over: "any lease is taken over", "due for another lease";
    take_over_meets_fulfil_and_a_poll: "no fence", "due for another lease";
    second_take_over_meets_fulfil: "no fence";
    take_over_meets_a_caller: "any lease is taken over", "due for another lease";
    take_over_meets_a_leaver: "taken over and counted", "torn update";
    take_over_meets_removal: "weight left behind";
    take_over_meets_insert: "weight left behind";
    end_of_a_removed_flight_meets_another: "leads what was removed";
    end_of_a_removed_flight_meets_fulfil: "leads what was removed";
}
