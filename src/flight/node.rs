//! The node: first a flight, then an entry, in one allocation.
//!
//! | field | bytes | written | read |
//! |---|--:|---|---|
//! | link: next, order, refcount | 16 | by the table; refcount by owners | every walk |
//! | word | 8 | transitions | every lookup |
//! | hot: quiet time, δ | 8 | before READY; fence, renewal, cooldown | every hit |
//! | born: creation time, use counter | 8 | before READY; uses by warming hits | every hit |
//! | key, value | K + V | creation; before READY | every hit |
//! | behind it ([`Cold`]): weight, slot | 8 | before READY; for a slot | insertion, removal, hand |
//! | elsewhere ([`Extra`]): expires | 8, if any expires | before READY; renewal | past quiet time |
//! | elsewhere: tag sequence | 8, if any has tags | before READY; renewal | every hit with tags |
//!
//! A node of `u64 → u64` has 64 bytes on 64-bit targets, in one cache line. The time of expiry is
//! not in it, as few hits ask for it before it is near, and most caches have none. The functions
//! for the times are in [`times`](super::times).
//!
//! [`Extra`]: crate::reclaim::Extra

use super::expiry::{ExpiryWord, Timestamps};
use super::failure::Failure;
use super::word::{State, Word};
use crate::reclaim::{Arena, Cold, Limbo, Pin, Retire, cold, owned};
use crate::sys::mutants::{mutant, weakened};
use crate::sys::sync::{AtomicU64, Ordering, UnsafeCell, acquire, model_fence};
use crate::table::link::{Link, Target};
use core::mem::{MaybeUninit, needs_drop};
use core::ptr::NonNull;

#[repr(C)]
pub(crate) struct Node<K, V> {
    link: Link,
    pub(crate) word: Word,
    pub(super) hot: AtomicU64,
    pub(super) born: AtomicU64,
    /// Uninitialised in a fenced node, which shows the key of the flight's node.
    key: MaybeUninit<K>,
    value: UnsafeCell<MaybeUninit<V>>,
}

const TOO_MANY: &str = "too many handles of one entry (were they forgotten?)";

