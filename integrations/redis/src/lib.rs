#![doc = include_str!("../README.md")]

mod builder;
mod codec;
mod error;
mod flights;
mod held;
mod inner;
mod key;
mod link;
mod observe;
mod queue;
mod scripts;
mod settings;
mod stats;
mod tags;
mod terms;
mod tier;
mod voyage;
mod wire;

pub use builder::Builder;
#[cfg(feature = "json")]
pub use codec::Json;
#[cfg(feature = "messagepack")]
pub use codec::MessagePack;
#[cfg(feature = "postcard")]
pub use codec::Postcard;
pub use codec::{Codec, CodecError};
pub use error::{BuildError, RemoteError, SharedError, WriteError};
pub use held::Held;
pub use key::SharedKey;
pub use link::{LinkState, TierEvent};
#[cfg(feature = "metrics")]
pub use observe::MetricsObserver;
pub use observe::TierObserver;
#[cfg(feature = "tracing")]
pub use observe::TracingObserver;
pub use queue::Written;
pub use stats::Stats;
pub use tags::TagList;
pub use tier::{Answer, Tier, TierDetached, TierRequest};
pub use voyage::Source;
