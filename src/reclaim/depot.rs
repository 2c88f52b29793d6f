//! Where full bags of free nodes wait for a thread: a few places, each of which holds one or none.
//!
//! A bag comes by one CAS and goes by one swap. Neither reads the bag, and each pointer goes to
//! exactly one taker. So a taker needs no protection from other takers, and an address that comes
//! again does no harm (no ABA).

use crate::sys::mutants::{mutant, weakened};
use crate::sys::sync::{AtomicPtr, Ordering, untracked::AtomicUsize};
use alloc::boxed::Box;
use core::ptr::{self, NonNull};

/// The places. Bags are taken at about the rate at which they come, so few are in use.
const PLACES: usize = if cfg!(loom) { 2 } else { 16 };

/// The depot owns what is in its places.
pub(super) struct Depot<B> {
    places: [AtomicPtr<B>; PLACES],
    /// The number of bags. A hint, for a thread that would look into all places in vain. It may be
    /// off for a moment, on either side of zero.
    bags: AtomicUsize,
}

impl<B> Depot<B> {
    pub(super) fn new() -> Self {
        Self { places: core::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())), bags: AtomicUsize::new(0) }
    }

    /// Puts a bag in one of the first `places` places, or gives it back if none of them is free.
    pub(super) fn put(&self, bag: Box<B>, places: usize) -> Result<(), Box<B>> {
        let bag = Box::into_raw(bag);
        let put = self.places.iter().take(places).any(|place| {
            if !place.load(Ordering::Relaxed).is_null() {
                return false;
            }
            if mutant("depot overwritten") {
                place.store(bag, Ordering::Release);
                return true;
            }
            // Release: for the bag's content. Pairs with the Acquire in `take`.
            let release = weakened("depot put", Ordering::Release);
            place.compare_exchange(ptr::null_mut(), bag, release, Ordering::Relaxed).is_ok()
        });
        if put {
            self.bags.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        // SAFETY: it came from `Box::into_raw` just above, and no place has it.
        Err(unsafe { Box::from_raw(bag) })
    }

    /// Takes a bag.
    #[inline]
    pub(super) fn take(&self) -> Option<Box<B>> {
        let seems_empty = self.bags.load(Ordering::Relaxed) as isize <= 0;
        if seems_empty { None } else { self.take_any() }
    }

    fn take_any(&self) -> Option<Box<B>> {
        let taken = self.places.iter().find_map(|place| {
            let seen = NonNull::new(place.load(Ordering::Relaxed))?;
            let taken = match mutant("depot taken twice") {
                true => Some(seen),
                // Acquire: pairs with the Release in `put`.
                false => NonNull::new(place.swap(ptr::null_mut(), weakened("depot take", Ordering::Acquire))),
            };
            // SAFETY: it came from `Box::into_raw` in `put`, and the swap has given it to this
            // thread alone.
            taken.map(|bag| unsafe { Box::from_raw(bag.as_ptr()) })
        });
        if taken.is_some() {
            self.bags.fetch_sub(1, Ordering::Relaxed);
        }
        taken
    }
}

impl<B> Drop for Depot<B> {
    fn drop(&mut self) {
        while let Some(bag) = self.take_any() {
            drop(bag);
        }
    }
}

// SAFETY: the depot hands its boxes from thread to thread, which `B: Send` permits, and gives no
// reference to what is in them.
unsafe impl<B: Send> Send for Depot<B> {}
// SAFETY: as above.
unsafe impl<B: Send> Sync for Depot<B> {}
