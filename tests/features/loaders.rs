//! What loaders are given and may answer, in the background too: the key, the old value, more than a value; requests of a
//! loader's cache; loaders that block, and loaders in boxes.

use crate::common::tasks::*;
use crate::common::*;
use crate::faces::{Face, each_face};
use bellwether::{
    Answers, Blocking, BoxLoad, BoxLoadAsync, Cache, Entry, Equivalent, Load, LoadAsync, LoadError, Loaded,
    LoadingCache, ManualClock, Outcome, Spawn, ToKey, Work,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

const NANO: Duration = Duration::from_nanos(1);

/// How long key 1 lives, and what it holds.
fn lives(face: &Face) -> Option<(u64, Option<Duration>)> {
    face.cache.get_entry(&1).map(|entry| (*entry, Entry::expires_in(&entry)))
}

#[test]
fn what_a_load_may_come_to_in_each_face() {
    each_face(
        |b| b.time_to_live(10 * SECOND).xfetch(0.0),
        |face| {
            let (cache, name) = (&face.cache, face.name);
            let ten = Some(10 * SECOND);
            let ask = |loaded| face.comes_to(loaded);
            assert_eq!(ask(Loaded::NotModified), (Err("not modified"), Some(None)), "{name}");
            assert_eq!(ask(Loaded::New(1)), (Ok(1), Some(None)), "{name}");
            assert_eq!(ask(Loaded::New(9)), (Ok(1), None), "{name}: nothing is loaded that is good");
            face.clock.advance(10 * SECOND);
            assert_eq!(ask(Loaded::NotModified), (Ok(1), Some(Some(1))), "{name}");
            assert_eq!(lives(face), Some((1, ten)), "{name}: its time begins anew");
            face.clock.advance(10 * SECOND);
            assert_eq!(ask(Loaded::NewFor(2, 5 * SECOND)), (Ok(2), Some(Some(1))), "{name}");
            assert_eq!(lives(face), Some((2, Some(5 * SECOND))), "{name}");
            face.clock.advance(5 * SECOND);
            assert_eq!(ask(Loaded::NewForExactly(3, Duration::MAX)), (Ok(3), Some(Some(2))), "{name}");
            assert_eq!(lives(face), Some((3, None)), "{name}");
            cache.expire(&1);
            assert_eq!(ask(Loaded::Unstored(4)), (Ok(4), Some(Some(3))), "{name}");
            assert_eq!((lives(face), cache.len()), (None, 0), "{name}: the old one goes all the same");
            nothing_in_flight(cache, 1);
            cache.validate().unwrap();
        },
    );
}

#[test]
fn the_outcome_is_told_in_each_face() {
    each_face(
        |b| b.time_to_live(10 * SECOND).stale_if_error(10 * SECOND).error_cooldown(Duration::ZERO).xfetch(0.0),
        |face| {
            let outcome = |told: crate::faces::Told, right| {
                let told = told.unwrap().1;
                assert!(told.is_none_or(|told| told == right), "{}: {told:?}, not {right:?}", face.name);
            };
            face.script.says(Ok(Loaded::New(1)));
            outcome(face.ask(1), Outcome::Computed);
            outcome(face.ask(1), Outcome::Hit);
            face.clock.advance(10 * SECOND);
            face.script.says(Err("down"));
            outcome(face.ask(1), Outcome::Stale);
        },
    );
}

/// A query that counts how often a key is made of it.
#[derive(Hash)]
struct Name(u32);

static MADE: AtomicUsize = AtomicUsize::new(0);

impl Equivalent<Key> for Name {
    fn equivalent(&self, key: &Key) -> bool {
        self.0 == *key
    }
}
impl ToKey<Key> for Name {
    fn to_key(&self) -> Key {
        MADE.fetch_add(1, SeqCst);
        self.0
    }
}

/// Loaders in the background get the cache's own key, so that a hit clones none.
#[test]
fn loaders_in_the_background_get_the_key() {
    let cache: Arc<TestCache> = Arc::new(Cache::new(100));
    let made = |ask: &dyn Fn() -> u64, value| {
        let before = MADE.load(SeqCst);
        assert_eq!(ask(), value);
        let first = MADE.load(SeqCst) - before;
        assert_eq!(ask(), value, "a hit");
        (first, MADE.load(SeqCst) - before - first)
    };
    let name = Name;
    let ten = |key: &Key| u64::from(*key) * 10;
    assert_eq!(made(&|| *cache.detached(&name(1)).get_with_key(ten).0, 10), (1, 0));
    let fallible = move |key: &Key| Ok::<_, Broken>(ten(key));
    assert_eq!(made(&|| *cache.detached(&name(2)).try_get_with_key(fallible).unwrap().0, 20), (1, 0));
    let later = move |key: &Key| std::future::ready(ten(key));
    assert_eq!(made(&|| *block_on(cache.detached(&name(3)).get_with_key_async(later)).0, 30), (1, 0));
    let later = move |key: &Key| std::future::ready(fallible(key));
    let ask = || *block_on(cache.detached(&name(4)).try_get_with_key_async(later)).unwrap().0;
    assert_eq!(made(&ask, 40), (1, 0));
    let fails = |_: &Key| Err::<u64, _>(Broken("no"));
    assert!(matches!(cache.detached(&5).try_get_with_key(fails), Err(LoadError::Load(error)) if error.0 == "no"));
    // A loader's cache makes a key for the flight, and one that a future may borrow.
    let loading = Cache::builder().max_capacity(10).loader(move |key: &Key| Ok::<_, Broken>(ten(key))).build().unwrap();
    assert_eq!(made(&|| loading.load(&name(6)).unwrap(), 60), (1, 0));
    let loading = Cache::builder().max_capacity(10).loader(move |key: &Key| std::future::ready(fallible(key)));
    let loading = loading.build().unwrap();
    assert_eq!(made(&|| block_on(loading.load_async(&name(7))).unwrap(), 70), (2, 0));
}

/// A refresh that nobody waits for confirms the old value.
#[test]
fn refreshes_in_the_background_may_confirm() {
    let (builder, clock) = timed();
    let later = Later::default();
    let builder = builder.time_to_live(10 * SECOND).stale_while_refresh(10 * SECOND).spawner(later.spawner());
    let cache: Arc<TestCache> = Arc::new(builder.xfetch(0.0).build().unwrap());
    cache.insert(1, 1);
    clock.advance(10 * SECOND);
    let confirm = |_: &Key, old: Option<Entry<'static, Key, u64>>| {
        assert_eq!(old.as_deref(), Some(&1));
        Ok::<_, Broken>(Loaded::NotModified)
    };
    let (entry, outcome) = cache.detached(&1).revalidate_with(confirm).unwrap();
    assert_eq!((*entry, outcome, cache.get(&1)), (1, Outcome::Stale, None));
    assert_eq!((later.run(), cache.get(&1)), (1, Some(1)));
    // The old value may outlive the load, the entry, and the caller's handle of the cache.
    clock.advance(10 * SECOND);
    let kept = Arc::new(Mutex::new(None));
    let keep = kept.clone();
    let take = move |_: &Key, old: Option<Entry<'static, Key, u64>>| {
        *keep.lock().unwrap() = old;
        std::future::ready(Ok::<_, Broken>(Loaded::New(2)))
    };
    assert_eq!(block_on(cache.detached(&1).revalidate_with_async(take)).unwrap().1, Outcome::Stale);
    assert_eq!((later.run(), cache.get(&1)), (1, Some(2)));
    drop((entry, cache));
    assert_eq!(kept.lock().unwrap().take().as_deref(), Some(&1));
}

