//! The memory for a cache's nodes.
//!
//! An arena carves nodes out of slabs (see [`layout`](super::layout)), and slabs out of chunks that
//! the global allocator gives. The first chunk is a single slab. Then they double, up to 2 MiB
//! each. A freed node goes to a thread's [`magazine`](super::magazine), or by its number to the
//! free list, and is used again before a new one is carved. So a full cache calls no allocator to
//! insert, but for bags. Slabs live as long as the arena, so as long as the cache. After a peak
//! their memory stays with the cache, and serves only its own nodes. The cache counts as *retired*
//! the keys, values and nodes that wait for their grace period, but no free nodes.
//!
//! A node's number combines the number of its slab and its index there. No thread waits for
//! another: a thread that carves from a slab that is in no chunk yet makes the chunk, and a thread
//! that comes second with it gives its own back (untouched memory, which costs little).

use super::extras::{Extra, Extras, OwnTerms, find, find_or_grow};
use super::free_list::FreeList;
use super::layout::{Cold, Head, LINE, Shape, beside, owned, pair_of};
use super::single::single;
use crate::sys::memory::{HUGE_PAGE as CHUNK, advise_huge, prefetch};
use crate::sys::segmented::SegmentedArray;
use crate::sys::sync::{AtomicPtr, AtomicUsize, CachePadded, Ordering};
use alloc::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

/// Segments for the pointers to 2²⁴ chunks, which no arena reaches. (Under loom there are no
/// chunks.)
const SEGMENTS: usize = if cfg!(loom) { 1 } else { 22 };

/// The nodes of one cache.
pub(crate) struct Arena<T> {
    /// On a cache line of its own, because every insertion and every free writes here.
    ends: CachePadded<Ends>,
    chunks: SegmentedArray<AtomicPtr<u8>, 3, SEGMENTS>,
    pub(super) extras: Extras,
    huge_pages: bool,
    _nodes: PhantomData<fn() -> T>,
}

struct Ends {
    free: FreeList,
    /// The count of nodes that were ever carved.
    carved: AtomicUsize,
}

impl<T> Arena<T> {
    /// True if nodes are allocated one by one.
    pub(super) const SINGLE: bool = Shape::<T>::SINGLE;
    /// The number of slabs in a chunk of full size.
    const FULL: usize = CHUNK / Shape::<T>::SLAB;
    /// The number of bits for a node's index in its slab.
    const PLACE_BITS: u32 = Shape::<T>::NODES.next_power_of_two().ilog2();

    pub(crate) fn new(huge_pages: bool) -> Self {
        const { assert!(size_of::<T>() > 0) };
        Self {
            ends: CachePadded(Ends { free: FreeList::new(), carved: AtomicUsize::new(0) }),
            // SAFETY: a null pointer is all zero, and is not zero-sized.
            chunks: unsafe { SegmentedArray::new(|| AtomicPtr::new(ptr::null_mut())) },
            extras: Extras::new(),
            huge_pages,
            _nodes: PhantomData,
        }
    }

    /// Moves `value` to memory of the arena, with a cold pair that is all zero.
    pub(crate) fn allocate(&self, value: T) -> NonNull<T> {
        let place = self.place();
        // SAFETY: the memory is this thread's alone, for a `T`, and aligned.
        unsafe { place.write(value) };
        place
    }

    /// Returns memory for a node, with a cold pair that is all zero. It is this thread's alone: it
    /// is from the allocator, carved once, or popped.
    pub(super) fn place(&self) -> NonNull<T> {
        if Shape::<T>::SINGLE { single() } else { self.place_freed().unwrap_or_else(|| self.carve()) }
    }

    /// Returns the memory of a node from the free list, with a cold pair that is all zero.
    pub(super) fn place_freed(&self) -> Option<NonNull<T>> {
        let free = self.ends.free.pop(|number| {
            let node = self.node(number);
            (&self.cold_of(node).slot, node)
        });
        free.map(|node| self.reuse(node))
    }

    /// Returns the memory of a free node, with a cold pair that is all zero.
    ///
    /// # Safety
    /// The node is of this arena and free, and the caller's alone.
    #[inline(always)]
    pub(super) unsafe fn place_of(&self, node: NonNull<T>) -> NonNull<T> {
        // SAFETY: by contract the node is of this arena, whose memory is freed with the arena only.
        let node = unsafe { owned(node) };
        let cold = self.cold_of(node);
        // Relaxed: a reader that finds the node finds these stores by the node's publication.
        cold.weight.store(0, Ordering::Relaxed);
        cold.slot.store(0, Ordering::Relaxed);
        node
    }

