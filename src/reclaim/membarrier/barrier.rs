//! A pair of fences of which one side is nearly free.
//!
//! [`light`] and [`heavy`] order memory as two `fence(SeqCst)` do, between a thread that calls the one and a thread that calls
//! the other; two calls of `light` order nothing between them. On Linux `heavy` is `membarrier(2)`, `PRIVATE_EXPEDITED`
//! (kernel 4.14): it interrupts each processor that runs a thread of this process and has it execute a full barrier,
//! and whoever does not run has passed one in the scheduler. So for the other side it is enough that the *compiler* moves nothing
//! across `light`: wherever the interrupt falls, it falls before or after it. (Neither the C++ nor the Rust memory model knows
//! of this; C++'s P1202, *Asymmetric fences*, words it as above. folly and liburcu rest on the same call.)
//!
//! Where the kernel refuses the call (an old one, or a sandbox) both are real fences. Most often that is known when the process's
//! first cache is built. If the call is refused later (a sandbox that was entered since), readers are told to fence
//! from then on, by a flag of each, and the other side waits once, for [`SETTLED`], before it concludes anything again. It is
//! argued in [`collector`](super::collector) why that is enough.

use crate::sys::sync::{AtomicBool, Ordering, fence};
use core::sync::atomic::compiler_fence;
use core::time::Duration;
use std::sync::OnceLock;
use std::time::Instant;

/// How long a store of one processor may take to be seen by the others, many times over. (They are buffered for nanoseconds.
/// The languages' memory models ask for "a reasonable amount of time".)
const SETTLED: Duration = Duration::from_millis(100);

/// The call was refused after it had been granted; since then all readers' flags are set.
static REFUSED_SINCE: OnceLock<Instant> = OnceLock::new();
/// The same, from before the first flag is set.
static REFUSED: AtomicBool = AtomicBool::new(false);

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

/// Whether readers had to execute a fence themselves from the first. Settled by the first call, which may take some
/// milliseconds: the kernel waits for all processors.
fn never_granted() -> bool {
    static NEVER: OnceLock<bool> = OnceLock::new();
    *NEVER.get_or_init(|| !(membarrier(REGISTER_PRIVATE_EXPEDITED) && membarrier(PRIVATE_EXPEDITED)))
}

/// Whether readers that register now have to execute a fence themselves. They ask once they are in the list of readers and have
/// executed one: it pairs with the one in `heavy`, so either they are told here, or their flag is set by who walks the list.
pub(super) fn readers_fence() -> bool {
    never_granted() || REFUSED.load(Ordering::Relaxed)
}

/// A reader's flag, which it looks at within [`light`].
#[inline(always)]
pub(super) fn asked(fences: &AtomicBool) -> bool {
    // Relaxed: see `light` for what comes before and after it.
    fences.load(Ordering::Relaxed)
}

/// The readers' side. `fences`, which is asked after all that comes before, and before all that follows: whether this reader
/// executes a fence itself.
#[inline(always)]
pub(super) fn light(fences: impl FnOnce() -> bool) {
    compiler_fence(Ordering::SeqCst);
    if fences() {
        fence(Ordering::SeqCst);
    } else {
        compiler_fence(Ordering::SeqCst);
    }
}

/// The other side. `tell` sets the flags of all readers. False: it did not happen yet, which is no reader's fault, and nothing
/// may be concluded.
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
    // It fails after a restore that has lost the registration, for want of memory, or in a sandbox that was entered since.
    if membarrier(PRIVATE_EXPEDITED) || (membarrier(REGISTER_PRIVATE_EXPEDITED) && membarrier(PRIVATE_EXPEDITED)) {
        // Of a thread that is not refused, while others are.
        return true;
    }
    if REFUSED_SINCE.get().is_none() {
        REFUSED.store(true, Ordering::Relaxed);
        // See `readers_fence`.
        fence(Ordering::SeqCst);
        tell();
        // Once they are all set: by whichever thread.
        REFUSED_SINCE.get_or_init(Instant::now);
    }
    false
}
