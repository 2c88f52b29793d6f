//! One hot key whose value expires again and again while many threads ask for it: how long calls take, and how old values
//! are. Threads sleep between their calls, so that there is a processor for whoever wakes: what is measured is the call.

use crate::rounds::{Contestant, Draw, Sample};
use hdrhistogram::Histogram;
use quick_cache::sync::GuardResult;
use std::{
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

pub(crate) const DETACHED: &str = "bellwether, `detached`";

const KEY: u64 = 7;
const ROOM: u64 = 1000;
const THREADS: u64 = 8;
const TTL: Duration = Duration::from_millis(100);
/// How long a load takes.
const LOAD: Duration = Duration::from_millis(20);
/// Between two calls of a thread: from here on, up to four times as long.
const PAUSE: Duration = Duration::from_micros(50);

/// The clock, and what loads. A value is the time when it was loaded.
struct Source {
    origin: Instant,
    loads: AtomicU64,
}

impl Source {
    fn new() -> Arc<Self> {
        Arc::new(Self { origin: Instant::now(), loads: AtomicU64::new(0) })
    }

    fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    fn load(&self) -> u64 {
        self.loads.fetch_add(1, Relaxed);
        thread::sleep(LOAD);
        self.now()
    }

    /// For how long a value had been past its time to live, at this time.
    fn past(value: u64, at: u64) -> u64 {
        at.saturating_sub(value + TTL.as_nanos() as u64)
    }

    fn good(&self, value: u64) -> bool {
        Self::past(value, self.now()) == 0
    }
}

/// What a thread has seen.
struct Seen {
    /// How long calls took, in nanoseconds.
    took: Histogram<u64>,
    /// The furthest that a value was past its time as the call for it began.
    past: u64,
}

impl Seen {
    fn new() -> Self {
        Self { took: Histogram::new(3).expect("three digits"), past: 0 }
    }

    fn note(&mut self, began: u64, ended: u64, value: u64) {
        self.took.record(ended - began).expect("it resizes");
        self.past = self.past.max(Source::past(value, began));
    }

    fn with(mut self, other: Self) -> Self {
        self.took.add(other.took).expect("it resizes");
        self.past = self.past.max(other.past);
        self
    }
}

/// Calls and sleeps until the time is over.
fn ask(source: &Source, end: u64, seed: u64, call: impl Fn() -> u64) -> Seen {
    let (mut seen, mut draw) = (Seen::new(), Draw(seed));
    loop {
        thread::sleep(PAUSE.mul_f64(1.0 + 3.0 * draw.unit()));
        let began = source.now();
        if began >= end {
            return seen;
        }
        let value = call();
        seen.note(began, source.now(), value);
    }
}

fn calling(name: &'static str, call: impl Fn(&Arc<Source>) -> u64 + Sync + 'static) -> Contestant {
    let source = Source::new();
    let turn = move |budget: Duration| {
        // Not measured: since the last turn the value has expired, under no load.
        call(&source);
        let (loads, began) = (source.loads.load(Relaxed), source.now());
        let end = began + budget.as_nanos() as u64;
        let (source, call) = (&source, &call);
        let seen = thread::scope(|scope| {
            let threads: Vec<_> =
                (0..THREADS).map(|seed| scope.spawn(move || ask(source, end, seed, || call(source)))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no call panics")).reduce(Seen::with)
        });
        let seen = seen.expect("there are threads");
        let loads = source.loads.load(Relaxed) - loads;
        let micros = |nanos: u64| nanos as f64 / 1e3;
        Sample::with(
            micros(seen.took.value_at_quantile(0.999)),
            [micros(seen.took.max()), seen.past as f64 / 1e6, loads as f64 / budget.as_secs_f64()],
        )
    };
    Contestant { name, turn: Box::new(turn) }
}

pub(crate) fn field() -> Vec<Contestant> {
    let ours = || Arc::new(bellwether::Cache::builder().max_capacity(ROOM).time_to_live(TTL).build().expect("valid"));
    let (detached, inline) = (ours(), ours());
    let moka: moka::sync::Cache<u64, u64> = moka::sync::Cache::builder().max_capacity(ROOM).time_to_live(TTL).build();
    let quick = quick_cache::sync::Cache::<u64, u64>::new(ROOM as usize);
    let bare = RwLock::new(0);
    vec![
        // An early refresh by a thread of its own, which `ThreadSpawn` starts: nobody waits for it.
        calling(DETACHED, move |source| {
            let of = Arc::clone(source);
            *detached.detached(&KEY).get_with(move || of.load()).0
        }),
        // An early refresh by the caller that is first past the mark: it alone takes as long as the load.
        calling("bellwether, `get_with`", move |source| inline.get_with(&KEY, || source.load())),
        calling("moka", move |source| moka.get_with(KEY, || source.load())),
        calling("quick_cache + `Instant`", move |source| {
            loop {
                match quick.get_value_or_guard(&KEY, None) {
                    GuardResult::Value(value) if source.good(value) => return value,
                    GuardResult::Value(_) => drop(quick.remove_if(&KEY, |value| !source.good(*value))),
                    GuardResult::Guard(guard) => {
                        let value = source.load();
                        // An error means that it was removed meanwhile.
                        let _ = guard.insert(value);
                        return value;
                    }
                    GuardResult::Timeout => unreachable!("none was given"),
                }
            }
        }),
        calling("a bare `RwLock`", move |source| {
            let value = *bare.read().expect("no load panics");
            if value != 0 && source.good(value) {
                return value;
            }
            let mut value = bare.write().expect("no load panics");
            if *value == 0 || !source.good(*value) {
                *value = source.load();
            }
            *value
        }),
    ]
}
