//! Hashers as bad as can be.

use arbitrary::Arbitrary;
use std::hash::{BuildHasher, Hasher};

/// 2⁶⁴ over the golden ratio: the table's order of a hash is the first half of its product with this (`src/order.rs`).
const FIBONACCI: u64 = 0x9E37_79B9_7F4A_7C15;
/// Undoes that multiplication: so a hash can be made for any order.
const INVERSE: u64 = inverse(FIBONACCI);

/// Of an odd number, modulo 2⁶⁴: Newton's iteration doubles the bits that are right, of which there are three.
const fn inverse(odd: u64) -> u64 {
    let (mut inverse, mut round) = (odd, 0);
    while round < 5 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)));
        round += 1;
    }
    inverse
}

const _: () = assert!(FIBONACCI.wrapping_mul(INVERSE) == 1);

/// What becomes of a key's number.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Shape {
    Constant(u64),
    /// So many hashes.
    Few(u8),
    /// The number itself.
    Sequential,
    FirstBits,
    LastBits,
    /// Orders that differ in their first bits only: there are ever more buckets for them.
    FirstBitsOfOrder,
    /// Orders that differ in their last bits only: one bucket, however many there are.
    LastBitsOfOrder,
    /// Orders that fall as numbers rise.
    Reversed,
    ReversedAndNear,
    /// Hashes that differ, of one order.
    OneOrder(u32),
    /// The first order and the last one.
    Ends,
    /// A good one.
    Mixed,
}

impl Shape {
    fn hash(self, number: u64) -> u64 {
        let half = number as u32;
        let of_order = |order: u32, rest: u32| (u64::from(order) << 32 | u64::from(rest)).wrapping_mul(INVERSE);
        match self {
            Self::Constant(hash) => hash,
            Self::Few(hashes) => mix(number % (u64::from(hashes % 8) + 1)),
            Self::Sequential => number,
            Self::FirstBits => number << 54,
            Self::LastBits => number & 0xF,
            Self::FirstBitsOfOrder => of_order(half << 24, 0),
            Self::LastBitsOfOrder => of_order(half << 1, 0),
            Self::Reversed => of_order(u32::MAX - (half << 22), 0),
            Self::ReversedAndNear => of_order(u32::MAX - (half << 1), half),
            Self::OneOrder(order) => of_order(order, half),
            Self::Ends => of_order(if number % 2 == 0 { 0 } else { u32::MAX }, half),
            Self::Mixed => mix(number),
        }
    }
}

fn mix(number: u64) -> u64 {
    let mixed = (number + 1).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    mixed ^ (mixed >> 32)
}

impl BuildHasher for Shape {
    type Hasher = Shaped;
    fn build_hasher(&self) -> Shaped {
        Shaped(*self, 0)
    }
}

pub struct Shaped(Shape, u64);

impl Hasher for Shaped {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.1 = self.1 << 8 | u64::from(*byte));
    }
    fn write_u8(&mut self, number: u8) {
        self.1 = number.into();
    }
    fn write_u16(&mut self, number: u16) {
        self.1 = number.into();
    }
    fn finish(&self) -> u64 {
        self.0.hash(self.1)
    }
}
