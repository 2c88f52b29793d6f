//! The pins of Linux (`src/reclaim/membarrier/`) where the kernel has no `membarrier`: with fences on both sides.
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
    use loom::sync::atomic::{AtomicBool, Ordering, fence};

    pub(crate) fn readers_fence() -> bool {
        true
    }

    pub(crate) fn asked(_: &AtomicBool) -> bool {
        true
    }

    pub(crate) fn point() {}

    pub(crate) fn on_processor(_: usize, script: impl FnOnce()) {
        script();
    }

    pub(crate) fn light(fences: impl FnOnce() -> bool) {
        if fences() && !mutant("no light fence") {
            fence(Ordering::SeqCst);
        }
    }

    pub(crate) fn heavy(_: impl FnOnce()) -> bool {
        fence(Ordering::SeqCst);
        true
    }
}

use bellwether_loom_tests::bugs;

pins_scene::models!();

bugs! {
    pin_meets_free: "no heavy fence", "no light fence", "unpin release", "look at pins";
    second_pin_meets_free: "no heavy fence", "no light fence", "pin release";
    nested_pins_meet_free: "no heavy fence", "no light fence";
    first_pin_meets_free: "no heavy fence", "no light fence";
    pin_meets_two_frees: "no heavy fence", "no light fence";
    moved_on_meets_free: "stamp before the fence";
    last_pin_outlives_its_handle: "leaves while pinned";
    two_join_where_one_left: "joins blindly";
}
