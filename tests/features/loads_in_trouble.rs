//! Loads that wait in a queue, hang, panic time and again, are too many, or ask for themselves.

use crate::common::tasks::{Task, block_on, run, slowly, task, value, yield_now};
use crate::common::*;
use bellwether::{
    Answers, Cache, CacheEvent, Load, LoadError, LoadingCache, Lookup, Observer, Op, Spawn, Task as Work, Waited,
};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// A spawner whose loads wait until the test runs them.
#[derive(Clone, Default)]
struct Queue(Arc<Mutex<VecDeque<bellwether::Work>>>);

impl Spawn for Queue {
    fn spawn(&self, _: Work) {
        unreachable!("the loaders block")
    }
    fn spawn_blocking(&self, work: bellwether::Work) {
        self.0.lock().unwrap().push_back(work);
    }
}

impl Queue {
    fn next(&self) -> Option<bellwether::Work> {
        self.0.lock().unwrap().pop_front()
    }
}

/// What loads took, and how long they waited, in ms.
#[derive(Clone, Default)]
struct Times(Arc<Mutex<Vec<(u128, u128)>>>);

impl Observer for Times {
    fn observe(&self, _: &str, event: &CacheEvent) {
        if let CacheEvent::LoadEnded { took, waited, .. } = event {
            self.0.lock().unwrap().push((took.as_millis(), waited.as_millis()));
        }
    }
}

#[test]
fn what_a_load_takes_is_the_run_of_its_loader_and_the_queue_is_told_apart() {
    let (times, queue) = (Times::default(), Queue::default());
    let (builder, clock) = timed();
    let builder = builder.time_to_live(60 * SECOND).spawner(queue.clone()).observer(times.clone()).xfetch(0.0);
    let ticks = clock.clone();
    let builder = builder.hard_timeout(Duration::from_secs(1 << 20));
    let cache = builder.loader(move |key: &Key| (ticks.advance(100 * MS), Ok::<_, Infallible>(u64::from(*key))).1);
    let cache = cache.build().unwrap();
    assert!(cache.refresh(&1));
    clock.advance(40 * SECOND);
    queue.next().unwrap()();
    assert_eq!(*times.0.lock().unwrap(), [(100, 40_000)]);
    // On its caller's own thread, what listeners and others do before it is not its time, either.
    let loaded = cache.get_with(&2, || (clock.advance(200 * MS), 2).1);
    assert_eq!((loaded, times.0.lock().unwrap()[1]), (2, (200, 0)));
}

/// A worker that needs half of its time for the refreshes of all keys is stuck for a while. It must find back.
#[test]
fn a_pool_that_was_stuck_recovers() {
    const KEYS: u32 = 30;
    let queue = Queue::default();
    let (builder, clock) = timed();
    let ticks = clock.clone();
    let builder = builder.time_to_live(60 * SECOND).stale_while_refresh(600 * SECOND).ttl_jitter(0.1);
    let cache = builder
        .spawner(queue.clone())
        .loader(move |key: &Key| (ticks.advance(SECOND), Ok::<_, Infallible>(u64::from(*key))).1)
        .build()
        .unwrap();
    let mut loads = Vec::new();
    (0..KEYS).for_each(|key| drop(cache.load(&key)));
    for minute in 0..25 {
        let before = cache.stats().loads;
        let end = bellwether::Clock::now(&clock) + 60_000_000_000;
        let began = bellwether::Clock::now(&clock);
        while bellwether::Clock::now(&clock) < end {
            (0..KEYS).for_each(|key| drop(cache.load(&key)));
            let stuck = minute == 5 && bellwether::Clock::now(&clock) < began + 40_000_000_000;
            let work = if stuck { None } else { queue.next() };
            work.map_or_else(|| clock.advance(SECOND), |work| work());
        }
        loads.push(cache.stats().loads - before);
    }
    let usual = loads[..5].iter().sum::<u64>() / 5;
    let late = loads[20..].iter().sum::<u64>() / 5;
    // What still waits owns the cache, and the cache owns the queue.
    let waiting = std::mem::take(&mut *queue.0.lock().unwrap());
    assert!(late <= usual + usual / 4 && waiting.len() < 10, "{loads:?}");
}

/// Three seconds for each call, however many keys.
struct Slow(bellwether::ManualClock);

