//! Bulk loads whose source answers otherwise than key by key, and bulk loads that panic.

use crate::common::tasks::{Task, yield_now};
use crate::common::*;
use bellwether::{Answers, Cache, CacheEvent, Load, LoadAsync, LoadError, LoadingCache, Observer};
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

type Sink<'a> = Answers<'a, String, u64, Broken>;
type Answer = Result<u64, LoadError<Broken>>;

/// Answers in bulk as it is told to.
struct Rows(fn(&[&String], &mut Sink<'_>));

impl Load<String, u64> for Rows {
    type Error = Broken;
    fn load(&self, _: &String) -> Result<u64, Broken> {
        panic!("only in bulk")
    }
    fn load_all(&self, keys: &[&String], answers: &mut Sink<'_>) {
        (self.0)(keys, answers);
    }
}

struct Async(Rows);

impl LoadAsync<String, u64> for Async {
    type Error = Broken;
    async fn load(&self, _: &String) -> Result<u64, Broken> {
        panic!("only in bulk")
    }
    async fn load_all(&self, keys: &[&String], answers: &mut Sink<'_>) {
        yield_now().await;
        self.0.load_all(keys, answers);
    }
}

#[derive(Clone, Default)]
struct Refused(Arc<AtomicUsize>);

impl Observer for Refused {
    fn observe(&self, _: &str, event: &CacheEvent) {
        if matches!(event, CacheEvent::AnswerRefused) {
            self.0.fetch_add(1, SeqCst);
        }
    }
}

/// What each face gets for keys 1 to 4, each time from an empty cache. `refused` answers of the source are refused, counted and
/// told. (The flights may end before the source does: what it says after the last answer is refused later.)
fn asked(refused: u64, rows: fn(&[&String], &mut Sink<'_>)) -> Vec<Vec<Answer>> {
    let keys = ["1", "2", "3", "4"];
    let mut all = Vec::new();
    for background in [false, true] {
        let told = Refused::default();
        let (builder, _) = timed_for::<String>();
        let builder = builder.observer(told.clone());
        let builder = if background { builder.hard_timeout(600 * SECOND) } else { builder };
        let cache = builder.loader(Rows(rows)).build().unwrap();
        all.push(cache.load_all(keys));
        until("all ended", || !keys.iter().any(|key| cache.is_loading(*key)));
        until("it is counted and told", || {
            (cache.stats().unasked_answers, told.0.load(SeqCst) as u64) == (refused, refused)
        });
    }
    let cache = Cache::builder().max_capacity(9).loader(Async(Rows(rows))).build().unwrap();
    all.push(Task::new(cache.load_all_async(keys)).finish_when_woken());
    until("it is counted", || cache.stats().unasked_answers == refused);
    all
}

fn timed_for<K>() -> (bellwether::Builder<K, u64>, bellwether::ManualClock) {
    let clock = bellwether::ManualClock::new();
    (Cache::builder().max_capacity(100).clock(clock.clone()).timer(clock.clone()), clock)
}

fn number(key: &str) -> u64 {
    key.parse().unwrap()
}

fn values(all: &[Answer]) -> Vec<Option<u64>> {
    all.iter().map(|one| one.as_ref().ok().copied()).collect()
}

#[test]
fn answers_in_another_order_go_to_their_keys() {
    let all = asked(0, |keys, answers| {
        for key in keys.iter().rev() {
            assert!(answers.put(key.as_str(), 10 * number(key)), "a borrowed key does");
        }
    });
    for all in all {
        assert_eq!(values(&all), [Some(10), Some(20), Some(30), Some(40)]);
    }
}

#[test]
fn a_row_that_is_missing_is_abandoned_and_the_others_are_right() {
    let all = asked(0, |keys, answers| {
        keys.iter().filter(|key| **key != "2").for_each(|key| assert!(answers.put(*key, 10 * number(key))));
    });
    for all in all {
        assert_eq!(values(&all), [Some(10), None, Some(30), Some(40)]);
        assert!(matches!(all[1], Err(LoadError::Abandoned)), "{all:?}");
    }
}

#[test]
fn answers_that_nobody_asked_for_and_second_ones_are_refused_counted_and_told() {
    let all = asked(3, |keys, answers| {
        assert!(!answers.put("5", 50), "not asked for");
        keys.iter().for_each(|key| assert!(answers.put(*key, 10 * number(key))));
        assert!(!answers.fail("3", Broken("late")), "answered");
        assert!(!answers.put("3", 31), "answered");
        answers.fail_rest(Broken("there is no rest"));
    });
    for all in all {
        assert_eq!(values(&all), [Some(10), Some(20), Some(30), Some(40)]);
    }
}

#[test]
fn one_error_is_shared_by_all_keys_that_have_no_answer() {
    let all = asked(0, |_, answers| {
        assert!(answers.answer("2", Ok(20)) && answers.fail("4", Broken("of its own")));
        answers.fail_rest(Broken("reset"));
    });
    for all in all {
        let [Err(LoadError::Load(one)), Ok(20), Err(LoadError::Load(three)), Err(LoadError::Load(four))] = &all[..]
        else {
            panic!("{all:?}")
        };
        assert!(Arc::ptr_eq(one, three) && one.0 == "reset" && four.0 == "of its own");
    }
}

/// Refused answers of a load that panics are counted, too.
#[test]
fn what_was_refused_before_a_panic_is_counted() {
    let rows = Rows(|_, answers| {
        assert!(!answers.put("9", 90));
        panic!("the loader panics, as it was told to");
    });
    let cache = Cache::builder().max_capacity(9).loader(rows).build().unwrap();
    assert!(matches!(quietly(|| cache.load_all(["1"]))[..], [Err(LoadError::Panicked(_))]));
    assert_eq!((cache.stats().unasked_answers, cache.stats().load_failures), (1, 1));
}

/// A loader of loaders may give the default a part of the keys that it was given.
#[test]
fn the_default_answers_for_a_part_of_the_keys() {
    struct Halves;
    impl Load<u32, u32> for Halves {
        type Error = Broken;
        fn load(&self, key: &u32) -> Result<u32, Broken> {
            Ok(key / 2)
        }
        fn load_all(&self, keys: &[&u32], answers: &mut Answers<'_, u32, u32, Broken>) {
            struct One;
            impl Load<u32, u32> for One {
                type Error = Broken;
                fn load(&self, key: &u32) -> Result<u32, Broken> {
                    Halves.load(key)
                }
            }
            let even: Vec<&u32> = keys.iter().rev().copied().filter(|key| *key % 2 == 0).collect();
            One.load_all(&even, answers);
        }
    }
    let cache = Cache::builder().max_capacity(9).loader(Halves).build().unwrap();
    let all = cache.load_all(&[1, 2, 3, 4]);
    assert!(matches!(all[..], [Err(LoadError::Abandoned), Ok(1), Err(LoadError::Abandoned), Ok(2)]), "{all:?}");
    assert_eq!(cache.stats().unasked_answers, 0);
}

/// Answers in the opposite order of many keys: each is found without a walk over the others.
#[test]
fn large_bulk_loads_are_not_quadratic() {
    static COMPARED: AtomicUsize = AtomicUsize::new(0);
    #[derive(Clone, Copy, Debug)]
    struct Counted(u64);
    impl Hash for Counted {
        fn hash<H: Hasher>(&self, hasher: &mut H) {
            self.0.hash(hasher);
        }
    }
    impl PartialEq for Counted {
        fn eq(&self, other: &Self) -> bool {
            COMPARED.fetch_add(1, SeqCst);
            self.0 == other.0
        }
    }
    impl Eq for Counted {}
    struct Backward;
    impl Load<Counted, u64> for Backward {
        type Error = Broken;
        fn load(&self, _: &Counted) -> Result<u64, Broken> {
            unreachable!("only in bulk")
        }
        fn load_all(&self, keys: &[&Counted], answers: &mut Answers<'_, Counted, u64, Broken>) {
            keys.iter().rev().for_each(|key| assert!(answers.put(*key, key.0)));
        }
    }
    let cache = Cache::builder().max_capacity(1 << 20).loader(Backward).build().unwrap();
    let keys: Vec<Counted> = (0..50_000).map(Counted).collect();
    let all = cache.load_all(&keys);
    assert!(all.iter().zip(&keys).all(|(one, key)| matches!(one, Ok(value) if *value == key.0)));
    let compared = COMPARED.load(SeqCst);
    assert!(compared < 20 * keys.len(), "{compared} comparisons of {} keys", keys.len());
}

/// Panics in its first bulk call, once the gate is open. The later ones wait for another gate, if there is one.
#[derive(Clone, Default)]
struct Panics {
    gate: Gate,
    again: Option<Gate>,
    panicked: Arc<AtomicBool>,
    bulk: Arc<Mutex<Vec<Vec<Key>>>>,
    single: Arc<AtomicUsize>,
}

impl Load<Key, u64> for Panics {
    type Error = Broken;
    fn load(&self, key: &Key) -> Result<u64, Broken> {
        self.single.fetch_add(1, SeqCst);
        Ok(u64::from(*key))
    }
    fn load_all(&self, keys: &[&Key], answers: &mut Answers<'_, Key, u64, Broken>) {
        self.bulk.lock().unwrap().push(keys.iter().map(|key| **key).collect());
        if !self.panicked.swap(true, SeqCst) {
            self.gate.pass();
            panic!("the loader panics, as it was told to");
        }
        self.again.iter().for_each(Gate::pass);
        keys.iter().for_each(|key| assert!(answers.put(*key, u64::from(**key))));
    }
}

impl Panics {
    fn cache(&self, background: bool) -> LoadingCache<Key, u64, Self> {
        let (builder, _) = timed();
        let builder = if background { builder.hard_timeout(600 * SECOND) } else { builder };
        builder.loader(self.clone()).build().unwrap()
    }
}

#[test]
fn a_bulk_load_that_panics_is_an_error_for_each_of_its_keys_and_no_single_calls() {
    for background in [false, true] {
        let loader = Panics::default();
        let cache = loader.cache(background);
        cache.insert(2, 22);
        loader.gate.open();
        let all = quietly(|| cache.load_all(&[1, 2, 3, 4, 1]));
        let [Err(LoadError::Panicked(_)), Ok(22), Err(LoadError::Panicked(_)), Err(LoadError::Panicked(_)), last] =
            &all[..]
        else {
            panic!("{background}: {all:?}")
        };
        // One that came again waited, and may have taken over.
        assert!(matches!(last, Ok(1)), "{last:?}");
        assert_eq!(loader.single.load(SeqCst), 0, "{background}");
        assert_eq!(cache.stats().load_failures, 3);
    }
}

#[test]
fn an_old_value_is_given_for_a_bulk_load_that_panics() {
    for background in [false, true] {
        let (loader, (builder, clock)) = (Panics::default(), timed());
        let builder = builder.time_to_live(10 * SECOND).xfetch(0.0).stale_if_error(10 * SECOND);
        let builder = if background { builder.hard_timeout(600 * SECOND) } else { builder };
        let cache = builder.loader(loader.clone()).build().unwrap();
        cache.insert(1, 11);
        clock.advance(11 * SECOND);
        loader.gate.open();
        let all = quietly(|| cache.load_all(&[1, 2]));
        assert!(matches!(all[..], [Ok(11), Err(LoadError::Panicked(_))]), "{background}: {all:?}");
        assert_eq!(cache.stats().stale_serves, 1);
    }
}

/// Another bulk load that waits for the keys of one that panics takes them over in bulk; a single one takes over singly.
#[test]
fn who_waits_in_bulk_takes_over_in_bulk() {
    for background in [false, true] {
        let again = Gate::default();
        let loader = Panics { again: Some(again.clone()), ..Panics::default() };
        let cache = loader.cache(background);
        let keys: Vec<Key> = (0..100).collect();
        quietly(|| {
            thread::scope(|scope| {
                let panics = scope.spawn(|| cache.load_all(&keys));
                until("it loads", || loader.bulk.lock().unwrap().len() == 1);
                let waits = scope.spawn(|| cache.load_all(&keys));
                until("it waits", || cache.stats().coalesced >= 100);
                loader.gate.open();
                // The other load begins at the first key that is given up, and ends when all are.
                until("all are given up", || cache.stats().load_failures == 100);
                again.open();
                assert!(panics.join().unwrap().iter().all(|one| matches!(one, Err(LoadError::Panicked(_)) | Ok(_))));
                let got = waits.join().unwrap();
                assert!(
                    got.iter().zip(&keys).all(|(one, key)| matches!(one, Ok(v) if *v == u64::from(*key))),
                    "{got:?}"
                );
            });
        });
        let bulk = loader.bulk.lock().unwrap();
        // The first one, what was given up as the other one looked, and the rest: a few calls, and not one a key.
        assert!(bulk.len() < 20, "{} calls", bulk.len());
        let again: HashSet<Key> = bulk[1..].iter().flatten().copied().collect();
        assert_eq!((again.len(), loader.single.load(SeqCst)), (100, 0));
    }
}
