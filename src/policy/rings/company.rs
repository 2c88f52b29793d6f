//! Whether a thread is likely to pop what it sees near the front of a ring.
//!
//! Fetching ahead pays if the thread that fetches also pops: then the memory is in its processor's
//! caches. Where many threads bring newcomers in turn, another thread pops most likely. It takes
//! the lines from this one, and they have moved twice.

use crate::sys::sync::{Ordering, untracked::AtomicU32};

/// The bits of a word that hold the score. The others hold the number of a thread.
const SCORE_BITS: u32 = 8;
/// The most that the score rises to.
const MOST: u32 = 32;
/// What a newcomer of the thread that brought the one before adds to the score.
const GAIN: u32 = 2;
/// The score from which on few threads are at work.
const FEW: u32 = 8;

/// Which thread was the last to look ahead, as each does that is about to store a value in a large
/// cache, and how often that was the thread of the time before.
///
/// If two threads come at random, the score rises on average; of four, it falls. (Two that take
/// strict turns look like many.) It is on the line of a ring's ends, which who brings a newcomer
/// writes anyway. All accesses are Relaxed, and threads that race lose a step: the score steers a
/// heuristic.
pub(super) struct Company(AtomicU32);

impl Company {
    pub(super) fn none() -> Self {
        Self(AtomicU32::new(FEW))
    }

    /// Notes that the thread with this number stores a value. Returns whether few threads do.
    #[inline]
    pub(super) fn joins(&self, thread: usize) -> bool {
        let word = self.0.load(Ordering::Relaxed);
        let (last, score) = (word >> SCORE_BITS, word & ((1 << SCORE_BITS) - 1));
        // (Numbers that differ by a multiple of 2²⁴ count as one thread.)
        let this = thread as u32 & (u32::MAX >> SCORE_BITS);
        let score = if last == this { (score + GAIN).min(MOST) } else { score.saturating_sub(1) };
        self.0.store(this << SCORE_BITS | score, Ordering::Relaxed);
        score >= FEW
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    /// Returns how many of so many newcomers come in the company of few threads, if a newcomer's
    /// thread is drawn from so many, or if these take turns.
    fn in_few(newcomers: usize, threads: usize, in_turn: bool) -> usize {
        let (company, mut dice) = (Company::none(), fastrand::Rng::with_seed(1));
        let thread = |n| if in_turn { n % threads } else { dice.usize(0..threads) };
        (0..newcomers).map(thread).filter(|&thread| company.joins(thread)).count()
    }

    #[test]
    fn one_thread_is_few_and_many_are_not() {
        assert_eq!(in_few(1000, 1, false), 1000);
        assert!(in_few(1000, 2, false) > 900);
        assert!(in_few(1000, 8, false) < 100);
        assert!(in_few(1000, 64, true) < 10);
    }

    #[test]
    fn who_is_left_alone_is_few_again() {
        let company = Company::none();
        (0..1000).for_each(|n| _ = company.joins(n % 8));
        assert!(!company.joins(0));
        assert!((0..FEW / GAIN).map(|_| company.joins(0)).last().unwrap_or_default());
    }
}
