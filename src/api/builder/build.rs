//! Turns settings into a cache: checks them, and derives the rest from them.

use super::Builder;
use crate::api::cache::Cache;
use crate::api::error::BuildError;
use crate::engine::config::{Config, Limits};
use crate::engine::refresh::Refresh;
use crate::engine::tags::TagRegistry;
use crate::engine::{Core, MOST_RESERVED};
use crate::flight::expiry::ExpiryWord;
use crate::runtime::cache_time::{Source, Time};
#[cfg(feature = "std")]
use crate::runtime::spawn::DefaultSpawn;
use crate::runtime::spawn::Spawn;
use crate::runtime::xfetch::{NEVER, nanos};
use crate::sys::sync::untracked;
use alloc::sync::Arc;
use core::time::Duration;

/// The fewest expected entries for each shard, where there is more than one. Splitting a small
/// cache costs hit ratio and buys nothing.
const ENTRIES_PER_SHARD: u64 = 4096;

impl<K, V, S> Builder<K, V, S> {
    /// Builds the cache.
    ///
    /// # Errors
    /// If `max_capacity` is missing, a number is out of its bounds, a deadline or expiry has no
    /// clock or timer, or a setting has no effect beside the others.
    pub fn build(self) -> Result<Cache<K, V, S>, BuildError> {
        let max_capacity = self.max_capacity.ok_or(BuildError::MissingCapacity)?;
        self.check()?;
        // How many entries to expect: the capacity, or, where a weigher makes that meaningless, the
        // user's own `initial_capacity`.
        let most = if self.weigher.is_some() { u64::MAX } else { max_capacity };
        let initial = self.initial_capacity.min(usize::try_from(most).unwrap_or(usize::MAX)).min(MOST_RESERVED);
        let expected = if self.weigher.is_some() { initial as u64 } else { max_capacity };
        let shards = self.shards.unwrap_or_else(default_shards);
        if !(1..=1024).contains(&shards) {
            return Err(BuildError::Shards(shards));
        }
        let shards = 1 << (expected / ENTRIES_PER_SHARD).clamp(1, shards as u64).ilog2();
        // With std, the crate's own timer thread serves the crate's own clocks.
        let timed = self.timer.is_some() || (cfg!(feature = "std") && !matches!(self.clock, Some(Source::Custom(_))));
        let Limits { wait_timeout, soft_timeout, hard_timeout, lead_timeout, .. } = self.limits;
        let deadlines = wait_timeout.min(soft_timeout).min(hard_timeout).min(lead_timeout) != NEVER;
        if deadlines && !timed {
            return Err(BuildError::MissingTimer);
        }
        let expires = self.refresh.needs_no_expiry()
            || self.ttl.is_some()
            || self.idle.is_some()
            || self.expiry_with.is_some()
            || self.ttl_after_read.is_some();
        let negative = !self.negative_ttl.is_zero() || self.negative_ttl_with.is_some();
        let source = source(self.clock, expires || deadlines || self.limits.longest_window() != 0 || negative)?;
        let restless = self.idle.is_some() || self.ttl_after_read.is_some();
        let listener = match (self.listener_async, spawner_of(self.spawner.as_ref())) {
            (Some(make), Some(spawner)) => Some(make(spawner, self.listener)),
            (Some(_), None) => return Err(BuildError::MissingSpawner),
            (None, _) => self.listener,
        };
        let time = Time::new(source);
        let expire =
            self.ttl.is_some() || self.expiry_with.is_some() || self.idle.is_some() || self.tags_with.is_some();
        let core = Core::new(Config {
            times_plain_loads: expire || self.observer.is_some(),
            name: self.name,
            max_capacity,
            initial_capacity: initial,
            shards,
            weigher: self.weigher,
            keep_while: self.keep_while,
            listener,
            on_load_error: self.on_load_error,
            observer: self.observer,
            show_key: self.show_key,
            ttl: self.ttl.map_or(NEVER, nanos),
            idle: self.idle.map_or(NEVER, nanos),
            expiry_with: self.expiry_with,
            ttl_after_read: self.ttl_after_read,
            jitter: self.jitter,
            refresh: self.refresh,
            cooldown: nanos(self.cooldown),
            negative_ttl: nanos(self.negative_ttl),
            negative_ttl_with: self.negative_ttl_with,
            limits: self.limits,
            quiet_hits: !restless && self.tags_with.is_none() && time.at_hand().is_some(),
            restless: untracked::AtomicU64::new(if restless { ExpiryWord::ANY } else { ExpiryWord::RESTLESS }),
            groups: self.tags_with.map(TagRegistry::new),
            max_waiters: u32::try_from(self.max_waiters).unwrap_or(u32::MAX),
            max_loads: self.max_loads,
            max_handovers: self.max_handovers,
            bypass: self.bypass,
            huge_pages: self.huge_pages,
            record_stats: self.record_stats,
            seed: self.seed,
            time,
            timer: self.timer,
            spawner: self.spawner,
        });
        Ok(Cache::from_parts(core, self.hasher))
    }

    /// Checks that each setting is within its bounds, and that no setting robs another of its
    /// effect.
    fn check(&self) -> Result<(), BuildError> {
        let Limits { soft_timeout, hard_timeout, lead_timeout, .. } = self.limits;
        let stale = self.limits.longest_window() != 0;
        if !self.refresh.is_valid() {
            return Err(match self.refresh.dice() {
                Some(beta) if !Refresh::xfetch(beta).is_valid() => BuildError::Beta(beta),
                _ => BuildError::Refresh(self.refresh),
            });
        }
        if !(0.0..1.0).contains(&self.jitter) {
            return Err(BuildError::Jitter(self.jitter));
        }
        let wrong = [
            (self.idle == Some(Duration::ZERO), BuildError::ZeroTimeToIdle),
            (self.idle.is_some() && stale, BuildError::StaleWithIdle),
            (lead_timeout == 0, BuildError::ZeroLeadTimeout),
            (soft_timeout != NEVER && !stale, BuildError::SoftTimeoutWithoutStale),
            (soft_timeout != NEVER && soft_timeout > hard_timeout, BuildError::SoftAboveHard),
            (self.max_loads == 0, BuildError::ZeroMaxLoads),
            (self.max_waiters == 0 && lead_timeout != NEVER, BuildError::LeadTimeoutWithoutWaiters),
        ];
        wrong.into_iter().find(|(wrong, _)| *wrong).map_or(Ok(()), |(_, why)| Err(why))
    }
}

/// Returns the spawner that was given, or the default one.
fn spawner_of(given: Option<&Arc<dyn Spawn>>) -> Option<Arc<dyn Spawn>> {
    #[cfg(feature = "std")]
    return Some(given.cloned().unwrap_or_else(|| Arc::new(DefaultSpawn)));
    #[cfg(not(feature = "std"))]
    given.cloned()
}

fn default_shards() -> usize {
    #[cfg(feature = "std")]
    return std::thread::available_parallelism().map_or(1, |n| n.get().min(64));
    #[cfg(not(feature = "std"))]
    return 1;
}

#[cfg(feature = "std")]
fn source(clock: Option<Source>, _needed: bool) -> Result<Source, BuildError> {
    Ok(clock.unwrap_or(Source::Coarse(crate::runtime::clock::CoarseClock::new())))
}

#[cfg(not(feature = "std"))]
fn source(clock: Option<Source>, needed: bool) -> Result<Source, BuildError> {
    match clock {
        Some(clock) => Ok(clock),
        None if needed => Err(BuildError::MissingClock),
        None => Ok(Source::None),
    }
}
