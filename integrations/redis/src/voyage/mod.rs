//! The load of a key over all processes: what the leader among this process's callers does.
//!
//! `inquiry` asks the server, and waits for other processes, until there is an answer or a load to
//! run; `load` runs it. Neither knows how many callers of this process wait: the memory level does.

mod inquiry;
mod load;

use crate::error::SharedError;
use crate::flights::{Flight, lock};
use crate::held::Held;
use crate::inner::Inner;
use crate::key::SharedKey;
use bellwether::{Entry, Loaded as Kept};
use inquiry::{Inquiry, Next};
use std::fmt::Display;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// The settings of one call.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Call {
    pub(crate) ttl: Option<Duration>,
    pub(crate) exact: bool,
    pub(crate) wait_timeout: Option<Duration>,
    pub(crate) lead_timeout: Duration,
    pub(crate) skip_shared_lock: bool,
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

/// The result of a load that may say more than a value: for
/// [`TierRequest::revalidate_with_async`](crate::TierRequest::revalidate_with_async). As
/// [`bellwether::Loaded`], for what all processes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loaded<V> {
    /// A value, with the tier's time to live.
    New(V),
    /// A value with a time to live of its own. Zero acts as `Unstored`. The tier's
    /// [`ttl_jitter`](crate::Builder::ttl_jitter) shortens it.
    NewFor(V, Duration),
    /// A value with a time to live of its own, exactly that long.
    NewForExactly(V, Duration),
    /// A value that is handed to the callers of this process and not stored.
    Unstored(V),
    /// The old value is still right, and its time to live begins anew. If there is no old value,
    /// the load counts as abandoned.
    NotModified,
}

/// What a caller takes along while it leads its process's load.
pub(crate) struct Voyage<K: SharedKey, V: Clone + Send + Sync + 'static> {
    registered: Mutex<Option<Registration<K, V>>>,
    source: Mutex<(Source, bool)>,
    /// Rung when the caller's time to wait for other processes is over.
    overdue: Notify,
}

/// The registration of a load; dropped after memory has its result, so that no push in between is
/// missed.
struct Registration<K, V> {
    tier: Arc<Inner<K, V>>,
    flight: Arc<Flight>,
}

impl<K, V> Drop for Registration<K, V> {
    fn drop(&mut self) {
        self.tier.flights.remove(&self.flight);
    }
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Voyage<K, V> {
    pub(crate) fn new() -> Self {
        Self { registered: Mutex::new(None), source: Mutex::new((Source::Loaded, false)), overdue: Notify::new() }
    }

    fn board(&self, tier: &Arc<Inner<K, V>>, key: &K, has_old: bool) -> Arc<Flight> {
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        let flight = tier.flights.register(bytes, has_old);
        *lock(&self.registered) = Some(Registration { tier: tier.clone(), flight: flight.clone() });
        flight
    }

    fn found(&self, source: Source, stale: bool) {
        *lock(&self.source) = (source, stale);
    }

    /// Returns where the value came from, and whether it is an old one.
    pub(crate) fn source(&self) -> (Source, bool) {
        *lock(&self.source)
    }

    /// Waits until the caller's time to wait for other processes is over.
    pub(crate) async fn overdue(&self) {
        self.overdue.notified().await;
    }
}

/// What this process had when the load began.
pub(crate) struct Old<V> {
    held: Held<V>,
    fresh: bool,
}

impl<V: Clone> Old<V> {
    pub(crate) fn of<K>(entry: Option<Entry<'_, K, Held<V>>>) -> Option<Self> {
        let entry = entry?;
        let fresh = Entry::expires_in(&entry).is_none_or(|left| !left.is_zero());
        Some(Self { held: (*entry).clone(), fresh })
    }
}

type Result<T, E> = std::result::Result<Kept<Held<T>>, SharedError<E>>;

/// A load as the leader among a process's callers begins it.
struct Trip<'t, K: SharedKey, V: Clone + Send + Sync + 'static> {
    key: &'t K,
    old: Option<Old<V>>,
    call: &'t Call,
    voyage: &'t Voyage<K, V>,
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
        let flight = voyage.board(self, key, old.is_some());
        let trip = Trip { key, old, call, voyage };
        let mut inquiry = Inquiry::new(flight, &trip, self.settings.probe);
        loop {
            match self.inquire(&mut inquiry, &trip).await {
                Next::Again => {}
                Next::Found(kept) => return Ok(kept),
                Next::Failed(error) => return Err(SharedError::Remote(error)),
                Next::LoadLocally => return self.load_locally(trip, load).await,
                Next::LoadBeside => return self.load_beside(trip, load).await,
                Next::Lead(led) => return self.lead(led, trip, load).await,
            }
        }
    }
}
