//! Where a cache's nodes come from.
//!
//! An arena carves nodes out of slabs (see [`shape`](super::layout)), and these out of chunks that the global allocator
//! gives: the first one is a single slab, then they double, up to 2 MiB each. A freed node goes to a list, by its number,
//! and is the first to be used again: a cache that is full calls no allocator to insert. Slabs live as long as the
//! arena, that is, as the cache. So after a peak its memory stays with the cache, free for its own nodes only; what is
//! *retired*, and counted as such, are keys, values and nodes that wait for their grace period, and none of the free ones.
//!
//! A node's number is its slab's and its place there. Nobody waits for anybody: who carves a slab that is in no chunk yet
//! makes the chunk, and who comes second with it gives it back (untouched memory, so it costs little).

use super::free_list::FreeList;
use super::layout::{
    Cold, EXPIRY, EXTRA_WORDS, Extra, Head, LINE, Shape, extra_of_single, extras_in_block, owned, pair_of,
};
use crate::sys::memory::{HUGE_PAGE as CHUNK, advise_huge, prefetch};
use crate::sys::segmented::SegmentedArray;
use crate::sys::sync::{AtomicPtr, AtomicUsize, CachePadded, Ordering};
use alloc::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

/// Room for the pointers to 2²⁴ chunks; no arena has so many. (None under loom, where there are no chunks.)
const SEGMENTS: usize = if cfg!(loom) { 1 } else { 22 };

/// Room for as many extra words as there can be numbers.
const EXTRAS: usize = if cfg!(loom) { 1 } else { 27 };

/// Nodes of one cache.
pub(crate) struct Arena<T> {
    /// Every insertion and every free writes here.
    ends: CachePadded<Ends>,
    chunks: SegmentedArray<AtomicPtr<u8>, 3, SEGMENTS>,
    /// By nodes' numbers, an array for each extra word.
    extras: [SegmentedArray<Extra, 6, EXTRAS>; EXTRA_WORDS],
    huge_pages: bool,
    _nodes: PhantomData<fn() -> T>,
}

struct Ends {
    free: FreeList,
    /// Nodes that were ever carved.
    carved: AtomicUsize,
}

impl<T> Arena<T> {
    /// Slabs in a chunk of full size.
    const FULL: usize = CHUNK / Shape::<T>::SLAB;
    /// Bits of a node's number that say its place in the slab.
    const PLACE_BITS: u32 = Shape::<T>::NODES.next_power_of_two().ilog2();

    pub(crate) fn new(huge_pages: bool) -> Self {
        const { assert!(size_of::<T>() > 0) };
        Self {
            ends: CachePadded(Ends { free: FreeList::new(), carved: AtomicUsize::new(0) }),
            // SAFETY: a null pointer is all zero, and is not zero-sized.
            chunks: unsafe { SegmentedArray::new(|| AtomicPtr::new(ptr::null_mut())) },
            // SAFETY: all zero is what it makes, and is not zero-sized.
            extras: core::array::from_fn(|_| unsafe { SegmentedArray::new(|| Extra::new(0)) }),
            huge_pages,
            _nodes: PhantomData,
        }
    }

    /// Moves `value` to memory of the arena's, with a cold pair that is all zero.
    pub(crate) fn allocate(&self, value: T) -> NonNull<T> {
        let place = if Shape::<T>::SINGLE {
            single()
        } else {
            match self.ends.free.pop(|number| &self.cold(number).slot) {
                Some(number) => self.reuse(number),
                None => self.carve(),
            }
        };
        // SAFETY: memory for a `T`, aligned, and nobody else's: from the allocator, carved once, or popped.
        unsafe { place.write(value) };
        place
    }

