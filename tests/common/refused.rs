//! A kernel that refuses `membarrier`, and values that say so if they are read too late.
#![cfg(all(feature = "std", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A value that says so if it is read after it was dropped.
pub(crate) struct Watched<'a>(pub(crate) u64, pub(crate) &'a AtomicUsize);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0 = u64::MAX;
        self.1.fetch_add(1, Relaxed);
    }
}

/// A seccomp filter for this thread, and those that it starts from now on: `membarrier` fails with ENOSYS, all else is allowed.
pub(crate) fn forbid_membarrier() {
    let statement = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let refused = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    let mut filter = [
        // The number of the call is the first field of what the filter is given.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_membarrier as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, refused),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: both calls only read their arguments, and `program` with its filter lives until they return.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
        assert_eq!(libc::syscall(libc::SYS_membarrier, 0, 0, 0), -1, "it is refused");
    }
}
