//! Where the transitions of a flight's state word meet: leaders, those who wait, those who leave, the sweep.
#![cfg(loom)]

use bellwether::Waited;
use bellwether_loom_tests::*;

/// COMPUTING → PUBLISHING → READY while another joins and parks: it gets the value, fully written.
/// Sees «word release», «silent bell», «listens too late», «round skipped»,
/// «waiters sought too early», «slot without a reference».
#[test]
fn publish_meets_a_waiter() {
    model(3, || {
        let cache = cache(10);
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || assert_eq!(load(&other, 8), 7));
        assert!(lease.fulfil(Value::new(7)).is_ok());
        thread.join().unwrap();
        landed(&cache, Some(7));
    });
}

/// The same beside one who reads under a pin, and takes no share: it finds the value fully written, or none.
/// Sees «word load relaxed».
#[test]
fn publish_meets_a_reader() {
    model(3, || {
        let cache = cache(10);
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || assert!(matches!(other.get_ref(&KEY).map(|v| v.read()), None | Some(7))));
        assert!(lease.fulfil(Value::new(7)).is_ok());
        thread.join().unwrap();
        landed(&cache, Some(7));
    });
}

/// The same for a task, which goes to sleep as the bell rings.
/// Sees «silent bell», «sleeps through the ring», «notes before it listens».
#[test]
fn publish_meets_a_task() {
    model(3, || {
        let cache = cache(10);
        let (lease, waiter) = (lead(&cache), wait(&cache));
        let thread = spawn(move || assert_eq!(polled(waiter, 8), Some(7)));
        assert!(lease.fulfil(Value::new(7)).is_ok());
        thread.join().unwrap();
        landed(&cache, Some(7));
    });
}

/// A leader publishes for two tasks, one of which is asleep, with another's waker: what that one does.
fn publish_for_two_tasks(preemptions: usize, does: fn(Waits)) {
    model(preemptions, move || {
        let cache = cache(10);
        let (lease, mut one, two) = (lead(&cache), wait(&cache), wait(&cache));
        assert!(asleep(&mut one));
        let first = spawn(move || does(one));
        let second = spawn(move || assert_eq!(polled(two, 9), Some(7)));
        assert!(lease.fulfil(Value::new(7)).is_ok());
        first.join().unwrap();
        second.join().unwrap();
        landed(&cache, Some(7));
    });
}

/// One rings for two tasks.
/// Sees «a task is left asleep».
#[test]
fn publish_meets_two_tasks() {
    publish_for_two_tasks(1, |one| assert_eq!(polled(one, 8), Some(7)));
}

/// A task that sleeps leaves as the bell rings: the event's list is whole, and each sleeper is let go of.
/// Sees «leaves its listener».
#[test]
fn publish_meets_a_task_that_leaves() {
    publish_for_two_tasks(2, drop);
}

/// A leader ends two flights at one bell. Its first ring may wake a task that has begun to wait for the second flight's round:
/// that task listens anew.
/// Sees «sleeps on after a ring».
#[test]
fn late_ring_meets_a_task() {
    model(3, || {
        let cache = cache(10);
        let (first, second) = (lead(&cache), lead_for(&cache, SAME));
        let (mut other, waiter) = (wait(&cache), wait_for(&cache, SAME));
        assert!(asleep(&mut other));
        let thread = spawn(move || assert_eq!(polled(waiter, 8), Some(7)));
        assert_eq!(fulfil(first, 6), 6);
        assert_eq!(fulfil(second, 7), 7);
        thread.join().unwrap();
        assert_eq!(polled(other, 8), Some(6));
    });
}

/// Two ring at once for two flights at one bell, with a task asleep at each: one ringer may take off the list what the other
/// has put on it.
/// Sees «push unreleased», «take unacquired».
#[test]
fn ring_meets_ring() {
    model(3, || {
        let cache = cache(10);
        let (first, second) = (lead(&cache), lead_for(&cache, SAME));
        let (mut one, mut two) = (wait(&cache), wait_for(&cache, SAME));
        assert!(asleep(&mut one));
        let thread = spawn(move || assert_eq!(fulfil(first, 6), 6));
        assert!(asleep(&mut two));
        assert_eq!(fulfil(second, 7), 7);
        thread.join().unwrap();
        assert_eq!((polled(one, 8), polled(two, 8)), (Some(6), Some(7)));
    });
}

/// One rings for two who wait.
/// Sees «one is woken».
#[test]
fn publish_meets_two_waiters() {
    model(2, || {
        let cache = cache(10);
        let (lease, one, two) = (lead(&cache), wait(&cache), wait(&cache));
        // The leader last: loom, left to itself, lets both of them fall asleep.
        let first = spawn(move || assert_eq!(answer(one, 8), Some(7)));
        let leader = spawn(move || assert!(lease.fulfil(Value::new(7)).is_ok()));
        assert_eq!(answer(two, 9), Some(7));
        first.join().unwrap();
        leader.join().unwrap();
        landed(&cache, Some(7));
    });
}

