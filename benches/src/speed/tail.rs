//! Hits of a small set of keys by one thread, each timed, while another inserts ever new keys as fast as it can.

use crate::{
    rounds::{Contestant, Draw, Sample},
    subjects::{Bellwether, Foyer, MiniMoka, Moka, Quick, SccCache, Subject, Ufo},
    trace::mix,
};
use hdrhistogram::Histogram;
use std::{
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

const ROOM: usize = 100_000;
/// The keys that are asked for.
const HOT: u32 = 1000;
/// Inserts between two looks at whether the turn is over.
const BURST: u32 = 64;

/// Looks hot keys up until the time is over, each by itself; the percentage of hits, too.
fn look_up(budget: Duration, draw: &mut Draw, subject: &impl Subject) -> (Histogram<u64>, f64) {
    let mut took = Histogram::new(3).expect("three digits");
    let (start, mut misses) = (Instant::now(), 0_u32);
    let mut began = start;
    while began - start < budget {
        let key = mix(draw.below(HOT as usize) as u32);
        began = Instant::now();
        let value = black_box(subject.get(key));
        took.record(began.elapsed().as_nanos() as u64).expect("it resizes");
        match value {
            Some(value) => assert_eq!(value, !key),
            None => {
                misses += 1;
                subject.put(key, !key);
            }
        }
    }
    let hits = 100.0 - 100.0 * f64::from(misses) / took.len() as f64;
    (took, hits)
}

/// Inserts bursts of keys after `next`, until there is to be an end; how many a second, in millions.
fn churn(end: &AtomicBool, next: &mut u32, subject: &impl Subject) -> f64 {
    let (start, first) = (Instant::now(), *next);
    while !end.load(Relaxed) {
        for number in *next..*next + BURST {
            subject.put(mix(number), !mix(number));
        }
        *next += BURST;
    }
    f64::from(*next - first) / start.elapsed().as_secs_f64() / 1e6
}

/// The first `figures` of: p99.99, the longest, inserts a second, hits.
fn churned<S: Subject>(figures: usize) -> Contestant {
    let (subject, mut draw, mut next) = (S::with_room(ROOM), Draw(1), HOT);
    (0..HOT).for_each(|key| subject.put(mix(key), !mix(key)));
    let turn = move |budget| {
        let (end, next) = (AtomicBool::new(false), &mut next);
        let (took, hits, inserts) = thread::scope(|scope| {
            let churning = scope.spawn(|| churn(&end, next, &subject));
            let (took, hits) = look_up(budget, &mut draw, &subject);
            end.store(true, Relaxed);
            (took, hits, churning.join().expect("no insert panics"))
        });
        let at = |quantile| took.value_at_quantile(quantile) as f64;
        Sample::with(at(0.999), &[at(0.9999), took.max() as f64 / 1e3, inserts, hits][..figures])
    };
    Contestant { name: S::NAME, turn: Box::new(turn) }
}

/// No cache: what the timer takes, and what the machine does to a thread that is doing nothing in particular.
struct Nothing;

impl Subject for Nothing {
    const NAME: &'static str = "the timer alone";
    fn with_room(_: usize) -> Self {
        Self
    }
    fn get(&self, key: u64) -> Option<u64> {
        Some(!key)
    }
    fn put(&self, key: u64, value: u64) {
        black_box((key, value));
    }
}

pub(crate) fn field() -> Vec<Contestant> {
    vec![
        churned::<Bellwether>(4),
        churned::<Nothing>(2),
        churned::<Quick>(4),
        churned::<SccCache>(4),
        churned::<Moka>(4),
        churned::<MiniMoka>(4),
        churned::<Ufo>(4),
        churned::<Foyer>(4),
    ]
}