impl Load<Key, u64> for Slow {
    type Error = Broken;
    fn load(&self, key: &Key) -> Result<u64, Broken> {
        self.0.advance(3 * SECOND);
        Ok(u64::from(*key))
    }
    fn load_all(&self, keys: &[&Key], answers: &mut Answers<'_, Key, u64, Broken>) {
        self.0.advance(3 * SECOND);
        for key in keys {
            assert!(answers.put(*key, u64::from(**key)));
        }
    }
}

#[test]
fn a_bulk_load_takes_the_time_of_its_one_call() {
    let (times, (builder, clock)) = (Times::default(), timed());
    let taken = clock.clone();
    // What is done as values land is not their loads' time.
    let builder = builder.time_to_live(60 * SECOND).observer(times.clone()).weigher(move |_, _| {
        taken.advance(SECOND);
        1
    });
    let cache = builder.loader(Slow(clock)).build().unwrap();
    assert!(cache.load_all(&[1, 2, 3]).into_iter().all(|one| one.is_ok()));
    assert_eq!(*times.0.lock().unwrap(), [(3000, 0); 3]);
}

/// A loader whose first calls hang until the gate is opened.
#[derive(Clone)]
struct Hangs {
    calls: Arc<AtomicUsize>,
    /// Which calls hang.
    hangs: std::ops::Range<usize>,
    gate: Gate,
}

impl Hangs {
    fn at(hangs: std::ops::Range<usize>) -> Self {
        Self { calls: Arc::default(), hangs, gate: Gate::default() }
    }

    fn cache(&self, set: impl FnOnce(bellwether::Builder<Key, u64>) -> bellwether::Builder<Key, u64>) -> Timed {
        let (builder, clock) = timed();
        let this = self.clone();
        let loader = move |_: &Key| Ok::<u64, Infallible>(this.run());
        let builder = set(builder.lead_timeout(5 * SECOND));
        (builder.loader(Box::new(loader) as Loads).build().unwrap(), clock)
    }

    fn run(&self) -> u64 {
        let call = self.calls.fetch_add(1, SeqCst);
        if self.hangs.contains(&call) {
            self.gate.pass();
        }
        call as u64
    }
}

type Loads = Box<dyn Fn(&Key) -> Result<u64, Infallible> + Send + Sync>;
type Timed = (LoadingCache<Key, u64, Loads>, bellwether::ManualClock);

/// A good value that does not expire is refreshed, and the refresh hangs. Whatever the verb is that meets it next, its caller
/// has it replaced.
#[test]
fn every_verb_replaces_a_leader_that_hangs_although_the_value_is_good() {
    type Verb = fn(&LoadingCache<Key, u64, Loads>);
    let verbs: [(&str, Verb); 9] = [
        ("refresh", |c| assert!(c.refresh(&1))),
        ("load", |c| assert_eq!(c.load(&1).unwrap(), 0, "in the background")),
        ("load_all", |c| assert_eq!(*c.load_all(&[1])[0].as_ref().unwrap(), 0)),
        ("compute", |c| drop(c.compute(&1, |old| (assert_eq!(old, Some(&0)), Op::Put(2)).1))),
        ("get_with", |c| assert_eq!(c.get_with(&1, || 2), 2)),
        ("get_with_async", |c| assert_eq!(block_on(c.get_with_async(&1, || async { 2 })), 2)),
        ("entry", |c| assert_eq!(*c.entry(&1).try_get_with(|| Ok::<_, Broken>(2)).unwrap().0, 2)),
        ("detached", |c| assert_eq!(*c.cache().detached(&1).get_with(|| 2).0, 0)),
        ("lease", |c| match c.lease(&1) {
            Lookup::Refresh(entry, lease) => drop((assert_eq!(*entry, 0), lease.fulfil(2))),
            other => panic!("{other:?}"),
        }),
    ];
    for (name, verb) in verbs {
        let hangs = Hangs::at(1..2);
        let (cache, clock) = hangs.cache(|b| b);
        assert_eq!(cache.load(&1).unwrap(), 0);
        assert!(cache.refresh(&1));
        until("the refresh hangs", || hangs.calls.load(SeqCst) == 2);
        clock.advance(5 * SECOND - MS);
        assert!(!cache.refresh(&1), "{name}: it has a moment left");
        clock.advance(MS);
        assert_eq!(cache.get(&1), Some(0), "{name}");
        verb(&cache);
        until("it is refreshed", || cache.get(&1) == Some(2));
        assert_eq!((cache.stats().takeovers, cache.stats().fenced), (1, 1), "{name}");
        hangs.gate.open();
        // (A value is there before its load is over.)
        until("both loads are over", || (cache.stats().loading, cache.stats().fenced) == (0, 0));
        assert_eq!((cache.get(&1), cache.is_loading(&1)), (Some(2), false), "{name}");
        cache.validate().unwrap();
    }
}

