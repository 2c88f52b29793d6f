//! Callers of key 1 that differ only in how they ask, and threads of their own to ask in.

use crate::common::*;
use bellwether::{LoadError, Outcome};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

pub(crate) type Shared = Arc<TestCache>;
pub(crate) type Told = Result<(u64, Outcome), LoadError<Broken>>;

/// How a caller asks: as a thread or a task, whose load runs where it is or in the background.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Face {
    Thread,
    Task,
    DetachedThread,
    DetachedTask,
}

pub(crate) const FACES: [Face; 4] = [Face::Thread, Face::Task, Face::DetachedThread, Face::DetachedTask];

pub(crate) fn told<T: Deref<Target = u64>>(found: Result<(T, Outcome), LoadError<Broken>>) -> Told {
    found.map(|(entry, outcome)| (*entry, outcome))
}

/// Has a thread of its own ask.
pub(crate) fn in_a_thread(cache: &Shared, ask: impl FnOnce(&Shared) -> Told + Send + 'static) -> Receiver<Told> {
    let (send, told) = mpsc::channel();
    let cache = cache.clone();
    thread::spawn(move || {
        let answer = ask(&cache);
        drop(cache);
        send.send(answer)
    });
    told
}

pub(crate) fn answer(told: &Receiver<Told>) -> Told {
    told.recv_timeout(Duration::from_secs(60)).expect("it is answered")
}
