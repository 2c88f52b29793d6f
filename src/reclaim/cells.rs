//! Memory that each thread has for itself in a cache, so that it changes it by plain loads and
//! stores.
//!
//! A thread's registration has a number that no other registration ever has ([`Pin::number`]), and
//! one thread at a time. A cache has a cell for each of the first [`CELLS`] numbers, which is
//! allocated when its thread first uses it. Threads with greater numbers have none, and use what
//! all threads share.
//!
//! Only the thread that owns the registration changes its cell, and it holds a pin meanwhile: the
//! pin, which no thread can send to another, is the proof. When the thread ends, another thread may
//! take over the registration, and the cells with it. It acquires what the first one has released
//! (`Participant::free` and `Collector::join`), so it finds the cell as the first one has left it.
//!
//! A child of the process ([`fork`](super::epoch)) has one thread. Threads that it starts take over
//! the registrations of its parent's other threads, and find their cells between any two stores. So
//! each change of a cell is one store, or is in such an order that a child that finds only the
//! first stores loses a bag of free nodes at most, and uses none twice.

use super::epoch::{CELLS, Pin};
use crate::sys::late_box::LateBox;
use crate::sys::sync::CachePadded;

/// The cells of a cache. They take a pointer until the first one is used.
pub(crate) struct Cells<C>(LateBox<[LateBox<CachePadded<C>>; CELLS]>);

impl<C> Cells<C> {
    pub(crate) fn new() -> Self {
        Self(LateBox::new())
    }

    /// Returns the cell of the thread that holds this pin, if the thread has used it before.
    #[inline(always)]
    pub(crate) fn own<'c>(&'c self, pin: &'c Pin) -> Option<&'c C> {
        Some(&self.0.get()?.get(pin.number())?.get()?.0)
    }

    /// Returns the cell of the thread that holds this pin, if its number is below `bound`. Makes
    /// the cell if need be.
    #[cold]
    #[inline(never)]
    #[allow(clippy::unnecessary_min_or_max, reason = "back ends differ in CELLS")]
    pub(crate) fn own_or_make<'c>(&'c self, pin: &'c Pin, bound: usize, make: fn() -> C) -> Option<&'c C> {
        let number = pin.number();
        if number >= bound.min(CELLS) {
            return None;
        }
        let cells = self.0.get_or_allocate(|| core::array::from_fn(|_| LateBox::new()));
        Some(&cells.get(number)?.get_or_allocate(|| CachePadded(make())).0)
    }

    /// Returns all cells with their numbers. Their owners may be changing them.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (usize, &C)> {
        self.0.get().into_iter().flatten().enumerate().filter_map(|(number, cell)| Some((number, &cell.get()?.0)))
    }

    /// Returns all cells. Their owners may be changing them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &C> {
        self.numbered().map(|(_, cell)| cell)
    }
}
