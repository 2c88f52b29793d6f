//! Loading many keys at once.
//!
//! A bulk load works in three steps:
//!
//! 1. It joins or leads the flight of each key, without waiting for any.
//! 2. It loads all keys that it leads by one call of the loader, and publishes their values.
//! 3. Only then does it wait for the loads of others. So no two bulk loads wait for each other.
//!
//! While it waits it may come to lead, because another leader gives up. Then it checks all keys
//! that it waits for, without waiting, and loads those that it leads by now in one call.

mod ask;
mod parts;

use crate::api::error::LoadError;
use crate::api::load::fate::Fate;
#[cfg(feature = "std")]
use crate::api::load::loading_cache::Load;
use crate::api::load::loading_cache::{LoadAsync, LoadingCache, Typed};
use crate::api::load::read_through::Attempt;
use crate::engine::key::ToKey;
#[cfg(feature = "std")]
use crate::engine::outcome::Loaded;
use crate::flight::reentry;
#[cfg(feature = "std")]
use crate::sys::unwind;
#[cfg(feature = "std")]
use alloc::sync::Arc;
use alloc::vec::Vec;
#[cfg(feature = "std")]
use ask::unstored;
use core::convert::Infallible;
use core::future::Future;
use core::hash::{BuildHasher, Hash};
use equivalent::Equivalent;
#[cfg(feature = "std")]
use parts::Led;
use parts::{Alone, Bulk, One, Todo};

