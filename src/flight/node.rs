//! The node: a flight first, then an entry, in one place.
//!
//! | field | bytes | written | read |
//! |---|--:|---|---|
//! | link: next, order, tally | 16 | table; tally: share count | every walk |
//! | word | 8 | transitions | every lookup |
//! | hot: quiet-until, δ | 8 | before READY; renewal, cooldown | every hit of an entry that expires |
//! | born: creation time, use counter | 8 | before READY; use counter by hits while warming | every hit |
//! | key, value | K + V | creation; before READY | every hit |
//! | behind it ([`Cold`]): weight, slot | 8 | before READY; when a slot is taken | insertion, removal, hand |
//! | elsewhere ([`Extra`](crate::reclaim::Extra)): expires | 8, once anything expires | before READY; renewal | past quiet-until |
//! | elsewhere: tag start | 8, once anything has tags | before READY; renewal | every hit of an entry with tags |
//!
//! 64 bytes for `u64 → u64` on 64-bit targets, in one cache line. The time of expiry is not among them, as few hits ask for it before it is
//! near, and most caches have none. What is done with the times is in [`times`](super::times).

use super::expiry::ExpiryWord;
use super::expiry::Timestamps;
use super::failure::Failure;
use super::word::{State, Word};
use crate::reclaim::{Arena, Cold, Retire, cold, owned};
use crate::sys::mutants::{mutant, weakened};
use crate::sys::sync::{AtomicU64, Ordering, UnsafeCell, acquire};
use crate::table::link::{Link, Target};
use core::mem::MaybeUninit;
use core::ptr::NonNull;

#[repr(C)]
pub(crate) struct Node<K, V> {
    link: Link,
    pub(crate) word: Word,
    pub(super) hot: AtomicU64,
    pub(super) born: AtomicU64,
    /// Not there in a fenced one, which shows another node's.
    key: MaybeUninit<K>,
    value: UnsafeCell<MaybeUninit<V>>,
}

/// Where nodes come from.
pub(crate) type Nodes<K, V> = Arena<Node<K, V>>;

impl<K, V> Node<K, V> {
    fn build(link: Link, word: Word, key: MaybeUninit<K>, value: MaybeUninit<V>) -> Self {
        Self {
            link,
            word,
            hot: AtomicU64::new(ExpiryWord::NEVER_EXPIRES.0),
            born: AtomicU64::new(0),
            key,
            value: UnsafeCell::new(value),
        }
    }

    /// A flight with its first leader. Who gets its shares is the caller's affair.
    pub(crate) fn flight(nodes: &Nodes<K, V>, key: K, order: u32) -> NonNull<Self> {
        let (key, none) = (MaybeUninit::new(key), MaybeUninit::uninit());
        nodes.allocate(Self::build(Link::node(order, 0), Word::computing(), key, none))
    }

    /// Sets the count of a node that nobody else can reach yet.
    pub(crate) fn set_refcount(&self, shares: u32) {
        self.link.refcount().store(shares, Ordering::Relaxed);
    }

    /// An entry whose one share will be the list's.
    #[inline]
    pub(crate) fn entry(
        nodes: &Nodes<K, V>,
        order: u32,
        (key, value): (K, V),
        weight: u32,
        stamps: Timestamps,
    ) -> NonNull<Self> {
        let (key, value) = (MaybeUninit::new(key), MaybeUninit::new(value));
        let node = nodes.allocate(Self::build(Link::node(order, 1), Word::ready(), key, value));
        // SAFETY: just allocated.
        unsafe { node.as_ref() }.stamp(nodes, weight, stamps);
        node
    }

