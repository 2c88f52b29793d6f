//! The workloads, in the order of their importance, and what bellwether is to reach in each.

use crate::{
    Result, flow,
    herd::{self, BELLWETHER, ONCE_CELL, ONCE_LOCK},
    hits::{self, CLOCK, GET, GET_REF, HASHBROWN, PINNED, QUICK_TTL, TTL},
    rounds::Contestant,
};

pub(crate) struct Workload {
    /// As given to `--only`.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What a call's time is in.
    pub(crate) unit: &'static str,
    /// What else is measured.
    pub(crate) extra: Option<&'static str>,
    /// The first of them is bellwether, that the others are compared with.
    pub(crate) field: fn() -> Result<Vec<Contestant>>,
    pub(crate) goals: &'static [Goal],
}

pub(crate) struct Goal {
    pub(crate) text: &'static str,
    pub(crate) measure: Measure,
    pub(crate) bound: Bound,
}

/// A figure of each round.
pub(crate) enum Measure {
    /// The time of the fastest of some, over another's.
    Ratio { of: &'static [&'static str], to: &'static str },
    /// How much longer one takes than another, in times of a third.
    Above { of: &'static str, base: &'static str, unit: &'static str },
    /// The extra figure.
    Extra(&'static str),
    /// By how much the extra figure of one is above another's.
    Lead { of: &'static str, over: &'static str },
}

pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Workload {
    const fn new(name: &'static str, title: &'static str, field: fn() -> Result<Vec<Contestant>>) -> Self {
        Self { name, title, unit: "ns", extra: None, field, goals: &[] }
    }

    const fn in_ms(self) -> Self {
        Self { unit: "ms", ..self }
    }

    const fn with_extra(self, extra: &'static str) -> Self {
        Self { extra: Some(extra), ..self }
    }

    const fn with_goals(self, goals: &'static [Goal]) -> Self {
        Self { goals, ..self }
    }
}

/// The fastest of `of` takes at least so many times as long as `to`.
const fn times(text: &'static str, of: &'static [&'static str], to: &'static str, times: f64) -> Goal {
    Goal { text, measure: Measure::Ratio { of, to }, bound: Bound::AtLeast(times) }
}

/// The fastest of `of` takes at most so many times as long as `to`.
const fn within(text: &'static str, of: &'static [&'static str], to: &'static str, times: f64) -> Goal {
    Goal { text, measure: Measure::Ratio { of, to }, bound: Bound::AtMost(times) }
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
    Goal { text: "scaling at least 1.9", measure: Measure::Extra(GET_REF), bound: Bound::AtLeast(1.9) },
    times("at least 5 times the best cache", CACHES, GET_REF, 5.0),
    times("at least 10 times quick_cache", QUICK, GET_REF, 10.0),
    times("faster than papaya", PAPAYA, GET_REF, 1.0),
];
const CHURN: &[Goal] = &[times("faster than quick_cache", QUICK, BELLWETHER, 1.0)];
const MIX: &[Goal] = &[
    times("at least 1.5 times quick_cache", QUICK, BELLWETHER, 1.5),
    Goal {
        text: "hit ratio no lower than quick_cache's, points",
        measure: Measure::Lead { of: BELLWETHER, over: QUICK[0] },
        bound: Bound::AtLeast(0.0),
    },
];
const THREADS: &[Goal] = &[within("no later than a bare `OnceLock`", &[BELLWETHER], ONCE_LOCK, 1.0)];
const TASKS: &[Goal] = &[within("no later than a bare tokio `OnceCell`", &[BELLWETHER], ONCE_CELL, 1.0)];

pub(crate) const ALL: [Workload; 12] = [
    Workload::new("hit-1k", "Hit, 1,000 keys, one thread", || Ok(hits::plain(1000))).with_goals(HITS_1K),
    Workload::new("hit-100k", "Hit, 100,000 keys, one thread", || Ok(hits::plain(100_000))).with_goals(HITS_100K),
    Workload::new("ttl-1k", "Hit with TTL, 1,000 keys, one thread", || Ok(hits::expiring(1000))).with_goals(TTL_1K),
    Workload::new("ttl-100k", "Hit with TTL, 100,000 keys, one thread", || Ok(hits::expiring(100_000)))
        .with_goals(TTL_100K),
    Workload::new("hot", "One hot key, 2 threads", || Ok(hits::hot())).with_extra("scaling").with_goals(HOT),
    Workload::new("churn-1", "Insert at capacity (100,000), one thread", || Ok(flow::churn(1))).with_goals(CHURN),
    Workload::new("churn-2", "Insert at capacity (100,000), 2 threads", || Ok(flow::churn(2))).with_goals(CHURN),
    Workload::new("mix", "Read-through, Zipf 0.9, capacity 10 %, 2 threads", || Ok(flow::mixed()))
        .with_extra("hits, %")
        .with_goals(MIX),
    Workload::new("herd-64", "Stampede, last of 64 threads awake", || Ok(herd::threads(64)))
        .in_ms()
        .with_goals(THREADS),
    Workload::new("herd-500", "Stampede, last of 500 threads awake", || Ok(herd::threads(500)))
        .in_ms()
        .with_goals(THREADS),
    Workload::new("tasks-64", "Stampede, last of 64 tasks awake", || herd::tasks(64)).in_ms().with_goals(TASKS),
    Workload::new("tasks-500", "Stampede, last of 500 tasks awake", || herd::tasks(500)).in_ms().with_goals(TASKS),
];
