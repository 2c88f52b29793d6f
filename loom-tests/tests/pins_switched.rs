//! The pins of Linux (`src/reclaim/membarrier/`) where the kernel refuses `membarrier` after readers rely on it: they are told to fence.
//! That stores become visible in time is a step of its own here: it meets each processor that runs a reader at any of its `point`s,
//! and goes on when what that has stored before is visible, and what was stored before is visible to it.
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
    use crate::sys::mutants::mutant;
    use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
    use std::cell::Cell;

    pub(crate) fn readers_fence() -> bool {
        REFUSED.load(Ordering::Relaxed)
    }

    pub(crate) fn asked(fences: &AtomicBool) -> bool {
        let asked = fences.load(Ordering::Relaxed);
        point();
        asked
    }

    /// What a processor does: nothing of ours; a reader; a reader that is to be interrupted.
    const IDLE: usize = 0;
    const RUNS: usize = 1;
    const ASKED: usize = 2;

    loom::lazy_static! {
        static ref PROCESSORS: [AtomicUsize; 1] = [AtomicUsize::new(IDLE)];
        static ref REFUSED: AtomicBool = AtomicBool::new(false);
        static ref SETTLED: AtomicBool = AtomicBool::new(false);
    }

    loom::thread_local! {
        static MINE: Cell<Option<usize>> = Cell::new(None);
    }

    /// Where that step may fall.
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

    pub(crate) fn light(fences: impl FnOnce() -> bool) {
        point();
        if fences() && !mutant("no light fence") {
            fence(Ordering::SeqCst);
        }
    }

    /// Refused, from the first. It goes on once it can, where what ships answers false meanwhile.
    pub(crate) fn heavy(tell: impl FnOnce()) -> bool {
        if !SETTLED.load(Ordering::Acquire) {
            REFUSED.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if !mutant("readers are not told") {
                tell();
            }
            if !mutant("no wait for stores") {
                settle();
            }
            SETTLED.store(true, Ordering::Release);
        }
        fence(Ordering::SeqCst);
        true
    }

    fn settle() {
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
    }
}

use bellwether_loom_tests::bugs;

pins_scene::models!();

bugs! {
    pin_meets_free: "no wait for stores", "no heavy fence";
    second_pin_meets_free: "no wait for stores", "no heavy fence";
    nested_pins_meet_free: "no wait for stores", "no heavy fence";
    first_pin_meets_free: "no wait for stores", "no heavy fence";
    pin_meets_two_frees: "no wait for stores", "readers are not told", "flag before the note", "no light fence", "no heavy fence";
    moved_on_meets_free: "stamp before the fence";
    last_pin_outlives_its_handle: "leaves while pinned";
    two_join_where_one_left: "joins blindly";
}
