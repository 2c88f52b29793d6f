//! The settings of loads: how early, how many at a time, for how long, and what is given where they fail.

use super::Builder;
use crate::runtime::xfetch::nanos;
use core::time::Duration;

impl<K, V, S> Builder<K, V, S> {
    /// XFetch's β: how eagerly entries are refreshed before they expire. 1.0 is the paper's optimum and the default;
    /// larger is earlier; 0.0 turns early refresh off. (Vattani, Chierichetti, Lowenstein, *Optimal Probabilistic Cache
    /// Stampede Prevention*, VLDB 2015, section 4.)
    #[doc(alias = "refresh_after_write")]
    pub fn xfetch(mut self, beta: f64) -> Self {
        self.beta = beta;
        self
    }

    /// How long after a failed refresh the entry is left alone: a good one until its expiry at most, one past its time to live
    /// while [`stale_if_error`](Self::stale_if_error) lets it be served. Default 1 s. With a time to idle the setting has no
    /// effect: the next reader may try again.
    pub fn error_cooldown(mut self, cooldown: Duration) -> Self {
        self.cooldown = cooldown;
        self
    }

    /// How long a failure is kept in the place of a value (negative caching): meanwhile `try_get_with` and its like answer with the
    /// same error, at once, without a call of the loader. Default: zero, each caller after a failed load loads anew.
    ///
    /// Where an old value may be served ([`stale_if_error`](Self::stale_if_error)), it is. A failure that is kept weighs 1 and
    /// counts as an entry, though nothing finds it but read-through; `insert`, `remove` and their like replace or remove it.
    /// `get_with`, which cannot report it, and [`lease`](crate::Cache::lease) pass over it and load.
    #[doc(alias = "negative_cache")]
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.negative_ttl = ttl;
        self
    }

    /// How long past its time to live a value is still served by read-through, while one caller loads the next (RFC 5861,
    /// section 3, `stale-while-revalidate`): so nobody but that caller waits. Default: zero.
    ///
    /// Plain reads (`get`) never give an expired value. An entry is kept for that much longer, and then counts as expired
    /// for eviction and `purge_expired`. Not together with [`time_to_idle`](Self::time_to_idle).
    /// [`Stats::stale_serves`](crate::Stats) counts.
    ///
    /// It holds for every way in which a value's time may end: also by
    /// [`expire`](crate::Cache::expire), or after a time to live of its own, in a cache without
    /// one.
    #[doc(alias = "stale_while_revalidate")]
    pub fn stale_while_refresh(mut self, stale: Duration) -> Self {
        self.limits.stale_while_refresh = nanos(stale);
        self
    }

    /// How long past its time to live a value is still good in place of an error (RFC 5861, section 4): where a refresh fails or
    /// takes longer than its deadlines, or no more may wait or load, read-through gives the old value. Default: zero.
    ///
    /// After a failure the loader is not called again before the [`error_cooldown`](Self::error_cooldown) is over; meanwhile
    /// everyone gets the old value at once. Plain reads (`get`) never give an expired value. An entry is kept for that much
    /// longer, and then counts as expired for eviction and `purge_expired`. Not together with
    /// [`time_to_idle`](Self::time_to_idle).
    pub fn stale_if_error(mut self, stale: Duration) -> Self {
        self.limits.stale_if_error = nanos(stale);
        self
    }

    /// The most callers who wait for one load. One more is not made to wait: it gets a value that
    /// is stale but may be served, or [`Overloaded`](crate::LoadError::Overloaded), at once.
    /// Default: 2³⁰ − 1 (16,383 on 32-bit targets). 0: nobody waits, but for the moment in which a
    /// value is moved in; not together with [`lead_timeout`](Self::lead_timeout) then.
    ///
    /// `get_with`, which cannot report it, waits all the same (or see [`bypass`](Self::bypass)). To shed
    /// load, use `try_get_with`.
    pub fn max_waiters(mut self, waiters: usize) -> Self {
        self.max_waiters = waiters;
        self
    }

    /// The most loads at a time, over the whole cache. Who would begin one more gets the old value,
    /// if that is good or stale but may be served, or [`Overloaded`](crate::LoadError::Overloaded),
    /// at once. Not zero. Default: no bounds.
    ///
    /// What is bounded are loads that the cache leads. `get_with`, which cannot report a refusal, waits
    /// until another load ends (or see [`bypass`](Self::bypass)). To shed load, use `try_get_with`. A
    /// load that is taken over from a leader that gave up is not refused, nor is
    /// [`compute`](crate::Cache::compute), though both count. A leader that hangs counts no more once
    /// its load was taken over ([`lead_timeout`](Self::lead_timeout)). A bulk call counts as one load.
    pub fn max_loads(mut self, loads: usize) -> Self {
        self.max_loads = loads;
        self
    }

    /// How often a flight whose leader panics is handed over to one of those who wait, with that
    /// caller's own loader. If the next leader panics, too, the flight ends: all who wait get
    /// [`Panicked`](crate::LoadError::Panicked); those of `get_with`, which has no way to report it,
    /// panic. So a loader that panics each time is not called once for each of a thousand callers, one
    /// after the other. Default 3; 0: the first panic ends the flight.
    ///
    /// With a [`negative_ttl`](Self::negative_ttl) the failure of such a flight is kept, as an error
    /// is. A leader that is cancelled is handed over in any case.
    pub fn max_handovers(mut self, handovers: u32) -> Self {
        self.max_handovers = handovers;
        self
    }

    /// Whether `get_with` and its like, which have no way to report an error, run their own loader for
    /// themselves alone where `try_get_with` would be refused: after the `wait_timeout`, or where
    /// `max_waiters` or `max_loads` bounds them. Such a value is not stored, and such loads are not
    /// bounded. Default: no, they wait on.
    pub fn bypass(mut self, bypass: bool) -> Self {
        self.bypass = bypass;
        self
    }

    /// How long a caller waits for the load of another: then it gets
    /// [`TimedOut`](crate::LoadError::TimedOut). `get_with` and its like, which have no way to report
    /// that, wait on (or see [`bypass`](Self::bypass)). Default: as long as it takes. Measured by the system's
    /// monotonic clock, or, under a custom clock, by that clock's [`timer`](Self::timer).
    #[doc(alias = "timeout")]
    pub fn wait_timeout(mut self, timeout: Duration) -> Self {
        self.limits.wait_timeout = nanos(timeout);
        self
    }

    /// How long a caller for whom there is an old value waits for the new one: then it goes on with
    /// the old one, and the load goes on. Which one is good enough,
    /// [`stale_while_refresh`](Self::stale_while_refresh) and
    /// [`stale_if_error`](Self::stale_if_error) say: one of them must be given, and no
    /// [`hard_timeout`](Self::hard_timeout) that is shorter. (Where single calls take old values,
    /// by [`max_stale`](crate::Request::max_stale), they can have a soft timeout of their own.)
    /// Default: as long as it takes.
    ///
    /// It holds for those who wait for the load of another; for a task that polls its own load, which is
    /// dropped then, and so handed over; and for those whose load the spawner runs
    /// ([`Cache::detached`](crate::Cache::detached)). A thread that runs its own closure cannot be
    /// stopped.
    pub fn soft_timeout(mut self, timeout: Duration) -> Self {
        self.limits.soft_timeout = nanos(timeout);
        self
    }

    /// How long a caller waits altogether: then it gets an old value if it may
    /// ([`stale_if_error`](Self::stale_if_error)), or [`TimedOut`](crate::LoadError::TimedOut).
    /// `get_with` and its like, which have no way to report that, wait on where there is no old value
    /// (or see [`bypass`](Self::bypass)). Default: as long as it takes.
    ///
    /// The load goes on if another caller or the spawner ([detached](crate::Cache::detached)) runs it.
    /// One that a task polls itself is dropped, and so handed over to one of those who wait; `get_with_async`,
    /// which cannot report an error, goes on where there is no old value. A thread that runs its own
    /// closure cannot be stopped.
    #[doc(alias = "timeout")]
    pub fn hard_timeout(mut self, timeout: Duration) -> Self {
        self.limits.hard_timeout = nanos(timeout);
        self
    }

    /// How long a leader may hold its lease while others wait: then one of them takes the load on, with its own loader. What
    /// the old leader still comes to is for its own caller alone. If the key was written or removed meanwhile they all look
    /// again, for that is newer. Default: as long as it takes. Not zero.
    ///
    /// For leaders that hang: their threads stuck, their tasks not polled. Give it several times
    /// what a load may take: a load that is merely slow is done twice. It holds for
    /// [`compute`](crate::Cache::compute), too. Not where [`max_waiters`](Self::max_waiters) lets
    /// nobody wait: nobody could take over.
    pub fn lead_timeout(mut self, timeout: Duration) -> Self {
        self.limits.lead_timeout = nanos(timeout);
        self
    }
}
