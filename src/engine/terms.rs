//! The weight and times with which a value is kept.

use super::expiry::Expiry;
use super::rejected::RejectionCause;
use super::{Core, Operation};
use crate::flight::expiry::{ExpiryWord, OwnStamps, Timestamps};
use crate::runtime::xfetch::{self, NEVER};
use alloc::boxed::Box;

/// The weight and times with which a value is kept. User code decides on them, and is asked before
/// the flight is touched.
pub(crate) struct EntryMeta {
    /// 0: the value is handed over only.
    pub(crate) weight: u32,
    pub(crate) stamps: Timestamps,
    /// Why the weight is 0.
    pub(crate) rejected: Option<RejectionCause>,
}

impl<K, V> Core<K, V> {
    /// Runs the weigher, `expiry_with` and `tags_with`. `own` are terms of this value alone.
    /// `delta` is how long the value took to load, in ns (0: it was not loaded). `start` is the tag
    /// sequence with which the load began ([`Core::tag_sequence`]).
    #[inline]
    pub(crate) fn entry_meta<'e>(
        &self,
        key: &K,
        value: &V,
        own: impl Into<Option<&'e Expiry>>,
        (start, delta): (u64, u64),
    ) -> EntryMeta {
        let (own, load) = (own.into(), (start, delta));
        if self.plain_terms && own.is_none_or(Expiry::is_empty) {
            return self.meta_of(1, self.lasting(self.config.time.now(), load));
        }
        let weight = self.config.weigher.as_ref().map_or(1, |weigh| weigh(key, value).max(1));
        self.meta_of(weight, self.times(key, value, own, load))
    }

    /// Returns what [`entry_meta`](Self::entry_meta) does for a value without terms of its own, if
    /// no user code is asked for that.
    #[inline(always)]
    pub(crate) fn plain_meta(&self, load: (u64, u64)) -> Option<EntryMeta> {
        let config = &self.config;
        let by_value = || config.weigher.is_some() || config.expiry_with.is_some() || config.groups.is_some();
        if config.time.is_users() {
            return None;
        }
        let stamps = match self.plain_terms {
            true => self.lasting(config.time.now(), load),
            false if by_value() => return None,
            false => self.stamps(self.usual_ttl(), load),
        };
        Some(self.meta_of(1, stamps))
    }

    #[inline]
    fn meta_of(&self, weight: u32, stamps: Timestamps) -> EntryMeta {
        let rejected = match stamps.expires == stamps.born {
            true => Some(RejectionCause::ZeroTimeToLive),
            false => Operation::rejects(self, weight),
        };
        EntryMeta { weight: if rejected.is_none() { weight } else { 0 }, stamps, rejected }
    }

    /// Returns the times of a value; the expiry is the creation time if the value is not to be
    /// kept. Runs `expiry_with` and `tags_with`.
    #[inline]
    pub(crate) fn times<'e>(
        &self,
        key: &K,
        value: &V,
        own: impl Into<Option<&'e Expiry>>,
        load: (u64, u64),
    ) -> Timestamps {
        let own = own.into();
        let none = own.is_none_or(Expiry::is_empty);
        match none && self.config.expiry_with.is_none() && self.config.groups.is_none() {
            true => self.stamps(self.usual_ttl(), load),
            false => self.times_by_terms(key, value, own.unwrap_or(Expiry::NONE), load),
        }
    }

    /// Returns the time to live of a value without terms.
    #[inline]
    fn usual_ttl(&self) -> u64 {
        match self.config.ttl {
            NEVER => NEVER,
            ttl => xfetch::jittered(ttl, self.config.jitter, self.random()),
        }
    }

    #[inline(never)]
    fn times_by_terms(&self, key: &K, value: &V, own: &Expiry, (start, delta): (u64, u64)) -> Timestamps {
        let asked;
        let terms = match &self.config.expiry_with {
            None => own,
            Some(with) => {
                asked = with.ask(key, value, own);
                &asked
            }
        };
        let ttl = match terms.ttl {
            None => self.usual_ttl(),
            Some(ttl) if ttl.is_jittered() => xfetch::jittered(ttl.nanos(), self.config.jitter, self.random()),
            Some(ttl) => ttl.nanos(),
        };
        let delta = terms.cost.unwrap_or(delta);
        let mut stamps = match terms.age == 0 && !terms.has_own_terms() {
            true => self.stamps(ttl, (start, delta)),
            false => self.own_stamps(ttl, terms, (start, delta)),
        };
        if self.config.groups.as_ref().is_some_and(|groups| groups.has_tags(key, value)) {
            stamps.hot = stamps.hot.with_tags();
        }
        stamps
    }

    /// Returns the times of a value that neither expires nor is refreshed by itself.
    #[inline]
    fn lasting(&self, born: u64, (tag_sequence, delta): (u64, u64)) -> Timestamps {
        let hot = ExpiryWord::new(NEVER, delta);
        Timestamps { born, expires: NEVER, hot, tag_sequence, numbered: self.all_ended(), own: None }
    }

    #[inline(always)]
    fn stamps(&self, ttl: u64, (tag_sequence, delta): (u64, u64)) -> Timestamps {
        let born = self.config.time.now();
        let expires = xfetch::expires_at(born, ttl);
        let hot = self.hot(born, expires, delta);
        Timestamps { born, expires, hot, tag_sequence, numbered: self.all_ended(), own: None }
    }

    /// Returns the times of a value with an age or terms of its own.
    ///
    /// No time is before the cache was built. Where the value is older than the cache, the time
    /// between the two is kept apart, and the windows of a value that expired before then are the
    /// shorter for that.
    #[cold]
    fn own_stamps(&self, ttl: u64, terms: &Expiry, (tag_sequence, delta): (u64, u64)) -> Timestamps {
        let (now, age, limits) = (self.config.time.now(), terms.age, &self.config.limits);
        let after_birth = |ns: u64| if ns == NEVER { NEVER } else { now.saturating_add(ns).saturating_sub(age) };
        let (born, before) = (now.saturating_sub(age), age.saturating_sub(now));
        // An expiry at the creation time would say that the value is not to be kept: it is a
        // nanosecond later, and the windows are shorter by that.
        let at = after_birth(ttl);
        let late = || (born + 1).saturating_add(age).saturating_sub(now.saturating_add(ttl));
        let (at, over) = if at > born { (at, 0) } else { (born + 1, late()) };
        let while_refresh = terms.while_refresh.unwrap_or(limits.stale_while_refresh).saturating_sub(over);
        let if_error = terms.if_error.unwrap_or(limits.stale_if_error).saturating_sub(over);
        let longest = if self.config.idle == NEVER { while_refresh.max(if_error) } else { 0 };
        let lost = ttl == 0 || now >= at.saturating_add(longest) || (over != 0 && longest == 0);
        let expires = if lost { born } else { at };
        let refresh = terms.refresh.unwrap_or(self.config.refresh);
        let mark = after_birth(refresh.earliest(0, ttl, delta)).min(expires);
        let mut hot = ExpiryWord::new(self.quiet_time(now, || mark), delta);
        let own = (terms.has_own_terms() || before != 0).then(|| {
            hot = hot.with_own_terms();
            Box::new(OwnStamps { while_refresh, if_error, mark, beta: refresh.dice().unwrap_or(0.0), before })
        });
        Timestamps { born, expires, hot, tag_sequence, numbered: self.all_ended(), own }
    }
}
