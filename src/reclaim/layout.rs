//! How nodes lie in memory: in slabs, or one by one.
//!
//! A slab is a power of two bytes, aligned to that: a head with the slab's number, then the nodes, each with its *cold pair*
//! behind it. So a node's slab is found by masking its address. A node of up to 56 bytes (`u64 → u64` has just that) is one cache
//! line with its pair: 4 KiB have 63 of them, 65 bytes each. A slab is as large as it must be to waste no more than a
//! tenth. Nodes that take more than 1 KiB with their pair are allocated one by one.
//!
//! (A type that is aligned to more than 16 bytes pays for its pair with as many.)
//!
//! A node has two more words, its [`Extra`]s, that most caches never use: the time of its expiry,
//! and the number that its tags are compared with. Each lies elsewhere, in an array of its own (see
//! [`Arena::extra`](super::Arena::extra)), and takes no memory until one is used.
//!
//! Under loom and shuttle, and with `--cfg bellwether_malloc` in `RUSTFLAGS`, nodes are allocated one by one: so that a sanitizer sees who
//! uses a node after it was freed. In a slab it would not be.

use crate::sys::sync::{AtomicU32, AtomicU64};
use alloc::alloc::Layout;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

/// Node pointers carry four bits of state in their low end (see `flight::word`).
const ALIGN: usize = 16;
/// A cache line.
pub(super) const LINE: usize = 64;
/// Larger nodes are allocated one by one.
const LARGEST: usize = 1024;
const SMALLEST_SLAB: usize = 4096;
const LARGEST_SLAB: usize = 64 << 10;
/// What of a node only insertion, removal and eviction look at. All zero to begin with.
#[repr(C)]
pub(crate) struct Cold {
    pub(crate) weight: AtomicU32,
    /// The slot's number; of a free node, the number of the next free one.
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

/// What a node has elsewhere. Zero until it is used; what an earlier node has left is there for the next.
pub(crate) type Extra = AtomicU64;

/// Which of a node's extra words: the time of its expiry.
pub(crate) const EXPIRY: usize = 0;
/// The sequence number that its tags are compared with.
pub(crate) const TAG_SEQUENCE: usize = 1;
/// How many extra words a node can have.
pub(super) const EXTRA_WORDS: usize = 2;

/// A node and its pair. (Only its layout: it need not be padded to `T`'s alignment at the end.)
#[repr(C)]
struct Placed<T> {
    node: T,
    cold: Cold,
}

/// The measures for nodes `T`. Bytes, if not said otherwise.
pub(super) struct Shape<T>(PhantomData<T>);

const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

impl<T> Shape<T> {
    const ALIGN: usize = max(align_of::<T>(), ALIGN);

    /// From a node to its pair.
    pub(super) const AFTER: usize = core::mem::offset_of!(Placed<T>, cold);

    /// From one node of a slab to the next.
    pub(super) const STRIDE: usize = max(Self::AFTER + size_of::<Cold>(), LINE).next_multiple_of(Self::ALIGN);

    /// Whether nodes are allocated one by one.
    pub(super) const SINGLE: bool = cfg!(any(loom, shuttle, bellwether_malloc)) || Self::STRIDE > LARGEST;

    /// Size, and alignment, of a slab.
    pub(super) const SLAB: usize = {
        let mut slab = SMALLEST_SLAB;
        while slab < LARGEST_SLAB && (slab - Self::fit(slab) * Self::STRIDE) * 10 > slab {
            slab *= 2;
        }
        slab
    };

    /// Nodes in a slab. (1 where there are none: it is divided by.)
    pub(super) const NODES: usize = max(Self::fit(Self::SLAB), 1);

    /// Where a slab's first node is. Nodes of whole lines begin with a line.
    const FIRST: usize = {
        let align = if Self::STRIDE % LINE == 0 { max(LINE, Self::ALIGN) } else { Self::ALIGN };
        size_of::<Head>().next_multiple_of(align)
    };

    /// What a node takes, with its pair.
    pub(super) const BYTES: usize = if Self::SINGLE { Self::LAYOUT.size() } else { Self::STRIDE };

