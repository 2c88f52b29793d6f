//! The cache against models, and under stress: random operations beside a plain map ([`oracle`]),
//! histories that must have an order ([`linearizable`]), each hook of user code that panics
//! ([`panics`]), many threads ([`stress`], [`bell_stress`]), and small scenes for Miri ([`provenance`]).
//!
//! The other files of this folder are test binaries of their own: they include sources as modules of
//! their crate's root, bring an allocator, or compare hit ratios, which other tests' pins change.

#[path = "../common/mod.rs"]
mod common;

mod bell_stress;
mod linearizable;
mod oracle;
mod panics;
mod provenance;
mod stress;
