//! What a poll will come to, and what becomes of the model by it.

use super::input::{Ending, Trap};
use super::*;
use crate::model::{Came, State};

/// What a waiter sees when it looks.
pub(super) enum Sight {
    Pending,
    Ready(u64),
    Failed(Option<u64>),
    /// It leads now, under this number.
    Lead(u32),
    /// The flight is over; look at the key again.
    Again,
}

impl Driver {
    pub(super) fn weigher_panics(&self) -> bool {
        self.weighs && traps::is_armed(Trap::Weigher)
    }

    /// Whether a waiter may take this flight over from its leader.
    fn overdue(&self, flight: &Flight) -> bool {
        let due = flight.begun.get().saturating_add(self.lead_timeout);
        due != NEVER && self.model.now.get() >= due
    }

    fn timed_out(&self, began: Option<u64>) -> bool {
        let end = began.map_or(NEVER, |began| began.saturating_add(self.wait_timeout));
        end != NEVER && self.model.now.get() >= end
    }

    /// That one who waits was woken if there is anything to see.
    pub(super) fn woken(&self, flight: &Flight, bell: &Bell, began: Option<u64>) {
        let ended = !flight.is(|s| matches!(s, State::Computing));
        let due = self.overdue(flight) || self.timed_out(began);
        assert!(!(ended || due) || bell.rung(), "a lost wake-up at key {}: ended: {ended}, due: {due}", flight.key);
    }

    /// A waiter looks at its flight, at which it knew of this lease. Nobody takes over from a leader that is news to it: it looks
    /// once more, unless its own time is over.
    pub(super) fn look(&self, flight: &Flight, known: &mut u32, came: Came, timed_out: bool) -> Sight {
        let state = flight.state.borrow().clone();
        let news = std::mem::replace(known, flight.lease.get()) != flight.lease.get();
        match state {
            State::Computing if !self.overdue(flight) || (news && timed_out) => Sight::Pending,
            // What was removed is not worth loading: the first to look ends it.
            State::Computing | State::Empty if !flight.attached.get() => {
                self.model.end(flight, State::Dead);
                Sight::Again
            }
            State::Computing | State::Empty => {
                self.model.take_on(flight);
                Sight::Lead(flight.lease.get())
            }
            State::Published(entry) if came.late_for(&entry) => Sight::Again,
            State::Published(entry) => Sight::Ready(entry.value),
            State::Failed(error) => Sight::Failed(error),
            State::Absent => unreachable!("no lease here says so"),
            State::Dead => Sight::Again,
        }
    }

    /// Leases that are held, in hand or by a task, and were not taken over.
    fn leases(&self) -> usize {
        let leads = |held: &&Held| match &held.what {
            What::Lease(_, flight, number) => flight.led_by(*number),
            What::Task(_, task) => {
                matches!(&task.stage, Stage::Loads(Some((flight, number))) if flight.led_by(*number))
            }
            _ => false,
        };
        self.held.borrow().iter().filter(leads).count()
    }

    /// What a caller meets. None: it is refused.
    pub(super) fn meet(&self, key: u8) -> Option<Meeting> {
        if let Some(flight) = self.model.flight(key).filter(|flight| !flight.empty() && self.overdue(flight)) {
            // At once, and whatever value there is.
            self.model.relieve(&flight);
            let number = flight.lease.get();
            return Some(Meeting::Leads(flight, number));
        }
        if let Some(entry) = self.model.get(key) {
            return Some(Meeting::Hit(entry.value));
        }
        match self.model.flight(key) {
            Some(flight) if !flight.empty() => (flight.waiters.get() < self.max_waiters).then(|| {
                self.model.join(&flight);
                Meeting::Waits(flight)
            }),
            None if self.leases() >= self.max_loads => None,
            _ => {
                let flight = self.model.lead(key);
                let number = flight.lease.get();
                Some(Meeting::Leads(flight, number))
            }
        }
    }

