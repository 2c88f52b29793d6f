//! Values in the hands of callers: borrowed under a pin, or counted.

use crate::engine::config::StaleWindow;
use crate::engine::{Core, Ptr};
use crate::flight::expiry::{ExpiryWord, Timestamps};
use crate::flight::node::Node;
use crate::reclaim::Pin;
use crate::runtime::xfetch::NEVER;
use crate::table::split_order::split_order;
use alloc::sync::Arc;
use core::any::Any;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;
use core::time::Duration;
use equivalent::Equivalent;

/// A reference to the cache that a handle belongs to: borrowed for `'c`, or keeping the cache
/// alive.
///
/// A field `&'c Core<K, V>` would make the type valid only for `K: 'c` and `V: 'c`. The compiler
/// cannot prove these bounds within a task that must be `Send`, where it forgets that a lifetime in
/// `K` is `'static`. So this type borrows the lifetime alone.
///
/// The bounds still hold for each value of this type: [`borrowed`](Self::borrowed) takes a
/// `&'c Core<K, V>`, `'c` can only become shorter afterwards, and `K` and `V` cannot change (`Core`
/// is invariant in them).
pub(crate) struct CoreRef<'c, K, V> {
    core: NonNull<Core<K, V>>,
    keep: Option<Arc<dyn Any + Send + Sync>>,
    _borrow: PhantomData<&'c ()>,
}

impl<'c, K, V> CoreRef<'c, K, V> {
    pub(crate) fn borrowed(core: &'c Core<K, V>) -> Self {
        Self { core: NonNull::from(core), keep: None, _borrow: PhantomData }
    }

    /// # Safety
    /// `core` lies, at a fixed address, in an object that `keep` keeps alive.
    pub(crate) unsafe fn kept(core: &Core<K, V>, keep: Arc<dyn Any + Send + Sync>) -> Self {
        Self { core: NonNull::from(core), keep: Some(keep), _borrow: PhantomData }
    }

    pub(crate) fn get(&self) -> &Core<K, V> {
        // SAFETY: the core is borrowed for 'c, which outlives `self`; or `keep` keeps it alive, by
        // the contract of `kept`.
        unsafe { self.core.as_ref() }
    }
}

impl<K, V> Clone for CoreRef<'_, K, V> {
    fn clone(&self) -> Self {
        Self { core: self.core, keep: self.keep.clone(), _borrow: PhantomData }
    }
}

// SAFETY: the type is a shared reference to a `Core`, and an `Arc` of a `Send + Sync` object.
// `&Core` may move to another thread if keys and values may be shared between threads and moved
// between them.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for CoreRef<'_, K, V> {}
// SAFETY: as above.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for CoreRef<'_, K, V> {}

fn expires_in<K, V>(core: &Core<K, V>, node: &Node<K, V>) -> Option<Duration> {
    match core.over_since(node) {
        NEVER => None,
        at => Some(Duration::from_nanos(at.saturating_sub(core.config.time.now()))),
    }
}

fn age<K, V>(core: &Core<K, V>, node: &Node<K, V>) -> Duration {
    Duration::from_nanos(node.made_ago(core.nodes(), core.config.time.now()))
}

macro_rules! accessors {
    ($this:ident, $node:expr, $core:expr) => {
        /// Returns the key.
        pub fn key($this: &Self) -> &K {
            $node.shown_key()
        }

        /// Returns the value; the same as `&**this`.
        pub fn value($this: &Self) -> &V {
            $this
        }

        /// Returns the time until the value expires by its time to live: `None` if it never does,
        /// zero if it has. The time has the resolution of the clock. Costs a read of the clock.
        pub fn expires_in($this: &Self) -> Option<Duration> {
            expires_in($core, $node)
        }

        /// Returns the time since the value was loaded or inserted; a renewal does not change it.
        /// The time has the resolution of the clock. Costs a read of the clock.
        pub fn age($this: &Self) -> Duration {
            age($core, $node)
        }

        /// Returns the value's weight against the capacity; 0 if the value was only handed over and
        /// is not stored.
        pub fn weight($this: &Self) -> u32 {
            $node.stored_weight()
        }
    };
}

