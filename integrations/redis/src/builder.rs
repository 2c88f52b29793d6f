//! Building a tier: its settings.

mod build;

use crate::codec::Codec;
use crate::error::BuildError;
use crate::held::Held;
use crate::key::SharedKey;
use crate::link::{Address, LinkTimes, text_of};
use crate::observe::TierObserver;
use crate::settings::{Coding, Settings};
use crate::tags::TagList;
use crate::tier::Tier;
use bellwether::Expiry;
use redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion};
use std::fmt;
use std::time::Duration;
use tokio::runtime::Handle;

type MemoryBuilder<K, V> = bellwether::Builder<K, Held<V>>;
type Memory<K, V> = Box<dyn FnOnce(MemoryBuilder<K, V>) -> MemoryBuilder<K, V> + Send>;

/// The settings of a tier that is to be built. From [`Tier::builder`].
pub struct Builder<K, V> {
    server: Address,
    namespace: String,
    settings: Settings<K, V>,
    times: LinkTimes,
    max_capacity: u64,
    max_queued_writes: usize,
    memory: Option<Memory<K, V>>,
    observers: Vec<Box<dyn TierObserver>>,
    runtime: Option<Handle>,
}

/// Reads an address, and has the connection speak the protocol that has pushes.
fn address(server: &str) -> Result<ConnectionInfo, BuildError> {
    let address = server.into_connection_info().map_err(|error| BuildError::Address(text_of(&error)))?;
    let redis = address.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let tcp = address.tcp_settings().clone().set_nodelay(true);
    Ok(address.set_redis_settings(redis).set_tcp_settings(tcp))
}

/// Reads the address of a sentinel.
#[cfg(feature = "sentinel")]
fn plain(server: &str) -> Result<ConnectionInfo, BuildError> {
    server.into_connection_info().map_err(|error| BuildError::Address(text_of(&error)))
}

