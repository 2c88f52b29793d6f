//! Where responses are kept: in this process, or in a tier that processes share.

#[cfg(feature = "redis")]
mod shared;

#[cfg(feature = "redis")]
pub(crate) use shared::Shared;

use crate::failure::Failure;
use crate::invalidation::Invalidation;
use crate::key::{Key, KeyRef};
use crate::settings::Limits;
use crate::stored::Value;
use bellwether::{Cache, Entry, LoadError, Loaded, Outcome, Stats};
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

pub(crate) enum Store {
    Own(Arc<Cache<Key, Value>>),
    #[cfg(feature = "redis")]
    Shared(Shared),
}

/// A response that a request holds.
pub(crate) enum Found {
    Own(Entry<'static, Key, Value>),
    #[cfg(feature = "redis")]
    Shared(Arc<Value>),
}

impl Deref for Found {
    type Target = Value;
    fn deref(&self) -> &Value {
        match self {
            Self::Own(entry) => entry,
            #[cfg(feature = "redis")]
            Self::Shared(value) => value,
        }
    }
}

/// How a request came by its response.
pub(crate) struct Came {
    pub(crate) found: Found,
    pub(crate) outcome: Outcome,
    /// This process has it in its memory.
    pub(crate) stored: bool,
}

/// Gives a request of either store its limits.
macro_rules! limited {
    ($request:expr, $limits:expr) => {{
        let (mut request, limits): (_, crate::settings::Limits) = ($request, $limits);
        if let Some(timeout) = limits.wait_timeout {
            request = request.wait_timeout(timeout);
        }
        if let Some(timeout) = limits.soft_timeout {
            request = request.soft_timeout(timeout);
        }
        if let Some(timeout) = limits.hard_timeout {
            request = request.hard_timeout(timeout);
        }
        if let Some(timeout) = limits.lead_timeout {
            request = request.lead_timeout(timeout);
        }
        if limits.anew { request.force() } else { request }
    }};
}
#[cfg(feature = "redis")]
use limited;

impl Store {
    /// Looks at a response that is good, without a call.
    pub(crate) fn read<R>(&self, key: &KeyRef<'_>, read: impl FnOnce(&Value) -> R) -> Option<R> {
        match self {
            Self::Own(cache) => cache.get_ref(key).map(|value| read(&value)),
            #[cfg(feature = "redis")]
            Self::Shared(shared) => shared.tier.get(key).map(|value| read(&value)),
        }
    }

    /// Looks at what this process has under a key, however old, without a call. `read` is told
    /// whether it is still good.
    pub(crate) fn read_old<R>(&self, key: &Key, read: impl FnOnce(&Value, bool) -> R) -> Option<R> {
        match self {
            Self::Own(cache) => {
                let (value, age) = cache.get_stale(key, Duration::MAX)?;
                Some(read(&value, age.stale_for.is_none()))
            }
            #[cfg(feature = "redis")]
            Self::Shared(shared) => {
                let (value, age) = shared.tier.memory().get_stale(key, Duration::MAX)?;
                Some(read(&value, age.stale_for.is_none()))
            }
        }
    }

    pub(crate) fn has_fresh(&self, key: &Key) -> bool {
        match self {
            Self::Own(cache) => cache.contains_key(key),
            #[cfg(feature = "redis")]
            Self::Shared(shared) => shared.tier.get(key).is_some(),
        }
    }

    /// Asks for a key's response, which `load` makes if need be, in the background.
    pub(crate) async fn ask<F, Fut>(&self, key: &Key, limits: Limits, load: F) -> Result<Came, LoadError<Failure>>
    where
        F: FnOnce(Option<Found>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Loaded<Value>, Failure>> + Send + 'static,
    {
        match self {
            Self::Own(cache) => {
                let request = limited!(cache.detached(key), limits);
                let load = move |_: &Key, old: Option<Entry<'static, Key, Value>>| load(old.map(Found::Own));
                let (entry, outcome) = request.revalidate_with_async(load).await?;
                let stored = Entry::weight(&entry) > 0;
                Ok(Came { found: Found::Own(entry), outcome, stored })
            }
            #[cfg(feature = "redis")]
            Self::Shared(shared) => shared.ask(key, limits, load).await,
        }
    }

    /// Returns whether other processes have what this store has.
    pub(crate) fn is_shared(&self) -> bool {
        match self {
            Self::Own(_) => false,
            #[cfg(feature = "redis")]
            Self::Shared(_) => true,
        }
    }

    pub(crate) fn invalidate(&self, key: &Key) -> Invalidation {
        match self {
            Self::Own(cache) => Invalidation::here(cache.invalidate(key)),
            #[cfg(feature = "redis")]
            Self::Shared(shared) => shared.invalidate(key.clone()),
        }
    }

    pub(crate) fn expire(&self, key: &Key) -> Invalidation {
        match self {
            Self::Own(cache) => Invalidation::here(cache.expire(key)),
            #[cfg(feature = "redis")]
            Self::Shared(shared) => shared.expire(key.clone()),
        }
    }

    pub(crate) fn invalidate_tag(&self, tag: &str) -> Invalidation {
        match self {
            Self::Own(cache) => {
                cache.invalidate_tag(tag);
                Invalidation::here(true)
            }
            #[cfg(feature = "redis")]
            Self::Shared(shared) => shared.invalidate_tag(tag.to_owned()),
        }
    }

    pub(crate) fn expire_tag(&self, tag: &str) -> Invalidation {
        match self {
            Self::Own(cache) => {
                cache.expire_tag(tag);
                Invalidation::here(true)
            }
            // A tier counts the invalidations of a tag, and has no other word for it.
            #[cfg(feature = "redis")]
            Self::Shared(shared) => shared.invalidate_tag(tag.to_owned()),
        }
    }

    pub(crate) fn invalidate_all(&self) -> Invalidation {
        match self {
            Self::Own(cache) => {
                cache.invalidate_all();
                Invalidation::here(true)
            }
            #[cfg(feature = "redis")]
            Self::Shared(shared) => shared.invalidate_all(),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        match self {
            Self::Own(cache) => cache.stats(),
            #[cfg(feature = "redis")]
            Self::Shared(shared) => shared.tier.memory().stats(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Own(cache) => cache.len(),
            #[cfg(feature = "redis")]
            Self::Shared(shared) => shared.tier.memory().len(),
        }
    }

    pub(crate) fn weight(&self) -> u64 {
        match self {
            Self::Own(cache) => cache.weight(),
            #[cfg(feature = "redis")]
            Self::Shared(shared) => shared.tier.memory().weight(),
        }
    }
}
