//! The protocol: who is pinned since when, and since when a bag waits.
//!
//! There is one number, the *epoch*, that only grows. A reader that pins notes the epoch that it finds, and then executes the
//! light fence. Who wants to free a bag of retired nodes executes the heavy fence ([`Collector::stamp`]), takes the epoch
//! that it finds *then* as the bag's stamp, and moves the epoch on. The bag is ripe once nobody is pinned since its stamp or
//! earlier ([`Collector::least`]). Why that is enough, for a reader R and a bag B of which R may hold a node:
//!
//! 1. The nodes of B were unlinked before B's heavy fence. Had R's light fence come after that, R would have read what was written
//!    before the heavy one, and not have found the node. So R's light fence came before it.
//! 2. R noted its epoch before its light fence, B's stamp was read after the heavy one, and the epoch only grows: what R
//!    noted is not above the stamp.
//! 3. R's note was written before its light fence as well. So whoever looks at the notes after the heavy fence (every look at B is, as
//!    who stamps a bag hands it on with its stamp) finds it, or what R wrote later: that R is not pinned any more, or pinned
//!    anew; and both are written with Release and read with Acquire, so that R's reads are over before B is freed.
//!
//! Two light fences order nothing, and none of this needs it: the stamp is read after a heavy fence for that reason. Who pins anew after the
//! stamp finds a greater epoch sooner or later, so a bag waits for no pin that was taken much later; and one that is held for long
//! holds up no bag that was stamped before it. There is no epoch that all threads have to agree on.
//!
//! # Where readers are told to fence
//! If the kernel refuses `membarrier` after it was granted, readers change from the one kind of light fence to the other, and there is no
//! call any more that would have them do so at once. A reader notes its epoch first, and *then* looks at its flag, which says
//! whether it executes a fence. Who is refused sets all flags ([`Collector::tell`]), waits until each store that was made
//! before has become visible, and from then on executes real fences ([`barrier`](super::barrier)). For a reader R that pins:
//!
//! * If R has found its flag set, it executes a fence, and the argument above holds with two real fences.
//! * If not, R looked at the flag before the wait was over: later it would have found it set. R's note was stored before that look, and
//!   so is visible by the end of the wait. It is not above any stamp that is taken from then on, as R read the epoch before it stored the
//!   note. So whoever looks at the notes after the wait finds R's, or what R wrote later, which is the third step above.
//!   (The order of note and look is what makes this so. Had R looked first, it could be held up between the two for any time, and pin
//!   without a fence long after the wait.)
//!
//! That nobody was seen pinned since the flags were set would not do instead of the wait: the note may be on its way. Nor would it do
//! to wait until each reader has pinned anew: a thread that sleeps does not.
//!
//! # Where the process is forked
//! A child has one thread, the one that called `fork`, with its pins. The participants of the others are let go of as the child begins
//! ([`Collector::forked`]): those threads do not read any more, and would never unpin.
//!
//! Fraser, *Practical Lock-Freedom*, 2004, section 5.2.3, has epochs that all readers confirm; this is closer to Ramalhete and
//! Correia, *Brief Announcement: Hazard Eras*, SPAA 2017, with one era a reader.

use super::barrier::{asked, heavy, light, readers_fence};
use crate::sys::mutants::{mutant, weakened};
use crate::sys::sync::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, CachePadded, Ordering, fence};
use alloc::boxed::Box;
use core::cell::Cell;
use core::ptr::{self, NonNull};

/// Of a thread that is not pinned. No epoch is.
const NOT: u64 = 0;
/// In `more` of a participant whose handle is gone. (No thread lives to forget so many pins.)
const ORPHAN: u64 = 1 << 63;

/// What all caches of a process share.
pub(super) struct Collector {
    epoch: CachePadded<AtomicU64>,
    /// All participants there have ever been; those that are free are taken again, none is freed.
    first: AtomicPtr<Participant>,
}

/// A thread's note since when it is pinned, on cache lines of its own.
#[repr(align(128))]
pub(super) struct Participant {
    since: AtomicU64,
    /// Pins held beside the first one. The owner's alone, as what follows.
    more: Cell<u64>,
    /// Whether the owner executes a fence as it pins. Set once and for all, by anyone.
    fences: AtomicBool,
    /// On lines of its own: those who join look at it.
    place: CachePadded<Registration>,
}

/// A participant's place in the list.
struct Registration {
    taken: AtomicBool,
    /// The thread that has taken it, by an address that it shares with no other thread that lives.
    owner: AtomicUsize,
    next: AtomicPtr<Participant>,
}

// SAFETY: the cell is used by the participant's owner alone, one thread at a time: who takes a participant acquires what its
// last owner released with it. All else is atomic or never changes.
unsafe impl Sync for Participant {}

impl Collector {
    #[cfg(not(loom))]
    pub(super) const fn new() -> Self {
        Self { epoch: CachePadded(AtomicU64::new(NOT + 1)), first: AtomicPtr::new(ptr::null_mut()) }
    }

    /// (Loom's atomics are made at run time.)
    #[cfg(loom)]
    pub(super) fn new() -> Self {
        Self { epoch: CachePadded(AtomicU64::new(NOT + 1)), first: AtomicPtr::new(ptr::null_mut()) }
    }

