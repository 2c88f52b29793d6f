//! How long a load is registered: until memory has its result.

use crate::flights::Flight;
use crate::inner::Inner;
use crate::key::SharedKey;
use bellwether::{Spawn, Task, TokioSpawn, Work};
use std::any::Any;
use std::cell::RefCell;
use std::sync::Arc;
use tokio::runtime::Handle;

/// The registration of a load.
pub(crate) struct Boarded<K, V> {
    tier: Arc<Inner<K, V>>,
    flight: Arc<Flight>,
}

impl<K, V> Drop for Boarded<K, V> {
    fn drop(&mut self) {
        self.tier.flights.remove(&self.flight);
    }
}

tokio::task_local! {
    /// The registrations of a load in the background. Its task stores the result after the loader's
    /// future has ended, and so they live as long as the task.
    static IN_BACKGROUND: RefCell<Vec<Box<dyn Any + Send>>>;
}

/// Registers a load. In the background its task keeps the registration; if not, `keep` does.
pub(crate) fn board<K: SharedKey, V: Clone + Send + Sync + 'static>(
    tier: &Arc<Inner<K, V>>,
    key: &K,
    has_old: bool,
    keep: impl FnOnce(Boarded<K, V>),
) -> Arc<Flight> {
    let mut bytes = Vec::new();
    key.encode(&mut bytes);
    let flight = tier.flights.register(bytes, has_old);
    let mut boarded = Some(Boarded { tier: tier.clone(), flight: flight.clone() });
    let _ = IN_BACKGROUND.try_with(|kept| kept.borrow_mut().extend(boarded.take().map(|it| Box::new(it) as _)));
    if let Some(boarded) = boarded {
        keep(boarded);
    }
    flight
}

/// Runs loads in the background of the tier's runtime.
pub(crate) struct Background(TokioSpawn);

impl Background {
    pub(crate) fn new(runtime: Handle) -> Self {
        Self(TokioSpawn::new(runtime))
    }
}

impl Spawn for Background {
    fn spawn(&self, task: Task) {
        self.0.spawn(Box::pin(IN_BACKGROUND.scope(RefCell::default(), task)));
    }
    fn spawn_blocking(&self, work: Work) {
        self.0.spawn_blocking(work);
    }
}