/// Loads the number of its calls; may be held up.
#[derive(Clone, Default)]
struct Count {
    calls: Arc<AtomicUsize>,
    gate: Option<Gate>,
}

impl Load<Key, u64> for Count {
    type Error = Broken;
    fn load(&self, _: &Key) -> Result<u64, Broken> {
        let call = self.calls.fetch_add(1, SeqCst) as u64;
        self.gate.iter().for_each(Gate::pass);
        Ok(call)
    }
}

impl LoadAsync<Key, u64> for Count {
    type Error = Broken;
    async fn load(&self, key: &Key) -> Result<u64, Broken> {
        yield_now().await;
        Load::load(self, key)
    }
}

type Ask<L> = fn(&LoadingCache<Key, u64, L>, Option<Duration>) -> Result<(u64, Outcome), LoadError<Broken>>;

/// Asks for key 1 by a request with a time to live, or with a hard timeout of a second.
fn as_thread<L: Load<Key, u64, Error = Broken>>(
    cache: &LoadingCache<Key, u64, L>,
    ttl: Option<Duration>,
) -> Result<(u64, Outcome), LoadError<Broken>> {
    let request = cache.request(&1);
    let request = if let Some(ttl) = ttl { request.ttl(ttl) } else { request.hard_timeout(SECOND) };
    request.load().map(|(entry, outcome)| (*entry, outcome))
}

