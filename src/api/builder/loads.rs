//! The settings of loads: how early, how many at a time, for how long, and what callers get when a
//! load fails.

use super::Builder;
use crate::engine::refresh::Refresh;
use crate::runtime::xfetch::nanos;
use alloc::boxed::Box;
use core::any::Any;
use core::time::Duration;

impl<K, V, S> Builder<K, V, S> {
    /// Refreshes entries by XFetch instead of the default: each read-through rolls dice, which are
    /// the likelier to win the nearer the expiry is. Short for [`refresh`](Self::refresh) with
    /// [`Refresh::xfetch`]. It suits processes that share a source and no cache, because dice keep
    /// them from refreshing all at once. A β of 1.0 is the paper's optimum; a larger one refreshes
    /// earlier, and 0.0 turns early refresh off.
    pub fn xfetch(self, beta: f64) -> Self {
        self.refresh(Refresh::xfetch(beta))
    }

    /// When entries are refreshed before they expire. The last policy given counts. Default:
    /// [`Refresh::default()`](Refresh::default), three load times before the expiry, in the second
    /// half of the entry's life, and in its last 7 % at the latest.
    /// [`Refresh::never()`](Refresh::never) turns refresh ahead of expiry off.
    ///
    /// A refresh ahead of expiry is a load like any other: one caller leads it, and the other
    /// callers keep the value that is still fresh. The caller that leads pays for it, unless the
    /// load runs in the background ([`detached`](crate::Cache::detached), or a
    /// [`LoadingCache`](crate::LoadingCache) with a `LoadAsync` loader). With a time to idle the
    /// [`error_cooldown`](Self::error_cooldown) has no effect, so each reader past the mark tries
    /// again if a refresh fails.
    #[doc(alias = "eager_refresh")]
    pub fn refresh(mut self, policy: Refresh) -> Self {
        self.refresh = policy;
        self
    }

    /// Refreshes an entry at this age, at the first read-through past it: short for
    /// [`refresh`](Self::refresh) with [`Refresh::after`]. The entry need not expire.
    ///
    /// ```
    /// use bellwether::{Cache, ManualClock, Outcome};
    /// use std::time::Duration;
    /// let clock = ManualClock::new();
    /// let cache: Cache<u32, u32> = Cache::builder()
    ///     .max_capacity(10)
    ///     .refresh_after(Duration::from_secs(10))
    ///     .clock(clock.clone())
    ///     .build()?;
    /// cache.get_with(&1, || 1);
    /// clock.advance(Duration::from_secs(10));
    /// assert_eq!(cache.get(&1), Some(1), "it does not expire");
    /// assert_eq!(cache.entry(&1).get_with(|| 2).1, Outcome::Refreshed);
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    #[doc(alias = "refresh_after_write")]
    pub fn refresh_after(self, age: Duration) -> Self {
        self.refresh(Refresh::after(age))
    }

    /// Refreshes an entry at this share of its time to live, from 0.0 to 1.0, at the first
    /// read-through past it: short for [`refresh`](Self::refresh) with [`Refresh::at`].
    #[doc(alias = "eager_refresh_threshold")]
    pub fn refresh_at(self, share: f64) -> Self {
        self.refresh(Refresh::at(share))
    }

    /// Refreshes an entry so early that a load of up to `factor` times the key's last one ends
    /// before the entry expires: short for [`refresh`](Self::refresh) with [`Refresh::lead`].
    pub fn refresh_lead(self, factor: f64) -> Self {
        self.refresh(Refresh::lead(factor))
    }

    /// Sets how long the cache leaves an entry alone after its refresh failed. A fresh entry is
    /// left alone until its expiry at most. An expired entry is left alone while
    /// [`stale_if_error`](Self::stale_if_error) lets it be served. Default 1 s.
    ///
    /// With a time to idle the setting has no effect: the next reader may try again.
    pub fn error_cooldown(mut self, cooldown: Duration) -> Self {
        self.cooldown = cooldown;
        self
    }

