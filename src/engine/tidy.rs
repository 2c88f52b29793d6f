//! Tidying: a caller that stores a value looks at a few entries, and removes those that have
//! expired. So an expired entry goes even if no caller asks for its key, and no room is needed.
//!
//! The caller looks at two kinds of entries.
//!
//! * The first entry of each ring of its shard. Where all values have the same time to live, the
//!   oldest is there.
//! * Some of all entries, in a *round* that all callers share. Each value stored adds [`LOOKS`]
//!   looks to those that are due, and each expired entry found adds [`MORE`]. So a caller looks at
//!   many entries (up to [`MOST`]) where many have expired, and at few where few have. If one in
//!   ten has expired, each value stored has one removed.
//!
//! No caller looks before the first entry can have expired. That time is a lower bound over two
//! kinds of values: those that the last round met and left, and those that were stored, or got
//! another time, meanwhile. So where nothing expires, no entry is looked at. The invalidation of a
//! tag begins a round, too.
//!
//! A caller that needs room looks before it evicts. So expired entries go before fresh ones,
//! wherever they are.
//!
//! Tidying removes entries and kept failures. Flights that were given up are left to their waiters.

use super::{Core, Operation, Shard, Walk};
use crate::flight::node::Node;
use crate::flight::word::State;
use crate::runtime::xfetch::NEVER;
use crate::sys::sync::{
    Ordering,
    untracked::{AtomicU64, AtomicUsize},
};
use core::cell::Cell;

/// The number of looks that each stored value adds.
const LOOKS: usize = 2;
/// The number of looks that each expired entry found adds.
const MORE: usize = 8;
/// The least number of looks that a caller makes together, so that they share the walk to the node
/// where the round stopped. A caller that needs room looks at once.
const TOGETHER: usize = 8;
/// The most looks of one caller. There may be a few more: nodes of one order are visited together.
const MOST: usize = 32;
/// The most looks that are due, and the number with which a round begins: many entries may have
/// expired at once.
const MOST_DUE: usize = 64;
/// The most expired first entries of the shard's rings that one caller removes.
const FIRST: usize = 2;

/// The progress of the present round.
pub(super) struct Rounds {
    /// The round's number, and in the lower half the order behind which the round goes on.
    at: AtomicU64,
    /// No entry expires before this time.
    soonest: AtomicU64,
    /// The earliest end of the values that were met or noted in the present round. It becomes
    /// `soonest` when the round has ended.
    next: AtomicU64,
    due: AtomicUsize,
    /// Whether a value can end before its time of expiry: by a time to idle, or by the invalidation
    /// of a tag.
    always: bool,
}

impl Rounds {
    pub(super) fn new(always: bool) -> Self {
        let never = || AtomicU64::new(NEVER);
        Self { at: AtomicU64::new(0), soonest: never(), next: never(), due: AtomicUsize::new(MOST_DUE), always }
    }

    /// Notes that a value ends at this time. If a turn of the round overwrites one of the two
    /// bounds meanwhile, the other keeps the note.
    fn note(&self, end: u64) {
        self.note_next(end);
        if end < self.soonest.load(Ordering::Relaxed) {
            self.soonest.fetch_min(end, Ordering::Relaxed);
        }
    }

    fn note_next(&self, end: u64) {
        // Acquire and AcqRel: partners of the swap in `turn`. A caller whose access follows the
        // swap also follows the store to `soonest` before it. So that store does not overwrite the
        // note that this caller then makes in `soonest`.
        if end < self.next.load(Ordering::Acquire) {
            self.next.fetch_min(end, Ordering::AcqRel);
        }
    }

    /// Begins the next round. Called by the one caller that ended the present one.
    fn turn(&self) {
        self.soonest.store(NEVER, Ordering::Relaxed);
        // AcqRel: see `note_next`.
        let next = self.next.swap(NEVER, Ordering::AcqRel);
        self.soonest.fetch_min(next, Ordering::Relaxed);
        self.due.store(MOST_DUE, Ordering::Relaxed);
    }
}

impl<K, V> Core<K, V> {
    /// Returns whether any value can ever expire.
    pub(super) fn any_ends(&self) -> bool {
        self.rounds.always || self.nodes().has_expiry() || self.all_ended()
    }

    /// Returns when a value will be beyond grace, unless it is used (time to idle) or one of its
    /// tags is invalidated before.
    fn end_of(&self, node: &Node<K, V>) -> u64 {
        match self.config.idle {
            _ if self.never_ends(node) => NEVER,
            NEVER => self.beyond_grace_from(node),
            _ => node.expires(self.nodes()).min(node.hot().quiet_until()),
        }
    }