fn as_task<L: LoadAsync<Key, u64, Error = Broken>>(
    cache: &LoadingCache<Key, u64, L>,
    ttl: Option<Duration>,
) -> Result<(u64, Outcome), LoadError<Broken>> {
    let request = cache.request(&1);
    let request = if let Some(ttl) = ttl { request.ttl(ttl) } else { request.hard_timeout(SECOND) };
    block_on(request.load_async()).map(|(entry, outcome)| (*entry, outcome))
}

#[test]
fn a_request_has_settings_of_its_own() {
    fn settings<L: Send + Sync + 'static>(loader: impl Fn(Count) -> L, ask: Ask<L>) {
        let (builder, clock) = timed();
        let gate = Gate::default();
        let count = Count { gate: Some(gate.clone()), ..Count::default() };
        let calls = count.calls.clone();
        let cache = builder.time_to_live(10 * SECOND).xfetch(0.0).loader(loader(count)).build().unwrap();
        // The caller's deadline ends its wait, and not the load.
        thread::scope(|scope| {
            let caller = scope.spawn(|| ask(&cache, None));
            until("it loads", || calls.load(SeqCst) == 1);
            // The caller may not have begun to wait yet.
            until("its deadline comes", || {
                clock.advance(SECOND);
                caller.is_finished()
            });
            assert!(matches!(caller.join().unwrap(), Err(LoadError::TimedOut)));
        });
        assert!(cache.is_loading(&1));
        gate.open();
        until("it is loaded", || cache.get(&1) == Some(0));
        assert_eq!(ask(&cache, None).unwrap(), (0, Outcome::Hit));
        cache.expire(&1);
        assert_eq!(ask(&cache, Some(3 * SECOND)).unwrap(), (1, Outcome::Computed));
        clock.advance(3 * SECOND - NANO);
        assert_eq!(ask(&cache, None).unwrap(), (1, Outcome::Hit));
        clock.advance(NANO);
        assert_eq!(ask(&cache, Some(Duration::ZERO)).unwrap(), (2, Outcome::Computed));
        assert_eq!((cache.get(&1), cache.len()), (None, 0), "handed over, and not stored");
        let stale = cache.request(&1).max_stale(SECOND);
        assert!(format!("{stale:?}").starts_with("LoadingRequest { key: 1"));
    }
    settings(|count| count, as_thread);
    settings(|count| count, as_task);
    settings(Blocking, as_thread);
    settings(Blocking, as_task);
    settings(BoxLoad::<Key, u64, Broken>::new, as_thread);
    settings(BoxLoadAsync::<Key, u64, Broken>::new, as_task);
    settings(|count| BoxLoadAsync::<Key, u64, Broken>::new(Blocking(count)), as_task);
}

/// Keeps what blocks until the test has it run, and takes no tasks.
#[derive(Clone, Default)]
struct Pool(Arc<Mutex<Vec<Work>>>);