/// A value borrowed from the cache, under an epoch pin. It touches no reference count.
///
/// The value stays readable even if the entry is removed. While a `Ref` is held, **no** memory that
/// any bellwether cache of the process retires can be freed. So hold it briefly, and take an
/// [`Entry`] for longer. It cannot be sent to another thread.
pub struct Ref<'c, K, V> {
    core: &'c Core<K, V>,
    node: NonNull<Node<K, V>>,
    _pin: Option<Pin>,
    _not_send: PhantomData<*const ()>,
}

impl<'c, K, V> Ref<'c, K, V> {
    /// # Safety
    /// `node` was found, and its word was seen to have a value, under `pin`; without `pin`, under a
    /// pin that is held for all of `'c`.
    pub(crate) unsafe fn new(core: &'c Core<K, V>, node: NonNull<Node<K, V>>, pin: Option<Pin>) -> Self {
        Self { core, node, _pin: pin, _not_send: PhantomData }
    }

    fn node(&self) -> &Node<K, V> {
        // SAFETY: the node is alive while the pin is held, and the pin is held for as long as
        // `self` (see `new`).
        unsafe { self.node.as_ref() }
    }

    accessors!(this, this.node(), this.core);
}

impl<K, V> Deref for Ref<'_, K, V> {
    type Target = V;
    #[inline]
    fn deref(&self) -> &V {
        // SAFETY: the word was seen to have a value, under the pin that is held (see `new`).
        unsafe { self.node().value() }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Ref<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ref").field(Self::key(self)).field(&**self).finish()
    }
}

/// Which values a lookup takes.
#[derive(Clone, Copy)]
pub(crate) enum Wanted {
    /// Those that may be served.
    Live,
    /// Those of which a read-through can make nothing but a plain hit.
    Settled,
}

/// A counted reference to a value of the cache. It can be kept and sent, and holds up no memory but
/// its own.
///
/// Taking an entry costs an atomic increment; dropping it costs an atomic decrement.
///
/// ```
/// use bellwether::{Cache, Entry};
/// let cache: Cache<u32, String> = Cache::new(10);
/// let (entry, _) = cache.entry(&1).get_with(|| "one".to_owned());
/// assert_eq!((Entry::key(&entry), Entry::value(&entry).as_str(), entry.len()), (&1, "one", 3));
/// assert_eq!(Entry::into_value(entry), "one");
/// ```
pub struct Entry<'c, K, V> {
    core: CoreRef<'c, K, V>,
    node: Ptr<K, V>,
}

impl<'c, K, V> Entry<'c, K, V> {
    /// # Safety
    /// The caller hands over a reference to `node`, whose word it has seen to have a value.
    pub(crate) unsafe fn new(core: CoreRef<'c, K, V>, node: Ptr<K, V>) -> Self {
        Self { core, node }
    }

