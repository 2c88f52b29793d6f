//! Every way to have a value loaded, behind one function, so that one body tests them all.

use crate::common::tasks::*;
use crate::common::*;
use bellwether::{
    Blocking, BoxLoad, BoxLoadAsync, Builder, Entry, LoadError, Loaded, ManualClock, Outcome, Revalidating,
};
use std::sync::{Arc, Mutex};

/// What a caller was told. Bulk calls and the plain verbs of a loader's cache tell no outcome.
pub(crate) type Told = Result<(u64, Option<Outcome>), LoadError<Broken>>;

/// A loader that answers as the test says, and keeps account of its calls.
#[derive(Clone)]
pub(crate) struct Script(Arc<Mutex<Lines>>);

struct Lines {
    answer: Result<Loaded<u64>, &'static str>,
    /// The keys that were loaded, each with the old value that the loader was given.
    calls: Vec<(Key, Option<u64>)>,
    gate: Option<Gate>,
}

impl Script {
    pub(crate) fn says(&self, answer: Result<Loaded<u64>, &'static str>) {
        self.0.lock().unwrap().answer = answer;
    }

    /// Holds up the loads that begin from now on.
    pub(crate) fn gate(&self) -> Gate {
        self.0.lock().unwrap().gate.insert(Gate::default()).clone()
    }

    pub(crate) fn calls(&self) -> Vec<(Key, Option<u64>)> {
        self.0.lock().unwrap().calls.clone()
    }

    fn run(&self, key: Key, old: Option<u64>) -> Result<Loaded<u64>, Broken> {
        let (answer, gate) = {
            let mut lines = self.0.lock().unwrap();
            lines.calls.push((key, old));
            (lines.answer, lines.gate.clone())
        };
        gate.iter().for_each(Gate::pass);
        answer.map_err(Broken)
    }
}

/// One way to ask, and a cache to ask.
pub(crate) struct Face {
    pub(crate) name: &'static str,
    pub(crate) cache: Arc<TestCache>,
    pub(crate) clock: ManualClock,
    pub(crate) script: Script,
    ask: Box<dyn Fn(Key) -> Told + Send + Sync>,
}

impl Face {
    pub(crate) fn ask(&self, key: Key) -> Told {
        (self.ask)(key)
    }

    /// Asks for key 1, whose load comes to this; the old value that the loader was given, if it was called.
    pub(crate) fn comes_to(&self, loaded: Loaded<u64>) -> (Result<u64, &'static str>, Option<Option<u64>>) {
        let before = self.script.calls().len();
        self.script.says(Ok(loaded));
        let told = self.ask(1);
        let told = match told {
            Ok((value, _)) => Ok(value),
            Err(LoadError::NotFound) => Err("not found"),
            // A load in the background of several keys tells no more.
            Err(LoadError::NotModified) => Err("not modified"),
            Err(LoadError::Abandoned) if self.name == "bulk, tasks" => Err("not modified"),
            Err(other) => panic!("{}: {other:?}", self.name),
        };
        (told, self.script.calls().get(before).map(|call| call.1))
    }
}

type Found<'c> = (Entry<'c, Key, u64>, Outcome);
type Old = Option<Entry<'static, Key, u64>>;

fn with_outcome(found: Result<Found<'_>, LoadError<Broken>>) -> Told {
    found.map(|(entry, outcome)| (*entry, Some(outcome)))
}

fn plain(found: Result<u64, LoadError<Broken>>) -> Told {
    found.map(|value| (value, None))
}

/// Runs the test once for each face, with a cache that is built alike.
pub(crate) fn each_face(set: impl Fn(Builder<Key, u64>) -> Builder<Key, u64>, test: impl Fn(&Face)) {
    let new = || {
        let (builder, clock) = timed();
        let lines = Lines { answer: Err("it was told nothing"), calls: Vec::new(), gate: None };
        (set(builder), clock, Script(Arc::new(Mutex::new(lines))))
    };
    let by_closure = |name, ask: fn(&Arc<TestCache>, Key, Script) -> Told| {
        let (builder, clock, script) = new();
        let cache: Arc<TestCache> = Arc::new(builder.build().unwrap());
        let (own, scripted) = (cache.clone(), script.clone());
        test(&Face { name, cache, clock, script, ask: Box::new(move |key| ask(&own, key, scripted.clone())) });
    };
    by_closure("entry, threads", |cache, key, script| {
        with_outcome(cache.entry(&key).revalidate_with(|old| script.run(key, old.map(|old| *old))))
    });
    by_closure("entry, tasks", |cache, key, script| {
        let load = |old: Option<Entry<'_, Key, u64>>| {
            let old = old.map(|old| *old);
            async move {
                yield_now().await;
                script.run(key, old)
            }
        };
        with_outcome(block_on(cache.entry(&key).revalidate_with_async(load)))
    });
    by_closure("plain, tasks", |cache, key, script| {
        let load = |old: Option<Entry<'_, Key, u64>>| {
            let old = old.map(|old| *old);
            async move {
                yield_now().await;
                script.run(key, old)
            }
        };
        plain(block_on(cache.revalidate_with_async(&key, load)))
    });
    by_closure("detached, threads", |cache, key, script| {
        let load = move |key: &Key, old: Old| script.run(*key, old.map(|old| *old));
        with_outcome(cache.detached(&key).revalidate_with(load))
    });
    by_closure("detached, tasks", |cache, key, script| {
        let load = move |key: &Key, old: Old| {
            let (key, old) = (*key, old.map(|old| *old));
            async move {
                yield_now().await;
                script.run(key, old)
            }
        };
        with_outcome(block_on(cache.detached(&key).revalidate_with_async(load)))
    });
    macro_rules! loading {
        ($name:expr, |$script:ident| $loader:expr, |$loading:ident, $key:ident| $ask:expr) => {{
            let (builder, clock, script) = new();
            let $script = script.clone();
            let $loading = builder.loader($loader).build().unwrap();
            let cache = $loading.cache().clone();
            test(&Face { name: $name, cache, clock, script, ask: Box::new(move |$key| $ask) });
        }};
    }
    let sync = |script: Script| move |key: &Key, old: Old| script.run(*key, old.map(|old| *old));
    let tasks = |script: Script| {
        move |key: &Key, old: Old| {
            let (script, key, old) = (script.clone(), *key, old.map(|old| *old));
            async move {
                yield_now().await;
                script.run(key, old)
            }
        }
    };
    loading!("load", |s| Revalidating(sync(s)), |cache, key| plain(cache.load(&key)));
    loading!("load_async", |s| Revalidating(tasks(s)), |cache, key| plain(block_on(cache.load_async(&key))));
    loading!("request, threads", |s| Revalidating(sync(s)), |cache, key| with_outcome(cache.request(&key).load()));
    loading!("request, tasks", |s| BoxLoadAsync::new(Revalidating(tasks(s))), |cache, key| with_outcome(block_on(
        cache.request(&key).load_async()
    )));
    loading!("blocking", |s| Blocking(Revalidating(sync(s))), |cache, key| with_outcome(block_on(
        cache.request(&key).load_async()
    )));
    loading!("bulk, threads", |s| BoxLoad::new(Revalidating(sync(s))), |cache, key| plain(
        cache.load_all(&[key]).pop().unwrap()
    ));
    loading!("bulk, tasks", |s| Revalidating(tasks(s)), |cache, key| plain(
        block_on(cache.load_all_async(&[key])).pop().unwrap()
    ));
}
