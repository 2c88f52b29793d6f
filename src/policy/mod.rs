//! The eviction policy: which entry goes when room is needed.
//!
//! Its shape is S3-FIFO's (Yang, Zhang, Qiu, Yue and Rashmi, *FIFO Queues Are All You Need for
//! Cache Eviction*, SOSP 2023), with what replays of real traces taught:
//!
//! * There are two FIFO rings of slots, *small* and *main* ([`rings`]). New keys enter small. An
//!   entry counts its own uses, up to three. A hit touches nothing else.
//! * The *share* of small adapts. It grows with each miss on a key that small evicted lately, and
//!   shrinks with each miss on a key that main evicted lately ([`small_share`], [`ghosts`]).
//! * A frequency [`sketch`] learns of a key when the key leaves small, once for its insertion and
//!   once for each use. It also learns when main's hand takes a use off an entry. Hits never touch
//!   it. (It does not learn at the insertion, because a newcomer's counters would have to be
//!   fetched while its caller waits. The counters of an entry that leaves small are known some
//!   entries before. Replays of the traces, and of Zipf's law, show no difference. A loop slightly
//!   larger than the cache does better this way, a loop many times as large slightly worse.)
//! * The hand takes from small when small is above its share, else from main. Room is made before
//!   the newcomer is in its ring, where it counts as if it were there ([`Coming`]). Where that was
//!   not enough, the hand goes on afterwards. If it meets the newcomer then, it puts it back. So
//!   the newcomer, however heavy, is there afterwards, unless no other entry may go. An entry that
//!   leaves small with two uses enters main. So does an entry that was counted twice, if main is
//!   below its share. If main is full, the entry's count must be at least four, and at least two
//!   above the count of main's next victim, which leaves in its stead. This floor and this margin
//!   make loops survivable. (Without the margin, replays of real traces are very slightly better,
//!   but in a loop over several times the cache's size more than half of the hits are lost.)
//! * A missing key that is remembered as evicted enters main at once if main is below its share, or
//!   if the key was counted more often than main's next victim.
//! * Main's hand takes a use off an entry and moves on, over [`CHANCES`] entries at most. Then it
//!   takes the next entry as it is. (Both this number and the first share of small were chosen by
//!   replays.)
//! * An expired entry goes as soon as the hand meets it, and before all others if it is the first
//!   of a ring. (Threads that store find what has expired elsewhere: `engine::tidy`.)
//!
//! **Bound.** To displace one entry, the hand moves at most [`PROMOTIONS`] entries from small to
//! main, and passes over at most [`CHANCES`] in main for each time that main gives or is
//! challenged. Beside these it may meet:
//!
//! * entries that are being refreshed, which are never evicted (if the cache has no others, each
//!   look for room is a round over all of them);
//! * the newcomer, twice at most, or five times in main;
//! * holes left by removed entries, each once.
//!
//! An insertion of a remembered key passes over another [`CHANCES`]. An insertion into a ring that
//! is mostly holes moves [`MOVES`] slots on.
//!
//! Everything but these bounds is counted in weight: the share is a share of the capacity's weight.
//! Ghosts and sketch are sized by the number of entries, and follow it up and down ([`extent`]).
//! Otherwise, after a cache has become small, its ghosts would take keys that were evicted long ago
//! for keys that a slightly larger ring would have kept, and so drive the share of small up.
//! (Memory that they have used stays theirs.) Nothing is allocated for a ring before its first
//! push. A cache without bounds keeps no sketch.
//!
//! A cache may have several policies, each for a part of its keys. The number of a slot tells its
//! policy.
//!
//! The module knows entries only as [`PolicyEntry`]s, and acts on them only through [`Seats`] and
//! an [`Evictor`]. So it can be replayed alone, as `tests/models/policy.rs` does.

mod admit;
mod effort;
mod evict;
mod extent;
pub(crate) mod ghosts;
mod interface;
mod leave;
pub(crate) mod rings;
pub(crate) mod sketch;
pub(crate) mod small_share;
mod weights;

use crate::sys::memory::prefetch_to_write;
use crate::sys::mutants::mutant;
use crate::sys::sync::Ordering;
use core::ptr::NonNull;
use ghosts::Ghosts;
pub(crate) use interface::{Budget, Coming, Evictor, PolicyEntry, Seats};
pub(crate) use rings::Which;
use rings::{Popped, Rings};
use sketch::Sketch;
use small_share::SmallFraction;
use weights::Weights;

