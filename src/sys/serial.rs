//! A queue that one server at a time serves, in order. Any thread pushes, without a lock.
//!
//! A pusher pushes its item, and then sets `served`. If `served` was not set before, the pusher
//! starts a server. A server that finds the queue empty clears `served`, and then looks once more.
//! Both set and clear it by read-modify-writes, so one of the two comes first. If the pusher's
//! does, the server's acquires the push, and its second look finds the item. If the server's does,
//! the pusher finds `served` clear, and starts another server.

use super::mutants::{mutant, weakened};
use super::stack::{Below, Chain, Linked, Stack};
use super::sync::{AtomicBool, Ordering};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::marker::PhantomData;
use core::ptr::NonNull;

pub(crate) struct Serial<T> {
    waiting: Stack<Item<T>>,
    /// Whether a server is at work, or is about to be started.
    served: AtomicBool,
    /// Suppresses the automatic `Send` and `Sync`, which atomic pointers would have for any `T`.
    _items: PhantomData<*mut T>,
}

struct Item<T> {
    below: Below,
    value: T,
}

impl<T> Linked for Item<T> {
    fn below(&self) -> &Below {
        &self.below
    }
}

// SAFETY: the queue owns its items, which threads push and take by value. No thread gets a
// reference to an item that another thread may use.
unsafe impl<T: Send> Send for Serial<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Serial<T> {}

impl<T> Serial<T> {
    pub(crate) fn new() -> Self {
        Self { waiting: Stack::new(), served: AtomicBool::new(false), _items: PhantomData }
    }

    /// Pushes an item. Returns a server if none is at work: the caller has it serve the queue.
    pub(crate) fn push(self: &Arc<Self>, value: T) -> Option<Server<T>> {
        let item = NonNull::from(Box::leak(Box::new(Item { below: Below::nothing(), value })));
        // SAFETY: the item is this caller's own, and is given away here. It is freed by the thread
        // that takes it out, and not before.
        unsafe { self.waiting.push(item) };
        // Release: the server that finds `served` set sees the push. Acquire: this server sees what
        // the last one left.
        let served = self.served.swap(true, weakened("serial push", Ordering::AcqRel));
        (!served).then(|| Server { queue: self.clone(), batch: Chain::new(), over: false })
    }

    /// Takes all items, the first one first.
    fn take(&self) -> Chain<Item<T>> {
        let mut batch = Chain::new();
        batch.append(self.waiting.take());
        batch
    }
}

impl<T> Drop for Serial<T> {
    fn drop(&mut self) {
        drop(emptied(&mut self.take()));
    }
}

/// Serves a queue. If it is dropped before its end, the items that are left wait for the next push.
pub(crate) struct Server<T> {
    queue: Arc<Serial<T>>,
    batch: Chain<Item<T>>,
    /// Whether it has ended: another server may be at work.
    over: bool,
}

// SAFETY: a server owns the items of its batch, and a reference to the queue.
unsafe impl<T: Send> Send for Server<T> {}

impl<T> Server<T> {
    /// Takes the next item out. None: the server has ended.
    pub(crate) fn next(&mut self) -> Option<T> {
        while !self.over {
            if let Some(value) = pop(&mut self.batch) {
                return Some(value);
            }
            self.batch = self.queue.take();
            if self.batch.iter().next().is_none() {
                self.over = self.rest();
            }
        }
        None
    }

    /// Returns whether the next item has been taken from the queue already.
    pub(crate) fn has_next(&self) -> bool {
        self.batch.iter().next().is_some()
    }

    /// Stops serving, unless an item came meanwhile. Returns whether it did stop.
    fn rest(&self) -> bool {
        // Acquire: pairs with the Release of a push that found `served` set. Release: pairs with
        // the Acquire of the next one.
        self.queue.served.swap(false, weakened("serial rest", Ordering::AcqRel));
        self.queue.waiting.is_empty()
            || mutant("serial rests blindly")
            || self.queue.served.swap(true, Ordering::AcqRel)
    }
}

impl<T> Drop for Server<T> {
    fn drop(&mut self) {
        if !self.over {
            // The queue has the last item first.
            let mut left = Chain::new();
            left.append(core::mem::replace(&mut self.batch, Chain::new()));
            self.queue.waiting.put_back(left);
            self.queue.served.swap(false, Ordering::AcqRel);
        }
    }
}

fn pop<T>(chain: &mut Chain<Item<T>>) -> Option<T> {
    // SAFETY: the item was boxed by `push`. It was in the chain, and so is this caller's now.
    chain.pop().map(|item| unsafe { Box::from_raw(item.as_ptr()) }.value)
}

fn emptied<T>(chain: &mut Chain<Item<T>>) -> Vec<T> {
    core::iter::from_fn(|| pop(chain)).collect()
}