    /// Sets how long the cache keeps a failure in the place of a value (negative caching).
    /// Meanwhile `try_get_with` and its like return the same error at once, without calling the
    /// loader. Default: zero, so each caller after a failed load loads anew.
    ///
    /// Where an old value may be served ([`stale_if_error`](Self::stale_if_error)), callers get
    /// that value and the failure is not kept. A failure that is kept weighs 1 and counts as an
    /// entry, though only read-through finds it. `insert`, `remove` and their like replace or
    /// remove it. `get_with`, which cannot report it, and [`lease`](crate::Cache::lease) pass over
    /// it and load.
    ///
    /// The time also holds for the answer that there is no value
    /// ([`Loaded::NotFound`](crate::Loaded::NotFound)), which is no failure, and which no old value
    /// stands in for. The page [`failures`](crate::failures) says which to use.
    #[doc(alias = "negative_cache")]
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.negative_ttl = ttl;
        self
    }

    /// Sets a function that says for how long the cache keeps an error of a loader, instead of the
    /// [`negative_ttl`](Self::negative_ttl). `None`, and a time of zero, keep no failure. `E` is
    /// the loader's error type.
    ///
    /// The function is asked for errors of this type only. Errors of another type, and flights
    /// whose leaders all panicked, have the `negative_ttl`. A second call adds a function for
    /// another type; of two for one type, the last one counts. The thread on which the load ended
    /// calls it, once for each failed load whose failure might be kept, before the callers that
    /// wait are told. If it panics, the flight is given up.
    ///
    /// ```
    /// use bellwether::Cache;
    /// use std::time::Duration;
    /// #[derive(Debug)]
    /// enum DbError { NoSuchUser, Down }
    /// let users: Cache<u64, String> = Cache::builder()
    ///     .max_capacity(100)
    ///     .negative_ttl_with(|_: &u64, error: &DbError| match error {
    ///         DbError::NoSuchUser => Some(Duration::from_secs(60)),
    ///         DbError::Down => None,
    ///     })
    ///     .build()?;
    /// let mut queries = 0;
    /// let mut ask = |id, error| {
    ///     let answer = users.try_get_with(&id, || { queries += 1; Err(error) });
    ///     assert!(answer.is_err());
    /// };
    /// ask(1, DbError::NoSuchUser);
    /// ask(1, DbError::NoSuchUser);
    /// ask(2, DbError::Down);
    /// ask(2, DbError::Down);
    /// assert_eq!(queries, 3);
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    #[doc(alias = "negative_cache")]
    pub fn negative_ttl_with<E>(mut self, ttl: impl Fn(&K, &E) -> Option<Duration> + Send + Sync + 'static) -> Self
    where
        E: Any + Send + Sync,
        K: 'static,
    {
        let others = self.negative_ttl_with.take();
        self.negative_ttl_with = Some(Box::new(move |key, error| match error.downcast_ref() {
            Some(error) => Some(ttl(key, error).map_or(0, nanos)),
            None => others.as_ref().and_then(|others| others(key, error)),
        }));
        self
    }

    /// Sets how long past its time to live read-through still serves a value while one caller loads
    /// the next one (RFC 5861, section 3, `stale-while-revalidate`). So no other caller waits.
    /// Default: zero.
    ///
    /// Plain reads (`get`) never return an expired value. The cache keeps an entry for that much
    /// longer; after that, the entry counts as expired for eviction and `purge_expired`. The
    /// setting cannot be combined with [`time_to_idle`](Self::time_to_idle).
    /// [`Stats::stale_serves`](crate::Stats) counts the values served.
    ///
    /// The setting applies however a value's time ends: also by [`expire`](crate::Cache::expire),
    /// and to a value with a time to live of its own in a cache without one.
    #[doc(alias = "stale_while_revalidate")]
    pub fn stale_while_refresh(mut self, stale: Duration) -> Self {
        self.limits.stale_while_refresh = nanos(stale);
        self
    }

    /// Sets how long past its time to live a value may still stand in for an error (RFC 5861,
    /// section 4). Read-through returns the old value where a refresh fails or takes longer than
    /// the caller's deadlines, and where `max_waiters` or `max_loads` refuses the caller. Default:
    /// zero.
    ///
    /// After a failure the cache does not call the loader again before the
    /// [`error_cooldown`](Self::error_cooldown) has passed; meanwhile every caller gets the old
    /// value at once. Plain reads (`get`) never return an expired value. The cache keeps an entry
    /// for that much longer; after that, the entry counts as expired for eviction and
    /// `purge_expired`. The setting cannot be combined with [`time_to_idle`](Self::time_to_idle).
    pub fn stale_if_error(mut self, stale: Duration) -> Self {
        self.limits.stale_if_error = nanos(stale);
        self
    }

    /// Sets the most callers that wait for one load. One more caller does not wait: it gets a stale
    /// value that may be served, or [`Overloaded`](crate::LoadError::Overloaded), at once. Default:
    /// 2³⁰ − 1 (16,383 on 32-bit targets). With 0, no caller waits, except for the moment in which
    /// the leader moves a value in; 0 cannot be combined with [`lead_timeout`](Self::lead_timeout).
    ///
    /// `get_with`, which cannot report a refusal, waits all the same (or see
    /// [`bypass`](Self::bypass)). To shed load, use `try_get_with`.
    pub fn max_waiters(mut self, waiters: usize) -> Self {
        self.max_waiters = waiters;
        self
    }

    /// Sets the most loads in flight at a time, over the whole cache. A caller that would begin one
    /// more gets the old value, if that is fresh or may be served stale, or else
    /// [`Overloaded`](crate::LoadError::Overloaded), at once. Not zero. Default: no bound.
    ///
    /// The bound holds for loads that the cache leads. `get_with`, which cannot report a refusal,
    /// waits until another load ends (or see [`bypass`](Self::bypass)). To shed load, use
    /// `try_get_with`. Two kinds of load count but are never refused: a load that is taken over
    /// from a leader that gave up, and a [`compute`](crate::Cache::compute). A leader that hangs no
    /// longer counts once its load was taken over ([`lead_timeout`](Self::lead_timeout)). A bulk
    /// call counts as one load.
    pub fn max_loads(mut self, loads: usize) -> Self {
        self.max_loads = loads;
        self
    }

    /// Sets how often a flight whose leader panics is handed over to a waiter, with that waiter's
    /// own loader. If one more leader panics, the flight ends. Its waiters then get
    /// [`Panicked`](crate::LoadError::Panicked); those in `get_with`, which has no way to report
    /// it, panic. So a loader that panics each time is not called once for each of a thousand
    /// callers, one after the other. Default 3. With 0, the first panic ends the flight.
    ///
    /// With a [`negative_ttl`](Self::negative_ttl) the cache keeps the failure of such a flight as
    /// it keeps an error. A flight whose leader is cancelled is handed over in any case.
    pub fn max_handovers(mut self, handovers: u32) -> Self {
        self.max_handovers = handovers;
        self
    }

    /// Sets whether `get_with` and its like, which have no way to report an error, run their own
    /// loader for themselves alone where `try_get_with` would be refused: after the `wait_timeout`,
    /// or where `max_waiters` or `max_loads` bounds them. Such a value is not stored, and such
    /// loads are not bounded. Default: no, they wait on.
    pub fn bypass(mut self, bypass: bool) -> Self {
        self.bypass = bypass;
        self
    }

    /// Sets how long a caller waits for another caller's load before it gets
    /// [`TimedOut`](crate::LoadError::TimedOut). `get_with` and its like, which have no way to
    /// report that, wait on (or see [`bypass`](Self::bypass)). Default: no bound.
    ///
    /// The time is measured by the system's monotonic clock, or, under a custom clock, by that
    /// clock's [`timer`](Self::timer).
    #[doc(alias = "timeout")]
    pub fn wait_timeout(mut self, timeout: Duration) -> Self {
        self.limits.wait_timeout = nanos(timeout);
        self
    }

    /// Sets how long a caller that has an old value to fall back on waits for the new one. Then the
    /// caller goes on with the old value, and the load goes on. Default: no bound.
    ///
    /// [`stale_while_refresh`](Self::stale_while_refresh) and
    /// [`stale_if_error`](Self::stale_if_error) say which old values may be served. One of them
    /// must be given, and a [`hard_timeout`](Self::hard_timeout) must not be shorter. (A single
    /// call that accepts old values by [`max_stale`](crate::Request::max_stale) can have a soft
    /// timeout of its own.)
    ///
    /// The timeout applies to a caller that waits for another caller's load; to a task that polls
    /// its own load, which is then dropped and so handed over; and to a caller whose load the
    /// spawner runs ([`Cache::detached`](crate::Cache::detached)). A thread that runs its own
    /// closure cannot be stopped.
    pub fn soft_timeout(mut self, timeout: Duration) -> Self {
        self.limits.soft_timeout = nanos(timeout);
        self
    }

    /// Sets how long a caller waits altogether. Then it gets an old value if one may be served
    /// ([`stale_if_error`](Self::stale_if_error)), or [`TimedOut`](crate::LoadError::TimedOut).
    /// `get_with` and its like, which have no way to report that, wait on where there is no old
    /// value (or see [`bypass`](Self::bypass)). Default: no bound.
    ///
    /// The load goes on if another caller or the spawner ([detached](crate::Cache::detached)) runs
    /// it. A load that a task polls itself is dropped, and so handed over to a waiter;
    /// `get_with_async`, which cannot report an error, goes on where there is no old value. A
    /// thread that runs its own closure cannot be stopped.
    #[doc(alias = "timeout")]
    pub fn hard_timeout(mut self, timeout: Duration) -> Self {
        self.limits.hard_timeout = nanos(timeout);
        self
    }

    /// Sets how long a leader may hold its lease. Then another caller, a waiter or one that comes
    /// later, takes the load over with its own loader. A value that the old leader still produces
    /// goes to its own caller alone. If the key was written or removed meanwhile, all waiters look
    /// the key up again, because its present state is newer than the load. Default: no bound. Not
    /// zero.
    ///
    /// The timeout is meant for leaders that hang: a stuck thread, a task that is not polled. Set
    /// it to several times what a load may take, because a load that is merely slow is done twice.
    /// It applies to [`compute`](crate::Cache::compute), too. It cannot be combined with a
    /// [`max_waiters`](Self::max_waiters) of 0, where no caller waits for a leader.
    pub fn lead_timeout(mut self, timeout: Duration) -> Self {
        self.limits.lead_timeout = nanos(timeout);
        self
    }
}
