//! Is the early refresh really XFetch? The crate's own dice under a manual clock, against the paper's theory.
//!
//! A. Vattani, F. Chierichetti, K. Lowenstein, *Optimal Probabilistic Cache Stampede Prevention*, VLDB 2015.
//!
//! A value took `δ` to load and expires at `e`. A read at time `t` refreshes it if `t + δ·β·(−ln U) ≥ e`, with `U`
//! uniform in (0, 1]. So a read that comes a time `s` before the expiry wins with probability `exp(−s/βδ)`.
//!
//! Reads arrive as a Poisson process of rate `n`, and each rolls for itself. So those that win are a Poisson process
//! too, of rate `n·exp(−s/βδ)`, and the mean number of them that come earlier than `s` before the expiry is
//!
//! `Λ(s) = ∫ n·exp(−x/βδ) dx (from s to ∞) = nβδ·exp(−s/βδ)`.
//!
//! *The gap* `G` between the first winner and the expiry is below `s` if nobody won earlier: `P(G < s) = exp(−Λ(s))`.
//! That is a Gumbel distribution with location `βδ·ln(nβδ)` and scale `βδ`, whose mean is
//!
//! `E[G] = βδ·(ln(nβδ) + γ)`, with Euler's constant `γ = 0.5772…`.
//!
//! *The winners without coordination*: until the first winner has loaded the new value, `δ` after it rolled, readers
//! go on to roll for the old one. On average `Λ(G − δ) − Λ(G) = Λ(G)·(exp(1/β) − 1)` of them win. `P(G < s)` above
//! says that `Λ(G)` is exponentially distributed, with mean 1. Together with the first winner, that is
//!
//! `E[winners] = 1 + (exp(1/β) − 1) = exp(1/β)`.
//!
//! Both leave out that nothing comes after the expiry. It would show if the gap were often shorter than `δ`, which
//! has the probability `exp(−nβδ·exp(−1/β))`: below 1e-15 here.

use crate::{Result, ensure, progress};
use bellwether::{Cache, Clock, Lookup, ManualClock};
use indicatif::ProgressBar;
use std::{
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

const BETAS: [f64; 2] = [1.0, 2.0];
const CYCLES: u64 = 5_000;
/// The load time δ. Only its ratios to the others count; the clock is manual.
const DELTA: Duration = Duration::from_secs(1);
/// The read rate n times δ.
const READS_PER_DELTA: f64 = 100.0;
/// Longer than 44.4 βδ: a 64-bit `U` cannot win earlier than that, so it cuts nothing off.
const TTL: Duration = Duration::from_secs(100);
const TOLERANCE: f64 = 0.06;
const EULER_GAMMA: f64 = 0.577_215_664_901_532_9;

const KEY: u32 = 0;

/// What one refresh cycle shows, or the mean of many; the gap in units of δ.
#[derive(Default)]
struct Measure {
    gap: f64,
    winners: f64,
}

pub(crate) fn run() -> Result {
    println!(
        "3. XFetch: what a manual clock and {CYCLES} refreshes for each beta show, against the theory;\n   \
         {READS_PER_DELTA} reads arrive in the time of a load\n"
    );
    let readers: Vec<_> = BETAS.into_iter().map(Readers::new).collect::<Result<_>>()?;
    let bar = progress(BETAS.len() as u64 * CYCLES, "refreshes")?;
    let means: Vec<_> = thread::scope(|scope| {
        let start = |readers: Readers| scope.spawn(|| readers.measure(&bar));
        let threads: Vec<_> = readers.into_iter().map(start).collect();
        let end = |thread: ScopedJoinHandle<_>| thread.join().expect("measuring does not panic");
        threads.into_iter().map(end).collect()
    });
    bar.finish_and_clear();

    println!("                                                   measured   theory   difference");
    let mut furthest: f64 = 0.0;
    for (beta, measured) in BETAS.into_iter().zip(means) {
        let theory = in_theory(beta);
        println!("   beta {beta}");
        let gap = print_row("load times from first refresh to expiry", measured.gap, theory.gap);
        let winners = print_row("refreshes, if nothing coordinated them", measured.winners, theory.winners);
        furthest = furthest.max(gap).max(winners);
    }
    ensure(
        furthest <= TOLERANCE,
        format!("the early refreshes are not XFetch's: {:.1} % off its theory", furthest * 100.0),
    )
}

fn in_theory(beta: f64) -> Measure {
    Measure { gap: beta * ((READS_PER_DELTA * beta).ln() + EULER_GAMMA), winners: (1.0 / beta).exp() }
}

/// Prints what was measured beside the theory, and returns their relative difference.
fn print_row(what: &str, measured: f64, theory: f64) -> f64 {
    let difference = measured / theory - 1.0;
    println!("     {what:<44} {measured:>9.3} {theory:>8.3} {:>+10.1} %", difference * 100.0);
    difference.abs()
}

/// Readers of one key who know nothing of each other.
struct Readers {
    cache: Cache<u32, ()>,
    clock: ManualClock,
    /// Not the cache's generator: the times of the reads must have nothing to do with its dice.
    random: SplitMix64,
}

impl Readers {
    fn new(beta: f64) -> Result<Self> {
        let clock = ManualClock::new();
        let cache =
            Cache::builder().max_capacity(100).time_to_live(TTL).xfetch(beta).clock(clock.clone()).seed(1).build()?;
        let random = SplitMix64(2);
        Ok(Self { cache, clock, random })
    }

    /// The means over `CYCLES` cycles.
    fn measure(mut self, bar: &ProgressBar) -> Measure {
        let mut sum = Measure::default();
        for _ in 0..CYCLES {
            let one = self.cycle();
            sum.gap += one.gap;
            sum.winners += one.winners;
            bar.inc(1);
        }
        let cycles = CYCLES as f64;
        Measure { gap: sum.gap / cycles, winners: sum.winners / cycles }
    }

    /// Loads the value, and reads it until the first winner would have loaded it anew.
    fn cycle(&mut self) -> Measure {
        self.load();
        let expiry = self.clock.now() + nanos(TTL);
        let mut end = expiry;
        let mut seen = Measure::default();
        loop {
            let pause = self.random.exponential(READS_PER_DELTA);
            self.clock.advance(DELTA.mul_f64(pause));
            let now = self.clock.now();
            if now >= end {
                return seen;
            }
            // A winner drops its lease at once: with the refresh given up, the next reader rolls for the same old
            // value, as if it knew nothing of this one.
            let won = matches!(self.cache.lease(&KEY), Lookup::Refresh(..));
            if won && seen.winners == 0.0 {
                seen.gap = (expiry - now) as f64 / nanos(DELTA) as f64;
                end = expiry.min(now + nanos(DELTA));
            }
            seen.winners += f64::from(u8::from(won));
        }
    }

    /// Stores a value that took `DELTA` to load.
    fn load(&self) {
        self.cache.invalidate(&KEY);
        let Lookup::Lead(lease) = self.cache.lease(&KEY) else {
            unreachable!("the key was just invalidated, and nobody else loads it");
        };
        self.clock.advance(DELTA);
        assert!(lease.fulfil(()).is_ok(), "nobody invalidated the key since");
    }
}

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

/// Sebastiano Vigna's generator, <https://prng.di.unimi.it/splitmix64.c>.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The time to the next event of a Poisson process.
    fn exponential(&mut self, rate: f64) -> f64 {
        // Uniform in (0, 1], so that the logarithm is finite.
        let uniform = ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        -uniform.ln() / rate
    }
}
