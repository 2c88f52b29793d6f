//! Parts of `src/sys`, included by path for the tests, and the models of loom, that include what stands on them.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "each of them uses only a part")]

#[path = "../../src/sys/hashed.rs"]
pub(crate) mod hashed;
#[path = "../../src/sys/late_box.rs"]
pub(crate) mod late_box;
#[path = "../../src/sys/memory.rs"]
pub(crate) mod memory;
#[path = "../../src/sys/mutants.rs"]
pub(crate) mod mutants;
#[path = "../../src/sys/segmented.rs"]
pub(crate) mod segmented;
#[path = "../../src/sys/serial.rs"]
pub(crate) mod serial;
#[path = "../../src/sys/stack.rs"]
pub(crate) mod stack;
#[path = "../../src/sys/sync.rs"]
pub(crate) mod sync;
#[path = "../../src/sys/zeroed.rs"]
pub(crate) mod zeroed;