    /// Prefetches the memory that the next use of this free node will need.
    #[inline(always)]
    pub(super) fn prefetch_to_use(&self, node: *const T) {
        Self::prefetch_with_pair(node);
        if self.extras.expiry.get(0).is_some() {
            self.prefetch_expiry(node);
        }
    }

    #[inline(never)]
    fn prefetch_expiry(&self, node: *const T) {
        let number = NonNull::new(node.cast_mut()).map(Self::number_of);
        if let Some(extra) = number.and_then(|number| self.extras.expiry.get(number as usize)) {
            prefetch(extra);
        }
    }

    /// Returns the number of nodes that were ever carved: as many as the cache has ever held at
    /// once, with those that wait to be freed.
    pub(super) fn carved(&self) -> usize {
        self.ends.carved.load(Ordering::Relaxed)
    }

    /// Returns whether any node has had a time of expiry.
    #[inline(always)]
    pub(crate) fn has_expiry(&self) -> bool {
        self.extras.expires.load(Ordering::Relaxed)
    }

    /// Returns whether any node has had any of the words below. If nodes are allocated one by one,
    /// returns true, because any may have.
    pub(crate) fn has_any_extras(&self) -> bool {
        Shape::<T>::SINGLE || self.extras.any()
    }

    /// Returns the word for a node's time of expiry. None means that the word was never used and
    /// counts as zero. The word may hold what an earlier node has left.
    ///
    /// # Safety
    /// `node` is of this arena and was not freed yet.
    #[inline]
    pub(crate) unsafe fn expiry(&self, node: NonNull<T>) -> Option<&Extra> {
        if Shape::<T>::SINGLE {
            // SAFETY: by contract. The word lives as long as the node.
            return Some(unsafe { &beside(node).expiry });
        }
        find(&self.extras.expiry, || Self::number_of(node) as usize)
    }

    /// Returns the word for a node's time of expiry, after allocating it if need be. From now on
    /// the arena [has one](Self::has_expiry).
    ///
    /// # Safety
    /// As for [`expiry`](Self::expiry).
    pub(crate) unsafe fn expiry_or_grow(&self, node: NonNull<T>) -> &Extra {
        if !self.has_expiry() {
            self.extras.expires.store(true, Ordering::Relaxed);
        }
        // SAFETY: as for this function.
        unsafe { self.expiry(node) }
            .unwrap_or_else(|| find_or_grow(&self.extras.giving().expiry, Self::number_of(node) as usize))
    }

    /// Returns the word for a node's tag sequence number, as [`expiry`](Self::expiry) does.
    ///
    /// # Safety
    /// As for [`expiry`](Self::expiry).
    #[inline]
    pub(crate) unsafe fn tag_sequence(&self, node: NonNull<T>) -> Option<&Extra> {
        if Shape::<T>::SINGLE {
            // SAFETY: by contract.
            return unsafe { beside(node) }.tag_sequence();
        }
        find(&self.extras.tag_sequence, || Self::number_of(node) as usize)
    }

    /// Returns the word for a node's tag sequence number, after allocating it if need be.
    ///
    /// # Safety
    /// As for [`expiry`](Self::expiry).
    pub(crate) unsafe fn tag_sequence_or_grow(&self, node: NonNull<T>) -> &Extra {
        if Shape::<T>::SINGLE {
            // SAFETY: by contract.
            return unsafe { beside(node) }.tag_sequence_or_allocate();
        }
        find_or_grow(&self.extras.giving().tag_sequence, Self::number_of(node) as usize)
    }

    /// Returns the terms of a node's own, as [`expiry`](Self::expiry) does.
    ///
    /// # Safety
    /// As for [`expiry`](Self::expiry).
    pub(crate) unsafe fn terms(&self, node: NonNull<T>) -> Option<&OwnTerms> {
        if Shape::<T>::SINGLE {
            // SAFETY: by contract.
            return unsafe { beside(node) }.terms();
        }
        find(&self.extras.terms, || Self::number_of(node) as usize)
    }

