//! Tasks that all ask for one cold key, and what becomes of them.

use crate::{Result, ensure};
use bellwether::Cache;
use std::{
    future::{Future, pending},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, OnceCell},
    task::JoinHandle,
    time::sleep,
};

/// How long the key takes to load.
pub(crate) const LOAD_TIME: Duration = Duration::from_millis(50);
const KEY: &str = "the key";

/// What the tasks share a value by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Bellwether,
    OnceCell,
}

impl Way {
    pub(crate) const ALL: [Self; 2] = [Self::Bellwether, Self::OnceCell];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bellwether => "bellwether",
            Self::OnceCell => "tokio's OnceCell",
        }
    }
}

/// The value is the moment at which its load ended: so whoever gets it can tell how late that is.
enum Shared {
    Cache(Box<Cache<String, Instant>>),
    Cell(OnceCell<Instant>),
}

impl Shared {
    async fn get<F, Fut>(&self, load: F) -> Instant
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Instant>,
    {
        match self {
            Self::Cache(cache) => cache.get_with_async(KEY, load).await,
            Self::Cell(cell) => *cell.get_or_init(load).await,
        }
    }
}

/// Opens once as many have arrived as it was made for.
struct Gate {
    missing: AtomicUsize,
    opens: Notify,
}

impl Gate {
    fn new(of: usize) -> Self {
        Self { missing: AtomicUsize::new(of), opens: Notify::new() }
    }

    fn arrive(&self) {
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.opens.notify_waiters();
        }
    }

    async fn opened(&self) {
        // In this order: it hears of an opening from when it is made.
        let opens = self.opens.notified();
        if self.missing.load(Ordering::Acquire) > 0 {
            opens.await;
        }
    }
}

/// What became of one task that got its value.
struct Answer {
    value: Instant,
    at: Instant,
    /// Whether it loaded the value itself.
    led: bool,
}

/// What became of a herd whose load came to its end.
pub(crate) struct WakeUp {
    pub(crate) loads: usize,
    /// How long after the value was there each task went on that had waited for it; sorted.
    pub(crate) delays: Vec<Duration>,
}

/// What became of a herd whose leader was aborted.
pub(crate) struct Abort {
    pub(crate) loads_begun: usize,
    pub(crate) loads_ended: usize,
    /// How many tasks have the value: all but the one that was aborted.
    pub(crate) answers: usize,
    /// From the abort to the beginning of the next load.
    pub(crate) taken_over: Duration,
    /// From the end of that load to the last answer.
    pub(crate) last_answer: Duration,
}

/// Some tasks and one cold key.
pub(crate) struct Herd {
    shared: Shared,
    size: usize,
    asked: Gate,
    answered: Gate,
    loads_begun: AtomicUsize,
    loads_ended: AtomicUsize,
    /// When the first load began that does not hang.
    load_begun: OnceLock<Instant>,
}

impl Herd {
    pub(crate) fn new(way: Way, size: usize) -> Arc<Self> {
        let shared = match way {
            Way::Bellwether => Shared::Cache(Box::new(Cache::new(10))),
            Way::OnceCell => Shared::Cell(OnceCell::new()),
        };
        Arc::new(Self {
            shared,
            size,
            asked: Gate::new(size),
            answered: Gate::new(size),
            loads_begun: AtomicUsize::new(0),
            loads_ended: AtomicUsize::new(0),
            load_begun: OnceLock::new(),
        })
    }

    /// One loads, and the others wait.
    pub(crate) async fn wake_up(self: Arc<Self>) -> Result<WakeUp> {
        let tasks = (0..self.size).map(|_| tokio::spawn(self.clone().ask())).collect();
        let answers = self.answers(tasks).await?;
        let loads = self.loads_begun.load(Ordering::Relaxed);
        ensure(loads == 1, format!("{loads} loads of one cold key"))?;
        self.check_stats(0)?;
        // The leader did not have to be woken.
        let waited = answers.iter().filter(|answer| !answer.led);
        let mut delays: Vec<_> = waited.map(|answer| answer.at - answer.value).collect();
        delays.sort_unstable();
        Ok(WakeUp { loads, delays })
    }

