//! Values whose time a call ends: of one key, of a tag, or of all keys at once.
//!
//! Such a value is *over*: it is found no longer, and is served within the windows for stale
//! values. The call fences loads, too: a value whose load began before the call is stored as one
//! that is over.
//!
//! * **One key.** The call writes the time into the node. A load that is in flight gets a flag, in
//!   the `hot` of its node, which the publisher finds as it stamps the value
//!   ([`Node::fence`](crate::flight::node::Node::fence)).
//! * **A tag.** Each tag has a second cell, beside the one for invalidations: see
//!   [`tags`](super::tags).
//! * **All keys.** One number says it: a value whose load began with a lower sequence number is
//!   over. Entries that were stored before the first such call have no number, which counts as 0.
//!   Hits do not compare the number. The first such call has them look closer, from then on.

use super::tags::Ended;
use super::{Core, Operation, Ptr, RemovalCause};
use crate::flight::expiry::{ExpiryWord, Fenced};
use crate::flight::node::Node;
use crate::flight::word::State;
use crate::runtime::xfetch::NEVER;
use crate::sys::mutants::{mutant, weakened};
use crate::sys::sync::{AtomicU64, CachePadded, Ordering, untracked, yield_now};
use core::hash::Hash;

/// The order of loads, and of the calls that end or invalidate many values at once.
pub(super) struct Epochs {
    /// The number of such calls.
    sequence: CachePadded<AtomicU64>,
    /// The number of the last call that ended all values; 0: there was none.
    all: AtomicU64,
    /// When that was.
    all_at: AtomicU64,
    /// Whether there was any, for models: those without such a call explore no order of its words.
    any: untracked::AtomicBool,
}

impl Epochs {
    pub(super) fn new() -> Self {
        let sequence = CachePadded(AtomicU64::new(0));
        Self { sequence, all: AtomicU64::new(0), all_at: AtomicU64::new(0), any: untracked::AtomicBool::new(false) }
    }

    /// Takes the next number. Release: partner of the Acquire in [`now`](Self::now). Acquire:
    /// partner of earlier calls, so that a load that reads this number sees the changes from before
    /// those, too.
    pub(super) fn next(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Returns the number of a load that is about to begin.
    ///
    /// Acquire: partner of the Release in the call with that number. So the load sees all changes
    /// from before that call.
    fn now(&self) -> u64 {
        self.sequence.load(weakened("tag start", Ordering::Acquire))
    }

    /// Returns whether there was any such call since the number `start` was taken.
    pub(super) fn any_since(&self, start: u64) -> bool {
        // Relaxed: if so, the caller asks each tag's cell, with an order of its own.
        self.sequence.load(Ordering::Relaxed) > start
    }
}

impl<K, V> Core<K, V> {
    /// Returns the sequence number for a load that begins now. Calls that end or invalidate values
    /// are compared with it.
    pub(crate) fn tag_sequence(&self) -> u64 {
        if self.config.groups.is_some() || self.all_ended() { self.epochs.now() } else { 0 }
    }

    /// Returns whether all values of the cache were ever ended at once. Then entries have sequence
    /// numbers.
    pub(crate) fn all_ended(&self) -> bool {
        if cfg!(loom) && !self.epochs.any.load(Ordering::Relaxed) {
            return false;
        }
        // Relaxed: a caller that must know of a call comes after it.
        self.epochs.all.load(Ordering::Relaxed) != 0
    }

    /// Returns whether the value's load began before all values were ended.
    #[inline]
    pub(super) fn ended_with_all(&self, node: &Node<K, V>) -> bool {
        self.all_ended() && self.began_before_all(node)
    }

    #[cold]
    fn began_before_all(&self, node: &Node<K, V>) -> bool {
        // Acquire: partner of the Release in `expire_all`, for the time.
        node.sequence(self.nodes()) < self.epochs.all.load(Ordering::Acquire)
    }

    /// Returns whether every hit of the value is a plain one for ever.
    #[inline]
    pub(super) fn never_ends(&self, node: &Node<K, V>) -> bool {
        node.hot().never_expires() && !self.ended_with_all(node)
    }

