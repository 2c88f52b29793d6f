//! Who runs the callers of a scenario. Each caller is one future over a [`Face`], whose verbs block or are awaited; a crew
//! seats it on a thread of its own or on an executor.

use crate::common::tasks::block_on;
use crate::common::{Answer, Broken, Key, TestCache, quietly, waiting_for};
use crate::load::Load;
use bellwether::{Cache, LoadError};
use smol::future::FutureExt;
use std::future::Future;
use std::hash::{BuildHasher, Hash};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;
use tokio::runtime;
use tokio::sync::oneshot;

/// The verbs of one sort of caller.
#[derive(Clone, Copy, Debug)]
pub enum Face {
    Thread,
    Task,
}

impl Face {
    pub async fn get_with<K, V, S, Fut>(self, cache: &Cache<K, V, S>, key: &K, load: impl FnOnce() -> Fut) -> V
    where
        K: Hash + Eq + Clone,
        V: Clone,
        S: BuildHasher,
        Fut: Future<Output = V>,
    {
        match self {
            Self::Thread => cache.get_with(key, || block_on(load())),
            Self::Task => cache.get_with_async(key, load).await,
        }
    }

    pub async fn try_get_with<K, V, S, E, Fut>(
        self,
        cache: &Cache<K, V, S>,
        key: &K,
        load: impl FnOnce() -> Fut,
    ) -> Result<V, LoadError<E>>
    where
        K: Hash + Eq + Clone,
        V: Clone,
        S: BuildHasher,
        E: Send + Sync + 'static,
        Fut: Future<Output = Result<V, E>>,
    {
        match self {
            Self::Thread => cache.try_get_with(key, || block_on(load())),
            Self::Task => cache.try_get_with_async(key, load).await,
        }
    }
}

/// What runs a caller.
enum Seat {
    Thread,
    /// The runtime ends when the sender is dropped.
    Tokio {
        handle: runtime::Handle,
        _running: oneshot::Sender<()>,
    },
    Smol,
}

impl Seat {
    fn tokio(mut builder: runtime::Builder) -> Self {
        let runtime = builder.build().unwrap();
        let handle = runtime.handle().clone();
        // A runtime of the current thread runs its tasks while some thread blocks on it.
        let (_running, over) = oneshot::channel();
        thread::spawn(move || runtime.block_on(over));
        Self::Tokio { handle, _running }
    }

    fn face(&self) -> Face {
        if matches!(self, Self::Thread) { Face::Thread } else { Face::Task }
    }

