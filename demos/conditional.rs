//! Conditional refresh: asking an origin for a document only if it has changed. `cargo run --release --example conditional`.
//!
//! Each document has an ETag. A request that names it is answered by *304 Not Modified*, without a body, while the
//! document is still the same. A cache that refreshes by [`Cache::lease`] can name it: the lease shows the value that is
//! to be replaced, expired or not ([`Lease::stale`]), and keeps it for another time to live ([`Lease::renew`]).
//!
//! A day passes on a manual clock: nobody sleeps to see an entry expire. The exit code is 1 if anybody gets a document that
//! is out of date, or if two ask the origin for the same one.

use bellwether::{BuildError, Cache, Clock, Lease, Lookup, ManualClock, Waited};
use fastrand::Rng;
use std::{
    error::Error,
    fmt, iter,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Between two requests, on average.
const PAUSE: Duration = Duration::from_secs(2);
const TTL: Duration = Duration::from_secs(300);
const DOCUMENTS: u32 = 40;
/// How long the origin takes to answer.
const ANSWER_TIME: Duration = Duration::from_millis(100);
/// What an answer takes besides its body, about.
const HEADER_BYTES: u64 = 300;
/// When the origin is down.
const OUTAGE: [Duration; 2] = [Duration::from_secs(12 * 3_600), Duration::from_secs(12 * 3_600 + 900)];
const HERD: u64 = 8;

/// A document as it was at some time. Its ETag is its version.
#[derive(Clone)]
struct Document {
    etag: u64,
    body: Arc<str>,
}

enum Reply {
    /// 200 OK.
    Document(Document),
    /// 304 Not Modified.
    NotModified,
}

/// 503 Service Unavailable.
#[derive(Debug, Clone, Copy)]
struct Unavailable;

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the origin is down")
    }
}

impl Error for Unavailable {}

/// How often the origin answered in each way, and how many bytes that took.
#[derive(Default)]
struct Answers {
    ok: AtomicU64,
    not_modified: AtomicU64,
    unavailable: AtomicU64,
    bytes: AtomicU64,
}

impl Answers {
    fn count(&self, status: &AtomicU64, body: usize) {
        status.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(HEADER_BYTES + body as u64, Ordering::Relaxed);
    }

    fn number(&self) -> u64 {
        [&self.ok, &self.not_modified, &self.unavailable].into_iter().map(get).sum()
    }
}

/// A server with documents that change every few hours.
struct Origin {
    clock: ManualClock,
    answers: Answers,
}

impl Origin {
    /// The version that a document has at a time in ns. The first ones change every two hours, the last ones every eight.
    fn version(document: u32, at: u64) -> u64 {
        let document = u64::from(document);
        let (period, phase) = (nanos(DAY) / (12 - document / 4), document * nanos(PAUSE) * 97);
        1 + (at + phase) / period
    }

