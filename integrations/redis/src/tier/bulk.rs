//! Several keys at once.

use super::Tier;
use crate::error::SharedError;
use crate::key::SharedKey;
use crate::voyage::Got;
use bellwether::{LoadError, Loaded, Lookup, ToKey};
use equivalent::Equivalent;
use futures_util::future::join_all;
use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Tier<K, V> {
    /// Returns the values that memory has, in the order of the keys. As [`get`](Self::get), for
    /// several keys; half to a third of as many calls where the entries are not in the processor's
    /// caches.
    pub fn get_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<V>>
    where
        Q: 'q + ?Sized + Hash + Equivalent<K>,
    {
        if !self.inner.link.memory_is_good() {
            return keys.into_iter().map(|_| None).collect();
        }
        self.inner.cache.get_many(keys).into_iter().map(|held| held.map(|held| held.value)).collect()
    }

    /// Returns the values of several keys, in their order. Those that memory does not have are
    /// asked for in one round trip to the server (to each master of a cluster); those that no
    /// process has and no process loads are loaded by one call of `load`, and shared in one more
    /// round trip. For keys that another caller loads, of this process or of another one, this
    /// caller waits.
    ///
    /// `load` gets the keys, and returns the values that it found, in any order. A key without one
    /// has none: its callers get [`NotFound`](LoadError::NotFound), in all processes that wait, for
    /// the [`negative_ttl`](crate::Builder::negative_ttl). If another process gives up a load that
    /// this caller waited for, `load` is called for that key alone.
    ///
    /// A key may occur more than once. Settings are the tier's.
    ///
    /// ```no_run
    /// # use bellwether_redis::Tier;
    /// # async fn example(users: Tier<u64, String>) {
    /// # async fn query(ids: &[u64]) -> Result<Vec<(u64, String)>, std::io::Error> {
    /// #     Ok(ids.iter().map(|id| (*id, "Ada".to_owned())).collect())
    /// # }
    /// let load = |ids: Vec<u64>| async move { query(&ids).await };
    /// for name in users.try_get_many_with_async(&[7, 8], load).await {
    ///     println!("{name:?}");
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// Key by key, as [`try_get_with_async`](Self::try_get_with_async). If `load` fails, each key
    /// that it was called for has its error. Other callers that wait for one of these keys get the
    /// error's text, as those of other processes do.
    ///
    /// # Cancellation
    /// As [`try_get_with_async`](Self::try_get_with_async), for each key.
    pub async fn try_get_many_with_async<'q, Q, E, F, Fut>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
        load: F,
    ) -> Vec<Result<V, LoadError<SharedError<E>>>>
    where
        Q: 'q + ?Sized + Hash + Equivalent<K> + ToKey<K>,
        E: Display + Send + Sync + 'static,
        F: Fn(Vec<K>) -> Fut,
        Fut: Future<Output = Result<Vec<(K, V)>, E>>,
    {
        let mut places: HashMap<K, Vec<usize>> = HashMap::new();
        let (mut count, mut led, mut got) = (0, Vec::new(), HashMap::new());
        for (place, q) in keys.into_iter().enumerate() {
            count = place + 1;
            let key: K = q.to_key();
            if let Some(others) = places.get_mut(&key) {
                others.push(place);
                continue;
            }
            self.drop_if_unlinked(q);
            match self.inner.cache.lease(q) {
                Lookup::Hit(entry) => drop(got.insert(key.clone(), Ok(entry.value.clone()))),
                Lookup::Refresh(_, lease) | Lookup::Lead(lease) => led.push(lease),
                // Waited for when all that this caller leads is over: no two callers wait for each
                // other.
                Lookup::Wait(waiter) => drop(waiter),
                _ => {}
            }
            places.insert(key, vec![place]);
        }
        if !led.is_empty() {
            got.extend(self.inner.bring_all(led, &load).await);
        }
        let rest: Vec<K> = places.keys().filter(|key| !got.contains_key(*key)).cloned().collect();
        got.extend(join_all(rest.into_iter().map(|key| self.one_of_many(key, &load))).await);
        let mut all: Vec<Option<Got<V, E>>> = (0..count).map(|_| None).collect();
        for (key, one) in got {
            for &place in &places[&key] {
                all[place] = Some(one.clone());
            }
        }
        all.into_iter().map(|one| one.expect("each key has come to something")).collect()
    }

    /// Brings one key of a bulk read by itself.
    async fn one_of_many<E, F, Fut>(&self, key: K, load: &F) -> (K, Got<V, E>)
    where
        E: Display + Send + Sync + 'static,
        F: Fn(Vec<K>) -> Fut,
        Fut: Future<Output = Result<Vec<(K, V)>, E>>,
    {
        let one = self.entry(&key).revalidate_with_async(|_| async {
            let found = load(vec![key.clone()]).await?;
            Ok(found
                .into_iter()
                .find(|(found, _)| *found == key)
                .map_or(Loaded::NotFound, |(_, value)| Loaded::New(value)))
        });
        let one = one.await.map(|answer| answer.value);
        (key, one)
    }
}
