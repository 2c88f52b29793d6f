//! An observer that asks which key an event is about.

use crate::common::tasks::Task;
use crate::common::*;
use bellwether::{
    Answers, Builder, Cache, CacheEvent, EventKey, Load, LoadingCache, Lookup, ManualClock, Observer, Waited,
};
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Events, each with the hash of its key, and with its text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Told>>>, Arc<Mutex<Vec<CacheEvent>>>);

type Told = (String, u32, Option<String>);

impl Observer for Log {
    fn observe(&self, _: &str, event: &CacheEvent) {
        self.1.lock().unwrap().push(event.clone());
    }
    fn observe_key(&self, _: &str, event: &CacheEvent, key: &EventKey<'_>) {
        let what = format!("{event:?}");
        let what = what.split(' ').next().unwrap().to_owned();
        self.0.lock().unwrap().push((what, key.hash(), key.debug().map(|key| format!("{key:?}"))));
        assert_eq!(format!("{key:?}").starts_with('#'), key.debug().is_none());
    }
}

impl Log {
    /// What was told since the last time, with the text of its key, or with `-`.
    fn taken(&self) -> Vec<String> {
        let told = std::mem::take(&mut *self.0.lock().unwrap());
        told.into_iter().map(|(what, _, text)| format!("{what} {}", text.as_deref().unwrap_or("-"))).collect()
    }
}

/// Answers for a key that it is not asked for.
struct Odd;

impl Load<Key, u64> for Odd {
    type Error = Broken;
    fn load(&self, _: &Key) -> Result<u64, Broken> {
        unreachable!("only in bulk")
    }
    fn load_all(&self, _: &[&Key], answers: &mut Answers<'_, Key, u64, Broken>) {
        assert!(!answers.put(&8, 1));
        answers.fail_rest(Broken("no"));
    }
}

fn observed(
    with: impl FnOnce(Builder<Key, u64>) -> Builder<Key, u64>,
) -> (LoadingCache<Key, u64, Odd>, ManualClock, Log) {
    let (log, (builder, clock)) = (Log::default(), timed());
    let builder = builder
        .max_capacity(3)
        .time_to_live(10 * SECOND)
        .xfetch(0.0)
        .wait_timeout(5 * SECOND)
        .bypass(true)
        .max_loads(2);
    let builder = builder.stale_if_error(5 * SECOND).error_cooldown(Duration::ZERO).observer(log.clone());
    (with(builder).loader(Odd).build().unwrap(), clock, log)
}

/// Something of each kind of event.
fn everything(cache: &LoadingCache<Key, u64, Odd>, clock: &ManualClock) {
    let no = || Err::<u64, _>(Broken("no"));
    cache.get_with(&1, || 1);
    drop(cache.try_get_with(&2, no));
    let panics = || cache.get_with(&3, || panic!("the loader panics, as it was told to"));
    assert!(quietly(|| catch_unwind(AssertUnwindSafe(panics))).is_err());
    clock.advance(11 * SECOND);
    assert!(cache.try_get_with(&1, no).is_ok());
    let (lease, other) = (cache.lease(&4), cache.lease(&5));
    let mut waiting = Task::new(cache.get_with_async(&4, || async { 7 }));
    waiting.step();
    clock.advance(5 * SECOND);
    assert_eq!(waiting.poll(), Some(7));
    assert!(cache.try_get_with(&6, || Ok::<_, Broken>(6)).is_err());
    drop(other);
    let Lookup::Wait(waiter) = cache.lease(&4) else { panic!("it is being loaded") };
    drop(lease);
    let Waited::Lead(lease) = waiter.wait() else { panic!("it takes over") };
    lease.fail();
    (10..14).for_each(|key| cache.insert(key, 0));
    cache.remove(&13);
    cache.insert_with_ttl(20, 0, Duration::ZERO);
    assert!(cache.try_insert_with_ttl(21, 0, Duration::ZERO).is_err());
    drop(cache.entry(&22).get_with(|| 1));
    assert!(cache.load_all(&[7])[0].is_err());
}