/// The used entries that main's hand passes over before it takes an entry in any case.
pub(crate) const CHANCES: usize = 16;
/// The entries that go from small to main before one has to leave.
pub(crate) const PROMOTIONS: usize = 8;
/// The uses with which an entry leaves small for main.
const WARM: u32 = 2;
/// The count with which a key enters main if main has room.
const KNOWN: u32 = 2;
/// The count with which a key may take the place of another one in main.
const FAMOUS: u32 = 4;
/// The count must exceed that other key's count by more than this.
const MARGIN: u32 = 1;
/// The weight that small may hold above its share before main takes in keys that were counted only
/// twice, as a part of the capacity (a power of two).
///
/// An entry that a hand holds is in no ring (though in a cache with a weigher one that main's hand
/// passes over counts for it), and a newcomer is weighed before it is in a ring. A thread may be
/// preempted just then. Without slack, small would look to all other threads as if it were within
/// its share, or main as if it had room. Until that thread is back, they would evict from main, or
/// have it take in keys that were counted only twice. That costs hits where several threads evict.
const SLACK: u32 = 9;
/// The least slack: one entry for each of two threads. Small caches need it, because a part of
/// their capacity is less than one entry.
const LEAST_SLACK: u64 = 2;
/// The most that the least slack may be, as a part of the capacity (a power of two).
const LEAST_SLACK_WITHIN: u32 = 5;
/// The slots that a push moves on while a ring is mostly holes.
const MOVES: usize = 2;
/// The prefetch distance: an entry is fetched this many entries before it leaves small. The memory
/// that its hash leads to is fetched half as many before.
const AHEAD: usize = 8;
/// The bit of main's slots in a slot's number.
const IN_MAIN: u32 = 1 << SLOT_BITS;
/// The bits below that one: the policy's own number, where a cache has several, and the slot's
/// number in its rings.
const SLOT_BITS: u32 = 31;

/// Returns the index of the policy that a slot belongs to, of the 2^`bits` policies of a cache.
pub(crate) fn home_of(slot: u32, bits: u32) -> usize {
    ((slot & !IN_MAIN) >> (SLOT_BITS - bits)) as usize
}

/// The result of one step of the hand.
enum Step {
    Freed,
    /// An entry went to main or was put back, or there was a hole.
    Skipped,
    /// An entry was passed over, and may be evicted by now.
    Reopened,
    /// The newcomer was met and put back. The value says whether it had been put at the end of its
    /// ring before.
    Spared(bool),
    Empty,
}

/// The rings, ghosts and counts of one shard.
pub(crate) struct Policy<T> {
    rings: Rings<T>,
    /// The policy's own number, in its place in a slot's number, and the mask of the remaining
    /// bits.
    number: u32,
    mask: u32,
    weights: Weights,
    ghosts: Ghosts,
    share: SmallFraction,
    sketch: Sketch,
}

/// Spreads the bits of a hash over all 64. The upper half of the product depends on all bits, and
/// mixes the lower one. (The factor is one of SplitMix64's. It is not the one by which the table
/// tells the parts of a cache apart: the hashes of a part have bits of that product in common.)
#[inline(always)]
fn mixed(hash: u32) -> u64 {
    let x = u64::from(hash).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^ (x >> 32)
}

impl<T: PolicyEntry> Policy<T> {
    /// Makes one of the 2^`bits` policies of a cache. `weighs`: entries may weigh other than one.
    pub(crate) fn numbered(number: usize, bits: u32, weighs: bool) -> Self {
        let left = SLOT_BITS - bits;
        Self {
            rings: Rings::new(left),
            number: (number as u64).wrapping_shl(left) as u32,
            mask: (1 << left) - 1,
            weights: Weights::new(weighs),
            ghosts: Ghosts::new(),
            share: SmallFraction::new(),
            sketch: Sketch::new(),
        }
    }

    /// Returns the weight in a ring. It may be off: see [`Weights`].
    #[inline(always)]
    fn weight(&self, ring: Which) -> u64 {
        self.weights.of(ring, &self.rings)
    }

    /// Returns the weight in both rings. It may be off: see [`Weights`].
    pub(crate) fn total(&self) -> u64 {
        self.weight(Which::Small) + self.weight(Which::Main)
    }

    fn main_has_room(&self, budget: Budget, coming: u64) -> bool {
        let slack = (budget.capacity >> SLACK).max((budget.capacity >> LEAST_SLACK_WITHIN).min(LEAST_SLACK));
        let small = self.share.of(budget.capacity) + slack;
        self.weight(Which::Main) + coming < budget.capacity.saturating_sub(small)
    }

    /// Puts `new` in the place of `old`, whose slot number is `slot`, with the reference that the
    /// caller has taken for it. The caller gets the slot's reference to `old`. Returns false if
    /// `old` is not in that slot any more.
    pub(crate) fn take_over(&self, slot: u32, old: NonNull<T>, new: NonNull<T>) -> bool {
        // SAFETY: the caller keeps both alive.
        let (was, is) = unsafe { (old.as_ref(), new.as_ref()) };
        if slot == 0 {
            return false;
        }
        is.set_uses(was.uses());
        // Written before any thread can find the new entry in the ring.
        if !mutant("number behind the seat") {
            is.slot().store(slot, Ordering::Relaxed);
        }
        let taken = self.rings.replace(slot & self.mask, old, new);
        if mutant("number behind the seat") {
            is.slot().store(slot, Ordering::Relaxed);
        }
        if taken && self.weights.kept() {
            // Read anew: `old` may have been moved to a slot of the other ring with the same number
            // before this thread took it out. From now on no thread moves it. The new entry counts
            // for the ring that its number names, which was written above, wherever it is now.
            let before = Self::ring_of(was.slot().load(Ordering::Relaxed));
            if (before, was.weight()) != (Self::ring_of(slot), is.weight()) {
                self.weights.count_out(was);
                self.weights.count_in(Self::ring_of(slot), is);
            }
        }
        taken
    }

