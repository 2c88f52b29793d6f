//! The settings that a cache was built with.

use super::RemovalCause;
use super::demand::Demand;
use super::events::{LoadKind, Observer};
use super::expiry::Expiry;
use super::failure::Failure;
use super::observe::ShowKey;
use super::refresh::Refresh;
use super::tags::TagRegistry;
use crate::flight::expiry::Ttl;
use crate::runtime::cache_time::Time;
#[cfg(feature = "std")]
use crate::runtime::spawn::DefaultSpawn;
use crate::runtime::spawn::Spawn;
use crate::runtime::timer::Timer;
use crate::runtime::xfetch::{NEVER, nanos};
use crate::sys::sync::untracked;
use alloc::{boxed::Box, string::String, sync::Arc};
use core::any::Any;
use core::time::Duration;

pub(crate) type Weigher<K, V> = Box<dyn Fn(&K, &V) -> u32 + Send + Sync>;
pub(crate) type Listener<K, V> = Box<dyn Fn(&K, &V, RemovalCause) + Send + Sync>;
pub(crate) type KeepWhile<K, V> = Box<dyn Fn(&K, &V) -> bool + Send + Sync>;
pub(crate) type OnLoadError<K> = Box<dyn Fn(&K, &Failure<'_>, LoadKind) + Send + Sync>;
/// Says for how long an error is kept, in ns. `None`: the error is of another type than it knows.
pub(crate) type NegativeTtlWith<K> = Box<dyn Fn(&K, &(dyn Any + Send + Sync)) -> Option<u64> + Send + Sync>;
pub(crate) type ByValue<K, V, T> = Box<dyn Fn(&K, &V) -> T + Send + Sync>;
pub(crate) type TtlAfterRead<K, V> = Box<dyn Fn(&K, &V, Duration) -> Option<Duration> + Send + Sync>;

/// The user's function that decides on the terms of each value.
pub(crate) enum ExpiryWith<K, V> {
    Ttl(ByValue<K, V, Option<Duration>>),
    All(ByValue<K, V, Expiry>),
}

impl<K, V> ExpiryWith<K, V> {
    /// Returns the terms of a value: `own`, and for what these do not say, what the user's function
    /// does.
    #[inline(never)]
    pub(crate) fn ask(&self, key: &K, value: &V, own: &Expiry) -> Expiry {
        match self {
            Self::Ttl(_) if own.ttl.is_some() => *own,
            Self::Ttl(ttl) => Expiry { ttl: ttl(key, value).map(Ttl::jittered), ..*own },
            Self::All(expiry) => own.or(expiry(key, value)),
        }
    }
}

/// The settings that one lookup may change. Times are in ns; `NEVER` is none.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// The time to live of the value that this caller loads.
    pub(crate) ttl: Option<Ttl>,
    /// The other terms of that value. (Boxed, because few callers have such, and each future of a
    /// lookup holds its limits.)
    pub(crate) terms: Option<Box<Expiry>>,
    pub(crate) wait_timeout: u64,
    pub(crate) soft_timeout: u64,
    pub(crate) hard_timeout: u64,
    pub(crate) lead_timeout: u64,
    /// How long past its time to live a value is served while it is refreshed; 0: not at all.
    pub(crate) stale_while_refresh: u64,
    /// How long past its time to live a value is served where its refresh has failed or takes too
    /// long.
    pub(crate) stale_if_error: u64,
    /// Whether these two are the caller's own, and so count before those of a value.
    pub(crate) own_windows: bool,
    /// How new a value must be for this caller.
    pub(crate) demand: Demand,
    /// Whether the caller's load in the background ends when no caller waits for it any more.
    pub(crate) while_wanted: bool,
}

/// How long past its time to live a value may be served, in ns.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StaleWindow {
    /// That long, whatever the value's own terms say.
    Exactly(u64),
    /// While another caller refreshes it: that long, unless the value's own terms differ.
    WhileRefresh(u64),
    /// Where its refresh has failed or takes too long: that long, unless its own terms differ.
    IfError(u64),
    /// For the longer of these two times.
    Longest(u64),
}

impl Limits {
    /// Has the value loaded anew. (A method, so that the settings of each kind of request need no
    /// import.)
    pub(crate) fn demand_anew(&mut self) {
        self.demand = Demand::ANEW;
    }

    /// Demands a value of at most this age.
    pub(crate) fn demand_within(&mut self, age: Duration) {
        self.demand = Demand::within(nanos(age));
    }

    /// Returns the terms of the value that this caller loads.
    pub(crate) fn expiry(&self) -> Expiry {
        let own = Expiry { ttl: self.ttl, ..Expiry::new() };
        self.terms.as_ref().map_or(own, |terms| own.or(**terms))
    }

    /// Returns whether no part of these terms is given.
    pub(crate) fn has_no_terms(&self) -> bool {
        self.ttl.is_none() && self.terms.is_none()
    }

