//! What the hand leaves: from small to main, and around in main.
#![cfg(loom)]

use bellwether_loom_tests::{KEY, SAME, SAME_TOO, Shared, Told, Value, all_told, bugs, listened, model, spawn, two};

/// A fourth key of the same hash.
const OTHER: u64 = 3 << 32;

/// A full cache of three. `KEY` was used twice: to make room, the hand moves it to main (which has a segment by now: that of
/// another value, which was told of) and takes `SAME`.
fn warm() -> (Shared, Told) {
    let (cache, told) = listened(1);
    used_twice(&cache, OTHER, 9);
    cache.set_capacity(0);
    cache.set_capacity(3);
    used_twice(&cache, KEY, 1);
    cache.insert(SAME, Value::new(2));
    cache.insert(SAME_TOO, Value::new(3));
    (cache, told)
}

fn used_twice(cache: &Shared, key: u64, value: u32) {
    cache.insert(key, Value::new(value));
    assert!(cache.get_ref(&key).is_some() && cache.get_ref(&key).is_some());
}

/// A full cache of three, with `KEY` and `SAME` in main, and small at its share. `KEY` was used once: to make room, the hand
/// puts it behind `SAME`, and takes that.
fn in_main() -> (Shared, Told) {
    let (cache, told) = listened(3);
    used_twice(&cache, KEY, 1);
    used_twice(&cache, SAME, 2);
    cache.insert(SAME_TOO, Value::new(3));
    cache.insert(OTHER, Value::new(4));
    assert_eq!(told.all().pop().map(|(key, ..)| key), Some(SAME_TOO));
    assert!(cache.get_ref(&KEY).is_some());
    (cache, told)
}

/// Both scenes are what they say: the hand takes `SAME`, and leaves `KEY` in main.
#[test]
fn scenes() {
    model(0, || {
        for scene in [warm, in_main] {
            let (cache, told) = scene();
            cache.set_capacity(2);
            assert_eq!(told.all().pop().map(|(key, ..)| key), Some(SAME));
            assert!(cache.contains_key(&KEY));
            all_told(&cache, &told, 4);
        }
    });
}

/// The hand moves an entry from small to main as it is removed: no slot keeps it.
/// Sees «main not settled».
#[test]
fn promotion_meets_removal() {
    let remove = |c: &Shared| _ = c.invalidate(&KEY);
    two(2, warm, |c| c.set_capacity(2), remove, |c, told, (), ()| all_told(c, told, 4));
}

/// The same as it is replaced: the newcomer gets its slot, or one of its own.
/// Sees «number behind the seat», «seat not checked».
#[test]
fn promotion_meets_a_replacement() {
    model(1, || {
        let (cache, told) = warm();
        let other = cache.clone();
        let thread = spawn(move || other.set_capacity(2));
        cache.insert(KEY, Value::new(3));
        thread.join().unwrap();
        all_told(&cache, &told, 5);
    });
}

/// Main's hand takes a use off an entry and puts it back as it is removed.
/// Sees «main not settled».
#[test]
fn rotation_meets_removal() {
    let remove = |c: &Shared| _ = c.invalidate(&KEY);
    two(2, in_main, |c| c.set_capacity(2), remove, |c, told, (), ()| all_told(c, told, 4));
}

/// The same as it is replaced.
/// Sees «number behind the seat».
#[test]
fn rotation_meets_a_replacement() {
    model(1, || {
        let (cache, told) = in_main();
        let other = cache.clone();
        let thread = spawn(move || other.set_capacity(2));
        cache.insert(KEY, Value::new(4));
        thread.join().unwrap();
        all_told(&cache, &told, 5);
    });
}

bugs! {
    promotion_meets_removal: "main not settled";
    promotion_meets_a_replacement: "number behind the seat", "seat not checked";
    rotation_meets_removal: "main not settled";
    rotation_meets_a_replacement: "number behind the seat";
}
