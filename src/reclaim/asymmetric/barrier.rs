//! A pair of fences of which one side is nearly free.
//!
//! [`light`] and [`heavy`] order memory as two `fence(SeqCst)` do, between a thread that calls the one and a thread that calls
//! the other; two calls of `light` order nothing between them. On Linux `heavy` is `membarrier(2)`, `PRIVATE_EXPEDITED`
//! (kernel 4.14): it interrupts each processor that runs a thread of this process and has it execute a full barrier,
//! and whoever does not run has passed one in the scheduler. So for the other side it is enough that the *compiler* moves nothing
//! across `light`: wherever the interrupt falls, it falls before or after it. (Neither the C++ nor the Rust memory model knows
//! of this; C++'s P1202, *Asymmetric fences*, words it as above. folly and liburcu rest on the same call.)
//!
//! Where the kernel refuses the call (an old one, or a sandbox) both are real fences; which it is, is settled once a process, when
//! its first cache is built. A sandbox that forbids the call is to be entered before that: afterwards nothing that is retired can be
//! freed, and caches stop keeping what is new.

use crate::sync::{Ordering, fence};
use core::sync::atomic::compiler_fence;
use std::sync::OnceLock;

const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

fn membarrier(command: libc::c_int) -> bool {
    if cfg!(any(bellwether_no_membarrier, miri)) {
        return false;
    }
    // The compiler must not move anything across the call, whatever it comes to know of it.
    compiler_fence(Ordering::SeqCst);
    // SAFETY: the call takes three integers, and touches no memory of ours.
    let done = unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 };
    compiler_fence(Ordering::SeqCst);
    done
}

/// Whether readers have to execute a fence themselves. Settled by the first call, which may take some milliseconds: the kernel
/// waits for all processors.
pub(super) fn readers_fence() -> bool {
    static REFUSED: OnceLock<bool> = OnceLock::new();
    *REFUSED.get_or_init(|| !(membarrier(REGISTER_PRIVATE_EXPEDITED) && membarrier(PRIVATE_EXPEDITED)))
}

/// The readers' side; `fences` is what [`readers_fence`] says.
#[inline(always)]
pub(super) fn light(fences: bool) {
    if fences {
        fence(Ordering::SeqCst);
    } else {
        compiler_fence(Ordering::SeqCst);
    }
}

/// The other side. False: it did not happen, which is no reader's fault, and nothing may be concluded.
#[must_use]
pub(super) fn heavy() -> bool {
    if readers_fence() {
        fence(Ordering::SeqCst);
        return true;
    }
    // It fails for want of memory, after a restore that has lost the registration, or in a sandbox that was entered since.
    membarrier(PRIVATE_EXPEDITED) || (membarrier(REGISTER_PRIVATE_EXPEDITED) && membarrier(PRIVATE_EXPEDITED))
}
