//! All that is replayed on one trace: bellwether, the optimum, and the simulations.

use crate::{
    Result,
    args::Size,
    belady::Future,
    replay::{self, Outcome, STRIDE},
    s3fifo::S3Fifo,
    simple::{Fifo, Lru, Sieve},
    simulation::Policy,
    trace::Trace,
};
use indicatif::ProgressBar;

/// A policy by its name, for a capacity and a number of keys.
type Simulation = (&'static str, fn(u64, u32) -> Box<dyn Policy>);

pub(crate) const BELLWETHER: &str = "bellwether";
pub(crate) const OPTIMUM: &str = "optimum";
const SIMULATIONS: [Simulation; 4] = [
    ("FIFO", |capacity, keys| Box::new(Fifo::new(capacity, keys))),
    ("LRU", |capacity, keys| Box::new(Lru::new(capacity, keys))),
    ("SIEVE", |capacity, keys| Box::new(Sieve::new(capacity, keys))),
    ("S3-FIFO", |capacity, keys| Box::new(S3Fifo::new(capacity, keys))),
];

/// Who takes part.
pub(crate) struct Field {
    pub(crate) threads: usize,
    pub(crate) compare: bool,
}

impl Field {
    /// How often each trace is replayed at each size.
    pub(crate) fn runs(&self) -> u64 {
        2 + self.simulations().len() as u64
    }

    fn simulations(&self) -> &'static [Simulation] {
        if self.compare { &SIMULATIONS } else { &[] }
    }
}

/// The results on one trace.
pub(crate) struct Race {
    pub(crate) trace: String,
    pub(crate) requests: u64,
    pub(crate) unique: u32,
    pub(crate) heats: Vec<Heat>,
}

/// The results at one size.
pub(crate) struct Heat {
    pub(crate) size: Size,
    pub(crate) bellwether: Outcome,
    /// Hits of the best there can be.
    pub(crate) optimum: u64,
    /// Hits of the simulated policies, by name.
    pub(crate) others: Vec<(&'static str, u64)>,
}

impl Heat {
    /// The hits of bellwether and the simulated policies.
    pub(crate) fn hits(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [(BELLWETHER, self.bellwether.hits)].into_iter().chain(self.others.iter().copied())
    }
}

/// Replays a trace at all sizes, and moves the bar by one for every request.
pub(crate) fn run(field: &Field, trace: &Trace, sizes: &[Size], bar: &ProgressBar) -> Result<Race> {
    let future = Future::of(trace);
    let heats = sizes.iter().map(|&size| heat(field, trace, &future, size, bar));
    Ok(Race {
        trace: trace.name.clone(),
        requests: trace.requests.len() as u64,
        unique: trace.unique(),
        heats: heats.collect::<Result<_>>()?,
    })
}

fn heat(field: &Field, trace: &Trace, future: &Future, size: Size, bar: &ProgressBar) -> Result<Heat> {
    let bellwether = replay::run(trace, size.entries, field.threads, bar)?;
    let mut done = 0;
    let optimum = future.hits(trace, size.entries, || {
        done += 1;
        if done % STRIDE == 0 {
            bar.inc(STRIDE);
        }
    });
    bar.inc(done % STRIDE);
    let others = field.simulations().iter().map(|(name, new)| {
        let mut policy = new(size.entries, trace.unique());
        (*name, simulate(policy.as_mut(), trace, bar))
    });
    Ok(Heat { size, bellwether, optimum, others: others.collect() })
}

/// The number of hits.
fn simulate(policy: &mut dyn Policy, trace: &Trace, bar: &ProgressBar) -> u64 {
    let mut hits = 0;
    for stride in trace.requests.chunks(STRIDE as usize) {
        hits += stride.iter().map(|&key| u64::from(policy.request(key))).sum::<u64>();
        bar.inc(stride.len() as u64);
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests by a skewed distribution, with a scan now and then.
    fn workload() -> Trace {
        let mut state = 7_u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u32
        };
        let skewed = (0..20_000).map(move |_| 1_000 / (1 + random() % 1_000));
        let scan = |from| (from..from + 1_000_u32).map(|key| key + 10_000);
        let keys = scan(0).chain(skewed).chain(scan(5_000));
        Trace::renumber("skewed".into(), keys).expect("requests")
    }

    #[test]
    fn nobody_beats_the_optimum_and_all_meet_with_room_for_all() {
        let trace = workload();
        let field = Field { threads: 1, compare: true };
        let sizes = [1, 7, 40, 100_000].map(|entries| Size { entries, percent: 0.0 });
        let race = run(&field, &trace, &sizes, &ProgressBar::hidden()).expect("a good race");
        let all = race.requests - u64::from(race.unique);
        for heat in &race.heats {
            assert_eq!(heat.hits().count(), 5);
            for (name, hits) in heat.hits() {
                assert!(hits <= heat.optimum, "{name} at {}", heat.size.entries);
                assert!(hits > 0, "{name} at {}", heat.size.entries);
                assert!(hits == all || heat.size.entries < 100_000, "{name} with room for all");
            }
        }
        // The optimum, too, misses each key once.
        assert_eq!(race.heats[3].optimum, all);
    }

    #[test]
    fn bar_moves_once_a_request_and_run() {
        let trace = workload();
        let field = Field { threads: 1, compare: true };
        let bar = ProgressBar::hidden();
        run(&field, &trace, &[Size { entries: 5, percent: 0.0 }], &bar).expect("a good race");
        assert_eq!(bar.position(), trace.requests.len() as u64 * field.runs());
    }
}
