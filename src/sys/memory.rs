//! Memory: prefetching, and huge pages.

/// Prefetches the cache line at an address. The processor goes on meanwhile. Any address will do.
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
    // SAFETY: every x86_64 has SSE. A prefetch neither faults nor changes anything, at any address.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    let _ = address;
}

/// Takes the cache line at an address for this processor, which is about to read it and then write
/// to it. So the line moves once, where it would first come for the read, and then be taken from
/// the other processors that have it. Not for a line that others only read: they would lose it. Any
/// address will do.
///
/// Where the processor has no such prefetch, this does nothing, or only what [`prefetch`] does.
#[inline(always)]
#[cfg_attr(bellwether_count, track_caller)]
pub(crate) fn prefetch_to_write<T>(address: *const T) {
    // (The intrinsic becomes a prefetch for reading, unless the build names a processor that has
    // this instruction. Intel's have it since 2014, and execute it as a no-op since 2006. AMD's
    // have always had it. Only the first Pentium 4 with 64 bits do not know it.)
    #[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
    // SAFETY: this neither faults nor changes anything, at any address.
    unsafe {
        core::arch::asm!("prefetchw [{}]", in(reg) address.addr(), options(nomem, nostack, preserves_flags));
    }
    #[cfg(all(target_arch = "aarch64", not(any(loom, miri))))]
    // SAFETY: as above.
    unsafe {
        core::arch::asm!("prfm pstl1keep, [{}]", in(reg) address.addr(), options(nomem, nostack, preserves_flags));
    }
    #[cfg(bellwether_count)]
    super::counted::take(address.addr());
    let _ = address;
}

/// The size of a huge page in bytes, and the alignment of memory for them.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// Gives the whole pages within this memory back to the system. They read as zero when they are
/// next touched. Does nothing on a system that has no such call, or that refuses.
///
/// # Safety
/// The memory is of the global allocator, and of atomics that may become zero at any time.
pub(crate) unsafe fn give_back(start: *mut u8, size: usize) {
    #[cfg(all(feature = "std", target_os = "linux", not(any(loom, shuttle, miri))))]
    {
        // The largest page that systems have: the kernel would round the end of a smaller one up,
        // beyond this memory.
        const PAGE: usize = 64 << 10;
        let before = start.addr().wrapping_neg() & (PAGE - 1);
        let whole = size.saturating_sub(before) & !(PAGE - 1);
        if whole != 0 {
            // SAFETY: the range lies within the memory, and consists of whole pages. It is private
            // memory of this process, as allocators give it, so its pages become zero, which the
            // contract permits.
            unsafe { libc::madvise(start.add(before).cast(), whole, libc::MADV_DONTNEED) };
        }
    }
    let _ = (start, size);
}

/// Asks the system to back this memory, which it has not touched yet, with huge pages. Does nothing
/// on a system that has no such call, or that refuses.
pub(crate) fn advise_huge(start: *mut u8, size: usize) {
    #[cfg(all(feature = "std", target_os = "linux", not(any(loom, miri))))]
    {
        // Whole pages, from the one in which the memory begins. The allocator gives a large block a
        // mapping of its own, of which only the beginning belongs to the allocator.
        const PAGE: usize = 4096;
        let first = start.map_addr(|address| address & !(PAGE - 1));
        let size = (start.addr() + size - first.addr()) & !(PAGE - 1);
        // SAFETY: the range is of this process's memory, and advice for huge pages does not change
        // its content. (Where pages are larger, the call fails.)
        unsafe { libc::madvise(first.cast(), size, libc::MADV_HUGEPAGE) };
    }
    let _ = (start, size);
}
