//! The list of free nodes by itself, included by path: in models of the cache, nodes come from the allocator one by one, so
//! that who uses a freed one is seen.
#![cfg(loom)]
#![allow(unexpected_cfgs, reason = "the included sources look at the feature `std` of their crate")]

extern crate alloc;

#[path = "../../src/reclaim/free_list.rs"]
mod free_list;
#[path = "../../tests/common/sys.rs"]
mod sys;

use bellwether_loom_tests::{bugs, model, spawn};
use free_list::FreeList;
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

/// A node: its link, and what only its owner touches.
struct Node {
    below: AtomicU32,
    content: UnsafeCell<u32>,
}

struct Scene {
    list: FreeList,
    nodes: [Node; 3],
}

// SAFETY: loom checks every access to the cells.
unsafe impl Send for Scene {}
// SAFETY: as above.
unsafe impl Sync for Scene {}

impl Scene {
    /// All three are free: 1 is on top of 2, and that of 3.
    fn full() -> Arc<Self> {
        let node = |_| Node { below: AtomicU32::new(0), content: UnsafeCell::new(0) };
        let scene = Self { list: FreeList::new(), nodes: [1, 2, 3].map(node) };
        scene.node(1).below.store(2, Ordering::Relaxed);
        scene.node(2).below.store(3, Ordering::Relaxed);
        scene.list.push(1, &scene.node(3).below);
        Arc::new(scene)
    }

    fn node(&self, number: u32) -> &Node {
        &self.nodes[number as usize - 1]
    }

    /// Takes one and uses it: its link's place for something else, too.
    fn pop(&self) -> Option<u32> {
        let number = self.list.pop(|number| (&self.node(number).below, number))?;
        self.node(number).below.store(77, Ordering::Relaxed);
        // SAFETY: nobody else's, or loom says so.
        self.node(number).content.with_mut(|content| unsafe { *content += 1 });
        Some(number)
    }

    fn push(&self, number: u32) {
        // SAFETY: as above.
        self.node(number).content.with_mut(|content| unsafe { *content += 1 });
        self.list.push(number, &self.node(number).below);
    }

    /// Each is free once, or held by who is named here.
    fn complete(&self, held: impl IntoIterator<Item = u32>) {
        let mut found: Vec<u32> = held.into_iter().collect();
        while let Some(number) = self.pop() {
            found.push(number);
            assert!(found.len() <= 3, "one is there twice: {found:?}");
        }
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3]);
    }
}

/// One pops while another pops two and pushes the first of them, which is on top again with another one below it (ABA).
/// Sees «free list without tag».
#[test]
fn pop_meets_pop_and_push() {
    model(4, || {
        let scene = Scene::full();
        let other = scene.clone();
        let thread = spawn(move || {
            let (first, second) = (other.pop().unwrap(), other.pop());
            other.push(first);
            second
        });
        let mine = scene.pop();
        let second = thread.join().unwrap();
        scene.complete(mine.into_iter().chain(second));
    });
}

/// Two pop, while one pops and pushes back: nobody gets what another has, and each sees all that was done with it before.
/// Sees «free list push», «free list without tag».
#[test]
fn two_pop_and_one_pushes() {
    model(3, || {
        let scene = Scene::full();
        let popper = |scene: &Arc<Scene>| {
            let scene = scene.clone();
            spawn(move || scene.pop())
        };
        let poppers = [popper(&scene), popper(&scene)];
        let mine = scene.pop().expect("one for each");
        scene.push(mine);
        let held: Vec<u32> = poppers.into_iter().filter_map(|popper| popper.join().unwrap()).collect();
        scene.complete(held);
    });
}

/// A chain is pushed while another pops and pushes back.
/// Sees «free list push».
#[test]
fn chain_meets_pop_and_push() {
    model(4, || {
        let scene = Scene::full();
        let (one, two) = (scene.pop().unwrap(), scene.pop().unwrap());
        let other = scene.clone();
        let thread = spawn(move || {
            if let Some(number) = other.pop() {
                other.push(number);
            }
        });
        scene.node(two).below.store(one, Ordering::Relaxed);
        scene.list.push(two, &scene.node(one).below);
        thread.join().unwrap();
        scene.complete([]);
    });
}

bugs! {
    pop_meets_pop_and_push: "free list without tag";
    two_pop_and_one_pushes: "free list push", "free list without tag";
    chain_meets_pop_and_push: "free list push";
}
