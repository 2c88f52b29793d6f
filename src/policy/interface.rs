//! What the policy knows of entries, and what it asks of the cache.

use super::rings::Which;
use crate::sys::sync::AtomicU32;
use core::ptr::NonNull;

/// An entry, as the policy sees it.
pub(crate) trait PolicyEntry {
    /// Returns 31 bits of the key's hash.
    fn hash(&self) -> u32;
    /// Returns the weight, which is fixed while the entry is in a slot.
    fn weight(&self) -> u32;
    /// Returns how often the entry was used since its last reset, up to three.
    fn uses(&self) -> u32;
    fn set_uses(&self, uses: u32);
    /// Returns the place where the number of its slot is kept. 0 means no slot.
    fn slot(&self) -> &AtomicU32;
}

/// The owner of the entries, as the policy sees it where it puts an entry in a slot.
pub(crate) trait Seats<T> {
    /// Looks again at an entry that was just put in a slot. If the entry was removed meanwhile, its
    /// remover may have looked at the slot too early.
    fn recheck(&self, entry: &T);
}

/// The owner of the entries, as the policy sees it. A slot owns a reference to its entry. While the
/// hand holds an entry, it owns that reference.
pub(crate) trait Evictor<T>: Seats<T> {
    /// Returns whether the entry was removed meanwhile.
    fn removed(&self, entry: &T) -> bool;
    /// Returns whether there is any entry that can expire.
    fn any_expires(&self) -> bool;
    /// Returns whether the entry has expired.
    fn expired(&self, entry: &T) -> bool;
    /// Gives a slot's reference back.
    fn release(&self, entry: NonNull<T>);
    /// Returns None unless this is the newcomer that room is made for. The newcomer goes only if no
    /// other entry may. It will be put at the end of its ring now. The value says whether that was
    /// done to it before, or when it came.
    fn spared(&self, entry: &T) -> Option<bool>;
    /// Evicts the entry that the hand holds, and gives the slot's reference back. Returns false if
    /// the entry is being refreshed, or the user keeps it.
    fn evict(&self, entry: &T) -> bool;
    /// Returns whether an entry that could not be evicted, and is back in a slot, may be evicted by
    /// now.
    fn reopened(&self, entry: &T) -> bool;
}

/// A newcomer that is about to enter a ring, and for which room is made first: its ring, and its
/// weight. That counts as if it were there already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coming {
    pub(super) weights: [u64; 2],
}

impl Coming {
    /// No newcomer, or one that is in its ring.
    pub(crate) const NONE: Self = Self { weights: [0; 2] };

    #[inline]
    pub(crate) fn into(ring: Which, weight: u32) -> Self {
        let mut coming = Self::NONE;
        coming.weights[ring as usize] = weight.into();
        coming
    }
}

/// The size of the part of the cache that a policy serves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// The most that the part should weigh. `u64::MAX` means no bound.
    pub(crate) capacity: u64,
    /// The number of entries in the part.
    pub(crate) entries: usize,
}
