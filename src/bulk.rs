//! Loading many keys at once.
//!
//! A bulk load gets on board at each key first, without waiting for any. What it leads is loaded by one call and published, and
//! only then does it wait for what others load: so no two of them wait for each other.

#[cfg(feature = "std")]
use crate::detached::run_detached;
use crate::detached::run_detached_async;
use crate::engine::config::Limits;
use crate::error::LoadError;
use crate::flight::reentry::{self, FlightId};
use crate::form::Cloned;
use crate::future::Loading;
use crate::key::ToKey;
use crate::lease::Lease;
#[cfg(feature = "std")]
use crate::loading::Load;
use crate::loading::{LoadAsync, LoadingCache, Typed};
use crate::through::{Begun, deliver, told};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::future::Future;
use core::hash::{BuildHasher, Hash};
use core::pin::pin;
use equivalent::Equivalent;

type Leases<K, V> = Vec<Lease<'static, K, V>>;

impl<K, V, L, S> LoadingCache<K, V, L, S>
where
    K: Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The values of several keys, in their order. Those that are missing, and that nobody else is loading, are loaded by one call of
    /// the loader ([`Load::load_all`]); with those that somebody loads, alone or in bulk, this caller waits for them.
    ///
    /// A key may come more than once. Where it is loaded, and its errors: as [`load`](Self::load), key by key.
    ///
    /// # Panics
    /// If the loader does, on this thread: nothing of its call is stored then, and those who wait take over.
    #[cfg(feature = "std")]
    pub fn load_all<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Result<V, LoadError<L::Error>>>
    where
        Q: 'q + ?Sized + Hash + Equivalent<K> + ToKey<K>,
        L: Load<K, V>,
    {
        let (keys, mut begun, flights) = self.begin_all(keys);
        let (mut here, mut places, mut elsewhere) = (Vec::new(), Vec::new(), Vec::new());
        for (place, begun) in begun.iter_mut().enumerate() {
            let Begun::Through(through) = begun else { continue };
            match through.lead() {
                Some(lease) if through.must_wait(&lease) => {
                    here.push(lease);
                    places.push(place);
                }
                Some(lease) => through.hand_on(lease, |lease, _| elsewhere.push(lease)),
                None => {}
            }
        }
        self.spawn_all(elsewhere);
        let mut results: Vec<Option<_>> = keys.iter().map(|_| None).collect();
        reentry::during(&flights, || {
            let all = if here.is_empty() { Vec::new() } else { call(&here, |keys| self.loader().load_all(keys)) };
            let mut all = all.into_iter();
            for (lease, place) in here.into_iter().zip(places) {
                let Begun::Through(through) = &begun[place] else { continue };
                results[place] = Some(match all.next() {
                    Some(result) => through.land(lease, told(result)),
                    None => through.abandon(lease),
                });
            }
        });
        let rest = begun.into_iter().zip(keys).zip(results);
        rest.map(|((begun, q), result)| match (result, begun) {
            (Some(result), _) => result,
            (None, Begun::Hit(value)) => Ok(value),
            (None, Begun::Through(through)) => {
                let job = self.job(q);
                run_detached(through, true, || job.run())
            }
        })
        .collect()
    }

    /// As [`load_all`](Self::load_all), for tasks; by [`LoadAsync::load_all`], in the background.
    ///
    /// # Errors
    /// As [`load`](Self::load), key by key.
    ///
    /// # Cancellation
    /// The load goes on.
    pub fn load_all_async<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
    ) -> impl Future<Output = Vec<Result<V, LoadError<L::Error>>>>
    where
        Q: 'q + ?Sized + Hash + Equivalent<K> + ToKey<K>,
        L: LoadAsync<K, V>,
    {
        Typed::<_, K, V, L>::new(self.load_all_untyped(keys))
    }

    async fn load_all_untyped<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
    ) -> Vec<Result<V, LoadError<Infallible>>>
    where
        Q: 'q + ?Sized + Hash + Equivalent<K> + ToKey<K>,
        L: LoadAsync<K, V>,
    {
        let (keys, mut begun, _) = self.begin_all(keys);
        let mut leases = Vec::new();
        for begun in &mut begun {
            let Begun::Through(through) = begun else { continue };
            if let Some(lease) = through.lead() {
                through.hand_on(lease, |lease, _| leases.push(lease));
            }
        }
        spawn_all_async(self.loader(), leases, self.core().config.limits);
        let mut results = Vec::with_capacity(begun.len());
        for (q, begun) in keys.into_iter().zip(begun) {
            results.push(match begun {
                Begun::Hit(value) => Ok(value),
                Begun::Through(through) => {
                    let job = self.job(q);
                    run_detached_async(|| through, job).await
                }
            });
        }
        results
    }

    /// Gets on board at each key; with the flights that it leads. User code that runs meanwhile, and until all of these have
    /// ended, must not wait for them.
    #[allow(clippy::type_complexity, reason = "it is taken apart on the spot")]
    fn begin_all<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
    ) -> (Vec<&'q Q>, Vec<Begun<'static, 'q, K, V, Q, Cloned>>, Vec<FlightId>)
    where
        Q: 'q + ?Sized + Hash + Equivalent<K> + ToKey<K>,
    {
        let keys: Vec<&Q> = keys.into_iter().collect();
        let (mut begun, mut flights) = (Vec::with_capacity(keys.len()), Vec::new());
        for q in &keys {
            let mut one = reentry::during(&flights, || self.begin(*q));
            if matches!(&one, Begun::Through(through) if through.is_reentrant()) {
                // A key that comes again: this call waits for itself, once it has loaded it.
                one = self.begin(*q);
            }
            if let Begun::Through(through) = &one {
                flights.extend(through.flight());
            }
            begun.push(one);
        }
        (keys, begun, flights)
    }

    #[cfg(feature = "std")]
    fn spawn_all(&self, leases: Leases<K, V>)
    where
        L: Load<K, V>,
    {
        if leases.is_empty() {
            return;
        }
        let (loader, limits) = (self.loader().clone(), self.core().config.limits);
        self.core().config.spawner().spawn_blocking(Box::new(move || {
            let all = call(&leases, |keys| loader.load_all(keys));
            deliver_all(leases, all, &limits);
        }));
    }
}

