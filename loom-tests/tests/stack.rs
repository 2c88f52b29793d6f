//! The lists that are taken whole by themselves, included by path: the models of the cache free all that is ripe at once, and
//! so put nothing back.
#![cfg(loom)]
#![allow(unexpected_cfgs, reason = "the included sources look at the feature `std` of their crate")]

extern crate alloc;

#[path = "../../tests/common/sys.rs"]
mod sys;

use bellwether_loom_tests::{bugs, model, spawn};
use loom::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::Arc;
use sys::stack::{Below, Chain, Linked, Stack};

/// A bag: its link, and what only its owner touches.
struct Bag {
    below: Below,
    content: UnsafeCell<u32>,
    number: usize,
}

impl Linked for Bag {
    fn below(&self) -> &Below {
        &self.below
    }
}

struct Scene {
    list: Stack<Bag>,
    bags: [Bag; 3],
}

// SAFETY: loom checks every access to the cells.
unsafe impl Send for Scene {}
// SAFETY: as above.
unsafe impl Sync for Scene {}

impl Scene {
    /// A list with the first so many.
    fn with(listed: usize) -> Arc<Self> {
        let bag = |number| Bag { below: Below::nothing(), content: UnsafeCell::new(0), number };
        let scene = Arc::new(Self { list: Stack::new(), bags: [0, 1, 2].map(bag) });
        (0..listed).for_each(|number| scene.push(number));
        scene
    }

    /// Uses a bag that is the caller's.
    fn touch(bag: &Bag) {
        // SAFETY: nobody else's, or loom says so.
        bag.content.with_mut(|content| unsafe { *content += 1 });
    }

    fn push(&self, number: usize) {
        Self::touch(&self.bags[number]);
        // SAFETY: each model pushes one that is nobody else's; all live as long as the scene.
        unsafe { self.list.push(NonNull::from(&self.bags[number])) };
    }

    /// Takes the list, keeps one, and puts the others back.
    fn take_one(&self) -> Option<usize> {
        let mut taken = self.list.take();
        taken.iter().for_each(Self::touch);
        let rest = taken.cut(1);
        self.list.put_back(rest);
        Self::emptied(taken).pop()
    }

    fn emptied(mut chain: Chain<Bag>) -> Vec<usize> {
        // SAFETY: the scene's.
        std::iter::from_fn(|| chain.pop().map(|bag| unsafe { bag.as_ref() }))
            .inspect(|bag| Self::touch(bag))
            .map(|bag| bag.number)
            .collect()
    }

    /// Each is in the list once, or with whom is named here.
    fn complete(&self, held: impl IntoIterator<Item = usize>) {
        let mut found = Self::emptied(self.list.take());
        found.extend(held);
        found.sort_unstable();
        assert_eq!(found, [0, 1, 2]);
    }
}

/// What was taken is put back while another one is pushed.
/// Sees «blind put back», «push unreleased».
#[test]
fn put_back_meets_push() {
    model(4, || {
        let scene = Scene::with(2);
        let other = scene.clone();
        let thread = spawn(move || other.push(2));
        let mine = scene.take_one();
        thread.join().unwrap();
        scene.complete(mine);
    });
}

/// Two take the list, keep one, and put the others back: nobody gets what another has, and each sees what was done with it.
/// Sees «blind put back», «list put back», «take unacquired».
#[test]
fn put_back_meets_put_back() {
    model(4, || {
        let scene = Scene::with(3);
        let other = scene.clone();
        let thread = spawn(move || other.take_one());
        let mine = scene.take_one();
        let theirs = thread.join().unwrap();
        scene.complete(mine.into_iter().chain(theirs));
    });
}

/// The list is taken, and what was in it pushed anew, between a pusher's look at the head and its CAS, which finds the same
/// address there (ABA).
/// Sees «push unreleased», «take unacquired».
#[test]
fn push_meets_the_same_head_anew() {
    model(4, || {
        let scene = Scene::with(1);
        let other = scene.clone();
        let thread = spawn(move || {
            let taken = Scene::emptied(other.list.take());
            taken.iter().for_each(|&number| other.push(number));
        });
        scene.push(1);
        scene.push(2);
        thread.join().unwrap();
        scene.complete([]);
    });
}

/// Two push, and one takes one and puts the rest back.
/// Sees «blind put back», «push unreleased».
#[test]
fn two_push_and_one_puts_back() {
    model(3, || {
        let scene = Scene::with(1);
        let pushers = [1, 2].map(|number| {
            let scene = scene.clone();
            spawn(move || scene.push(number))
        });
        let mine = scene.take_one();
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        scene.complete(mine);
    });
}

bugs! {
    put_back_meets_push: "blind put back", "push unreleased";
    put_back_meets_put_back: "blind put back", "list put back", "take unacquired";
    push_meets_the_same_head_anew: "push unreleased", "take unacquired";
    two_push_and_one_puts_back: "blind put back", "push unreleased";
}
