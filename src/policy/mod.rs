//! Which entry goes when room is needed.
//!
//! S3-FIFO's shape (Yang, Zhang, Qiu, Yue and Rashmi, *FIFO Queues Are All You Need for Cache Eviction*, SOSP 2023) with
//! what replays of real traces taught (design section 9):
//!
//! * Two FIFO rings of slots, *small* and *main* ([`rings`]). New keys enter small. An entry counts its uses, up to three,
//!   by itself: a hit touches nothing else.
//! * The *share* of small adapts: it grows with each miss on a key that small evicted lately, and shrinks with each miss on
//!   one that main did ([`share`], [`ghosts`]).
//! * A frequency [`sketch`] learns of a key when that leaves small, once for its insertion and once for each use, and when
//!   main's hand takes a use off it; hits never touch it. (The design has it learn at the insertion. But a newcomer's counters
//!   have to be fetched while its caller waits, and those of who leaves small are known some entries before. Replays of the
//!   traces give 0.876 of the optimum either way, and so does Zipf's law; a loop over 1.1 times the cache's size gives 0.81 for 0.61, and one
//!   over nine times 0.93 for 0.95.)
//! * Small gives when it is above its share, else main does. The newcomer itself is put back where the hand meets it: so it is
//!   there afterwards, whatever it weighs, unless no other entry may go. Who leaves small with two uses enters main. Others enter
//!   it if it is below its share and they were counted twice, or, if it is full, at least four times and at least twice more
//!   than main's next victim, which leaves in their stead. Floor and margin are what survives loops. (The design has no
//!   margin. Without it, replays of `../shared/traces` give 0.8762 of the optimum, with it 0.8753; but a loop over three
//!   times the cache's size gives 0.42, with it 0.98.)
//! * A missing key that is remembered as evicted enters main at once if that is below its share, or if the key was counted
//!   more often than main's next victim.
//! * Main's hand takes a use off an entry and moves on, over [`CHANCES`] entries at most, then takes the next as it is.
//!   (Sixteen, and a share that begins at 2 %, where the design has eight and 5 %: 0.8771 of the optimum against 0.8753, and
//!   as much better on synthetic Zipf, loop and scan requests.)
//! * Whatever has expired goes as soon as the hand comes by it, and before anything else if it is the first of a ring. (What has
//!   expired elsewhere is found by who stores: `engine::tidy`.)
//!
//! **Bound.** To displace one entry the hand moves at most [`PROMOTIONS`] entries from small to main and passes over at
//! most [`CHANCES`] in main for each time that main gives or is challenged. Beside these come entries that are being
//! refreshed, which are never evicted (with nothing else in the cache, each look for room is a round over all of them), the
//! newcomer (it is met twice at most, or five times in main), and holes left by removed entries (each is met once). An insertion of a remembered
//! key passes over another [`CHANCES`], and one into a ring that is mostly holes moves [`MOVES`] slots on.
//!
//! Everything is counted in weight but for the bounds above: the share is one of the capacity's weight. Ghosts and sketch
//! are sized by the number of entries, and follow it up and down ([`extent`]): ghosts of a cache that has become small would
//! take what was evicted long ago for what a slightly larger ring would have kept, and drive the share of small up. (Memory
//! that they have used stays theirs.) Nothing is allocated for a ring that was never pushed to. A cache without bounds
//! keeps no sketch.
//!
//! A cache may have several policies, each for a part of its keys. Which one a slot is of, its number says.
//!
//! The module knows entries only as [`PolicyEntry`]s, and what may become of them only through a [`Evictor`]. So it can be replayed
//! alone, as `tests/models/policy.rs` does.

mod evict;
mod extent;
pub(crate) mod ghosts;
pub(crate) mod rings;
pub(crate) mod sketch;
pub(crate) mod small_share;

use crate::sys::memory::prefetch;
use crate::sys::mutants::mutant;
use crate::sys::sync::{AtomicU32, CachePadded, Ordering, untracked::AtomicU64};
use core::ptr::NonNull;
use ghosts::{Age, Ghosts};
use rings::{Popped, Rings, Which};
use sketch::Sketch;
use small_share::SmallFraction;

