//! Read-through: what the model foretells of it, and whether it comes about.

use super::*;

impl Driver<'_> {
    /// What a call will meet, before it is made.
    pub(super) fn foretell(&self, key: u8) -> Meeting {
        let present = self.model.get(key);
        match (present, self.model.flight(key)) {
            (Some(entry), Some(_)) => Meeting::Hit(entry.value, false),
            (Some(entry), None) => Meeting::Hit(entry.value, self.model.may_roll(&entry)),
            (None, Some(flight)) if !flight.empty() => Meeting::Waits(flight),
            (None, _) => Meeting::Leads,
        }
    }

    /// The loader's part: its flight (None: it runs for its caller alone), what it does besides, its value.
    pub(super) fn load(&self, key: u8, worth: Worth, aside: Aside, leads: bool) -> (Option<Rc<Flight>>, Value) {
        let flight = leads.then(|| self.model.lead(key));
        match aside {
            Aside::Advance(by) => self.advance(by.duration()),
            Aside::StepBack(by) => self.step_back(by),
            Aside::Invalidate => {
                self.cache.invalidate(&key);
                self.model.clear(key);
            }
            Aside::InvalidateAll => self.invalidate_all(),
            Aside::Insert(other) => self.insert(key, other, None),
            Aside::Reenter if leads => self.reenter(key, worth),
            Aside::Reenter | Aside::Nothing | Aside::Fail => {}
        }
        (flight, Value::new(worth))
    }

    pub(super) fn reenter(&self, key: u8, worth: Worth) {
        let present = self.model.get(key);
        let value = Value::new(worth);
        let mine = value.id;
        let found = self.cache.get_with(&key, move || value).id;
        let refused = self.cache.try_get_with(&key, || Err::<Value, _>(Error::new()));
        match present {
            Some(entry) => {
                assert_eq!(found, entry.value);
                assert_eq!(refused.ok().map(|v| v.id), Some(entry.value));
            }
            None => {
                assert_eq!(found, mine);
                assert!(matches!(refused, Err(LoadError::Reentrant)));
                self.model.count(|s| &mut s.bypassed);
                self.model.stats.borrow_mut().coalesced += 2;
            }
        }
    }

    /// After a call that met `meeting`: whether its loader ran as it should have.
    pub(super) fn waited(&self, meeting: &Meeting) {
        if let Meeting::Waits(flight) = meeting {
            self.model.join(flight);
            self.model.leave(flight);
            self.model.count(|s| &mut s.wait_timeouts);
        }
    }

    pub(super) fn get_with(&self, key: u8, worth: Worth, aside: Aside) {
        let meeting = self.foretell(key);
        let (leads, started) = (!matches!(meeting, Meeting::Waits(_)), self.clock.now());
        self.waited(&meeting);
        let ran = RefCell::new(None);
        let found = self.cache.get_with(&key, || {
            let (flight, value) = self.load(key, worth, aside, leads);
            if let Some(flight) = flight {
                self.model.publish(&flight, &value, None, self.clock.now().saturating_sub(started));
            } else {
                self.model.count(|s| &mut s.bypassed);
            }
            ran.replace(Some(value.id));
            value
        });
        match (meeting, ran.into_inner()) {
            (Meeting::Hit(value, _), None) => assert_eq!(found.id, value),
            (Meeting::Hit(_, false), Some(_)) => panic!("key {key}: loaded in spite of a good value"),
            (_, Some(mine)) => assert_eq!(found.id, mine),
            (meeting, None) => panic!("key {key}: value {} from nowhere: {meeting:?}", found.id),
        }
    }

    pub(super) fn try_get_with(&self, key: u8, worth: Worth, aside: Aside) {
        let meeting = self.foretell(key);
        let started = self.clock.now();
        self.waited(&meeting);
        let ran = RefCell::new(None);
        let found = self.cache.try_get_with(&key, || {
            let (flight, value) = self.load(key, worth, aside, true);
            let flight = flight.expect("a leader");
            if matches!(aside, Aside::Fail | Aside::StepBack(_)) {
                let error = Error::new();
                // Good by now: it may not have been, for the clock may have stepped back.
                let stale = flight.old.as_ref().filter(|e| !self.model.over(e)).map(|e| e.value);
                if stale.is_some() {
                    self.model.count(|s| &mut s.stale_serves);
                }
                self.model.fail(&flight, Some(error.id));
                ran.replace(Some(stale.ok_or(error.id)));
                return Err(error);
            }
            self.model.publish(&flight, &value, None, self.clock.now().saturating_sub(started));
            ran.replace(Some(Ok(value.id)));
            Ok(value)
        });
        let answer = match found {
            Ok(value) => Ok(value.id),
            Err(LoadError::Load(error)) => Err(error.id),
            Err(LoadError::TimedOut) => {
                assert!(matches!(meeting, Meeting::Waits(_)) && ran.into_inner().is_none());
                return;
            }
            Err(_) => panic!("key {key}: neither a value, nor its own error, nor a deadline"),
        };
        match (meeting, ran.into_inner()) {
            (Meeting::Hit(value, _), None) => assert_eq!(answer, Ok(value)),
            (Meeting::Hit(_, true) | Meeting::Leads, Some(mine)) => assert_eq!(answer, mine),
            _ => panic!("key {key}: loaded without need, or not where needed"),
        }
    }

    // Handles.
}