    /// Runs it; what cancels it, if anything does.
    fn run(&self, call: impl Future<Output = ()> + Send + 'static) -> Option<Box<dyn FnOnce()>> {
        match self {
            Self::Thread => {
                // Callers need little stack, and there are up to a thousand of them.
                thread::Builder::new().stack_size(256 << 10).spawn(|| block_on(call)).unwrap();
                None
            }
            Self::Tokio { handle, .. } => {
                let task = handle.spawn(call);
                Some(Box::new(move || task.abort()))
            }
            Self::Smol => {
                let task = smol::spawn(call);
                Some(Box::new(move || drop(task)))
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Mode {
    Blocking,
    TokioCurrent,
    TokioMulti,
    Smol,
    Mixed,
}

impl Mode {
    fn seats(self) -> Vec<Seat> {
        let current = || Seat::tokio(runtime::Builder::new_current_thread());
        let multi = || {
            let mut builder = runtime::Builder::new_multi_thread();
            builder.worker_threads(3);
            Seat::tokio(builder)
        };
        match self {
            Self::Blocking => vec![Seat::Thread],
            Self::TokioCurrent => vec![current()],
            Self::TokioMulti => vec![multi()],
            Self::Smol => vec![Seat::Smol],
            Self::Mixed => vec![Seat::Thread, multi(), Seat::Smol],
        }
    }

    /// Runs a scenario, with each sort of caller as the first one once, by either verb.
    pub fn run(self, scenario: fn(&Crew)) {
        let crew = Crew { seats: self.seats(), next: AtomicUsize::new(0) };
        for first in 0..2 * crew.seats.len() {
            crew.next.store(first, Ordering::SeqCst);
            quietly(|| scenario(&crew));
        }
    }
}

/// The seats of a mode. Callers take them by turns.
pub struct Crew {
    seats: Vec<Seat>,
    next: AtomicUsize,
}

/// What a read-through came to.
pub type Told = Result<u64, LoadError<Broken>>;

/// By which verb a caller asks. The infallible one needs a load that does not fail.
#[derive(Clone, Copy)]
pub enum Verb {
    Infallible,
    Fallible,
}

impl Crew {
    fn start_in<T, Fut>(seat: &Seat, caller: impl FnOnce(Face) -> Fut) -> Caller<T>
    where
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let (sender, answer) = mpsc::channel();
        let call = caller(seat.face());
        let cancel = seat.run(async move {
            // What the caller holds, the cache among it, is gone before it is seen to have answered, or to be cancelled.
            let told = AssertUnwindSafe(call).catch_unwind().await;
            let _ = sender.send(told);
        });
        Caller { answer, cancel }
    }

    fn seat(&self) -> &Seat {
        &self.seats[self.next.fetch_add(1, Ordering::SeqCst) % self.seats.len()]
    }

    /// Either verb, by turns.
    fn verb(&self) -> Verb {
        [Verb::Infallible, Verb::Fallible][self.next.load(Ordering::SeqCst) % 2]
    }

    /// Starts a caller.
    pub fn start<T, Fut>(&self, caller: impl FnOnce(Face) -> Fut) -> Caller<T>
    where
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        Self::start_in(self.seat(), caller)
    }

    /// The same in a seat that can be cancelled.
    pub fn start_task<T, Fut>(&self, caller: impl FnOnce(Face) -> Fut) -> Caller<T>
    where
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        loop {
            let seat = self.seat();
            if !matches!(seat, Seat::Thread) {
                return Self::start_in(seat, caller);
            }
        }
    }

    /// Starts a caller of this verb.
    pub fn ask_by<S>(&self, verb: Verb, cache: &Arc<TestCache<S>>, key: Key, load: &Load) -> Caller<Told>
    where
        S: BuildHasher + Send + Sync + 'static,
    {
        self.start(|face| told(face, verb, cache.clone(), key, load.clone()))
    }

    /// Starts a caller of either verb, by turns.
    pub fn ask<S>(&self, cache: &Arc<TestCache<S>>, key: Key, load: &Load) -> Caller<Told>
    where
        S: BuildHasher + Send + Sync + 'static,
    {
        self.ask_by(self.verb(), cache, key, load)
    }

    /// The same in a seat that can be cancelled.
    pub fn ask_as_task(&self, cache: &Arc<TestCache>, key: Key, load: &Load) -> Caller<Told> {
        self.start_task(|face| told(face, self.verb(), cache.clone(), key, load.clone()))
    }

    /// Starts a leader whose load is held up, and `waiters` callers who are seen to wait for it.
    pub fn flight(
        &self,
        cache: &Arc<TestCache>,
        key: Key,
        load: &Load,
        waiters: usize,
        theirs: &Load,
    ) -> (Caller<Told>, Vec<Caller<Told>>) {
        let (begun, coalesced) = (load.calls(), cache.stats().coalesced);
        let leader = self.ask(cache, key, load);
        load.begun(begun + 1);
        let waiting = (0..waiters).map(|_| self.ask(cache, key, theirs)).collect();
        waiting_for(cache, coalesced + waiters as u64);
        (leader, waiting)
    }
}

async fn told<S: BuildHasher>(face: Face, verb: Verb, cache: Arc<TestCache<S>>, key: Key, load: Load) -> Told {
    match verb {
        Verb::Infallible => Ok(face.get_with(&cache, &key, || async { load.run().await.unwrap() }).await),
        Verb::Fallible => face.try_get_with(&cache, &key, || load.run()).await,
    }
}

/// A caller at work. It is to be asked for its answer, or cancelled.
#[must_use]
pub struct Caller<T> {
    answer: Receiver<thread::Result<T>>,
    cancel: Option<Box<dyn FnOnce()>>,
}

impl<T> Caller<T> {
    /// None: it was dropped.
    fn told(&self) -> Option<thread::Result<T>> {
        match self.answer.recv_timeout(Duration::from_secs(60)) {
            Ok(told) => Some(told),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("a caller was never answered"),
        }
    }

    /// Its answer, or its panic.
    pub fn joined(self) -> thread::Result<T> {
        self.told().expect("nobody cancels it")
    }

    pub fn output(self) -> T {
        self.joined().unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Has its executor drop it. The answer, if it was faster.
    pub fn cancel(mut self) -> Option<T> {
        let cancel = self.cancel.take().expect("a task");
        cancel();
        self.told().map(|told| told.unwrap_or_else(|panic| resume_unwind(panic)))
    }
}

impl Caller<Told> {
    pub fn answer(self) -> Answer {
        match self.joined() {
            Ok(Ok(value)) => Answer::Value(value),
            Ok(Err(error)) => Answer::Error(error),
            Err(_) => Answer::Panicked,
        }
    }
}

/// Whether all of them are told this value.
pub fn all_get(callers: impl IntoIterator<Item = Caller<Told>>, value: u64) -> bool {
    callers.into_iter().all(|caller| caller.answer().value() == value)
}
