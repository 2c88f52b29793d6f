//! Leases, waiters and entries that are held over several steps.

use super::*;

impl<'c> Driver<'c> {
    pub(super) fn hold(&self, held: Held<'c>) {
        self.held.borrow_mut().push(held);
        if self.held.borrow().len() > HANDS {
            // Entries first: they are many, and nothing more can happen to them.
            let entry = self.take(0, |h| matches!(h, Held::Entry(..)));
            let first = entry.or_else(|| self.take(0, |_| true));
            first.into_iter().for_each(|held| self.let_go(held));
        }
    }

    pub(super) fn take(&self, at: u8, wanted: fn(&Held<'c>) -> bool) -> Option<Held<'c>> {
        let mut held = self.held.borrow_mut();
        let fit: Vec<_> = (0..held.len()).filter(|i| wanted(&held[*i])).collect();
        (!fit.is_empty()).then(|| held.remove(fit[usize::from(at) % fit.len()]))
    }

    pub(super) fn let_go(&self, held: Held<'c>) {
        match held {
            Held::Lease(lease, flight, _) => {
                drop(lease);
                self.model.give_up(&flight);
            }
            Held::Waiter(waiter, flight, _) => {
                drop(waiter);
                self.model.leave(&flight);
            }
            Held::Entry(entry, value) => assert_eq!(entry.id, value),
        }
    }

    pub(super) fn lease(&self, key: u8) {
        let meeting = self.foretell(key);
        let started = self.clock.now();
        match (self.cache.lease(&key), meeting) {
            (Lookup::Hit(entry), Meeting::Hit(value, _)) => {
                assert_eq!(entry.id, value);
                self.hold(Held::Entry(entry, value));
            }
            (Lookup::Refresh(entry, lease), Meeting::Hit(value, true)) => {
                assert_eq!(entry.id, value);
                drop(entry);
                self.hold_lease(lease, self.model.lead(key), started);
            }
            (Lookup::Lead(lease), Meeting::Leads) => self.hold_lease(lease, self.model.lead(key), started),
            (Lookup::Wait(waiter), Meeting::Waits(flight)) => {
                self.model.join(&flight);
                let came = self.model.came(&flight);
                self.hold(Held::Waiter(waiter, flight, came));
            }
            (lookup, meeting) => panic!("key {key}: {meeting:?} was expected, got {}", name(&lookup)),
        }
    }

    pub(super) fn hold_lease(&self, lease: Lease<'c, Key, Value>, flight: Rc<Flight>, started: u64) {
        assert_eq!(lease.key().id, flight.key);
        assert_eq!(lease.stale().map(|v| v.id), id(&flight.old));
        self.hold(Held::Lease(lease, flight, started));
    }

    pub(super) fn with_lease(&self, at: u8, then: impl FnOnce(Lease<'c, Key, Value>, Rc<Flight>, u64)) {
        if let Some(Held::Lease(lease, flight, started)) = self.take(at, |h| matches!(h, Held::Lease(..))) {
            assert_eq!(lease.stale().map(|v| v.id), id(&flight.old));
            then(lease, flight, started);
        }
    }

    pub(super) fn fulfil(
        &self,
        lease: Lease<'c, Key, Value>,
        flight: Rc<Flight>,
        started: u64,
        worth: Worth,
        ttl: Option<Duration>,
    ) {
        let value = Value::new(worth);
        let mine = value.id;
        let delta = self.clock.now().saturating_sub(started);
        let kept = self.model.publish(&flight, &value, ttl, delta);
        let landed = match ttl {
            None => lease.fulfil(value),
            Some(ttl) => lease.fulfil_with_ttl(value, ttl),
        };
        assert_eq!(landed.is_ok(), kept);
        let (Ok(entry) | Err(entry)) = landed;
        assert_eq!(entry.id, mine);
        assert_eq!(Entry::weight(&entry) > 0, kept, "a weight of 0 means: only handed over");
        self.hold(Held::Entry(entry, mine));
    }

    pub(super) fn renew(&self, lease: Lease<'c, Key, Value>, flight: Rc<Flight>, started: u64) {
        let renewed = lease.renew();
        assert_eq!(renewed.as_ref().map(|e| e.id), id(&flight.old));
        match &flight.old {
            Some(old) => self.model.confirm(&flight, old, self.clock.now().saturating_sub(started)),
            None => self.model.give_up(&flight),
        }
        if let Some(entry) = renewed {
            let value = entry.id;
            self.hold(Held::Entry(entry, value));
        }
    }

    pub(super) fn wait(
        &self,
        at: u8,
        how: impl FnOnce(Waiter<'c, Key, Value>) -> Result<Waited<'c, Key, Value>, Waiter<'c, Key, Value>>,
    ) {
        let Some(Held::Waiter(waiter, flight, came)) = self.take(at, |h| matches!(h, Held::Waiter(..))) else { return };
        let started = self.clock.now();
        let state = flight.state.borrow().clone();
        match (how(waiter), state) {
            (Err(waiter), State::Computing) => self.hold(Held::Waiter(waiter, flight, came)),
            // What was removed since it was given up is not worth loading: the first to look ends it.
            (Ok(Waited::Abandoned), State::Empty) if !flight.attached.get() => self.model.end(&flight, State::Dead),
            (Ok(Waited::Lead(lease)), State::Empty) if flight.attached.get() => {
                self.model.take_on(&flight);
                self.hold_lease(lease, flight, started);
            }
            (Ok(Waited::Abandoned), State::Published(known)) if came.late_for(&known) => {}
            (Ok(Waited::Ready(entry)), State::Published(known)) if !came.late_for(&known) => {
                assert_eq!(entry.id, known.value);
                self.hold(Held::Entry(entry, known.value));
            }
            (Ok(Waited::Failed(error)), State::Failed(Some(known))) => {
                assert_eq!(error.downcast_ref::<Error>().map(|e| e.id), Some(known));
            }
            (Ok(Waited::NotFound), State::Absent) => {}
            (Ok(Waited::Abandoned), State::Failed(None) | State::Dead) => {}
            (answer, _) => panic!("a waiter's answer does not fit its flight: {}", answer.map_or("none", |w| said(&w))),
        }
    }
}
