#![doc = include_str!("../README.md")]

// A map of the source, from the ground up. A file imports from those before it only.
//
//   directives  Cache-Control; vary: which headers select; conditions: If-None-Match and its like
//   settings    what a route sets
//   status      Cache-Status
//   glance, key  what a request has in its headers; host and URI, and the variant
//   verdict     RFC 9111 as functions: may this response be stored, for how long
//   body, stored, failure   what callers share
//   cache, builder          the store
//   route       what a layer decides before any handler is called; a plain hit ends here
//   load        one call of the handler, for all who wait
//   lookup      a request that waits for such a call, or leads it
//   future, layer           tower's side
mod body;
mod builder;
mod cache;
mod conditions;
mod directives;
mod failure;
mod future;
mod glance;
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
