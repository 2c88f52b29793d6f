//! Telling the observer of an event, and of the event's key.

use super::event_key::EventKey;
use super::events::CacheEvent;
use super::key::ToKey;
use super::stats::Event;
use super::{Core, Ptr};
use crate::flight::node::Node;
use crate::sys::unwind;
use crate::table::split_order::split_order;
use core::fmt;
use core::ptr::NonNull;

/// A function that shows a key.
pub(crate) type ShowKey<K> = fn(&K, &mut fmt::Formatter<'_>) -> fmt::Result;

/// The key of an event: 31 bits of its hash and, if the observer may see keys, a reference to a
/// node that has the key.
pub(super) struct About<K, V> {
    order: u32,
    node: Option<Ptr<K, V>>,
}

impl<K, V> About<K, V> {
    /// Describes a key by its hash alone.
    pub(super) fn hash(order: u32) -> Self {
        Self { order, node: None }
    }
}

/// The key of an event that the observer is told of now. Dropping it gives the reference back.
pub(crate) struct KeyOf<'c, K, V>(&'c Core<K, V>, About<K, V>);

impl<K, V> Drop for KeyOf<'_, K, V> {
    fn drop(&mut self) {
        // SAFETY: this owns the reference, which was taken for the event or handed over with it,
        // and ends here.
        self.1.node.into_iter().for_each(|node| unsafe { self.0.release_unpinned(node) });
    }
}

impl<K, V> KeyOf<'_, K, V> {
    fn key(&self) -> Option<&K> {
        // SAFETY: this owns a reference, and the nodes of events have their keys.
        self.1.node.as_ref().map(|node| unsafe { node.as_ref() }.key())
    }
}

/// Returns the observer event of a counter that maps to exactly one.
pub(super) fn observer_event(event: Event) -> Option<CacheEvent> {
    match event {
        Event::Coalesced => Some(CacheEvent::WaitStarted),
        Event::WaitTimeout => Some(CacheEvent::WaitTimedOut),
        Event::StaleServe => Some(CacheEvent::StaleServed),
        Event::Bypassed => Some(CacheEvent::Bypassed),
        Event::UnaskedAnswer => Some(CacheEvent::AnswerRefused),
        _ => None,
    }
}

impl<K, V> Core<K, V> {
    /// Returns whether there is an observer.
    pub(crate) fn observed(&self) -> bool {
        self.config.observer.is_some()
    }

    /// Describes the key of this node, which is alive and not fenced.
    pub(super) fn about(&self, node: &Node<K, V>) -> About<K, V> {
        // (In a cache with an observer, removers give all references back. So any caller may take
        // one.)
        // If the reference is refused, all references were given back, and the hash must do.
        let shared = self.config.show_key.is_some() && node.inc_told_ref();
        About { order: node.link().order(), node: shared.then(|| NonNull::from(node)) }
    }

    /// Describes the key of this node for events that the caller reports later. The caller owns a
    /// reference to the node. `None` if there is no observer.
    pub(crate) fn key_of(&self, node: &Node<K, V>) -> Option<KeyOf<'_, K, V>> {
        self.observed().then(|| KeyOf(self, self.about(node)))
    }

    /// Takes over the reference of an event that the observer is told of now.
    pub(super) fn key_about(&self, about: About<K, V>) -> KeyOf<'_, K, V> {
        KeyOf(self, about)
    }

    /// Tells the observer, if there is one, of these events at once. The caller holds no pin, and
    /// has left nothing half done that a panic of the observer could interrupt.
    pub(crate) fn observe(&self, events: impl IntoIterator<Item = CacheEvent>) {
        if let Some(observer) = &self.config.observer {
            unwind::each(events.into_iter(), |event| observer.observe(&self.config.name, &event));
        }
    }

    /// Tells the observer of events about a key, as [`observe`](Self::observe) does.
    pub(crate) fn observe_of(&self, key: Option<&KeyOf<'_, K, V>>, events: impl IntoIterator<Item = CacheEvent>) {
        match key {
            Some(key) => self.observe_key(key.1.order, key.key(), events),
            None => self.observe(events),
        }
    }

    /// Tells the observer of events about a key, given by 31 bits of its hash and, where there is
    /// one, the key itself.
    pub(super) fn observe_key(&self, order: u32, key: Option<&K>, events: impl IntoIterator<Item = CacheEvent>) {
        struct Shown<'k, K>(&'k K, ShowKey<K>);
        impl<K> fmt::Debug for Shown<'_, K> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (self.1)(self.0, f)
            }
        }
        let Some(observer) = &self.config.observer else { return };
        let shown = key.zip(self.config.show_key).map(|(key, show)| Shown(key, show));
        let key = EventKey::new(order, shown.as_ref().map(|shown| shown as &dyn fmt::Debug));
        unwind::each(events.into_iter(), |event| observer.observe_key(&self.config.name, &event, &key));
    }

    /// Tells the observer of events about a key that a caller asks for.
    pub(crate) fn observe_query<Q>(&self, q: &Q, hash: u64, events: impl IntoIterator<Item = CacheEvent>)
    where
        Q: ?Sized + ToKey<K>,
    {
        if self.observed() {
            let key = self.config.show_key.map(|_| q.to_key());
            self.observe_key(split_order(hash), key.as_ref(), events);
        }
    }

    /// Counts an event about a key that a caller asks for, and tells the observer of it, as
    /// [`observe`](Self::observe) does.
    pub(crate) fn count_query<Q: ?Sized + ToKey<K>>(&self, q: &Q, hash: u64, event: Event) {
        self.counters.count(event);
        self.observe_query(q, hash, observer_event(event));
    }

    /// Counts an event this many times, and tells the observer of it as often.
    pub(crate) fn count_many(&self, event: Event, times: usize) {
        (0..times).for_each(|_| self.counters.count(event));
        self.observe((0..times).filter_map(|_| observer_event(event)));
    }

    /// Returns the precise time, to measure durations that only the observer is told; 0 if there is
    /// no observer.
    pub(crate) fn stopwatch(&self) -> u64 {
        if self.observed() { self.config.time.precise() } else { 0 }
    }
}
