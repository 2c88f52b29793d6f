//! What all parts of a tier share.

use crate::flights::{Flights, Pushed};
use crate::held::Held;
use crate::key::SharedKey;
use crate::link::{Link, TierEvent};
use crate::queue::Queue;
use crate::scripts::Scripts;
use crate::settings::Settings;
use crate::stats::{Count, Counters};
use crate::tags::Mirror;
use crate::wire::{EntryNames, Names, Process};
use bellwether::Cache;
use redis::aio::MultiplexedConnection;
use redis::{ConnectionInfo, RedisError, RedisResult};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Handle;
use tokio::sync::Notify;

pub(crate) struct Inner<K, V> {
    pub(crate) cache: Cache<K, Held<V>>,
    pub(crate) settings: Settings<K, V>,
    pub(crate) server: ConnectionInfo,
    pub(crate) process: Process,
    pub(crate) names: Names,
    pub(crate) scripts: Scripts,
    pub(crate) link: Link,
    pub(crate) flights: Flights,
    pub(crate) mirror: Mirror,
    pub(crate) queue: Mutex<Queue<K>>,
    pub(crate) stats: Counters,
    pub(crate) runtime: Handle,
    /// Rung when the last handle is dropped.
    pub(crate) closing: Notify,
    pub(crate) closed: AtomicBool,
}

impl<K, V> Inner<K, V> {
    pub(crate) fn event(&self, event: &TierEvent) {
        if let Some(on_event) = &self.settings.on_event {
            on_event(event);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Takes note of a command's failure: the link may be gone.
    pub(crate) fn failed(&self, error: &RedisError) {
        self.stats.add(Count::CommandError, 1);
        if error.code().is_none() {
            self.link.suspect();
        }
    }
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Inner<K, V> {
    /// Returns the names of a key's entry in the present generation.
    pub(crate) async fn names_of(&self, conn: &mut MultiplexedConnection, key: &K) -> RedisResult<EntryNames> {
        let generation = match self.link.generation() {
            Some(generation) => generation,
            None => self.read_generation(conn, false).await?,
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