    /// A participant for the caller alone, until it [leaves](Participant::leave). `owner` is what it has as its own alone.
    pub(super) fn join(&'static self, owner: usize) -> &'static Participant {
        let mut free = self.participants();
        // Acquire: pairs with the Release in `free`, for `more`.
        let take = |p: &&Participant| {
            !p.place.taken.load(Ordering::Relaxed)
                && (p.place.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
                    || mutant("joins blindly"))
        };
        let mine = free.find(take).unwrap_or_else(|| self.add());
        // Relaxed: read by this thread only, and by the one thread of a child of this process.
        mine.place.owner.store(owner, Ordering::Relaxed);
        // SeqCst: pairs with the fence of who is refused the call. See `readers_fence`.
        fence(Ordering::SeqCst);
        if readers_fence() {
            mine.fences.store(true, Ordering::Relaxed);
        }
        mine
    }

    fn add(&'static self) -> &'static Participant {
        let new: &'static Participant = Box::leak(Box::new(Participant {
            since: AtomicU64::new(NOT),
            more: Cell::new(0),
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
            // Release: who walks the list finds the participant as it was made.
            match self.first.compare_exchange(first, raw, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return new,
                Err(now) => first = now,
            }
        }
    }

    fn participants(&self) -> impl Iterator<Item = &'static Participant> {
        // Acquire: pairs with the Release in `add`; those behind the first come with it, as each CAS continues its release sequence.
        let mut next = self.first.load(Ordering::Acquire);
        core::iter::from_fn(move || {
            // SAFETY: participants are leaked: they are never freed.
            let this: &'static Participant = unsafe { NonNull::new(next)?.as_ref() };
            next = this.place.next.load(Ordering::Relaxed);
            Some(this)
        })
    }

    /// A stamp for what was unlinked before this call: see above. None: there is none to be had now.
    pub(super) fn stamp(&self) -> Option<u64> {
        let now = || self.epoch.load(Ordering::Relaxed);
        let early = mutant("stamp before the fence").then(now);
        if !mutant("no heavy fence") && !heavy(|| self.tell()) {
            return None;
        }
        let stamp = early.unwrap_or_else(now);
        // Relaxed: the fences order it. Lost only if another has moved it on.
        let _ = self.epoch.compare_exchange(stamp, stamp + 1, Ordering::Relaxed, Ordering::Relaxed);
        Some(stamp)
    }

    /// Has all readers execute fences from now on.
    fn tell(&self) {
        // Relaxed: what follows waits until it is visible. See above.
        self.participants().for_each(|p| p.fences.store(true, Ordering::Relaxed));
    }

    /// The process is a child that has just begun, with this thread alone, which owns what is of `owner`: the pins of its parent's
    /// other threads end.
    #[cfg_attr(miri, allow(dead_code, reason = "Miri knows no forks"))]
    pub(super) fn forked(&self, owner: usize) {
        // Relaxed: there is one thread.
        let of_others =
            |p: &&Participant| p.place.taken.load(Ordering::Relaxed) && p.place.owner.load(Ordering::Relaxed) != owner;
        self.participants().filter(of_others).for_each(|p| {
            p.since.store(NOT, Ordering::Relaxed);
            p.free();
        });
    }

    /// The earliest epoch that somebody is pinned since; `u64::MAX` if nobody is.
    pub(super) fn least(&self) -> u64 {
        // Acquire: pairs with the Release of both stores in `Participant`: what was read under a pin that is not found here
        // was read before what the caller does next.
        let notes = self.participants().map(|p| p.since.load(weakened("look at pins", Ordering::Acquire)));
        notes.filter(|&since| since != NOT).min().unwrap_or(u64::MAX)
    }
}

impl Participant {
    /// Pins the owner, once more. The collector is the one that it has joined.
    ///
    /// That it is pinned already is known by its own note, and only further pins are counted. A count of all would be read, changed
    /// and written twice by each pin, and the next one would have to wait for that: calls in a row would not overlap.
    #[inline(always)]
    pub(super) fn pin(&self, collector: &Collector) {
        if self.own_note() != NOT {
            self.more.set(self.more.get() + 1);
            return;
        }
        let now = collector.epoch.load(Ordering::Relaxed);
        let early = mutant("flag before the note").then(|| asked(&self.fences));
        // Release: pairs with the Acquire in `least`, for what was read under the pin before this one.
        self.since.store(now, weakened("pin release", Ordering::Release));
        // Only now: see above, where readers are told to fence.
        light(|| early.unwrap_or_else(|| asked(&self.fences)));
    }

    /// The note, as its owner reads it: who writes it, and nobody else does. So no atomic load is needed, of which the compiler
    /// would make an instruction of its own.
    #[inline(always)]
    fn own_note(&self) -> u64 {
        #[cfg(not(loom))]
        // SAFETY: it points to an atomic that lives as long as this, and others at most load that (or, in a child of the process,
        // there are no others).
        return unsafe { *self.since.as_ptr() };
        #[cfg(loom)]
        return self.since.load(Ordering::Relaxed);
    }

    /// The end of a pin: the note goes with the last one, whichever that is.
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

    /// The owner's end; its pins, if any are left, go on, on this thread.
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
        // Release: pairs with the Acquire in `join`.
        self.place.taken.store(false, Ordering::Release);
    }
}