const EXPECTED: &[&str] = &[
    "LoadStarted 1",
    "LoadEnded 1",
    "LoadStarted 2",
    "LoadEnded 2",
    "LoadStarted 3",
    "LoadEnded 3",
    "LoadStarted 1",
    "LoadEnded 1",
    "StaleServed 1",
    "LoadStarted 4",
    "LoadStarted 5",
    "WaitStarted 4",
    "WaitTimedOut 4",
    "WaitEnded 4",
    "Bypassed 4",
    "Refused 6",
    "LoadEnded 5",
    "WaitStarted 4",
    "LoadEnded 4",
    "WaitEnded 4",
    "LoadStarted 4",
    "LoadEnded 4",
];

#[test]
fn each_event_has_its_key() {
    let (cache, clock, log) = observed(|b| b.observe_keys());
    everything(&cache, &clock);
    let told = log.taken();
    assert_eq!(told[..EXPECTED.len()], *EXPECTED);
    let rest: Vec<&str> =
        told[EXPECTED.len()..].iter().map(String::as_str).filter(|e| !e.starts_with("Removed")).collect();
    assert_eq!(rest, ["Rejected 20", "Rejected -", "LoadStarted 22", "LoadEnded 22", "LoadStarted 7", "LoadEnded 7"]);
    assert!(told.contains(&"Removed 13".to_owned()), "{told:?}");
    assert!(!told.iter().any(|event| event == "Removed -"), "{told:?}");
    // About no key.
    assert_eq!(log.1.lock().unwrap().len(), 1);
    assert!(matches!(log.1.lock().unwrap()[0], CacheEvent::AnswerRefused));
    cache.validate().unwrap();
}

#[test]
fn without_the_setting_there_are_hashes_one_a_key() {
    let hashes = |with: fn(Builder<Key, u64>) -> Builder<Key, u64>| {
        let (cache, clock, log) = observed(with);
        everything(&cache, &clock);
        std::mem::take(&mut *log.0.lock().unwrap())
    };
    assert!(hashes(|b| b).iter().all(|(_, _, text)| text.is_none()));
    let mut of: HashMap<String, HashSet<u32>> = HashMap::new();
    for (_, hash, text) in hashes(|b| b.observe_keys()) {
        let Some(text) = text else { continue };
        of.entry(text).or_default().insert(hash);
    }
    assert!(of.len() > 10 && of.values().all(|hashes| hashes.len() == 1), "{of:?}");
    let all: HashSet<u32> = of.values().flatten().copied().collect();
    assert_eq!(all.len(), of.len(), "and no two keys have the same");
}

/// An observer that panics gives back what was kept for it; so does one of a key that is gone by then.
#[test]
fn nothing_is_kept_for_longer_than_it_is_told() {
    struct Bomb;
    impl Observer for Bomb {
        fn observe(&self, _: &str, _: &CacheEvent) {
            panic!("an observer panics, as it was told to")
        }
    }
    let census = Census::default();
    let cache: Cache<Shown, Member<u64>> =
        Cache::builder().max_capacity(2).observer(Bomb).observe_keys().build().unwrap();
    let key = |n| Shown(census.member(n));
    let steps: [&dyn Fn(); 5] = [
        &|| drop(cache.get_with(&key(1), || census.member(1))),
        &|| (2..6).for_each(|n| cache.insert(key(n), census.member(1))),
        &|| drop(cache.try_get_with(&key(7), || Err::<Member<u64>, _>(Broken("no")))),
        &|| cache.insert_with_ttl(key(8), census.member(1), Duration::ZERO),
        &|| cache.invalidate_all(),
    ];
    let panicked = quietly(|| steps.iter().filter(|step| catch_unwind(AssertUnwindSafe(step)).is_err()).count());
    assert!(panicked >= 4, "{panicked}");
    cache.validate().unwrap();
    drop(cache);
    assert_eq!(census.alive(), 0);
}

/// A key that can be shown.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Shown(Member<Key>);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.what)
    }
}
