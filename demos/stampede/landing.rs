//! DiskCache's case study of a landing page under load, replayed with several ways of caching:
//! <https://grantjenks.com/docs/diskcache/case-study-landing-page-caching.html>.

use crate::{Result, ensure, progress, show};
use bellwether::Cache;
use std::{
    sync::Mutex,
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

// The case study's numbers.
pub(crate) const WORKERS: usize = 10;
const PAUSE: Duration = Duration::from_millis(10);
const GENERATION: Duration = Duration::from_millis(200);
const TTL: Duration = Duration::from_secs(1);
pub(crate) const RUN: Duration = Duration::from_secs(10);

const PATH: &str = "/";

type Pages = Cache<&'static str, String>;

/// From when to when something went on, in time since the start.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) start: Duration,
    pub(crate) end: Duration,
}

impl Span {
    pub(crate) fn length(&self) -> Duration {
        self.end - self.start
    }
}

/// What happened while one way of caching was under load.
pub(crate) struct Run {
    pub(crate) name: &'static str,
    /// Whether bellwether is to see to it that never more than one worker generates the page.
    coalesces: bool,
    pub(crate) requests: Vec<Span>,
    pub(crate) generations: Vec<Span>,
}

impl Run {
    /// How many workers were generating the page from each point in time on, until the next point.
    pub(crate) fn concurrency(&self) -> Vec<(Duration, usize)> {
        let starts = self.generations.iter().map(|span| (span.start, true));
        let ends = self.generations.iter().map(|span| (span.end, false));
        let mut changes: Vec<_> = starts.chain(ends).collect();
        // An end (`false`) comes before a start at the same instant: those two do not overlap.
        changes.sort();
        let mut workers = 0;
        let step = |(at, is_start)| {
            workers = if is_start { workers + 1 } else { workers - 1 };
            (at, workers)
        };
        changes.into_iter().map(step).collect()
    }

    fn of((server, requests): (Server, Vec<Span>)) -> Self {
        Self {
            name: server.name,
            coalesces: matches!(server.caching, Caching::ReadThrough(_)),
            requests,
            generations: server.generations.into_inner().expect("a push does not panic"),
        }
    }

    fn max_concurrency(&self) -> usize {
        self.concurrency().into_iter().map(|(_, workers)| workers).max().unwrap_or(0)
    }
}

/// A way of caching, and its cache.
enum Caching {
    None,
    /// What most programs do: look, compute if there is nothing, store.
    LookThenStore(Pages),
    ReadThrough(Pages),
}

/// The web server of the case study: it has one page.
struct Server {
    name: &'static str,
    caching: Caching,
    begin: Instant,
    generations: Mutex<Vec<Span>>,
}

impl Server {
    fn page(&self) -> String {
        match &self.caching {
            Caching::None => self.generate(),
            Caching::LookThenStore(cache) => cache.get(&PATH).unwrap_or_else(|| {
                let page = self.generate();
                cache.insert(PATH, page.clone());
                page
            }),
            Caching::ReadThrough(cache) => cache.get_with(&PATH, || self.generate()),
        }
    }

    fn generate(&self) -> String {
        let start = self.begin.elapsed();
        thread::sleep(GENERATION);
        let end = self.begin.elapsed();
        let mut generations = self.generations.lock().expect("a push does not panic");
        generations.push(Span { start, end });
        "<h1>Welcome</h1>".to_owned()
    }

    /// One worker: asks for the page again and again, and says when.
    fn work(&self) -> Vec<Span> {
        let mut requests = Vec::new();
        while self.begin.elapsed() < RUN {
            let start = self.begin.elapsed();
            self.page();
            let end = self.begin.elapsed();
            requests.push(Span { start, end });
            thread::sleep(PAUSE);
        }
        requests
    }
}

/// One server for each way of caching.
fn servers() -> Result<Vec<Server>> {
    let begin = Instant::now();
    let server = |name, caching| Server { name, caching, begin, generations: Mutex::new(Vec::new()) };
    let pages = |beta| Pages::builder().max_capacity(100).time_to_live(TTL).xfetch(beta).build();
    Ok(vec![
        server("no cache", Caching::None),
        server("look, then store", Caching::LookThenStore(pages(0.0)?)),
        server("coalescing", Caching::ReadThrough(pages(0.0)?)),
        server("XFetch, beta 1", Caching::ReadThrough(pages(1.0)?)),
        server("XFetch, beta 0.5", Caching::ReadThrough(pages(0.5)?)),
        server("XFetch, beta 0.3", Caching::ReadThrough(pages(0.3)?)),
    ])
}

/// Puts all ways of caching under load, side by side: they only sleep, so they do not disturb each other.
pub(crate) fn run() -> Result<Vec<Run>> {
    println!(
        "2. The landing page: it takes {} to generate and is kept for {};\n   {WORKERS} workers ask for it again and \
         again, with a pause of {}",
        show(GENERATION),
        show(TTL),
        show(PAUSE)
    );
    let servers = servers()?;
    let requests = thread::scope(|scope| -> Result<Vec<_>> {
        let start_worker = |server| scope.spawn(move || Server::work(server));
        let start_workers = |server| (0..WORKERS).map(|_| start_worker(server)).collect();
        let working: Vec<Vec<_>> = servers.iter().map(start_workers).collect();
        show_progress()?;
        Ok(working.into_iter().map(end_of_work).collect())
    })?;
    let runs: Vec<_> = servers.into_iter().zip(requests).map(Run::of).collect();
    print_table(&runs);
    Ok(runs)
}

fn show_progress() -> Result {
    let step = RUN / 100;
    let bar = progress(100, "   running")?;
    for _ in 0..100 {
        thread::sleep(step);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// Waits for the workers of one server; returns their requests.
fn end_of_work(workers: Vec<ScopedJoinHandle<'_, Vec<Span>>>) -> Vec<Span> {
    let end = |worker: ScopedJoinHandle<'_, _>| worker.join().expect("no worker panics");
    workers.into_iter().flat_map(end).collect()
}

fn print_table(runs: &[Run]) {
    println!("\n   {:<20} {:>11} {:>13} {:>29}", "", "generations", "at most", "a request takes");
    println!("   {:<20} {:>11} {:>13} {:>9} {:>9} {:>9}", "", "of the page", "at a time", "p50", "p99", "max");
    for run in runs {
        let mut waits: Vec<_> = run.requests.iter().map(Span::length).collect();
        waits.sort();
        println!(
            "   {:<20} {:>11} {:>13} {:>9} {:>9} {:>9}",
            run.name,
            run.generations.len(),
            run.max_concurrency(),
            show(percentile(&waits, 50)),
            show(percentile(&waits, 99)),
            show(percentile(&waits, 100)),
        );
    }
    println!(
        "\n   Without coalescing, all workers generate the page whenever it expires. With it, one does and the others\n   \
         wait; with XFetch, one does before the page expires, and the others keep the old one meanwhile. The\n   \
         larger its beta, the earlier: 1 is too much for a page that is kept for only 5 times its load time.\n"
    );
}

/// The smallest of the sorted values that at least `percent` of them do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted[rank - 1]
}

/// The promise: whatever the beta, no two workers ever generate the page at the same time.
pub(crate) fn check(runs: &[Run]) -> Result {
    for run in runs.iter().filter(|run| run.coalesces) {
        let most = run.max_concurrency();
        ensure(most == 1, format!("{}: {most} workers generated the page at the same time", run.name))?;
    }
    Ok(())
}
