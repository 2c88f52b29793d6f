//! The default hasher, under a name of this crate.

use core::hash::{BuildHasher, Hasher};

/// The default hasher of caches: fast, of good quality, and seeded per cache. It is **not** meant
/// against hostile keys.
///
/// It wraps hashbrown's default (foldhash), so that a new major version of hashbrown is not one of
/// this crate. Where an attacker chooses keys, use `std::hash::RandomState`.
#[derive(Debug, Clone, Default)]
pub struct DefaultHashBuilder(hashbrown::DefaultHashBuilder);

/// The hasher that [`DefaultHashBuilder`] makes.
#[derive(Clone)]
pub struct DefaultHasher(<hashbrown::DefaultHashBuilder as BuildHasher>::Hasher);

impl BuildHasher for DefaultHashBuilder {
    type Hasher = DefaultHasher;

    #[inline(always)]
    fn build_hasher(&self) -> DefaultHasher {
        DefaultHasher(self.0.build_hasher())
    }
}

macro_rules! forward {
    ($($write:ident: $ty:ty),*) => {
        $(#[inline(always)] fn $write(&mut self, value: $ty) { self.0.$write(value); })*
    };
}

impl Hasher for DefaultHasher {
    #[inline(always)]
    fn finish(&self) -> u64 {
        self.0.finish()
    }
    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }
    forward!(write_u8: u8, write_u16: u16, write_u32: u32, write_u64: u64, write_u128: u128, write_usize: usize,
             write_i8: i8, write_i16: i16, write_i32: i32, write_i64: i64, write_i128: i128, write_isize: isize);
}

impl core::fmt::Debug for DefaultHasher {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("DefaultHasher").finish_non_exhaustive()
    }
}
