//! User code that panics when it is told to, and telling its panics from those of a check.

use super::input::Trap;
use crate::parts::{Key, Value, removed};
use bellwether::RemovalCause;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

thread_local! {
    static ARMED: Cell<Option<Trap>> = const { Cell::new(None) };
}

/// What it panics with.
struct Sprung;

pub fn arm(trap: Trap) {
    ARMED.set(Some(trap));
}

pub fn disarm() {
    ARMED.set(None);
}

pub fn is_armed(trap: Trap) -> bool {
    ARMED.get() == Some(trap)
}

/// Not `panic!`, whose hook is libFuzzer's, which aborts.
pub fn spring() -> ! {
    resume_unwind(Box::new(Sprung))
}

fn trap(trap: Trap) {
    if is_armed(trap) {
        disarm();
        spring();
    }
}

pub fn weigher(_: &Key, value: &Value) -> u32 {
    trap(Trap::Weigher);
    value.weight.into()
}

pub fn listener(key: &Key, value: &Value, cause: RemovalCause) {
    removed(key, value, cause);
    trap(Trap::Listener);
}

/// Runs an operation; None: a trap was sprung in it.
pub fn attempt<R>(op: impl FnOnce() -> R) -> Option<R> {
    let before = ARMED.get();
    let done = attempt_unwinding(op);
    assert!(done.is_some() || (before.is_some() && ARMED.get().is_none()), "a panic that nobody is to blame for");
    done
}

/// The same, of what springs without a trap.
pub fn attempt_unwinding<R>(op: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(op)) {
        Ok(done) => Some(done),
        Err(panic) if panic.is::<Sprung>() => None,
        Err(panic) => resume_unwind(panic),
    }
}
