//! Atomics that report each access, for `benches/src/writes`. Only under `cfg(bellwether_count)`.
//!
//! They have no `Deref`, so the compiler rejects any use of an atomic that this file does not
//! report.

use core::mem::size_of;
use core::panic::Location;
pub(crate) use portable_atomic::{Ordering, fence};

unsafe extern "Rust" {
    /// Defined by the program that counts. A read-modify-write counts as a write even if it changes
    /// nothing, because it takes the cache line for itself.
    safe fn bellwether_access(address: usize, size: usize, kind: u8, from: &'static Location<'static>);
}

const LOAD: u8 = 0;
const STORE: u8 = 1;
const UPDATE: u8 = 2;
const TAKE: u8 = 3;

/// Reports that a cache line is prefetched to be written.
#[track_caller]
pub(crate) fn take(address: usize) {
    bellwether_access(address, 1, TAKE, Location::caller());
}

macro_rules! counted {
    ($name:ident $([$t:ident])?, $value:ty, updates: [$($update:ident),*]) => {
        #[repr(transparent)]
        pub(crate) struct $name $(<$t>)? (portable_atomic::$name $(<$t>)?);

        #[allow(dead_code)]
        impl $(<$t>)? $name $(<$t>)? {
            pub(crate) const fn new(value: $value) -> Self {
                Self(portable_atomic::$name::new(value))
            }

            #[track_caller]
            fn access(&self, kind: u8) -> &portable_atomic::$name $(<$t>)? {
                bellwether_access(&raw const self.0 as usize, size_of::<Self>(), kind, Location::caller());
                &self.0
            }

            /// Returns the address for the kernel, which compares a futex's word. That is no access
            /// of the crate's.
            pub(crate) const fn as_ptr(&self) -> *mut $value {
                self.0.as_ptr()
            }

            #[track_caller]
            pub(crate) fn load(&self, order: Ordering) -> $value {
                self.access(LOAD).load(order)
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $value, order: Ordering) {
                self.access(STORE).store(value, order);
            }

            $(#[track_caller]
            pub(crate) fn $update(&self, value: $value, order: Ordering) -> $value {
                self.access(UPDATE).$update(value, order)
            })*

            #[track_caller]
            pub(crate) fn compare_exchange(
                &self, from: $value, to: $value, success: Ordering, failure: Ordering,
            ) -> Result<$value, $value> {
                self.access(UPDATE).compare_exchange(from, to, success, failure)
            }

            #[track_caller]
            pub(crate) fn compare_exchange_weak(
                &self, from: $value, to: $value, success: Ordering, failure: Ordering,
            ) -> Result<$value, $value> {
                self.access(UPDATE).compare_exchange_weak(from, to, success, failure)
            }

            /// Counts as one update, because that is what it takes if no other thread interferes.
            #[track_caller]
            pub(crate) fn fetch_update(
                &self, success: Ordering, failure: Ordering, new: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                self.access(UPDATE).fetch_update(success, failure, new)
            }
        }
    };
}

counted!(AtomicPtr[T], *mut T, updates: [swap]);
counted!(AtomicBool, bool, updates: [swap, fetch_and, fetch_or]);
counted!(AtomicU32, u32, updates: [swap, fetch_add, fetch_sub, fetch_and, fetch_or, fetch_max, fetch_min]);
counted!(AtomicU64, u64, updates: [swap, fetch_add, fetch_sub, fetch_and, fetch_or, fetch_max, fetch_min]);
counted!(AtomicUsize, usize, updates: [swap, fetch_add, fetch_sub, fetch_and, fetch_or, fetch_max, fetch_min]);
