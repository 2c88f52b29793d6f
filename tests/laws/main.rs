//! The laws, one by one, by threads. `tests/modes` runs the main scenarios by every kind of caller.
//!
//! | law | tests |
//! |---|---|
//! | 1. A key has at most one load whose value the cache stores | [`one_flight`] |
//! | 2. Every waiter is answered | [`answered`], [`bell`] |
//! | 3. A dead leader poisons nothing | [`answered`], [`fenced`], [`take_over`] |
//! | 4. No stale value is stored | [`no_stale_sets`] |
//! | 5. A failing source meets no storm of loads | [`no_error_storm`] |
//! | 6. A hit writes nothing that others share | `.ci/step shared_writes`, a build that counts |
//! | 7. Weight and memory are bounded; nothing is lost or freed twice | [`bounded`], [`corners`] |
//! | 8. A key is itself and not its hash | [`identity`] |
//!
//! [`tasks`] and [`tasks_cancel`] hold tasks to the same laws; [`seeds`] has what other caches had to
//! learn. `tests/process` has the laws that need a process of their own: law 7 with a reader that never
//! unpins, and memory that stays flat.

#[path = "../common/mod.rs"]
mod common;

mod answered;
mod bell;
mod bounded;
mod corners;
mod fenced;
mod identity;
mod no_error_storm;
mod no_stale_sets;
mod one_flight;
mod seeds;
mod take_over;
mod tasks;
mod tasks_cancel;
