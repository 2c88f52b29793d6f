//! The list and the table: links, marks, cells.
#![cfg(loom)]

use bellwether::Lookup;
use bellwether_loom_tests::{
    KEY, SAME, SAME_TOO, Shared, Told, Value, bugs, cache, growing, listened, model, share, spawn, warmed,
};

fn number(cache: &Shared, key: u64) -> Option<u32> {
    cache.get_ref(&key).map(|v| v.read())
}

/// Exactly these are stored: by lookup, by walk, by count.
fn holds(cache: &Shared, expected: &[(u64, u32)]) {
    for &(key, value) in expected {
        assert_eq!(number(cache, key), Some(value), "key {key}");
    }
    let mut walked: Vec<_> = cache.iter().map(|v| (*bellwether::Ref::key(&v), v.read())).collect();
    walked.sort_unstable();
    assert_eq!(walked, expected);
    assert_eq!((cache.len(), cache.weight()), (expected.len(), expected.len() as u64));
}

/// A reader finds a new entry fully written, or not at all.
/// Sees «link release», «next load».
#[test]
fn insert_meets_a_reader() {
    model(3, || {
        let cache = cache(10);
        let other = cache.clone();
        let thread = spawn(move || assert!(matches!(number(&other, KEY), None | Some(1))));
        cache.insert(KEY, Value::new(1));
        thread.join().unwrap();
        holds(&cache, &[(KEY, 1)]);
    });
}

/// Two inserts of one key: one replaces the other, and exactly one is told of.
/// Sees «blind insert».
#[test]
fn insert_meets_insert_of_its_key() {
    model(3, || {
        let (cache, told) = listened(10);
        let other = cache.clone();
        let thread = spawn(move || other.insert(KEY, Value::new(1)));
        cache.insert(KEY, Value::new(2));
        thread.join().unwrap();
        let left = number(&cache, KEY).unwrap();
        holds(&cache, &[(KEY, left)]);
        assert_eq!(told.all(), [(KEY, 3 - left, bellwether::RemovalCause::Replaced)]);
    });
}

/// Two inserts of different keys at one place of the list.
/// Sees «blind insert».
#[test]
fn insert_meets_insert_of_a_neighbour() {
    model(3, || {
        let cache = cache(10);
        let other = cache.clone();
        let thread = spawn(move || other.insert(KEY, Value::new(1)));
        cache.insert(SAME, Value::new(2));
        thread.join().unwrap();
        holds(&cache, &[(KEY, 1), (SAME, 2)]);
    });
}

/// An insert behind a node that is being removed.
/// Sees «blind insert».
#[test]
fn insert_meets_removal_of_its_predecessor() {
    model(3, || {
        let cache = cache(10);
        cache.insert(KEY, Value::new(1));
        let other = cache.clone();
        let thread = spawn(move || other.insert(SAME, Value::new(2)));
        assert!(cache.invalidate(&KEY));
        thread.join().unwrap();
        holds(&cache, &[(SAME, 2)]);
    });
}

/// Neighbours are removed at once: both are out of the list before they are let go of.
/// Sees «blind unlink».
#[test]
fn removal_meets_removal_of_its_predecessor() {
    model(3, || {
        let cache = cache(10);
        for (key, value) in [(KEY, 1), (SAME, 2), (SAME_TOO, 3)] {
            cache.insert(key, Value::new(value));
        }
        let other = cache.clone();
        let thread = spawn(move || assert!(other.invalidate(&SAME)));
        assert!(cache.invalidate(&KEY));
        thread.join().unwrap();
        // Two are retired: that is a bag, and this pin is its end.
        drop(cache.pin());
        holds(&cache, &[(SAME_TOO, 3)]);
    });
}

/// One mark, one winner.
/// Sees «marked twice».
#[test]
fn removal_meets_removal() {
    model(3, || {
        let (cache, told) = listened(10);
        cache.insert(KEY, Value::new(1));
        let other = cache.clone();
        let thread = spawn(move || other.invalidate(&KEY));
        let mine = cache.invalidate(&KEY);
        assert!(thread.join().unwrap() ^ mine);
        assert_eq!(told.count(), 1);
        holds(&cache, &[]);
    });
}

/// A replacement against a removal: every value that was stored is told of once, or is still there.
/// Sees «marked twice».
#[test]
fn replacement_meets_removal() {
    model(3, || {
        let (cache, told) = listened(10);
        cache.insert(KEY, Value::new(1));
        let other = cache.clone();
        let thread = spawn(move || other.insert(KEY, Value::new(2)));
        assert!(cache.invalidate(&KEY));
        thread.join().unwrap();
        let left: Vec<_> = number(&cache, KEY).map(|n| (KEY, n)).into_iter().collect();
        holds(&cache, &left);
        assert_eq!(told.count() + left.len(), 2);
    });
}