impl Spawn for Pool {
    fn spawn(&self, _: bellwether::Task) {
        panic!("a blocking load is no task");
    }
    fn spawn_blocking(&self, work: Work) {
        self.0.lock().unwrap().push(work);
    }
}

impl Pool {
    fn run(&self) {
        let work = std::mem::take(&mut *self.0.lock().unwrap());
        assert_eq!(work.len(), 1);
        work.into_iter().for_each(|work| drop(catch_unwind(AssertUnwindSafe(work))));
    }
}

/// Loads ten times the key; 9 fails, 8 panics. With the old value: confirms it.
struct Tens;

impl Load<Key, u64> for Tens {
    type Error = Broken;
    fn load(&self, key: &Key) -> Result<u64, Broken> {
        match key {
            9 => Err(Broken("no such key")),
            8 => panic!("the loader panics, as it was told to"),
            key => Ok(u64::from(*key) * 10),
        }
    }
    fn revalidate(&self, key: &Key, old: Option<Entry<'static, Key, u64>>) -> Result<Loaded<u64>, Broken> {
        if old.is_some() { Ok(Loaded::NotModified) } else { self.load(key).map(Loaded::New) }
    }
}

#[test]
fn tasks_await_a_blocking_loader_on_the_spawners_threads() {
    let (builder, clock) = timed();
    let pool = Pool::default();
    let builder = builder.time_to_live(10 * SECOND).xfetch(0.0).spawner(pool.clone());
    let cache = builder.loader(Blocking(Tens)).build().unwrap();
    let ask = |key: &'static Key| {
        let mut task = Task::new(cache.load_async(key));
        task.step();
        quietly(|| pool.run());
        task.finish()
    };
    assert_eq!(ask(&1).unwrap(), 10);
    assert!(matches!(ask(&9), Err(LoadError::Load(error)) if error.0 == "no such key"));
    assert!(matches!(ask(&8), Err(LoadError::Panicked(_))));
    clock.advance(10 * SECOND);
    assert_eq!((ask(&1).unwrap(), cache.get(&1)), (10, Some(10)), "confirmed");
    // Refreshes, and bulk loads.
    assert!(cache.refresh_async(&2));
    pool.run();
    assert_eq!(cache.get(&2), Some(20));
    let mut all = Task::new(cache.load_all_async(&[2, 3, 9]));
    all.step();
    pool.run();
    let all: Vec<_> = all.finish().into_iter().map(Result::ok).collect();
    assert_eq!(all, [Some(20), Some(30), None]);
    // Work that the pool drops.
    let mut task = Task::new(cache.load_async(&4));
    task.step();
    pool.0.lock().unwrap().clear();
    assert!(matches!(task.finish(), Err(LoadError::NotRun)));
    // Threads use it as it is.
    assert_eq!(cache.load(&5).unwrap(), 50);
    assert_eq!(pool.0.lock().unwrap().len(), 0);
    nothing_in_flight(&cache, 4);
}

/// A blocking loader that asks for its own key, on the spawner's thread, does not wait for itself.
#[test]
fn a_blocking_loader_that_asks_for_its_own_key_is_told() {
    static CACHE: OnceLock<LoadingCache<Key, u64, Blocking<Own>>> = OnceLock::new();
    struct Own;
    impl Load<Key, u64> for Own {
        type Error = Broken;
        fn load(&self, key: &Key) -> Result<u64, Broken> {
            let asked = block_on(CACHE.get().unwrap().load_async(key));
            assert!(matches!(asked, Err(LoadError::Reentrant)), "{asked:?}");
            Ok(1)
        }
    }
    let cache = CACHE.get_or_init(|| Cache::builder().max_capacity(9).loader(Blocking(Own)).build().unwrap());
    assert_eq!(block_on(cache.load_async(&1)).unwrap(), 1);
}

