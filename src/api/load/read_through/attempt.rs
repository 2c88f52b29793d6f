//! How a lookup begins, in a thread or a task.

use super::ReadThrough;
use crate::api::cache::Cache;
use crate::api::handle::form::{AsValue, ReturnAs};
use crate::engine::Core;
use crate::engine::key::ToKey;
use crate::engine::role::Manner;
use core::hash::{BuildHasher, Hash};
use equivalent::Equivalent;

/// The beginning of a lookup: most often a plain hit, and else a lookup to run to its end.
#[allow(clippy::large_enum_variant, reason = "it is taken apart on the spot")]
pub(crate) enum Attempt<'c, 'q, K, V, Q: ?Sized, F: ReturnAs<'c, K, V>> {
    Hit(F::Out),
    ReadThrough(ReadThrough<'c, 'q, K, V, Q, F>),
}

/// Returns the value if the lookup is a plain hit, and None if it needs more than that.
#[inline]
pub(crate) fn plain_hit<K, V, Q>(core: &Core<K, V>, q: &Q, hash: u64) -> Option<V>
where
    Q: ?Sized + Equivalent<K>,
    V: Clone,
{
    core.read_settled(&core.limbo().enter(), hash, |k| q.equivalent(k), V::clone)
}

impl<K, V, S: BuildHasher> Cache<K, V, S> {
    /// Returns what `take` makes of a key's value, if a read-through would give that value at once
    /// and do nothing else. For a caller that reads through otherwise: it looks before it prepares
    /// a load.
    ///
    /// None: there is no value, or a read-through may do more than give it, because the value is
    /// due for an early refresh ([`Refresh`](crate::Refresh)), or because its refresh has been
    /// running for longer than the [`lead_timeout`](crate::Builder::lead_timeout). A lookup without
    /// a result is not counted, as the read-through that follows it is. `take` runs under a pin.
    ///
    /// Cost: that of [`get`](Self::get), and of `take` instead of a clone.
    ///
    /// ```
    /// use bellwether::Cache;
    /// use std::convert::Infallible;
    /// type User = (String, u32);
    /// # async fn fetch(id: u64) -> Result<User, Infallible> { Ok((format!("user {id}"), 30)) }
    /// async fn age(users: &Cache<u64, User>, id: u64) -> u32 {
    ///     if let Some(age) = users.get_settled(&id, |user| user.1) {
    ///         return age;
    ///     }
    ///     let load = Box::pin(fetch(id));
    ///     users.try_get_with_async(&id, || load).await.map_or(0, |user| user.1)
    /// }
    /// # let users = Cache::new(10);
    /// # users.insert(7, ("Ada".to_owned(), 36));
    /// # let mut age = std::pin::pin!(age(&users, 7));
    /// # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// # assert_eq!(age.as_mut().poll(&mut context), std::task::Poll::Ready(36));
    /// ```
    #[inline]
    pub fn get_settled<Q, R>(&self, q: &Q, take: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.core().read_settled(&self.core().limbo().enter(), self.hash(q), |k| q.equivalent(k), take)
    }

    /// Begins a lookup of a key.
    #[inline]
    pub(crate) fn begin<'q, Q>(&'q self, q: &'q Q, infallible: bool) -> Attempt<'q, 'q, K, V, Q, AsValue>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        V: Clone,
    {
        let (core, hash) = (self.core(), self.hash(q));
        match plain_hit(core, q, hash) {
            Some(value) => Attempt::Hit(value),
            None => Attempt::ReadThrough(ReadThrough::plain(core, q, hash, Manner::of_verb(infallible))),
        }
    }
}
