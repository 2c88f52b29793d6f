//! A pair of fences of which one side is nearly free.
//!
//! [`light`] and [`heavy`] order memory as two `fence(SeqCst)` do, between a thread that calls the
//! one and a thread that calls the other. Two calls of `light` order nothing between them. On Linux
//! `heavy` is `membarrier(2)`, `PRIVATE_EXPEDITED` (kernel 4.14). It interrupts each processor that
//! runs a thread of this process, and has it execute a full barrier. A thread that does not run has
//! passed a barrier in the scheduler. So on the other side it is enough that the *compiler* moves
//! nothing across `light`: the interrupt falls either before `light` or after it. (Neither the C++
//! nor the Rust memory model knows of this. C++'s P1202, *Asymmetric fences*, words it as above.
//! folly and liburcu rest on the same call.)
//!
//! Where the kernel refuses the call (an old one, or a sandbox), both are real fences. Most often
//! the process knows that when it builds its first cache. If the kernel refuses the call later
//! (because the process has entered a sandbox), each reader is told by its flag to execute fences
//! from then on. The other side waits once, for [`SETTLED`], before it concludes anything again.
//! [`collector`](super::collector) argues why that is enough.

use crate::sys::sync::{AtomicBool, Ordering, fence};
use core::sync::atomic::compiler_fence;
use core::time::Duration;
use std::sync::OnceLock;
use std::time::Instant;

/// A time many times as long as a store of one processor may take to become visible to the others.
/// (Stores are buffered for nanoseconds. The languages' memory models ask for "a reasonable amount
/// of time".)
const SETTLED: Duration = Duration::from_millis(100);

/// The time at which all readers' flags were set, after the kernel had refused a call that it had
/// granted before.
static REFUSED_SINCE: OnceLock<Instant> = OnceLock::new();
/// True from before the first flag is set.
static REFUSED: AtomicBool = AtomicBool::new(false);

const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

fn membarrier(command: libc::c_int) -> bool {
    if cfg!(any(bellwether_no_membarrier, miri)) {
        return false;
    }
    // The compiler must not move anything across the call, even if it comes to know what the call
    // does.
    compiler_fence(Ordering::SeqCst);
    // SAFETY: the call takes three integers, and touches no memory of this process.
    let done = unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 };
    compiler_fence(Ordering::SeqCst);
    done
}

/// Returns whether the kernel refused the call from the first, so that readers have always had to
/// execute a fence themselves. The first call decides this. It may take some milliseconds, because
/// the kernel waits for all processors.
fn never_granted() -> bool {
    static NEVER: OnceLock<bool> = OnceLock::new();
    *NEVER.get_or_init(|| !(membarrier(REGISTER_PRIVATE_EXPEDITED) && membarrier(PRIVATE_EXPEDITED)))
}

/// Returns whether readers that register now have to execute a fence themselves. A reader asks once
/// it is in the list of readers and has executed a fence. That pairs with the fence in `heavy`. So
/// either the reader is told here, or the thread that walks the list sets its flag.
pub(super) fn readers_fence() -> bool {
    never_granted() || REFUSED.load(Ordering::Relaxed)
}

/// Reads a reader's flag, within [`light`].
#[inline(always)]
pub(super) fn asked(fences: &AtomicBool) -> bool {
    // Relaxed: `light` keeps it between what comes before and what comes after.
    fences.load(Ordering::Relaxed)
}

/// Executes the readers' fence. `fences` tells whether this reader executes a real fence. It is
/// called after all that comes before, and before all that follows.
#[inline(always)]
pub(super) fn light(fences: impl FnOnce() -> bool) {
    compiler_fence(Ordering::SeqCst);
    if fences() {
        fence(Ordering::SeqCst);
    } else {
        compiler_fence(Ordering::SeqCst);
    }
}

/// Executes the other side's fence. `tell` sets the flags of all readers. Returns false if the
/// fence did not happen yet, for a reason that lies with the kernel. Then the caller may conclude
/// nothing.
#[must_use]
pub(super) fn heavy(tell: impl FnOnce()) -> bool {
    if never_granted() {
        fence(Ordering::SeqCst);
        return true;
    }
    if let Some(since) = REFUSED_SINCE.get() {
        if since.elapsed() >= SETTLED {
            fence(Ordering::SeqCst);
            return true;
        }
    }
    // The call fails after a restore that has lost the registration, for want of memory, or in a
    // sandbox that the process has entered since.
    if membarrier(PRIVATE_EXPEDITED) || (membarrier(REGISTER_PRIVATE_EXPEDITED) && membarrier(PRIVATE_EXPEDITED)) {
        // This thread is not refused, though others may be.
        return true;
    }
    if REFUSED_SINCE.get().is_none() {
        REFUSED.store(true, Ordering::Relaxed);
        // Pairs with the fence that a reader executes before it calls `readers_fence`.
        fence(Ordering::SeqCst);
        tell();
        // Once all flags are set, by this thread or by another.
        REFUSED_SINCE.get_or_init(Instant::now);
    }
    false
}
