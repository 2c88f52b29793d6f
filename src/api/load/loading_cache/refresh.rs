//! Refreshes on request, in the background.

#[cfg(feature = "std")]
use super::Load;
use super::{LoadAsync, LoadingCache};
use crate::api::handle::lease::Lease;
use crate::api::handle::lookup::{OwnedRole, acquire_role};
use crate::api::handle::waiter::Waiter;
#[cfg(feature = "std")]
use crate::api::load::background::spawn_blocking;
use crate::api::load::background::{Background, Job};
use crate::engine::key::ToKey;
use crate::engine::role::Intent;
use core::convert::Infallible;
use core::hash::{BuildHasher, Hash};
use equivalent::Equivalent;

impl<K, V, L, S> LoadingCache<K, V, L, S>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Begins to load a key's value anew in the background, whether there is a value or not.
    /// Callers that ask for the key get the old value until it is replaced. Returns false if the
    /// key is being loaded already, or if `max_loads` loads are in flight.
    ///
    /// [`begin_refresh`](Self::begin_refresh) returns a waiter for the load.
    ///
    /// # Panics
    /// If the spawner panics.
    #[cfg(feature = "std")]
    pub fn refresh<Q>(&self, q: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        L: Load<K, V>,
    {
        let OwnedRole::Lead(lease) = self.role(q) else { return false };
        self.spawn_refresh(lease);
        true
    }

    /// As [`refresh`](Self::refresh), by a task.
    ///
    /// # Panics
    /// If the spawner panics.
    pub fn refresh_async<Q>(&self, q: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        L: LoadAsync<K, V>,
    {
        let OwnedRole::Lead(lease) = self.role(q) else { return false };
        self.spawn_refresh_async(q, lease);
        true
    }

    /// As [`refresh`](Self::refresh), and returns a waiter for the new value: wait for it as a
    /// thread or as a task, or drop it. The load goes on if the waiter is dropped.
    ///
    /// If the key is being loaded already, the waiter waits for that load. (For a load that begins
    /// after this call, and for its error with its type, [force](crate::Detached::force) one.) If
    /// no more loads may begin, it ends with [`Waited::Overloaded`](crate::Waited::Overloaded). If
    /// the load panics, the waiter may come to [lead](crate::Waited::Lead): drop the lease if
    /// there is nothing to load with.
    ///
    /// ```
    /// use bellwether::{Cache, Waited};
    /// use std::convert::Infallible;
    /// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    /// let version = AtomicU32::new(1);
    /// let load = move |_: &u32| Ok::<_, Infallible>(version.fetch_add(1, Relaxed));
    /// let documents = Cache::builder().max_capacity(100).loader(load).build()?;
    /// assert_eq!(documents.load(&7)?, 1);
    /// let Waited::Ready(document) = documents.begin_refresh(&7).wait() else { panic!() };
    /// assert_eq!((*document, documents.get(&7)), (2, Some(2)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If the spawner panics.
    #[cfg(feature = "std")]
    pub fn begin_refresh<Q>(&self, q: &Q) -> Waiter<'static, K, V>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        L: Load<K, V>,
    {
        self.refresh_and_wait(q, |lease| self.spawn_refresh(lease))
    }

    /// As [`begin_refresh`](Self::begin_refresh), by a task.
    ///
    /// # Panics
    /// If the spawner panics.
    pub fn begin_refresh_async<Q>(&self, q: &Q) -> Waiter<'static, K, V>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        L: LoadAsync<K, V>,
    {
        self.refresh_and_wait(q, |lease| self.spawn_refresh_async(q, lease))
    }

    #[cfg(feature = "std")]
    fn spawn_refresh(&self, lease: Lease<'static, K, V>)
    where
        L: Load<K, V>,
    {
        let load = self.load_of_key();
        spawn_blocking(lease, |call| load.run(&call), Job::unattended(self.core().config.limits.clone()));
    }

    fn spawn_refresh_async<Q>(&self, q: &Q, lease: Lease<'static, K, V>)
    where
        Q: ?Sized + ToKey<K>,
        L: LoadAsync<K, V>,
    {
        self.load_of_key().spawn(lease, || q.to_key(), Job::unattended(self.core().config.limits.clone()));
    }

    /// Leads the key's load and has it spawned, or joins the load in flight.
    fn refresh_and_wait<Q>(&self, q: &Q, spawn: impl Fn(Lease<'static, K, V>)) -> Waiter<'static, K, V>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
    {
        loop {
            match self.role(q) {
                OwnedRole::Lead(lease) => {
                    let waiter = Waiter::of(&lease);
                    spawn(lease);
                    // None: another caller has taken the load over, and ended it.
                    if let Some(waiter) = waiter {
                        return waiter;
                    }
                }
                OwnedRole::Wait(waiter) => return waiter,
                OwnedRole::Hit(never) => match never {},
                OwnedRole::Full | OwnedRole::Failed(_) => return Waiter::overloaded(self.cache.kept()),
            }
        }
    }

    /// Takes the key's lease for a refresh, whether there is a value or not.
    fn role<Q>(&self, q: &Q) -> OwnedRole<'static, K, V, Infallible>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
    {
        let (core, pin) = (self.cache.kept(), || self.core().limbo().enter());
        acquire_role(&core, self.hash(q), q, Intent::Refresh, pin, |_, _| None)
    }
}
