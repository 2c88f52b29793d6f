//! 500 threads ask one cold key at the same moment, and its loader is a slow query on a real database.

use crate::{
    Result,
    database::{Customer, Database},
    ensure, progress, show,
};
use bellwether::{Cache, LoadError};
use std::{
    collections::HashSet,
    panic,
    sync::{
        Arc, Barrier, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const HERD: usize = 500;
const KEY: &str = "best customer";

type Customers = Cache<&'static str, Customer>;
type Cached = Result<Customer, LoadError<rusqlite::Error>>;

pub(crate) fn run() -> Result {
    println!("1. The herd: {HERD} threads ask one cold key at the same moment");
    let db = Database::create()?;
    println!(
        "   Its loader is a query over {} orders in an SQLite database; alone, it takes {}.\n",
        db.orders,
        show(db.query_time)
    );
    cold_key(&db)?;
    println!("   With the cache, and a loader that");
    failing_loader(&db)?;
    panicking_loader(&db)?;
    invalidated_in_flight(&db)?;
    println!();
    Ok(())
}

/// What became of the threads of a herd.
struct Herd<T> {
    answers: Vec<T>,
    /// Threads that gave no answer, since they panicked.
    panicked: usize,
    /// The longest that one thread waited for its answer.
    slowest: Duration,
    /// From the first question to the last answer.
    wall: Duration,
}

/// Lets `size` threads call `ask` at the same moment.
fn herd<T: Send>(size: usize, ask: impl Fn() -> T + Sync) -> Herd<T> {
    let gate = Barrier::new(size);
    let ask_timed = || {
        gate.wait();
        let asked = Instant::now();
        (ask(), asked, Instant::now())
    };
    let ended: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..size).map(|_| scope.spawn(ask_timed)).collect();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    let answered: Vec<_> = ended.into_iter().flatten().collect();
    let first_asked = answered.iter().map(|(_, asked, _)| *asked).min();
    let last_answered = answered.iter().map(|(_, _, at)| *at).max();
    Herd {
        panicked: size - answered.len(),
        slowest: answered.iter().map(|(_, asked, at)| *at - *asked).max().unwrap_or_default(),
        wall: last_answered.zip(first_asked).map_or(Duration::ZERO, |(last, first)| last - first),
        answers: answered.into_iter().map(|(answer, ..)| answer).collect(),
    }
}

fn cold_key(db: &Database) -> Result {
    println!("                       database hits   all answered after   slowest answer");

    let bar = progress(HERD as u64, "without the cache")?;
    let hits_before = db.hits();
    let all = herd(HERD, || {
        let found = db.best_customer();
        bar.inc(1);
        found
    });
    bar.finish_and_clear();
    print_row("without the cache", db.hits() - hits_before, &all);
    for answer in all.answers {
        answer?;
    }

    let cache = Customers::new(100);
    let load_time = OnceLock::new();
    let hits_before = db.hits();
    let all = herd(HERD, || {
        cache.try_get_with(&KEY, || {
            let start = Instant::now();
            let found = db.best_customer();
            load_time.get_or_init(|| start.elapsed());
            found
        })
    });
    let hits = db.hits() - hits_before;
    print_row("with the cache", hits, &all);
    ensure(hits == 1, format!("{hits} database hits for one cold key"))?;
    let load_time = *load_time.get().ok_or("the key was never loaded")?;
    println!(
        "\n   With the cache, the query took {}; the longest wait was {} more than that ({:.2} times as long).\n",
        show(load_time),
        show(all.slowest.saturating_sub(load_time)),
        all.slowest.as_secs_f64() / load_time.as_secs_f64(),
    );
    for answer in all.answers {
        answer?;
    }
    Ok(())
}

fn print_row<T>(name: &str, hits: u64, herd: &Herd<T>) {
    let (wall, slowest) = (show(herd.wall), show(herd.slowest));
    println!("   {name:<18} {hits:>14} {wall:>20} {slowest:>16}");
}

fn failing_loader(db: &Database) -> Result {
    let cache = Customers::new(100);
    let asked = AtomicUsize::new(0);
    let hits_before = db.hits();
    let all = herd(HERD, || {
        asked.fetch_add(1, Ordering::Relaxed);
        cache.try_get_with(&KEY, || {
            // An error is not kept: a thread that asks after it loads anew. So wait until all have asked.
            wait_until(|| asked.load(Ordering::Relaxed) == HERD);
            db.overflowing_query()
        })
    });
    let calls = db.hits() - hits_before;
    let errors: Vec<_> = all.answers.iter().filter_map(load_error).collect();
    let distinct: HashSet<_> = errors.iter().map(|error| Arc::as_ptr(error)).collect();
    let text = errors.first().ok_or("the query did not fail")?;
    println!("     fails            {calls} call; {} threads got its one error, \"{text}\"", errors.len());
    ensure(
        errors.len() == HERD && distinct.len() as u64 == calls,
        "the error of a failed load was not shared by all who waited",
    )
}

fn load_error(answer: &Cached) -> Option<&Arc<rusqlite::Error>> {
    match answer {
        Err(LoadError::Load(error)) => Some(error),
        _ => None,
    }
}

fn panicking_loader(db: &Database) -> Result {
    let cache = Customers::new(100);
    let calls = AtomicUsize::new(0);
    let all = without_panic_messages(|| {
        herd(HERD, || {
            cache.try_get_with(&KEY, || {
                let is_first = calls.fetch_add(1, Ordering::Relaxed) == 0;
                let found = db.best_customer();
                if is_first {
                    panic!("the first leader dies with the answer in its hands");
                }
                found
            })
        })
    });
    let calls = calls.into_inner();
    let answered = all.answers.iter().flatten().count();
    println!(
        "     panics once      {calls} calls; {} thread died, one other took over, {answered} threads got the answer",
        all.panicked
    );
    ensure(
        (all.panicked, calls, answered) == (1, 2, HERD - 1),
        "a loader's panic was not handed over to exactly one other",
    )
}

fn without_panic_messages<T>(work: impl FnOnce() -> T) -> T {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let result = work();
    panic::set_hook(hook);
    result
}

/// While half of the herd waits, the data changes and the key is invalidated; then the other half asks.
fn invalidated_in_flight(db: &Database) -> Result {
    let cache = Customers::new(100);
    let old = db.best_customer()?;
    let asked = AtomicUsize::new(0);
    let invalidated = AtomicBool::new(false);
    let hits_before = db.hits();
    let ask = || {
        asked.fetch_add(1, Ordering::Relaxed);
        cache.try_get_with(&KEY, || {
            let found = db.best_customer();
            // However slow the machine is: the first load is not to end before it is overtaken.
            wait_until(|| invalidated.load(Ordering::Acquire));
            found
        })
    };

    let (early, late) = thread::scope(|scope| -> Result<_> {
        let early = scope.spawn(|| herd(HERD / 2, ask));
        wait_until(|| db.hits() > hits_before && asked.load(Ordering::Relaxed) == HERD / 2);
        // The query runs, and the rest are on their way to wait for it.
        thread::sleep(db.query_time / 2);
        let added = db.add_huge_order();
        cache.invalidate(&KEY);
        // Whatever became of the order: the first load waits for this.
        invalidated.store(true, Ordering::Release);
        added?;
        let late = herd(HERD / 2, ask);
        Ok((early.join().expect("a herd itself does not panic"), late))
    })?;
    let loads = db.hits() - hits_before;

    let new = db.best_customer()?;
    let holds_new = cache.get(&KEY) == Some(new.clone());
    let (early_old, late_new) = (early.count_of(&old), late.count_of(&new));
    println!(
        "     is invalidated   {loads} loads: {early_old} who already waited got the old answer, {late_new} who came \
         later the new one,\n                      and the cache keeps the {} one",
        if holds_new { "new" } else { "old" }
    );
    ensure(
        loads == 2 && late_new == HERD / 2 && holds_new,
        "what was loaded before an invalidation was served or stored after it",
    )
}

impl Herd<Cached> {
    fn count_of(&self, wanted: &Customer) -> usize {
        let found = self.answers.iter().flatten();
        found.filter(|customer| *customer == wanted).count()
    }
}

fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::sleep(Duration::from_millis(1));
    }
}
