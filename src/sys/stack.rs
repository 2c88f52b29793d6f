//! Lists that are taken whole: lock-free stacks without a `pop`, and so without ABA.
//!
//! A pusher reads the head, links its new item to it, and then compares and swaps the head, which
//! compares addresses. Between the two, another thread may have taken the list and freed its items,
//! and a third may have pushed a new item at a freed address. The CAS succeeds, and rightly: the
//! item at that address is the one below the new one. But the *pointer* that the pusher read is one
//! to freed memory, even though the address is right. So a link keeps no pointer, but an address.
//! The taker of the list turns the address into a pointer, from provenance that pushers have
//! exposed. An item in a list is alive there, so there is a pointer to it.

use super::mutants::{mutant, weakened};
use super::sync::under_lock::AtomicPtr;
use super::sync::{Ordering, UnsafeCell};
use core::ptr::{self, NonNull};

/// An item that can be in one list at a time.
pub(crate) trait Linked {
    /// Returns the item's link to the next one. Only the item's owner uses it: its pusher, or the
    /// taker of the list.
    fn below(&self) -> &Below;
}

/// The address of the next item in a list. 0 means none.
pub(crate) struct Below(UnsafeCell<usize>);

impl Below {
    pub(crate) fn nothing() -> Self {
        Self(UnsafeCell::new(0))
    }

    /// # Safety
    /// The caller owns the item of this link (see [`Linked`]).
    unsafe fn set(&self, address: usize) {
        // SAFETY: the link is the owner's alone, by contract.
        self.0.with_mut(|below| unsafe { *below = address });
    }

    /// # Safety
    /// As for [`set`](Self::set).
    unsafe fn get(&self) -> usize {
        // SAFETY: as in `set`.
        self.0.with(|below| unsafe { *below })
    }
}

/// A list that threads share. It owns its items.
pub(crate) struct Stack<B>(AtomicPtr<B>);

impl<B: Linked> Stack<B> {
    pub(crate) fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Returns whether the list is empty, as far as this thread sees.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed).is_null()
    }

    /// # Safety
    /// The caller owns `one`, and gives it away. `one` stays alive for as long as it is in a list.
    /// The taker uses it by a pointer with the provenance of this one.
    pub(crate) unsafe fn push(&self, one: NonNull<B>) {
        // Exposed for `Chain::after`.
        one.as_ptr().expose_provenance();
        let mut head = self.0.load(Ordering::Relaxed);
        loop {
            // SAFETY: the item is alive, and the caller's until it is in the list, by contract. No
            // reference to it is left at the CAS.
            unsafe { one.as_ref().below().set(head.addr()) };
            // Release: pairs with the Acquire of `take` (the RMWs of pushes in between carry it
            // on).
            let pushed = weakened("push unreleased", Ordering::Release);
            match self.0.compare_exchange_weak(head, one.as_ptr(), pushed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes all items, last one first. They are the caller's now, and other threads find none.
    pub(crate) fn take(&self) -> Chain<B> {
        // Acquire: pairs with `push` and `put_back`. For the items further down, the RMWs of later
        // pushes carry it on.
        Chain { first: self.0.swap(ptr::null_mut(), weakened("take unacquired", Ordering::Acquire)) }
    }

    /// Puts a chain back, in one step if the list is still empty.
    pub(crate) fn put_back(&self, mut chain: Chain<B>) {
        let Some(first) = NonNull::new(chain.first) else { return };
        if mutant("blind put back") {
            self.0.store(first.as_ptr(), Ordering::Release);
            return;
        }
        // Release: as in `push`, for all items.
        let release = weakened("list put back", Ordering::Release);
        if self.0.compare_exchange(ptr::null_mut(), first.as_ptr(), release, Ordering::Relaxed).is_ok() {
            return;
        }
        while let Some(one) = chain.pop() {
            // SAFETY: the item was the chain's, and so is this thread's. It is alive, because it
            // was in a list.
            unsafe { self.push(one) };
        }
    }
}

/// A list with one owner. (If it is dropped, items left in it are lost, not freed.)
#[must_use]
pub(crate) struct Chain<B> {
    first: *mut B,
}

impl<B: Linked> Chain<B> {
    pub(crate) const fn new() -> Self {
        Self { first: ptr::null_mut() }
    }

    /// # Safety
    /// As for [`Stack::push`].
    pub(crate) unsafe fn push(&mut self, one: NonNull<B>) {
        one.as_ptr().expose_provenance();
        // SAFETY: the item is alive and the caller's, by contract.
        unsafe { one.as_ref().below().set(self.first.addr()) };
        self.first = one.as_ptr();
    }

    /// Takes the first item off.
    pub(crate) fn pop(&mut self) -> Option<NonNull<B>> {
        let first = NonNull::new(self.first)?;
        // SAFETY: an item in the chain is the chain's own, and alive.
        self.first = unsafe { Self::after(first) };
        Some(first)
    }

    /// # Safety
    /// `one` is in a chain of the caller's.
    unsafe fn after(one: NonNull<B>) -> *mut B {
        // The pusher has exposed the provenance. (Address 0 gives null.)
        // SAFETY: the item is alive, and its owner is the caller.
        ptr::with_exposed_provenance_mut(unsafe { one.as_ref().below().get() })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &B> {
        let mut next = self.first;
        core::iter::from_fn(move || {
            let one = NonNull::new(next)?;
            // SAFETY: an item in the chain is the chain's own, and alive for as long as the chain
            // is borrowed.
            next = unsafe { Self::after(one) };
            // SAFETY: as above.
            Some(unsafe { one.as_ref() })
        })
    }

    /// Takes over the items of the other chain.
    pub(crate) fn append(&mut self, mut other: Self) {
        while let Some(one) = other.pop() {
            // SAFETY: the item was the other chain's, and so is this thread's. It is alive, because
            // it was in a list.
            unsafe { self.push(one) };
        }
    }

    /// Cuts the chain behind its first `behind` items, at least one. Returns the rest.
    pub(crate) fn cut(&mut self, behind: usize) -> Self {
        let Some(last) = self.iter().take(behind.max(1)).last().map(NonNull::from) else { return Self::new() };
        // SAFETY: an item in the chain is the chain's own, and alive.
        unsafe {
            let rest = Self::after(last);
            last.as_ref().below().set(0);
            Self { first: rest }
        }
    }
}
