//! The protocol: since when each reader is pinned, and since when each bag waits.
//!
//! One number, the *epoch*, only grows. A reader that pins writes the epoch that it finds into its
//! note, and then executes the light fence. A thread that wants to free a bag of retired nodes (the
//! reclaimer) executes the heavy fence ([`Collector::stamp`]), takes the epoch that it finds *then*
//! as the bag's stamp, and moves the epoch on. The bag is ripe once no reader is pinned since its
//! stamp or earlier ([`Collector::least`]). That is enough for a reader R and a bag B of which R
//! may hold a node:
//!
//! 1. The nodes of B were unlinked before B's heavy fence. Had R's light fence come after that, R
//!    would have read what was written before the heavy fence, and not have found the node. So R's
//!    light fence came before it.
//! 2. R wrote its note before its light fence, B's stamp was read after the heavy fence, and the
//!    epoch only grows. So R's note is not above the stamp.
//! 3. R's note was also written before its light fence. So a reclaimer that reads the notes after
//!    the heavy fence finds it, or a later store of R: that R is not pinned any more, or has pinned
//!    anew. (Every look at B comes after the heavy fence, because the thread that stamps a bag
//!    hands it on with its stamp.) Both later stores are Release and the reads are Acquire, so R's
//!    reads are over before B is freed.
//!
//! Two light fences order nothing, and nothing here needs that: this is why the stamp is read after
//! a heavy fence. A reader that pins anew after the stamp finds a greater epoch sooner or later, so
//! a bag waits for no pin that was taken much later. A pin that is held for long holds up no bag
//! that was stamped before it. There is no epoch that all threads have to agree on.
//!
//! # How readers are told to fence
//! If the kernel refuses `membarrier` after it had granted it, readers change from the one kind of
//! light fence to the other, and no call is left that would have them do so at once. A reader
//! writes its note first, and *then* reads its flag, which says whether it executes a fence. The
//! refused thread sets all flags ([`Collector::tell`]), and waits until each store that was made
//! before has become visible. From then on it executes real fences ([`barrier`](super::barrier)).
//! For a reader R that pins:
//!
//! * If R found its flag set, it executes a fence, and the argument above holds with two real
//!   fences.
//! * If R did not, it read the flag before the wait was over: later it would have found it set. R's
//!   note was stored before that read, and so is visible by the end of the wait. The note is not
//!   above any stamp that is taken from then on, as R read the epoch before it stored the note. So
//!   a reclaimer that reads the notes after the wait finds R's, or a later store of R, which is
//!   step 3 above. (This rests on the order of note and flag. Had R read the flag first, it could
//!   be held up between the two for any time, and pin without a fence long after the wait.)
//!
//! The wait cannot be replaced by the observation that no reader was seen pinned since the flags
//! were set: a note may still be on its way. Nor is it enough to wait until each reader has pinned
//! anew: a thread that sleeps does not.
//!
//! # How a fork is handled
//! A child process has one thread, the one that called `fork`, with its pins. The participants of
//! the other threads are released as the child begins ([`Collector::forked`]): those threads do not
//! read any more, and would never unpin.
//!
//! Fraser, *Practical Lock-Freedom*, 2004, section 5.2.3, has epochs that all readers confirm. This
//! is closer to Ramalhete and Correia, *Brief Announcement: Hazard Eras*, SPAA 2017, with one era a
//! reader.

use super::barrier::{asked, heavy, light, readers_fence};
use crate::sys::mutants::{mutant, weakened};
use crate::sys::sync::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, CachePadded, Ordering, fence};
use alloc::boxed::Box;
use core::cell::Cell;
use core::ptr::{self, NonNull};

/// The note of a thread that is not pinned. No epoch has this value.
const NOT: u64 = 0;
/// The bit in `more` of a participant whose handle is gone. (No thread lives long enough to forget
/// so many pins.)
const ORPHAN: u64 = 1 << 63;

/// The state that all caches of a process share.
pub(super) struct Collector {
    epoch: CachePadded<AtomicU64>,
    /// The first of all participants that there have ever been. Free ones are taken again, and none
    /// is freed from memory.
    first: AtomicPtr<Participant>,
    /// The number of participants.
    count: AtomicUsize,
}

/// A thread's note, the epoch since which it is pinned, on cache lines of its own.
#[repr(align(128))]
pub(super) struct Participant {
    since: AtomicU64,
    /// The number of pins held beside the first one. Only the owner uses it.
    more: Cell<u64>,
    /// The number of participants that were there before. It never changes.
    number: usize,
    /// True if the owner executes a fence as it pins. Any thread may set it, and it stays set.
    fences: AtomicBool,
    /// On cache lines of its own, because threads that join read it.
    place: CachePadded<Registration>,
}

