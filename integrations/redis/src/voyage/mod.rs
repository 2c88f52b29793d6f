//! The load of a key over all processes: what the leader among this process's callers does.
//!
//! `inquiry` asks the server, and waits for other processes, until there is an answer or a load to
//! run; `load` runs it. Neither knows how many callers of this process wait: the memory level does.

mod boarding;
mod bulk;
mod inquiry;
mod load;
mod waiting;

pub(crate) use boarding::{Background, Boarded, board};
pub(crate) use bulk::Got;
pub(crate) use inquiry::Lease;
pub(crate) use load::text_of_error;

use crate::error::SharedError;
use crate::flights::lock;
use crate::held::Held;
use crate::inner::Inner;
use crate::key::SharedKey;
use crate::terms::Asked;
use bellwether::{Entry, Loaded};
use inquiry::{Inquiry, Next};
use std::fmt::Display;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// How new a value must be for a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Demand {
    #[default]
    Any,
    /// Its load begins after the call.
    Anew,
    /// It is no older than that.
    Within(Duration),
}

/// The settings of one call.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Call {
    pub(crate) asked: Asked,
    pub(crate) wait_timeout: Option<Duration>,
    pub(crate) soft_timeout: Option<Duration>,
    pub(crate) hard_timeout: Option<Duration>,
    pub(crate) lead_timeout: Duration,
    pub(crate) max_stale: Option<Duration>,
    pub(crate) demand: Demand,
    pub(crate) skip_shared_lock: bool,
}

impl Call {
    /// Returns how long past its time the caller takes a value in place of one that did not come.
    /// `window` is the value's own or the tier's.
    fn substitute_window(&self, window: Duration) -> Duration {
        match self.demand {
            Demand::Any => self.max_stale.unwrap_or(window),
            Demand::Anew | Demand::Within(_) => self.max_stale.unwrap_or_default(),
        }
    }
}

/// Where a value came from.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// This process's memory.
    Memory,
    /// The server.
    Shared,
    /// This caller's loader.
    Loaded,
    /// Another caller's load, of this process or of another one, that this caller waited for.
    Waited,
}

/// What a caller takes along while it leads its process's load.
pub(crate) struct Voyage<K: SharedKey, V: Clone + Send + Sync + 'static> {
    /// Dropped with the voyage: after memory has its result, so that no push in between is missed.
    boarded: Mutex<Option<Boarded<K, V>>>,
    source: Mutex<(Source, bool)>,
    /// Rung when the caller's time to wait for other processes is over.
    overdue: Notify,
    /// An old value for the caller whose time is over, and where it came from.
    instead: Mutex<Option<(V, Source)>>,
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Voyage<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            boarded: Mutex::new(None),
            source: Mutex::new((Source::Loaded, false)),
            overdue: Notify::new(),
            instead: Mutex::new(None),
        }
    }

    fn found(&self, source: Source, stale: bool) {
        *lock(&self.source) = (source, stale);
    }

    /// Returns where the value came from, and whether it is an old one.
    pub(crate) fn source(&self) -> (Source, bool) {
        *lock(&self.source)
    }

    /// Ends the caller's wait for other processes, with an old value if there is one for it.
    fn end_wait(&self, instead: Option<(V, Source)>) {
        *lock(&self.instead) = instead;
        self.overdue.notify_one();
    }

    /// Waits until the caller's time to wait for other processes is over. Returns the old value
    /// that it gets then.
    pub(crate) async fn overdue(&self) -> Option<(V, Source)> {
        self.overdue.notified().await;
        lock(&self.instead).take()
    }
}

/// What this process had when the load began.
pub(crate) struct Old<V> {
    pub(crate) held: Held<V>,
    pub(crate) fresh: bool,
}

impl<V: Clone> Old<V> {
    pub(crate) fn of<K>(entry: Option<Entry<'_, K, Held<V>>>) -> Option<Self> {
        let entry = entry?;
        let fresh = Entry::expires_in(&entry).is_none_or(|left| !left.is_zero());
        Some(Self { held: (*entry).clone(), fresh })
    }
}

type Result<T, E> = std::result::Result<Loaded<Held<T>>, SharedError<E>>;

/// A load as the leader among a process's callers begins it.
struct Trip<'t, K: SharedKey, V: Clone + Send + Sync + 'static> {
    key: &'t K,
    old: Option<Old<V>>,
    call: &'t Call,
    voyage: &'t Voyage<K, V>,
}

/// A value of the server whose time is over.
struct Stale<V> {
    held: Held<V>,
    over: Duration,
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Inner<K, V> {
    /// Brings a value for all callers of this process: from the server, from the process that loads
    /// it, or by `load`.
    pub(crate) async fn bring<E, F, Fut>(
        self: &Arc<Self>,
        key: &K,
        old: Option<Old<V>>,
        call: &Call,
        voyage: &Voyage<K, V>,
        load: F,
    ) -> Result<V, E>
    where
        E: Display + Send + Sync + 'static,
        F: FnOnce(Option<V>) -> Fut,
        Fut: Future<Output = std::result::Result<Loaded<V>, E>>,
    {
        let flight = board(self, key, old.is_some(), |boarded| *lock(&voyage.boarded) = Some(boarded));
        let trip = Trip { key, old, call, voyage };
        let mut inquiry = Inquiry::new(flight, &trip, self.settings.probe);
        loop {
            match self.inquire(&mut inquiry, &trip).await {
                Next::Again => {}
                Next::Found(found) => return Ok(found),
                Next::Failed(error) => return Err(SharedError::Remote(error)),
                Next::LoadLocally => return self.load_locally(trip, load).await,
                Next::LoadBeside => return self.load_beside(trip, load).await,
                Next::Lead(led) => return self.lead(led, trip, load).await,
            }
        }
    }
}
