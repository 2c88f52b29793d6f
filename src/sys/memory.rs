//! Memory: fetching it ahead, and asking for huge pages.

/// Has the processor fetch what is at an address, while it goes on with other things. Any address will do.
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
    // SAFETY: every x86_64 has SSE, and a prefetch neither faults nor changes anything, whatever the address.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    let _ = address;
}

/// Bytes of a huge page, by which memory for them is laid out.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// Asks the system to back this memory, which it has not touched yet, with huge pages. Where it cannot be asked, or says
/// no, nothing happens.
pub(crate) fn advise_huge(start: *mut u8, size: usize) {
    #[cfg(all(feature = "std", target_os = "linux", not(any(loom, miri))))]
    {
        // Whole pages, from the one that the memory begins in: a large block of the allocator's has a mapping of its own, of
        // which only the beginning is the allocator's.
        const PAGE: usize = 4096;
        let first = start.map_addr(|address| address & !(PAGE - 1));
        let size = (start.addr() + size - first.addr()) & !(PAGE - 1);
        // SAFETY: the range is of this process's memory, and advice for huge pages changes nothing of what is in it. (If
        // pages are larger here, the call fails.)
        unsafe { libc::madvise(first.cast(), size, libc::MADV_HUGEPAGE) };
    }
    let _ = (start, size);
}