#[test]
fn a_caller_who_comes_by_replaces_the_leader_of_a_first_load_that_hangs() {
    let hangs = Hangs::at(0..1);
    let (cache, clock) = hangs.cache(|b| b);
    let Lookup::Lead(hung) = cache.lease(&1) else { panic!("there is no value") };
    clock.advance(5 * SECOND);
    assert_eq!((cache.get_with(&1, || 7), cache.stats().takeovers), (7, 1));
    assert_eq!(*hung.fulfil(8).unwrap_err(), 8);
    assert_eq!(cache.get(&1), Some(7));
}

/// Leases that hang for good are taken over, and do not keep other keys from being loaded.
#[test]
fn leases_that_were_taken_over_do_not_count_for_max_loads() {
    let (cache, clock) = three_seconds(|b| b.max_loads(2));
    let hung: Vec<_> = [1, 2].map(|key| cache.lease(&key)).into_iter().collect();
    let ask = |key: Key| cache.try_get_with(&key, || Ok::<_, Broken>(u64::from(key)));
    assert!(matches!(ask(3), Err(LoadError::Overloaded)));
    assert_eq!((cache.stats().loading, cache.stats().fenced), (2, 0));
    clock.advance(3 * SECOND);
    assert_eq!((ask(1).unwrap(), ask(2).unwrap(), ask(3).unwrap()), (1, 2, 3));
    assert_eq!((cache.stats().loading, cache.stats().fenced), (0, 2));
    drop(hung);
    assert_eq!((cache.stats().loading, cache.stats().fenced), (0, 0));
    // No count was lost, and none is left.
    let two: Vec<_> = [5, 6].map(|key| cache.lease(&key)).into_iter().collect();
    assert!(two.iter().all(|lookup| matches!(lookup, Lookup::Lead(_))) && matches!(ask(7), Err(LoadError::Overloaded)));
}

#[test]
fn a_bulk_call_is_one_load() {
    let hangs = Hangs::at(0..1);
    let (builder, _clock) = timed();
    struct Bulk(Hangs);
    impl Load<Key, u64> for Bulk {
        type Error = Broken;
        fn load(&self, key: &Key) -> Result<u64, Broken> {
            Ok(u64::from(*key))
        }
        fn load_all(&self, keys: &[&Key], answers: &mut Answers<'_, Key, u64, Broken>) {
            self.0.run();
            keys.iter().for_each(|key| assert!(answers.put(*key, u64::from(**key))));
        }
    }
    let cache = builder.max_loads(2).loader(Bulk(hangs.clone())).build().unwrap();
    thread::scope(|scope| {
        let bulk = scope.spawn(|| cache.load_all(&[1, 2, 3, 4]));
        until("it loads", || hangs.calls.load(SeqCst) == 1);
        assert_eq!(cache.stats().loading, 4);
        let Lookup::Lead(second) = cache.lease(&5) else { panic!("two loads may be in flight") };
        assert!(matches!(cache.load(&6), Err(LoadError::Overloaded)), "and not three");
        drop(second);
        hangs.gate.open();
        assert_eq!(bulk.join().unwrap().into_iter().map(Result::unwrap).collect::<Vec<_>>(), [1, 2, 3, 4]);
    });
    let two: Vec<_> = [7, 8].map(|key| cache.lease(&key)).into_iter().collect();
    assert!(two.iter().all(|lookup| matches!(lookup, Lookup::Lead(_))));
}

