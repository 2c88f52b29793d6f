//! A box that the first thread that needs it allocates, by itself, included by path.
#![cfg(loom)]
#![allow(unexpected_cfgs, reason = "the included sources look at the features and cfgs of their crate")]

extern crate alloc;

#[path = "../../tests/common/sys.rs"]
mod sys;

use bellwether_loom_tests::{bugs, model, spawn};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use sys::late_box::LateBox;

/// What is in the box: a word, and something that was written before it was published.
struct Content {
    word: AtomicU32,
    made_by: UnsafeCell<u32>,
}

// SAFETY: loom checks every access to the cell.
unsafe impl Send for Content {}
// SAFETY: as above.
unsafe impl Sync for Content {}

fn content(by: u32) -> impl FnOnce() -> Content {
    move || Content { word: AtomicU32::new(0), made_by: UnsafeCell::new(by) }
}

/// Two threads need it at once, and a third looks whether it is there: all of them see one content.
#[test]
fn two_threads_allocate_one_box() {
    model(3, || {
        let place = Arc::new(LateBox::new());
        let threads = [1, 2].map(|by| {
            let place = place.clone();
            spawn(move || {
                let content = place.get_or_allocate(content(by));
                content.word.fetch_add(by, Ordering::Relaxed);
                // SAFETY: written before it was published, or loom says so.
                content.made_by.with(|made_by| unsafe { *made_by })
            })
        });
        if let Some(content) = place.get() {
            assert!(content.word.load(Ordering::Relaxed) <= 3);
            // SAFETY: as above.
            assert_ne!(content.made_by.with(|made_by| unsafe { *made_by }), 0);
        }
        let [one, two] = threads.map(|thread| thread.join().unwrap());
        assert_eq!(one, two, "one content");
        assert_eq!(place.get().map(|content| content.word.load(Ordering::Relaxed)), Some(3));
    });
}

bugs! {
    two_threads_allocate_one_box: "late release", "late acquire", "late overwrite";
}
