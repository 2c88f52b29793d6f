//! Pinning without std.

use super::Cache;
use super::pinned::Pinned;
use crate::api::handle::entry::CoreRef;
use crate::api::handle::lookup::Lookup;
use crate::engine::key::ToKey;
use crate::reclaim::Handle;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use equivalent::Equivalent;

/// A thread's registration with a cache: a way to pin without std. From [`Cache::register`].
///
/// It costs some 400 ns to make, so make one for each thread (or task) and keep it. It cannot be
/// sent to another thread.
pub struct Local<'c, K, V, S> {
    cache: &'c Cache<K, V, S>,
    handle: Handle,
}

impl<K, V, S> Cache<K, V, S> {
    /// Registers the calling thread, so that it can pin without std. Costs some 400 ns.
    pub fn register(&self) -> Local<'_, K, V, S> {
        Local::new(self)
    }
}

impl<'c, K, V, S> Local<'c, K, V, S> {
    pub(crate) fn new(cache: &'c Cache<K, V, S>) -> Self {
        Self { cache, handle: cache.core().limbo().register() }
    }

    /// Pins the thread, for all operations that neither load nor wait.
    pub fn pin(&self) -> Pinned<'c, K, V, S> {
        Pinned::new(self.cache, self.handle.enter())
    }

    /// As [`Cache::lease`], without a new registration.
    pub fn lease<Q>(&self, q: &Q) -> Lookup<'c, K, V>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        S: BuildHasher,
    {
        let core = CoreRef::borrowed(self.cache.core());
        Lookup::at(core, self.cache.hash(q), q, || self.handle.enter())
    }
}

impl<K, V, S> fmt::Debug for Local<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}