/// `get_with` has no way to report a refusal. It waits.
#[test]
fn get_with_waits_until_it_may_load() {
    let (builder, clock) = timed();
    let builder = builder.max_loads(1).max_waiters(1).wait_timeout(2 * SECOND);
    let cache: TestCache = builder.build().unwrap();
    let Lookup::Lead(only) = cache.lease(&1) else { panic!() };
    let ran = AtomicUsize::new(0);
    let load = |n: u64| (ran.fetch_add(1, SeqCst), n).1;
    let mut tasks: Vec<_> = (2..5)
        .map(|key| {
            Task::new({
                let (cache, load) = (&cache, &load);
                async move { cache.get_with_async(&key, || async { load(u64::from(key)) }).await }
            })
        })
        .collect();
    tasks.iter_mut().for_each(Task::step);
    thread::scope(|scope| {
        let threads: Vec<_> = (5..8)
            .map(|key: Key| {
                scope.spawn({
                    let (cache, load) = (&cache, &load);
                    move || cache.get_with(&key, || load(u64::from(key)))
                })
            })
            .collect();
        clock.advance(10 * SECOND);
        assert!(tasks.iter_mut().all(|task| task.poll().is_none()), "there is nothing else to do");
        assert_eq!(ran.load(SeqCst), 0);
        drop(only);
        assert_eq!(threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>(), [5, 6, 7]);
    });
    let told: Vec<u64> = tasks.into_iter().map(Task::finish_when_woken).collect();
    assert_eq!((told, ran.load(SeqCst)), (vec![2, 3, 4], 6));
    assert_eq!((cache.stats().bypassed, cache.stats().loads), (0, 7));
    assert!((2..8).all(|key| cache.get(&key) == Some(u64::from(key))), "and all is stored");
    // Past `max_waiters`, and past its own time, it waits for the load of another.
    let Lookup::Lead(lease) = cache.lease(&9) else { panic!() };
    let mut waiters: Vec<_> = (0..3).map(|_| Task::new(cache.get_with_async(&9, || async { 0 }))).collect();
    waiters.iter_mut().for_each(Task::step);
    clock.advance(10 * SECOND);
    waiters.iter_mut().for_each(Task::step);
    drop(lease.fulfil(90));
    assert_eq!(run(waiters), [90, 90, 90]);
    assert_eq!(cache.stats().bypassed, 0);
}

/// The one load that may run asks for another key: it would wait for itself.
#[test]
fn a_loader_that_may_not_load_more_loads_for_itself_alone() {
    let cache: TestCache = Cache::builder().max_capacity(10).max_loads(1).build().unwrap();
    assert_eq!(cache.get_with(&1, || cache.get_with(&2, || 2) + 1), 3);
    assert_eq!((cache.get(&1), cache.get(&2), cache.stats().bypassed), (Some(3), None, 1));
    let outer = cache.get_with_async(&3, || async { cache.get_with_async(&4, || async { 4 }).await + 1 });
    assert_eq!((block_on(outer), cache.get(&4), cache.stats().bypassed), (5, None, 2));
}

#[test]
fn with_bypass_it_loads_for_itself_alone() {
    let cache: TestCache = Cache::builder().max_capacity(10).max_loads(1).bypass(true).build().unwrap();
    let _only = cache.lease(&1);
    assert_eq!((cache.get_with(&2, || 2), cache.get(&2), cache.stats().bypassed), (2, None, 1));
}

#[test]
fn a_loader_that_panics_each_time_is_called_no_more_often_than_said() {
    for (most, kept) in [(3, false), (0, false), (3, true)] {
        let builder = Cache::builder().max_capacity(10).max_handovers(most);
        let cache: TestCache = if kept { builder.negative_ttl(3600 * SECOND) } else { builder }.build().unwrap();
        let (dying, gate) = Loader::gated(End::Panic);
        quietly(|| {
            thread::scope(|scope| {
                let (leader, waiting) = flight(scope, &cache, 1, &dying, 20, &dying);
                let lenient = ask_infallibly(scope, &cache, 1, &dying);
                waiting_for(&cache, 21);
                gate.open();
                assert!(leader.answer().panicked());
                let told: Vec<_> = waiting.into_iter().map(Caller::answer).collect();
                let refused = |answer: &&Answer| matches!(answer, Answer::Error(LoadError::Panicked(_)));
                let (panicked, refused) =
                    (told.iter().filter(|a| a.panicked()).count(), told.iter().filter(refused).count());
                assert_eq!(panicked + refused, 20, "{told:?}");
                assert!(panicked <= most as usize);
                assert!(lenient.answer().panicked(), "it has no other way to report it");
            });
        });
        assert_eq!(dying.calls(), most as usize + 1);
        // (A failure that is kept is an entry that no walk shows.)
        assert_eq!((cache.is_loading(&1), cache.len()), (false, usize::from(kept)));
        let next = cache.try_get_with(&1, || Ok::<_, Broken>(1));
        assert!(if kept { matches!(next, Err(LoadError::Panicked(_))) } else { matches!(next, Ok(1)) }, "{next:?}");
        assert_eq!(cache.get_with(&1, || 1), 1, "it passes over what is kept");
    }
}