/// Used entries that main's hand passes over before it takes one in any case.
pub(crate) const CHANCES: usize = 16;
/// Entries that go from small to main before one has to leave.
pub(crate) const PROMOTIONS: usize = 8;
/// Uses with which an entry leaves small for main.
const WARM: u32 = 2;
/// Times that a key must have been counted to enter main where there is room.
const KNOWN: u32 = 2;
/// Times that a key must have been counted to take the place of another one in main.
const FAMOUS: u32 = 4;
/// It must have been counted more often than that one by more than this.
const MARGIN: u32 = 1;
/// What small holds above its share before main takes in whoever is known, as a part of the capacity (a power of two).
///
/// An entry in a hand is in no ring (though one that main's hand passes over counts for it), and a newcomer is weighed before it
/// is in one. Without slack a thread that is descheduled just then makes main look as if it had room, and to all others main gives, or takes in who was counted
/// twice, until it is back: on two threads that cost 1.5 points of hits at Zipf 0.9.
const SLACK: u32 = 9;
/// But no less than this, one for each of two threads. (Without it they had 1.6 points fewer hits than one of them alone, on `lirs-multi2`
/// at 284 entries up to four; with it 0.1.)
const LEAST_SLACK: u64 = 2;
/// Unless that is more than such a part of the capacity (a power of two).
const LEAST_SLACK_WITHIN: u32 = 5;
/// Slots that a push moves on while a ring is mostly holes.
const MOVES: usize = 2;
/// So many entries before an entry leaves small it is fetched; half as many, what its hash leads to.
const AHEAD: usize = 8;
/// Set in a slot's number if it is one of main's.
const IN_MAIN: u32 = 1 << SLOT_BITS;
/// Below that: the policy's own number, where a cache has several, and the slot's number in its rings.
const SLOT_BITS: u32 = 31;

/// Which of the 2^`bits` policies of a cache a slot is in, by its number.
pub(crate) fn home_of(slot: u32, bits: u32) -> usize {
    ((slot & !IN_MAIN) >> (SLOT_BITS - bits)) as usize
}

/// What the policy asks of an entry.
pub(crate) trait PolicyEntry {
    /// 31 bits of the key's hash.
    fn hash(&self) -> u32;
    /// What it weighs; fixed while it is in a slot.
    fn weight(&self) -> u32;
    /// How often it was used since it was last reset, up to three.
    fn uses(&self) -> u32;
    fn set_uses(&self, uses: u32);
    /// Where its slot's number is kept; 0 is none.
    fn slot(&self) -> &AtomicU32;
}

/// What the policy asks of whoever owns the entries. A slot owns a share of its entry; the hand has it while it holds one.
pub(crate) trait Evictor<T> {
    /// Whether the entry was removed meanwhile.
    fn removed(&self, entry: &T) -> bool;
    /// Whether there is any entry whose time is ever over.
    fn any_expires(&self) -> bool;
    /// Whether its time is over.
    fn expired(&self, entry: &T) -> bool;
    /// The entry was put in a slot: if it was removed meanwhile, its remover may have looked too early.
    fn recheck(&self, entry: &T);
    /// Gives a slot's share back.
    fn release(&self, entry: NonNull<T>);
    /// Whether it is the newcomer that room is made for, which goes only where no other may. It is put at the end of its ring then. And
    /// whether that had been done to it before, or when it came.
    fn spared(&self, entry: &T) -> Option<bool>;
    /// Evicts the entry that the hand holds, and gives the slot's share back; false if it is being refreshed.
    fn evict(&self, entry: &T) -> bool;
    /// Whether an entry that was refused, and is back in a slot, might go by now.
    fn reopened(&self, entry: &T) -> bool;
}

/// How large the part of the cache is that a policy serves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// The most that it should weigh; `u64::MAX` for no bounds.
    pub(crate) capacity: u64,
    /// The entries that are there.
    pub(crate) entries: usize,
}

/// One step of the hand.
enum Step {
    Freed,
    /// Something went to main, or was put back, or there was a hole.
    Skipped,
    /// Passed over, and might go by now.
    Reopened,
    /// The newcomer was met, and put back; and whether it had been put at the end of its ring before.
    Spared(bool),
    Empty,
}

/// Rings, ghosts and counts of one shard.
pub(crate) struct Policy<T> {
    rings: Rings<T>,
    /// Its own number, where a slot's number has it, and the mask of what is in its place.
    number: u32,
    mask: u32,
    /// What is in each ring, by weight; it may be off for a moment, on either side of zero.
    weights: [CachePadded<AtomicU64>; 2],
    ghosts: Ghosts,
    share: SmallFraction,
    sketch: Sketch,
}

