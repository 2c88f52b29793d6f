//! Handles: how they are come by, polled, and end.

use super::foresight::{Meeting, Sight};
use super::input::Ending;
use super::*;
use bellwether::{LoadError, Lookup, Waited};
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// What one who waits is woken by.
#[derive(Default)]
pub(super) struct Bell {
    wakes: Arc<Wakes>,
    /// How often it had been woken when it last went to sleep. None: it has not.
    slept: Option<usize>,
}

impl Bell {
    fn waker(&mut self, anew: bool) -> Waker {
        if anew {
            self.wakes = Arc::default();
        }
        self.slept = Some(self.wakes.0.load(Relaxed));
        Waker::from(self.wakes.clone())
    }

    /// Whether it has been woken since, or does not sleep.
    pub(super) fn rung(&self) -> bool {
        self.slept.is_none_or(|slept| self.wakes.0.load(Relaxed) > slept)
    }
}

/// A lease, its flight, its number, and whether it is owned.
type Led = (Lease<'static, Key, Value>, Rc<Flight>, u32, bool);

/// The loader of a task.
async fn load(script: Script, value: Value, error: Error) -> Result<Value, Error> {
    let mut left = script.awaits;
    poll_fn(|_| {
        left = left.wrapping_sub(1);
        if left == u8::MAX { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    match script.ending {
        Ending::Value => Ok(value),
        Ending::Error => Err(error),
        Ending::Panic => traps::spring(),
    }
}

/// Those of tasks have our error, and those that leases are failed with another type, perhaps.
fn answer(found: Result<Value, LoadError<Error>>) -> Answer {
    match found {
        Ok(value) => Answer::Value(value.id),
        Err(LoadError::Load(error)) => Answer::Failed(Some(error.id)),
        Err(LoadError::Foreign(error)) => Answer::Failed(error.downcast_ref::<u64>().copied()),
        Err(LoadError::Abandoned) => Answer::Failed(None),
        Err(LoadError::TimedOut) => Answer::TimedOut,
        Err(LoadError::Overloaded) => Answer::Overloaded,
        Err(_) => Answer::Other,
    }
}

impl Driver {
    fn hold(&self, owned: bool, what: What) {
        self.held.borrow_mut().push(Held { owned, what });
        if self.held.borrow().len() > HANDS {
            // Entries first: they are many, and nothing more can happen to them.
            let entry = self.take(0, |h| matches!(h.what, What::Entry(..)));
            let first = entry.or_else(|| self.take(0, |_| true));
            first.into_iter().for_each(|held| self.let_go(held));
        }
    }

    pub(super) fn take(&self, at: u8, wanted: impl Fn(&Held) -> bool) -> Option<Held> {
        let mut held = self.held.borrow_mut();
        let fit: Vec<_> = (0..held.len()).filter(|i| wanted(&held[*i])).collect();
        (!fit.is_empty()).then(|| held.remove(fit[usize::from(at) % fit.len()]))
    }

    /// Some handle, as the order of the end will have it.
    pub(super) fn any(&self, wanted: impl Fn(&Held, u64) -> bool) -> Option<Held> {
        let order = self.order.get();
        self.order.set(order.rotate_right(5).wrapping_mul(3));
        self.take(order as u8, |held| wanted(held, order))
    }

    pub(super) fn let_go(&self, held: Held) {
        match held.what {
            What::Lease(lease, flight, number) => {
                self.given_up(&flight, number, false);
                attempt(|| drop(lease));
            }
            What::Waiter(waiter, waits) => {
                waits.flight.iter().for_each(|flight| self.model.leave(flight));
                attempt(|| drop(waiter));
            }
            What::Task(future, task) => {
                match &task.stage {
                    Stage::Waits(flight, ..) => self.model.leave(flight),
                    Stage::Loads(Some((flight, number))) => self.given_up(flight, *number, false),
                    Stage::Unpolled | Stage::Loads(None) => {}
                }
                attempt(|| drop(future));
            }
            What::Entry(entry, value) => assert_eq!(entry.id, value),
        }
    }

    pub(super) fn lease(&self, key: u8, owned: bool) {
        let meeting = self.meet(key);
        let found = if owned { self.cache.lease_owned(&key) } else { self.cache.lease(&key) };
        let what = match (found, meeting) {
            (Lookup::Hit(entry), Some(Meeting::Hit(value))) => {
                assert_eq!(entry.id, value);
                What::Entry(entry, value)
            }
            (Lookup::Lead(lease), Some(Meeting::Leads(flight, number))) => {
                assert_eq!(lease.key().id, key);
                assert_eq!(lease.stale().map(|v| v.id), flight.old.as_ref().map(|e| e.value));
                What::Lease(lease, flight, number)
            }
            (Lookup::Wait(waiter), Some(Meeting::Waits(flight))) => {
                assert_eq!(waiter.stale().map(|v| v.id), flight.old.as_ref().map(|e| e.value));
                let (known, came) = (flight.lease.get(), Some(self.model.came(&flight)));
                What::Waiter(waiter, Waits { flight: Some(flight), known, came, bell: Bell::default() })
            }
            (Lookup::Wait(waiter), None) => {
                What::Waiter(waiter, Waits { flight: None, known: 0, came: None, bell: Bell::default() })
            }
            (other, _) => panic!("key {key}: an unexpected {other:?}"),
        };
        self.hold(owned, what);
    }

    pub(super) fn begin(&self, key: u8, lenient: bool, worth: Worth, mut script: Script) {
        script.awaits %= 4;
        let (value, mut error) = (Value::new(worth), Some(Error::new()));
        let (key, error_id, given) = (&KEYS[usize::from(key)], error.as_ref().map_or(0, |e| e.id), value.clone());
        let cache: &'static Subject = self.cache;
        let future: Pin<Box<dyn Future<Output = Answer>>> = if lenient {
            let fallible = load(Script { ending: script.ending.certain(), ..script }, given, Error::new());
            let certain = async { fallible.await.unwrap_or_else(|_| unreachable!("it cannot fail")) };
            Box::pin(async move { Answer::Value(cache.get_with_async(key, || certain).await.id) })
        } else {
            let error = error.take().expect("not taken yet");
            Box::pin(async move { answer(cache.try_get_with_async(key, || load(script, given, error)).await) })
        };
        let (stage, began, bell) = (Stage::Unpolled, None, Bell::default());
        let task = Task { key: *key, lenient, script, value, error: error_id, stage, began, bell };
        self.hold(false, What::Task(future, task));
    }

    pub(super) fn poll(&self, held: Held, anew: bool) {
        match held.what {
            What::Waiter(waiter, waits) => self.poll_waiter(waiter, waits, anew, held.owned),
            What::Task(future, task) => self.poll_task(future, task, anew),
            _ => unreachable!("it is not polled"),
        }
    }

    fn poll_task(&self, mut future: Pin<Box<dyn Future<Output = Answer>>>, mut task: Task, anew: bool) {
        let expected = self.foretell(&mut task);
        let waker = task.bell.waker(anew);
        let listener = traps::is_armed(input::Trap::Listener);
        let polled = attempt_unwinding(|| future.as_mut().poll(&mut Context::from_waker(&waker)));
        match (polled, expected) {
            (Some(Poll::Pending), None) => self.hold(false, What::Task(future, task)),
            (Some(Poll::Ready(answer)), Some(expected)) => assert_eq!(answer, expected),
            (None, Some(Answer::Panicked)) => {}
            // The listener, after all was done.
            (None, Some(_)) => assert!(listener && !traps::is_armed(input::Trap::Listener), "a panic of its own"),
            (polled, expected) => panic!("key {}: {polled:?}, and not {expected:?}", task.key),
        }
    }

    fn poll_waiter(&self, mut waiter: Waiter<'static, Key, Value>, mut waits: Waits, anew: bool, owned: bool) {
        let Waits { flight, known, came, .. } = &mut waits;
        let place = flight.as_ref().zip(*came);
        let sight = place.map(|(flight, came)| (self.look(flight, known, came, false), flight.clone()));
        let waker = waits.bell.waker(anew);
        let polled = attempt(|| Pin::new(&mut waiter).poll(&mut Context::from_waker(&waker)));
        match (polled, sight) {
            (Some(Poll::Pending), Some((Sight::Pending, _))) => self.hold(owned, What::Waiter(waiter, waits)),
            (Some(Poll::Ready(answer)), Some((sight, flight))) => self.answered(answer, sight, flight, owned),
            (Some(Poll::Ready(Waited::Overloaded)), None) => {}
            // The listener, as room was made; its answer is lost, and so is a lease.
            (None, Some((Sight::Lead(number), flight))) => self.given_up(&flight, number, true),
            (None, Some((Sight::Ready(_) | Sight::Failed(_) | Sight::Again, _))) => {}
            _ => panic!("a waiter's poll does not fit its flight"),
        }
    }

    fn answered(&self, answer: Waited<'static, Key, Value>, sight: Sight, flight: Rc<Flight>, owned: bool) {
        match (answer, sight) {
            (Waited::Ready(entry), Sight::Ready(value)) => {
                assert_eq!((entry.id, Entry::key(&entry).id), (value, flight.key));
                self.hold(owned, What::Entry(entry, value));
            }
            (Waited::Lead(lease), Sight::Lead(number)) => {
                assert_eq!(lease.key().id, flight.key);
                self.hold(owned, What::Lease(lease, flight, number));
            }
            (Waited::Failed(error), Sight::Failed(Some(known))) => {
                let id = error.downcast_ref::<Error>().map(|e| e.id).or(error.downcast_ref::<u64>().copied());
                assert_eq!(id, Some(known));
            }
            (Waited::Abandoned, Sight::Failed(None) | Sight::Again) => {}
            (answer, _) => panic!("a waiter of key {} was answered: {answer:?}", flight.key),
        }
    }

    fn take_lease(&self, at: u8) -> Option<Led> {
        let held = self.take(at, |h| matches!(h.what, What::Lease(..)))?;
        let What::Lease(lease, flight, number) = held.what else { unreachable!("no other was asked for") };
        assert_eq!(lease.stale().map(|v| v.id), flight.old.as_ref().map(|e| e.value));
        Some((lease, flight, number, held.owned))
    }

    pub(super) fn fulfil(&self, at: u8, worth: Worth, ttl: Option<Duration>) {
        let Some((lease, flight, number, owned)) = self.take_lease(at) else { return };
        let value = Value::new(worth);
        let mine = value.id;
        let kept = self.published(&flight, number, &value, ttl);
        let landed = attempt(|| match ttl {
            None => lease.fulfil(value),
            Some(ttl) => lease.fulfil_with_ttl(value, ttl),
        });
        // None: the weigher, or the listener when all was done.
        let Some(landed) = landed else { return };
        assert_eq!(Some(landed.is_ok()), kept);
        let (Ok(entry) | Err(entry)) = landed;
        assert_eq!((entry.id, Entry::key(&entry).id), (mine, flight.key));
        self.hold(owned, What::Entry(entry, mine));
    }

    pub(super) fn renew(&self, at: u8) {
        let Some((lease, flight, number, owned)) = self.take_lease(at) else { return };
        let led = flight.led_by(number);
        match &flight.old {
            Some(old) if led => self.model.confirm(&flight, old, 0),
            _ => self.given_up(&flight, number, false),
        }
        let expected = flight.old.as_ref().map(|e| e.value);
        let Some(renewed) = attempt(|| lease.renew()) else { return };
        assert_eq!(renewed.as_ref().map(|e| e.id), expected);
        if let Some(entry) = renewed {
            let value = entry.id;
            self.hold(owned, What::Entry(entry, value));
        }
    }

    /// `error`: whether it is of a type that tasks do not know.
    pub(super) fn fail(&self, at: u8, error: Option<bool>) {
        let Some((lease, flight, number, _)) = self.take_lease(at) else { return };
        let told = Error::new();
        self.failed(&flight, number, error.map(|_| told.id));
        attempt(|| match error {
            None => lease.fail(),
            Some(true) => lease.fail_with(told.id),
            Some(false) => lease.fail_with(told),
        });
    }

    /// A handle goes as its holder panics.
    pub(super) fn unwind(&self, at: u8) {
        let Some(held) = self.take(at, |_| true) else { return };
        match &held.what {
            What::Lease(_, flight, number) => self.given_up(flight, *number, true),
            What::Waiter(_, Waits { flight: Some(flight), .. }) => self.model.leave(flight),
            What::Task(_, Task { stage: Stage::Waits(flight, ..), .. }) => self.model.leave(flight),
            What::Task(_, Task { stage: Stage::Loads(Some((flight, number))), .. }) => {
                self.given_up(flight, *number, true);
            }
            _ => {}
        }
        let done = attempt_unwinding(|| {
            let _held = held;
            traps::spring()
        });
        assert!(done.is_none());
    }
}
