//! A store that processes share: a tier of bellwether-redis.

use super::{Came, Found, limited};
use crate::failure::Failure;
use crate::invalidation::Invalidation;
use crate::key::Key;
use crate::settings::Limits;
use crate::stored::Value;
use crate::wire::ResponseCodec;
use bellwether::{LoadError, Loaded, Outcome};
use bellwether_redis::{SharedError, Source, Tier, WriteError, Written};
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::runtime::Handle;

pub(crate) struct Shared {
    pub(crate) tier: Tier<Key, Arc<Value>>,
    codec: ResponseCodec,
    runtime: Handle,
}

/// A failure with the text that other processes get.
struct Told {
    failure: Arc<Failure>,
    text: String,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Runs a load. A panic is an outcome, too: it is told to all processes, so that it is one call.
async fn without_panic<T>(load: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut load = pin!(load);
    let poll = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| load.as_mut().poll(cx))) {
        Ok(poll) => poll,
        Err(_) => Poll::Ready(Err(Failure::Panicked)),
    });
    poll.await
}

fn counted(loaded: Loaded<Value>) -> Loaded<Arc<Value>> {
    match loaded {
        Loaded::With(value, expiry) => Loaded::With(Arc::new(value), expiry),
        Loaded::Unstored(value) => Loaded::Unstored(Arc::new(value)),
        // The layer's loads give no other.
        _ => Loaded::NotFound,
    }
}

impl Shared {
    pub(crate) fn new(tier: Tier<Key, Arc<Value>>, codec: ResponseCodec, runtime: Handle) -> Self {
        Self { tier, codec, runtime }
    }

    /// Returns the error as a store of one process has it.
    fn own(&self, error: LoadError<SharedError<Told>>) -> LoadError<Failure> {
        match error {
            LoadError::Load(error) => LoadError::Load(match &*error {
                SharedError::Own(told) => told.failure.clone(),
                SharedError::Remote(error) => Arc::new(self.codec.failure(error.text())),
            }),
            LoadError::Overloaded => LoadError::Overloaded,
            LoadError::TimedOut => LoadError::TimedOut,
            LoadError::Reentrant => LoadError::Reentrant,
            _ => LoadError::Abandoned,
        }
    }

    pub(super) async fn ask<F, Fut>(&self, key: &Key, limits: Limits, load: F) -> Result<Came, LoadError<Failure>>
    where
        F: FnOnce(Option<Found>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Loaded<Value>, Failure>> + Send + 'static,
    {
        let request = limited!(self.tier.detached(key), limits);
        let codec = self.codec.clone();
        let load = move |old: Option<Arc<Value>>| {
            let load = load(old.map(Found::Shared));
            async move {
                let told = |failure| Told { text: codec.text_of(&failure), failure: Arc::new(failure) };
                without_panic(load).await.map(counted).map_err(told)
            }
        };
        let answer = request.revalidate_with_async(load).await.map_err(|error| self.own(error))?;
        let outcome = match answer.outcome {
            // It was loaded by another process meanwhile.
            Outcome::FromTier if answer.source == Source::Waited => Outcome::Coalesced,
            outcome => outcome,
        };
        let kept = self.tier.memory().peek(key);
        let stored = kept.is_some_and(|kept| Arc::ptr_eq(&kept, &answer.value));
        Ok(Came { found: Found::Shared(answer.value), outcome, stored })
    }

    /// Begins a write: this process goes by it when this returns.
    fn begin<F>(&self, was_there: bool, write: F) -> Invalidation
    where
        F: Future<Output = Result<Written, WriteError>> + Send + 'static,
    {
        Invalidation::begin(was_there, &self.runtime, write)
    }

    pub(super) fn invalidate(&self, key: Key) -> Invalidation {
        let tier = self.tier.clone();
        self.begin(tier.memory().peek(&key).is_some(), async move { tier.invalidate(&key).await })
    }

    pub(super) fn expire(&self, key: Key) -> Invalidation {
        let tier = self.tier.clone();
        self.begin(tier.memory().peek(&key).is_some(), async move { tier.expire(&key).await })
    }

    pub(super) fn invalidate_tag(&self, tag: String) -> Invalidation {
        let tier = self.tier.clone();
        self.begin(true, async move { tier.invalidate_tag(tag).await })
    }

    pub(super) fn invalidate_all(&self) -> Invalidation {
        let tier = self.tier.clone();
        self.begin(true, async move { tier.invalidate_all().await })
    }
}
