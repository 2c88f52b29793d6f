//! `Builder::on_load_error`: once for each load that failed, of whatever face, with its error.

use crate::common::tasks::Task;
use crate::common::*;
use bellwether::{
    Answers, Builder, Cache, CacheEvent, Failure, Load, LoadAsync, LoadError, LoadKind, Lookup, Observer, Op, Waited,
};
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn told(&self, key: &Key, failure: &Failure<'_>, kind: LoadKind) {
        let why = match failure.downcast_ref::<Broken>() {
            Some(broken) => broken.0.to_owned(),
            None => failure.to_string(),
        };
        assert_eq!(failure.panicked(), why == "the load panicked");
        self.0.lock().unwrap().push(format!("{key} {kind:?} {why}"));
    }
    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
    fn heard(&self, builder: Builder<Key, u64>) -> Builder<Key, u64> {
        let log = self.clone();
        builder.on_load_error(move |key, failure, kind| log.told(key, failure, kind))
    }
}

/// Fails, or panics from key 100 on.
struct Fails;

impl Load<Key, u64> for Fails {
    type Error = Broken;
    fn load(&self, key: &Key) -> Result<u64, Broken> {
        assert!(*key < 100, "the loader panics, as it was told to");
        Err(Broken("down"))
    }
    fn load_all(&self, keys: &[&Key], answers: &mut Answers<'_, Key, u64, Broken>) {
        assert!(keys.iter().all(|key| **key < 100), "the loader panics, as it was told to");
        answers.fail_rest(Broken("down"));
    }
}

impl LoadAsync<Key, u64> for Fails {
    type Error = Broken;
    async fn load(&self, key: &Key) -> Result<u64, Broken> {
        Load::load(self, key)
    }
}

#[test]
fn each_face_tells_a_failed_load_once() {
    let log = Log::default();
    let (builder, clock) = timed();
    let builder = log.heard(builder.time_to_live(10 * SECOND).xfetch(0.0)).error_cooldown(Duration::ZERO);
    let cache = builder.loader(Fails).build().unwrap();
    let tells = |what: &str, ask: &dyn Fn(), expected: &[&str]| {
        let failures = cache.stats().load_failures;
        drop(quietly(|| catch_unwind(AssertUnwindSafe(ask))));
        until("it ends", || (0..200).all(|key| !cache.is_loading(&key)));
        // (In the background it is told after the flight has ended.)
        until("it is told", || log.0.lock().unwrap().len() >= expected.len());
        let mut told = log.taken();
        told.sort();
        assert_eq!(told, expected, "{what}");
        assert_eq!((cache.stats().load_failures - failures) as usize, told.len(), "{what}");
    };
    let no = || Err::<u64, _>(Broken("no"));
    let panics = || -> u64 { panic!("the loader panics, as it was told to") };
    tells("get_with", &|| assert_eq!(cache.get_with(&1, panics), 0), &["1 Missing the load panicked"]);
    tells("try_get_with", &|| drop(cache.try_get_with(&1, no)), &["1 Missing no"]);
    tells("a task", &|| drop(Task::new(cache.try_get_with_async(&1, async || no())).finish()), &["1 Missing no"]);
    tells("entry", &|| drop(cache.entry(&1).try_get_with(no)), &["1 Missing no"]);
    tells("detached", &|| drop(cache.cache().detached(&1).try_get_with(no)), &["1 Missing no"]);
    tells("its panic", &|| drop(cache.cache().detached(&1).get_with(panics)), &["1 Missing the load panicked"]);
    tells("load", &|| drop(cache.load(&1)), &["1 Missing down"]);
    tells("load_async", &|| drop(Task::new(cache.load_async(&1)).finish_when_woken()), &["1 Missing down"]);
    tells("refresh", &|| assert!(cache.refresh(&1)), &["1 Compute down"]);
    tells("load_all", &|| drop(cache.load_all(&[1, 2, 2])), &["1 Missing down", "2 Missing down"]);
    let both = ["1 Missing the load panicked", "100 Missing the load panicked"];
    tells("its panic", &|| drop(cache.load_all(&[1, 100])), &both);
    tells(
        "as tasks",
        &|| drop(Task::new(cache.load_all_async(&[1, 2])).finish_when_woken()),
        &["1 Missing down", "2 Missing down"],
    );
    tells("compute", &|| drop(cache.compute(&1, |_| Op::Put(panics()))), &["1 Compute the load panicked"]);
    let lead = || match cache.lease(&1) {
        Lookup::Lead(lease) => lease,
        other => panic!("{other:?}"),
    };
    tells("a lease", &|| lead().fail_with(Broken("by hand")), &["1 Missing by hand"]);
    tells("without an error", &|| lead().fail(), &["1 Missing the load was failed without an error"]);
    // What is no failure.
    tells("given up", &|| drop(lead()), &[]);
    tells("stored", &|| drop(lead().fulfil(1)), &[]);
    tells("nothing", &|| drop(cache.compute(&1, |_| Op::Nop)), &[]);
    clock.advance(11 * SECOND);
    tells("expired", &|| drop(cache.try_get_with(&1, no)), &["1 Expired no"]);
    let taken_over = || {
        let lease = lead();
        let Lookup::Wait(waiter) = cache.lease(&1) else { panic!("it is being loaded") };
        drop(lease);
        let Waited::Lead(lease) = waiter.wait() else { panic!("it takes over") };
        lease.fail_with(Broken("again"));
    };
    tells("taken over", &taken_over, &["1 TakenOver again"]);
}