/// A participant's place in the list.
struct Registration {
    taken: AtomicBool,
    /// The thread that has taken the participant, by an address that no other living thread has.
    owner: AtomicUsize,
    next: AtomicPtr<Participant>,
}

// SAFETY: only the participant's owner uses the cell, one thread at a time: a thread that takes a
// participant acquires what its last owner released with it. All else is atomic or never changes.
unsafe impl Sync for Participant {}

impl Collector {
    #[cfg(not(loom))]
    pub(super) const fn new() -> Self {
        Self {
            epoch: CachePadded(AtomicU64::new(NOT + 1)),
            first: AtomicPtr::new(ptr::null_mut()),
            count: AtomicUsize::new(0),
        }
    }

    /// (Loom's atomics are made at run time.)
    #[cfg(loom)]
    pub(super) fn new() -> Self {
        Self {
            epoch: CachePadded(AtomicU64::new(NOT + 1)),
            first: AtomicPtr::new(ptr::null_mut()),
            count: AtomicUsize::new(0),
        }
    }

    /// Returns a participant for the caller alone, until it [leaves](Participant::leave). `owner`
    /// is an address that no other living thread has.
    pub(super) fn join(&'static self, owner: usize) -> &'static Participant {
        let mine = self.take_free().unwrap_or_else(|| self.add());
        // Relaxed: read by this thread only, and by the one thread of a child of this process.
        mine.place.owner.store(owner, Ordering::Relaxed);
        // SeqCst: pairs with the fence of a thread that is refused the call. See `readers_fence`.
        fence(Ordering::SeqCst);
        if readers_fence() {
            mine.fences.store(true, Ordering::Relaxed);
        }
        mine
    }

    /// Takes the free participant with the lowest number, if there is any: those who come after a
    /// peak shall have what is set apart for low numbers.
    fn take_free(&'static self) -> Option<&'static Participant> {
        loop {
            let free = self.participants().filter(|p| !p.place.taken.load(Ordering::Relaxed));
            let lowest = free.min_by_key(|p| p.number)?;
            if lowest.take() {
                return Some(lowest);
            }
        }
    }

    /// Calls `user` while the participant of this number belongs to the caller, if it is free.
    /// `owner`: as for [`join`](Self::join).
    pub(super) fn adopt(&'static self, owner: usize, number: usize, user: impl FnOnce()) {
        if let Some(free) = self.participants().find(|p| p.number == number && p.take()) {
            free.place.owner.store(owner, Ordering::Relaxed);
            user();
            free.free();
        }
    }

    fn add(&'static self) -> &'static Participant {
        let new: &'static Participant = Box::leak(Box::new(Participant {
            since: AtomicU64::new(NOT),
            more: Cell::new(0),
            number: self.count.fetch_add(1, Ordering::Relaxed),
            fences: AtomicBool::new(false),
            place: CachePadded(Registration {
                taken: AtomicBool::new(true),
                owner: AtomicUsize::new(0),
                next: AtomicPtr::new(ptr::null_mut()),
            }),
        }));
        let mut first = self.first.load(Ordering::Relaxed);
        loop {
            new.place.next.store(first, Ordering::Relaxed);
            let raw = ptr::from_ref(new).cast_mut();
            // Release: a thread that walks the list finds the participant as it was made.
            match self.first.compare_exchange(first, raw, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return new,
                Err(now) => first = now,
            }
        }
    }

    fn participants(&self) -> impl Iterator<Item = &'static Participant> {
        // Acquire: pairs with the Release in `add`. It covers the participants behind the first,
        // too, as each CAS continues the release sequence.
        let mut next = self.first.load(Ordering::Acquire);
        core::iter::from_fn(move || {
            // SAFETY: participants are leaked, so they are never freed.
            let this: &'static Participant = unsafe { NonNull::new(next)?.as_ref() };
            next = this.place.next.load(Ordering::Relaxed);
            Some(this)
        })
    }

    /// Returns a stamp for nodes that were unlinked before this call (see above), or None if none
    /// can be had now.
    pub(super) fn stamp(&self) -> Option<u64> {
        let now = || self.epoch.load(Ordering::Relaxed);
        let early = mutant("stamp before the fence").then(now);
        if !mutant("no heavy fence") && !heavy(|| self.tell()) {
            return None;
        }
        let stamp = early.unwrap_or_else(now);
        // Relaxed: the fences order it. It fails only if another thread has moved the epoch on.
        let _ = self.epoch.compare_exchange(stamp, stamp + 1, Ordering::Relaxed, Ordering::Relaxed);
        Some(stamp)
    }

    /// Has all readers execute fences from now on.
    fn tell(&self) {
        // Relaxed: the caller waits until the stores are visible. See above.
        self.participants().for_each(|p| p.fences.store(true, Ordering::Relaxed));
    }

    /// Ends the pins of the parent's other threads, in a child process that has just begun. This
    /// thread is its only one, and owns the participants of `owner`.
    #[cfg_attr(miri, allow(dead_code, reason = "Miri knows no forks"))]
    pub(super) fn forked(&self, owner: usize) {
        // Relaxed: there is only one thread.
        let of_others =
            |p: &&Participant| p.place.taken.load(Ordering::Relaxed) && p.place.owner.load(Ordering::Relaxed) != owner;
        self.participants().filter(of_others).for_each(|p| {
            p.since.store(NOT, Ordering::Relaxed);
            p.free();
        });
    }

    /// Returns the earliest epoch since which a thread is pinned, or `u64::MAX` if none is.
    pub(super) fn least(&self) -> u64 {
        // Acquire: pairs with the Release of both stores in `Participant`. The reads under a pin
        // that is not found here come before what the caller does next.
        let notes = self.participants().map(|p| p.since.load(weakened("look at pins", Ordering::Acquire)));
        notes.filter(|&since| since != NOT).min().unwrap_or(u64::MAX)
    }
}