    /// What the next poll of a task gives; None: it is pending.
    pub(super) fn foretell(&self, task: &mut Task) -> Option<Answer> {
        loop {
            let timed_out = self.timed_out(task.began);
            match &mut task.stage {
                Stage::Unpolled => match self.meet(task.key) {
                    Some(Meeting::Hit(value)) => return Some(Answer::Value(value)),
                    Some(Meeting::Leads(flight, number)) => task.stage = Stage::Loads(Some((flight, number))),
                    Some(Meeting::Waits(flight)) => {
                        task.began.get_or_insert(self.model.now.get());
                        let (known, came) = (flight.lease.get(), self.model.came(&flight));
                        task.stage = Stage::Waits(flight, known, came);
                    }
                    None if task.lenient => self.alone(task),
                    None => return Some(Answer::Overloaded),
                },
                Stage::Waits(flight, known, came) => {
                    let flight = flight.clone();
                    match self.look(&flight, known, *came, timed_out) {
                        Sight::Ready(value) => return Some(Answer::Value(value)),
                        Sight::Failed(error) if !task.lenient && !self.renewed(&flight) => {
                            return Some(Answer::Failed(error));
                        }
                        Sight::Failed(_) | Sight::Again => task.stage = Stage::Unpolled,
                        Sight::Lead(number) => task.stage = Stage::Loads(Some((flight, number))),
                        Sight::Pending if !timed_out => return None,
                        Sight::Pending => {
                            self.model.count(|s| &mut s.wait_timeouts);
                            self.model.leave(&flight);
                            if !task.lenient {
                                return Some(Answer::TimedOut);
                            }
                            self.alone(task);
                        }
                    }
                }
                Stage::Loads(_) if task.script.awaits > 0 => {
                    task.script.awaits -= 1;
                    return None;
                }
                Stage::Loads(lead) => {
                    let lead = lead.clone();
                    return Some(self.loaded(task, lead.as_ref()));
                }
            }
        }
    }

    /// Whether the old value of a flight is good again, by a later one.
    fn renewed(&self, flight: &Flight) -> bool {
        let now = self.model.peek(flight.key).map(|entry| entry.value);
        now.is_some() && now == flight.old.as_ref().map(|old| old.value)
    }

    fn alone(&self, task: &mut Task) {
        self.model.count(|s| &mut s.bypassed);
        task.stage = Stage::Loads(None);
    }

    /// A task's loader is done.
    fn loaded(&self, task: &Task, lead: Option<&(Rc<Flight>, u32)>) -> Answer {
        let given = match task.script.ending {
            Ending::Panic => Answer::Panicked,
            Ending::Error if !task.lenient => Answer::Failed(Some(task.error)),
            _ => Answer::Value(task.value.id),
        };
        let Some((flight, number)) = lead else { return given };
        match given {
            Answer::Panicked => self.given_up(flight, *number, true),
            Answer::Failed(error) => self.failed(flight, *number, error),
            _ => {
                if self.published(flight, *number, &task.value, None).is_none() {
                    return Answer::Panicked;
                }
            }
        }
        given
    }

    // How a lease ends.

    /// Whether the value is stored. None: the weigher panics, and the flight is given up.
    pub(super) fn published(&self, flight: &Flight, number: u32, value: &Value, ttl: Option<Duration>) -> Option<bool> {
        if self.weigher_panics() {
            self.given_up(flight, number, true);
            return None;
        }
        Some(flight.led_by(number) && self.model.publish(flight, value, ttl, 0))
    }

    pub(super) fn failed(&self, flight: &Flight, number: u32, error: Option<u64>) {
        if flight.led_by(number) {
            self.model.fail(flight, error);
        } else {
            self.model.count(|s| &mut s.load_failures);
        }
    }

    pub(super) fn given_up(&self, flight: &Flight, number: u32, by_panic: bool) {
        if by_panic {
            self.model.count(|s| &mut s.load_failures);
        }
        if flight.led_by(number) {
            self.model.give_up(flight);
        }
    }
}

/// What a caller meets at a key.
pub(super) enum Meeting {
    Hit(u64),
    Leads(Rc<Flight>, u32),
    Waits(Rc<Flight>),
}