/// All bits well mixed (the finalizer of SplitMix64).
fn mixed(hash: u32) -> u64 {
    let mut x = u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

impl<T: PolicyEntry> Policy<T> {
    /// One of the 2^`bits` policies of a cache.
    pub(crate) fn numbered(number: usize, bits: u32) -> Self {
        let left = SLOT_BITS - bits;
        Self {
            rings: Rings::new(left),
            number: (number as u64).wrapping_shl(left) as u32,
            mask: (1 << left) - 1,
            weights: [CachePadded(AtomicU64::new(0)), CachePadded(AtomicU64::new(0))],
            ghosts: Ghosts::new(),
            share: SmallFraction::new(),
            sketch: Sketch::new(),
        }
    }

    fn weight(&self, ring: Which) -> u64 {
        let weight = self.weights[ring as usize].load(Ordering::Relaxed);
        if weight as i64 > 0 { weight } else { 0 }
    }

    /// What the rings hold, by weight.
    pub(crate) fn total(&self) -> u64 {
        self.weight(Which::Small) + self.weight(Which::Main)
    }

    fn main_has_room(&self, room: Budget) -> bool {
        let slack = (room.capacity >> SLACK).max((room.capacity >> LEAST_SLACK_WITHIN).min(LEAST_SLACK));
        let small = self.share.of(room.capacity) + slack;
        self.weight(Which::Main) < room.capacity.saturating_sub(small)
    }

    /// Has the processor fetch what [`admit`](Self::admit) needs for this key, and what small's next few entries will need to
    /// leave: each is a cache miss, and what orders memory between them would have them wait for one another. `follow` has
    /// something of theirs fetched that is the owner's, in so many steps, one for each call.
    ///
    /// The caller is pinned.
    #[inline]
    pub(crate) fn prefetch_insert(&self, newcomer: u32, room: Budget, follow: impl Fn(&T, usize)) {
        if room.capacity == u64::MAX {
            return;
        }
        let hash = mixed(newcomer);
        self.ghosts.prefetch(hash);
        let ahead = self.rings.ahead(Which::Small);
        // SAFETY: the slot had a share of it under the caller's pin: it is not freed before that ends.
        let seen = |distance| ahead(distance).map(|entry| unsafe { &*entry.as_ptr() });
        if let Some(entry) = seen(AHEAD) {
            prefetch(entry);
            prefetch(entry.slot());
        }
        if let Some(entry) = seen(AHEAD / 2) {
            let hash = mixed(entry.hash());
            self.sketch.prefetch(hash);
            self.ghosts.prefetch(hash);
            follow(entry, 0);
        }
        for (distance, step) in [(AHEAD / 4, 1), (AHEAD / 8, 2)] {
            if let Some(entry) = seen(distance) {
                follow(entry, step);
            }
        }
    }

    /// Gives a new entry its slot, and the share that the caller has taken for it.
    pub(crate) fn admit(&self, entry: NonNull<T>, room: Budget, keeper: &impl Evictor<T>) {
        // SAFETY: the caller has a share of the entry.
        let hash = mixed(unsafe { entry.as_ref() }.hash());
        let mut ring = Which::Small;
        if room.capacity != u64::MAX && self.remembered(hash, room) && self.enters_main(hash, room, keeper) {
            self.sketch.add(self.sketch.seen(hash), 1, room.entries);
            ring = Which::Main;
        }
        self.put(ring, entry, keeper);
        self.compact(ring, room, keeper);
    }

    /// Whether a key was evicted lately; the shares learn from it.
    fn remembered(&self, hash: u64, room: Budget) -> bool {
        let [small, main] = self.ghosts.take(hash);
        if small == Some(Age::Near) {
            self.share.grow(room.entries);
        }
        if main == Some(Age::Near) {
            self.share.shrink(room.entries);
        }
        small.is_some() || main.is_some()
    }

    fn enters_main(&self, hash: u64, room: Budget, keeper: &impl Evictor<T>) -> bool {
        self.main_has_room(room) || {
            let victim = self.next_victim(room, keeper);
            // As it will be once it is counted.
            victim.is_some_and(|victim| self.sketch.seen(hash).times + 1 > self.sketch.seen(victim).times)
        }
    }

    /// Puts `new` in the place of `old`, which has said that it is in this slot, with the share that the caller has taken for it; false
    /// if it is not there any more. The share of `old` goes to the caller.
    pub(crate) fn take_over(&self, slot: u32, old: NonNull<T>, new: NonNull<T>) -> bool {
        // SAFETY: the caller keeps both alive.
        let (was, is) = unsafe { (old.as_ref(), new.as_ref()) };
        if slot == 0 {
            return false;
        }
        is.set_uses(was.uses());
        // Written before the ring can show it to anyone.
        if !mutant("number behind the seat") {
            is.slot().store(slot, Ordering::Relaxed);
        }
        let taken = self.rings.replace(slot & self.mask, old, new);
        if mutant("number behind the seat") {
            is.slot().store(slot, Ordering::Relaxed);
        }
        if taken {
            // Read anew: `old` may have been moved, to a slot of the other ring with the same number, before we took it.
            // Now nobody moves it any more. The new entry says what was written above, wherever it is now.
            self.account(Self::ring_of(was.slot().load(Ordering::Relaxed)), -i64::from(was.weight()));
            self.account(Self::ring_of(slot), i64::from(is.weight()));
        }
        taken
    }

    /// Takes an entry out of the slot that it has said it is in; true if the slot's share is the caller's now.
    pub(crate) fn clear(&self, slot: u32, entry: NonNull<T>) -> bool {
        // SAFETY: the caller keeps it alive.
        let member = unsafe { entry.as_ref() };
        let cleared = self.rings.clear(slot & self.mask, entry);
        if cleared {
            // Read anew, as in `take_over`.
            self.account(Self::ring_of(member.slot().load(Ordering::Relaxed)), -i64::from(member.weight()));
        }
        cleared
    }

    /// Takes any entry out, when the cache is dropped.
    pub(crate) fn drain(&self) -> Option<NonNull<T>> {
        [Which::Small, Which::Main].into_iter().find_map(|ring| {
            loop {
                match self.rings.pop(ring) {
                    Popped::Entry(entry) => return Some(entry),
                    Popped::Hole => {}
                    Popped::Empty => return None,
                }
            }
        })
    }

    /// For tests, with nobody at work: how many entries are in slots, each in one.
    pub(crate) fn validate(&self) -> Result<usize, alloc::string::String> {
        self.rings.validate().map(|(entries, _)| entries)
    }

    /// The ring that an entry is in, by its number; none if it is not in the slot that it says.
    pub(crate) fn holds(&self, entry: NonNull<T>) -> Option<usize> {
        // SAFETY: the caller keeps it alive.
        let slot = unsafe { entry.as_ref() }.slot().load(Ordering::Relaxed);
        self.rings.holds(slot & self.mask, entry).then(|| Self::ring_of(slot) as usize)
    }

    /// What the rings hold, by weight.
    pub(crate) fn held(&self) -> [u64; 2] {
        [Which::Small, Which::Main].map(|ring| self.weights[ring as usize].load(Ordering::Relaxed))
    }

    /// Slots in use, holes included, by whole segments.
    pub(crate) fn slots(&self) -> usize {
        self.rings.window(Which::Small) + self.rings.window(Which::Main)
    }

    fn ring_of(slot: u32) -> Which {
        if slot & IN_MAIN == 0 { Which::Small } else { Which::Main }
    }

    /// An entry counts for the ring that its slot's number says, from before it can be found there until after it was
    /// taken out: so the counts are exact when nobody is at work. (A late hand may take an entry out of the other ring.)
    fn account(&self, ring: Which, change: i64) {
        self.weights[ring as usize].fetch_add(change as u64, Ordering::Relaxed);
    }

    /// Puts an entry, with its slot's share, at the end of a ring.
    fn put(&self, ring: Which, entry: NonNull<T>, keeper: &impl Evictor<T>) {
        // SAFETY: the share is ours.
        self.account(ring, i64::from(unsafe { entry.as_ref() }.weight()));
        self.push(ring, entry, keeper);
    }

    /// Takes the first entry of a ring to its end, after `change`; or a hole away. Meanwhile it counts for
    /// the ring all the same.
    fn pass_over(&self, ring: Which, keeper: &impl Evictor<T>, change: impl FnOnce(&T)) {
        let Popped::Entry(entry) = self.rings.pop(ring) else { return };
        // SAFETY: the slot's share is ours now.
        let member = unsafe { entry.as_ref() };
        let was = Self::ring_of(member.slot().load(Ordering::Relaxed));
        // (Else a late hand or push has brought it here.)
        if was != ring {
            self.account(was, -i64::from(member.weight()));
            self.account(ring, i64::from(member.weight()));
        }
        change(member);
        self.push(ring, entry, keeper);
    }

    /// Puts an entry that was accounted for, with its slot's share, at the end of a ring.
    fn push(&self, ring: Which, entry: NonNull<T>, keeper: &impl Evictor<T>) {
        // SAFETY: the share is ours until it is in a slot; after that the caller's pin covers the entry.
        let member = unsafe { entry.as_ref() };
        let bit = self.number | if ring == Which::Main { IN_MAIN } else { 0 };
        self.rings.push(ring, entry, |slot| member.slot().store(slot | bit, Ordering::Relaxed));
        if ring == Which::Small || !mutant("main not settled") {
            keeper.recheck(member);
        }
    }

    /// The first entry of a ring, with its slot's share.
    fn take(&self, ring: Which) -> Popped<T> {
        let popped = self.rings.pop(ring);
        if let Popped::Entry(entry) = popped {
            // SAFETY: the slot's share is ours now.
            let member = unsafe { entry.as_ref() };
            self.account(Self::ring_of(member.slot().load(Ordering::Relaxed)), -i64::from(member.weight()));
        }
        popped
    }

    /// Keeps a ring that is mostly holes from growing: each push moves two slots from the head on.
    fn compact(&self, ring: Which, room: Budget, keeper: &impl Evictor<T>) {
        if self.rings.window(ring) <= 2 * room.entries + 4 * rings::SLOTS {
            return;
        }
        (0..MOVES).for_each(|_| self.pass_over(ring, keeper, |_| ()));
    }
}
