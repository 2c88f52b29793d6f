//! One key, from load to load.
//!
//! Reads are a Poisson process. Between a store and the mark of a policy no read changes anything,
//! so a cycle is drawn at once: the read that begins the next load, the end of that load, and how
//! many reads find nothing.

use crate::policy::{Lead, Mark, Policy};

/// The time to live, in seconds. Only the ratios of other times to it count.
pub(crate) const TTL: f64 = 60.0;
const SEED: u64 = 19;

/// What a policy costs, and what it leaves to readers.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Outcome {
    /// Loads in the time of one TTL.
    pub(crate) loads: f64,
    /// The percentage of reads that find no value and wait.
    pub(crate) waits: f64,
}

/// Random numbers of exponential and normal distributions.
pub(crate) struct Random(fastrand::Rng);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// In (0, 1], so that its logarithm is finite.
    pub(crate) fn uniform(&mut self) -> f64 {
        1.0 - self.0.f64()
    }

    /// Of mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -self.uniform().ln()
    }

    /// Of mean 0 and variance 1, by Marsaglia's polar method.
    pub(crate) fn normal(&mut self) -> f64 {
        loop {
            let (x, y) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = x * x + y * y;
            if square < 1.0 && square > 0.0 {
                return x * (-2.0 * square.ln() / square).sqrt();
            }
        }
    }
}

/// The draws of one cycle. Each policy meets the same ones.
#[derive(Clone, Copy)]
struct Draws {
    /// Exponential, of mean 1.
    first: f64,
    second: f64,
    /// How long the load takes that the cycle ends with.
    next_load: f64,
}

/// Runs `policy` over these loads, with `rate` reads a second. The first load stores the first
/// value.
pub(crate) fn run(policy: &Policy, rate: f64, loads: &[f64]) -> Outcome {
    let mut random = Random::new(SEED);
    let mut begins = begins(policy, rate, loads[0]);
    let (mut time, mut waits) = (0.0, 0.0);
    for pair in loads.windows(2) {
        let (last_load, next_load) = (pair[0], pair[1]);
        let begin = begins(last_load, Draws { first: random.exponential(), second: random.exponential(), next_load });
        let end = begin + next_load;
        // The mean number of reads that find nothing: the one that begins the load, if it comes
        // after the expiry, and those that come during the rest of the load.
        waits += if begin >= TTL { 1.0 + rate * next_load } else { rate * (end - TTL).max(0.0) };
        time += end;
    }
    Outcome { loads: (loads.len() - 1) as f64 * TTL / time, waits: 100.0 * waits / (rate * time) }
}

/// When the read comes that begins the next load, in seconds since the store: by the last load's
/// duration and the draws.
fn begins(policy: &Policy, rate: f64, first_load: f64) -> Box<dyn FnMut(f64, Draws) -> f64> {
    match *policy {
        Policy::AtExpiry => Box::new(move |_, draws| TTL + draws.first / rate),
        Policy::XFetch { beta, earliest } => {
            Box::new(move |last_load, draws| xfetch(beta * last_load, (1.0 - earliest) * TTL, rate, draws))
        }
        Policy::Mark(mark) => {
            let mut lead = Lead::new(mark.smoothing, mark.sample(first_load, 0.0));
            Box::new(move |_, draws| past_mark(&mark, &mut lead, rate, draws))
        }
        Policy::Clairvoyant => Box::new(move |_, draws| clairvoyant(rate, draws)),
    }
}

/// A read that comes a time `s` before the expiry wins with probability `exp(−s/scale)`, so winners
/// are a Poisson process of rate `rate · exp(−s/scale)`. Its integral from `longest`, where the
/// first read may win, down to `s` is exponentially distributed at the first winner: `rate · scale
/// · (exp(−s/scale) − exp(−longest/scale))`.
fn xfetch(scale: f64, longest: f64, rate: f64, draws: Draws) -> f64 {
    let odds = (-longest / scale).exp() + draws.first / (rate * scale);
    // No read wins before the expiry; the first one after it loads.
    if odds >= 1.0 { TTL + draws.second / rate } else { TTL + scale * odds.ln() }
}

fn past_mark(mark: &Mark, lead: &mut Lead, rate: f64, draws: Draws) -> f64 {
    let delay = draws.first / rate;
    let begin = mark.at(lead.get()) + delay;
    lead.learn(mark.sample(draws.next_load, delay));
    begin
}

fn clairvoyant(rate: f64, draws: Draws) -> f64 {
    let latest = (TTL - draws.next_load).max(0.0);
    // Seen from there, the reads before it are a Poisson process too.
    let last_read = latest - draws.first / rate;
    if last_read >= 0.0 { last_read } else { latest + draws.second / rate }
}
