//! How long loads take, and the grid of load times and read rates.

use crate::simulation::Random;

/// Mean load times, in seconds, up to a third of the TTL.
pub(crate) const LOAD_TIMES: [f64; 7] = [0.001, 0.01, 0.1, 1.0, 5.0, 15.0, 20.0];
/// Reads a second.
pub(crate) const RATES: [f64; 6] = [0.1, 1.0, 10.0, 100.0, 1_000.0, 10_000.0];
/// Loads of one run.
pub(crate) const LOADS: usize = 50_000;
const SEED: u64 = 60;
/// The 95th percentile of the standard normal distribution.
const NORMAL_95: f64 = 1.644_853_626_951_472_2;
/// Loads until the mean changes, in `Spread::Steps`.
const STEP: usize = 50;

/// How the duration of a load varies.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Spread {
    Constant,
    /// From half to one and a half times the mean: within a factor of three.
    Uniform,
    /// The 95th percentile is this many times the 5th.
    LogNormal(f64),
    /// As `LogNormal(3.0)`. Fifty loads take a tenth of the time, the next fifty all of it, and so
    /// on.
    Steps,
}

/// The spread of the grid.
pub(crate) const USUAL: Spread = Spread::LogNormal(3.0);

impl Spread {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Uniform => "uniform, from ½ to 1½ of the mean",
            Self::LogNormal(3.0) => "log-normal, a factor of 3",
            Self::LogNormal(_) => "log-normal, a factor of 10",
            Self::Steps => "the mean steps ×10 and ÷10 every 50 loads",
        }
    }

    /// `count` load times of this mean.
    pub(crate) fn loads(self, mean: f64, count: usize) -> Vec<f64> {
        let mut random = Random::new(SEED);
        (0..count).map(|index| mean * self.factor(index, &mut random)).collect()
    }

    fn factor(self, index: usize, random: &mut Random) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Uniform => 0.5 + random.uniform(),
            Self::LogNormal(ratio) => {
                let sigma = ratio.ln() / (2.0 * NORMAL_95);
                // Of mean 1.
                (sigma * random.normal() - sigma * sigma / 2.0).exp()
            }
            Self::Steps => {
                let factor = USUAL.factor(index, random);
                if (index / STEP).is_multiple_of(2) { factor / 10.0 } else { factor }
            }
        }
    }
}
