//! That the ledger finds what it is there for, and nothing else.

use super::*;
use crate::value::{Census, Value};

const KEY: u32 = 1;

fn ledger(lead: Option<Duration>) -> Ledger {
    Ledger::new("test", 2, lead, Instant::now())
}

fn before(ledger: &Ledger) -> Before {
    ledger.before(KEY, Stats::default())
}

fn load(ledger: &Ledger, before: Before) -> Loading<'_> {
    ledger.load(KEY, before, Stats::default)
}

fn loaded(version: u64) -> Value {
    Payload::loaded(KEY, version, 1, &Census::default())
}

/// The law that was broken since this was last asked.
fn broken(ledger: &Ledger) -> Option<String> {
    let mut faults = ledger.take_faults().into_iter();
    let first = faults.next().map(|fault| fault.what.split(": ").nth(1).unwrap().to_owned());
    assert!(faults.next().is_none());
    first
}

#[test]
fn what_is_older_than_the_last_writer() {
    let ledger = ledger(None);
    let (early, old) = (before(&ledger), loaded(ledger.version(KEY)));
    let version = ledger.write(KEY);
    let (meanwhile, new) = (before(&ledger), loaded(ledger.version(KEY)));
    ledger.written(KEY, version);
    for call in [early, meanwhile] {
        ledger.given(KEY, call, &old, "get");
        assert_eq!(broken(&ledger), None, "the writer had not returned");
    }
    ledger.given(KEY, before(&ledger), &new, "get");
    assert_eq!(broken(&ledger), None);
    ledger.given(KEY, before(&ledger), &old, "get");
    assert_eq!(broken(&ledger).as_deref(), Some("no stale sets"));
    ledger.unwritten(KEY);
    ledger.given(0, before(&ledger), &new, "get");
    assert_eq!(broken(&ledger).as_deref(), Some("identity"));
}

#[test]
fn an_insertion_counts_from_its_end() {
    let ledger = ledger(None);
    let value = Payload::inserted(KEY, 1, &Census::default());
    let (own, other) = (ledger.write(KEY), ledger.write(KEY));
    ledger.written(KEY, other);
    ledger.given(KEY, before(&ledger), &value, "get");
    assert_eq!(broken(&ledger), None, "it may come after the other writer, which began later");
    value.settle(ledger.version(KEY));
    ledger.written(KEY, own);
    ledger.given(KEY, before(&ledger), &value, "get");
    assert_eq!(broken(&ledger), None);
    let third = ledger.write(KEY);
    ledger.written(KEY, third);
    ledger.given(KEY, before(&ledger), &value, "get");
    assert_eq!(broken(&ledger).as_deref(), Some("no stale sets"));
}

#[test]
fn two_loaders_at_once() {
    let ledger = ledger(Some(Duration::from_secs(3600)));
    let first = load(&ledger, before(&ledger));
    drop(load(&ledger, before(&ledger)));
    assert_eq!(broken(&ledger).as_deref(), Some("one flight"));
    // One of them for itself alone.
    drop(ledger.load(KEY, before(&ledger), || {
        let mut stats = Stats::default();
        stats.bypassed = 1;
        stats
    }));
    assert_eq!(broken(&ledger), None);
    // A writer in between; and the flight that it found may be taken over by one who came before.
    let waiting = before(&ledger);
    let version = ledger.write(KEY);
    drop(load(&ledger, before(&ledger)));
    ledger.written(KEY, version);
    drop(load(&ledger, before(&ledger)));
    drop(first);
    let second = load(&ledger, before(&ledger));
    drop(load(&ledger, waiting));
    assert_eq!(broken(&ledger), None);
    drop(second);
    // One after the other.
    drop(load(&ledger, before(&ledger)));
    assert_eq!(broken(&ledger), None);
}

#[test]
fn a_loader_that_hangs() {
    for (lead, law) in [(Some(Duration::ZERO), None), (None, Some("one flight"))] {
        let ledger = ledger(lead);
        let hung = load(&ledger, before(&ledger));
        drop(load(&ledger, before(&ledger)));
        assert_eq!(broken(&ledger).as_deref(), law);
        assert!(!ledger.at_rest());
        drop(hung);
        assert!(ledger.at_rest());
    }
}

#[test]
fn a_failure_is_for_those_who_came_in_time() {
    let ledger = ledger(None);
    let (early, failed) = (before(&ledger), Failed::new(KEY));
    ledger.failed(KEY, before(&ledger), &failed, false);
    failed.settle(ledger.tick());
    ledger.failed(KEY, early, &failed, false);
    ledger.failed(KEY, before(&ledger), &failed, true);
    assert_eq!(broken(&ledger), None);
    ledger.failed(KEY, before(&ledger), &failed, false);
    assert_eq!(broken(&ledger).as_deref(), Some("no error storm"));
    ledger.failed(0, before(&ledger), &failed, true);
    assert_eq!(broken(&ledger).as_deref(), Some("identity"));
}
