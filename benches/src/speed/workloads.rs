//! The workloads, in the order of their importance, and what bellwether is to reach in each.

use crate::{
    Result, dram,
    expiry::{self, DETACHED},
    flow,
    herd::{self, BELLWETHER, ONCE_CELL, ONCE_LOCK},
    hits::{self, CLOCK, GET, GET_REF, HASHBROWN, HUGE, PINNED, QUICK_TTL, TTL},
    memory,
    rounds::{Contestant, Plan},
    tail,
};
use std::time::Duration;

pub(crate) struct Workload {
    /// As given to `--only`.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What a call's time is in.
    pub(crate) unit: &'static str,
    /// What else is measured.
    pub(crate) extra: &'static [&'static str],
    pub(crate) pace: Pace,
    /// The first of them is bellwether, that the others are compared with.
    pub(crate) field: fn() -> Result<Vec<Contestant>>,
    pub(crate) goals: &'static [Goal],
}

/// How a workload is measured.
pub(crate) enum Pace {
    /// In rounds of turns, the first of which warm up.
    Turns,
    /// The same, of turns of at least so many milliseconds.
    LongTurns(u64),
    /// Once: it takes long, and does not vary.
    Once,
}

pub(crate) struct Goal {
    pub(crate) text: &'static str,
    pub(crate) measure: Measure,
    pub(crate) bound: Bound,
}