    /// One loads, and is aborted while the others wait.
    pub(crate) async fn abort_leader(self: Arc<Self>) -> Result<Abort> {
        let leads = Arc::new(Gate::new(1));
        let leader = tokio::spawn(self.clone().ask_and_hang(leads.clone()));
        leads.opened().await;
        let others = (1..self.size).map(|_| tokio::spawn(self.clone().ask())).collect();
        self.asked.opened().await;
        sleep(LOAD_TIME / 2).await;
        let aborted = Instant::now();
        leader.abort();
        ensure(leader.await.is_err_and(|end| end.is_cancelled()), "the leader was not aborted")?;
        self.answered.arrive();

        let answers = self.answers(others).await?;
        let (loads_begun, loads_ended) =
            (self.loads_begun.load(Ordering::Relaxed), self.loads_ended.load(Ordering::Relaxed));
        ensure((loads_begun, loads_ended) == (2, 1), format!("{loads_begun} loads were begun, {loads_ended} ended"))?;
        let leaders = answers.iter().filter(|answer| answer.led).count();
        ensure(leaders == 1, format!("{leaders} tasks took the load over"))?;
        self.check_stats(1)?;
        let load_begun = *self.load_begun.get().ok_or("nobody took the load over")?;
        let last_answer = answers.iter().map(|answer| answer.at - answer.value).max().unwrap_or_default();
        Ok(Abort { loads_begun, loads_ended, answers: answers.len(), taken_over: load_begun - aborted, last_answer })
    }

    /// One task of the herd.
    async fn ask(self: Arc<Self>) -> Answer {
        let mut led = false;
        self.asked.arrive();
        let load = || {
            led = true;
            self.load()
        };
        let value = self.shared.get(load).await;
        let at = Instant::now();
        self.answered.arrive();
        Answer { value, at, led }
    }

    async fn load(&self) -> Instant {
        self.loads_begun.fetch_add(1, Ordering::Relaxed);
        self.load_begun.get_or_init(Instant::now);
        // Not before everybody waits: who asks later finds the value, and need not be woken.
        self.asked.opened().await;
        sleep(LOAD_TIME).await;
        self.loads_ended.fetch_add(1, Ordering::Relaxed);
        Instant::now()
    }

    /// A task whose load never ends; `leads` tells of its beginning.
    async fn ask_and_hang(self: Arc<Self>, leads: Arc<Gate>) {
        self.asked.arrive();
        let load = || {
            self.loads_begun.fetch_add(1, Ordering::Relaxed);
            leads.arrive();
            pending()
        };
        self.shared.get(load).await;
    }

    /// Waits until all tasks have their answers; they are all the same.
    async fn answers(&self, tasks: Vec<JoinHandle<Answer>>) -> Result<Vec<Answer>> {
        // Woken once rather than by each task's end: that would come in between the wake-ups that are measured.
        self.answered.opened().await;
        let mut answers = Vec::with_capacity(tasks.len());
        for task in tasks {
            answers.push(task.await?);
        }
        let same = answers.windows(2).all(|pair| pair[0].value == pair[1].value);
        ensure(same, "not all tasks got the same value")?;
        Ok(answers)
    }

    /// What the cache itself has counted: all but the first waited, so nobody came too late to be woken.
    fn check_stats(&self, handovers: u64) -> Result {
        let Shared::Cache(cache) = &self.shared else { return Ok(()) };
        let stats = cache.stats();
        let counted = (stats.loads, stats.handovers, stats.coalesced);
        ensure(counted == (1 + handovers, handovers, self.size as u64 - 1), format!("the cache has counted {stats:?}"))
    }
}
