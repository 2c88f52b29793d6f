//! An array that hashes index, by itself, included by path.
#![cfg(loom)]
#![allow(unexpected_cfgs, reason = "the included sources look at the features and cfgs of their crate")]

extern crate alloc;

#[path = "../../tests/common/sys.rs"]
mod sys;

use bellwether_loom_tests::{bugs, model, spawn};
use loom::cell::UnsafeCell;
use std::sync::Arc;
use sys::hashed::HashedArray;

/// An element: something that was written before its array was published.
#[repr(align(64))]
struct Element(UnsafeCell<u32>);

// SAFETY: loom checks every access to the cell.
unsafe impl Send for Element {}
// SAFETY: as above.
unsafe impl Sync for Element {}

const MADE: u32 = 7;

fn array() -> Arc<HashedArray<Element>> {
    // SAFETY: under loom, `make` is called. Elements are not zero-sized.
    Arc::new(unsafe { HashedArray::new(|| Element(UnsafeCell::new(MADE))) })
}

/// Reads the element of a hash, if there is an array: it is whole.
fn whole(array: &HashedArray<Element>, hash: u64) -> bool {
    // SAFETY: written before it was published, or loom says so.
    array.get(hash).is_some_and(|element| element.0.with(|value| unsafe { *value }) == MADE)
}

/// Two threads take the first array into use at once, while a third looks: one of the two does, and what is found is whole.
/// Sees «hashed release», «hashed acquire», «hashed array release», «hashed overwrite».
#[test]
fn two_threads_make_the_first_array() {
    model(3, || {
        let array = array();
        let threads = [0, u64::MAX].map(|hash| {
            let array = array.clone();
            spawn(move || {
                let first = array.exchange(0, 1);
                assert!(whole(&array, hash), "there is an array");
                first
            })
        });
        let _found = whole(&array, u64::MAX);
        let first = threads.map(|thread| thread.join().unwrap());
        assert_eq!(first.into_iter().filter(|&first| first).count(), 1, "one of them takes it into use");
    });
}

/// Two threads exchange an array at once: one of the two does.
/// Sees «hashed overwrite».
#[test]
fn exchange_meets_exchange() {
    model(3, || {
        let array = array();
        assert!(array.exchange(0, 1));
        let other = array.clone();
        let thread = spawn(move || other.exchange(1, 2));
        let mine = array.exchange(1, 2);
        assert!(whole(&array, u64::MAX >> 1));
        let theirs = thread.join().unwrap();
        assert!(mine != theirs, "one of them exchanges it");
        assert!(!array.exchange(1, 2) && array.exchange(2, 1));
    });
}

bugs! {
    two_threads_make_the_first_array: "hashed release", "hashed acquire", "hashed array release", "hashed overwrite";
    exchange_meets_exchange: "hashed overwrite";
}
