//! The one connection to the server, and what is known of it.

mod address;
#[cfg(feature = "cluster")]
mod cluster;
mod nodes;
mod pushes;
mod supervisor;

pub(crate) use address::Address;
pub(crate) use nodes::Nodes;
pub(crate) use pushes::PushTarget;
pub(crate) use supervisor::{supervise, text_of};

use crate::flights::lock;
use bellwether::{Clock, CoarseClock};
use redis::RedisResult;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// The state of the link to the server.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkState {
    /// There was no connection yet. Loads are local.
    Connecting,
    /// The server answers.
    #[non_exhaustive]
    Up {
        /// Whether the server announces changes (client tracking). If not, memory keeps a value for
        /// the [`untracked_ttl`](crate::Builder::untracked_ttl) only, and waits end by the probe.
        tracking: bool,
    },
    /// The link was lost. Loads are local, writes are queued.
    Down,
}

/// What a tier tells its [`observer`](crate::Builder::observer).
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TierEvent {
    /// The link is up.
    #[non_exhaustive]
    LinkUp {
        /// Whether the server announces changes. If not, the tier runs in its mode without pushes.
        tracking: bool,
        /// How many writes were replayed.
        replayed: u64,
        /// How many values were dropped from memory, as they had changed.
        outdated: u64,
    },
    /// The link was lost.
    LinkLost,
    /// A connection could not be made or prepared. The text is the client's and the server's, and
    /// holds no address.
    #[non_exhaustive]
    ConnectFailed {
        /// What failed.
        why: String,
    },
    /// The queue of writes ran over: at the link's return a new generation begins, and all entries
    /// of all processes are loaded anew.
    QueueOverflow,
    /// A value on the server could not be decoded. It counts as a miss.
    Undecodable,
    /// Something was counted: see [`Stats`](crate::Stats).
    #[non_exhaustive]
    Counted {
        /// The counter's name, as [`Stats::named`](crate::Stats::named) has it.
        name: &'static str,
        /// By how much it has grown; not zero.
        number: u64,
    },
}

/// How long the link waits for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinkTimes {
    pub(crate) heartbeat: Duration,
    pub(crate) heartbeat_limit: Duration,
    pub(crate) command: Duration,
    pub(crate) connect: Duration,
    pub(crate) unlinked_ttl: Duration,
}

impl LinkTimes {
    /// How long after the last answered heartbeat the link counts as alive.
    pub(crate) fn alive_for(&self) -> Duration {
        self.heartbeat + self.heartbeat_limit
    }
}

/// The generation, which is part of each entry's key. None: to be asked for.
#[derive(Debug, Default)]
struct Generation {
    stamp: Option<Arc<str>>,
    /// How often a change was pushed.
    pushes: u64,
}

/// A connection that flights may use.
#[derive(Clone)]
pub(crate) struct Connected {
    pub(crate) nodes: Nodes,
    pub(crate) tracking: bool,
    /// The channel by which others see that this connection lives. Each connection has its own: a
    /// question that a stopped server takes late, from one that was given up, leases nothing.
    pub(crate) alive: Arc<str>,
    /// Closed when the connection is given up.
    given_up: watch::Receiver<()>,
}

impl Connected {
    /// Waits for a command, or until the connection is given up.
    pub(crate) async fn until_given_up<T>(&self, command: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
        let mut given_up = self.given_up.clone();
        tokio::select! {
            biased;
            done = command => done,
            _ = given_up.changed() => Err((redis::ErrorKind::Io, "the link was lost").into()),
        }
    }
}

pub(crate) struct Link {
    current: Mutex<Option<(Connected, watch::Sender<()>)>>,
    /// How many connections there were.
    connections: AtomicU64,
    generation: Mutex<Generation>,
    /// Until when memory may serve, by `clock`, in ns.
    good_until: AtomicU64,
    clock: CoarseClock,
    state: watch::Sender<LinkState>,
    /// Rung when the connection may be gone: the supervisor looks at once.
    trouble: Notify,
    /// Rung when the connection must be replaced, though it may answer.
    reset: Notify,
    /// Whether the server has said that another one is in its place.
    moved: AtomicBool,
    pub(crate) times: LinkTimes,
}

impl Link {
    pub(crate) fn new(times: LinkTimes) -> Self {
        Self {
            current: Mutex::new(None),
            connections: AtomicU64::new(0),
            generation: Mutex::default(),
            // Nothing is in memory yet, and what comes while there is no link has a short life.
            good_until: AtomicU64::new(u64::MAX),
            clock: CoarseClock::new(),
            state: watch::Sender::new(LinkState::Connecting),
            trouble: Notify::new(),
            reset: Notify::new(),
            moved: AtomicBool::new(false),
            times,
        }
    }

    /// Returns whether memory may serve now: the server has answered a heartbeat a moment ago, or
    /// memory has only what was loaded since the link was lost.
    ///
    /// A process that was stopped finds no timer of its own to trust, so each read asks the clock.
    #[inline]
    pub(crate) fn memory_is_good(&self) -> bool {
        // Relaxed: the time alone counts; a push orders itself by the cache.
        let until = self.good_until.load(Ordering::Relaxed);
        until == u64::MAX || self.clock.now() < until
    }

    fn now(&self) -> u64 {
        self.clock.now()
    }

    fn serve_memory_until(&self, at: u64) {
        self.good_until.store(at, Ordering::Relaxed);
    }

    /// Returns the connection, if the link is up.
    pub(crate) fn current(&self) -> Option<Connected> {
        lock(&self.current).as_ref().map(|(connected, _)| connected.clone())
    }

    fn set_current(&self, nodes: &Nodes, tracking: bool, alive: Arc<str>) {
        let (sender, given_up) = watch::channel(());
        *lock(&self.current) = Some((Connected { nodes: nodes.clone(), tracking, alive, given_up }, sender));
    }

    /// Gives the connection up: commands that wait for it end now.
    fn give_up(&self) {
        *lock(&self.current) = None;
    }

    pub(crate) fn state(&self) -> LinkState {
        *self.state.borrow()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    fn set_state(&self, state: LinkState) {
        self.state.send_replace(state);
    }

    /// Has the supervisor look whether the connection is alive.
    pub(crate) fn suspect(&self) {
        self.trouble.notify_one();
    }

    /// Has the supervisor connect anew: another server is in the place of this one.
    pub(crate) fn moved(&self) {
        // Relaxed: the notification orders it.
        self.moved.store(true, Ordering::Relaxed);
        self.reset.notify_one();
    }

    fn take_moved(&self) -> bool {
        self.moved.swap(false, Ordering::Relaxed)
    }

    /// Has the supervisor replace the connection.
    pub(crate) fn replace(&self) {
        self.reset.notify_one();
    }

    /// Returns the generation, if it is known.
    pub(crate) fn generation(&self) -> Option<Arc<str>> {
        lock(&self.generation).stamp.clone()
    }

    /// Returns how often a change of the generation was pushed.
    pub(crate) fn generation_pushes(&self) -> u64 {
        lock(&self.generation).pushes
    }

    /// Notes the generation that was read, unless a change was pushed since `before`.
    pub(crate) fn set_generation(&self, stamp: &str, before: u64) -> bool {
        let mut generation = lock(&self.generation);
        let calm = generation.pushes == before;
        if calm {
            generation.stamp = Some(stamp.into());
        }
        calm
    }

    /// Forgets the generation: it is about to change, or has changed.
    pub(crate) fn forget_generation(&self) {
        let mut generation = lock(&self.generation);
        generation.pushes += 1;
        generation.stamp = None;
    }
}
