//! Finding a value that may be served: the hit path, and its fallback past an entry's quiet time.

use super::Core;
use super::config::StaleWindow;
use crate::flight::expiry::ExpiryWord;
use crate::flight::node::Node;
use crate::flight::word::{Snapshot, State};
use crate::reclaim::Pin;
use crate::runtime::xfetch::NEVER;
use crate::sys::mutants::mutant;
use crate::table::split_order::split_order;
use alloc::vec::Vec;

/// Keys of a bulk read that are prefetched together.
const TOGETHER: usize = 16;
/// Dependent memory accesses of a lookup: a cell, and the first nodes behind it.
const STEPS: usize = 3;

impl<K, V> Core<K, V> {
    /// Finds the node of a key by hash and key, to read it.
    #[inline]
    pub(crate) fn find<'p>(&'p self, pin: &'p Pin, hash: u64, is_key: impl Fn(&K) -> bool) -> Option<&'p Node<K, V>> {
        let link = self.table.find(pin, hash, |link| {
            // SAFETY: the table of this core holds nodes of this type only; the pin keeps them
            // alive.
            is_key(unsafe { Node::<K, V>::of_link(link) }.key())
        })?;
        // SAFETY: as above; the pin is held for `'p`.
        Some(unsafe { Node::of_link(link) })
    }