/// A replacement in one step: a reader never misses the key.
/// Sees «find stops at a mark».
#[test]
fn replacement_meets_a_reader() {
    model(3, || {
        let cache = cache(10);
        cache.insert(KEY, Value::new(1));
        let other = cache.clone();
        let thread = spawn(move || assert!(matches!(number(&other, KEY), Some(1 | 2))));
        cache.insert(KEY, Value::new(2));
        thread.join().unwrap();
        holds(&cache, &[(KEY, 2)]);
    });
}

/// The first who use a new bucket: one claims its cell, the other starts from the bucket's ancestor.
/// Sees «two initialisers».
#[test]
fn two_initialisers_of_a_bucket() {
    model(3, || {
        let cache = share(growing(10));
        cache.insert(0, Value::new(1)); // Now there are two buckets, the second without a cell.
        let other = cache.clone();
        let thread = spawn(move || assert!(!other.invalidate(&1)));
        assert!(!cache.invalidate(&3));
        thread.join().unwrap();
        cache.insert(1, Value::new(2));
        cache.insert(3, Value::new(3));
        holds(&cache, &[(0, 1), (1, 2), (3, 3)]);
    });
}

/// A cell is linked where an entry of the bucket above is being linked.
/// Sees «blind cell».
#[test]
fn bucket_meets_insert() {
    model(3, || {
        let cache = share(growing(10));
        cache.insert(0, Value::new(1));
        let other = cache.clone();
        let thread = spawn(move || other.insert(1, Value::new(2)));
        cache.insert(2, Value::new(3));
        thread.join().unwrap();
        holds(&cache, &[(0, 1), (1, 2), (2, 3)]);
    });
}

/// An entry is linked behind a cell that is in the list and about to be LINKED.
/// Sees «blind linked».
#[test]
fn linked_bucket_meets_insert() {
    model(2, || {
        let cache = share(growing(10));
        cache.insert(0, Value::new(1));
        let other = cache.clone();
        let thread = spawn(move || assert!(!other.invalidate(&1)));
        cache.insert(3, Value::new(2));
        thread.join().unwrap();
        holds(&cache, &[(0, 1), (3, 2)]);
    });
}

/// The table grows, and a cell is linked, as a removal walks on from the cell that its bucket had before: it passes the new cell.
/// Sees «cell of a larger table».
#[test]
fn growth_meets_removal() {
    model(3, || {
        let cache = share(growing(10));
        cache.insert(3, Value::new(1));
        assert!(!cache.invalidate(&1)); // There are two buckets, and both have their cells.
        let other = cache.clone();
        let thread = spawn(move || assert!(other.invalidate(&3)));
        cache.reserve(4);
        assert!(!cache.invalidate(&7)); // This links a cell before the entry.
        thread.join().unwrap();
        holds(&cache, &[]);
    });
}

/// A reader starts from a cell that is just being linked, or from its ancestor: it misses nothing.
/// Sees «unlinked cell».
#[test]
fn bucket_meets_a_reader() {
    model(3, || {
        let cache = share(growing(10));
        cache.insert(1, Value::new(1)); // Of the one bucket; of the second, now that it has grown.
        let other = cache.clone();
        let thread = spawn(move || assert!(matches!(other.lease_owned(&3u64), Lookup::Lead(_))));
        assert_eq!(number(&cache, 1), Some(1));
        thread.join().unwrap();
        holds(&cache, &[(1, 1)]);
    });
}

/// A reader who starts from a cell that another has just linked finds what that leads to fully written, although a third has written
/// it, who did not come by that cell.
/// Sees «cell linked», «next load».
#[test]
fn linked_bucket_meets_a_reader() {
    model(1, || {
        let cache = warmed(share(growing(10).initial_capacity(4)), &Told::default());
        // Of the last level there are two cells; its memory is there, and that of key 3 is not initialised.
        assert!(!cache.invalidate(&2) && !cache.invalidate(&1));
        let [one, two] = [cache.clone(), cache.clone()];
        let inserter = spawn(move || one.insert(3, Value::new(1)));
        let reader = spawn(move || assert!(matches!(number(&two, 3), None | Some(1))));
        assert!(!cache.invalidate(&7));
        inserter.join().unwrap();
        reader.join().unwrap();
        holds(&cache, &[(3, 1)]);
    });
}

bugs! {
    insert_meets_a_reader: "link release", "next load";
    insert_meets_insert_of_its_key: "blind insert";
    insert_meets_insert_of_a_neighbour: "blind insert";
    insert_meets_removal_of_its_predecessor: "blind insert";
    removal_meets_removal_of_its_predecessor: "blind unlink";
    removal_meets_removal: "marked twice";
    replacement_meets_removal: "marked twice";
    replacement_meets_a_reader: "find stops at a mark";
    two_initialisers_of_a_bucket: "two initialisers";
    bucket_meets_insert: "blind cell";
    linked_bucket_meets_insert: "blind linked";
    growth_meets_removal: "cell of a larger table";
    bucket_meets_a_reader: "unlinked cell";
    linked_bucket_meets_a_reader: "cell linked", "next load";
}