    /// Notes the end of a value that got another time, or may have expired by now.
    #[inline(never)]
    pub(crate) fn note_end(&self, node: &Node<K, V>) {
        self.rounds.note(self.end_of(node));
    }

    /// Notes the end of a value whose time a call has ended `now`. The caller may be ending it
    /// while the value is stored, so the node's own time is not asked.
    pub(super) fn note_end_now(&self, node: &Node<K, V>, now: u64) {
        self.rounds.note(if self.config.idle == NEVER { self.grace_after(node, now) } else { now });
    }

    /// Notes that any value may have ended by now.
    pub(crate) fn note_ends(&self) {
        self.rounds.note(0);
    }
}

impl<K, V> Operation<'_, K, V> {
    /// Returns whether it is time to [`tidy`](Self::tidy) up after this value was stored.
    ///
    /// The caller asks once the value can be found. Since the value was stamped, a call may have
    /// ended all values, and may be the first to end any.
    #[inline]
    pub(super) fn is_untidy(&self, stored: &Node<K, V>) -> bool {
        // Never under loom: to it this would be a purge, which has models of its own, within every
        // insertion.
        !cfg!(loom) && self.core.any_ends() && {
            self.core.note_end(stored);
            self.is_time_to_tidy(stored.born())
        }
    }

    /// Returns whether an entry may have expired by `now`.
    #[inline]
    pub(super) fn is_time_to_tidy(&self, now: u64) -> bool {
        now >= self.core.rounds.soonest.load(Ordering::Relaxed)
    }

    /// Removes some of the entries that have expired at the time `now`.
    #[inline(never)]
    pub(super) fn tidy(&self, home: &Shard<K, V>, now: u64) {
        let _ = (0..FIRST).all(|_| self.evict_ended(home, now));
        let rounds = &self.core.rounds;
        let due = rounds.due.load(Ordering::Relaxed) + LOOKS;
        let looks = match due {
            ..TOGETHER if !self.is_over_full() => 0,
            _ => due.min(MOST),
        };
        rounds.due.store(due - looks, Ordering::Relaxed);
        if looks != 0 {
            let more = MORE * self.go_round(looks, now);
            rounds.due.store((rounds.due.load(Ordering::Relaxed) + more).min(MOST_DUE), Ordering::Relaxed);
        }
    }

    /// Looks at this many entries of the round. Removes those that have expired at the time `now`
    /// or whose tags were invalidated. Returns how many it removed.
    fn go_round(&self, looks: usize, now: u64) -> usize {
        let rounds = &self.core.rounds;
        let part = RoundPart { rounds, at: rounds.at.load(Ordering::Relaxed), order: Cell::new(0) };
        let mut found = 0;
        let more = self.visit(&mut Walk::behind(part.at as u32), looks, &mut |operation, node| {
            part.order.set(node.link().order());
            match node.word.load().state() {
                State::Ready if operation.sweep_entry(node, now) => found += 1,
                State::Failed(_) if operation.sweep_failure(node, now) => found += 1,
                State::Ready | State::Refreshing(_) | State::Failed(_) => rounds.note_next(self.core.end_of(node)),
                // A flight is noted when its value is stored. A removed node needs no note.
                _ => {}
            }
        });
        part.ends(more);
        found
    }
}

/// One caller's part of a round.
struct RoundPart<'r> {
    rounds: &'r Rounds,
    at: u64,
    /// The order of the node that the caller looked at last.
    order: Cell<u32>,
}

impl RoundPart<'_> {
    /// Ends the part, and with it the round unless there is `more`.
    fn ends(&self, more: bool) {
        let round = self.at >> 32;
        let to = if more { round << 32 | u64::from(self.order.get()) } else { (round + 1) << 32 };
        // If another caller has moved the round on from there meanwhile, its move counts. The
        // round's number tells the present round from a later one that has come to the same order.
        if self.rounds.at.compare_exchange(self.at, to, Ordering::Relaxed, Ordering::Relaxed).is_ok() && !more {
            self.rounds.turn();
        }
    }
}

impl Drop for RoundPart<'_> {
    /// Moves the round on if the caller panics (`tags_with` may), so that the next caller goes on
    /// behind the node that this one looked at.
    fn drop(&mut self) {
        if crate::sys::unwind::panicking() {
            self.ends(true);
        }
    }
}
