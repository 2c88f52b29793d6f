//! Rounds: in each, every contestant of a workload has its turn, so that what the machine does besides falls on all.

use std::{
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

/// Calls between two looks at the clock: it must cost next to nothing beside them.
pub(crate) const CHUNK: usize = 4096;

/// What one turn of a contestant gave.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    /// The time of a call, in the unit of the workload: the first figure.
    pub(crate) time: f64,
    /// What else the workload measures: the second figure and those after it.
    pub(crate) extra: Vec<f64>,
}

impl Sample {
    /// A time, and nothing else.
    pub(crate) fn of(time: f64) -> Self {
        Self { time, extra: Vec::new() }
    }

    pub(crate) fn with(time: f64, extra: impl Into<Vec<f64>>) -> Self {
        Self { time, extra: extra.into() }
    }

    pub(crate) fn figure(&self, number: usize) -> Option<f64> {
        number.checked_sub(1).map_or(Some(self.time), |extra| self.extra.get(extra).copied())
    }
}

/// Something that does a workload's work for about so long.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    pub(crate) turn: Box<dyn FnMut(Duration) -> Sample>,
}

/// The samples of one contestant, by round.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) name: &'static str,
    pub(crate) samples: Vec<Sample>,
}

/// How many rounds, and how long a turn is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Rounds that are not counted: they warm up.
    pub(crate) warm: usize,
    pub(crate) rounds: usize,
    pub(crate) budget: Duration,
}

/// Lets all contestants take turns.
pub(crate) fn run(mut field: Vec<Contestant>, plan: Plan, mut step: impl FnMut()) -> Vec<Track> {
    let Plan { warm, rounds, budget } = plan;
    let mut tracks: Vec<_> = field.iter().map(|it| Track { name: it.name, samples: Vec::new() }).collect();
    for round in 0..warm + rounds {
        for place in 0..field.len() {
            // Each round begins with another one, lest one always follow the same neighbour's burst.
            let index = (place + round) % field.len();
            let sample = (field[index].turn)(budget);
            if round >= warm {
                tracks[index].samples.push(sample);
            }
            step();
        }
    }
    tracks
}

/// Nanoseconds a call of passes that make so many calls each, by the time that the processor spends on this thread. One
/// thread waits for nobody, and what others do on its processor meanwhile is not its business.
pub(crate) fn alone(budget: Duration, calls: usize, pass: impl Fn()) -> f64 {
    timed(processor_time, budget, calls, pass)
}

fn timed(now: impl Fn() -> Duration, budget: Duration, calls: usize, pass: impl Fn()) -> f64 {
    let start = now();
    let mut passes = 0_u32;
    loop {
        pass();
        passes += 1;
        let spent = now() - start;
        if spent >= budget {
            return spent.as_nanos() as f64 / (f64::from(passes) * calls as f64);
        }
    }
}

/// The time that this thread has been running.
fn processor_time() -> Duration {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid, writable timespec for the length of the call.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) };
    assert_eq!(failed, 0, "the system has this clock");
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

/// Nanoseconds that a call takes each of several threads at once, by the clock on the wall: where they wait for one
/// another, that counts.
pub(crate) fn team(threads: usize, budget: Duration, calls: usize, pass: impl Fn() + Sync) -> f64 {
    let start = Barrier::new(threads);
    let work = || {
        start.wait();
        let origin = Instant::now();
        timed(|| origin.elapsed(), budget, calls, &pass)
    };
    let rate: f64 = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| 1.0 / worker.join().expect("a worker does not panic")).sum()
    });
    threads as f64 / rate
}

/// A generator of numbers (SplitMix64's sequence), the same in every run.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// From 0 up to, not including, 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_have_a_turn_each_round_and_the_first_is_not_counted() {
        let contestant = |name, first: f64| {
            let mut time = first;
            let turn = move |_| {
                time += 1.0;
                Sample::of(time)
            };
            Contestant { name, turn: Box::new(turn) }
        };
        let (mut steps, plan) = (0, Plan { warm: 1, rounds: 2, budget: Duration::ZERO });
        let tracks = run(vec![contestant("a", 0.0), contestant("b", 10.0)], plan, || steps += 1);
        let times = |track: &Track| track.samples.iter().map(|sample| sample.time).collect::<Vec<_>>();
        assert_eq!(tracks.iter().map(times).collect::<Vec<_>>(), [[2.0, 3.0], [12.0, 13.0]]);
        assert_eq!(steps, 6);
    }

    #[test]
    fn draws_stay_in_range() {
        let mut draw = Draw(1);
        assert!((0..1000).all(|_| draw.below(7) < 7));
        assert!((0..1000).all(|_| (0.0..1.0).contains(&draw.unit())));
    }
}
