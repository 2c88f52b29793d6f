//! The things that models change: deliberate bugs, weakened orderings, and sizes small enough to be
//! exceeded.

use super::sync::Ordering;

/// Returns whether the deliberate bug `name` is switched on. Models and schedules must detect it.
/// Constant `false` outside loom and shuttle.
#[cfg(not(any(loom, shuttle)))]
#[inline(always)]
pub(crate) const fn mutant(_name: &str) -> bool {
    false
}

/// Returns whether the deliberate bug `name` is switched on: the environment variable
/// `BELLWETHER_MUTANT` names it.
#[cfg(any(loom, shuttle))]
pub(crate) fn mutant(name: &str) -> bool {
    use std::sync::OnceLock;
    static NAME: OnceLock<Option<String>> = OnceLock::new();
    NAME.get_or_init(|| std::env::var("BELLWETHER_MUTANT").ok()).as_deref() == Some(name)
}

/// Returns `strong`, or `Relaxed` under the mutant `name`.
#[inline(always)]
pub(crate) fn weakened(name: &str, strong: Ordering) -> Ordering {
    if mutant(name) { Ordering::Relaxed } else { strong }
}

/// Returns a size. Builds that ship use `ships`. Shuttle, and stress tests under sanitizers
/// (`bellwether_shrunk`), use `shrunk`, which is small enough to be exceeded all the time. Loom
/// uses `loom`, the least that will do.
pub(crate) const fn sized(ships: usize, shrunk: usize, loom: usize) -> usize {
    if cfg!(loom) {
        loom
    } else if cfg!(any(shuttle, bellwether_shrunk)) {
        shrunk
    } else {
        ships
    }
}
