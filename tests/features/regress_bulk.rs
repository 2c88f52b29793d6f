//! What once went wrong with bulk loads.

use crate::common::tasks::Task;
use crate::common::*;
use bellwether::{Answers, Builder, Cache, Load, LoadAsync, LoadError, LoadingCache};
use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

/// Ten times the key, once the gate is open.
#[derive(Clone, Default)]
struct Tens(Option<Gate>, Arc<AtomicUsize>);

impl Tens {
    fn gated() -> (Self, Gate) {
        let gate = Gate::default();
        (Self(Some(gate.clone()), Arc::default()), gate)
    }

    fn begun(&self) {
        until("a load begins", || self.1.load(SeqCst) == 1);
    }
}

impl Load<Key, u64> for Tens {
    type Error = Broken;
    fn load(&self, key: &Key) -> Result<u64, Broken> {
        self.1.fetch_add(1, SeqCst);
        self.0.iter().for_each(Gate::pass);
        Ok(10 * u64::from(*key))
    }
    fn load_all(&self, keys: &[&Key], answers: &mut Answers<'_, Key, u64, Broken>) {
        self.1.fetch_add(1, SeqCst);
        self.0.iter().for_each(Gate::pass);
        keys.iter().for_each(|key| assert!(answers.put(*key, 10 * u64::from(**key))));
    }
}

struct Async(Tens);

impl LoadAsync<Key, u64> for Async {
    type Error = Broken;
    async fn load(&self, key: &Key) -> Result<u64, Broken> {
        self.0.load(key)
    }
    async fn load_all(&self, keys: &[&Key], answers: &mut Answers<'_, Key, u64, Broken>) {
        self.0.load_all(keys, answers);
    }
}

/// Runs what may hang in a thread of its own.
fn ends<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::spawn(f);
    until("it ends", || thread.is_finished());
    thread.join().unwrap()
}

/// Answers for no key.
struct Short;

impl Load<Key, u64> for Short {
    type Error = Broken;
    fn load(&self, _: &Key) -> Result<u64, Broken> {
        Err(Broken("down"))
    }
    fn load_all(&self, _: &[&Key], _: &mut Answers<'_, Key, u64, Broken>) {}
}

/// A key without a result was abandoned, though there was an old value to serve, as there is for one that fails.
#[test]
fn too_few_results_are_made_up_for_by_old_values() {
    let (builder, clock) = timed();
    let builder = builder.time_to_live(10 * SECOND).xfetch(0.0).stale_if_error(10 * SECOND);
    let cache = builder.loader(Short).build().unwrap();
    cache.insert(1, 1);
    clock.advance(11 * SECOND);
    assert!(matches!(cache.load_all([&1, &2])[..], [Ok(1), Err(LoadError::Abandoned)]));
    assert_eq!(cache.stats().stale_serves, 1);
    assert!(!cache.is_loading(&1));
}

type Answer = Result<u64, LoadError<Broken>>;

/// User code that asks its own cache, once, and what it was answered.
#[derive(Clone, Default)]
struct Within(Arc<Mutex<Option<LoadingCache<Key, u64, Tens>>>>, Arc<Mutex<Vec<Answer>>>);

impl Within {
    fn ask(&self, key: Key) {
        let cache = self.0.lock().unwrap().take();
        if let Some(cache) = cache {
            let answer = cache.load(&key);
            self.1.lock().unwrap().push(answer);
        }
    }

    /// Loads keys 1 to 3 of a cache with an old key 9, whose user code asks meanwhile, and is refused.
    fn refused(self, builder: Builder<Key, u64>) {
        let cache = builder.loader(Tens::default()).build().unwrap();
        cache.insert(9, 90);
        *self.0.lock().unwrap() = Some(cache.clone());
        let all = ends(move || cache.load_all([&1, &2, &3]));
        assert!(matches!(all[..], [Ok(10), Ok(20), Ok(30)]), "{all:?}");
        let answers = self.1.lock().unwrap();
        assert!(matches!(answers[..], [Err(LoadError::Reentrant)]), "{answers:?}");
    }
}

/// Listeners that ran for one key's value, and asked for another of the same load, waited for their own thread.
#[test]
fn a_listener_asks_for_a_key_that_is_still_to_land() {
    for background in [false, true] {
        let (within, (builder, _)) = (Within::default(), timed());
        let listener = within.clone();
        let builder = builder.max_capacity(1).eviction_listener(move |_, _, _| listener.ask(3));
        within.refused(if background { builder.hard_timeout(SECOND) } else { builder });
    }
}

/// The same by the weigher.
#[test]
fn a_weigher_asks_for_a_key_that_is_still_to_land() {
    for background in [false, true] {
        let (within, (builder, _)) = (Within::default(), timed());
        let weigher = within.clone();
        let builder = builder.weigher(move |key, _| {
            if *key == 1 {
                weigher.ask(3);
            }
            1
        });
        within.refused(if background { builder.hard_timeout(SECOND) } else { builder });
    }
}

thread_local! { static AS_CLONED: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) }; }

/// A key whose clone may ask.
#[derive(PartialEq, Eq, Hash)]
struct Nosy(Key);

impl Clone for Nosy {
    fn clone(&self) -> Self {
        let asks = if self.0 == 2 { AS_CLONED.take() } else { None };
        asks.into_iter().for_each(|ask| ask());
        Self(self.0)
    }
}

/// A key's clone, as it gets on board, that asked for a key before it waited for its own thread.
#[test]
fn a_key_asks_for_another_that_is_led_already() {
    let load = |key: &Nosy| Ok::<_, Broken>(key.0);
    let cache = Cache::<Nosy, Key>::builder().max_capacity(10).loader(load).build().unwrap();
    let (answer, all) = ends(move || {
        let (answer, asked) = (Arc::new(Mutex::new(None)), cache.clone());
        let told = answer.clone();
        AS_CLONED.set(Some(Box::new(move || *told.lock().unwrap() = Some(asked.load(&Nosy(1))))));
        let all = cache.load_all([&Nosy(1), &Nosy(2)]);
        (answer.lock().unwrap().take(), all)
    });
    assert!(matches!(answer, Some(Err(LoadError::Reentrant))), "{answer:?}");
    assert!(matches!(all[..], [Ok(1), Ok(2)]), "{all:?}");
}

fn all_timed_out(all: &[Answer]) -> bool {
    all.iter().all(|one| matches!(one, Err(LoadError::TimedOut)))
}

/// Each key's deadline counted from when the one before it had timed out.
#[test]
fn the_deadlines_of_a_bulk_load_do_not_add_up() {
    let ((tens, gate), (builder, clock)) = (Tens::gated(), timed());
    let cache = builder.hard_timeout(2 * SECOND).loader(tens.clone()).build().unwrap();
    let all = ends(move || {
        let asking = thread::spawn(move || cache.load_all(&[1, 2, 3, 4]));
        tens.begun();
        clock.advance(2 * SECOND);
        until("it times out", || asking.is_finished());
        asking.join().unwrap()
    });
    gate.open();
    assert!(all_timed_out(&all), "{all:?}");
}

/// The same, as a task.
#[test]
fn nor_do_those_of_a_task() {
    let ((tens, gate), (builder, clock)) = (Tens::gated(), timed());
    let cache = builder.hard_timeout(2 * SECOND).loader(Async(tens.clone())).build().unwrap();
    let mut asking = Task::new(cache.load_all_async(&[1, 2, 3, 4]));
    asking.step();
    tens.begun();
    clock.advance(2 * SECOND);
    let all = asking.finish();
    gate.open();
    assert!(all_timed_out(&all), "{all:?}");
}
