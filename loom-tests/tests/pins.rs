//! The pins of Linux (`src/reclaim/membarrier/`), whose readers execute no fence. `membarrier` is a step of its own here: it
//! interrupts each processor that runs a reader, at any of its `point`s, and goes on when all have executed a fence.
#![cfg(loom)]
#![allow(unexpected_cfgs, reason = "the included sources look at the feature `std` of their crate")]

extern crate alloc;

#[allow(dead_code, reason = "the face uses the rest")]
#[path = "../../src/reclaim/membarrier/collector.rs"]
mod collector;
mod pins_scene;
#[path = "../../tests/common/sys.rs"]
mod sys;

mod barrier {
    use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
    use std::cell::Cell;

    pub(crate) fn readers_fence() -> bool {
        false
    }

    /// No model's reader is told to fence: `pins_switched` has those.
    pub(crate) fn asked(_: &AtomicBool) -> bool {
        false
    }

    /// What a processor does: nothing of ours; a reader; a reader that is to be interrupted.
    const IDLE: usize = 0;
    const RUNS: usize = 1;
    const ASKED: usize = 2;

    loom::lazy_static! {
        static ref PROCESSORS: [AtomicUsize; 1] = [AtomicUsize::new(IDLE)];
    }

    loom::thread_local! {
        static MINE: Cell<Option<usize>> = Cell::new(None);
    }

    /// Where an interrupt may fall.
    pub(crate) fn point() {
        if let Some(mine) = MINE.with(Cell::get) {
            let processor = &PROCESSORS[mine];
            if processor.load(Ordering::Relaxed) == ASKED {
                fence(Ordering::SeqCst);
                processor.store(RUNS, Ordering::Release);
            }
        }
    }

    /// Runs a reader on a processor of its own; the scheduler has barriers before and after it.
    pub(crate) fn on_processor(mine: usize, script: impl FnOnce()) {
        PROCESSORS[mine].swap(RUNS, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        MINE.with(|m| m.set(Some(mine)));
        script();
        MINE.with(|m| m.set(None));
        fence(Ordering::SeqCst);
        PROCESSORS[mine].swap(IDLE, Ordering::AcqRel);
    }

    /// A compiler's fence is nothing to a processor.
    pub(crate) fn light(_: impl FnOnce() -> bool) {
        point();
    }

    pub(crate) fn heavy(_: impl FnOnce()) -> bool {
        fence(Ordering::SeqCst);
        let mine = MINE.with(Cell::get);
        for (_, processor) in PROCESSORS.iter().enumerate().filter(|(i, _)| Some(*i) != mine) {
            let ask = || processor.compare_exchange(RUNS, ASKED, Ordering::AcqRel, Ordering::Acquire);
            assert_ne!(ask(), Err(ASKED), "no model has two who ask");
            while processor.load(Ordering::Acquire) == ASKED {
                loom::thread::yield_now();
            }
        }
        fence(Ordering::SeqCst);
        true
    }
}

use bellwether_loom_tests::bugs;

pins_scene::models!();

bugs! {
    pin_meets_free: "no heavy fence";
    second_pin_meets_free: "no heavy fence";
    nested_pins_meet_free: "no heavy fence";
    first_pin_meets_free: "no heavy fence";
    pin_meets_two_frees: "no heavy fence";
    moved_on_meets_free: "stamp before the fence";
    last_pin_outlives_its_handle: "leaves while pinned";
    two_join_where_one_left: "joins blindly";
}
