//! What all parts of a tier share.

use crate::flights::{Flights, Pushed};
use crate::held::Held;
use crate::key::SharedKey;
use crate::link::{Address, Link, Nodes, TierEvent};
use crate::observe::TierObserver;
use crate::queue::Queue;
use crate::scripts::Scripts;
use crate::settings::Settings;
use crate::stats::{Count, Counters};
use crate::tags::Mirror;
use crate::wire::{EntryNames, Names, Process};
use bellwether::Cache;
use redis::{RedisError, RedisResult};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::runtime::Handle;
use tokio::sync::Notify;

pub(crate) struct Inner<K, V> {
    pub(crate) cache: Arc<Cache<K, Held<V>>>,
    pub(crate) settings: Settings<K, V>,
    pub(crate) server: Address,
    pub(crate) process: Process,
    pub(crate) names: Names,
    pub(crate) scripts: Scripts,
    pub(crate) link: Link,
    pub(crate) flights: Flights,
    pub(crate) mirror: Mirror,
    pub(crate) queue: Mutex<Queue<K>>,
    pub(crate) stats: Counters,
    pub(crate) observers: Vec<Box<dyn TierObserver>>,
    pub(crate) runtime: Handle,
    /// Rung when the last handle is dropped.
    pub(crate) closing: Notify,
    pub(crate) closed: AtomicBool,
}

impl<K, V> Inner<K, V> {
    /// Tells the observers.
    pub(crate) fn event(&self, event: &TierEvent) {
        self.observers.iter().for_each(|observer| observer.observe(&self.names.namespace, event));
    }

    /// Counts, and tells the observers.
    pub(crate) fn count(&self, what: Count, number: u64) {
        self.stats.add(what, number);
        if number > 0 && !self.observers.is_empty() {
            self.event(&TierEvent::Counted { name: what.name(), number });
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Takes note of a command's failure: the link may be gone, or lead to the wrong server.
    pub(crate) fn failed(&self, error: &RedisError) {
        if error.code().is_none() {
            self.link.suspect();
        } else if self.has_moved(error) {
            self.link.moved();
        }
        self.count(Count::CommandError, 1);
    }

    /// Returns whether an error says that another server is in charge now.
    fn has_moved(&self, error: &RedisError) -> bool {
        self.server.may_move() && matches!(error.code(), Some("MOVED" | "CLUSTERDOWN" | "MASTERDOWN" | "READONLY"))
    }

    /// Returns whether the server has refused a command for good.
    pub(crate) fn is_refusal(&self, error: &RedisError) -> bool {
        let passes = self.server.may_move() && matches!(error.code(), Some("ASK" | "TRYAGAIN"));
        error.code().is_some() && !passes && !self.has_moved(error)
    }
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Inner<K, V> {
    /// Returns the names of a key's entry in the present generation.
    pub(crate) async fn names_of(&self, nodes: &Nodes, key: &K) -> RedisResult<EntryNames> {
        let generation = match self.link.generation() {
            Some(generation) => generation,
            None => self.read_generation(nodes, false).await?,
        };
        Ok(self.names.entry(&generation, key))
    }

    /// Waits for a command no longer than the link lives.
    pub(crate) async fn while_linked<T>(&self, command: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
        match self.link.current() {
            Some(connected) => connected.until_given_up(command).await,
            None => command.await,
        }
    }

    /// Has the loads of a key in this process look again: the server does not push this process's
    /// own changes to it.
    pub(crate) fn ring(&self, key: &K) {
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        self.flights.push(&bytes, Pushed::Look);
    }
}