/// A needs B, and B needs A, each loaded by the spawner.
#[test]
fn a_cycle_of_loads_that_the_cache_spawns_is_told() {
    type Cache2 = LoadingCache<Key, u64, Box<dyn Fn(&Key) -> Fut + Send + Sync>>;
    type Fut = std::pin::Pin<Box<dyn Future<Output = Result<u64, Broken>> + Send>>;
    static CACHE: OnceLock<Cache2> = OnceLock::new();
    let loader: Box<dyn Fn(&Key) -> Fut + Send + Sync> = Box::new(|&key: &Key| {
        Box::pin(async move {
            yield_now().await;
            // 1 needs 2, 2 needs 3, 3 needs 1; 4 needs nothing.
            let needs = match key {
                3 => 1,
                4 => return Ok(4),
                other => other + 1,
            };
            match CACHE.get().unwrap().load_async(&needs).await {
                Err(LoadError::Reentrant) => Err(Broken("a cycle")),
                Err(LoadError::Load(error)) => Err(Broken(error.0)),
                other => panic!("{other:?}"),
            }
        })
    });
    let cache = CACHE.get_or_init(|| Cache::builder().max_capacity(10).loader(loader).build().unwrap());
    assert!(matches!(block_on(cache.load_async(&1)), Err(LoadError::Load(error)) if error.0 == "a cycle"));
    assert!(matches!(block_on(cache.load_all_async(&[2, 4]))[..], [Err(LoadError::Load(_)), Ok(4)]));
    // A refresh that no caller waits for serves no load: it may ask for the key that asked for it.
    assert!(cache.is_empty() || cache.get(&4) == Some(4));
}

/// A bulk load's flight has ended, and its node is another key's by now: a caller on the bulk load's thread may wait for that.
#[test]
fn a_flight_that_has_ended_is_forgotten() {
    type Bulk = LoadingCache<Key, u64, Loads>;
    static CACHE: Mutex<Option<Bulk>> = Mutex::new(None);
    let (gate, said) = (Gate::default(), Arc::new(Mutex::new(None)));
    let (held, tell) = (gate.clone(), said.clone());
    let loader: Loads = Box::new(move |&key: &Key| {
        if key >= 100 {
            held.pass();
        }
        Ok(u64::from(key))
    });
    let builder = Cache::builder().max_capacity(100).weigher(move |&key: &Key, _: &u64| {
        if key == 2 {
            // The bulk load ends its second flight; its first one has ended, and its node is free.
            let cache = CACHE.lock().unwrap().clone().unwrap();
            cache.invalidate(&1);
            cache.purge_expired();
            let theirs = cache.clone();
            let other = thread::spawn(move || theirs.load(&100));
            until("another loads", || cache.is_loading(&100));
            let opens = gate.clone();
            let opener = thread::spawn(move || opens.open());
            *tell.lock().unwrap() = Some((cache.load(&100).ok(), other.join().unwrap().ok()));
            opener.join().unwrap();
        }
        1
    });
    let cache = builder.loader(loader).build().unwrap();
    *CACHE.lock().unwrap() = Some(cache.clone());
    assert!(cache.load_all(&[1, 2]).into_iter().all(|one| one.is_ok()));
    assert_eq!(*said.lock().unwrap(), Some((Some(100), Some(100))));
    *CACHE.lock().unwrap() = None;
}

