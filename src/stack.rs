//! Lists that are taken whole: lock-free stacks without a `pop`, and so without ABA.
//!
//! A pusher reads the head, links what it pushes to that, and then compares and swaps the head, which compares addresses. In
//! between another may have taken the list and freed what was in it, and a third may have pushed something new at the
//! freed address. The CAS succeeds, and rightly: what is at that address is below what is pushed. But the *pointer* that
//! was read is one to freed memory, whatever address it has. So a link keeps no pointer. It keeps an address, and the
//! address becomes a pointer where the list's taker walks it, from what pushers have exposed: what is in a list is alive
//! there, so there is a pointer to it.

use crate::sync::under_lock::AtomicPtr;
use crate::sync::{Ordering, UnsafeCell, mutant, order};
use core::ptr::{self, NonNull};

/// What can be in one of them, one at a time.
pub(crate) trait Linked {
    /// Where its link to the next is. Used by its owner only: who pushes it, or has taken the list.
    fn below(&self) -> &Below;
}

/// The address of the next one in a list; 0: none.
pub(crate) struct Below(UnsafeCell<usize>);

impl Below {
    pub(crate) fn nothing() -> Self {
        Self(UnsafeCell::new(0))
    }

    /// # Safety
    /// The caller owns what this is of (see [`Linked`]).
    unsafe fn set(&self, address: usize) {
        // SAFETY: the owner's alone, by contract.
        self.0.with_mut(|below| unsafe { *below = address });
    }

    /// # Safety
    /// As for [`set`](Self::set).
    unsafe fn get(&self) -> usize {
        // SAFETY: as in `set`.
        self.0.with(|below| unsafe { *below })
    }
}

/// A list that others share. What is in it belongs to it.
pub(crate) struct Stack<B>(AtomicPtr<B>);

impl<B: Linked> Stack<B> {
    pub(crate) fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// As far as can be seen from here.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed).is_null()
    }

    /// # Safety
    /// `one` is the caller's, who gives it away; it stays alive for as long as it is in a list. Who takes it from there uses
    /// it by a pointer that has the rights of this one.
    pub(crate) unsafe fn push(&self, one: NonNull<B>) {
        // See `Chain::pop`.
        one.as_ptr().expose_provenance();
        let mut head = self.0.load(Ordering::Relaxed);
        loop {
            // SAFETY: alive, and the caller's until it is in the list, by contract. No reference to it is left at the CAS.
            unsafe { one.as_ref().below().set(head.addr()) };
            // Release: pairs with the Acquire of `take` (the RMWs of pushes in between carry it on).
            let pushed = order("push unreleased", Ordering::Release);
            match self.0.compare_exchange_weak(head, one.as_ptr(), pushed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// All of them, the last one first: they are the caller's now, and others find nothing.
    pub(crate) fn take(&self) -> Chain<B> {
        // Acquire: pairs with `push` and `put_back`; further down the RMWs of later pushes carry it on.
        Chain { first: self.0.swap(ptr::null_mut(), order("take unacquired", Ordering::Acquire)) }
    }

    /// Puts back what was taken, in one step if nothing has come since.
    pub(crate) fn put_back(&self, mut chain: Chain<B>) {
        let Some(first) = NonNull::new(chain.first) else { return };
        if mutant("blind put back") {
            self.0.store(first.as_ptr(), Ordering::Release);
            return;
        }
        // Release: as in `push`, for all of them.
        let release = order("list put back", Ordering::Release);
        if self.0.compare_exchange(ptr::null_mut(), first.as_ptr(), release, Ordering::Relaxed).is_ok() {
            return;
        }
        while let Some(one) = chain.pop() {
            // SAFETY: the chain's, and so ours; alive, as it was in a list.
            unsafe { self.push(one) };
        }
    }
}

/// A list of one owner. (What is left in it when it is dropped is lost, not freed.)
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
        // SAFETY: alive and ours, by contract.
        unsafe { one.as_ref().below().set(self.first.addr()) };
        self.first = one.as_ptr();
    }

    /// Takes the first one off.
    pub(crate) fn pop(&mut self) -> Option<NonNull<B>> {
        let first = NonNull::new(self.first)?;
        // SAFETY: what is in the chain is ours, and alive.
        self.first = unsafe { Self::after(first) };
        Some(first)
    }

    /// # Safety
    /// `one` is in a chain of the caller's.
    unsafe fn after(one: NonNull<B>) -> *mut B {
        // Exposed as it was pushed. (To address 0 this is null.)
        // SAFETY: alive, and its owner is the caller.
        ptr::with_exposed_provenance_mut(unsafe { one.as_ref().below().get() })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &B> {
        let mut next = self.first;
        core::iter::from_fn(move || {
            let one = NonNull::new(next)?;
            // SAFETY: what is in the chain is ours, and alive for as long as the chain is borrowed.
            next = unsafe { Self::after(one) };
            // SAFETY: as above.
            Some(unsafe { one.as_ref() })
        })
    }

    /// Takes over what is in the other one.
    pub(crate) fn append(&mut self, mut other: Self) {
        while let Some(one) = other.pop() {
            // SAFETY: the other chain's, and so ours; alive, as it was in a list.
            unsafe { self.push(one) };
        }
    }

    /// Cuts the chain behind its first so many, at least one; gives the rest.
    pub(crate) fn cut(&mut self, behind: usize) -> Self {
        let Some(last) = self.iter().take(behind.max(1)).last().map(NonNull::from) else { return Self::new() };
        // SAFETY: what is in the chain is ours, and alive.
        unsafe {
            let rest = Self::after(last);
            last.as_ref().below().set(0);
            Self { first: rest }
        }
    }
}