#[test]
fn errors_of_known_types_have_their_text() {
    let log = Log::default();
    let cache: TestCache = log.heard(Cache::builder().max_capacity(9)).build().unwrap();
    let text = |ask: &dyn Fn()| {
        ask();
        log.taken().pop().unwrap().split_once("Missing ").unwrap().1.to_owned()
    };
    fn fail<E: Send + Sync + 'static>(cache: &TestCache, error: E) {
        assert!(cache.try_get_with(&1, || Err(error)).is_err());
    }
    assert_eq!(text(&|| fail(&cache, String::from("owned"))), "owned");
    assert_eq!(text(&|| fail(&cache, "borrowed")), "borrowed");
    assert_eq!(text(&|| fail(&cache, Box::<str>::from("boxed"))), "boxed");
    assert_eq!(text(&|| fail::<Box<dyn Error + Send + Sync>>(&cache, "dynamic".into())), "dynamic");
    assert_eq!(text(&|| fail::<Arc<dyn Error + Send + Sync>>(&cache, Arc::new(Broken("shared")))), "shared");
    assert_eq!(text(&|| fail(&cache, std::io::Error::other("of the system"))), "of the system");
    assert_eq!(text(&|| fail(&cache, 7_u8)), "the load failed with an error that has no text here");
}

/// A panic in it reaches the caller after the operation; what it was told of is done, and nothing is lost.
#[test]
fn a_hook_that_panics_loses_nothing() {
    let census = Census::default();
    let told = Arc::new(AtomicUsize::new(0));
    let theirs = told.clone();
    let builder = Cache::<Member<Key>, Member<u64>>::builder().max_capacity(9).on_load_error(move |_, _, _| {
        theirs.fetch_add(1, SeqCst);
        panic!("the hook panics, as it was told to");
    });
    let cache = builder.build().unwrap();
    let key = census.member(1);
    let fails = || drop(cache.try_get_with(&key, || Err::<Member<u64>, _>(census.member(0))));
    assert!(quietly(|| catch_unwind(AssertUnwindSafe(fails))).is_err());
    let panics = || drop(cache.get_with(&key, || panic!("the loader panics, as it was told to")));
    let panic = quietly(|| catch_unwind(AssertUnwindSafe(panics))).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"the loader panics, as it was told to"));
    assert!(!cache.is_loading(&key) && cache.is_empty());
    assert_eq!((told.load(SeqCst), cache.get_with(&key, || census.member(5)).what), (2, 5));
    drop((cache, key));
    assert_eq!(census.alive(), 0);
}

#[test]
fn a_hook_may_use_the_cache() {
    static CACHE: OnceLock<TestCache> = OnceLock::new();
    let builder = Cache::builder().max_capacity(9).on_load_error(|key: &Key, _, _| {
        CACHE.get().unwrap().insert(*key, 7);
    });
    let cache = CACHE.get_or_init(|| builder.build().unwrap());
    assert!(matches!(cache.try_get_with(&1, || Err::<u64, _>(Broken("no"))), Err(LoadError::Load(_))));
    assert_eq!(cache.get(&1), Some(7));
}

/// A load that was taken over has failed all the same, and its error is nobody's but its caller's: it is told.
#[test]
fn a_fenced_load_that_fails_is_told() {
    #[derive(Default, Clone)]
    struct Fenced(Arc<AtomicUsize>);
    impl Observer for Fenced {
        fn observe(&self, _: &str, event: &CacheEvent) {
            if matches!(event, CacheEvent::LoadEnded { ending: bellwether::LoadEnding::Fenced, .. }) {
                self.0.fetch_add(1, SeqCst);
            }
        }
    }
    let (log, fenced) = (Log::default(), Fenced::default());
    let (builder, clock) = timed();
    let cache = log.heard(builder.lead_timeout(SECOND).observer(fenced.clone())).build().unwrap();
    let Lookup::Lead(lease) = cache.lease(&1) else { panic!("there is nobody else") };
    clock.advance(2 * SECOND);
    assert_eq!(cache.get_with(&1, || 5), 5);
    lease.fail_with(Broken("late"));
    assert_eq!((log.taken(), fenced.0.load(SeqCst)), (vec!["1 Missing late".to_owned()], 1));
}