    /// Nodes to be freed at once.
    pub(crate) fn freed(&self) -> Freed<'_, T> {
        Freed { arena: self, first: 0, last: None, count: 0 }
    }

    /// Whether any node has had a time of expiry (or may have, if nodes are allocated one by one).
    pub(crate) fn has_extras(&self) -> bool {
        Shape::<T>::SINGLE || self.extras[EXPIRY].get(0).is_some()
    }

    /// An extra word of a node, if it is there: if not, it is zero. What it holds at first is left from a node before.
    ///
    /// # Safety
    /// `node` is of this arena, and was not yet freed; `which` is `EXPIRY` or `TAG_SEQUENCE`.
    #[inline]
    pub(crate) unsafe fn extra(&self, which: usize, node: NonNull<T>) -> Option<&Extra> {
        if Shape::<T>::SINGLE {
            // SAFETY: by contract, and its memory lives for as long as it can be asked about.
            return Some(unsafe { extra_of_single(which, node) });
        }
        let extras = &self.extras[which];
        // Most often there is none at all, and then there is no need of the number. (Who has written one has made the first.)
        extras.get(0)?;
        extras.get(Self::number_of(node) as usize)
    }

    /// An extra word of a node.
    ///
    /// # Safety
    /// As for [`extra`](Self::extra).
    pub(crate) unsafe fn extra_or_grow(&self, which: usize, node: NonNull<T>) -> &Extra {
        // SAFETY: as for this function.
        unsafe { self.extra(which, node) }.unwrap_or_else(|| {
            let extras = &self.extras[which];
            // First: see `extra`.
            extras.get_or_grow(0);
            extras.get_or_grow(Self::number_of(node) as usize)
        })
    }

    /// A free node as if it were new.
    fn reuse(&self, number: u32) -> NonNull<T> {
        let node = self.node(number);
        // SAFETY: as in `cold`.
        let cold = unsafe { pair_of(node).as_ref() };
        // What the next one will ask for.
        self.prefetch(cold.slot.load(Ordering::Relaxed));
        // Relaxed: who finds the node finds these by how it is published.
        cold.weight.store(0, Ordering::Relaxed);
        cold.slot.store(0, Ordering::Relaxed);
        node
    }

    fn prefetch(&self, number: u32) {
        if number != 0 {
            Self::prefetch_with_pair(self.node(number).as_ptr());
            if let Some(extra) = self.extras[EXPIRY].get(number as usize) {
                prefetch(extra);
            }
        }
    }

    /// Has fetched what it takes to free a node; null is none.
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

    /// A node that was never used.
    #[cold]
    fn carve(&self) -> NonNull<T> {
        let node = self.ends.carved.fetch_add(1, Ordering::Relaxed);
        let (number, place) = (node / Shape::<T>::NODES, node % Shape::<T>::NODES);
        assert!(number < (u32::MAX >> Self::PLACE_BITS) as usize, "a cache cannot hold this many entries");
        let slab = self.slab_or_grow(number);
        // SAFETY: a slab begins with its head, which is aligned in it. An atomic may have any bits, and these are stored
        // before anybody loads them: whoever asks for them has a node of the slab, and each node's carver stores them (the same)
        // before that is used.
        unsafe { slab.cast::<Head>().as_ref() }.number.store(number as u32, Ordering::Relaxed);
        // SAFETY: within the slab.
        let node = unsafe { slab.add(Shape::<T>::node(place)).cast() };
        // SAFETY: within the slab and aligned there; nobody asks for the pair before the node has come to be.
        unsafe { pair_of(node).write(Cold::new()) };
        node
    }

    /// The pair of a node that was carved.
    fn cold(&self, number: u32) -> &Cold {
        // SAFETY: within the slab, and aligned there; initialised when the node was carved, which happened before the
        // number was pushed. Pairs are only ever shared from then on.
        unsafe { pair_of(self.node(number)).as_ref() }
    }

    /// The place of a node that was carved.
    fn node(&self, number: u32) -> NonNull<T> {
        // 0 is none.
        let index = (number - 1) as usize;
        let (chunk, within) = Self::locate(index >> Self::PLACE_BITS);
        // Acquire: pairs with the Release in `slab_or_grow`.
        let chunk = self.chunks.get(chunk).map_or(ptr::null_mut(), |chunk| chunk.load(Ordering::Acquire));
        debug_assert!(!chunk.is_null());
        let place = index & ((1 << Self::PLACE_BITS) - 1);
        // SAFETY: the chunk was made before any of its nodes was carved, which happened before the number was pushed.
        unsafe { NonNull::new_unchecked(chunk.add(within * Shape::<T>::SLAB + Shape::<T>::node(place)).cast()) }
    }

    /// The number of a node of this arena.
    fn number_of(node: NonNull<T>) -> u32 {
        let (slab, place) = Shape::<T>::place_of(node.addr().get());
        let head = ptr::with_exposed_provenance::<Head>(slab);
        // SAFETY: a node's slab begins with its head; the chunk was exposed, and is only shared there. Relaxed: stored by
        // the node's carver, and the node has come from there.
        let number = unsafe { &*head }.number.load(Ordering::Relaxed);
        (number << Self::PLACE_BITS | place as u32) + 1
    }

    /// A slab's chunk, and its place there. Chunks have 1, 1, 2, 4 … slabs, up to the full size.
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
            // Whole huge pages.
            _ => (CHUNK, if self.huge_pages { CHUNK } else { Shape::<T>::SLAB }),
        };
        // SAFETY: powers of two, and far from `isize::MAX`.
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
        // For `cold`, `owned` and `number_of`.
        fresh.as_ptr().expose_provenance();
        if self.huge_pages && layout.size() == CHUNK {
            advise_huge(fresh.as_ptr(), layout.size());
        }
        // Release and Acquire: the chunk is the pointer, and it has no content yet; but whoever has the one is to have what
        // the allocator did for the other.
        match cell.compare_exchange(ptr::null_mut(), fresh.as_ptr(), Ordering::Release, Ordering::Acquire) {
            Ok(_) => fresh,
            Err(other) => {
                // SAFETY: allocated just above with this layout, and nobody has seen it.
                unsafe { dealloc(fresh.as_ptr(), layout) };
                // SAFETY: the CAS failed because it is not null.
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
                // SAFETY: `grow` allocated it with this very layout; `&mut self`: nobody uses its nodes any more.
                unsafe { dealloc(first, self.layout(chunk)) };
            }
        }
    }
}