/// COMPUTING → FAILED while another joins: it gets the error, fully written, or starts afresh.
/// Sees «silent bell».
#[test]
fn failure_meets_a_waiter() {
    model(3, || {
        let cache = cache(10);
        let (lease, waiter) = (lead(&cache), wait(&cache));
        let other = cache.clone();
        let thread = spawn(move || {
            assert_eq!(answer(waiter, 8), Some(9));
            load(&other, 8)
        });
        lease.fail_with(Value::new(9));
        assert_eq!(thread.join().unwrap(), 8);
        landed(&cache, Some(8));
    });
}

/// COMPUTING → EMPTY with one who waits: it leads, and nobody else has to look again.
/// Sees «never handed», «handed in silence».
#[test]
fn abandon_meets_a_waiter() {
    model(3, || {
        let cache = cache(10);
        let (lease, waiter) = (lead(&cache), wait(&cache));
        let thread = spawn(move || match waiter.wait() {
            Waited::Lead(lease) => fulfil(lease, 8),
            other => panic!("{other:?}"),
        });
        drop(lease);
        assert_eq!(thread.join().unwrap(), 8);
        assert_eq!(cache.stats().handovers, 1);
        landed(&cache, Some(8));
    });
}

/// COMPUTING → EMPTY or DEAD while another only just joins.
/// Sees «torn update», «refusal unordered».
#[test]
fn abandon_meets_a_caller() {
    model(3, || {
        let cache = cache(10);
        let lease = lead(&cache);
        let other = cache.clone();
        let thread = spawn(move || load(&other, 8));
        drop(lease);
        assert_eq!(thread.join().unwrap(), 8);
        landed(&cache, Some(8));
    });
}

/// COMPUTING → EMPTY with two who wait: all are woken, the first to claim leads, the other parks again.
/// Sees «torn update», «looks before it listens».
#[test]
fn abandon_meets_two_waiters() {
    model(1, || {
        let cache = cache(10);
        let (lease, one, two) = (lead(&cache), wait(&cache), wait(&cache));
        let first = spawn(move || answer(one, 8).unwrap());
        let second = spawn(move || answer(two, 8).unwrap());
        drop(lease);
        assert_eq!((first.join().unwrap(), second.join().unwrap()), (8, 8));
        assert_eq!(cache.stats().handovers, 1);
        landed(&cache, Some(8));
    });
}

/// COMPUTING → EMPTY against the leaving of the one who waits: one of the two ends the flight.
/// Sees «last leaver leaves it», «torn update».
#[test]
fn abandon_meets_the_last_leaver() {
    model(3, || {
        let cache = cache(10);
        let (lease, waiter) = (lead(&cache), wait(&cache));
        let thread = spawn(move || drop(waiter));
        drop(lease);
        thread.join().unwrap();
        landed(&cache, None);
    });
}

/// EMPTY: two leave, the last one ends the flight.
/// Sees «torn update».
#[test]
fn leaver_meets_leaver() {
    model(3, || {
        let cache = cache(10);
        let (lease, one, two) = (lead(&cache), wait(&cache), wait(&cache));
        drop(lease);
        let thread = spawn(move || drop(one));
        drop(two);
        thread.join().unwrap();
        landed(&cache, None);
    });
}

/// EMPTY: the last who waits leaves as a new caller claims the flight; the caller leads that or one of its own.
/// Sees «torn update».
#[test]
fn leaver_meets_a_claim() {
    model(3, || {
        let cache = cache(10);
        let (lease, waiter) = (lead(&cache), wait(&cache));
        drop(lease);
        let thread = spawn(move || drop(waiter));
        assert_eq!(fulfil(lead(&cache), 8), 8);
        thread.join().unwrap();
        landed(&cache, Some(8));
    });
}

/// EMPTY → COMPUTING by one who waits or by a new caller: one of them.
/// Sees «torn update».
#[test]
fn claim_meets_claim() {
    model(3, || {
        let cache = cache(10);
        let (lease, waiter) = (lead(&cache), wait(&cache));
        drop(lease);
        let thread = spawn(move || answer(waiter, 8).unwrap());
        let mine = load(&cache, 9);
        assert_eq!(thread.join().unwrap(), mine);
        assert_eq!(cache.stats().handovers, 1);
        landed(&cache, Some(mine));
    });
}