/// The arena that nodes come from.
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

    /// Makes a flight with its first leader. The caller sets the reference count.
    pub(crate) fn flight(limbo: &Limbo<Self>, pin: &Pin, key: K, order: u32) -> NonNull<Self> {
        let (key, none) = (MaybeUninit::new(key), MaybeUninit::uninit());
        limbo.allocate(Some(pin), Self::build(Link::node(order, 0), Word::computing(), key, none))
    }

    /// Sets the reference count of a node that no other thread can reach yet.
    pub(crate) fn set_refcount(&self, shares: u32) {
        self.link.refcount().store(shares, Ordering::Relaxed);
    }

    /// Makes an entry with one reference, which will be the list's.
    #[inline]
    pub(crate) fn entry(
        (limbo, pin): (&Limbo<Self>, Option<&Pin>),
        order: u32,
        (key, value): (K, V),
        weight: u32,
        stamps: &Timestamps,
    ) -> NonNull<Self> {
        let (key, value) = (MaybeUninit::new(key), MaybeUninit::new(value));
        let node = limbo.allocate(pin, Self::build(Link::node(order, 1), Word::ready(), key, value));
        // SAFETY: just allocated.
        unsafe { node.as_ref() }.stamp(limbo.arena(), weight, stamps);
        node
    }

    /// Makes the node of a fenced leader's value: detached, with one reference. It shows the key of
    /// `of`, the flight's node, and takes over one reference to that.
    pub(crate) fn fenced(nodes: &Nodes<K, V>, of: NonNull<Self>, value: V, stamps: &Timestamps) -> NonNull<Self> {
        let (none, value) = (MaybeUninit::uninit(), MaybeUninit::new(value));
        // An odd order, as `Link` asks of nodes, until it is detached.
        let node = nodes.allocate(Self::build(Link::node(1, 1), Word::ready(), none, value));
        // SAFETY: just allocated.
        let shared = unsafe { node.as_ref() };
        shared.stamp(nodes, 0, stamps);
        shared.link.next().prepare(Target::to_node(Self::as_link(of)));
        shared.detach();
        if mutant("fenced without a share") {
            // SAFETY: the caller hands over this reference.
            let _ = unsafe { Self::dec_ref(of, 1) };
        }
        node
    }

    /// Returns the node whose key this [fenced](Self::fenced) node shows, or None if it is no
    /// fenced node.
    pub(crate) fn fenced_of(&self) -> Option<NonNull<Self>> {
        if self.is_detached() { self.link.next().load().node().map(NonNull::cast) } else { None }
    }

    /// Returns the key, for any node that an `Entry` can point to.
    pub(crate) fn shown_key(&self) -> &K {
        match self.fenced_of() {
            // SAFETY: this node owns a reference to that one, which is not a fenced node and so has
            // its key.
            Some(of) => unsafe { of.as_ref() }.key(),
            None => self.key(),
        }
    }

    #[inline]
    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Returns the fields that lie behind the node.
    pub(crate) fn cold(&self) -> &Cold {
        // SAFETY: all nodes are allocated in an arena (by `flight`, `entry` and `fenced`), and live
        // there.
        unsafe { cold(NonNull::from(self)) }
    }

    /// Returns the address of the link. Its provenance covers the whole node.
    pub(crate) fn as_link(this: NonNull<Self>) -> NonNull<Link> {
        this.cast()
    }

    /// Returns the node that begins with this link.
    ///
    /// # Safety
    /// `link` came from [`Self::as_link`] for the same `K` and `V`, and the node is alive for `'p`.
    #[inline]
    pub(crate) unsafe fn of_link<'p>(link: NonNull<Link>) -> &'p Self {
        // SAFETY: `Node` is `repr(C)` with the link first. By contract the pointer was made from
        // one to the whole node, which lives long enough. The access is shared: all that changes is
        // atomic or in a cell.
        unsafe { link.cast::<Self>().as_ref() }
    }

    #[inline]
    pub(crate) fn key(&self) -> &K {
        // SAFETY: every node but a fenced one has its key. No caller finds a fenced node in the
        // list, and its owners use `shown_key`.
        unsafe { self.key.assume_init_ref() }
    }

    /// Returns the value.
    ///
    /// # Safety
    /// The caller has read a word that has a value, and holds a reference, or a pin from before the
    /// node was retired.
    #[inline]
    pub(crate) unsafe fn value(&self) -> &V {
        // SAFETY: such a word is set (Release) after the value was written, and was read with
        // Acquire. From then on the value is not written again until the node is disposed of, and
        // the pin or the reference holds that off.
        self.value.with(|v| unsafe { (*v).assume_init_ref() })
    }

    /// Moves the value in.
    ///
    /// # Safety
    /// The caller has won the transition into PUBLISHING and has not left it yet.
    pub(crate) unsafe fn write(&self, value: V) {
        // SAFETY: PUBLISHING is won once in a node's life, so no other thread writes. No thread
        // reads the value before READY.
        self.value.with_mut(|v| unsafe { (*v).write(value) });
    }

    /// Stores the weight, before READY. 0 means that the value is only handed over.
    pub(crate) fn set_weight(&self, weight: u32) {
        self.cold().weight.store(weight, Ordering::Relaxed);
    }

    pub(crate) fn stored_weight(&self) -> u32 {
        self.cold().weight.load(Ordering::Relaxed)
    }

    /// Makes the node detached. It will never be in the list: its order is even, as no listed
    /// node's is.
    pub(crate) fn detach(&self) {
        self.link.set_order(0);
    }

    /// Returns whether the node is detached: only owners of references have ever seen it.
    pub(crate) fn is_detached(&self) -> bool {
        self.link.order() == 0
    }

    /// Takes a reference to a node that the caller has found under its pin. Refused if the node was
    /// removed.
    ///
    /// A remover that owns the references of the list and of the slot does not give them back where
    /// it sees no others ([`has_no_more_than`](Self::has_no_more_than)): it retires the node. So
    /// this caller adds its reference, and then looks at the mark. The remover sets the mark, and
    /// then looks at the count. One of the two sees the other.
    ///
    /// # Panics
    /// As [`add_refs`](Self::add_refs).
    pub(crate) fn inc_ref(&self) -> bool {
        // (Under loom the fence is the order.)
        if !self.add_ref(if cfg!(loom) { Ordering::Relaxed } else { Ordering::SeqCst }) {
            return false;
        }
        if !mutant("no share fence") {
            model_fence();
        }
        !self.link.is_marked_by_now() || mutant("mark not asked") || !self.take_back()
    }

    /// Takes a reference back that was added to a removed node. Returns false if it is the last
    /// one: then the caller keeps it. (The others were given back, so the node is not retired.)
    #[cold]
    fn take_back(&self) -> bool {
        let others = |count: u32| (count != 1 || mutant("last share taken back")).then(|| count - 1);
        // Release: as in `dec_ref`. Acquire: a sole owner comes after the others.
        self.link.refcount().fetch_update(Ordering::Release, Ordering::Acquire, others).is_ok()
    }

    /// Returns whether there are no more than so many references. The caller owns them, and has set
    /// the mark. If so, there never will be more, but for moments in which a finder has not looked
    /// at the mark yet.
    pub(crate) fn has_no_more_than(&self, shares: u32) -> bool {
        if !mutant("no count fence") {
            model_fence();
        }
        // Acquire is part of it: for the uses by owners that have given theirs back (`dec_ref`).
        self.link.refcount().load(Ordering::SeqCst) == shares
    }

    /// Takes a reference, in a cache that tells removals: its removers give all references back, so
    /// the mark need not be asked. Refused only if the count is zero: no owner revives a zero.
    ///
    /// # Panics
    /// As [`add_refs`](Self::add_refs).
    pub(crate) fn inc_told_ref(&self) -> bool {
        // Relaxed, as in Arc: the caller reaches the node already, by its pin or by another
        // reference.
        self.add_ref(Ordering::Relaxed)
    }

    fn add_ref(&self, order: Ordering) -> bool {
        let mut count = self.link.refcount().load(Ordering::Relaxed);
        while count != 0 || mutant("zero revived") {
            assert!(count < u32::MAX / 2, "{TOO_MANY}");
            match self.link.refcount().compare_exchange_weak(count, count + 1, order, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => count = now,
            }
        }
        // Acquire: pairs with the Release of each reference given back. The list's was among them,
        // so a caller that looks again cannot find the node again.
        if !mutant("refusal unordered") {
            acquire(self.link.refcount());
        }
        false
    }

    /// Takes so many references. The caller owns one.
    ///
    /// # Panics
    /// If two thousand million references exist. Only a program that forgets them gets there.
    pub(crate) fn add_refs(&self, more: u32) {
        // Relaxed: as in `inc_told_ref`.
        let count = self.link.refcount().fetch_add(more, Ordering::Relaxed);
        debug_assert_ne!(count, 0, "the caller owns a reference");
        if count >= u32::MAX / 2 {
            // The panic may be caught, and the count must not go on to zero.
            self.link.refcount().fetch_sub(more, Ordering::Relaxed);
            panic!("{TOO_MANY}");
        }
    }

    /// Gives so many references back. Returns true if they were the last ones. Then the caller must
    /// retire the node.
    ///
    /// The references may be all that keeps the node alive, so another thread may free the node
    /// before this function has returned. So the function makes no `&` to the node, but only one to
    /// the count, and that as an atomic's methods do (`Arc` does the same).
    ///
    /// # Safety
    /// The caller owns these references. From now on it uses the node only if they were the last
    /// ones, or under a pin from before. Without such a pin, it does not use any `&` to the node
    /// that it has made, and no function that has not returned has such a `&` as an argument.
    #[must_use]
    pub(crate) unsafe fn dec_ref(this: NonNull<Self>, shares: u32) -> bool {
        // SAFETY: the references keep the node alive, at least until the step that gives them back.
        // A node begins with its link.
        let refcount = unsafe { Link::refcount_of(Self::as_link(this)) };
        // Release: this owner's use of the node comes before its disposal. The partner is the
        // `acquire` below, as the fence in Arc.
        // SAFETY: the count is alive when `fetch_sub` begins, and an atomic's method needs no more.
        if unsafe { refcount.as_ref() }.fetch_sub(shares, weakened("unshare", Ordering::Release)) != shares {
            return false;
        }
        if !mutant("last share unordered") {
            // SAFETY: no other owner has a reference to give back, so the node is alive until the
            // caller has it freed.
            acquire(unsafe { refcount.as_ref() });
        }
        true
    }
}