/// A figure of each round. Figures are numbered: 0 is the time, from 1 on they are the extra ones.
pub(crate) enum Measure {
    /// The least of some contestants' figures, over another's.
    Ratio { figure: usize, of: &'static [&'static str], to: &'static str },
    /// How much longer one takes than another, in times of a third.
    Above { of: &'static str, base: &'static str, unit: &'static str },
    /// The figure of one.
    Figure(usize, &'static str),
    /// By how much the figure of one is above another's.
    Lead { figure: usize, of: &'static str, over: &'static str },
}

pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Workload {
    const fn new(name: &'static str, title: &'static str, field: fn() -> Result<Vec<Contestant>>) -> Self {
        Self { name, title, unit: "ns", extra: &[], pace: Pace::Turns, field, goals: &[] }
    }

    const fn unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    const fn extra(self, extra: &'static [&'static str]) -> Self {
        Self { extra, ..self }
    }

    const fn pace(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// For so many rounds of turns of so many milliseconds.
    pub(crate) fn plan(&self, rounds: usize, millis: u64) -> Plan {
        let (warm, rounds, millis) = match self.pace {
            Pace::Turns => (1, rounds, millis),
            Pace::LongTurns(least) => (1, rounds, millis.max(least)),
            Pace::Once => (0, 1, millis),
        };
        Plan { warm, rounds, budget: Duration::from_millis(millis) }
    }

    const fn goals(self, goals: &'static [Goal]) -> Self {
        Self { goals, ..self }
    }
}

/// The fastest of `of` takes at least so many times as long as `to`.
const fn times(text: &'static str, of: &'static [&'static str], to: &'static str, times: f64) -> Goal {
    Goal { text, measure: Measure::Ratio { figure: 0, of, to }, bound: Bound::AtLeast(times) }
}

/// The fastest of `of` takes at most so many times as long as `to`.
const fn within(text: &'static str, of: &'static [&'static str], to: &'static str, times: f64) -> Goal {
    Goal { text, measure: Measure::Ratio { figure: 0, of, to }, bound: Bound::AtMost(times) }
}

const QUICK: &[&str] = &["quick_cache"];
const PAPAYA: &[&str] = &["papaya"];
/// Caches, as opposed to maps, which need not know what was used.
const CACHES: &[&str] = &["quick_cache", "scc HashCache", "moka", "mini-moka", "TinyUFO", "foyer"];

const HITS_1K: &[Goal] = &[
    times("at least 3 times quick_cache", QUICK, GET, 3.0),
    times("at least 3 times papaya", PAPAYA, GET, 3.0),
    within("one `pin`: within 1.5 times hashbrown", &[PINNED], HASHBROWN, 1.5),
];
const HITS_100K: &[Goal] = &[
    times("at least 2 times quick_cache", QUICK, GET, 2.0),
    times("at least 2 times papaya", PAPAYA, GET, 2.0),
    within("one `pin`: within 3 times hashbrown", &[PINNED], HASHBROWN, 3.0),
];
const CLOCKED: Goal = Goal {
    text: "above the hit without TTL: at most 1.2 times the clock",
    measure: Measure::Above { of: TTL, base: GET, unit: CLOCK },
    bound: Bound::AtMost(1.2),
};
const TTL_1K: &[Goal] = &[CLOCKED, times("at least 3 times quick_cache + TTL", &[QUICK_TTL], TTL, 3.0)];
const TTL_100K: &[Goal] = &[CLOCKED, times("at least 4 times quick_cache + TTL", &[QUICK_TTL], TTL, 4.0)];
const HOT: &[Goal] = &[
    Goal { text: "scaling at least 1.9", measure: Measure::Figure(1, GET_REF), bound: Bound::AtLeast(1.9) },
    times("at least 5 times the best cache", CACHES, GET_REF, 5.0),
    times("at least 10 times quick_cache", QUICK, GET_REF, 10.0),
    times("faster than papaya", PAPAYA, GET_REF, 1.0),
];
/// The caches that should be slower wherever something is stored.
const SLOWER: &[&str] = &["moka", "mini-moka", "TinyUFO", "foyer"];
const ABOVE_ALL: Goal = times("faster than moka, mini-moka, TinyUFO and foyer", SLOWER, BELLWETHER, 1.0);
const AS_QUICK: Goal = times("one day: faster than quick_cache", QUICK, BELLWETHER, 1.0);
const CHURN_1: &[Goal] = &[times("at least 0.6 times quick_cache", QUICK, BELLWETHER, 0.6), ABOVE_ALL, AS_QUICK];
const CHURN_2: &[Goal] = &[times("at least 0.5 times quick_cache", QUICK, BELLWETHER, 0.5), ABOVE_ALL, AS_QUICK];
const MIX: &[Goal] = &[
    times("at least 0.95 times quick_cache", QUICK, BELLWETHER, 0.95),
    ABOVE_ALL,
    times("one day: at least 1.5 times quick_cache", QUICK, BELLWETHER, 1.5),
    Goal {
        text: "hit ratio no lower than quick_cache's, points",
        measure: Measure::Lead { figure: 1, of: BELLWETHER, over: QUICK[0] },
        bound: Bound::AtLeast(0.0),
    },
];
const DRAM: &[Goal] = &[times("`huge_pages`: at least 2.5 times quick_cache", QUICK, HUGE, 2.5)];
const DRAM_CHAIN: &[Goal] = &[within("`huge_pages`: no slower than hashbrown", &[HUGE], HASHBROWN, 1.0)];
const EXPIRY: &[Goal] = &[
    Goal { text: "p99.9 below 100 µs", measure: Measure::Figure(0, DETACHED), bound: Bound::AtMost(100.0) },
    // A tick of the coarse clock: at the most 10 ms, with a kernel of 100 Hz.
    Goal {
        text: "no value further past its TTL than a tick of the clock (4 ms), ms",
        measure: Measure::Figure(2, DETACHED),
        bound: Bound::AtMost(4.0),
    },
];
const TAIL: &[Goal] = &[
    times("p99.9 no worse than the best cache's", CACHES, BELLWETHER, 1.0),
    Goal {
        text: "p99.99 no worse than the best cache's",
        measure: Measure::Ratio { figure: 1, of: CACHES, to: BELLWETHER },
        bound: Bound::AtLeast(1.0),
    },
    Goal {
        text: "inserts meanwhile at least quick_cache's",
        measure: Measure::Ratio { figure: 3, of: &[BELLWETHER], to: QUICK[0] },
        bound: Bound::AtLeast(1.0),
    },
];
const MEMORY: &[Goal] =
    &[Goal { text: "at most 96 bytes", measure: Measure::Figure(0, BELLWETHER), bound: Bound::AtMost(96.0) }];
const THREADS: &[Goal] = &[within("no later than a bare `OnceLock`", &[BELLWETHER], ONCE_LOCK, 1.0)];
const TASKS: &[Goal] = &[within("no later than a bare tokio `OnceCell`", &[BELLWETHER], ONCE_CELL, 1.0)];

pub(crate) const ALL: [Workload; 17] = [
    Workload::new("hit-1k", "Hit, 1,000 keys, one thread", || Ok(hits::plain(1000))).goals(HITS_1K),
    Workload::new("hit-100k", "Hit, 100,000 keys, one thread", || Ok(hits::plain(100_000))).goals(HITS_100K),
    Workload::new("ttl-1k", "Hit with TTL, 1,000 keys, one thread", || Ok(hits::expiring(1000))).goals(TTL_1K),
    Workload::new("ttl-100k", "Hit with TTL, 100,000 keys, one thread", || Ok(hits::expiring(100_000))).goals(TTL_100K),
    Workload::new("dram", "Hit, 4,000,000 keys, one thread", || Ok(dram::field(false))).goals(DRAM),
    Workload::new("dram-chain", "Hit, 4,000,000 keys, each the value of the last, one thread", || {
        Ok(dram::field(true))
    })
    .goals(DRAM_CHAIN),
    Workload::new("hot", "One hot key, 2 threads", || Ok(hits::hot())).extra(&["scaling"]).goals(HOT),
    Workload::new("churn-1", "Insert at capacity (100,000), one thread", || Ok(flow::churn(1))).goals(CHURN_1),
    Workload::new("churn-2", "Insert at capacity (100,000), 2 threads", || Ok(flow::churn(2))).goals(CHURN_2),
    Workload::new("mix", "Read-through, Zipf 0.9, capacity 10 %, 2 threads", || Ok(flow::mixed()))
        .extra(&["hits, %"])
        .goals(MIX),
    Workload::new("expiry", "One hot key expires under load, 8 threads, p99.9 of a call", || Ok(expiry::field()))
        .unit("µs")
        .extra(&["longest, µs", "furthest past its TTL, ms", "loads a second"])
        .pace(Pace::LongTurns(1000))
        .goals(EXPIRY),
    Workload::new("tail", "Hit while another thread inserts, p99.9 of a call", || Ok(tail::field()))
        .extra(&["p99.99, ns", "longest, µs", "M inserts a second", "hits, %"])
        .pace(Pace::LongTurns(100))
        .goals(TAIL),
    Workload::new("herd-64", "Stampede, last of 64 threads awake", || Ok(herd::threads(64))).unit("ms").goals(THREADS),
    Workload::new("herd-500", "Stampede, last of 500 threads awake", || Ok(herd::threads(500)))
        .unit("ms")
        .goals(THREADS),
    Workload::new("tasks-64", "Stampede, last of 64 tasks awake", || herd::tasks(64)).unit("ms").goals(TASKS),
    Workload::new("tasks-500", "Stampede, last of 500 tasks awake", || herd::tasks(500)).unit("ms").goals(TASKS),
    Workload::new("memory", "Memory of an entry, 1,000,000 of them", || Ok(memory::field()))
        .unit("bytes")
        .pace(Pace::Once)
        .goals(MEMORY),
];
