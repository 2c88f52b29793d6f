//! The settings of a tier, as its parts read them.

use crate::codec::{Codec, CodecError};
use crate::tags::TagList;
use crate::terms::{Asked, Terms, Windows};
use crate::wire::{self, Stamp};
use bellwether::Expiry;
use std::time::Duration;

type Encode<V> = Box<dyn Fn(&V) -> Result<Vec<u8>, CodecError> + Send + Sync>;
type Decode<V> = Box<dyn Fn(&[u8]) -> Result<V, CodecError> + Send + Sync>;

/// A codec without its type.
pub(crate) struct Coding<V> {
    id: u8,
    encode: Encode<V>,
    decode: Decode<V>,
}

impl<V> Coding<V> {
    pub(crate) fn of<C: Codec<V>>(codec: C) -> Self {
        let codec = std::sync::Arc::new(codec);
        let other = codec.clone();
        Self {
            id: C::ID,
            encode: Box::new(move |value| codec.encode(value)),
            decode: Box::new(move |bytes| other.decode(bytes)),
        }
    }
}

pub(crate) type TagsWith<K, V> = Box<dyn Fn(&K, &V, &mut TagList) + Send + Sync>;
pub(crate) type ExpiryWith<K, V> = Box<dyn Fn(&K, &V) -> Expiry + Send + Sync>;

pub(crate) struct Settings<K, V> {
    pub(crate) coding: Coding<V>,
    pub(crate) schema: u32,
    pub(crate) max_value_bytes: usize,
    pub(crate) ttl: Duration,
    pub(crate) expiry_with: Option<ExpiryWith<K, V>>,
    pub(crate) ttl_jitter: f64,
    pub(crate) memory_ttl: Duration,
    pub(crate) untracked_ttl: Duration,
    pub(crate) stale_while_refresh: Duration,
    pub(crate) stale_if_error: Duration,
    pub(crate) negative_ttl: Duration,
    pub(crate) lead_timeout: Duration,
    pub(crate) wait_timeout: Option<Duration>,
    pub(crate) probe: Duration,
    pub(crate) skip_shared_lock: bool,
    pub(crate) tags_with: Option<TagsWith<K, V>>,
}

/// Why a value is not shared.
#[derive(Debug)]
pub(crate) enum Unshareable {
    Codec(CodecError),
    TooLarge,
}

impl<K, V> Settings<K, V> {
    /// Returns how long past its time a value may be served while it is refreshed.
    pub(crate) fn while_refresh(&self, own: Windows) -> Duration {
        own.while_refresh.unwrap_or(self.stale_while_refresh)
    }

    /// Returns how long past its time a value stands in for an error.
    pub(crate) fn if_error(&self, own: Windows) -> Duration {
        own.if_error.unwrap_or(self.stale_if_error)
    }

    /// Returns how long the server keeps a value past its time to live.
    pub(crate) fn keep(&self, own: Windows) -> Duration {
        self.while_refresh(own).max(self.if_error(own))
    }

    /// Returns the tags of a value as cells. None: there are too many.
    pub(crate) fn cells(&self, key: &K, value: &V) -> Option<Box<[u16]>> {
        let Some(tags_with) = &self.tags_with else { return Some(Box::default()) };
        let mut tags = TagList::default();
        tags_with(key, value, &mut tags);
        tags.into_cells()
    }

    /// Returns the terms of a value; what `asked` does not say, the tier's settings say.
    pub(crate) fn terms(&self, key: &K, value: &V, asked: Asked) -> Terms {
        let own = self.expiry_with.as_ref().map(|expiry_with| Asked::from(expiry_with(key, value)));
        asked.or(own.unwrap_or_default()).settled(self.ttl, |ttl| self.jittered(ttl))
    }

    fn jittered(&self, ttl: Duration) -> Duration {
        if self.ttl_jitter == 0.0 || ttl == Duration::MAX {
            return ttl;
        }
        ttl.mul_f64(1.0 - self.ttl_jitter * fastrand::f64())
    }

    /// Returns the bytes of a value for the server, and its cells.
    pub(crate) fn encode(
        &self,
        key: &K,
        value: &V,
        (began, windows): (Stamp, Windows),
    ) -> Result<(Vec<u8>, Box<[u16]>), Unshareable> {
        let cells = self.cells(key, value).ok_or(Unshareable::TooLarge)?;
        let bytes = (self.coding.encode)(value).map_err(Unshareable::Codec)?;
        if bytes.len() > self.max_value_bytes {
            return Err(Unshareable::TooLarge);
        }
        let stamp = Stamp { cells, ..began };
        Ok((wire::encode(self.coding.id, self.schema, (&stamp, &windows), &bytes), stamp.cells))
    }

    /// Returns the value, its tags and its windows. None: the bytes are of another codec, schema or
    /// layout.
    pub(crate) fn decode(&self, payload: &[u8]) -> Option<(V, Stamp, Windows)> {
        let (stamp, windows, bytes) = wire::decode(self.coding.id, self.schema, payload)?;
        // A codec that panics on bytes that it does not know is no reason to lose the caller.
        let decode = || (self.coding.decode)(bytes).ok();
        let value = std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode)).ok()??;
        Some((value, stamp, windows))
    }
}
