//! The layout of nodes in memory: in slabs, or one by one.
//!
//! The size of a slab is a power of two, and so is its alignment. It begins with a head that has
//! the slab's number. The nodes follow, each with its *cold pair* behind it. So a node's slab is
//! found by masking the node's address. A node of up to 56 bytes (`u64 → u64` has just that) takes
//! one cache line with its pair: a slab of 4 KiB has 63 of them, 65 bytes each. A slab is as large
//! as it must be to waste no more than a tenth. Nodes that take more than 1 KiB with their pair are
//! allocated one by one.
//!
//! (A type that is aligned to more than 16 bytes pays for its pair with as many bytes.)
//!
//! What most caches never use lies elsewhere, in arrays that take no memory until one element is
//! used (see [`extras`](super::extras)).
//!
//! Under loom and shuttle, and with `--cfg bellwether_malloc` in `RUSTFLAGS`, nodes are allocated
//! one by one. Then a sanitizer sees each use of a node after it was freed. In a slab it would not.

use super::extras::Beside;
use crate::sys::sync::AtomicU32;
use alloc::alloc::Layout;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

/// Node pointers carry four bits of state in their low end (see `flight::state`).
const ALIGN: usize = 16;
/// The size of a cache line.
pub(super) const LINE: usize = 64;
/// The largest node, with its pair, that lies in a slab.
const LARGEST: usize = 1024;
const SMALLEST_SLAB: usize = 4096;
const LARGEST_SLAB: usize = 64 << 10;
/// The fields of a node that only insertion, removal and eviction read. At first all zero.
#[repr(C)]
pub(crate) struct Cold {
    pub(crate) weight: AtomicU32,
    /// The number of the node's slot. In a free node, the number of the next free node.
    pub(crate) slot: AtomicU32,
}

impl Cold {
    pub(super) fn new() -> Self {
        Self { weight: AtomicU32::new(0), slot: AtomicU32::new(0) }
    }
}

/// The beginning of a slab.
#[repr(C)]
pub(super) struct Head {
    pub(super) number: AtomicU32,
}

/// A node and its pair. It serves only to compute a layout, because the end need not be padded to
/// the alignment of `T`.
#[repr(C)]
struct Placed<T> {
    node: T,
    cold: Cold,
}

/// The measures of nodes `T`, in bytes unless stated otherwise.
pub(super) struct Shape<T>(PhantomData<T>);

const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

impl<T> Shape<T> {
    const ALIGN: usize = max(align_of::<T>(), ALIGN);

    /// The offset of a node's pair in the node.
    pub(super) const AFTER: usize = core::mem::offset_of!(Placed<T>, cold);

    /// The distance between two nodes of a slab.
    pub(super) const STRIDE: usize = max(Self::AFTER + size_of::<Cold>(), LINE).next_multiple_of(Self::ALIGN);

    /// True if nodes are allocated one by one.
    pub(super) const SINGLE: bool = cfg!(any(loom, shuttle, bellwether_malloc)) || Self::STRIDE > LARGEST;

    /// The size and the alignment of a slab.
    pub(super) const SLAB: usize = {
        let mut slab = SMALLEST_SLAB;
        while slab < LARGEST_SLAB && (slab - Self::fit(slab) * Self::STRIDE) * 10 > slab {
            slab *= 2;
        }
        slab
    };

    /// The number of nodes in a slab. (It is 1 where nodes lie in no slab, because it is a
    /// divisor.)
    pub(super) const NODES: usize = max(Self::fit(Self::SLAB), 1);

    /// The offset of a slab's first node. Nodes of whole cache lines begin at a line.
    const FIRST: usize = {
        let align = if Self::STRIDE % LINE == 0 { max(LINE, Self::ALIGN) } else { Self::ALIGN };
        size_of::<Head>().next_multiple_of(align)
    };

    /// The memory that a node takes, with its pair.
    pub(super) const BYTES: usize = if Self::SINGLE { Self::LAYOUT.size() } else { Self::STRIDE };

