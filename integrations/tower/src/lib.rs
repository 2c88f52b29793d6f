#![doc = include_str!("../README.md")]

// A map of the source, from the ground up. A file imports from those before it only.
//
//   directives  Cache-Control; vary: which headers select; conditions: If-None-Match and its like
//   settings    what a route sets
//   status      Cache-Status
//   glance, key  what a request has in its headers; host and URI, and the variant
//   verdict     RFC 9111 as functions: may this response be stored, for how long
//   body, stored, failure   what callers share; wire: as bytes, for other processes
//   invalidation, store     where it is kept: in this process, or in a tier of several
//   cache, builder, tier    the store as its users see it, and how it is built
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
mod invalidation;
mod key;
mod layer;
mod load;
mod lookup;
mod route;
mod settings;
mod status;
mod store;
mod stored;
#[cfg(feature = "redis")]
mod tier;
mod vary;
mod verdict;
#[cfg(feature = "redis")]
mod wire;

pub use body::Body;
pub use builder::{BuildError, Builder};
pub use cache::ResponseCache;
pub use future::ResponseFuture;
pub use invalidation::{Invalidation, InvalidationError, Reach};
pub use layer::{CacheLayer, CacheService};
#[cfg(feature = "redis")]
pub use tier::RedisTier;