    /// Finds the entry of a key. Counts the lookup; one that wants a settled value only if it is a
    /// hit.
    #[inline]
    pub(crate) fn find<Q>(core: &'c Core<K, V>, pin: &Pin, hash: u64, q: &Q, wanted: Wanted) -> Option<Self>
    where
        Q: ?Sized + Equivalent<K>,
    {
        let is_key = |k: &K| q.equivalent(k);
        let node = match wanted {
            Wanted::Live => core.find_live_held(pin, hash, is_key),
            // If the reference is refused, the read-through that follows looks again.
            Wanted::Settled => core.find_settled(pin, hash, is_key, Node::inc_ref),
        }?;
        // SAFETY: the reference that is handed over was just taken. The node was found, and its
        // word was seen to have a value, under the pin.
        Some(unsafe { Self::new(CoreRef::borrowed(core), NonNull::from(node)) })
    }

    /// Makes an entry of a value that never was in the cache.
    pub(crate) fn detached(core: CoreRef<'c, K, V>, key: K, hash: u64, value: V) -> Self {
        let born = core.get().config.time.now();
        let (hot, numbered) = (ExpiryWord::NEVER_EXPIRES, false);
        let stamps = Timestamps { born, expires: NEVER, hot, tag_sequence: 0, numbered, own: None };
        // The node has no weight, because it is not stored. Its one reference, which would be the
        // list's, is the entry's.
        let node = Node::entry((core.get().limbo(), None), split_order(hash), (key, value), 0, &stamps);
        // SAFETY: the node was just allocated, and no other thread can reach it.
        unsafe { node.as_ref() }.detach();
        // SAFETY: the node's one reference is handed over; `Node::entry` makes a READY node, which
        // has a value.
        unsafe { Self::new(core, node) }
    }

    /// Returns an entry for the old value in `node`, if it may be served instead of a new one: up
    /// to `window` past its time to live.
    pub(crate) fn servable_stale(core: &CoreRef<'c, K, V>, node: &Node<K, V>, window: StaleWindow) -> Option<Self> {
        core.get().servable_stale(node, window).then(|| {
            node.add_refs(1);
            // SAFETY: the reference that is handed over was just taken. All callers own one of an
            // entry that has a successor, and such an entry has its value.
            unsafe { Self::new(core.clone(), NonNull::from(node)) }
        })
    }

    /// Returns the address of the value's node, for comparisons.
    pub(crate) fn address(this: &Self) -> usize {
        this.node.addr().get()
    }

    pub(crate) fn node(&self) -> &Node<K, V> {
        // SAFETY: the entry owns a reference to the node, which keeps it alive.
        unsafe { self.node.as_ref() }
    }

    accessors!(this, this.node(), this.core.get());

    /// Returns the value as a clone of its own, and drops the entry.
    ///
    /// The value is cloned even if this entry is the last one: a reader that found the value before
    /// it was removed may still borrow it, under a pin. Where clones are dear, keep an `Arc` of the
    /// value in the cache.
    pub fn into_value(this: Self) -> V
    where
        V: Clone,
    {
        // The value is a local while the entry is dropped, which may drop values of the user's. A
        // value that is already being returned would leak if such a drop panicked.
        let value = V::clone(&this);
        drop(this);
        value
    }
}

impl<K, V> Entry<'_, K, V> {
    /// Returns whether the value may be served, up to `window` past its time: see
    /// [`Self::servable_stale`].
    pub(crate) fn may_be_served(this: &Self, window: StaleWindow) -> bool {
        this.core.get().servable_stale(this.node(), window)
    }
}

impl<K, V> Deref for Entry<'_, K, V> {
    type Target = V;
    #[inline]
    fn deref(&self) -> &V {
        // SAFETY: the word was seen to have a value, and the entry owns a reference to the node
        // (see `new`).
        unsafe { self.node().value() }
    }
}

impl<K, V> Clone for Entry<'_, K, V> {
    fn clone(&self) -> Self {
        self.node().add_refs(1);
        Self { core: self.core.clone(), node: self.node }
    }
}

impl<K, V> Drop for Entry<'_, K, V> {
    fn drop(&mut self) {
        // SAFETY: the reference is the entry's; it is given back once, here, and the node is not
        // used afterwards.
        unsafe { self.core.get().release_unpinned(self.node) };
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Entry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Entry").field(Self::key(self)).field(&**self).finish()
    }
}

// SAFETY: an entry consists of a counted shared reference to the node and a `CoreRef`. When the
// last entry is dropped, this thread's collection may drop the key and the value, which `Send`
// permits.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Entry<'_, K, V> {}
// SAFETY: as above.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Entry<'_, K, V> {}