/// The same with two new callers, while the one who waits is woken and never polled.
/// Sees «torn update».
#[test]
fn two_callers_claim() {
    model(2, || {
        let cache = cache(10);
        let (lease, waiter) = (lead(&cache), wait(&cache));
        drop(lease);
        let other = cache.clone();
        let thread = spawn(move || load(&other, 8));
        let mine = load(&cache, 9);
        assert_eq!(thread.join().unwrap(), mine);
        drop(waiter);
        assert_eq!(cache.stats().handovers, 1);
        landed(&cache, Some(mine));
    });
}

/// PUBLISHING against the leaving of the one who waits.
/// Sees «torn update».
#[test]
fn publish_meets_a_leaver() {
    model(3, || {
        let cache = cache(10);
        let (lease, waiter) = (lead(&cache), wait(&cache));
        let thread = spawn(move || drop(waiter));
        assert!(lease.fulfil(Value::new(7)).is_ok());
        thread.join().unwrap();
        landed(&cache, Some(7));
    });
}

/// EMPTY → DEAD by the sweep against EMPTY → COMPUTING by the one who waits.
/// Sees «sweep of a stale look», «torn update».
#[test]
fn purge_meets_a_waiter() {
    model(3, || {
        let cache = cache(10);
        let (lease, waiter) = (lead(&cache), wait(&cache));
        drop(lease);
        let thread = spawn(move || answer(waiter, 8));
        assert_eq!(cache.purge_expired(), 0);
        let number = thread.join().unwrap();
        landed(&cache, number);
    });
}

/// The sweep against a leader that gives up: the one who waits is told, whoever ends the flight.
/// Sees «torn update».
#[test]
fn purge_meets_an_abandon() {
    model(2, || {
        let cache = cache(10);
        let (lease, waiter) = (lead(&cache), wait(&cache));
        let other = cache.clone();
        let leader = spawn(move || drop(lease));
        let sweep = spawn(move || other.purge_expired());
        let number = answer(waiter, 8);
        leader.join().unwrap();
        sweep.join().unwrap();
        landed(&cache, number);
    });
}

/// EMPTY → DEAD by the sweep against the claim of a new caller.
/// Sees «sweep of a stale look», «torn update».
#[test]
fn purge_meets_a_caller() {
    model(3, || {
        let cache = cache(10);
        let (lease, waiter) = (lead(&cache), wait(&cache));
        drop(lease);
        let other = cache.clone();
        let thread = spawn(move || other.purge_expired());
        assert_eq!(fulfil(lead(&cache), 8), 8);
        thread.join().unwrap();
        drop(waiter);
        landed(&cache, Some(8));
    });
}

/// Two callers miss at once: one flight.
/// Sees «blind insert».
#[test]
fn two_callers_miss() {
    model(3, || {
        let cache = cache(10);
        let other = cache.clone();
        let thread = spawn(move || load(&other, 8));
        let mine = load(&cache, 9);
        assert_eq!(thread.join().unwrap(), mine);
        assert_eq!(cache.stats().loads, 1);
        landed(&cache, Some(mine));
    });
}

/// The same by `get_with`, with what it keeps in thread-locals.
/// Sees «blind insert».
#[test]
fn two_callers_get_with() {
    model(2, || {
        let cache = cache(10);
        let other = cache.clone();
        let thread = spawn(move || other.get_with(&KEY, || Value::new(8)).read());
        let mine = cache.get_with(&KEY, || Value::new(9)).read();
        assert_eq!(thread.join().unwrap(), mine);
        assert_eq!(cache.stats().loads, 1);
        landed(&cache, Some(mine));
    });
}

bugs! {
    publish_meets_a_waiter: "word release", "silent bell", "listens too late", "round skipped", "waiters sought too early",
        "slot without a reference";
    publish_meets_a_reader: "word load relaxed";
    publish_meets_a_task: "silent bell", "sleeps through the ring", "notes before it listens";
    publish_meets_two_tasks: "a task is left asleep";
    publish_meets_a_task_that_leaves: "leaves its listener";
    late_ring_meets_a_task: "sleeps on after a ring";
    ring_meets_ring: "push unreleased", "take unacquired";
    publish_meets_two_waiters: "one is woken";
    failure_meets_a_waiter: "silent bell";
    abandon_meets_a_waiter: "never handed", "handed in silence";
    abandon_meets_a_caller: "torn update", "refusal unordered";
    abandon_meets_two_waiters: "torn update", "looks before it listens";
    abandon_meets_the_last_leaver: "last leaver leaves it", "torn update";
    leaver_meets_leaver: "torn update";
    leaver_meets_a_claim: "torn update";
    claim_meets_claim: "torn update";
    two_callers_claim: "torn update";
    publish_meets_a_leaver: "torn update";
    purge_meets_a_waiter: "sweep of a stale look", "torn update";
    purge_meets_an_abandon: "torn update";
    purge_meets_a_caller: "sweep of a stale look", "torn update";
    two_callers_miss: "blind insert";
    two_callers_get_with: "blind insert";
}