    /// From a node that is allocated by itself to its first extra word.
    const EXTRA: usize = (Self::AFTER + size_of::<Cold>()).next_multiple_of(align_of::<Extra>());

    /// Of a node that is allocated by itself. Alignment is asked of the allocator, not of the type: that would be padded.
    pub(super) const LAYOUT: Layout =
        match Layout::from_size_align(Self::EXTRA + EXTRA_WORDS * size_of::<Extra>(), Self::ALIGN) {
            Ok(layout) => layout,
            Err(_) => panic!("a type of this size cannot be allocated"),
        };

    const fn fit(slab: usize) -> usize {
        slab.saturating_sub(Self::FIRST) / Self::STRIDE
    }

    /// The address of a node's slab, and the node's place there.
    pub(super) fn place_of(node: usize) -> (usize, usize) {
        let slab = node & !(Self::SLAB - 1);
        (slab, (node - slab - Self::FIRST) / Self::STRIDE)
    }

    /// From a slab's beginning to a node.
    pub(super) const fn node(place: usize) -> usize {
        Self::FIRST + place * Self::STRIDE
    }
}

/// What a node takes, with its pair.
pub(crate) const fn bytes<T>() -> usize {
    Shape::<T>::BYTES
}

/// The cold pair of a node.
///
/// # Safety
/// `node` is the address of something from an [`Arena`](super::Arena) of `T` that lives for `'p`.
#[inline]
pub(crate) unsafe fn cold<'p, T>(node: NonNull<T>) -> &'p Cold {
    // A pointer to a live node may have been made from a reference to it, which has no right to what is behind it.
    let pair = ptr::with_exposed_provenance::<Cold>(node.addr().get() + Shape::<T>::AFTER);
    // SAFETY: in bounds and aligned, by how the arena has laid the node out; the arena has exposed the memory, initialised the
    // pair with the node, and frees it no earlier. It is only shared: atomics.
    unsafe { &*pair }
}

/// An extra word of a node that is allocated by itself.
///
/// # Safety
/// As for [`cold`]; nodes `T` are allocated so, and have more than `which` extra words.
#[inline]
pub(super) unsafe fn extra_of_single<'p, T>(which: usize, node: NonNull<T>) -> &'p Extra {
    let extra = ptr::with_exposed_provenance::<Extra>(node.addr().get() + Shape::<T>::EXTRA).wrapping_add(which);
    // SAFETY: as in `cold`.
    unsafe { &*extra }
}

/// The pair behind the place of a node, which need not be there.
///
/// # Safety
/// `node` is a place in a slab or a block of [`Shape::LAYOUT`], by the allocator's own pointer.
pub(super) unsafe fn pair_of<T>(node: NonNull<T>) -> NonNull<Cold> {
    // SAFETY: within the slab or block, by how these are made.
    unsafe { node.byte_add(Shape::<T>::AFTER).cast() }
}

/// The extra words of a node's block.
///
/// # Safety
/// `node` is a block of [`Shape::LAYOUT`], by the allocator's own pointer.
pub(super) unsafe fn extras_in_block<T>(node: NonNull<T>) -> [NonNull<Extra>; EXTRA_WORDS] {
    // SAFETY: within the block, by how the layout is made.
    let first = unsafe { node.byte_add(Shape::<T>::EXTRA).cast() };
    // SAFETY: the block has room for so many from the first one on.
    core::array::from_fn(|which| unsafe { first.add(which) })
}

/// The node's own pointer, with the right to all of its memory. While an object lives, pointers to it are made from shared
/// references, which do not have that right.
///
/// # Safety
/// `node` is the address of something from an [`Arena`](super::Arena) of `T` that was not yet freed.
pub(crate) unsafe fn owned<T>(node: NonNull<T>) -> NonNull<T> {
    let raw = ptr::with_exposed_provenance_mut(node.addr().get());
    // SAFETY: the address of an object is not null.
    unsafe { NonNull::new_unchecked(raw) }
}
