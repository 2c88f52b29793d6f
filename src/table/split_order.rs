//! Where in the list a hash belongs: its *order*; and what is told from an order: bucket, cell, part.

/// The most buckets of a table: 2²⁸.
pub(crate) const MOST: u32 = if cfg!(loom) { 2 } else { 28 };
/// Levels of cells: one for each place of an order's last bit, and one for 0.
pub(crate) const LEVELS: usize = 33;

/// 2⁶⁴ over the golden ratio.
const FIBONACCI: u64 = 0x9E37_79B9_7F4A_7C15;

/// Odd, so that a node comes behind its bucket's cell, whose order is even.
///
/// Fibonacci hashing (Knuth, *The Art of Computer Programming* 3, section 6.4): a hasher whose first bits say little, as that
/// of a number by itself, does not gather all in one bucket. (Models name buckets by a key's last bits.)
#[inline(always)]
pub(crate) fn split_order(hash: u64) -> u32 {
    match cfg!(loom) {
        true => (hash as u32).reverse_bits() | 1,
        false => (hash.wrapping_mul(FIBONACCI) >> 32) as u32 | 1,
    }
}

/// Which of so many parts, a power of two of at most 2¹⁰, what is of this order belongs to. By another multiplication: it has
/// nothing to do with the bucket.
pub(crate) fn part_of(order: u32, parts: usize) -> usize {
    debug_assert!(parts.is_power_of_two());
    (u64::from(order).wrapping_mul(FIBONACCI) >> 48) as usize & (parts - 1)
}

/// The bits of an order that tell its bucket, of 2^`bits` buckets.
pub(crate) const fn mask(bits: u32) -> u32 {
    !(u32::MAX as u64 >> bits) as u32
}

/// The bucket that this one was split from: without its last bit.
#[inline]
pub(crate) fn parent(bucket: u32) -> u32 {
    debug_assert_ne!(bucket, 0);
    bucket & (bucket - 1)
}

/// Level of the cell of the bucket that starts here, and its place there: on level n > 0, with 32 − n zeros at its end and
/// the one before them left out, the number that remains has n − 1 bits, so it is less than 2^(n − 1), as many as the level has.
#[inline(always)]
pub(crate) fn locate(start: u32) -> (usize, usize) {
    // A bit above, so that the bucket at 0, on level 0, is no special case.
    let zeros = (u64::from(start) | 1 << 32).trailing_zeros();
    (32 - zeros as usize, (u64::from(start) >> zeros >> 1) as usize)
}

/// The bucket whose cell is there: [`locate`] the other way round.
#[inline]
pub(crate) fn start_of(level: usize, index: usize) -> u32 {
    // Of level 0 the shift leaves nothing.
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
