#![doc = include_str!("../README.md")]

mod builder;
mod codec;
mod error;
mod flights;
mod held;
mod inner;
mod key;
mod link;
mod queue;
mod scripts;
mod settings;
mod stats;
mod tags;
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
pub use queue::Written;
pub use stats::Stats;
pub use tags::TagList;
pub use tier::{Answer, Tier, TierRequest};
pub use voyage::{Loaded, Source};