    /// What a leader has loaded whose lease was taken over: detached, with one share, and the key of the flight's node `of`,
    /// of which it takes over a share.
    pub(crate) fn fenced(nodes: &Nodes<K, V>, of: NonNull<Self>, value: V, stamps: Timestamps) -> NonNull<Self> {
        let (none, value) = (MaybeUninit::uninit(), MaybeUninit::new(value));
        // An odd order, as `Link` asks of nodes, until it is detached.
        let node = nodes.allocate(Self::build(Link::node(1, 1), Word::ready(), none, value));
        // SAFETY: just allocated.
        let shared = unsafe { node.as_ref() };
        shared.stamp(nodes, 0, stamps);
        shared.link.next().prepare(Target::to_node(Self::as_link(of)));
        shared.detach();
        if mutant("fenced without a share") {
            // SAFETY: the share that is handed over.
            let _ = unsafe { Self::dec_ref(of, 1) };
        }
        node
    }

    /// The node whose key a [fenced](Self::fenced) one shows.
    pub(crate) fn fenced_of(&self) -> Option<NonNull<Self>> {
        if self.is_detached() { self.link.next().load().node().map(NonNull::cast) } else { None }
    }

    /// The key, of any node that an entry can be of.
    pub(crate) fn shown_key(&self) -> &K {
        match self.fenced_of() {
            // SAFETY: it owns a share of that node, which is no fenced one.
            Some(of) => unsafe { of.as_ref() }.key(),
            None => self.key(),
        }
    }

    #[inline]
    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// What lies behind the node.
    pub(crate) fn cold(&self) -> &Cold {
        // SAFETY: nodes come from an arena of theirs (`flight`, `entry`, `fenced`), and live there.
        unsafe { cold(NonNull::from(self)) }
    }

    /// The address of the link, good for the whole node.
    pub(crate) fn as_link(this: NonNull<Self>) -> NonNull<Link> {
        this.cast()
    }

    /// The node around a link.
    ///
    /// # Safety
    /// `link` came from [`Self::as_link`] for the same `K` and `V`, and the node is alive for `'p`.
    #[inline]
    pub(crate) unsafe fn of_link<'p>(link: NonNull<Link>) -> &'p Self {
        // SAFETY: `Node` is `repr(C)` with the link first, and by contract the pointer was made from one to the whole
        // node, which lives long enough. Shared access only: everything that changes is atomic or in a cell.
        unsafe { link.cast::<Self>().as_ref() }
    }

    #[inline]
    pub(crate) fn key(&self) -> &K {
        // SAFETY: every node has its key but a fenced one, which is found by nobody, and shown by `shown_key`.
        unsafe { self.key.assume_init_ref() }
    }

    /// The value.
    ///
    /// # Safety
    /// The caller has read a word that is `valued`, and holds a pin from before the node was retired, or a share.
    #[inline]
    pub(crate) unsafe fn value(&self) -> &V {
        // SAFETY: a valued word is set (Release) after the value was written, and was read with Acquire; from then on
        // the slot is not written again until the node is disposed of, which the pin or share holds off.
        self.value.with(|v| unsafe { (*v).assume_init_ref() })
    }

    /// Moves the value in, with its weight and times.
    ///
    /// # Safety
    /// The caller has won the transition into PUBLISHING and has not yet left it.
    pub(crate) unsafe fn write(&self, nodes: &Nodes<K, V>, value: V, stamps: Timestamps) {
        // SAFETY: PUBLISHING is won once a node, so nobody else writes; nobody reads before READY.
        self.value.with_mut(|v| unsafe { (*v).write(value) });
        self.stamp(nodes, 0, stamps);
    }

    /// Stamped before READY; 0 means handed over only.
    pub(crate) fn set_weight(&self, weight: u32) {
        self.cold().weight.store(weight, Ordering::Relaxed);
    }

    pub(crate) fn stored_weight(&self) -> u32 {
        self.cold().weight.load(Ordering::Relaxed)
    }

    /// Of a node that is never in the list: its order is even, as no other node's is.
    pub(crate) fn detach(&self) {
        self.link.set_order(0);
    }

    /// Whether nobody but those who have shares ever saw it.
    pub(crate) fn is_detached(&self) -> bool {
        self.link.order() == 0
    }