    /// Returns the node whose value `node` serves now, if it is `good`: the node itself, or a
    /// published successor that is about to replace it.
    #[inline]
    fn serving<'p>(
        &'p self,
        pin: &'p Pin,
        node: &'p Node<K, V>,
        good: impl Fn(&Node<K, V>) -> bool,
    ) -> Option<&'p Node<K, V>> {
        let word = node.word.load();
        if word.is_entry() && good(node) {
            return Some(node);
        }
        self.serving_successor(pin, word, good)
    }

    /// Finds the node of a live value. Counts the lookup.
    #[inline]
    pub(crate) fn find_live<'p>(
        &'p self,
        pin: &'p Pin,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
    ) -> Option<&'p Node<K, V>> {
        match self.find(pin, hash, is_key) {
            Some(node) if self.is_plain_hit(node, Snapshot::is_entry) => Some(node),
            found => self.find_live_slowly(pin, found),
        }
    }

    /// Returns whether this is a hit that needs no clock call and no statistics; records the use if
    /// so. Inlined, so that callers save no registers for a call.
    #[inline(always)]
    fn is_plain_hit(&self, node: &Node<K, V>, serves: impl FnOnce(Snapshot) -> bool) -> bool {
        let quiet = |hot: ExpiryWord| {
            self.config.quiet_hits && self.config.time.at_hand().is_some_and(|t| t < hot.quiet_until())
        };
        if !serves(node.word.load()) {
            return false;
        }
        // Loaded after the word: before the word has a value, the times are not the value's.
        let hot = node.hot();
        let plainly = (hot.never_expires() || quiet(hot)) && !self.counters.looks_closer();
        if plainly {
            node.touch();
        }
        plainly
    }

    #[inline(never)]
    fn find_live_slowly<'p>(&'p self, pin: &'p Pin, found: Option<&'p Node<K, V>>) -> Option<&'p Node<K, V>> {
        let live = found.and_then(|node| self.serving(pin, node, |n| self.is_fresh(n)));
        self.counters.lookup(live.is_some());
        live.inspect(|node| node.touch())
    }

    /// Finds the node of a live value. Does not count the lookup.
    pub(crate) fn find_live_uncounted<'p>(
        &'p self,
        pin: &'p Pin,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
    ) -> Option<&'p Node<K, V>> {
        let node = self.find(pin, hash, is_key)?;
        self.serving(pin, node, |n| self.is_fresh(n)).inspect(|node| node.touch())
    }

    /// Finds the node of a value that is fresh, or over for less than `window`, with a reference
    /// for the caller. Counts the lookup.
    pub(crate) fn find_stale<'p>(
        &'p self,
        pin: &'p Pin,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        window: u64,
    ) -> Option<&'p Node<K, V>> {
        let served = |node: &Node<K, V>| self.is_fresh(node) || self.within_grace(node, StaleWindow::Exactly(window));
        let look = || self.find(pin, hash, &is_key);
        self.hold_serving(pin, look(), look, served)
    }

    /// As [`find_live`](Self::find_live), with a reference for the caller.
    #[inline]
    pub(crate) fn find_live_held<'p>(
        &'p self,
        pin: &'p Pin,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
    ) -> Option<&'p Node<K, V>> {
        let look = || self.find(pin, hash, &is_key);
        match look() {
            Some(node) if self.is_plain_hit(node, Snapshot::is_entry) && node.inc_ref() => Some(node),
            found => self.hold_serving(pin, found, look, |node| self.is_fresh(node)),
        }
    }

    /// Takes a reference to the node whose value `found` serves, and counts the lookup once. A
    /// reference is refused if the node was removed just now and all its references were given
    /// back; the key is looked up again then.
    #[inline(never)]
    fn hold_serving<'p>(
        &'p self,
        pin: &'p Pin,
        mut found: Option<&'p Node<K, V>>,
        look: impl Fn() -> Option<&'p Node<K, V>>,
        served: impl Fn(&Node<K, V>) -> bool,
    ) -> Option<&'p Node<K, V>> {
        let held = loop {
            let serving = found.and_then(|node| self.serving(pin, node, &served));
            if serving.is_none_or(Node::inc_ref) {
                break serving;
            }
            found = look();
        };
        self.counters.lookup(held.is_some());
        held.inspect(|node| node.touch())
    }

    /// Returns whether a load of the key is in flight.
    pub(crate) fn loading(&self, pin: &Pin, hash: u64, is_key: impl Fn(&K) -> bool) -> bool {
        self.find(pin, hash, is_key).is_some_and(|node| node.word.load().in_flight())
    }

    /// Reads a live value: the plain hit.
    #[inline]
    pub(crate) fn read<R>(
        &self,
        pin: &Pin,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        take: impl FnOnce(&V) -> R,
    ) -> Option<R> {
        // SAFETY: the node's word has a value, and was read under the pin, which is held here.
        self.find_live(pin, hash, is_key).map(|node| take(unsafe { node.value() }))
    }

    /// Reads the live values of several keys, in their order. Starts each step of the lookups for
    /// several keys before the next step of any, so that their cache misses overlap.
    pub(crate) fn read_many<'q, Q, R>(
        &self,
        pin: &Pin,
        keys: impl IntoIterator<Item = &'q Q>,
        hash: impl Fn(&Q) -> u64,
        is_key: impl Fn(&Q, &K) -> bool,
        take: impl Fn(&V) -> R,
    ) -> Vec<Option<R>>
    where
        Q: 'q + ?Sized,
    {
        let mut keys = keys.into_iter().fuse().map(|q| (q, hash(q)));
        let mut found = Vec::with_capacity(keys.size_hint().0);
        loop {
            let asked: [Option<(&Q, u64)>; TOGETHER] = core::array::from_fn(|_| keys.next());
            if asked[0].is_none() {
                return found;
            }
            for step in 0..STEPS {
                asked.iter().flatten().for_each(|&(_, hash)| self.table.prefetch(pin, split_order(hash), step));
            }
            let read = |&(q, hash): &(&Q, u64)| self.read(pin, hash, |k| is_key(q, k), &take);
            found.extend(asked.iter().flatten().map(read));
        }
    }

    /// Finds the node of a live value if nothing but a plain hit can come of a read-through, its
    /// first try, and if `hold` accepts it. Counts the lookup only if it is a hit.
    #[inline]
    pub(crate) fn find_settled<'p>(
        &'p self,
        pin: &'p Pin,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        hold: impl Fn(&Node<K, V>) -> bool,
    ) -> Option<&'p Node<K, V>> {
        let node = self.find(pin, hash, is_key)?;
        // An entry that is being refreshed is no plain hit: its refresh may hang.
        let plain = self.is_plain_hit(node, Snapshot::rests);
        (if plain { hold(node) } else { self.quiet_otherwise(node, hold) }).then_some(node)
    }

    /// Reads a live value if nothing but a plain hit can come of it.
    #[inline]
    pub(crate) fn read_settled<R>(
        &self,
        pin: &Pin,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        take: impl FnOnce(&V) -> R,
    ) -> Option<R> {
        // SAFETY: the node's word has a value, and was read under the pin, which is held here.
        self.find_settled(pin, hash, is_key, |_| true).map(|node| take(unsafe { node.value() }))
    }

    #[inline(never)]
    fn quiet_otherwise(&self, node: &Node<K, V>, hold: impl Fn(&Node<K, V>) -> bool) -> bool {
        let word = node.word.load();
        let quiet = (word.rests() || self.refresh_goes_on(word)) && self.quiet(node) && hold(node);
        if quiet {
            self.counters.lookup(true);
            node.touch();
        }
        quiet
    }

    /// Returns whether the node is an entry whose refresh goes on: by the coarse clock its leader
    /// has not held the lease for longer than the `lead_timeout`. `word` is the word of an entry
    /// that the caller found unmarked under its present pin. (The pin is no parameter: taking its
    /// address would slow down hits.)
    #[cold]
    #[inline(never)]
    fn refresh_goes_on(&self, word: Snapshot) -> bool {
        let lead_timeout = self.config.limits.lead_timeout;
        let State::Refreshing(next) = word.state() else { return word.is_entry() };
        if lead_timeout == NEVER {
            return true;
        }
        // SAFETY: as in `serving_successor`.
        let next = unsafe { next.cast::<Node<K, V>>().as_ref() };
        let State::Computing { lease, .. } = next.word.load().state() else { return true };
        self.noted_end(next, lease, lead_timeout).is_none_or(|end| !self.config.has_come_coarsely(end))
    }

    /// Finds the node of a live value. Records neither a use nor a lookup.
    pub(crate) fn peek_live<'p>(
        &'p self,
        pin: &'p Pin,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
    ) -> Option<&'p Node<K, V>> {
        self.serving(pin, self.find(pin, hash, is_key)?, |n| !self.is_expired(n))
    }

    #[cold]
    fn serving_successor<'p>(
        &'p self,
        _pin: &'p Pin,
        word: Snapshot,
        good: impl FnOnce(&Node<K, V>) -> bool,
    ) -> Option<&'p Node<K, V>> {
        let State::Refreshing(next) = word.state() else { return None };
        // SAFETY: `word` is the word of an entry that was found unmarked under the present pin, and
        // this pin keeps the successor alive: a successor is retired only after the entry's word
        // was taken back from REFRESHING, or the entry was marked.
        let next = unsafe { next.cast::<Node<K, V>>().as_ref() };
        ((next.word.load().is_entry() || mutant("successor not ready")) && good(next)).then_some(next)
    }
}