fn spawn_all_async<K, V, L>(loader: &Arc<L>, leases: Leases<K, V>, limits: Limits)
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    L: LoadAsync<K, V>,
{
    let Some(first) = leases.first() else { return };
    let (core, loader) = (first.core().clone(), loader.clone());
    core.get().config.spawner().spawn(Box::pin(async move {
        let all = {
            let flights: Vec<FlightId> = leases.iter().map(Lease::flight).collect();
            let keys: Vec<&K> = leases.iter().map(Lease::key).collect();
            let loading = reentry::during(&flights, || loader.load_all(&keys));
            Loading::new(&flights, pin!(Some(loading))).await
        };
        deliver_all(leases, all, &limits);
    }));
}

/// Calls a loader for all that is led.
#[cfg(feature = "std")]
fn call<K, V, R>(leases: &[Lease<'static, K, V>], load: impl FnOnce(&[&K]) -> R) -> R {
    let flights: Vec<FlightId> = leases.iter().map(Lease::flight).collect();
    let keys: Vec<&K> = leases.iter().map(Lease::key).collect();
    reentry::during(&flights, || load(&keys))
}

/// Ends all leases with what was loaded for them.
fn deliver_all<K, V, E>(leases: Leases<K, V>, all: Vec<Result<V, E>>, limits: &Limits)
where
    E: Send + Sync + 'static,
{
    let (flights, mut all) = (leases.iter().map(Lease::flight).collect::<Vec<_>>(), all.into_iter());
    reentry::during(&flights, || {
        for lease in leases {
            match all.next() {
                Some(result) => deliver(lease, told(result), limits),
                None => lease.fail(),
            }
        }
    });
}
