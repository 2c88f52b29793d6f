//! The layer over handlers of the tests' own, over axum and over hyper.

mod axum;
mod bodies;
mod failures;
mod faults;
mod requests;
mod rfc9111;
mod settings;
#[cfg(feature = "redis")]
mod shared;
mod support;
mod vary;
mod wire;
