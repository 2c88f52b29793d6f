//! How a bulk load asks the loader: on the caller's thread, in the background, or for the caller
//! alone.

use super::parts::Led;
use crate::api::error::LoadError;
use crate::api::handle::entry::CoreRef;
use crate::api::load::answers::{Answers, Given, Hashed, Olds, hash_of};
#[cfg(feature = "std")]
use crate::api::load::background::offload;
use crate::api::load::fate::Fate;
use crate::api::load::future::Loading;
#[cfg(feature = "std")]
use crate::api::load::loading_cache::Load;
use crate::api::load::loading_cache::{LoadAsync, LoadingCache};
use crate::engine::outcome::Loaded;
use crate::engine::stats::Event;
use crate::flight::failure::SharedError;
use crate::flight::reentry::{self, FlightId};
use crate::runtime::span;
use crate::sys::sync::untracked::{AtomicUsize, Ordering};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::future::{Future, poll_fn};
use core::hash::BuildHasher;
use core::pin::{Pin, pin};

/// A load for this caller alone, whose values are not stored: its answers, in the order of the
/// keys.
pub(super) type Unstored<V> = Pin<Box<dyn Future<Output = Vec<Option<Result<V, LoadError<Infallible>>>>> + Send>>;

impl<K, V, L, S> LoadingCache<K, V, L, S>
where
    K: Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Asks the loader for all of these keys, and returns its answers.
    #[cfg(feature = "std")]
    pub(super) fn ask<E>(
        &self,
        loader: &dyn Load<K, V, Error = E>,
        (keys, olds): (&[&K], Olds<K, V>),
        hashes: &[u64],
        refusals: &Refusals<K, V>,
    ) -> Given<V, E>
    where
        E: Send + Sync + 'static,
    {
        let hasher = self.hasher();
        let hash = |q: &dyn Hashed| hash_of(hasher, q);
        let mut answers = Answers::new((keys, olds), hashes, &hash, &refusals.refused);
        loader.load_all(keys, &mut answers);
        answers.given()
    }

    /// As `ask`, as a task. The loader's future is polled as the load of `flights`.
    async fn ask_async(
        &self,
        (keys, olds): (&[&K], Olds<K, V>),
        hashes: &[u64],
        flights: &[FlightId],
        refusals: &Refusals<K, V>,
    ) -> Given<V, L::Error>
    where
        L: LoadAsync<K, V>,
    {
        let hasher = self.hasher();
        let hash = |q: &dyn Hashed| hash_of(hasher, q);
        let mut answers = Answers::new((keys, olds), hashes, &hash, &refusals.refused);
        {
            let loading = reentry::during(flights, || self.loader().load_all(keys, &mut answers));
            Loading::new(flights, pin!(Some(loading))).await;
        }
        answers.given()
    }

    /// Has the spawner run a load as blocking work, if there is any.
    #[cfg(feature = "std")]
    pub(super) fn spawn_all(&self, led: Led<K, V>, fate: Fate)
    where
        L: Load<K, V>,
    {
        if !led.leases.is_empty() {
            self.spawn_blocking(led, fate, |this| &**this.loader());
        }
    }

    /// Has the spawner run a load by this blocking loader.
    #[cfg(feature = "std")]
    fn spawn_blocking<E>(&self, mut led: Led<K, V>, fate: Fate, loader: fn(&Self) -> &dyn Load<K, V, Error = E>)
    where
        L: Send + Sync + 'static,
        E: Send + Sync + 'static,
    {
        let this = self.clone();
        self.core().config.spawner().spawn_blocking(Box::new(span::of_caller(move || {
            let refusals = this.refusals();
            led.begin_load();
            let ask = || fate.of(|| this.ask(loader(&this), (&led.keys(), led.olds()), &led.hashes, &refusals));
            let given = reentry::during(&led.flights(), ask);
            led.end_load();
            fate.returned();
            led.deliver(given);
        })));
    }

    /// Has the spawner run a load as a task, if there is any.
    pub(super) fn spawn_all_async(&self, mut led: Led<K, V>, fate: Fate)
    where
        L: LoadAsync<K, V>,
    {
        if led.leases.is_empty() {
            return;
        }
        #[cfg(feature = "std")]
        if self.loader().blocking().is_some() {
            return self.spawn_blocking(led, fate, blocking);
        }
        let this = self.clone();
        self.core().config.spawner().spawn(Box::pin(span::task_of_caller(async move {
            let refusals = this.refusals();
            led.begin_load();
            let given = {
                let (keys, flights) = (led.keys(), led.flights());
                let mut asked = pin!(this.ask_async((&keys, led.olds()), &led.hashes, &flights, &refusals));
                poll_fn(|cx| fate.of(|| asked.as_mut().poll(cx))).await
            };
            led.end_load();
            fate.returned();
            led.deliver(given);
        })));
    }

    /// Loads, as a task, keys whose values are not stored. Their errors get a type at the very end:
    /// see [`Typed`].
    pub(super) fn ask_alone(&self, keys: Vec<K>, hashes: Vec<u64>) -> Unstored<V>
    where
        L: LoadAsync<K, V>,
    {
        let this = self.clone();
        Box::pin(async move {
            #[cfg(feature = "std")]
            if this.loader().blocking().is_some() {
                return this.ask_alone_blocking(keys, hashes).await;
            }
            let refusals = this.refusals();
            let keys: Vec<&K> = keys.iter().collect();
            let given = this.ask_async((&keys, Vec::new()), &hashes, &[], &refusals).await;
            untyped(given)
        })
    }

    /// As [`ask_alone`](Self::ask_alone), by a blocking loader.
    #[cfg(feature = "std")]
    fn ask_alone_blocking(&self, keys: Vec<K>, hashes: Vec<u64>) -> Unstored<V>
    where
        L: LoadAsync<K, V>,
    {
        let (this, count) = (self.clone(), keys.len());
        let given = offload(self.core().config.spawner(), move || {
            let keys: Vec<&K> = keys.iter().collect();
            untyped(this.ask(blocking(&this), (&keys, Vec::new()), &hashes, &this.refusals()))
        });
        let lost = move |why: LoadError<Infallible>| (0..count).map(|_| Some(Err(why.clone()))).collect();
        Box::pin(async move { given.await.unwrap_or_else(lost) })
    }

    pub(super) fn refusals(&self) -> Refusals<K, V> {
        Refusals { core: self.cache().kept(), refused: AtomicUsize::new(0) }
    }
}

