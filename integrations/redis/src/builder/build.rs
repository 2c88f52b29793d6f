//! Checking the settings, and making the tier.

use super::{Builder, Memory};
use crate::error::BuildError;
use crate::flights::Flights;
use crate::held::Held;
use crate::inner::Inner;
use crate::key::SharedKey;
use crate::link::{Link, supervise};
use crate::queue::Queue;
use crate::scripts::Scripts;
use crate::settings::Settings;
use crate::stats::Counters;
use crate::tags::Mirror;
use crate::tier::Tier;
use crate::voyage::Background;
use crate::wire::{Names, Process};
use bellwether::{Cache, Tags};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Builder<K, V> {
    fn check(&self) -> Result<Handle, BuildError> {
        if self.namespace.is_empty() || self.namespace.contains(['{', '}']) {
            return Err(BuildError::Namespace);
        }
        if self.settings.ttl.is_zero() {
            return Err(BuildError::NoTimeToLive);
        }
        for (name, time) in [
            ("lead_timeout", self.settings.lead_timeout),
            ("probe", self.settings.probe),
            ("heartbeat", self.times.heartbeat),
            ("heartbeat_limit", self.times.heartbeat_limit),
            ("command_timeout", self.times.command),
            ("connect_timeout", self.times.connect),
        ] {
            if time.is_zero() {
                return Err(BuildError::Zero(name));
            }
        }
        if self.settings.probe >= self.settings.lead_timeout {
            return Err(BuildError::ProbeTooLong);
        }
        self.runtime.clone().or_else(|| Handle::try_current().ok()).ok_or(BuildError::NoRuntime)
    }

    /// Returns the memory level.
    fn memory_level(
        memory: Option<Memory<K, V>>,
        max_capacity: u64,
        settings: &Settings<K, V>,
        runtime: &Handle,
    ) -> Result<Cache<K, Held<V>>, BuildError> {
        let mut builder = Cache::builder().max_capacity(max_capacity);
        if let Some(set) = memory {
            builder = set(builder);
        }
        builder = builder
            .time_to_live(settings.ttl)
            .stale_while_refresh(settings.stale_while_refresh)
            .stale_if_error(settings.stale_if_error)
            .negative_ttl(settings.negative_ttl)
            .spawner(Background::new(runtime.clone()))
            // The server's lease ends first; this one is for a caller of this process that is not
            // polled.
            .lead_timeout(settings.lead_timeout.saturating_mul(2));
        if settings.tags_with.is_some() {
            builder = builder.tags_with(|_, held: &Held<V>, tags: &mut Tags<'_>| {
                held.cells().iter().for_each(|cell| tags.add(cell));
            });
        }
        if let Some(timeout) = settings.wait_timeout {
            builder = builder.wait_timeout(timeout);
        }
        builder.build().map_err(BuildError::Memory)
    }

    /// Builds the tier, and returns when the first attempt to connect has ended, well or not.
    /// Without a server the tier is there all the same, loads in this process alone, and connects
    /// later.
    ///
    /// # Errors
    /// [`BuildError`]: the settings are contradictory. A server that does not answer is no error.
    pub async fn build(self) -> Result<Tier<K, V>, BuildError> {
        let runtime = self.check()?;
        let cache = Self::memory_level(self.memory, self.max_capacity, &self.settings, &runtime)?;
        let process = Process::new();
        let inner = Arc::new(Inner {
            cache: Arc::new(cache),
            settings: self.settings,
            server: self.server,
            names: Names::new(&self.namespace, &process),
            process,
            scripts: Scripts::new(),
            link: Link::new(self.times),
            flights: Flights::default(),
            mirror: Mirror::new(),
            queue: Mutex::new(Queue::new(self.max_queued_writes)),
            stats: Counters::new(),
            observers: self.observers,
            runtime: runtime.clone(),
            closing: Notify::new(),
            closed: AtomicBool::new(false),
        });
        let (first, ended) = oneshot::channel();
        runtime.spawn(supervise(Arc::downgrade(&inner), first));
        let tier = Tier::new(inner);
        // Dropped, not sent, when the attempt has ended.
        let _ = ended.await;
        Ok(tier)
    }
}
