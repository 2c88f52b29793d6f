//! The back end under loom and shuttle: it frees a bag as early as the rules of epochs permit, and
//! in few steps.
//!
//! Its bookkeeping is invisible to loom (loom runs one thread at a time, on one system thread).
//! Loom sees only the orderings that an epoch scheme promises, so that no other ordering masks a
//! bug:
//!
//! * An unpin happens before the free of a bag that was retired under that pin: `left` (Release at
//!   the unpin, Acquire at the flip).
//! * A retirement that the epoch has moved past happens before every later pin, so a reader under
//!   such a pin cannot meet a node that was unlinked before: `moved` (an RMW with Release when a
//!   bag is sealed, and with Acquire at each pin).

#[path = "crossbeam/grace.rs"]
mod grace;

use crate::sys::mutants::mutant;
use crate::sys::sync::{AtomicUsize, Ordering};
use alloc::{sync::Arc, vec::Vec};
use core::cell::RefCell;
use grace::Flag;
pub(crate) use grace::{Grace, Graces};

/// The threads that have memory of their own in a cache: none, because nodes and bags are freed as
/// early as can be.
pub(crate) const CELLS: usize = 0;

struct Waiting {
    grace: Arc<Flag>,
    /// The pins that were held when the bag was sealed.
    held: Vec<u64>,
}

#[derive(Default)]
struct Books {
    next: u64,
    held: Vec<u64>,
    waiting: Vec<Waiting>,
}

/// The state that loom does not see.
#[derive(Default)]
struct Hidden(RefCell<Books>);

// SAFETY: the threads of loom and of shuttle are coroutines of one system thread. None is switched
// away from while it borrows, because no operation of theirs lies in between.
unsafe impl Send for Hidden {}
// SAFETY: as above.
unsafe impl Sync for Hidden {}

struct State {
    books: Hidden,
    left: AtomicUsize,
    moved: AtomicUsize,
}

pub(crate) struct Epoch(Arc<State>);
pub(crate) struct Handle(Arc<State>);
pub(crate) struct Pin {
    state: Arc<State>,
    id: u64,
    _not_send: core::marker::PhantomData<*const ()>,
}

fn enter(state: &Arc<State>) -> Pin {
    let id = {
        let mut books = state.books.0.borrow_mut();
        books.next += 1;
        let id = books.next;
        if !mutant("no pin") {
            books.held.push(id);
        }
        id
    };
    state.moved.fetch_add(0, Ordering::Acquire);
    Pin { state: state.clone(), id, _not_send: core::marker::PhantomData }
}

impl Epoch {
    /// Does nothing, because there are no [`CELLS`].
    pub(crate) fn adopt(&self, _number: usize, _user: impl FnOnce()) {}

    pub(crate) fn new() -> Self {
        Self(Arc::new(State { books: Hidden::default(), left: AtomicUsize::new(0), moved: AtomicUsize::new(0) }))
    }
    pub(crate) fn register(&self) -> Handle {
        Handle(self.0.clone())
    }
    pub(crate) fn enter(&self) -> Pin {
        enter(&self.0)
    }
}

impl Handle {
    pub(crate) fn enter(&self) -> Pin {
        enter(&self.0)
    }
}

impl Pin {
    /// Returns a number that has no cell.
    pub(crate) fn number(&self) -> usize {
        CELLS
    }

    pub(crate) fn after_grace(&self, grace: Arc<Flag>) {
        self.state.moved.fetch_add(1, Ordering::AcqRel);
        let mut books = self.state.books.0.borrow_mut();
        let held = books.held.clone();
        books.waiting.push(Waiting { grace, held });
    }

    pub(crate) fn flush(&self) {}
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.state.left.fetch_add(1, Ordering::Release);
        let flip = {
            let mut books = self.state.books.0.borrow_mut();
            let id = self.id;
            books.held.retain(|&h| h != id);
            for w in &mut books.waiting {
                w.held.retain(|&h| h != id);
            }
            let (ready, waiting) = core::mem::take(&mut books.waiting).into_iter().partition(|w| w.held.is_empty());
            books.waiting = waiting;
            let ready: Vec<Waiting> = ready;
            ready
        };
        if !flip.is_empty() {
            // Acquire: for what every unpinned thread did before it left.
            self.state.left.fetch_add(0, Ordering::Acquire);
            for w in flip {
                w.grace.ripen();
            }
        }
    }
}