#[cfg(feature = "postcard")]
impl<K, V> Tier<K, V>
where
    K: SharedKey,
    V: serde::Serialize + serde::de::DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// Returns a builder for a tier at a server (`redis://host:6379/0`), whose values postcard
    /// writes.
    ///
    /// # Errors
    /// [`BuildError::Address`].
    pub fn builder(server: &str) -> Result<Builder<K, V>, BuildError> {
        Self::builder_with(server, crate::Postcard)
    }
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Tier<K, V> {
    /// Returns a builder for a tier at a server, whose values `codec` writes.
    ///
    /// # Errors
    /// [`BuildError::Address`].
    pub fn builder_with(server: &str, codec: impl Codec<V>) -> Result<Builder<K, V>, BuildError> {
        Ok(Builder::new(Address::One(address(server)?), Coding::of(codec)))
    }
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Builder<K, V> {
    fn new(server: Address, coding: Coding<V>) -> Self {
        let settings = Settings {
            coding,
            schema: 0,
            max_value_bytes: 1 << 20,
            ttl: Duration::ZERO,
            expiry_with: None,
            ttl_jitter: 0.0,
            memory_ttl: Duration::MAX,
            untracked_ttl: Duration::from_secs(1),
            stale_while_refresh: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            negative_ttl: Duration::ZERO,
            lead_timeout: Duration::from_secs(10),
            wait_timeout: None,
            probe: Duration::from_millis(250),
            skip_shared_lock: false,
            tags_with: None,
        };
        let times = LinkTimes {
            heartbeat: Duration::from_millis(250),
            heartbeat_limit: Duration::from_millis(200),
            command: Duration::from_millis(200),
            connect: Duration::from_millis(500),
            unlinked_ttl: Duration::from_secs(1),
        };
        Self {
            server,
            namespace: "bellwether".to_owned(),
            settings,
            times,
            max_capacity: 10_000,
            max_queued_writes: 10_000,
            memory: None,
            observers: Vec::new(),
            runtime: None,
        }
    }

    /// Sets the prefix of all keys on the server. Tiers of the same namespace share their entries,
    /// and must have the same types, codec and settings. Not empty, without braces. Default:
    /// `bellwether`.
    ///
    /// Where two versions of a program with different values run at the same time, a namespace for
    /// each keeps them from replacing each other's values.
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// Sets how long a value is fresh, by the server's clock. Required; not zero. `Duration::MAX`
    /// stands for a hundred years.
    pub fn time_to_live(mut self, ttl: Duration) -> Self {
        self.settings.ttl = ttl;
        self
    }

    /// Sets a function that gives each value a time to live; `None` falls through to
    /// [`time_to_live`](Self::time_to_live). The process that loads or inserts the value calls it.
    /// Of this and [`expiry_with`](Self::expiry_with), the last one that is set counts.
    pub fn ttl_with(self, ttl: impl Fn(&K, &V) -> Option<Duration> + Send + Sync + 'static) -> Self {
        self.expiry_with(move |key, value| match ttl(key, value) {
            Some(ttl) => Expiry::new().ttl(ttl),
            None => Expiry::new(),
        })
    }

    /// Sets a function that gives each value its terms: how long it is fresh, its windows past
    /// that, its age, what a load of it costs. The loader's own terms, and those of the request,
    /// count before these. The process that loads or inserts the value calls it; all processes go
    /// by what it says. (The moment of an early [`refresh`](Expiry::refresh) is kept by the process
    /// that loads the value, and by no other: set it for all by [`memory`](Self::memory).)
    pub fn expiry_with(mut self, expiry: impl Fn(&K, &V) -> Expiry + Send + Sync + 'static) -> Self {
        self.settings.expiry_with = Some(Box::new(expiry));
        self
    }

    /// Shortens each time to live by a random fraction of it, up to `share` (`0.0..1.0`), so that
    /// entries loaded together do not expire together. A time that is given as exact is not
    /// shortened. Default 0.
    pub fn ttl_jitter(mut self, share: f64) -> Self {
        self.settings.ttl_jitter = share.clamp(0.0, 0.999);
        self
    }

    /// Sets how many entries memory holds, or, with a weigher ([`memory`](Self::memory)), their
    /// weight. Default 10,000.
    pub fn max_capacity(mut self, weight: u64) -> Self {
        self.max_capacity = weight;
        self
    }

    /// Sets how long memory keeps a value at most; then it asks the server again. Default: as long
    /// as the value is fresh.
    pub fn memory_ttl(mut self, ttl: Duration) -> Self {
        self.settings.memory_ttl = ttl;
        self
    }

    /// Sets how long past its time to live an old value, of memory or of the server, is served
    /// while one caller of any process refreshes it. The process of that caller serves it from
    /// memory alone.
    pub fn stale_while_refresh(mut self, window: Duration) -> Self {
        self.settings.stale_while_refresh = window;
        self
    }

    /// Sets how long past its time to live an old value, of memory or of the server, stands in for
    /// an error of the load.
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.settings.stale_if_error = window;
        self
    }

    /// Sets how long a failure is remembered: all processes get it for so long without a load.
    /// Default zero: those who wait for the load share it, and no one else.
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.settings.negative_ttl = ttl;
        self
    }

    /// Sets how long a process may hold the lease of a load; then another process takes the load
    /// over, and the late value is not stored. It matters for processes that are stopped or cut
    /// off: the load of one that has died is taken over within the [`probe`](Self::probe). Set it
    /// to several times what a load may take. Default 10 s.
    pub fn lead_timeout(mut self, timeout: Duration) -> Self {
        self.settings.lead_timeout = timeout;
        self
    }

    /// Sets how long a caller waits for the load of another caller, of this or of another process,
    /// before it gets an old value, of memory or of the server, within its windows, or else
    /// [`TimedOut`](bellwether::LoadError::TimedOut). (The server's old value is known to the
    /// caller that asks the server for its process, and not to those who wait for that caller.)
    /// Default: no bound.
    pub fn wait_timeout(mut self, timeout: Duration) -> Self {
        self.settings.wait_timeout = Some(timeout);
        self
    }

    /// Sets how often, at least, one caller of each waiting process asks whether the process that
    /// loads still lives. The first question comes after a fifth of this time. Default 250 ms.
    pub fn probe(mut self, probe: Duration) -> Self {
        self.settings.probe = probe;
        self
    }

    /// Sets whether callers load for their own process at once where another process already loads:
    /// see [`TierRequest::skip_shared_lock`](crate::TierRequest::skip_shared_lock). Default: no.
    pub fn skip_shared_lock(mut self, skip: bool) -> Self {
        self.settings.skip_shared_lock = skip;
        self
    }

    /// Sets the number of the values' format. Raise it when the type changes: values with another
    /// number count as misses, and are replaced. Default 0.
    pub fn schema(mut self, schema: u32) -> Self {
        self.settings.schema = schema;
        self
    }

    /// Sets the most bytes of an encoded value. A larger one is handed to the callers of its load,
    /// and neither shared nor kept. Default 1 MiB.
    pub fn max_value_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_value_bytes = bytes;
        self
    }

    /// Sets the function that adds a value's tags, up to 255, for
    /// [`invalidate_tag`](Tier::invalidate_tag). The process that loads or inserts the value calls
    /// it.
    ///
    /// There are 4,096 cells; tags that share one are invalidated together.
    pub fn tags_with(mut self, tags: impl Fn(&K, &V, &mut TagList) + Send + Sync + 'static) -> Self {
        self.settings.tags_with = Some(Box::new(tags));
        self
    }

    /// Sets how often the server is asked for a sign of life, and how long each answer may take.
    /// Memory serves for the sum of both after the last answered question. Default 250 ms and 200
    /// ms.
    pub fn heartbeat(mut self, interval: Duration, limit: Duration) -> Self {
        (self.times.heartbeat, self.times.heartbeat_limit) = (interval, limit);
        self
    }

    /// Sets how long a command may take before its caller loads without the server. Default 200 ms.
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        self.times.command = timeout;
        self
    }

    /// Sets how long an attempt to connect may take. Default 500 ms.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.times.connect = timeout;
        self
    }

    /// Sets how long memory goes on serving when the link is lost, and how long it keeps a value
    /// that is loaded meanwhile. So it bounds, with the [`heartbeat`](Self::heartbeat), how old a
    /// value may be that another process has changed. With zero, each read without a link loads.
    /// Default 1 s.
    pub fn unlinked_ttl(mut self, ttl: Duration) -> Self {
        self.times.unlinked_ttl = ttl;
        self
    }

    /// Sets how long memory keeps a value where the server does not announce changes
    /// ([`LinkState::Up`](crate::LinkState::Up)). Default 1 s.
    pub fn untracked_ttl(mut self, ttl: Duration) -> Self {
        self.settings.untracked_ttl = ttl;
        self
    }

    /// Sets how many writes are queued while there is no link. If more come, all entries of all
    /// processes are invalidated instead when the link is back. Default 10,000.
    pub fn max_queued_writes(mut self, writes: usize) -> Self {
        self.max_queued_writes = writes;
        self
    }

    /// Adds an observer of the tier's events: the link's changes, and all that is counted.
    /// Observers that were added before are called first. Default: none.
    pub fn observer(mut self, observer: impl TierObserver + 'static) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Has the tier use the server that sentinels tell as the present master of this name, and
    /// follow them to its successor. `sentinels` are their addresses (`redis://host:26379`). The
    /// builder's first address says how to log in at the master (user, password, database, TLS);
    /// its host is not used.
    ///
    /// # Errors
    /// [`BuildError::Address`], also if there is none.
    #[cfg(feature = "sentinel")]
    pub fn sentinels(mut self, master: &str, sentinels: &[&str]) -> Result<Self, BuildError> {
        let sentinels = sentinels.iter().map(|sentinel| plain(sentinel)).collect::<Result<Vec<_>, _>>()?;
        let Address::One(login) = self.server else { return Err(BuildError::TwoKinds) };
        if sentinels.is_empty() {
            return Err(BuildError::Address("there is no address of a sentinel".to_owned()));
        }
        self.server = Address::Sentinels { login, master: master.to_owned(), sentinels };
        Ok(self)
    }

    /// Has the tier use the cluster that the server at the builder's first address belongs to.
    /// `others` are addresses to ask if that one does not answer. User, password and TLS are those
    /// of the first address, at all nodes.
    ///
    /// # Errors
    /// [`BuildError::Address`].
    #[cfg(feature = "cluster")]
    pub fn cluster(mut self, others: &[&str]) -> Result<Self, BuildError> {
        let Address::One(first) = self.server else { return Err(BuildError::TwoKinds) };
        let mut seeds = vec![first.clone()];
        for other in others {
            seeds.push(first.clone().set_addr(address(other)?.addr().clone()));
        }
        self.server = Address::Cluster(seeds);
        Ok(self)
    }

    /// Sets up the memory level further: a weigher, `max_waiters`, `max_loads`, `soft_timeout`, an
    /// observer, its early refresh, statistics. The tier sets its time to live and terms, windows,
    /// tags, spawner, `wait_timeout` and `lead_timeout` afterwards.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), bellwether_redis::BuildError> {
    /// use bellwether_redis::Tier;
    /// let builder = Tier::<String, String>::builder("redis://127.0.0.1/")?
    ///     .memory(|memory| memory.max_waiters(1000).weigher(|_, text| text.len() as u32));
    /// # let _ = builder;
    /// # Ok(())
    /// # }
    /// ```
    pub fn memory(
        mut self,
        set: impl FnOnce(bellwether::Builder<K, Held<V>>) -> bellwether::Builder<K, Held<V>> + Send + 'static,
    ) -> Self {
        self.memory = Some(Box::new(set));
        self
    }

    /// Sets the runtime in which the link is kept, and which serves blocking callers. It needs
    /// tokio's drivers of I/O and time. Default: the runtime that [`build`](Self::build) is called
    /// from.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }
}

impl<K, V> fmt::Debug for Builder<K, V> {
    /// The server's address is left out: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("namespace", &self.namespace)
            .field("times", &self.times)
            .finish_non_exhaustive()
    }
}