    /// Adds terms; they count before those that there are.
    pub(crate) fn add_terms(&mut self, expiry: Expiry) {
        self.ttl = expiry.ttl.or(self.ttl);
        if (Expiry { ttl: None, ..expiry }) != Expiry::new() {
            self.terms = Some(Box::new(self.terms.as_ref().map_or(expiry, |terms| expiry.or(**terms))));
        }
    }

    /// Returns how long a value is served while it is refreshed.
    pub(crate) fn while_refresh(&self) -> StaleWindow {
        self.window(StaleWindow::WhileRefresh, self.stale_while_refresh)
    }

    /// Returns how long a value is served where its refresh has failed or takes too long.
    pub(crate) fn if_error(&self) -> StaleWindow {
        self.window(StaleWindow::IfError, self.stale_if_error)
    }

    /// Returns the longest time past its time to live for which a value may be served.
    pub(crate) fn max_stale(&self) -> StaleWindow {
        self.window(StaleWindow::Longest, self.longest_window())
    }

    /// Returns a window of this length: exactly that long if it is the caller's own.
    fn window(&self, of_values: fn(u64) -> StaleWindow, ns: u64) -> StaleWindow {
        if self.own_windows { StaleWindow::Exactly(ns) } else { of_values(ns) }
    }

    /// Returns the same for a value without terms of its own.
    pub(crate) fn longest_window(&self) -> u64 {
        self.stale_while_refresh.max(self.stale_if_error)
    }
}

/// The checked settings of a cache. Times are in ns; `NEVER` is none.
pub(crate) struct Config<K, V> {
    pub(crate) name: String,
    pub(crate) max_capacity: u64,
    pub(crate) initial_capacity: usize,
    pub(crate) shards: usize,
    pub(crate) weigher: Option<Weigher<K, V>>,
    /// Which entries are not evicted.
    pub(crate) keep_while: Option<KeepWhile<K, V>>,
    pub(crate) listener: Option<Listener<K, V>>,
    pub(crate) on_load_error: Option<OnLoadError<K>>,
    pub(crate) observer: Option<Box<dyn Observer>>,
    /// Shows keys to the observer, if it may see them.
    pub(crate) show_key: Option<ShowKey<K>>,
    pub(crate) ttl: u64,
    pub(crate) idle: u64,
    pub(crate) expiry_with: Option<ExpiryWith<K, V>>,
    pub(crate) ttl_after_read: Option<TtlAfterRead<K, V>>,
    pub(crate) jitter: f64,
    pub(crate) refresh: Refresh,
    pub(crate) cooldown: u64,
    /// How long a failure is kept in place of a value; 0: not at all.
    pub(crate) negative_ttl: u64,
    pub(crate) negative_ttl_with: Option<NegativeTtlWith<K>>,
    pub(crate) limits: Limits,
    pub(crate) groups: Option<TagRegistry<K, V>>,
    /// Whether a hit may always go by the quiet time of the entry alone, and has the time at hand.
    pub(crate) quiet_hits: bool,
    /// Flags of [`ExpiryWord`](crate::flight::expiry::ExpiryWord) with which a hit must not go by
    /// the quiet time alone.
    pub(crate) restless: untracked::AtomicU64,
    /// Whether the duration of a load is needed whose value has no terms of its own. If nothing in
    /// the cache expires, such a value does not expire either. Then only an observer needs the
    /// duration; without one the load reads no precise clock.
    pub(crate) times_plain_loads: bool,
    pub(crate) max_waiters: u32,
    pub(crate) max_loads: usize,
    /// How often a flight whose leaders panic is handed over.
    pub(crate) max_handovers: u32,
    /// Whether `get_with` runs its loader for its caller alone where it would have to wait on.
    pub(crate) bypass: bool,
    pub(crate) huge_pages: bool,
    pub(crate) record_stats: bool,
    pub(crate) seed: Option<u64>,
    pub(crate) time: Time,
    pub(crate) timer: Option<Box<dyn Timer>>,
    pub(crate) spawner: Option<Arc<dyn Spawn>>,
}

impl<K, V> Config<K, V> {
    /// Returns whether any value may be given terms that are kept with its entry.
    pub(crate) fn gives_own_terms(&self) -> bool {
        matches!(self.expiry_with, Some(ExpiryWith::All(_)))
    }

    /// Returns whether every value without terms of its own weighs one and stays until it is
    /// removed: it has no tags, does not expire, and is not refreshed by itself.
    pub(super) fn gives_plain_terms(&self) -> bool {
        let lasting = self.ttl == NEVER && self.idle == NEVER && !self.refresh.needs_no_expiry();
        let terms = self.weigher.is_some() || self.expiry_with.is_some() || self.groups.is_some();
        lasting && !terms && self.ttl_after_read.is_none()
    }

    /// Returns the spawner that runs loads in the background.
    ///
    /// # Panics
    /// Without std, if the builder was given no spawner.
    pub(crate) fn spawner(&self) -> &dyn Spawn {
        match &self.spawner {
            Some(spawner) => &**spawner,
            #[cfg(feature = "std")]
            None => &DefaultSpawn,
            #[cfg(not(feature = "std"))]
            None => panic!("without std, loads in the background need a spawner: Builder::spawner"),
        }
    }
}
