//! Keeping the link: connecting, catching up, watching it, noticing its loss.

use super::{LinkState, Nodes, PushTarget, TierEvent};
use crate::inner::Inner;
use crate::key::SharedKey;
use crate::stats::Count;
use crate::wire::Token;
use futures_util::future::try_join_all;
use redis::{AsyncConnectionConfig, RedisError, RedisResult};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// The first and the longest time between two attempts to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How many versions are asked for at once when the link is back.
const BATCH: usize = 500;

/// What a connection was prepared with.
struct Resumed {
    tracking: bool,
    replayed: u64,
    outdated: u64,
}

/// Keeps the link until the tier is dropped. `first` is told when the first attempt has ended.
pub(crate) async fn supervise<K, V>(weak: Weak<Inner<K, V>>, first: oneshot::Sender<()>)
where
    K: SharedKey,
    V: Clone + Send + Sync + 'static,
{
    let mut first = Some(first);
    let mut pause = PAUSES.0;
    // When memory must be emptied, if the link has not come back by then.
    let mut purge_at = None;
    loop {
        let Some(tier) = weak.upgrade().filter(|tier| !tier.is_closed()) else { return };
        let attempt = tier.until_purged(&mut purge_at, tier.link_up()).await;
        drop(first.take());
        match attempt {
            Ok((nodes, resumed)) => {
                let Resumed { tracking, replayed, outdated } = resumed;
                pause = PAUSES.0;
                tier.count(Count::LinkUp, 1);
                tier.event(&TierEvent::LinkUp { tracking, replayed, outdated });
                drop(tier);
                watch(&weak, nodes, tracking).await;
                let Some(tier) = weak.upgrade().filter(|tier| !tier.is_closed()) else { return };
                tier.link_lost();
                purge_at = Some(Instant::now() + tier.link.times.unlinked_ttl);
            }
            Err(error) => {
                tier.close_writes();
                tier.event(&TierEvent::ConnectFailed { why: text_of(&error) });
                // Spread out: many processes come back at once.
                let spread = pause.mul_f64(0.5 + fastrand::f64());
                tier.until_purged(&mut purge_at, sleep(spread)).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

/// Returns what an error says, without the address.
pub(crate) fn text_of(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        // Their details are addresses.
        (Some(code @ ("MOVED" | "ASK")), _) => code.to_owned(),
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => format!("{:?}", error.kind()),
    }
}

/// Watches a connection, and returns when it is lost or the tier is gone.
async fn watch<K, V>(weak: &Weak<Inner<K, V>>, nodes: Nodes, tracking: bool)
where
    K: SharedKey,
    V: Clone + Send + Sync + 'static,
{
    loop {
        let Some(tier) = weak.upgrade() else { return };
        let beat = tier.link.times.heartbeat;
        tokio::select! {
            () = sleep(beat) => {}
            () = tier.link.trouble.notified() => {}
            () = tier.link.reset.notified() => {
                if tier.link.take_moved() || tier.writes_are_queued() {
                    return;
                }
            }
            () = tier.closing.notified() => return,
        }
        if tier.beat(&nodes, tracking).await.is_err() {
            return;
        }
    }
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Inner<K, V> {
    /// Waits for `work`, and meanwhile empties memory when its time is over.
    async fn until_purged<T>(&self, purge_at: &mut Option<Instant>, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            let Some(at) = *purge_at else { return work.await };
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = sleep_until(at) => {
                    *purge_at = None;
                    // What is stored from here on was loaded since, and has a short life of its
                    // own.
                    self.cache.invalidate_all();
                    self.link.serve_memory_until(u64::MAX);
                }
            }
        }
    }

    async fn beat(&self, nodes: &Nodes, tracking: bool) -> RedisResult<()> {
        let sent = self.link.now();
        let times = &self.link.times;
        if !tracking {
            // No push tells of a new generation.
            let known = self.link.generation();
            let found = self.read_generation(nodes, false).await?;
            if known.is_some_and(|known| known != found) {
                self.cache.invalidate_all();
                self.flights.wake_all();
            }
        }
        let signs = nodes.signs_of_life().map(|(cmd, mut conn)| async move { cmd.query_async::<()>(&mut conn).await });
        let answered = timeout(times.heartbeat_limit, try_join_all(signs)).await;
        answered.map_err(|_| RedisError::from((redis::ErrorKind::Io, "no answer to a heartbeat")))??;
        self.link.serve_memory_until(sent.saturating_add(times.alive_for().as_nanos() as u64));
        Ok(())
    }

    fn link_lost(&self) {
        self.link.give_up();
        self.close_writes();
        self.link.set_state(LinkState::Down);
        // Memory goes on for the rest of the heartbeat's time, and for the time that was asked for.
        let last = self.link.good_until.load(std::sync::atomic::Ordering::Relaxed);
        self.link.serve_memory_until(last.saturating_add(self.link.times.unlinked_ttl.as_nanos() as u64));
        self.flights.wake_all();
        self.count(Count::LinkLoss, 1);
        self.event(&TierEvent::LinkLost);
    }

    /// Connects and catches up.
    async fn link_up(self: &Arc<Self>) -> RedisResult<(Nodes, Resumed)> {
        let times = self.link.times;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(times.connect))
            .set_response_timeout(Some(times.command))
            .set_push_sender(PushTarget { tier: Arc::downgrade(self) });
        let nodes = self.server.connect(&config).await?;
        self.link.take_moved();
        let resumed = self.resume(&nodes).await?;
        Ok((nodes, resumed))
    }

    /// Has the servers announce changes. Returns false if one does not offer it.
    async fn track(nodes: &Nodes) -> RedisResult<bool> {
        let mut track = redis::cmd("CLIENT");
        track.arg("TRACKING").arg("ON").arg("NOLOOP");
        for conn in nodes.all() {
            match track.query_async::<()>(&mut conn.clone()).await {
                Ok(()) => {}
                // The server is there, and does not offer it.
                Err(error) if error.code().is_some() => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Prepares a connection: what must be true before the link counts as up.
    async fn resume(self: &Arc<Self>, nodes: &Nodes) -> RedisResult<Resumed> {
        let tracking = Self::track(nodes).await?;
        let number = self.link.connections.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let alive: Arc<str> = format!("{}:{number}", self.names.alive).into();
        let tags_at = nodes.place(&self.names.tags);
        for (place, node) in nodes.all().iter().enumerate() {
            let channels = [&*alive, &*self.names.tag_channel];
            // Each node counts its own subscribers.
            let channels = if place == tags_at { &channels[..] } else { &channels[..1] };
            node.clone().subscribe(channels).await?;
            self.scripts.teach(&mut node.clone()).await?;
        }
        self.catch_up_generation(nodes).await?;
        let replayed = self.replay(nodes).await?;
        self.catch_up_tags(nodes).await?;
        self.link.set_current(nodes, tracking, alive);
        self.fence_settled();
        let caught_up = async {
            let outdated = if tracking { self.check_versions(nodes).await? } else { self.empty_memory() };
            self.beat(nodes, tracking).await?;
            RedisResult::Ok(outdated)
        };
        match caught_up.await {
            Ok(outdated) => {
                self.link.set_state(LinkState::Up { tracking });
                Ok(Resumed { tracking, replayed, outdated })
            }
            Err(error) => {
                self.link.give_up();
                // What came by this connection has no pushes, and may have a long life.
                self.fence_settled();
                self.cache.invalidate_all();
                Err(error)
            }
        }
    }

    /// Fences the loads that no longer ask: they began with another connection than the present
    /// one, or without any, and no push would reach what they store.
    fn fence_settled(&self) {
        for key in self.flights.wake_and_list_settled() {
            self.drop_bytes(&key, |_| true);
        }
    }

    /// Reads the generation, and empties memory if it has changed.
    async fn catch_up_generation(&self, nodes: &Nodes) -> RedisResult<()> {
        let known = self.link.generation();
        let stamp = match self.replay_generation(nodes).await? {
            Some(stamp) => stamp,
            None => self.read_generation(nodes, false).await?,
        };
        if known.is_none_or(|known| *known != *stamp) {
            self.cache.invalidate_all();
        }
        Ok(())
    }

    /// Reads or renews the generation until no change comes in between.
    pub(crate) async fn read_generation(&self, nodes: &Nodes, anew: bool) -> RedisResult<Arc<str>> {
        loop {
            let before = self.link.generation_pushes();
            let fresh = crate::wire::hex(&fastrand::u64(..).to_be_bytes());
            let stamp = self.scripts.generation(nodes, &self.names.generation, &fresh, anew).await?;
            if self.link.set_generation(&stamp, before) {
                return Ok(stamp.into());
            }
        }
    }

    async fn catch_up_tags(&self, nodes: &Nodes) -> RedisResult<()> {
        if self.settings.tags_with.is_none() {
            return Ok(());
        }
        let asked = (fastrand::u64(1..), &*self.names.tag_channel);
        let fields = self.scripts.tags(nodes, &self.names.tags, asked).await?;
        let of = |name: &str| fields.iter().find(|(field, _)| field == name).map_or(0, |(_, number)| *number);
        let cells: Vec<_> = fields.iter().filter_map(|(field, number)| Some((field.parse().ok()?, *number))).collect();
        self.tags_told(of("e"), of("s"), &cells);
        Ok(())
    }

    /// Empties memory, which no push would reach. Returns how many values there were.
    fn empty_memory(&self) -> u64 {
        let held = self.cache.len() as u64;
        self.cache.invalidate_all();
        held
    }

    /// Drops from memory what is not, in the same version, on the server. Reading a version tracks
    /// its key. Returns how many values were dropped.
    async fn check_versions(&self, nodes: &Nodes) -> RedisResult<u64> {
        let mut held: Vec<(K, Token)> = Vec::new();
        let mut unshared = 0;
        // Expired values are asked about, too: they may be served in their windows.
        self.cache.retain(|key, value| match value.shared_version() {
            Some(version) => {
                held.push((key.clone(), version));
                true
            }
            None => {
                unshared += 1;
                false
            }
        });
        let Some(generation) = self.link.generation() else {
            self.cache.invalidate_all();
            return Ok(unshared + held.len() as u64);
        };
        let mut outdated = unshared;
        let held = held.into_iter().map(|(key, version)| (self.names.entry(&generation, &key).value, key, version));
        let by_node = nodes.sorted(held.collect(), |(name, ..)| name);
        for batch in by_node.iter().flat_map(|held| held.chunks(BATCH)) {
            let Some((first, ..)) = batch.first() else { continue };
            let (mut ask, mut conn) = (redis::pipe(), nodes.of(first));
            for (name, ..) in batch {
                ask.cmd("GETRANGE").arg(name).arg(0).arg(15);
            }
            let versions: Vec<Vec<u8>> = ask.query_async(&mut conn).await?;
            for ((_, key, version), found) in batch.iter().zip(versions) {
                if found != version {
                    outdated += 1;
                    self.cache.invalidate(key);
                }
            }
        }
        self.count(Count::OutdatedVersion, outdated);
        Ok(outdated)
    }
}
