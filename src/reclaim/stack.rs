//! Lists that are taken whole: lock-free stacks without a `pop`, and so without ABA.

use crate::sync::{AtomicPtr, Ordering, mutant, order};
use core::ptr::{self, NonNull};

/// What can be in one of them, one at a time.
pub(crate) trait Linked: Sized {
    /// Where its link to the next is. Written by its owner only: who pushes it, or has taken the list.
    fn next(&self) -> &AtomicPtr<Self>;
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
    /// `one` is the caller's, who gives it away; it stays alive for as long as it is in a list.
    pub(crate) unsafe fn push(&self, one: NonNull<B>) {
        let mut head = self.0.load(Ordering::Relaxed);
        loop {
            // SAFETY: alive, by contract.
            unsafe { one.as_ref() }.next().store(head, Ordering::Relaxed);
            // Release: pairs with the Acquire in `take`.
            match self.0.compare_exchange_weak(
                head,
                one.as_ptr(),
                order("list push", Ordering::Release),
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// All of them: they are the caller's now, and others find nothing.
    pub(crate) fn take(&self) -> Chain<B> {
        // Acquire: pairs with `push` and `put_back`; further down the RMWs of later pushes carry it on.
        Chain { first: self.0.swap(ptr::null_mut(), order("list take", Ordering::Acquire)) }
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
        // SAFETY: alive, by contract.
        unsafe { one.as_ref() }.next().store(self.first, Ordering::Relaxed);
        self.first = one.as_ptr();
    }

    /// Takes the first one off.
    pub(crate) fn pop(&mut self) -> Option<NonNull<B>> {
        let first = NonNull::new(self.first)?;
        // SAFETY: what is in the chain is ours, and alive.
        self.first = unsafe { first.as_ref() }.next().load(Ordering::Relaxed);
        Some(first)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &B> {
        let mut next = self.first;
        core::iter::from_fn(move || {
            // SAFETY: what is in the chain is ours, and alive for as long as the chain is borrowed.
            let one = unsafe { NonNull::new(next)?.as_ref() };
            next = one.next().load(Ordering::Relaxed);
            Some(one)
        })
    }

    /// Cuts the chain behind its first so many, at least one; gives the rest.
    pub(crate) fn cut(&mut self, behind: usize) -> Self {
        let Some(last) = self.iter().take(behind.max(1)).last() else { return Self::new() };
        let rest = last.next().load(Ordering::Relaxed);
        last.next().store(ptr::null_mut(), Ordering::Relaxed);
        Self { first: rest }
    }
}
