//! Products by their ids: each is queried once, however many callers ask. In this process's memory,
//! or, with Redis, over all processes.
//!
//! The answer "no such product" is a value, too (`None`), with a shorter time to live. Each value
//! has the ids of the products that it shows as its tags, so that one write ends all that show it.
//!
//! There are no windows for old values here. The response cache has them; with windows at both
//! levels a refreshed response would be made of an old product.

use crate::database::{Database, Product, QueryError};
use crate::settings::Settings;
use bellwether::{Cache, LoadAsync, LoadError, LoadingCache, MetricsObserver, Tags};
use bellwether_redis::{LinkState, TagList, Tier, TierEvent};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A product; `None`: there is none of this id.
pub(crate) type Known = Option<Arc<Product>>;

/// How many products are kept.
const CAPACITY: u64 = 10_000;

/// The loader: a query.
#[derive(Clone)]
pub(crate) struct Query(Database);

impl LoadAsync<u32, Known> for Query {
    type Error = QueryError;

    async fn load(&self, id: &u32) -> Result<Known, QueryError> {
        Ok(self.0.product(*id).await?.map(Arc::new))
    }
}

/// The product query behind its cache. A handle; clones share it.
#[derive(Clone)]
pub(crate) struct Products {
    query: Query,
    kept: Kept,
}

#[derive(Clone)]
enum Kept {
    /// In memory.
    Here(LoadingCache<u32, Known, Query>),
    /// In memory and on a server: one query over all processes.
    Shared(Tier<u32, Known>),
}

/// The reason why there is no answer.
#[derive(Debug)]
pub(crate) enum ProductError {
    /// The query has failed, here or in another process.
    Query(String),
    /// The cache refused to wait or to load.
    Refused,
}

impl fmt::Display for ProductError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Query(why) => f.write_str(why),
            Self::Refused => f.write_str("too busy"),
        }
    }
}

impl<E: fmt::Display + fmt::Debug> From<LoadError<E>> for ProductError {
    fn from(error: LoadError<E>) -> Self {
        match error {
            LoadError::Load(error) => Self::Query(error.to_string()),
            LoadError::TimedOut | LoadError::Overloaded => Self::Refused,
            other => Self::Query(format!("the load came to nothing: {other:?}")),
        }
    }
}

/// Calls `tag` with the ids of all products that a value shows.
fn ids(id: u32, known: &Known, mut tag: impl FnMut(u32)) {
    tag(id);
    known.iter().flat_map(|product| &product.bought_together).for_each(|other| tag(other.id));
}

fn kept_for(known: &Known, negative: Duration) -> Option<Duration> {
    known.is_none().then_some(negative)
}

impl Products {
    /// Builds the cache. Redis need not be there: without it, each process queries for itself.
    pub(crate) async fn open(settings: &Settings, database: Database) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let negative = settings.negative_ttl;
        let query = Query(database);
        let kept = match &settings.redis_url {
            None => Kept::Here(
                Cache::builder()
                    .max_capacity(CAPACITY)
                    .name(&settings.name)
                    .time_to_live(settings.product_ttl)
                    .ttl_with(move |_, known| kept_for(known, negative))
                    .tags_with(|&id, known, tags: &mut Tags<'_>| ids(id, known, |id| tags.add(&id)))
                    .observer(MetricsObserver::new())
                    .record_stats()
                    .loader(query.clone())
                    .build()?,
            ),
            Some(url) => {
                let name = settings.name.clone();
                let tier = Tier::builder(url)
                    .map_err(|error| format!("REDIS_URL: {error}"))?
                    .namespace(&settings.redis_namespace)
                    .time_to_live(settings.product_ttl)
                    .ttl_with(move |_, known| kept_for(known, negative))
                    .tags_with(|&id, known, tags: &mut TagList| ids(id, known, |id| tags.add(id.to_le_bytes())))
                    .max_capacity(CAPACITY)
                    .memory(move |memory| memory.name(&name).observer(MetricsObserver::new()).record_stats())
                    .observer(teller())
                    .build();
                Kept::Shared(tier.await?)
            }
        };
        Ok(Self { query, kept })
    }

    /// Returns the product of an id.
    pub(crate) async fn get(&self, id: u32) -> Result<Known, ProductError> {
        match &self.kept {
            Kept::Here(cache) => Ok(cache.load_async(&id).await?),
            Kept::Shared(tier) => Ok(tier.try_get_with_async(&id, || self.query.load(&id)).await?),
        }
    }

    /// Ends all that shows this product, in all processes, and the loads that have begun.
    pub(crate) async fn invalidate_all_with(&self, id: u32) -> Result<(), ProductError> {
        match &self.kept {
            Kept::Here(cache) => cache.invalidate_tag(&id),
            Kept::Shared(tier) => {
                tier.invalidate_tag(id.to_le_bytes()).await.map_err(|error| ProductError::Query(error.to_string()))?;
            }
        }
        Ok(())
    }

    /// Removes one product, in all processes, and leaves those that show it.
    pub(crate) async fn invalidate(&self, id: u32) -> Result<(), ProductError> {
        match &self.kept {
            Kept::Here(cache) => drop(cache.invalidate(&id)),
            Kept::Shared(tier) => {
                tier.invalidate(&id).await.map_err(|error| ProductError::Query(error.to_string()))?;
            }
        }
        Ok(())
    }

    /// Reports what no event tells, hits and the number of entries, to the recorder.
    pub(crate) fn publish_metrics(&self) {
        match &self.kept {
            Kept::Here(cache) => cache.publish_metrics(),
            Kept::Shared(tier) => tier.memory().publish_metrics(),
        }
    }

    /// Returns where products are kept, for the page.
    pub(crate) fn place(&self) -> &'static str {
        match &self.kept {
            Kept::Here(_) => "memory",
            Kept::Shared(tier) => match tier.link() {
                LinkState::Up { .. } => "memory and Redis",
                LinkState::Connecting => "memory; Redis has not answered yet",
                _ => "memory; the link to Redis is down",
            },
        }
    }

    /// Returns how many values were found on the server. Zero without one.
    pub(crate) fn shared_hits(&self) -> u64 {
        if let Kept::Shared(tier) = &self.kept { tier.stats().shared_hits } else { 0 }
    }
}

/// Returns what tells the person who runs the service of the link's changes. Attempts to connect
/// that fail are told once, until one succeeds.
fn teller() -> impl Fn(&str, &TierEvent) + Send + Sync {
    let failing = AtomicBool::new(false);
    move |_: &str, event: &TierEvent| match event {
        TierEvent::LinkUp { .. } => {
            failing.store(false, Ordering::Relaxed);
            eprintln!("redis: the link is up");
        }
        TierEvent::LinkLost => eprintln!("redis: the link is lost; this process queries for itself until it is back"),
        TierEvent::ConnectFailed { why, .. } => {
            if !failing.swap(true, Ordering::Relaxed) {
                eprintln!("redis: no connection ({why}); trying again until there is one");
            }
        }
        // The page shows the counts.
        TierEvent::Counted { .. } => {}
        other => eprintln!("redis: {other:?}"),
    }
}
