//! The queue that one server at a time serves (the async eviction listener's), by itself, included by path.
#![cfg(loom)]
#![allow(unexpected_cfgs, reason = "the included sources look at the feature `std` of their crate")]

extern crate alloc;

#[path = "../../tests/common/sys.rs"]
mod sys;

use bellwether_loom_tests::{bugs, model, spawn};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use sys::serial::{Serial, Server};

struct Scene {
    queue: Arc<Serial<u32>>,
    /// What servers were given. One at a time uses it, or loom says so.
    served: UnsafeCell<Vec<u32>>,
    servers: AtomicUsize,
}

// SAFETY: loom checks every access to the cell.
unsafe impl Send for Scene {}
// SAFETY: as above.
unsafe impl Sync for Scene {}

impl Scene {
    fn new() -> Arc<Self> {
        let served = UnsafeCell::new(Vec::new());
        Arc::new(Self { queue: Arc::new(Serial::new()), served, servers: AtomicUsize::new(0) })
    }

    /// Pushes, and serves if no server is at work.
    fn push(&self, item: u32) {
        self.queue.push(item).into_iter().for_each(|server| self.serve(server));
    }

    fn serve(&self, mut server: Server<u32>) {
        self.servers.fetch_add(1, Ordering::Relaxed);
        while let Some(item) = server.next() {
            // SAFETY: servers do not overlap, or loom says so.
            self.served.with_mut(|served| unsafe { (*served).push(item) });
        }
    }

    /// Each was served once.
    fn complete(&self, items: &[u32]) {
        // SAFETY: the other threads have ended.
        let mut served = self.served.with(|served| unsafe { (*served).clone() });
        served.sort_unstable();
        assert_eq!(served, items);
    }
}

/// One pushes while the other's server finds the queue empty, and leaves.
/// Sees «serial rests blindly», «serial push», «serial rest».
#[test]
fn a_push_meets_a_server_that_leaves() {
    model(4, || {
        let scene = Scene::new();
        let other = scene.clone();
        let thread = spawn(move || other.push(1));
        scene.push(2);
        thread.join().unwrap();
        scene.complete(&[1, 2]);
    });
}

/// The same of three pushes: the second server leaves, too.
/// Sees «serial rests blindly».
#[test]
fn pushes_meet_servers_that_leave() {
    model(3, || {
        let scene = Scene::new();
        let other = scene.clone();
        let thread = spawn(move || {
            other.push(1);
            other.push(2);
        });
        scene.push(3);
        thread.join().unwrap();
        scene.complete(&[1, 2, 3]);
    });
}

/// A server is dropped with an item taken. The next push serves that, too.
#[test]
fn a_server_is_dropped_beside_a_push() {
    model(3, || {
        let scene = Scene::new();
        let server = scene.queue.push(1).unwrap();
        let other = scene.clone();
        let thread = spawn(move || other.push(2));
        drop(server);
        thread.join().unwrap();
        scene.push(3);
        scene.complete(&[1, 2, 3]);
    });
}

bugs! {
    a_push_meets_a_server_that_leaves: "serial rests blindly", "serial push", "serial rest";
    pushes_meet_servers_that_leave: "serial rests blindly";
}