impl<K, V> Retire for Node<K, V> {
    unsafe fn dispose(this: NonNull<Self>) {
        // SAFETY: by contract the node came from an arena and is alive.
        let node = unsafe { owned(this) }.as_ptr();
        // SAFETY: by contract no other thread can reach the node, and it is alive.
        let end = unsafe { (*node).word.load() };
        // Locals are dropped in reverse order: the error, the key, then the value, even if one drop
        // panics.
        // SAFETY: a word that has a value means that the value was written. It is not used again.
        let _value = end.has_value().then(|| unsafe { (*node).value.with_mut(|v| (*v).assume_init_read()) });
        // SAFETY: the node is alive until the end of this function.
        let fenced = unsafe { (*node).fenced_of() }.is_some();
        // SAFETY: in every node but a fenced one, the key is initialised from creation to here. It
        // is not used again. The other fields need no drop outside of loom and shuttle.
        let _key = (!fenced).then(|| unsafe { (*node).key.assume_init_read() });
        if let State::Failed(Some(error)) = end.state() {
            // SAFETY: the word's pointer came from `Failure::into_raw`. The word goes with the
            // node, so the error is freed once.
            unsafe { Failure::free(error.as_ptr()) };
        }
        #[cfg(any(loom, shuttle))]
        // SAFETY: the node is alive until here. The atomics of loom and shuttle may own heap state,
        // and each is dropped once. The models see the store, so they try a reader that walks here
        // before and after the node is freed.
        unsafe {
            use core::ptr;
            (*node).link.next().prepare(Target::END);
            ptr::drop_in_place(&raw mut (*node).link);
            ptr::drop_in_place(&raw mut (*node).word);
            ptr::drop_in_place(&raw mut (*node).hot);
            ptr::drop_in_place(&raw mut (*node).born);
        }
    }

    // (The atomics of loom and shuttle may own heap state.)
    const OWNS: bool = needs_drop::<K>() || needs_drop::<V>() || cfg!(any(loom, shuttle));

    #[inline]
    fn owns(&self) -> bool {
        Self::OWNS || self.word.load().failed()
    }

    #[inline]
    fn weight(&self) -> u32 {
        self.stored_weight()
    }
}

// SAFETY: a node moves between threads with its key and value, and gives shared access to both
// (`Send + Sync` of each). Its other parts are atomics. The state word governs the value's cell.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Node<K, V> {}
// SAFETY: as above.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Node<K, V> {}
