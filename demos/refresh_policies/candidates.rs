//! The policies that are compared, and the rule that chooses one.

use crate::{
    policy::{Mark, Policy, Smoothing},
    scenario::{LOAD_TIMES, LOADS, RATES, USUAL},
    simulation::{self, Outcome},
};

pub(crate) const XFETCH: Policy = Policy::XFetch { beta: 1.0, earliest: 0.0 };
/// The default of a cache. Of what `Refresh` can say, it is the cheapest that lets few readers wait.
pub(crate) const DEFAULT: Policy = Policy::Mark(Mark::lead(3.0).not_before(0.5).not_after(0.93));
/// The best of all.
pub(crate) const BEST: Policy =
    Policy::Mark(Mark::lead(1.5).delays(2.0).smoothed(Smoothing::Peak(0.125)).not_before(0.5));

/// The nearest rival of the best policy: fewer loads on the grid, more waits where load times
/// change.
pub(crate) const AVERAGED: Policy =
    Policy::Mark(Mark::lead(1.75).delays(3.5).smoothed(Smoothing::Average(0.125)).not_before(0.5));

/// The most reads that may wait in a warm cell, in percent.
pub(crate) const MOST_WAITS: f64 = 0.1;
/// What 1 % of reads that wait costs, in loads per TTL.
pub(crate) const PRICE: f64 = 0.1;

/// Those that the table of the grid has.
pub(crate) const TELLING: [Policy; 8] = [
    Policy::AtExpiry,
    Policy::Clairvoyant,
    XFETCH,
    Policy::XFetch { beta: 1.0, earliest: 0.8 },
    Policy::Mark(Mark::lead(1.5)),
    Policy::Mark(Mark::share(0.9)),
    DEFAULT,
    BEST,
];

pub(crate) fn all() -> Vec<Policy> {
    let mut all = vec![Policy::AtExpiry, Policy::Clairvoyant];
    all.extend([1.0, 0.5, 0.3].map(|beta| Policy::XFetch { beta, earliest: 0.0 }));
    all.extend([0.5, 0.75, 0.8, 0.9].map(|earliest| Policy::XFetch { beta: 1.0, earliest }));
    all.extend([1.0, 1.5, 2.0, 3.0].map(|loads| Policy::Mark(Mark::lead(loads))));
    all.extend([0.75, 0.8, 0.9, 0.95].map(|share| Policy::Mark(Mark::share(share))));
    let peak = Smoothing::Peak(0.125);
    let average = Smoothing::Average(0.125);
    let marks = [
        Mark::lead(2.0).not_before(0.8),
        Mark::lead(1.5).not_after(0.95),
        Mark::lead(2.0).not_after(0.95),
        Mark::lead(2.0).not_before(0.5).not_after(0.95),
        Mark::lead(2.0).not_before(0.5).not_after(0.9),
        Mark::lead(3.0).not_before(0.5).not_after(0.95),
        Mark::lead(3.0).not_before(0.5).not_after(0.9),
        Mark::lead(2.0).smoothed(Smoothing::LargerOfTwo).not_before(0.5).not_after(0.9),
        Mark::lead(2.0).smoothed(average).not_before(0.5).not_after(0.9),
        Mark::lead(2.5).smoothed(average).not_before(0.5).not_after(0.9),
        Mark::lead(1.5).smoothed(peak).not_before(0.5).not_after(0.9),
        Mark::lead(1.75).smoothed(peak).not_before(0.5).not_after(0.9),
        Mark::lead(1.5).delays(2.0).not_before(0.5),
        Mark::lead(1.5).delays(2.0).smoothed(average).not_before(0.5),
        Mark::lead(1.25).delays(2.0).smoothed(peak).not_before(0.5),
        Mark::lead(2.0).delays(2.0).smoothed(peak).not_before(0.5),
        Mark::lead(1.5).delays(2.0).smoothed(peak).not_before(0.25),
    ];
    all.extend(marks.map(Policy::Mark));
    all.extend([DEFAULT, AVERAGED, BEST]);
    all
}

/// The factors and the bounds of the search: leads that `Refresh` can say.
pub(crate) const FACTORS: [f64; 6] = [1.5, 2.0, 2.5, 3.0, 3.5, 4.0];
pub(crate) const EARLIEST: [f64; 3] = [0.5, 0.6, 0.75];
pub(crate) const LATEST: [f64; 7] = [0.8, 0.85, 0.9, 0.92, 0.93, 0.94, 0.95];

/// Leads with these bounds, in the order of their factors, then of their latest marks.
pub(crate) fn leads(earliest: &[f64]) -> Vec<Policy> {
    let lead = |factor, latest| {
        earliest.iter().map(move |&bound| Policy::Mark(Mark::lead(factor).not_before(bound).not_after(latest)))
    };
    FACTORS.iter().flat_map(|&factor| LATEST.iter().flat_map(move |&latest| lead(factor, latest))).collect()
}

/// A policy over the whole grid.
pub(crate) struct Score {
    pub(crate) policy: Policy,
    /// By load time, then by read rate.
    pub(crate) cells: Vec<Vec<Outcome>>,
}

/// Whether waiting can be avoided for little there: reads are at least 1 a second, and loads at
/// most a twelfth of the TTL.
pub(crate) fn is_warm(load_time: f64, rate: f64) -> bool {
    rate >= 1.0 && load_time <= 5.0
}

impl Score {
    fn outcomes(&self, warm_only: bool) -> impl Iterator<Item = Outcome> {
        let row = move |(&load_time, cells): (&f64, &Vec<Outcome>)| {
            let cells = RATES.into_iter().zip(cells.clone());
            cells.filter(move |&(rate, _)| !warm_only || is_warm(load_time, rate)).map(|(_, outcome)| outcome)
        };
        LOAD_TIMES.iter().zip(&self.cells).flat_map(row)
    }

    /// Mean loads and waits.
    pub(crate) fn mean(&self, warm_only: bool) -> Outcome {
        let count = self.outcomes(warm_only).count() as f64;
        let sum = |of: fn(Outcome) -> f64| self.outcomes(warm_only).map(of).sum::<f64>() / count;
        Outcome { loads: sum(|outcome| outcome.loads), waits: sum(|outcome| outcome.waits) }
    }

    /// The most loads and the most waits of any cell.
    pub(crate) fn worst(&self, warm_only: bool) -> Outcome {
        self.outcomes(warm_only).fold(Outcome::default(), |worst, one| Outcome {
            loads: worst.loads.max(one.loads),
            waits: worst.waits.max(one.waits),
        })
    }

    /// Loads and waits of the whole grid, as one number.
    pub(crate) fn price(&self) -> f64 {
        let mean = self.mean(false);
        mean.loads + PRICE * mean.waits
    }

    pub(crate) fn is_eligible(&self) -> bool {
        self.worst(true).waits <= MOST_WAITS
    }
}

/// Runs these policies over the grid.
pub(crate) fn scores(policies: &[Policy], loads: usize) -> Vec<Score> {
    let loads = LOAD_TIMES.map(|mean| USUAL.loads(mean, loads));
    let score = |&policy: &Policy| {
        let row = |loads: &Vec<f64>| RATES.iter().map(|&rate| simulation::run(&policy, rate, loads)).collect();
        Score { policy, cells: loads.iter().map(row).collect() }
    };
    policies.iter().map(score).collect()
}

pub(crate) fn all_scores() -> Vec<Score> {
    scores(&all(), LOADS)
}
