//! How fresh a value is: whether it may be served, and whether it is to be refreshed.

use super::Core;
use super::config::StaleWindow;
use super::tags::Ended;
use crate::flight::expiry::ExpiryWord;
use crate::flight::node::Node;
use crate::runtime::xfetch::{self, NEVER, nanos};
use crate::sys::sync::Ordering;
use core::time::Duration;

/// How fresh a value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Freshness {
    Fresh,
    /// Fresh, but this caller is the one to refresh it: the value is past its mark, or the dice
    /// chose the caller.
    Early,
    /// Fresh, and not new enough for this caller.
    TooOld,
    Expired,
}

impl<K, V> Core<K, V> {
    /// Returns whether the value may be served: the question of the hit path. Never rolls dice.
    /// Counts as a use where there is a time to idle.
    #[inline]
    pub(crate) fn is_fresh(&self, node: &Node<K, V>) -> bool {
        let hot = node.hot();
        if hot.never_expires() {
            return !self.ended_with_all(node);
        }
        let now = self.config.time.now();
        if now < hot.quiet_until() && self.has_quiet_time(hot) {
            return true;
        }
        self.is_fresh_past_quiet(node, hot, now)
    }

    /// Returns whether a hit may go by the quiet time alone.
    #[inline]
    pub(super) fn has_quiet_time(&self, hot: ExpiryWord) -> bool {
        hot.is_free_of(self.config.restless.load(Ordering::Relaxed))
    }

    /// Returns the time from which a reader may refresh the entry early.
    fn refreshed_from(&self, node: &Node<K, V>, hot: ExpiryWord) -> u64 {
        match self.config.idle {
            NEVER if !hot.quiet_is_last() => hot.quiet_until(),
            // The word has the idle deadline in place of the mark, or cannot hold the mark.
            _ if hot.has_own_terms() => node.own_terms(self.nodes()).map_or(NEVER, |own| own.mark),
            _ => self.config.refresh.earliest(node.born(), node.expires(self.nodes()), hot.delta()),
        }
    }

    #[cold]
    fn is_fresh_past_quiet(&self, node: &Node<K, V>, hot: ExpiryWord, now: u64) -> bool {
        let expires = node.expires(self.nodes());
        if now >= expires || self.is_outdated(node) {
            return false;
        }
        if self.config.idle == NEVER {
            self.prolong(node, (hot, expires), now);
            return true;
        }
        // With a time to idle, quiet-until holds the idle deadline instead. It moves once a tick of
        // the clock.
        let alive = now < hot.quiet_until();
        let deadline = self.idle_deadline(now);
        if alive && deadline != hot.quiet_until() {
            node.set_quiet(hot, deadline);
        }
        if alive {
            self.prolong(node, (node.hot(), expires), now);
        }
        alive
    }

    /// Gives a value that is read the time to live that the user's `ttl_after_read` says. `was` is
    /// the expiry by which the value was found fresh: if that has changed since, the change counts.
    fn prolong(&self, node: &Node<K, V>, (hot, was): (ExpiryWord, u64), now: u64) {
        let Some(ttl_after_read) = &self.config.ttl_after_read else { return };
        if !node.word.load().has_value() {
            return;
        }
        let left = if was == NEVER { Duration::MAX } else { Duration::from_nanos(was.saturating_sub(now)) };
        // SAFETY: the word has a value, and the caller is pinned or owns a reference.
        let Some(ttl) = ttl_after_read(node.key(), unsafe { node.value() }, left) else { return };
        let expires = xfetch::expires_at(now, nanos(ttl));
        if node.move_expiry(self.nodes(), was, expires) && self.config.idle == NEVER && !hot.has_own_terms() {
            let mark = self.config.refresh.earliest(node.born(), expires, hot.delta());
            node.set_quiet(hot, mark.min(NEVER - 1));
        }
        self.note_end(node);
    }

    /// Returns the idle deadline of a value that is used now, rounded up to the resolution of
    /// `ExpiryWord`. It is below `NEVER`: a word that never expires would hide the time to live.
    pub(super) fn idle_deadline(&self, now: u64) -> u64 {
        now.saturating_add(self.config.idle).div_ceil(1000).saturating_mul(1000).min(NEVER - 1)
    }

    /// Returns whether one of the value's tags was invalidated since its load began.
    pub(crate) fn tag_invalidated(&self, node: &Node<K, V>) -> bool {
        self.config.groups.is_some() && self.tag_state(node).invalidated
    }

    /// Returns whether a call has ended or invalidated the value since its load began.
    pub(crate) fn is_outdated(&self, node: &Node<K, V>) -> bool {
        self.ended_with_all(node)
            || self.config.groups.is_some() && {
                let tags = self.tag_state(node);
                tags.invalidated || tags.over_since != NEVER
            }
    }

    /// Returns what was done to a value by its tags. Calls the user's `tags_with`.
    pub(super) fn tag_state(&self, node: &Node<K, V>) -> Ended {
        let untouched = Ended { invalidated: false, over_since: NEVER };
        let Some(groups) = &self.config.groups else { return untouched };
        let Some(start) = node.tag_sequence(self.nodes()) else { return untouched };
        // A publisher writes the tag sequence a moment before the word has a value, so the word is
        // asked, too.
        match node.word.load().has_value() {
            // SAFETY: the word has a value, and the caller is pinned or owns a reference.
            true => groups.ended(node.key(), unsafe { node.value() }, start),
            false => untouched,
        }
    }

    /// Returns whether the value has expired, for callers that only look on: this counts as no use.
    pub(crate) fn is_expired(&self, node: &Node<K, V>) -> bool {
        !self.never_ends(node) && (self.is_expired_at(node, self.config.time.now()) || self.is_outdated(node))
    }

