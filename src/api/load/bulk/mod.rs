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

mod parts;

use crate::api::error::LoadError;
use crate::api::handle::entry::CoreRef;
#[cfg(feature = "std")]
use crate::api::handle::entry::Entry;
#[cfg(feature = "std")]
use crate::api::handle::lease::Lease;
use crate::api::load::answers::{Answers, Given, Hashed, hash_of};
use crate::api::load::fate::Fate;
use crate::api::load::future::Loading;
#[cfg(feature = "std")]
use crate::api::load::loading_cache::Load;
use crate::api::load::loading_cache::{LoadAsync, LoadingCache, Typed};
use crate::api::load::read_through::Attempt;
use crate::engine::key::ToKey;
#[cfg(feature = "std")]
use crate::engine::outcome::Loaded;
use crate::engine::stats::Event;
use crate::flight::failure::SharedError;
use crate::flight::reentry::{self, FlightId};
use crate::runtime::span;
use crate::sys::sync::untracked::{AtomicUsize, Ordering};
#[cfg(feature = "std")]
use crate::sys::unwind;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::future::{Future, poll_fn};
use core::hash::{BuildHasher, Hash};
use core::pin::{Pin, pin};
use equivalent::Equivalent;
use parts::{Alone, Bulk, Led, One, Todo};

/// A load for this caller alone, whose values are not stored: its answers, in the order of the
/// keys.
type Unstored<V> = Pin<Box<dyn Future<Output = Vec<Option<Result<V, LoadError<Infallible>>>>> + Send>>;

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
    pub fn load_all<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Result<V, LoadError<L::Error>>>
    where
        Q: 'q + ?Sized + Hash + Equivalent<K> + ToKey<K>,
        L: Load<K, V>,
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
            let ask = || self.ask(&alone.keys.iter().collect::<Vec<_>>(), &alone.hashes, &self.refusals());
            let own = |given: Result<V, Arc<L::Error>>| given.map_err(LoadError::Load);
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
        let olds: Vec<Option<Entry<'static, K, V>>> = led.leases.iter().map(Lease::old_entry).collect();
        let load = || {
            led.begin_load();
            let given = reentry::during(&flights, || self.ask(&led.keys(), &led.hashes, &refusals));
            led.end_load();
            (led, given)
        };
        match unwind::caught(load) {
            Ok((led, given)) => {
                let mut given = given.into_iter();
                led.each(|lease, place| {
                    bulk.finish(place, |through| match given.next().flatten() {
                        Some(given) => through.finish_shared(lease, given.map(Loaded::New)),
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

    /// Asks the loader for all of these keys, and returns its answers.
    #[cfg(feature = "std")]
    fn ask(&self, keys: &[&K], hashes: &[u64], refusals: &Refusals<K, V>) -> Given<V, L::Error>
    where
        L: Load<K, V>,
    {
        let hash = |q: &dyn Hashed| self.hash_erased(q);
        let mut answers = Answers::new(keys, hashes, &hash, &refusals.refused);
        self.loader().load_all(keys, &mut answers);
        answers.given()
    }

    /// As `ask`, as a task. The loader's future is polled as the load of `flights`.
    async fn ask_async(
        &self,
        keys: &[&K],
        hashes: &[u64],
        flights: &[FlightId],
        refusals: &Refusals<K, V>,
    ) -> Given<V, L::Error>
    where
        L: LoadAsync<K, V>,
    {
        let hash = |q: &dyn Hashed| self.hash_erased(q);
        let mut answers = Answers::new(keys, hashes, &hash, &refusals.refused);
        {
            let loading = reentry::during(flights, || self.loader().load_all(keys, &mut answers));
            Loading::new(flights, pin!(Some(loading))).await;
        }
        answers.given()
    }

    /// Has the spawner run a load as blocking work, if there is any.
    #[cfg(feature = "std")]
    fn spawn_all(&self, mut led: Led<K, V>, fate: Fate)
    where
        L: Load<K, V>,
    {
        if led.leases.is_empty() {
            return;
        }
        let this = self.clone();
        self.core().config.spawner().spawn_blocking(Box::new(span::of_caller(move || {
            let refusals = this.refusals();
            led.begin_load();
            let ask = || fate.of(|| this.ask(&led.keys(), &led.hashes, &refusals));
            let given = reentry::during(&led.flights(), ask);
            led.end_load();
            fate.returned();
            led.deliver(given);
        })));
    }

    /// Has the spawner run a load as a task, if there is any.
    fn spawn_all_async(&self, mut led: Led<K, V>, fate: Fate)
    where
        L: LoadAsync<K, V>,
    {
        if led.leases.is_empty() {
            return;
        }
        let this = self.clone();
        self.core().config.spawner().spawn(Box::pin(span::task_of_caller(async move {
            let refusals = this.refusals();
            led.begin_load();
            let given = {
                let (keys, flights) = (led.keys(), led.flights());
                let mut asked = pin!(this.ask_async(&keys, &led.hashes, &flights, &refusals));
                poll_fn(|cx| fate.of(|| asked.as_mut().poll(cx))).await
            };
            led.end_load();
            fate.returned();
            led.deliver(given);
        })));
    }

    /// Loads, as a task, keys whose values are not stored. Their errors get a type at the very end:
    /// see [`Typed`].
    fn ask_alone(&self, keys: Vec<K>, hashes: Vec<u64>) -> Unstored<V>
    where
        L: LoadAsync<K, V>,
    {
        let this = self.clone();
        Box::pin(async move {
            let refusals = this.refusals();
            let keys: Vec<&K> = keys.iter().collect();
            let given = this.ask_async(&keys, &hashes, &[], &refusals).await;
            let foreign = |error: Arc<L::Error>| LoadError::of_flight(Some(error as SharedError));
            given.into_iter().map(|given| given.map(|given| given.map_err(foreign))).collect()
        })
    }

    fn hash_erased(&self, q: &dyn Hashed) -> u64 {
        hash_of(self.hasher(), q)
    }

    fn refusals(&self) -> Refusals<K, V> {
        Refusals { core: self.cache().kept(), refused: AtomicUsize::new(0) }
    }
}

/// Counts the answers of a load that were refused. When it is dropped, after the load, the cache's
/// statistics and the observer get them.
struct Refusals<K: 'static, V: 'static> {
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