/// Gives the errors of a load for one caller alone the type that all tasks wait with.
fn untyped<V, E: Send + Sync + 'static>(given: Given<V, E>) -> Vec<Option<Result<V, LoadError<Infallible>>>> {
    let foreign = |error: Arc<E>| LoadError::of_flight(Some(error as SharedError));
    given.into_iter().map(|given| given.map(|given| unstored(given.map_err(foreign)))).collect()
}

/// Returns the blocking loader of a cache that has one for tasks.
#[cfg(feature = "std")]
fn blocking<K, V, L: LoadAsync<K, V>, S>(cache: &LoadingCache<K, V, L, S>) -> &dyn Load<K, V, Error = L::Error> {
    cache.loader().blocking().unwrap_or_else(|| unreachable!("a blocking loader was asked for"))
}

/// Returns the result of a load whose value is not stored.
pub(super) fn unstored<V, E>(given: Result<Loaded<V>, LoadError<E>>) -> Result<V, LoadError<E>> {
    given?.into_value().map_err(LoadError::from)
}

/// Counts the answers of a load that were refused. When it is dropped, after the load, the cache's
/// statistics and the observer get them.
pub(super) struct Refusals<K: 'static, V: 'static> {
    core: CoreRef<'static, K, V>,
    refused: AtomicUsize,
}

impl<K: 'static, V: 'static> Drop for Refusals<K, V> {
    fn drop(&mut self) {
        // Relaxed: the load is over and its `Answers` are gone, so each thread that counted has
        // synchronised with this one.
        let refused = self.refused.load(Ordering::Relaxed);
        self.core.get().count_many(Event::UnaskedAnswer, refused);
    }
}
