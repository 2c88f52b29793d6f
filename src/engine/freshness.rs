//! Whether a value may be served, and for what.

use super::Core;
use super::tags::TagRegistry;
use crate::flight::expiry::ExpiryWord;
use crate::flight::node::Node;
use crate::runtime::xfetch::{self, NEVER};

/// Whether a value may be served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Freshness {
    Fresh,
    /// Good, and the dice say: refresh it.
    Early,
    Expired,
}

impl<K, V> Core<K, V> {
    /// The hit path's question: may this value be served? Never rolls dice. Counts as a use where idling matters.
    #[inline]
    pub(crate) fn is_fresh(&self, node: &Node<K, V>) -> bool {
        let hot = node.hot();
        if hot.never_expires() {
            return true;
        }
        let now = self.config.time.now();
        if now < hot.quiet_until() && self.has_quiet_time(hot) {
            return true;
        }
        self.is_fresh_past_quiet(node, hot, now)
    }

    /// Whether its quiet time is all that a hit has to look at.
    #[inline]
    pub(super) fn has_quiet_time(&self, hot: ExpiryWord) -> bool {
        hot.is_free_of(self.config.restless)
    }

    /// From when on dice are rolled for an entry.
    pub(super) fn dice_from(&self, hot: ExpiryWord, expires: u64) -> u64 {
        match self.config.idle {
            NEVER => hot.quiet_until(),
            _ => xfetch::quiet_until(expires, hot.delta(), self.config.beta),
        }
    }

    #[cold]
    fn is_fresh_past_quiet(&self, node: &Node<K, V>, hot: ExpiryWord, now: u64) -> bool {
        if now >= node.expires(self.nodes()) || self.tag_invalidated(node) {
            return false;
        }
        if self.config.idle == NEVER {
            return true;
        }
        // With a time to idle, quiet-until holds the idle deadline instead. It moves once a tick of the clock.
        let alive = now < hot.quiet_until();
        let deadline = self.idle_deadline(now);
        if alive && deadline != hot.quiet_until() {
            node.set_quiet(hot, deadline);
        }
        alive
    }

    /// Rounded up to the grain of `ExpiryWord`; never eternal, which would hide the time to live.
    pub(super) fn idle_deadline(&self, now: u64) -> u64 {
        now.saturating_add(self.config.idle).div_ceil(1000).saturating_mul(1000).min(NEVER - 1)
    }

    /// Whether one of its tags was invalidated since its load began.
    pub(crate) fn tag_invalidated(&self, node: &Node<K, V>) -> bool {
        self.config.groups.is_some() && self.tag_invalidated_since(node)
    }

    #[cold]
    fn tag_invalidated_since(&self, node: &Node<K, V>) -> bool {
        let (Some(groups), Some(start)) = (&self.config.groups, node.tag_sequence(self.nodes())) else { return false };
        // Its times are there a moment before its value is seen to be.
        // SAFETY: valued; whoever asks about a node is pinned, or has a share.
        node.word.load().has_value() && !groups.valid(node.key(), unsafe { node.value() }, start)
    }

    /// The number that a load begins with, to be compared with those of its tags.
    pub(crate) fn tag_sequence(&self) -> u64 {
        self.config.groups.as_ref().map_or(0, TagRegistry::sequence)
    }

    /// The same without counting as a use: for whoever only looks on.
    pub(crate) fn is_expired(&self, node: &Node<K, V>) -> bool {
        !node.hot().never_expires() && (self.is_expired_at(node, self.config.time.now()) || self.tag_invalidated(node))
    }

    pub(super) fn is_expired_at(&self, node: &Node<K, V>, now: u64) -> bool {
        let hot = node.hot();
        if hot.never_expires() || now < hot.quiet_until() && self.has_quiet_time(hot) {
            // Most often, and the time of expiry, which is elsewhere, need not be looked up.
            return false;
        }
        now >= node.expires(self.nodes()) || (self.config.idle != NEVER && now >= hot.quiet_until())
    }

    /// Whether its time to live is over for less than `window`.
    pub(super) fn within_grace(&self, node: &Node<K, V>, window: u64) -> bool {
        window != 0
            && self.config.idle == NEVER
            && self.config.time.now() < node.expires(self.nodes()).saturating_add(window)
            && !self.tag_invalidated(node)
    }

    /// Whether it may be served for want of another: it was not removed, and is good, or has been over for less than `window`.
    pub(crate) fn servable_stale(&self, node: &Node<K, V>, window: u64) -> bool {
        !node.link().is_marked() && (!self.is_expired(node) || self.within_grace(node, window))
    }

    /// Whether a failure is kept in this node, which is FAILED.
    pub(super) fn keeps_failure(&self, node: &Node<K, V>) -> bool {
        node.kept_failure(self.nodes(), self.config.time.now())
    }

    /// Whether a refresh of it has failed past its time to live, so recently that none is to be tried.
    pub(super) fn in_cooldown(&self, node: &Node<K, V>) -> bool {
        node.hot().in_cooldown(self.config.time.now(), self.config.cooldown)
    }

    /// Whether it is not good for anything any more, at this time.
    pub(super) fn beyond_grace_at(&self, node: &Node<K, V>, now: u64) -> bool {
        self.is_expired_at(node, now)
            && (self.config.idle != NEVER
                || now >= node.expires(self.nodes()).saturating_add(self.config.limits.max_stale()))
    }

    /// The read-through question: may it be served, and does this caller refresh it early?
    pub(crate) fn freshness(&self, node: &Node<K, V>) -> Freshness {
        if !self.is_fresh(node) {
            return Freshness::Expired;
        }
        let (hot, beta) = (node.hot(), self.config.beta);
        let delta = hot.delta();
        if hot.never_expires() || beta == 0.0 || delta == 0 {
            return Freshness::Fresh;
        }
        let expires = node.expires(self.nodes());
        if expires == NEVER {
            return Freshness::Fresh;
        }
        let now = self.config.time.now();
        if now >= self.dice_from(hot, expires) && xfetch::roll(now, expires, delta, beta, self.random()) {
            Freshness::Early
        } else {
            Freshness::Fresh
        }
    }

    /// Whether the value is good, and no dice are to be rolled for it.
    #[inline]
    pub(super) fn quiet(&self, node: &Node<K, V>) -> bool {
        let hot = node.hot();
        if hot.never_expires() {
            return true;
        }
        let quiet = match self.has_quiet_time(hot) {
            true => hot.quiet_until(),
            false if !self.is_fresh(node) => return false,
            false => self.dice_from(hot, node.expires(self.nodes())),
        };
        self.config.time.now() < quiet
    }
}