/// Nodes that are freed, and become free for use together. Those allocated by themselves are freed at once.
pub(crate) struct Freed<'a, T> {
    arena: &'a Arena<T>,
    first: u32,
    last: Option<u32>,
    count: usize,
}

/// The most nodes that are held back until there are more.
const TOGETHER: usize = 64;

impl<T> Freed<'_, T> {
    /// # Safety
    /// `node` came from the arena's [`Arena::allocate`] and is not used again.
    pub(crate) unsafe fn add(&mut self, node: NonNull<T>) {
        if Shape::<T>::SINGLE {
            // SAFETY: handed on; it came from `single`.
            return unsafe { free_single(node) };
        }
        let number = Arena::number_of(node);
        self.arena.cold(number).slot.store(self.first, Ordering::Relaxed);
        self.first = number;
        self.last.get_or_insert(number);
        self.count += 1;
        if self.count == TOGETHER {
            self.push();
        }
    }

    fn push(&mut self) {
        if let Some(last) = self.last.take() {
            self.arena.ends.free.push(self.first, &self.arena.cold(last).slot);
            (self.first, self.count) = (0, 0);
        }
    }
}

impl<T> Drop for Freed<'_, T> {
    fn drop(&mut self) {
        self.push();
    }
}

/// Memory for a node by itself.
fn single<T>() -> NonNull<T> {
    let layout = Shape::<T>::LAYOUT;
    // SAFETY: the layout is not of size zero: there is a pair in it.
    let Some(place) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
    // For `cold` and `owned`.
    place.as_ptr().expose_provenance();
    let place = place.cast();
    // SAFETY: the pair's place within the block, aligned.
    unsafe { pair_of(place).write(Cold::new()) };
    // SAFETY: `place` is a block of that layout, by the allocator's own pointer.
    for extra in unsafe { extras_in_block(place) } {
        // SAFETY: an extra word's place within the block, aligned.
        unsafe { extra.write(Extra::new(0)) };
    }
    place
}

/// # Safety
/// `node` came from [`single`] and is not used again.
unsafe fn free_single<T>(node: NonNull<T>) {
    // SAFETY: by contract.
    let node = unsafe { owned(node) };
    #[cfg(any(loom, shuttle))]
    // SAFETY: all were made with the node, and go with it: atomics of loom and shuttle may own heap state.
    unsafe {
        pair_of(node).drop_in_place();
        extras_in_block(node).into_iter().for_each(|extra| extra.drop_in_place());
    }
    #[cfg(any(loom, shuttle))]
    for i in 0..Shape::<T>::LAYOUT.size() {
        // SAFETY: within the block. Whoever still reads it must not find what it looks for; volatile, or it is left out.
        unsafe { node.as_ptr().cast::<u8>().add(i).write_volatile(0xA5) };
    }
    // SAFETY: by this function's contract the block was allocated by `alloc` with this very layout, and is freed once.
    unsafe { dealloc(node.as_ptr().cast(), Shape::<T>::LAYOUT) };
}