    /// Takes a share, unless there is none left: nobody revives a zero.
    ///
    /// # Panics
    /// When two thousand million shares are out: only forgetting them gets there.
    pub(crate) fn inc_ref(&self) -> bool {
        let mut count = self.link.refcount().load(Ordering::Relaxed);
        while count != 0 || mutant("zero revived") {
            assert!(count < u32::MAX / 2, "too many handles of one entry (were they forgotten?)");
            // Relaxed, as in Arc: the caller reaches the node already, by its pin or by another share.
            match self.link.refcount().compare_exchange_weak(count, count + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => count = now,
            }
        }
        // Acquire: pairs with the Release of each share given back. The list's was among them, so whoever looks again
        // cannot find the node again.
        if !mutant("refusal unordered") {
            acquire(self.link.refcount());
        }
        false
    }

    /// Gives so many shares back. True: they were the last ones, and the caller must retire the node.
    ///
    /// As these may be all that keeps the node alive, another may free it before this function has returned. So it makes no
    /// reference to the node, only to the count, and that as an atomic's methods do (`Arc` does the same).
    ///
    /// # Safety
    /// The caller owns the shares. From now on it uses the node only if they were the last ones, or under a pin from before;
    /// and unless it has such a pin, no reference to the node that it has made is used again, nor is one an argument of a
    /// function that has not returned.
    #[must_use]
    pub(crate) unsafe fn dec_ref(this: NonNull<Self>, shares: u32) -> bool {
        // SAFETY: the shares keep the node alive, at least to the step that gives them back. A node begins with its link.
        let tally = unsafe { Link::refcount_of(Self::as_link(this)) };
        // Release: our use of the node comes before its disposal; `acquire` is the other side, as the fence in Arc.
        // SAFETY: alive as that begins, and no more is asked of what an atomic's method is called on.
        if unsafe { tally.as_ref() }.fetch_sub(shares, weakened("unshare", Ordering::Release)) != shares {
            return false;
        }
        if !mutant("last share unordered") {
            // SAFETY: nobody else gives back a share any more, so it is alive until the caller has it freed.
            acquire(unsafe { tally.as_ref() });
        }
        true
    }
}

impl<K, V> Retire for Node<K, V> {
    unsafe fn dispose(this: NonNull<Self>) {
        // SAFETY: by contract it came from an arena and is alive.
        let node = unsafe { owned(this) }.as_ptr();
        // SAFETY: by contract nobody else can reach the node, and it is alive.
        let end = unsafe { (*node).word.load() };
        // Locals are dropped in reverse: the error, the key, then the value, even if one's drop panics.
        // SAFETY: a valued word means the value was written, and nobody uses it again.
        let _value = end.has_value().then(|| unsafe { (*node).value.with_mut(|v| (*v).assume_init_read()) });
        // SAFETY: alive until the end of this function.
        let fenced = unsafe { (*node).fenced_of() }.is_some();
        // SAFETY: but in a fenced node the key is initialised from creation to here, and not used again. The other fields need
        // no drop outside of loom and shuttle.
        let _key = (!fenced).then(|| unsafe { (*node).key.assume_init_read() });
        if let State::Failed(Some(error)) = end.state() {
            // SAFETY: the word's pointer came from `Failure::into_raw`, and the word goes with the node.
            unsafe { Failure::free(error.as_ptr()) };
        }
        #[cfg(any(loom, shuttle))]
        // SAFETY: alive until here; atomics of loom and shuttle may own heap state, and each is dropped once. The store is one that
        // these see, so that they try a walker before and after the node is freed.
        unsafe {
            use core::ptr;
            (*node).link.next().prepare(Target::END);
            ptr::drop_in_place(&raw mut (*node).link);
            ptr::drop_in_place(&raw mut (*node).word);
            ptr::drop_in_place(&raw mut (*node).hot);
            ptr::drop_in_place(&raw mut (*node).born);
        }
    }

    fn weight(&self) -> u32 {
        self.stored_weight()
    }
}

// SAFETY: a node moves between threads with its key and value, and gives shared access to both (`Send + Sync` of
// each); its other parts are atomics, and the value's cell is governed by the word.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Node<K, V> {}
// SAFETY: as above.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Node<K, V> {}
