//! DiskCache's case study of a landing page under load, replayed with several ways of caching:
//! <https://grantjenks.com/docs/diskcache/case-study-landing-page-caching.html>.

use crate::{Result, ensure, progress, show};
use bellwether::{Cache, Outcome, Refresh};
use std::{
    sync::{Arc, Mutex},
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

/// Columns of a way's name in the table.
const NAME: usize = 36;

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

/// What a worker asked for, and how it was answered.
pub(crate) struct Request {
    pub(crate) span: Span,
    /// `Hit`: by a stored page, at once.
    outcome: Outcome,
}

/// What happened while one way of caching was under load.
pub(crate) struct Run {
    pub(crate) name: &'static str,
    way: Way,
    pub(crate) requests: Vec<Request>,
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

    fn of((server, requests): (Arc<Server>, Vec<Request>)) -> Self {
        // A load in the background may run on when all workers have gone home.
        while server.cache.stats().loading > 0 {
            thread::sleep(Duration::from_millis(1));
        }
        let generations = server.generations.lock().expect("a push does not panic").clone();
        Self { name: server.name, way: server.way, requests, generations }
    }

    /// The requests that began when there was a page.
    fn warm(&self) -> impl Iterator<Item = &Request> {
        let first = self.generations.iter().map(|span| span.end).min().unwrap_or_default();
        self.requests.iter().filter(move |request| request.span.start > first)
    }

    /// How many of those were not answered by a stored page at once.
    fn waits(&self) -> usize {
        self.warm().filter(|request| request.outcome != Outcome::Hit).count()
    }

    /// How long they took, sorted.
    fn times(&self) -> Vec<Duration> {
        let mut times: Vec<_> = self.warm().map(|request| request.span.length()).collect();
        times.sort();
        times
    }

    fn max_concurrency(&self) -> usize {
        self.concurrency().into_iter().map(|(_, workers)| workers).max().unwrap_or(0)
    }
}

/// A way of caching.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    NoCache,
    /// What most programs do: look, compute if there is nothing, store.
    LookThenStore,
    /// A worker that loads does so itself.
    Inline(Refresh),
    /// Loads run on threads of their own.
    Background(Refresh),
}

impl Way {
    /// Whether bellwether is to see to it that never more than one worker generates the page.
    fn coalesces(self) -> bool {
        matches!(self, Self::Inline(_) | Self::Background(_))
    }

    fn refresh(self) -> Refresh {
        if let Self::Inline(policy) | Self::Background(policy) = self { policy } else { Refresh::never() }
    }
}

/// The web server of the case study: it has one page.
struct Server {
    name: &'static str,
    way: Way,
    cache: Arc<Pages>,
    begin: Instant,
    generations: Mutex<Vec<Span>>,
}

