//! Pins where the kernel refuses `membarrier`: this process forbids itself the call before it first pins.
#![cfg(all(feature = "std", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

use bellwether::Cache;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

/// A value that says so if it is read after it was dropped.
struct Watched<'a>(u64, &'a AtomicUsize);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0 = u64::MAX;
        self.1.fetch_add(1, Relaxed);
    }
}

/// A seccomp filter for all threads to come: `membarrier` fails with ENOSYS, all else is allowed.
fn forbid_membarrier() {
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

#[test]
fn readers_fence_where_membarrier_is_refused() {
    forbid_membarrier();
    const ROUNDS: u64 = if cfg!(debug_assertions) { 50_000 } else { 500_000 };
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    let cache = Cache::<u64, Watched<'static>>::new(16);
    thread::scope(|scope| {
        for seed in 0..2 {
            let cache = &cache;
            scope.spawn(move || {
                for i in 0..ROUNDS {
                    cache.insert((i + seed) % 64, Watched(i, &DROPS));
                }
            });
            scope.spawn(move || {
                for i in 0..ROUNDS {
                    if let Some(value) = cache.get_ref(&(i % 64)) {
                        assert_ne!(value.0, u64::MAX, "read after its drop");
                    }
                }
            });
        }
    });
    let before_the_cache = DROPS.load(Relaxed) as u64;
    assert!(before_the_cache > ROUNDS, "what is retired is freed: {before_the_cache} of {}", 2 * ROUNDS);
    drop(cache);
    assert_eq!(DROPS.load(Relaxed) as u64, 2 * ROUNDS);
}
