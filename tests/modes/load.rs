//! Loads that can be held up without holding up an executor.

use crate::common::tasks::slowly;
use crate::common::{Broken, End, Loader, until};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;

/// Holds callers up until the test opens it: tasks of any executor, and threads that block on it.
#[derive(Clone, Default)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub async fn pass(&self) {
        self.0.subscribe().wait_for(|open| *open).await.expect("the gate outlives this borrow");
    }
}

/// A load that counts its calls, can be held up at a gate, is polled more than once, and ends as it is told.
#[derive(Clone)]
pub struct Load {
    how: Loader,
    gate: Gate,
}

impl Load {
    /// Held up until the gate is opened.
    pub fn gated(end: End) -> (Self, Gate) {
        let gate = Gate::default();
        (Self { how: Loader::new(end), gate: gate.clone() }, gate)
    }

    pub fn new(end: End) -> Self {
        let (load, gate) = Self::gated(end);
        gate.open();
        load
    }

    pub fn calls(&self) -> usize {
        self.how.calls()
    }

    /// Waits until this many calls have begun.
    pub fn begun(&self, calls: usize) {
        until("a load begins", || self.calls() >= calls);
    }

    pub async fn run(self) -> Result<u64, Broken> {
        self.how.calls.fetch_add(1, Ordering::SeqCst);
        self.gate.pass().await;
        slowly(Loader::new(self.how.end), 1).await
    }
}
