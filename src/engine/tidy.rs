//! What is over goes, although its key is not asked for, and no room is needed: whoever stores a
//! value looks at a few entries.
//!
//! * At the first entry of each ring of its shard: where all values have the same time to live, the
//!   oldest is there.
//! * At some of all entries, in a *round* that all callers go on with. Each value stored adds
//!   [`LOOKS`] looks to those that are due, and each entry found over [`MORE`]. So where many are
//!   over, a caller looks at many (up to [`MOST`]); where few are, at few. With one in ten over,
//!   each value stored has one removed.
//!
//! Nobody looks before the time when the first entry can be over. It is a lower bound: of all
//! values that were met on a round and stayed, and of all that were stored, or got another time,
//! meanwhile. So where nothing is over, no entry is looked at. A tag that is invalidated begins a
//! round, too.
//!
//! A caller that needs room looks before it evicts: so what is over goes before what is good,
//! wherever it is.
//!
//! What is removed here are entries and kept failures. Flights that were given up are left to those
//! who wait for them.

use super::{Core, Operation, Shard, Walk};
use crate::flight::node::Node;
use crate::flight::word::State;
use crate::runtime::xfetch::NEVER;
use crate::sys::sync::{
    Ordering,
    untracked::{AtomicU64, AtomicUsize},
};
use core::cell::Cell;

/// Looks for each value that is stored.
const LOOKS: usize = 2;
/// Looks for each entry that was found over.
const MORE: usize = 8;
/// Looks are made together, so that the way to where a round has stopped is gone for several of
/// them; unless room is needed.
const TOGETHER: usize = 8;
/// The most that one caller makes, or a few more: nodes of one order are not parted.
const MOST: usize = 32;
/// The most that are due, and those that a round begins with: what is over may have come to be so
/// all at once.
const MOST_DUE: usize = 64;
/// First entries of a ring that one caller removes.
const FIRST: usize = 2;

/// How far the present round is.
pub(super) struct Rounds {
    /// The round's number, and below it the order behind which it goes on.
    at: AtomicU64,
    /// No entry is over before this time.
    soonest: AtomicU64,
    /// The same for when the present round has ended, of what it has met.
    next: AtomicU64,
    due: AtomicUsize,
    /// Whether values can be over that have no time of their own: idle ones, and those of
    /// invalidated tags.
    always: bool,
}

impl Rounds {
    pub(super) fn new(always: bool) -> Self {
        let never = || AtomicU64::new(NEVER);
        Self { at: AtomicU64::new(0), soonest: never(), next: never(), due: AtomicUsize::new(MOST_DUE), always }
    }

    /// A value will be over at this time. A caller that is too late for one of the two bounds is in
    /// time for the other.
    fn note(&self, end: u64) {
        self.note_next(end);
        if end < self.soonest.load(Ordering::Relaxed) {
            self.soonest.fetch_min(end, Ordering::Relaxed);
        }
    }

    fn note_next(&self, end: u64) {
        // Acquire and AcqRel: who comes after the swap in `turn` comes after the store before that,
        // and what it then notes for the present round stays.
        if end < self.next.load(Ordering::Acquire) {
            self.next.fetch_min(end, Ordering::AcqRel);
        }
    }

    /// The next round begins, by the one caller that has ended the present one.
    fn turn(&self) {
        self.soonest.store(NEVER, Ordering::Relaxed);
        // AcqRel: see `note_next`.
        let next = self.next.swap(NEVER, Ordering::AcqRel);
        self.soonest.fetch_min(next, Ordering::Relaxed);
        self.due.store(MOST_DUE, Ordering::Relaxed);
    }
}

impl<K, V> Core<K, V> {
    /// Whether any value can ever be over.
    pub(super) fn any_ends(&self) -> bool {
        self.rounds.always || self.nodes().has_extras()
    }

    /// When a value will not be good for anything any more, if it is not used, nor its tags are
    /// invalidated.
    fn end_of(&self, node: &Node<K, V>) -> u64 {
        match self.config.idle {
            _ if node.hot().never_expires() => NEVER,
            NEVER => node.expires(self.nodes()).saturating_add(self.config.limits.max_stale()),
            _ => node.expires(self.nodes()).min(node.hot().quiet_until()),
        }
    }

    /// A value got another time, or may be over by now.
    pub(crate) fn note_end(&self, node: &Node<K, V>) {
        self.rounds.note(self.end_of(node));
    }

    /// Any value may be over by now.
    pub(crate) fn note_ends(&self) {
        self.rounds.note(0);
    }
}

impl<K, V> Operation<'_, K, V> {
    /// Whether it is time to [`tidy`](Self::tidy) up after this value was stored.
    #[inline]
    pub(super) fn is_untidy(&self, stored: &Node<K, V>) -> bool {
        // (To loom it is a purge, which has models, within every insertion.)
        !cfg!(loom) && self.core.any_ends() && self.is_time_to_tidy(stored)
    }

    #[inline(never)]
    fn is_time_to_tidy(&self, stored: &Node<K, V>) -> bool {
        self.core.note_end(stored);
        stored.born() >= self.core.rounds.soonest.load(Ordering::Relaxed)
    }

    /// Removes some of what is over at this time.
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

    /// Looks at so many entries, and removes what is over at this time, or was ended by an
    /// invalidated tag; how many went.
    fn go_round(&self, looks: usize, now: u64) -> usize {
        let rounds = &self.core.rounds;
        let begun = Attempt { rounds, at: rounds.at.load(Ordering::Relaxed), order: Cell::new(0) };
        let mut found = 0;
        let more = self.visit(&mut Walk::behind(begun.at as u32), looks, &mut |operation, node| {
            begun.order.set(node.link().order());
            match node.word.load().state() {
                State::Ready if operation.sweep_entry(node, now) => found += 1,
                State::Failed(_) if operation.sweep_failure(node, now) => found += 1,
                State::Ready | State::Refreshing(_) | State::Failed(_) => rounds.note_next(self.core.end_of(node)),
                // What is not there yet is noted when it is; what is gone needs no note.
                _ => {}
            }
        });
        begun.ends(more);
        found
    }
}

/// One caller's part of a round.
struct Attempt<'r> {
    rounds: &'r Rounds,
    at: u64,
    /// Of the node that it looked at last.
    order: Cell<u32>,
}

impl Attempt<'_> {
    /// The part was gone to its end; whether there is more.
    fn ends(&self, more: bool) {
        let round = self.at >> 32;
        let to = if more { round << 32 | u64::from(self.order.get()) } else { (round + 1) << 32 };
        // If another has gone on from there meanwhile, that counts. The number tells a round that
        // has come there again.
        if self.rounds.at.compare_exchange(self.at, to, Ordering::Relaxed, Ordering::Relaxed).is_ok() && !more {
            self.rounds.turn();
        }
    }
}

impl Drop for Attempt<'_> {
    /// Whatever happens to the caller (`tags_with` may panic), the next one goes on behind the node
    /// that it looked at.
    fn drop(&mut self) {
        if crate::sys::unwind::panicking() {
            self.ends(true);
        }
    }
}
