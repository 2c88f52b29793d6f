//! The load of one key by the cache's loader.

#[cfg(feature = "std")]
use super::load::Load;
use super::load::LoadAsync;
use crate::api::handle::entry::{CoreRef, Entry};
use crate::api::handle::lease::Lease;
use crate::api::load::background::{Alone, Background, Job, alone, spawn};
#[cfg(feature = "std")]
use crate::api::load::background::{Call, alone_blocking, spawn_blocking};
use crate::engine::outcome::Loaded;
use alloc::sync::Arc;

/// The load of one key.
pub(crate) struct KeyLoad<L>(pub(crate) Arc<L>);

impl<L> KeyLoad<L> {
    /// Runs the load on this thread.
    #[cfg(feature = "std")]
    pub(crate) fn run<K, V>(self, call: &Call<'_, K, V>) -> Result<Loaded<V>, L::Error>
    where
        L: Load<K, V>,
    {
        // The result is a local while the loader is dropped. A result that is already being
        // returned would leak if that drop panicked.
        let loaded = self.0.revalidate(call.key, call.old());
        drop(self);
        loaded
    }

    /// Runs the load of a blocking loader that tasks await.
    #[cfg(feature = "std")]
    fn run_blocking<K: 'static, V: 'static>(
        self,
        key: &K,
        old: Option<Entry<'static, K, V>>,
    ) -> Result<Loaded<V>, L::Error>
    where
        L: LoadAsync<K, V>,
    {
        let Some(loader) = self.0.blocking() else { unreachable!("a blocking loader was asked for") };
        // As in `run`: the result is a local while the loader is dropped.
        let loaded = loader.revalidate(key, old);
        drop(self);
        loaded
    }

    async fn run_async<K, V>(self, key: K, old: Option<Entry<'static, K, V>>) -> Result<Loaded<V>, L::Error>
    where
        L: LoadAsync<K, V>,
    {
        // As in `run`: the result is a local while the key is dropped.
        let loaded = self.0.revalidate(&key, old).await;
        drop((self, key));
        loaded
    }
}

impl<K, V, L> Background<K, V> for KeyLoad<L>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    L: LoadAsync<K, V>,
{
    fn spawn(self, lease: Lease<'static, K, V>, key: impl FnOnce() -> K, job: Job) {
        #[cfg(feature = "std")]
        if self.0.blocking().is_some() {
            return spawn_blocking(lease, |call| self.run_blocking(call.key, call.old()), job);
        }
        let key = lease.guarded(|_| key());
        spawn(lease, |call| self.run_async(key, call.old()), |loaded| loaded, job);
    }
    fn alone(self, key: K, core: &CoreRef<'static, K, V>) -> Alone<V> {
        #[cfg(feature = "std")]
        if self.0.blocking().is_some() {
            return alone_blocking(core.get().config.spawner(), move || self.run_blocking(&key, None));
        }
        let _ = core;
        alone(self.run_async(key, None), |loaded| loaded)
    }
}