    /// Returns the terms of a node's own, after allocating them if need be.
    ///
    /// # Safety
    /// As for [`expiry`](Self::expiry).
    pub(crate) unsafe fn terms_or_grow(&self, node: NonNull<T>) -> &OwnTerms {
        if Shape::<T>::SINGLE {
            // SAFETY: by contract.
            return unsafe { beside(node) }.terms_or_allocate();
        }
        find_or_grow(&self.extras.giving().terms, Self::number_of(node) as usize)
    }

    /// Makes a free node as if it were new.
    fn reuse(&self, node: NonNull<T>) -> NonNull<T> {
        let cold = self.cold_of(node);
        // The next allocation will need this node.
        self.prefetch(cold.slot.load(Ordering::Relaxed));
        // Relaxed: a reader that finds the node finds these stores by the node's publication.
        cold.weight.store(0, Ordering::Relaxed);
        cold.slot.store(0, Ordering::Relaxed);
        node
    }

    fn prefetch(&self, number: u32) {
        if number != 0 {
            Self::prefetch_with_pair(self.node(number).as_ptr());
            if let Some(extra) = self.extras.expiry.get(number as usize) {
                prefetch(extra);
            }
        }
    }

    /// Prefetches the memory that freeing this node will need. Null means no node.
    pub(super) fn prefetch_to_free(node: *const T) {
        Self::prefetch_with_pair(node);
        if !Shape::<T>::SINGLE && !node.is_null() {
            prefetch(node.map_addr(|node| Shape::<T>::place_of(node).0));
        }
    }

    fn prefetch_with_pair(node: *const T) {
        prefetch(node);
        if Shape::<T>::STRIDE > LINE {
            prefetch(node.wrapping_byte_add(Shape::<T>::AFTER));
        }
    }