impl<K, V, L, S> LoadingCache<K, V, L, S>
where
    K: Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Returns the values of several keys, in their order. One call of the loader
    /// ([`Load::load_all`]) loads the keys that are missing and that no other caller is loading.
    /// For keys that another caller loads, alone or in bulk, this caller waits.
    ///
    /// A key may occur more than once. Whether a load runs on this thread or in the background is
    /// decided for each key as by [`load`](Self::load).
    ///
    /// If another leader gives up, this caller may come to lead keys that it waited for. It loads
    /// these by one call, too.
    ///
    /// # Errors
    /// As [`load`](Self::load), key by key, and:
    ///
    /// * `Abandoned` for a key that the loader gives no answer for.
    /// * `Panicked` if the loader panics, on this thread or in the background. Then no value of its
    ///   call is stored. A key has its old value instead of the error where
    ///   [`stale_if_error`](crate::Builder::stale_if_error) permits that. Callers that wait for one
    ///   of the keys take over.
    #[cfg(feature = "std")]
    pub fn load_all<'q, Q, E>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Result<V, LoadError<E>>>
    where
        Q: 'q + ?Sized + Hash + Equivalent<K> + ToKey<K>,
        L: Load<K, V, Error = E>,
        E: Send + Sync + 'static,
    {
        let mut bulk = self.begin_all(keys);
        let todo = bulk.sort(self, 0..bulk.all.len(), true);
        self.run_all(&mut bulk, todo);
        for place in 0..bulk.all.len() {
            while let One::Going { through, .. } = &mut bulk.all[place] {
                if let Some((waiter, at)) = through.waits() {
                    let woken = waiter.wait_until(at);
                    through.on(woken);
                } else {
                    let todo = bulk.go_on(self, place, true);
                    self.run_all(&mut bulk, todo);
                }
            }
        }
        bulk.results()
    }

    /// As [`load_all`](Self::load_all), for tasks. The loads run in the background, by
    /// [`LoadAsync::load_all`].
    ///
    /// # Errors
    /// As [`load_all`](Self::load_all), key by key.
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

    /// Does the work of [`load_all_async`](Self::load_all_async), with errors that have no type
    /// yet.
    async fn load_all_untyped<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
    ) -> Vec<Result<V, LoadError<Infallible>>>
    where
        Q: 'q + ?Sized + Hash + Equivalent<K> + ToKey<K>,
        L: LoadAsync<K, V>,
    {
        let mut bulk = self.begin_all(keys);
        let mut todo = bulk.sort(self, 0..bulk.all.len(), false);
        for place in 0..bulk.all.len() {
            loop {
                self.spawn_all_async(todo.elsewhere, bulk.fate.clone());
                if let Some(Alone { keys, hashes, places }) = todo.alone {
                    let given = self.ask_alone(keys, hashes).await;
                    bulk.settle_alone(places, Ok(given));
                }
                todo = Todo::nothing();
                let One::Going { through, .. } = &mut bulk.all[place] else { break };
                if let Some((waiter, at)) = through.waits() {
                    let woken = waiter.wait_async(at).await;
                    through.on(woken);
                } else {
                    todo = bulk.go_on(self, place, false);
                }
            }
        }
        bulk.results()
    }

    /// Joins or leads the flight of each key, without waiting.
    fn begin_all<'q, Q, E>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Bulk<'q, K, V, Q, E>
    where
        Q: 'q + ?Sized + Hash + Equivalent<K> + ToKey<K>,
    {
        let keys: Vec<&Q> = keys.into_iter().collect();
        // User code that runs meanwhile must not wait for a flight that this call leads. The call
        // itself may: if a key occurs again, it waits for that key after loading it.
        let (mut all, mut flights) = (Vec::with_capacity(keys.len()), Vec::new());
        for q in &keys {
            let one = match reentry::during(&flights, || self.begin_among(*q, &flights)) {
                Attempt::Hit(value) => One::Done(Ok(value)),
                Attempt::ReadThrough(through) => One::Going { through, tried: false },
            };
            if let One::Going { through, .. } = &one {
                flights.extend(through.flight());
            }
            all.push(one);
        }
        Bulk { keys, all, fate: Fate::default() }
    }

    /// Loads the keys that a bulk load has to load now. Has the spawner run the loads that the
    /// caller need not wait for. Runs the others, and those for the caller alone, on this thread.
    #[cfg(feature = "std")]
    fn run_all<Q>(&self, bulk: &mut Bulk<'_, K, V, Q, L::Error>, todo: Todo<K, V>)
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        L: Load<K, V>,
    {
        self.spawn_all(todo.elsewhere, bulk.fate.clone());
        self.load_here(bulk, todo.here);
        if let Some(alone) = todo.alone {
            let keys: Vec<&K> = alone.keys.iter().collect();
            let ask = || self.ask(&**self.loader(), (&keys, Vec::new()), &alone.hashes, &self.refusals());
            let own = |given: Result<Loaded<V>, Arc<L::Error>>| unstored(given.map_err(LoadError::Load));
            let given = unwind::caught(ask).map(|given| given.into_iter().map(|given| given.map(own)).collect());
            bulk.settle_alone(alone.places, given.map_err(|panic| unwind::text_of(&*panic)));
        }
    }

    /// Loads on this thread the keys that a bulk load leads, and ends their leases.
    #[cfg(feature = "std")]
    fn load_here<Q>(&self, bulk: &mut Bulk<'_, K, V, Q, L::Error>, mut led: Led<K, V>)
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        L: Load<K, V>,
    {
        if led.leases.is_empty() {
            return;
        }
        let (refusals, flights, places) = (self.refusals(), led.flights(), led.places.clone());
        // The old values, in case the loader panics. The leases are dropped while the thread
        // unwinds, which is how a lease learns that its load has panicked.
        let olds = led.olds();
        let load = || {
            led.begin_load();
            let given = reentry::during(&flights, || {
                self.ask(&**self.loader(), (&led.keys(), led.olds()), &led.hashes, &refusals)
            });
            led.end_load();
            (led, given)
        };
        match unwind::caught(load) {
            Ok((led, given)) => {
                let mut given = given.into_iter();
                led.each(|lease, place| {
                    bulk.finish(place, |through| match given.next().flatten() {
                        Some(given) => through.finish_shared(lease, given),
                        None => through.abandon(lease),
                    });
                });
            }
            Err(panic) => {
                let message = unwind::text_of(&*panic);
                for (n, place) in places.into_iter().enumerate() {
                    let old = olds.get(n).cloned().flatten();
                    bulk.finish(place, |through| through.lost_to_panic(old, message.clone()));
                }
            }
        }
    }
}