    /// The offset of what a node that is allocated by itself has beside it.
    const BESIDE: usize = (Self::AFTER + size_of::<Cold>()).next_multiple_of(align_of::<Beside>());

    /// The layout of a node that is allocated by itself. The allocator provides the alignment. If
    /// the type did, its size would be padded.
    pub(super) const LAYOUT: Layout = match Layout::from_size_align(Self::BESIDE + size_of::<Beside>(), Self::ALIGN) {
        Ok(layout) => layout,
        Err(_) => panic!("a type of this size cannot be allocated"),
    };

    const fn fit(slab: usize) -> usize {
        slab.saturating_sub(Self::FIRST) / Self::STRIDE
    }

    /// Returns the address of a node's slab, and the node's index in the slab.
    pub(super) fn place_of(node: usize) -> (usize, usize) {
        let slab = node & !(Self::SLAB - 1);
        (slab, (node - slab - Self::FIRST) / Self::STRIDE)
    }

    /// Returns the offset of a node in its slab.
    pub(super) const fn node(place: usize) -> usize {
        Self::FIRST + place * Self::STRIDE
    }
}

/// Returns the memory that a node takes, with its pair.
pub(crate) const fn bytes<T>() -> usize {
    Shape::<T>::BYTES
}

/// Returns the cold pair of a node.
///
/// # Safety
/// `node` is the address of an object from an [`Arena`](super::Arena) of `T` that lives for `'p`.
#[inline]
pub(crate) unsafe fn cold<'p, T>(node: NonNull<T>) -> &'p Cold {
    // A pointer to a live node may have been made from a reference to it. Its provenance does not
    // cover the memory behind the node.
    let pair = ptr::with_exposed_provenance::<Cold>(node.addr().get() + Shape::<T>::AFTER);
    // SAFETY: the arena has laid the node out so that the pair is in bounds and aligned. It has
    // exposed the memory and initialised the pair with the node, and frees the memory no earlier.
    // The access is only shared: the fields are atomics.
    unsafe { &*pair }
}

/// Returns what lies beside a node that is allocated by itself.
///
/// # Safety
/// As for [`cold`]. Nodes `T` are allocated by themselves.
#[inline]
pub(super) unsafe fn beside<'p, T>(node: NonNull<T>) -> &'p Beside {
    let beside = ptr::with_exposed_provenance::<Beside>(node.addr().get() + Shape::<T>::BESIDE);
    // SAFETY: as in `cold`.
    unsafe { &*beside }
}

/// Returns the place of the pair behind a node's place. The node itself need not exist yet.
///
/// # Safety
/// `node` is a place in a slab, or a block of [`Shape::LAYOUT`], and a pointer from the allocator.
pub(super) unsafe fn pair_of<T>(node: NonNull<T>) -> NonNull<Cold> {
    // SAFETY: slabs and blocks are laid out with the pair in bounds.
    unsafe { node.byte_add(Shape::<T>::AFTER).cast() }
}

/// Returns the place of what lies beside a node in its block.
///
/// # Safety
/// `node` is a block of [`Shape::LAYOUT`], and a pointer from the allocator.
pub(super) unsafe fn beside_in_block<T>(node: NonNull<T>) -> NonNull<Beside> {
    // SAFETY: the layout has it within the block.
    unsafe { node.byte_add(Shape::<T>::BESIDE).cast() }
}

/// Returns a pointer to the node that may be used for all of the node's memory. While an object
/// lives, pointers to it are made from shared references, which do not permit that.
///
/// # Safety
/// `node` is the address of an object from an [`Arena`](super::Arena) of `T` that was not freed
/// yet.
pub(crate) unsafe fn owned<T>(node: NonNull<T>) -> NonNull<T> {
    let raw = ptr::with_exposed_provenance_mut(node.addr().get());
    // SAFETY: the address of an object is not null.
    unsafe { NonNull::new_unchecked(raw) }
}
