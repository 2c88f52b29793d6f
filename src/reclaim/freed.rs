//! Nodes that are given back to their arena.

use super::arena::Arena;
use super::layout::{Shape, cold};
use super::single::free_single;
use crate::sys::sync::Ordering;
use core::ptr::NonNull;

impl<T> Arena<T> {
    /// Returns an empty batch of nodes to be freed together.
    pub(crate) fn freed(&self) -> Freed<'_, T> {
        Freed { arena: self, first: 0, last: None, count: 0 }
    }
}

/// Freed nodes that are pushed on the free list together. Nodes that were allocated by themselves
/// are freed at once.
pub(crate) struct Freed<'a, T> {
    arena: &'a Arena<T>,
    first: u32,
    last: Option<u32>,
    count: usize,
}

/// The most nodes that are held back for one push.
const TOGETHER: usize = 64;

impl<T> Freed<'_, T> {
    /// # Safety
    /// `node` came from the arena's [`Arena::allocate`] and is not used again.
    pub(crate) unsafe fn add(&mut self, node: NonNull<T>) {
        if Shape::<T>::SINGLE {
            // SAFETY: the contract is passed on. The node came from `single`.
            return unsafe { free_single(node) };
        }
        let number = Arena::number_of(node);
        // SAFETY: the node is of this arena, and its slab is freed with the arena only.
        unsafe { cold(node) }.slot.store(self.first, Ordering::Relaxed);
        self.first = number;
        self.last.get_or_insert(number);
        self.count += 1;
        if self.count == TOGETHER {
            self.push();
        }
    }

    fn push(&mut self) {
        if let Some(last) = self.last.take() {
            self.arena.push(self.first, last);
            (self.first, self.count) = (0, 0);
        }
    }
}

impl<T> Drop for Freed<'_, T> {
    fn drop(&mut self) {
        self.push();
    }
}
