//! The layer over handlers of the tests' own, over axum and over hyper.

mod herd;
mod support;