    /// Returns when a value that was ended with all others was.
    pub(super) fn end_with_all(&self, node: &Node<K, V>) -> u64 {
        if self.ended_with_all(node) { self.epochs.all_at.load(Ordering::Relaxed) } else { NEVER }
    }

    /// Returns what calls have done to the value. Calls the user's `tags_with`.
    pub(super) fn ended(&self, node: &Node<K, V>) -> Ended {
        let tags = self.tag_state(node);
        Ended { over_since: tags.over_since.min(self.end_with_all(node)), ..tags }
    }

    /// Returns since when, or from when on, the value is over. Calls the user's `tags_with`.
    pub(crate) fn over_since(&self, node: &Node<K, V>) -> u64 {
        node.expires(self.nodes()).min(self.ended(node).over_since)
    }

    /// Ends the time of all values whose loads began before this call.
    pub(crate) fn expire_all(&self) {
        let now = self.config.time.now();
        let number = self.epochs.next();
        if cfg!(loom) {
            self.epochs.any.store(true, Ordering::Relaxed);
        }
        self.epochs.all_at.store(now, Ordering::Relaxed);
        // The highest number stays. Release: the time comes with it.
        if !mutant("all not ended") {
            self.epochs.all.fetch_max(number, Ordering::Release);
        }
        // Relaxed: a hit that must not be plain comes after this call.
        self.counters.look_closer();
        self.config.restless.store(ExpiryWord::ANY, Ordering::Relaxed);
        self.note_ends();
    }

    /// Ends the time of all values with this tag whose loads began before this call.
    pub(crate) fn expire_tag<T: ?Sized + Hash>(&self, tag: &T) {
        if let Some(groups) = &self.config.groups {
            groups.expire(tag, self.epochs.next(), self.config.time.now());
            self.note_ends();
        }
    }

    /// Invalidates all values with this tag whose loads began before this call.
    pub(crate) fn invalidate_tag<T: ?Sized + Hash>(&self, tag: &T) {
        if let Some(groups) = &self.config.groups {
            groups.invalidate(tag, self.epochs.next());
            self.note_ends();
        }
    }
}

impl<K, V> Operation<'_, K, V> {
    /// Ends the time of a key's value, and fences its load. Returns whether there was a value that
    /// was not over.
    pub(crate) fn expire(&self, hash: u64, is_key: impl Fn(&K) -> bool) -> bool {
        let (core, mut any) = (self.core, false);
        loop {
            let Some(node) = core.find(self.pin(), hash, &is_key) else { return any };
            match node.word.load().state() {
                State::Ready => {}
                State::Refreshing(successor) if !self.fence_successor(successor.cast()) => {
                    // The successor's load has just confirmed the old value, whose time begins
                    // anew. No user code runs until that is done.
                    yield_now();
                    continue;
                }
                State::Refreshing(_) => {}
                // A failure that is kept, or a flight without an old value: the next caller loads
                // anew. The flight's value is handed to those that wait.
                _ => {
                    if self.remove(core.shard(hash), node, RemovalCause::Explicit) {
                        self.promptly(node.word.load().failed());
                        return any;
                    }
                    continue;
                }
            }
            if !core.is_expired(node) {
                any = true;
                let now = core.config.time.now();
                node.end_time(core.nodes(), now);
                core.note_end_now(node, now);
            }
            // If the node was replaced meanwhile, the replacement may have been loaded before this
            // call: look again.
            if !node.link().is_marked() {
                return any;
            }
        }
    }

    /// Has the value that this successor loads stored as one that is over. Returns false if the
    /// load is just about to confirm the old value.
    fn fence_successor(&self, successor: Ptr<K, V>) -> bool {
        // SAFETY: read from an entry that was found unmarked under the present pin, which keeps the
        // successor alive (see `Core::serving_successor`).
        let next = unsafe { successor.as_ref() };
        if mutant("no fence for the refresh") {
            return true;
        }
        let now = self.core.config.time.now();
        match next.fence(self.core.nodes(), now) {
            // (A value that never expires may have been stored just before: that looks as a load.)
            Fenced::Load | Fenced::Value => {
                self.core.note_end_now(next, now);
                true
            }
            Fenced::Renewal => !next.word.load().is_publishing(),
        }
    }
}
