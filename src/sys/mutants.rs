//! What models change: deliberate bugs, weakened orderings, and sizes small enough to be exceeded.

use super::sync::Ordering;

/// Whether the deliberate bug `name` is switched on: models and schedules must see it. Constant `false` outside loom and shuttle.
#[cfg(not(any(loom, shuttle)))]
#[inline(always)]
pub(crate) const fn mutant(_name: &str) -> bool {
    false
}

/// See above: there the environment variable `BELLWETHER_MUTANT` names the bug.
#[cfg(any(loom, shuttle))]
pub(crate) fn mutant(name: &str) -> bool {
    use std::sync::OnceLock;
    static NAME: OnceLock<Option<String>> = OnceLock::new();
    NAME.get_or_init(|| std::env::var("BELLWETHER_MUTANT").ok()).as_deref() == Some(name)
}

/// An ordering that the mutant `name` weakens to `Relaxed`.
#[inline(always)]
pub(crate) fn weakened(name: &str, strong: Ordering) -> Ordering {
    if mutant(name) { Ordering::Relaxed } else { strong }
}

/// AcqRel, of which the mutant `unacquired` leaves the Release, and `unreleased` the Acquire.
#[inline(always)]
#[allow(dead_code, reason = "this file is also included by models that do not need it")]
pub(crate) fn both(unacquired: &str, unreleased: &str) -> Ordering {
    match (mutant(unacquired), mutant(unreleased)) {
        (true, _) => Ordering::Release,
        (_, true) => Ordering::Acquire,
        _ => Ordering::AcqRel,
    }
}

/// A size: as it ships; for shuttle, and stress under sanitizers (`bellwether_shrunk`), small enough to be exceeded all the time;
/// for loom, the least that will do.
pub(crate) const fn sized(ships: usize, shrunk: usize, loom: usize) -> usize {
    if cfg!(loom) {
        loom
    } else if cfg!(any(shuttle, bellwether_shrunk)) {
        shrunk
    } else {
        ships
    }
}