    /// Answers a request for a document, or for one that is another than `if_none_match`.
    fn get(&self, document: u32, if_none_match: Option<u64>) -> Result<Reply, Unavailable> {
        self.clock.advance(ANSWER_TIME);
        let now = self.clock.now();
        if (nanos(OUTAGE[0])..nanos(OUTAGE[1])).contains(&now) {
            self.answers.count(&self.answers.unavailable, 0);
            return Err(Unavailable);
        }
        let etag = Self::version(document, now);
        if if_none_match == Some(etag) {
            self.answers.count(&self.answers.not_modified, 0);
            return Ok(Reply::NotModified);
        }
        let line = format!("Line of document {document}, version {etag}.\n");
        // 3 to 36 KB.
        let body: Arc<str> = line.repeat(100 + 25 * document as usize).into();
        self.answers.count(&self.answers.ok, body.len());
        Ok(Reply::Document(Document { etag, body }))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Caching {
    None,
    /// What has expired is fetched anew.
    Plain,
    /// What has expired is fetched if it has changed.
    Conditional,
}

/// Documents of the origin, by way of a cache.
struct Proxy {
    caching: Caching,
    cache: Cache<u32, Document>,
    origin: Origin,
    clock: ManualClock,
}

impl Proxy {
    fn new(caching: Caching) -> Result<Self, BuildError> {
        let clock = ManualClock::new();
        let cache = Cache::builder().max_capacity(1_000).time_to_live(TTL).clock(clock.clone()).seed(1).build()?;
        let origin = Origin { clock: clock.clone(), answers: Answers::default() };
        Ok(Self { caching, cache, origin, clock })
    }

    fn get(&self, document: u32) -> Result<Document, Unavailable> {
        if self.caching == Caching::None {
            return match self.origin.get(document, None)? {
                Reply::Document(new) => Ok(new),
                Reply::NotModified => unreachable!("no version was named"),
            };
        }
        loop {
            match self.cache.lease(&document) {
                Lookup::Hit(entry) => return Ok((*entry).clone()),
                // It expires soon, and is still good: whatever becomes of its refresh.
                Lookup::Refresh(entry, lease) => return self.refresh(lease).or_else(|_| Ok((*entry).clone())),
                Lookup::Lead(lease) => return self.refresh(lease),
                Lookup::Wait(waiter) => match waiter.wait() {
                    Waited::Ready(entry) => return Ok((*entry).clone()),
                    Waited::Lead(lease) => return self.refresh(lease),
                    // Its leader left without an answer.
                    Waited::Abandoned => {}
                    // By the error of `fail_with`; or the cache cannot have another wait, which is no better.
                    _ => return Err(Unavailable),
                },
                _ => return Err(Unavailable),
            }
        }
    }

    /// Loads a document, or finds that the old one is still what the origin has.
    fn refresh(&self, lease: Lease<'_, u32, Document>) -> Result<Document, Unavailable> {
        let old = lease.stale().filter(|_| self.caching == Caching::Conditional);
        match self.origin.get(*lease.key(), old.map(|old| old.etag)) {
            Ok(Reply::Document(new)) => {
                // `Err` if it was invalidated meanwhile: then it is this caller's, and of those who wait, only.
                let (Ok(entry) | Err(entry)) = lease.fulfil(new);
                Ok((*entry).clone())
            }
            Ok(Reply::NotModified) => {
                let entry = lease.renew().expect("an old version was named, so there is one");
                Ok((*entry).clone())
            }
            // Those who wait get the error, too, rather than each ask the origin for themselves. The old document stays,
            // for the next lease to name.
            Err(error) => {
                lease.fail_with(error);
                Err(error)
            }
        }
    }

    /// Asks for documents all day long.
    fn day(&self) -> Result {
        // The same requests for each way of caching.
        let mut random = Rng::with_seed(1);
        let mut now = Duration::ZERO;
        while now < DAY {
            self.clock.set(nanos(now));
            // The smaller its number, the more popular is a document.
            let document = (random.f64().powi(2) * f64::from(DOCUMENTS)) as u32;
            // The promise of a time to live, whether renewed or not: at most that long ago, this was what the origin had.
            let oldest = Origin::version(document, nanos(now.saturating_sub(TTL)));
            if let Ok(found) = self.get(document) {
                ensure(found.etag >= oldest, format!("version {} of document {document} is out of date", found.etag))?;
            }
            now += PAUSE.mul_f64(0.5 + random.f64());
        }
        Ok(())
    }

    /// One asks the origin about an expired document while others ask the cache for it.
    fn herd(&self) -> Result {
        self.clock.set(nanos(DAY + TTL));
        self.get(0)?;
        self.clock.advance(TTL);
        let before = (self.origin.answers.number(), get(&self.origin.answers.not_modified));
        let waited_before = self.cache.stats().coalesced;
        let Lookup::Lead(lease) = self.cache.lease(&0) else { return Err("the document has not expired".into()) };
        let answers = thread::scope(|scope| {
            let threads: Vec<_> = (0..HERD).map(|_| scope.spawn(|| self.get(0))).collect();
            while self.cache.stats().coalesced - waited_before < HERD {
                thread::yield_now();
            }
            let own = iter::once(self.refresh(lease));
            own.chain(threads.into_iter().map(|thread| thread.join().expect("asking does not panic")))
                .collect::<Result<Vec<_>, _>>()
        })?;
        // Not only the same text: the same memory.
        let same = answers.windows(2).all(|pair| Arc::ptr_eq(&pair[0].body, &pair[1].body));
        let after = (self.origin.answers.number(), get(&self.origin.answers.not_modified));
        ensure(same && after == (before.0 + 1, before.1 + 1), "a herd was not answered by one request")?;
        println!(
            "   Then {} threads ask for one expired document at once: the origin is asked once, and its \"304 Not Modified\"\n   \
             renews the copy of them all.",
            answers.len()
        );
        Ok(())
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conditional: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result {
    println!(
        "   A day of requests for {DOCUMENTS} documents, one every {} s; each changes a few times a day.\n   \
         A cache keeps a document for {} minutes. At noon, the origin is down for {} minutes.\n",
        PAUSE.as_secs(),
        TTL.as_secs() / 60,
        (OUTAGE[1] - OUTAGE[0]).as_secs() / 60,
    );
    print_row("", ["asks the", "200", "304", "503", "", "bytes"]);
    print_row("", ["origin", "OK", "Not Modified", "Unavailable", "MB sent", "saved"]);
    let no_cache = Proxy::new(Caching::None)?;
    print_day("no cache", &no_cache, None)?;
    let plain = Proxy::new(Caching::Plain)?;
    print_day("plain cache", &plain, None)?;
    let conditional = Proxy::new(Caching::Conditional)?;
    print_day("conditional refresh", &conditional, Some(&plain))?;
    println!(
        "\n   Of the conditional requests, {} were made before the document expired (refresh ahead).",
        conditional.cache.stats().early_refreshes
    );
    conditional.herd()
}

fn print_row(name: &str, cells: [&str; 6]) {
    let [asked, ok, not_modified, unavailable, sent, saved] = cells;
    println!("   {name:<20} {asked:>8} {ok:>8} {not_modified:>14} {unavailable:>13} {sent:>9} {saved:>8}");
}

/// Has a day pass and prints what the origin had to do, and what part of the other's bytes that saved.
fn print_day(name: &str, proxy: &Proxy, other: Option<&Proxy>) -> Result {
    proxy.day()?;
    let answers = &proxy.origin.answers;
    let count = |status| get(status).to_string();
    let bytes = |proxy: &Proxy| get(&proxy.origin.answers.bytes) as f64;
    let saved =
        other.map_or_else(|| "-".to_owned(), |other| format!("{:.1} %", 100.0 * (1.0 - bytes(proxy) / bytes(other))));
    print_row(
        name,
        [
            &answers.number().to_string(),
            &count(&answers.ok),
            &count(&answers.not_modified),
            &count(&answers.unavailable),
            &format!("{:.1}", bytes(proxy) / 1e6),
            &saved,
        ],
    );
    Ok(())
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

/// `Err(message)` unless `holds`.
fn ensure(holds: bool, message: impl Into<String>) -> Result {
    if holds { Ok(()) } else { Err(message.into().into()) }
}