    /// Takes a node that was never used.
    #[cold]
    fn carve(&self) -> NonNull<T> {
        self.carved_at(self.ends.carved.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes so many nodes that were never used.
    pub(super) fn carve_many(&self, count: usize) -> impl Iterator<Item = NonNull<T>> {
        let first = self.ends.carved.fetch_add(count, Ordering::Relaxed);
        (first..first + count).map(|node| self.carved_at(node))
    }

    /// Makes the node of this number, which the caller has counted as carved.
    fn carved_at(&self, node: usize) -> NonNull<T> {
        let (number, place) = (node / Shape::<T>::NODES, node % Shape::<T>::NODES);
        assert!(number < (u32::MAX >> Self::PLACE_BITS) as usize, "a cache cannot hold this many entries");
        let slab = self.slab_or_grow(number);
        // SAFETY: a slab begins with its head, which is aligned there. An atomic may hold any bits,
        // and these are stored before they are loaded: a thread that loads the number has a node of
        // the slab, and each node's carver stores the number (the same one) before that node is
        // used.
        unsafe { slab.cast::<Head>().as_ref() }.number.store(number as u32, Ordering::Relaxed);
        // SAFETY: within the slab.
        let node = unsafe { slab.add(Shape::<T>::node(place)).cast() };
        // SAFETY: within the slab and aligned there. No thread asks for the pair before the node
        // exists.
        unsafe { pair_of(node).write(Cold::new()) };
        node
    }

    /// Returns the pair of a node that was carved, by the node's place.
    fn cold_of(&self, node: NonNull<T>) -> &Cold {
        // SAFETY: within the slab and aligned there. The pair was initialised when the node was
        // carved, which happened before its number was pushed. From then on pairs are only shared.
        unsafe { pair_of(node).as_ref() }
    }

    /// Pushes a chain of free nodes: `first`, on top, is linked to others, and they to the last
    /// one.
    pub(super) fn push(&self, first: u32, last: u32) {
        self.ends.free.push(first, &self.cold_of(self.node(last)).slot);
    }

    /// Returns the place of a node that was carved.
    fn node(&self, number: u32) -> NonNull<T> {
        // The number 0 means no node.
        let index = (number - 1) as usize;
        let (chunk, within) = Self::locate(index >> Self::PLACE_BITS);
        // Acquire: pairs with the Release in `grow`.
        let chunk = self.chunks.get(chunk).map_or(ptr::null_mut(), |chunk| chunk.load(Ordering::Acquire));
        debug_assert!(!chunk.is_null());
        let place = index & ((1 << Self::PLACE_BITS) - 1);
        // SAFETY: the chunk was made before any of its nodes was carved, which happened before the
        // number was pushed.
        unsafe { NonNull::new_unchecked(chunk.add(within * Shape::<T>::SLAB + Shape::<T>::node(place)).cast()) }
    }

    /// Returns the number of a node of this arena.
    pub(super) fn number_of(node: NonNull<T>) -> u32 {
        let (slab, place) = Shape::<T>::place_of(node.addr().get());
        let head = ptr::with_exposed_provenance::<Head>(slab);
        // SAFETY: the node's slab begins with its head. The chunk was exposed, and the head is only
        // shared. Relaxed: the node's carver stored the number, and that thread has published the
        // node.
        let number = unsafe { &*head }.number.load(Ordering::Relaxed);
        (number << Self::PLACE_BITS | place as u32) + 1
    }

    /// Returns the chunk of a slab, and the slab's index there. Chunks have 1, 1, 2, 4 … slabs, up
    /// to the full size.
    fn locate(slab: usize) -> (usize, usize) {
        match slab {
            0 => (0, 0),
            _ if slab < Self::FULL => (slab.ilog2() as usize + 1, slab - (1 << slab.ilog2())),
            _ => (Self::FULL.ilog2() as usize + slab / Self::FULL, slab % Self::FULL),
        }
    }

    fn layout(&self, chunk: usize) -> Layout {
        let (size, align) = match chunk {
            0 => (Shape::<T>::SLAB, Shape::<T>::SLAB),
            _ if chunk <= Self::FULL.ilog2() as usize => (Shape::<T>::SLAB << (chunk - 1), Shape::<T>::SLAB),
            // Chunks of full size are whole huge pages.
            _ => (CHUNK, if self.huge_pages { CHUNK } else { Shape::<T>::SLAB }),
        };
        // SAFETY: both are powers of two, and far from `isize::MAX`.
        unsafe { Layout::from_size_align_unchecked(size, align) }
    }

    fn slab_or_grow(&self, slab: usize) -> NonNull<u8> {
        let (chunk, within) = Self::locate(slab);
        let cell = self.chunks.get_or_grow(chunk);
        // Acquire: pairs with the Release in `grow`.
        let first = NonNull::new(cell.load(Ordering::Acquire)).unwrap_or_else(|| self.grow(chunk, cell));
        // SAFETY: by `locate` and `layout` the slab is within the chunk.
        unsafe { first.add(within * Shape::<T>::SLAB) }
    }

    fn grow(&self, chunk: usize, cell: &AtomicPtr<u8>) -> NonNull<u8> {
        let layout = self.layout(chunk);
        // SAFETY: the layout is not of size zero.
        let Some(fresh) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        // Exposed for `cold`, `owned` and `number_of`.
        fresh.as_ptr().expose_provenance();
        if self.huge_pages && layout.size() == CHUNK {
            advise_huge(fresh.as_ptr(), layout.size());
        }
        // Release and Acquire: the chunk has no content yet, but a thread that reads the pointer
        // must also see the allocator's writes for the chunk.
        match cell.compare_exchange(ptr::null_mut(), fresh.as_ptr(), Ordering::Release, Ordering::Acquire) {
            Ok(_) => fresh,
            Err(other) => {
                // SAFETY: allocated just above with this layout, and never published.
                unsafe { dealloc(fresh.as_ptr(), layout) };
                // SAFETY: the CAS failed because the pointer is not null.
                unsafe { NonNull::new_unchecked(other) }
            }
        }
    }
}

impl<T> Drop for Arena<T> {
    fn drop(&mut self) {
        let carved = self.ends.carved.load(Ordering::Relaxed);
        if carved == 0 {
            return;
        }
        let (last, _) = Self::locate((carved - 1) / Shape::<T>::NODES);
        for chunk in 0..=last {
            let first = self.chunks.get(chunk).map_or(ptr::null_mut(), |cell| cell.load(Ordering::Acquire));
            if !first.is_null() {
                // SAFETY: `grow` allocated it with this very layout. `&mut self` means that its
                // nodes are not used any more.
                unsafe { dealloc(first, self.layout(chunk)) };
            }
        }
    }
}
