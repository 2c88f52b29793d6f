//! The loads in progress in this process, by key: what a push reaches.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What a flight is doing. It decides what a push does to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It has asked the server, or waits for another process. A push makes it ask again.
    Asking,
    /// It has a value in hand, to be stored in memory. A push fences it.
    Holding,
    /// It runs the loader under a lease of the server. A push fences it.
    Leading,
    /// It runs the loader without a lease. The link's return fences it.
    Local,
}

/// What was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    Value,
    Flight,
    /// A change of this process's own, or a change of the link: look again.
    Look,
}

#[derive(Debug)]
struct State {
    /// How many pushes there were.
    pushes: u64,
    phase: Phase,
}

/// A load in progress.
#[derive(Debug)]
pub(crate) struct Flight {
    key: Vec<u8>,
    /// Whether memory has a value that the load will replace.
    has_old: bool,
    state: Mutex<State>,
    bell: Notify,
}

/// Locks; a panic elsewhere leaves nothing half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flight {
    /// Begins to ask, and returns the number of pushes so far.
    pub(crate) fn ask(&self) -> u64 {
        let mut state = lock(&self.state);
        state.phase = Phase::Asking;
        state.pushes
    }

    /// Goes on to another phase. Returns false, and changes nothing, if something was pushed since
    /// `before`.
    pub(crate) fn turn(&self, phase: Phase, before: u64) -> bool {
        let mut state = lock(&self.state);
        let calm = state.pushes == before;
        if calm {
            state.phase = phase;
        }
        calm
    }

    /// Begins to lead. What was pushed before needs no answer: the server fences the publication.
    pub(crate) fn lead(&self) {
        lock(&self.state).phase = Phase::Leading;
    }

    /// Takes a push. Returns whether memory must drop the key's value, and fence this flight.
    fn push(&self, what: Pushed) -> bool {
        let mut state = lock(&self.state);
        state.pushes += 1;
        let drops = match what {
            Pushed::Value => state.phase != Phase::Asking || self.has_old,
            Pushed::Flight => state.phase == Phase::Leading,
            Pushed::Look => false,
        };
        drop(state);
        self.bell.notify_one();
        drops
    }

    /// Waits for the next push after `before`.
    pub(crate) async fn pushed_since(&self, before: u64) {
        while lock(&self.state).pushes == before {
            self.bell.notified().await;
        }
    }
}

/// All loads in progress.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    by_key: Mutex<HashMap<Vec<u8>, Vec<Arc<Flight>>>>,
}

/// What a push has met.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// No load of the key is in progress.
    None,
    /// A load that must be fenced, or memory has a value that must go.
    Drop,
    /// A load that looks again by itself.
    Woken,
}

impl Flights {
    /// Registers a load. To be called before the server is first asked: no push is missed then.
    pub(crate) fn register(&self, key: Vec<u8>, has_old: bool) -> Arc<Flight> {
        let state = Mutex::new(State { pushes: 0, phase: Phase::Asking });
        let flight = Arc::new(Flight { key: key.clone(), has_old, state, bell: Notify::new() });
        lock(&self.by_key).entry(key).or_default().push(flight.clone());
        flight
    }

    pub(crate) fn remove(&self, flight: &Arc<Flight>) {
        let mut by_key = lock(&self.by_key);
        if let Some(of_key) = by_key.get_mut(&flight.key) {
            of_key.retain(|other| !Arc::ptr_eq(other, flight));
            if of_key.is_empty() {
                by_key.remove(&flight.key);
            }
        }
    }

    /// Hands a push to the loads of a key.
    pub(crate) fn push(&self, key: &[u8], what: Pushed) -> Met {
        let by_key = lock(&self.by_key);
        let Some(of_key) = by_key.get(key) else { return Met::None };
        let drops = of_key.iter().fold(false, |drops, flight| flight.push(what) | drops);
        if drops { Met::Drop } else { Met::Woken }
    }

    /// Has all loads look again.
    pub(crate) fn wake_all(&self) {
        let by_key = lock(&self.by_key);
        by_key.values().flatten().for_each(|flight| {
            flight.push(Pushed::Look);
        });
    }

    /// Has all loads look again, and returns the keys of those that no longer ask: they must be
    /// fenced.
    pub(crate) fn wake_and_list_settled(&self) -> Vec<Vec<u8>> {
        let by_key = lock(&self.by_key);
        let settled = |flight: &&Arc<Flight>| {
            flight.push(Pushed::Look);
            lock(&flight.state).phase != Phase::Asking
        };
        by_key.values().flatten().filter(settled).map(|flight| flight.key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_wakes_who_asks_and_fences_who_holds_or_leads() {
        let flights = Flights::default();
        assert_eq!(flights.push(b"k", Pushed::Value), Met::None);
        let flight = flights.register(b"k".to_vec(), false);
        let before = flight.ask();
        assert_eq!(flights.push(b"k", Pushed::Value), Met::Woken);
        assert!(!flight.turn(Phase::Holding, before), "the answer is older than the push");
        let before = flight.ask();
        assert!(flight.turn(Phase::Holding, before));
        assert_eq!(flights.push(b"k", Pushed::Flight), Met::Woken);
        assert_eq!(flights.push(b"k", Pushed::Value), Met::Drop);
        flight.lead();
        assert_eq!(flights.push(b"k", Pushed::Flight), Met::Drop);
        assert_eq!(flights.push(b"k", Pushed::Look), Met::Woken);
        flights.remove(&flight);
        assert_eq!(flights.push(b"k", Pushed::Value), Met::None);
    }

    #[test]
    fn a_push_drops_the_old_value_of_who_asks() {
        let flights = Flights::default();
        let flight = flights.register(b"k".to_vec(), true);
        flight.ask();
        assert_eq!(flights.push(b"k", Pushed::Flight), Met::Woken);
        assert_eq!(flights.push(b"k", Pushed::Value), Met::Drop);
    }

    #[test]
    fn the_return_of_the_link_fences_all_but_who_asks() {
        let flights = Flights::default();
        let (asks, local) = (flights.register(b"a".to_vec(), false), flights.register(b"l".to_vec(), false));
        let before = asks.ask();
        assert!(local.turn(Phase::Local, local.ask()));
        assert_eq!(flights.wake_and_list_settled(), [b"l".to_vec()]);
        assert!(!asks.turn(Phase::Local, before), "it looks again, and finds the link");
    }
}
