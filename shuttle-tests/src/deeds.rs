//! What a thread may do, one deed at a time, at a key of shuttle's choice.

use crate::field::{Field, SECOND};
use crate::loads::Call;
use crate::{one_of, roll};
use bellwether::Entry;
use std::sync::Arc;
use std::time::Duration;

/// One call of the cache, or a few.
pub type Deed = fn(&Arc<Field>, u64);

/// So many of these deeds, at keys of this field.
pub fn some(field: &Arc<Field>, many: usize, deeds: &[Deed]) {
    for _ in 0..many {
        one_of(deeds)(field, roll(field.terms.keys as usize) as u64);
    }
}

/// Looks by one of the plain reads.
pub fn read(field: &Arc<Field>, key: u64) {
    let (call, cache) = (Call::new(field, key), &field.cache);
    match roll(4) {
        0 => cache.get(&key).iter().for_each(|value| call.given(value, "get")),
        1 => cache.get_ref(&key).iter().for_each(|value| call.given(value, "get_ref")),
        2 => cache.get_entry(&key).iter().for_each(|value| call.given(value, "get_entry")),
        _ => {
            let pinned = cache.pin();
            pinned.get(&key).iter().for_each(|value| call.given(value, "pin, get"));
            pinned.get_ref(&key).iter().for_each(|value| call.given(value, "pin, get_ref"));
        }
    }
}

/// Keeps an entry while others do things, and reads it after that.
pub fn keep(field: &Arc<Field>, key: u64) {
    let call = Call::new(field, key);
    let Some(entry) = field.cache.get_entry(&key) else { return };
    let another = Entry::clone(&entry);
    drop(entry);
    shuttle::thread::yield_now();
    call.given(&another, "an entry that was kept");
    assert_eq!(*Entry::key(&another), key);
}

/// Reads a value by reference for as long as others do things.
pub fn hold(field: &Arc<Field>, key: u64) {
    let call = Call::new(field, key);
    let pinned = field.cache.pin();
    let Some(value) = pinned.get_ref(&key) else { return };
    shuttle::thread::yield_now();
    call.given(&value, "a reference that was kept");
}

/// Inserts.
pub fn insert(field: &Arc<Field>, key: u64) {
    field.insert(key, None);
}

/// Inserts what expires at once, or after a second.
pub fn insert_for(field: &Arc<Field>, key: u64) {
    field.insert(key, Some(one_of(&[Duration::ZERO, SECOND])));
}

/// Removes.
pub fn remove(field: &Arc<Field>, key: u64) {
    let call = Call::new(field, key);
    let removed = field.write(key..=key, || field.cache.remove(&key), |_| true);
    removed.iter().for_each(|value| call.given(value, "remove"));
}

/// Invalidates.
pub fn invalidate(field: &Arc<Field>, key: u64) {
    field.write(key..=key, || field.cache.invalidate(&key), |_| true);
}

/// Removes, or not.
pub fn remove_if(field: &Arc<Field>, key: u64) {
    let (call, doomed) = (Call::new(field, key), roll(2) == 0);
    let version = field.ledger.write(key);
    let removed = field.cache.remove_if(&key, |_, _| doomed);
    removed.iter().for_each(|value| call.given(value, "remove_if"));
    field.ledger.written(key, version, removed.is_some());
}

/// Invalidates everything.
pub fn invalidate_all(field: &Arc<Field>, _: u64) {
    field.write(0..field.terms.keys, || field.cache.invalidate_all(), |_| true);
}

/// Keeps even keys.
pub fn retain(field: &Arc<Field>, _: u64) {
    field.write(0..field.terms.keys, || field.cache.retain(|key, _| key % 2 == 0), |key| key % 2 == 1);
}

/// Invalidates the tag of a key. (Another tag may share its cell, so all keys are written.)
pub fn invalidate_tag(field: &Arc<Field>, key: u64) {
    let tag = key & 1;
    field.write(0..field.terms.keys, || field.cache.invalidate_tag(&tag), |key| key & 1 == tag);
}

/// Ends an entry's time. A load that begins afterwards may run beside one that began before, as after a writer's call.
pub fn expire(field: &Arc<Field>, key: u64) {
    let version = field.ledger.write(key);
    field.cache.expire(&key);
    field.ledger.written(key, version, false);
}

/// Purges.
pub fn purge(field: &Arc<Field>, _: u64) {
    field.cache.purge_expired();
}

/// Another capacity, from nothing to the first.
pub fn resize(field: &Arc<Field>, _: u64) {
    field.cache.set_capacity(field.terms.capacity * roll(3) as u64 / 2);
}

/// Walks over all.
pub fn walk(field: &Arc<Field>, _: u64) {
    field.walk();
}

/// Half a second goes by.
pub fn half_a_second(field: &Arc<Field>, _: u64) {
    field.advance(SECOND / 2);
}

/// A second goes by.
pub fn a_second(field: &Arc<Field>, _: u64) {
    field.advance(SECOND);
}

/// Loads, if there is nothing.
pub fn get_with(field: &Arc<Field>, key: u64) {
    Call::new(field, key).get_with();
}

/// Loads, and may fail.
pub fn try_get_with(field: &Arc<Field>, key: u64) {
    Call::new(field, key).try_get_with();
}

/// Loads as a task, and may be dropped.
pub fn task(field: &Arc<Field>, key: u64) {
    Call::new(field, key).task();
}

/// The same, and may fail.
pub fn try_task(field: &Arc<Field>, key: u64) {
    Call::new(field, key).try_task();
}

/// Takes a lease, or waits, by hand.
pub fn lease(field: &Arc<Field>, key: u64) {
    Call::new(field, key).lease();
}

/// Computes under the lease.
pub fn compute(field: &Arc<Field>, key: u64) {
    Call::new(field, key).compute();
}

/// Loads, and asks for the same key within that.
pub fn within(field: &Arc<Field>, key: u64) {
    Call::new(field, key).within();
}

/// Loads in the background.
pub fn detached(field: &Arc<Field>, key: u64) {
    crate::loads::detached(field, key);
}
