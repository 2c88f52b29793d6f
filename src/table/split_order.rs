//! The *order* of a hash: its place in the list. Bucket, cell and part follow from the order.

/// The most buckets of a table, as a power of two: 2²⁸.
pub(crate) const MOST: u32 = if cfg!(loom) { 2 } else { 28 };
/// The levels of cells: one for each position of an order's last set bit, and one for 0.
pub(crate) const LEVELS: usize = 33;

/// 2⁶⁴ over the golden ratio.
const FIBONACCI: u64 = 0x9E37_79B9_7F4A_7C15;

/// Returns the order of a hash. It is odd, so that a node comes behind its bucket's cell, whose
/// order is even.
///
/// Fibonacci hashing (Knuth, *The Art of Computer Programming* 3, section 6.4): a hasher whose
/// first bits say little, as an identity hash of integers, does not gather all keys in one bucket.
/// (In models the last bits of a key choose its bucket.)
#[inline(always)]
pub(crate) fn split_order(hash: u64) -> u32 {
    match cfg!(loom) {
        true => (hash as u32).reverse_bits() | 1,
        false => (hash.wrapping_mul(FIBONACCI) >> 32) as u32 | 1,
    }
}

/// Returns the part that an order belongs to, of `parts` parts, a power of two of at most 2¹⁰. A
/// second multiplication makes the part independent of the bucket.
pub(crate) fn part_of(order: u32, parts: usize) -> usize {
    debug_assert!(parts.is_power_of_two());
    (u64::from(order).wrapping_mul(FIBONACCI) >> 48) as usize & (parts - 1)
}

/// Returns the mask of the bits that name the bucket of an order, for 2^`bits` buckets.
pub(crate) const fn mask(bits: u32) -> u32 {
    !(u32::MAX as u64 >> bits) as u32
}

/// Returns the bucket that this one was split from: the same without its last set bit.
#[inline]
pub(crate) fn parent(bucket: u32) -> u32 {
    debug_assert_ne!(bucket, 0);
    bucket & (bucket - 1)
}

/// Returns the level of the cell of the bucket that starts here, and its index on that level. On
/// level n > 0 an order has 32 − n zeros at its end, and a one before them. Without these, n − 1
/// bits remain. So the index is less than 2^(n − 1), the number of cells on that level.
#[inline(always)]
pub(crate) fn locate(start: u32) -> (usize, usize) {
    // A bit above the order, so that bucket 0, on level 0, is no special case.
    let zeros = (u64::from(start) | 1 << 32).trailing_zeros();
    (32 - zeros as usize, (u64::from(start) >> zeros >> 1) as usize)
}

/// Returns the bucket whose cell lies there: the inverse of [`locate`].
#[inline]
pub(crate) fn start_of(level: usize, index: usize) -> u32 {
    // For level 0, the shift leaves nothing.
    ((index as u64 * 2 + 1) << (32 - level)) as u32
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_has_a_cell_of_its_own_and_each_level_as_many_as_it_has_room_for() {
        let mut levels = [0_usize; LEVELS];
        for bucket in 0..1_u32 << 10 {
            let (level, place) = locate(bucket << 22);
            assert_eq!(place, levels[level], "a level's cells are numbered as they come");
            assert_eq!(start_of(level, place), bucket << 22);
            levels[level] += 1;
        }
        for (level, cells) in levels.into_iter().enumerate() {
            let room = if level == 0 { 1 } else { 1_usize << (level - 1) };
            assert_eq!(cells, if level <= 10 { room } else { 0 });
        }
    }

    #[test]
    fn a_bucket_is_split_from_one_of_an_earlier_level() {
        for bucket in 1..1_u32 << 10 {
            assert!(locate(parent(bucket << 22)).0 < locate(bucket << 22).0);
        }
    }

    #[test]
    fn parts_are_even_for_a_hasher_whose_last_bits_are_all_zero() {
        let mut parts = [0; 16];
        (0..16_000_u64).for_each(|i| parts[part_of(split_order(i << 50), 16)] += 1);
        assert!(parts.iter().all(|&n| (700..1300).contains(&n)), "{parts:?}");
    }
}