    /// Returns whether the value has expired at the time `now`. The tags are not asked.
    pub(super) fn is_expired_at(&self, node: &Node<K, V>, now: u64) -> bool {
        let hot = node.hot();
        if self.ended_with_all(node) {
            return true;
        }
        if hot.never_expires() || now < hot.quiet_until() && self.has_quiet_time(hot) {
            // The common case. The time of expiry, which lies outside the node, need not be looked
            // up.
            return false;
        }
        now >= node.expires(self.nodes()) || (self.config.idle != NEVER && now >= hot.quiet_until())
    }

    /// Returns how long past its time to live this value may be served, in ns.
    pub(crate) fn window(&self, node: &Node<K, V>, window: StaleWindow) -> u64 {
        match (window, node.own_terms(self.nodes())) {
            (StaleWindow::WhileRefresh(_), Some(own)) => own.while_refresh,
            (StaleWindow::IfError(_), Some(own)) => own.if_error,
            (StaleWindow::Longest(_), Some(own)) => own.while_refresh.max(own.if_error),
            (
                StaleWindow::Exactly(ns)
                | StaleWindow::WhileRefresh(ns)
                | StaleWindow::IfError(ns)
                | StaleWindow::Longest(ns),
                _,
            ) => ns,
        }
    }

    /// Returns whether the value's time to live ended less than `window` ago. A value with an
    /// invalidated tag has no grace, nor has any value of a cache with a time to idle.
    pub(super) fn within_grace(&self, node: &Node<K, V>, window: StaleWindow) -> bool {
        let window = self.window(node, window);
        window != 0 && self.config.idle == NEVER && {
            let ended = self.ended(node);
            let over_since = node.expires(self.nodes()).min(ended.over_since);
            !ended.invalidated && self.config.time.now() < over_since.saturating_add(window)
        }
    }

    /// Returns whether the value may be served for want of a newer one: it was not removed, and it
    /// is fresh or expired less than `window` ago.
    pub(crate) fn servable_stale(&self, node: &Node<K, V>, window: StaleWindow) -> bool {
        !node.link().is_marked() && (!self.is_expired(node) || self.within_grace(node, window))
    }

    /// Returns whether this FAILED node still keeps its failure.
    pub(super) fn keeps_failure(&self, node: &Node<K, V>) -> bool {
        node.kept_failure(self.nodes(), self.config.time.now()) && !self.ended_with_all(node)
    }

    /// Returns whether a refresh of the value failed past its time to live, so recently that no
    /// caller is to try another.
    pub(super) fn in_cooldown(&self, node: &Node<K, V>) -> bool {
        node.hot().in_cooldown(self.config.time.now(), self.config.cooldown)
    }

    /// Returns whether the value is past its expiry and past every stale-serving window at the time
    /// `now`.
    pub(super) fn beyond_grace_at(&self, node: &Node<K, V>, now: u64) -> bool {
        self.is_expired_at(node, now) && (self.config.idle != NEVER || self.past_grace(node, self.over_from(node), now))
    }

    /// Returns whether a value that a caller finds over, since the time `over_since`, is past every
    /// stale-serving window at the time `now`. Where there is no window, that is so even if the
    /// clock has stepped back behind `over_since`.
    pub(super) fn past_grace(&self, node: &Node<K, V>, over_since: u64, now: u64) -> bool {
        let window = self.window(node, self.config.limits.max_stale());
        window == 0 || now >= over_since.saturating_add(window)
    }

    /// Returns when the value is past every stale-serving window. The tags are not asked.
    pub(super) fn beyond_grace_from(&self, node: &Node<K, V>) -> u64 {
        self.grace_after(node, self.over_from(node))
    }

    /// Returns when the value is over. The tags are not asked.
    fn over_from(&self, node: &Node<K, V>) -> u64 {
        node.expires(self.nodes()).min(self.end_with_all(node))
    }

    /// Returns when a value that is over since this time is past every stale-serving window.
    pub(super) fn grace_after(&self, node: &Node<K, V>, over_since: u64) -> u64 {
        over_since.saturating_add(self.window(node, self.config.limits.max_stale()))
    }

    /// Returns how fresh the value is for a read-through: whether it may be served, and whether
    /// this caller refreshes it early. Rolls the dice, if the policy has dice.
    pub(crate) fn freshness(&self, node: &Node<K, V>) -> Freshness {
        if !self.is_fresh(node) {
            return Freshness::Expired;
        }
        let hot = node.hot();
        if hot.never_expires() {
            return Freshness::Fresh;
        }
        let now = self.config.time.now();
        if now < self.refreshed_from(node, hot) {
            return Freshness::Fresh;
        }
        let dice = match hot.has_own_terms() {
            true => node.own_terms(self.nodes()).map(|own| own.beta).filter(|&beta| beta != 0.0),
            false => self.config.refresh.dice(),
        };
        let early = match dice {
            Some(beta) => {
                hot.delta() != 0 && {
                    let expires = node.expires(self.nodes());
                    xfetch::roll(now, expires, hot.delta(), beta, self.random())
                }
            }
            // Past its mark. The caller is the only one: its refresh hangs from the entry at once.
            None => true,
        };
        if early { Freshness::Early } else { Freshness::Fresh }
    }

    /// Returns whether the value is fresh, and no caller is to refresh it yet.
    #[inline]
    pub(super) fn quiet(&self, node: &Node<K, V>) -> bool {
        let hot = node.hot();
        if hot.never_expires() {
            return !self.ended_with_all(node);
        }
        let quiet = match self.has_quiet_time(hot) {
            true => hot.quiet_until(),
            false if !self.is_fresh(node) => return false,
            false => self.refreshed_from(node, hot),
        };
        self.config.time.now() < quiet
    }
}
