#![doc = include_str!("../README.md")]

// From the ground up; a file imports from those before it only.
mod body;
mod builder;
mod cache;
mod conditions;
mod directives;
mod failure;
mod future;
mod key;
mod layer;
mod load;
mod lookup;
mod route;
mod settings;
mod status;
mod stored;
mod vary;
mod verdict;

pub use body::Body;
pub use builder::{BuildError, Builder};
pub use cache::ResponseCache;
pub use future::ResponseFuture;
pub use layer::{CacheLayer, CacheService};