impl Server {
    /// Answers a request; returns how the answer came about.
    fn page(self: &Arc<Self>) -> Outcome {
        match self.way {
            Way::NoCache => {
                self.generate();
                Outcome::Computed
            }
            Way::LookThenStore if self.cache.get(&PATH).is_some() => Outcome::Hit,
            Way::LookThenStore => {
                self.cache.insert(PATH, self.generate());
                Outcome::Computed
            }
            Way::Inline(_) => self.cache.entry(&PATH).get_with(|| self.generate()).1,
            Way::Background(_) => {
                let server = self.clone();
                self.cache.detached(&PATH).get_with(move || server.generate()).1
            }
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
    fn work(self: &Arc<Self>) -> Vec<Request> {
        let mut requests = Vec::new();
        while self.begin.elapsed() < RUN {
            let start = self.begin.elapsed();
            let outcome = self.page();
            let end = self.begin.elapsed();
            requests.push(Request { span: Span { start, end }, outcome });
            thread::sleep(PAUSE);
        }
        requests
    }
}

/// One server for each way of caching.
fn servers() -> Result<Vec<Arc<Server>>> {
    let begin = Instant::now();
    let server = |(name, way): (_, Way)| -> Result<_> {
        let cache = Pages::builder().max_capacity(100).time_to_live(TTL).refresh(way.refresh()).build()?;
        Ok(Arc::new(Server { name, way, cache: Arc::new(cache), begin, generations: Mutex::new(Vec::new()) }))
    };
    let ways = [
        ("no cache", Way::NoCache),
        ("look, then store", Way::LookThenStore),
        ("coalescing", Way::Inline(Refresh::never())),
        ("XFetch, beta 1", Way::Inline(Refresh::xfetch(1.0))),
        ("XFetch, beta 0.5", Way::Inline(Refresh::xfetch(0.5))),
        ("XFetch, beta 0.3", Way::Inline(Refresh::xfetch(0.3))),
        ("lead of 1.5 loads", Way::Inline(Refresh::lead(1.5))),
        ("XFetch, beta 1, in the background", Way::Background(Refresh::xfetch(1.0))),
        ("XFetch, beta 0.5, in the background", Way::Background(Refresh::xfetch(0.5))),
        ("XFetch, beta 0.3, in the background", Way::Background(Refresh::xfetch(0.3))),
        ("the default, in the background", Way::Background(Refresh::default())),
        (LEAD, Way::Background(Refresh::lead(1.5))),
    ];
    ways.into_iter().map(server).collect()
}

const LEAD: &str = "lead of 1.5 loads, in the background";

/// How many loads begin within a run, if each begins `mark` after the last page was stored.
fn fewest(mark: Duration) -> usize {
    let rest = RUN.saturating_sub(GENERATION + mark).as_secs_f64();
    2 + (rest / (mark + GENERATION).as_secs_f64()) as usize
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
fn end_of_work(workers: Vec<ScopedJoinHandle<'_, Vec<Request>>>) -> Vec<Request> {
    let end = |worker: ScopedJoinHandle<'_, _>| worker.join().expect("no worker panics");
    workers.into_iter().flat_map(end).collect()
}

fn print_table(runs: &[Run]) {
    let name = NAME;
    println!("\n   {:<name$} {:>11} {:>9} {:>9} {:>29}", "", "generations", "at most", "requests", "a request takes");
    println!(
        "   {:<name$} {:>11} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "once there is a page:", "of the page", "at a time", "that wait", "p50", "p99", "max"
    );
    for run in runs {
        let times = run.times();
        println!(
            "   {:<name$} {:>11} {:>9} {:>9} {:>9} {:>9} {:>9}",
            run.name,
            run.generations.len(),
            run.max_concurrency(),
            run.waits(),
            show(percentile(&times, 50)),
            show(percentile(&times, 99)),
            show(percentile(&times, 100)),
        );
    }
    println!(
        "\n   Without coalescing, all workers generate the page whenever it expires. With it, one does and the others\n   \
         wait. With refresh ahead, one does before the page expires, and the others keep the old one meanwhile; in\n   \
         the background, no worker does. XFetch rolls dice: the larger its beta, the earlier, and 1 is too much for\n   \
         a page that is kept for only 5 times its load time. A lead begins the next load so long before the expiry\n   \
         as 1.5 loads take; the default has 3 loads, in the second half of the life at the earliest."
    );
    if let Some(lead) = runs.iter().find(|run| run.name == LEAD) {
        print_lead(lead);
    }
}

/// What the lead in the background comes to, beside what is possible.
fn print_lead(run: &Run) {
    let (times, mark) = (run.times(), TTL - GENERATION.mul_f64(1.5));
    println!(
        "   With such a lead, {} loads are the fewest that can begin in {}, and {} did. {} of {} requests waited; the\n   \
         longest took {}.\n",
        fewest(mark),
        show(RUN),
        run.generations.len(),
        run.waits(),
        times.len(),
        show(percentile(&times, 100)),
    );
}

/// The smallest of the sorted values that at least `percent` of them do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted[rank - 1]
}

/// The promise: whatever the policy, no two workers ever generate the page at the same time. And where
/// loads run in the background, no worker generates a page before the old one expires.
pub(crate) fn check(runs: &[Run]) -> Result {
    for run in runs.iter().filter(|run| run.way.coalesces()) {
        let most = run.max_concurrency();
        ensure(most == 1, format!("{}: {most} workers generated the page at the same time", run.name))?;
        let paid = run.requests.iter().filter(|request| request.outcome == Outcome::Refreshed).count();
        let in_background = matches!(run.way, Way::Background(_));
        ensure(!in_background || paid == 0, format!("{}: {paid} workers ran an early refresh themselves", run.name))?;
    }
    Ok(())
}