impl Participant {
    /// Pins the owner, once more. `collector` is the one that it has joined.
    ///
    /// The owner's own note tells whether it is pinned already, and only further pins are counted.
    /// Each pin would read, change and write a count of all pins twice, and the next pin would have
    /// to wait for that. So calls in a row would not overlap.
    #[inline(always)]
    pub(super) fn pin(&self, collector: &Collector) {
        if self.own_note() != NOT {
            self.more.set(self.more.get() + 1);
            return;
        }
        let now = collector.epoch.load(Ordering::Relaxed);
        let early = mutant("flag before the note").then(|| asked(&self.fences));
        // Release: pairs with the Acquire in `least`, for what was read under the pin before this
        // one.
        self.since.store(now, weakened("pin release", Ordering::Release));
        // The flag is read only now: see above, how readers are told to fence.
        light(|| early.unwrap_or_else(|| asked(&self.fences)));
    }

    /// Reads the note as its owner, the only thread that writes it. So no atomic load is needed,
    /// for which the compiler would make an instruction of its own.
    #[inline(always)]
    fn own_note(&self) -> u64 {
        #[cfg(not(loom))]
        // SAFETY: the pointer is to an atomic that lives as long as this. Other threads at most
        // load it (or, in a child of the process, there are none).
        return unsafe { *self.since.as_ptr() };
        #[cfg(loom)]
        return self.since.load(Ordering::Relaxed);
    }

    /// Ends a pin. The note is cleared with the last pin to end, which need not be the first one
    /// taken.
    #[inline(always)]
    pub(super) fn unpin(&self) {
        match self.more.get() {
            0 => self.end(),
            more => self.unpin_one_of(more),
        }
    }

    #[inline(never)]
    fn unpin_one_of(&self, more: u64) {
        if more == ORPHAN {
            self.end();
            self.free();
        } else {
            self.more.set(more - 1);
        }
    }

    #[inline(always)]
    fn end(&self) {
        // Release: pairs with the Acquire in `least`, for what was read under the pin.
        self.since.store(NOT, weakened("unpin release", Ordering::Release));
    }

    /// Takes the participant for the caller alone, if it is free.
    fn take(&self) -> bool {
        let taken = &self.place.taken;
        // Acquire: pairs with the Release in `free`, for `more`, and for what the thread before had
        // for itself (`cells`).
        !taken.load(Ordering::Relaxed)
            && (taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
                || mutant("joins blindly"))
    }

    /// Returns a number that no other participant has. As long as a thread owns the participant, it
    /// may use what is set apart for this number.
    #[inline(always)]
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// Ends the owner's registration. Pins that are left go on, on this thread.
    pub(super) fn leave(&self) {
        if self.since.load(Ordering::Relaxed) == NOT || mutant("leaves while pinned") {
            self.free();
        } else {
            self.more.set(self.more.get() | ORPHAN);
        }
    }

    #[cold]
    fn free(&self) {
        self.more.set(0);
        self.place.owner.store(0, Ordering::Relaxed);
        // Release: pairs with the Acquire in `join`.
        self.place.taken.store(false, weakened("leaves unreleased", Ordering::Release));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Collector;

    #[test]
    fn who_comes_after_a_peak_gets_a_low_number() {
        static COLLECTOR: Collector = Collector::new();
        let peak: [_; 5] = core::array::from_fn(|owner| COLLECTOR.join(owner + 1));
        peak.iter().for_each(|participant| participant.leave());
        assert_eq!([1, 2].map(|owner| COLLECTOR.join(owner).number()), [0, 1]);
    }
}