#[test]
fn a_task_that_polls_its_own_load_stops_at_the_hard_timeout() {
    let (builder, clock) = timed();
    let cache: TestCache = builder.hard_timeout(2 * SECOND).build().unwrap();
    let census = Census::default();
    let held = census.member(());
    let mut leader = Task::new(cache.try_get_with_async(&1, || async move {
        let _held = held;
        pending::<Result<u64, Broken>>().await
    }));
    leader.step();
    let mut waiter = task(&cache, 1, &value(7), 1);
    clock.advance(SECOND);
    waiter.step();
    clock.advance(SECOND);
    assert!(leader.woken(), "by the timer");
    assert!(matches!(leader.finish(), Err(LoadError::TimedOut)));
    assert_eq!((census.alive(), cache.stats().wait_timeouts), (0, 1), "its load is dropped");
    assert_eq!(waiter.finish().value(), 7, "and handed over");
    // A load that ends in time is nothing to it; and one without a way to report it goes on.
    assert_eq!(task(&cache, 2, &value(2), 1).finish().value(), 2);
    let mut lenient = Task::new(cache.get_with_async(&3, || async { slowly(value(3), 1).await.unwrap() }));
    lenient.step();
    clock.advance(5 * SECOND);
    assert_eq!(lenient.finish(), 3);
    nothing_in_flight(&cache, 1);
}

#[test]
fn a_task_that_polls_its_own_load_takes_an_old_value_at_the_soft_timeout() {
    let (builder, clock) = timed();
    let builder = builder.time_to_live(10 * SECOND).xfetch(0.0).stale_if_error(60 * SECOND);
    let cache: TestCache = builder.soft_timeout(SECOND).hard_timeout(3 * SECOND).build().unwrap();
    for lenient in [false, true] {
        cache.insert(1, 1);
        clock.advance(11 * SECOND);
        let mut leader = Task::new(async {
            match lenient {
                true => cache.get_with_async(&1, pending).await,
                false => cache.try_get_with_async(&1, pending::<Result<u64, Broken>>).await.unwrap(),
            }
        });
        leader.step();
        clock.advance(SECOND - MS);
        leader.step();
        clock.advance(MS);
        assert_eq!(leader.finish(), 1);
        assert!(!cache.is_loading(&1), "its load is dropped");
    }
    // Where there is none it waits until the hard one.
    let mut leader = Task::new(cache.try_get_with_async(&2, pending::<Result<u64, Broken>>));
    leader.step();
    clock.advance(2 * SECOND);
    leader.step();
    clock.advance(SECOND);
    assert!(matches!(leader.finish(), Err(LoadError::TimedOut)));
    assert_eq!((cache.stats().stale_serves, cache.stats().wait_timeouts), (2, 3));
}

/// What is inserted is refreshed early as what is loaded: by what the key's last load took, or loads usually take.
#[test]
fn values_that_are_inserted_are_refreshed_early() {
    let early = |set: &dyn Fn(&TestCache, &bellwether::ManualClock)| {
        let (builder, clock) = timed();
        let cache: TestCache = builder.time_to_live(100 * SECOND).build().unwrap();
        set(&cache, &clock);
        let before = cache.stats().early_refreshes;
        clock.advance(99 * SECOND);
        (0..1000).for_each(|_| drop(cache.try_get_with(&1, || Err::<u64, _>(Broken("no")))));
        cache.stats().early_refreshes > before
    };
    let load = |cache: &TestCache, clock: &bellwether::ManualClock, key| {
        cache.get_with(&key, || (clock.advance(5 * SECOND), 1).1);
    };
    assert!(!early(&|cache, _| cache.insert(1, 1)), "nothing is known");
    assert!(early(&|cache, clock| (load(cache, clock, 1), cache.insert(1, 1)).1), "as the key's last load");
    assert!(early(&|cache, clock| (load(cache, clock, 2), cache.insert(1, 1)).1), "as loads usually do");
    assert!(early(&|cache, clock| (load(cache, clock, 2), drop(cache.compute(&1, |_| Op::Put(1)))).1));
    assert!(early(&|cache, _| cache.insert_with_cost(1, 1, 5 * SECOND)));
    assert!(!early(&|cache, clock| (load(cache, clock, 2), cache.insert_with_cost(1, 1, Duration::ZERO)).1));
}

/// A waiter by hand of a flight whose leaders have panicked too often looks again.
#[test]
fn a_waiter_by_hand_sees_a_flight_that_panicked_as_abandoned() {
    let cache: TestCache = Cache::builder().max_capacity(10).max_handovers(0).build().unwrap();
    let lease = lead(&cache);
    let Lookup::Wait(waiter) = cache.lease(&1) else { panic!() };
    quietly(|| {
        let panics = std::panic::AssertUnwindSafe(|| {
            let _lease = lease;
            panic!("a leader panics, as it was told to");
        });
        assert!(std::panic::catch_unwind(panics).is_err());
    });
    assert!(matches!(waiter.wait(), Waited::Abandoned));
}