    /// Takes an entry out of the slot whose number it has. Returns true if the caller has got the
    /// slot's reference.
    pub(crate) fn clear(&self, slot: u32, entry: NonNull<T>) -> bool {
        // SAFETY: the caller keeps the entry alive.
        let resident = unsafe { entry.as_ref() };
        let counts = (!self.weights.kept()).then(|| Self::ring_of(slot));
        let cleared = self.rings.clear(slot & self.mask, entry, counts);
        if cleared {
            self.weights.count_out(resident);
        }
        cleared
    }

    /// Takes any entry out. For the drop of the cache.
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

    /// Returns how many entries are in slots, each in one. For tests, with no other thread at work.
    pub(crate) fn validate(&self) -> Result<usize, alloc::string::String> {
        self.rings.validate().map(|(entries, _)| entries)
    }

    /// Returns the ring that an entry is in, by its slot number, or None if the entry is not in
    /// that slot.
    pub(crate) fn holds(&self, entry: NonNull<T>) -> Option<usize> {
        // SAFETY: the caller keeps the entry alive.
        let slot = unsafe { entry.as_ref() }.slot().load(Ordering::Relaxed);
        self.rings.holds(slot & self.mask, entry).then(|| Self::ring_of(slot) as usize)
    }

    /// Returns the weight in each ring, if entries may weigh other than one.
    pub(crate) fn held(&self) -> Option<[u64; 2]> {
        self.weights.held()
    }

    /// Returns whether there may be an entry in a slot. After a fence, this misses no entry that
    /// was put in a slot before the partner of that fence. (A hole may pass for an entry.)
    pub(crate) fn may_hold(&self) -> bool {
        [Which::Small, Which::Main].into_iter().any(|ring| !matches!(self.rings.peek(ring), Popped::Empty))
    }

    /// Returns the number of slots in use, holes included, in whole segments.
    pub(crate) fn slots(&self) -> usize {
        self.rings.window(Which::Small) + self.rings.window(Which::Main)
    }

    fn ring_of(slot: u32) -> Which {
        if slot & IN_MAIN == 0 { Which::Small } else { Which::Main }
    }

    /// Puts an entry, with its slot's reference, at the end of a ring.
    #[inline(always)]
    fn put(&self, ring: Which, entry: NonNull<T>, seats: &impl Seats<T>) {
        // SAFETY: the caller owns the reference.
        self.weights.count_in(ring, unsafe { entry.as_ref() });
        self.push(ring, entry, seats);
    }

    /// Moves the first entry of a ring to its end, after `change`, or takes a hole away. Meanwhile,
    /// where weights are kept, the entry still counts for the ring.
    fn pass_over(&self, ring: Which, seats: &impl Seats<T>, change: impl FnOnce(&T)) {
        let Popped::Entry(entry) = self.rings.pop(ring) else { return };
        // SAFETY: the slot's reference is this thread's now.
        let resident = unsafe { entry.as_ref() };
        let was = Self::ring_of(resident.slot().load(Ordering::Relaxed));
        // (They differ if a late hand or a late push has brought the entry here.)
        if was != ring {
            self.weights.count_out(resident);
            self.weights.count_in(ring, resident);
        }
        change(resident);
        self.push(ring, entry, seats);
    }

    /// Puts an entry that counts already, with its slot's reference, at the end of a ring.
    #[inline(always)]
    fn push(&self, ring: Which, entry: NonNull<T>, seats: &impl Seats<T>) {
        // SAFETY: the reference is this thread's until the entry is in a slot. After that, the
        // caller's pin keeps the entry alive.
        let resident = unsafe { entry.as_ref() };
        let bit = self.number | if ring == Which::Main { IN_MAIN } else { 0 };
        self.rings.push(ring, entry, |slot| resident.slot().store(slot | bit, Ordering::Relaxed));
        if ring == Which::Small || !mutant("main not settled") {
            seats.recheck(resident);
        }
    }

    /// Takes the first entry of a ring, with its slot's reference.
    #[inline(always)]
    fn take(&self, ring: Which) -> Popped<T> {
        let popped = self.rings.pop(ring);
        if let Popped::Entry(entry) = popped {
            // The entry is closed and marked, or its slot number is written.
            prefetch_to_write(entry.as_ptr());
            // SAFETY: the slot's reference is this thread's now.
            self.weights.count_out(unsafe { entry.as_ref() });
        }
        popped
    }

    /// Keeps a ring that is mostly holes from growing: each push moves two slots from the head on.
    #[inline(always)]
    fn compact(&self, ring: Which, budget: Budget, seats: &impl Seats<T>) {
        if self.rings.window(ring) > 2 * budget.entries + 4 * rings::SLOTS {
            self.move_on(ring, seats);
        }
    }

    #[cold]
    #[inline(never)]
    fn move_on(&self, ring: Which, seats: &impl Seats<T>) {
        (0..MOVES).for_each(|_| self.pass_over(ring, seats, |_| ()));
    }
}