/// A bulk loader is given the old values, and answers more than values.
#[test]
fn bulk_loaders_are_given_the_old_values() {
    #[derive(Clone, Default)]
    struct Rows(Arc<Mutex<Vec<Asked>>>);

    /// The keys of one bulk call, and the old value of each.
    type Asked = Vec<(Key, Option<u64>)>;
    impl Load<Key, u64> for Rows {
        type Error = Broken;
        fn load(&self, _: &Key) -> Result<u64, Broken> {
            unreachable!("only in bulk")
        }
        fn load_all(&self, keys: &[&Key], answers: &mut Answers<'_, Key, u64, Broken>) {
            let olds = keys.iter().map(|key| (**key, answers.old(*key).map(|old| **old))).collect();
            self.0.lock().unwrap().push(olds);
            assert!(answers.old(&100).is_none());
            for key in keys {
                assert!(match (*key, answers.old(*key).is_some()) {
                    (1, true) => answers.loaded(*key, Loaded::NotModified),
                    (2, true) => answers.loaded(*key, Loaded::NewFor(22, 5 * SECOND)),
                    (3, _) => answers.loaded(*key, Loaded::NotFound),
                    (key, _) => answers.put(key, u64::from(*key)),
                });
            }
        }
    }
    impl LoadAsync<Key, u64> for Rows {
        type Error = Broken;
        async fn load(&self, _: &Key) -> Result<u64, Broken> {
            unreachable!("only in bulk")
        }
        async fn load_all(&self, keys: &[&Key], answers: &mut Answers<'_, Key, u64, Broken>) {
            yield_now().await;
            Load::load_all(self, keys, answers);
        }
    }
    for tasks in [false, true] {
        let (builder, clock) = timed();
        let rows = Rows::default();
        let builder = builder.time_to_live(10 * SECOND).negative_ttl(3 * SECOND).xfetch(0.0);
        let cache = builder.loader(rows.clone()).build().unwrap();
        let ask = || {
            let keys = [1, 2, 3, 4];
            let all = if tasks { block_on(cache.load_all_async(&keys)) } else { cache.load_all(&keys) };
            assert!(matches!(all[2], Err(LoadError::NotFound)), "{all:?}");
            let all: Vec<_> = all.into_iter().map(Result::ok).collect();
            (all, rows.0.lock().unwrap().pop())
        };
        let new = |keys: &[Key]| Some(keys.iter().map(|key| (*key, None)).collect::<Vec<_>>());
        assert_eq!(ask(), (vec![Some(1), Some(2), None, Some(4)], new(&[1, 2, 3, 4])));
        assert_eq!(ask(), (vec![Some(1), Some(2), None, Some(4)], None));
        clock.advance(3 * SECOND);
        assert_eq!(ask().1, new(&[3]));
        clock.advance(10 * SECOND);
        let olds = vec![(1, Some(1)), (2, Some(2)), (3, None), (4, Some(4))];
        assert_eq!(ask(), (vec![Some(1), Some(22), None, Some(4)], Some(olds)));
        clock.advance(5 * SECOND);
        assert_eq!(ask().1, Some(vec![(2, Some(22)), (3, None)]));
        cache.validate().unwrap();
    }
}

/// Called by itself, a loader that answers more than values can only give values.
#[test]
fn a_closure_with_old_values_is_a_loader_by_itself() {
    let closure = |key: &Key, _: Option<Entry<'static, Key, u64>>| {
        Ok::<_, Broken>(if *key == 1 { Loaded::NewFor(1, SECOND) } else { Loaded::NotFound })
    };
    let loader = bellwether::Revalidating(closure);
    assert_eq!(Load::<Key, u64>::load(&loader, &1).unwrap(), 1);
    assert!(catch_unwind(AssertUnwindSafe(|| Load::<Key, u64>::load(&loader, &2).is_ok())).is_err());
    let clock = ManualClock::new();
    let cache =
        Cache::<Key, u64>::builder().max_capacity(10).clock(clock).revalidating_loader(closure).build().unwrap();
    assert!(matches!(cache.load(&2), Err(LoadError::NotFound)));
    assert_eq!((cache.load(&1).unwrap(), cache.load_all(&[1]).len()), (1, 1));
}
