//! Flights: who loads, who waits, and how it ends.

use super::{Entry, Model};
use crate::parts::Value;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

#[derive(Clone)]
pub enum State {
    Computing,
    /// Given up, and somebody waits.
    Empty,
    Published(Rc<Entry>),
    /// With this error, or without one.
    Failed(Option<u64>),
    /// There is no value.
    Absent,
    Dead,
}

pub struct Flight {
    pub key: u8,
    pub old: Option<Rc<Entry>>,
    pub state: RefCell<State>,
    pub waiters: Cell<u32>,
    /// The number of the lease in force, and when that was given.
    pub lease: Cell<u32>,
    pub begun: Cell<u64>,
    /// How often all values had been ended by then.
    ends: Cell<u64>,
    /// Whether it is still what callers of the key meet.
    pub attached: Cell<bool>,
    /// Whether `expire` was called since it began: its value will be over, and is not for those who join from then on.
    pub fenced: Cell<bool>,
}

impl Flight {
    pub fn is(&self, wanted: fn(&State) -> bool) -> bool {
        wanted(&self.state.borrow())
    }

    /// Whether this lease is in force: not ended, and not taken over.
    pub fn led_by(&self, lease: u32) -> bool {
        self.is(|s| matches!(s, State::Computing)) && self.lease.get() == lease
    }

    pub fn empty(&self) -> bool {
        self.is(|s| matches!(s, State::Empty))
    }
}

/// When one who waits came to its flight.
#[derive(Clone, Copy)]
pub struct Came {
    ends: u64,
    fenced: bool,
}

impl Came {
    /// Whether that was after a call that ended this value, which the flight has loaded: so it is not for the one who waits.
    pub fn late_for(self, value: &Entry) -> bool {
        self.fenced || value.began.get() < self.ends
    }
}

impl Model {
    /// Who joins a flight comes now.
    pub fn came(&self, flight: &Flight) -> Came {
        Came { ends: self.ends.get(), fenced: flight.fenced.get() }
    }

    /// A lease is given: of a new flight, or of the one that was given up.
    pub fn lead(&self, key: u8) -> Rc<Flight> {
        self.count(|s| &mut s.loads);
        if let Some(flight) = self.flight(key) {
            assert!(flight.empty(), "two leaders of one flight");
            self.count(|s| &mut s.handovers);
            self.lead_anew(&flight);
            return flight;
        }
        let flight = Rc::new(Flight {
            key,
            old: self.entry(key),
            state: RefCell::new(State::Computing),
            waiters: Cell::new(0),
            lease: Cell::new(1),
            begun: Cell::new(self.now.get()),
            ends: Cell::new(self.ends.get()),
            attached: Cell::new(true),
            fenced: Cell::new(false),
        });
        self.slots.borrow_mut().entry(key).or_default().flight = Some(flight.clone());
        flight
    }

    fn lead_anew(&self, flight: &Flight) {
        flight.state.replace(State::Computing);
        flight.lease.set(flight.lease.get() + 1);
        flight.begun.set(self.now.get());
        flight.ends.set(self.ends.get());
    }

    /// A waiter takes the load on: one that was given up, or, from a leader that hangs, one that was not.
    pub fn take_on(&self, flight: &Flight) {
        self.count(|s| &mut s.loads);
        self.count(|s| if flight.empty() { &mut s.handovers } else { &mut s.takeovers });
        flight.waiters.set(flight.waiters.get() - 1);
        self.lead_anew(flight);
    }

    /// A caller who has come by takes the load over from a leader that hangs.
    pub fn relieve(&self, flight: &Flight) {
        self.count(|s| &mut s.loads);
        self.count(|s| &mut s.takeovers);
        self.lead_anew(flight);
    }

    pub fn join(&self, flight: &Flight) {
        self.count(|s| &mut s.coalesced);
        flight.waiters.set(flight.waiters.get() + 1);
    }

    pub fn leave(&self, flight: &Flight) {
        flight.waiters.set(flight.waiters.get() - 1);
        if flight.waiters.get() == 0 && flight.empty() {
            self.end(flight, State::Dead);
        }
    }

    pub fn end(&self, flight: &Flight, state: State) {
        flight.state.replace(state);
        if flight.attached.replace(false) {
            let mut slots = self.slots.borrow_mut();
            let slot = slots.get_mut(&flight.key).expect("an attached flight has its slot");
            slot.flight = None;
            if slot.entry.is_none() {
                slots.remove(&flight.key);
            }
        }
    }

    pub fn give_up(&self, flight: &Flight) {
        if flight.waiters.get() > 0 && flight.attached.get() {
            flight.state.replace(State::Empty);
        } else {
            self.end(flight, State::Dead);
        }
    }

    pub fn fail(&self, flight: &Flight, error: Option<u64>) {
        self.count(|s| &mut s.load_failures);
        flight.old.iter().for_each(|old| self.cool_down(old));
        self.end(flight, State::Failed(error));
    }

    /// There is no value, which is not kept: the old one goes.
    pub fn absent(&self, flight: &Flight) {
        let attached = flight.attached.get();
        self.end(flight, State::Absent);
        if attached {
            self.clear(flight.key);
        }
    }

    /// The old value is confirmed: those who wait get it, as they would a new one, whatever becomes of it.
    pub fn confirm(&self, flight: &Flight, old: &Rc<Entry>, delta: u64) {
        // What was fenced confirms nothing, and the old value stays as it is.
        let kept = flight.fenced.get() || self.renew(old, flight.ends.get(), delta);
        let attached = flight.attached.get();
        self.end(flight, State::Published(old.clone()));
        if attached && !kept {
            self.clear(flight.key);
        }
    }

    /// Whether it is stored.
    pub fn publish(&self, flight: &Flight, value: &Value, explicit: Option<Duration>, delta: u64) -> bool {
        self.note_cost(delta);
        let (entry, kept) = self.make(value, explicit, flight.ends.get(), delta);
        if flight.fenced.get() {
            entry.expires.set(self.now.get());
            entry.idle.set(0);
            entry.delta.set(delta.max(1));
        }
        let attached = flight.attached.get();
        self.end(flight, State::Published(entry.clone()));
        match (attached, kept) {
            (true, true) => self.store(flight.key, entry),
            (true, false) => self.clear(flight.key),
            (false, _) => {}
        }
        // What was not to be kept is not rejected.
        if !kept && explicit != Some(Duration::ZERO) {
            self.reject(flight.key, value);
        }
        attached && kept
    }
}
