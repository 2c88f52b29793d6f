//! Loads and waits on tokio, on smol, and on threads beside them. A package of its own, so that no
//! other test compiles a runtime. `tests/modes` is the package's other test.

#[path = "../common/mod.rs"]
mod common;

mod detached_threads;
mod detached_tokio;
mod tokio_runtime;
