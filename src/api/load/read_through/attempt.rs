//! How a lookup begins, in a thread or a task.

use super::ReadThrough;
use crate::api::cache::Cache;
use crate::api::handle::entry::CoreRef;
use crate::api::load::form::{AsValue, ReturnAs};
use crate::engine::Core;
use crate::engine::key::ToKey;
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
    core.read_quietly(&core.limbo().enter(), hash, |k| q.equivalent(k), V::clone)
}

impl<K, V, S: BuildHasher> Cache<K, V, S> {
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
            None => Attempt::ReadThrough(ReadThrough::plain(CoreRef::borrowed(core), q, hash, infallible)),
        }
    }
}
