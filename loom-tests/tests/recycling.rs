//! The slot rings by themselves: segments that go from one ring to the other, and threads that are late.
#![cfg(loom)]
#![allow(unexpected_cfgs, reason = "the included sources look at the feature `std` of their crate")]

extern crate alloc;

#[allow(dead_code, reason = "these models use only a part of it")]
#[path = "../../src/policy/rings/mod.rs"]
mod rings;
#[allow(dead_code, reason = "these models use only a part of it")]
mod rings_scene;
#[path = "../../tests/common/sys.rs"]
mod sys;

use bellwether_loom_tests::bugs;
use rings::Which::{Main, Small};
use rings_scene::{Scene, two};

/// A segment is appended as the hand leaves the one before, which goes to the other ring.
/// Sees «first passes last», «next stays», «any lap», «link release», «link acquire».
#[test]
fn append_meets_recycling() {
    let ready = |s: &Scene| {
        s.push_all(Small, 0..2);
        assert_eq!([s.pop(Small), s.pop(Small)], [Some(0), Some(1)]);
    };
    let recycler = |s: &Scene| {
        s.pop(Small);
        s.push_all(Main, 3..6);
        s.push(Small, 6);
    };
    two(2, ready, recycler, |s| s.push(Small, 2), |_| ());
}

/// A pusher is about to fill a cell, and its segment is in the other ring when it does.
/// Sees «any lap», «next stays», «lap stays».
#[test]
fn late_push_meets_the_other_ring() {
    let ready = |s: &Scene| {
        s.push(Small, 0);
        assert_eq!(s.pop(Small), Some(0));
    };
    let recycler = |s: &Scene| {
        s.pop(Small);
        s.push_all(Small, 1..3);
        let _ = [s.pop(Small), s.pop(Small)];
        s.push_all(Main, 3..5);
    };
    two(2, ready, recycler, |s| s.push(Small, 9), |_| ());
}

/// The same, and the hand of the other ring has come by.
/// Sees «any lap».
#[test]
fn late_push_meets_the_other_hand() {
    let ready = |s: &Scene| {
        s.push_all(Small, 0..3);
        assert_eq!([s.pop(Small), s.pop(Small), s.pop(Small)], [Some(0), Some(1), Some(2)]);
    };
    // Small is at the second segment, the first is free.
    let recycler = |s: &Scene| {
        s.pop(Small);
        s.push_all(Main, 3..5);
        s.push(Small, 5);
        let _ = [s.pop(Small), s.pop(Main), s.pop(Main)];
        s.push_all(Main, 6..8);
        s.pop(Main);
    };
    two(3, ready, recycler, |s| s.push(Small, 9), |_| ());
}

/// A slow hand has found its segment, and that is in the other ring when it looks at the cells.
/// Sees «slot not emptied», «own acquire».
#[test]
fn late_pop_meets_the_other_ring() {
    let ready = |s: &Scene| {
        s.push_all(Small, 0..3);
        assert_eq!(s.pop(Small), Some(0));
    };
    let recycler = |s: &Scene| {
        s.pop(Small);
        s.pop(Small);
        s.push_all(Main, 3..5);
        s.clear(1);
        s.push(Main, 5);
    };
    two(2, ready, recycler, |s| _ = s.pop(Small), |_| ());
}

/// A slow hand has seen an entry, and takes it out of the other ring, where the same entry is in the same cell by now. It
/// leaves a cell that looks as if it had not been filled yet.
/// Sees «late hand's cell stays», «pop acquire».
#[test]
fn late_pop_meets_the_same_entry_anew() {
    let ready = |s: &Scene| {
        s.push_all(Small, 0..2);
        s.clear(1);
    };
    let recycler = |s: &Scene| {
        let taken = s.pop(Small);
        s.push(Small, 2);
        s.pop(Small);
        s.pop(Small);
        if taken == Some(0) {
            s.push_all(Main, [0, 3]);
        }
    };
    two(1, ready, recycler, |s| _ = s.pop(Small), |_| ());
}

/// A slow hand has the link to its segment, and that is in the other ring, at another position, when it looks for the
/// position: it must not tell its ring that the hand is further on than it is.
/// Sees «lap not checked», «base acquire», «base release».
#[test]
fn late_pop_meets_another_position() {
    let ready = |s: &Scene| {
        s.push_all(Main, 0..4);
        (0..4).for_each(|i| assert_eq!(s.pop(Main), Some(i)));
        s.push_all(Small, 4..7);
        assert_eq!(s.pop(Small), Some(4));
    };
    // Small's first segment has an entry left, and is Main's next one.
    let recycler = |s: &Scene| {
        let _ = [s.pop(Small), s.pop(Small)];
        s.push(Small, 7);
        s.push(Main, 8);
    };
    two(1, ready, recycler, |s| _ = s.pop(Small), |_| ());
}

/// A segment is given back as another ring takes one.
/// Sees «free list order».
#[test]
fn take_meets_give() {
    let giver = |s: &Scene| {
        s.push_all(Small, 0..3);
        let _ = [s.pop(Small), s.pop(Small), s.pop(Small)];
    };
    two(3, |_| (), |s| s.push(Main, 3), giver, |_| ());
}

/// The segment on top of the free list is taken, the one below it as well, and the first is back on top, while another
/// is about to take it.
/// Sees «no version».
#[test]
fn take_meets_take_take_give() {
    let ready = |s: &Scene| {
        s.push_all(Small, 0..6);
        (0..6).for_each(|i| assert_eq!(s.pop(Small), Some(i)));
    };
    // Two are free, and Small's one is used up.
    let other = |s: &Scene| {
        s.push_all(Small, 0..3);
        let _ = [s.pop(Small), s.pop(Small), s.pop(Small)];
    };
    two(3, ready, other, |s| s.push(Main, 9), |_| ());
}

bugs! {
    append_meets_recycling: "first passes last", "next stays", "any lap", "link release", "link acquire";
    late_push_meets_the_other_ring: "any lap", "next stays", "lap stays";
    late_push_meets_the_other_hand: "any lap";
    late_pop_meets_the_other_ring: "slot not emptied", "own acquire";
    late_pop_meets_the_same_entry_anew: "late hand's cell stays", "pop acquire";
    late_pop_meets_another_position: "lap not checked", "base acquire", "base release";
    take_meets_give: "free list order";
    take_meets_take_take_give: "no version";
}
