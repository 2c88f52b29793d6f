//! What flows through a full cache: inserts of ever new keys, and a read-through.

use crate::{
    rounds::{Contestant, Draw, Sample, alone, team},
    subjects::{Bellwether, Foyer, MiniMoka, Moka, Quick, SccCache, Subject, Ufo},
    trace::mix,
};
use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

/// Calls for which a thread takes work at once.
const CHUNK: usize = 1024;
const CHURN_ROOM: usize = 100_000;
/// The read-through: keys, and requests, which repeat from the start when they have all been made.
const KEYS: usize = 1_000_000;
const MIX_ROOM: usize = KEYS / 10;
const REQUESTS: usize = 1 << 21;
const ZIPF: f64 = 0.9;

/// Inserts of keys that were never there, into a full cache: each evicts, or is refused.
pub(crate) fn churn(threads: usize) -> Vec<Contestant> {
    fn inserting<S: Subject>(threads: usize) -> Contestant {
        let subject = S::with_room(CHURN_ROOM);
        let next = AtomicU64::new(0);
        let pass = move || {
            let first = next.fetch_add(CHUNK as u64, Relaxed);
            (first..first + CHUNK as u64).for_each(|key| subject.put(mix(key as u32), key));
        };
        (0..2 * CHURN_ROOM / CHUNK).for_each(|_| pass());
        let turn = move |budget: Duration| {
            let time = if threads == 1 { alone(budget, CHUNK, &pass) } else { team(threads, budget, CHUNK, &pass) };
            Sample::of(time)
        };
        Contestant { name: S::NAME, turn: Box::new(turn) }
    }
    vec![
        inserting::<Bellwether>(threads),
        inserting::<Quick>(threads),
        inserting::<SccCache>(threads),
        inserting::<Moka>(threads),
        inserting::<MiniMoka>(threads),
        inserting::<Ufo>(threads),
        inserting::<Foyer>(threads),
    ]
}

/// Two threads that read through a cache with room for a tenth of the keys. The extra figure is the percentage of hits.
pub(crate) fn mixed() -> Vec<Contestant> {
    let requests: &Arc<[u64]> = &zipf(KEYS, ZIPF, REQUESTS).into();
    vec![
        fetching::<Bellwether>(requests),
        fetching::<Quick>(requests),
        fetching::<SccCache>(requests),
        fetching::<Moka>(requests),
        fetching::<MiniMoka>(requests),
        fetching::<Ufo>(requests),
        fetching::<Foyer>(requests),
    ]
}

fn fetching<S: Subject>(requests: &Arc<[u64]>) -> Contestant {
    let (subject, requests) = (S::with_room(MIX_ROOM), Arc::clone(requests));
    let (next, loads) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let loaded = Arc::clone(&loads);
    let pass = move || {
        let first = next.fetch_add(CHUNK, Relaxed) % requests.len();
        let missed = Cell::new(0);
        for &key in &requests[first..first + CHUNK] {
            let value = subject.fetch(key, || {
                missed.set(missed.get() + 1);
                !key
            });
            assert_eq!(value, !key, "{}: the value of the key", S::NAME);
        }
        loaded.fetch_add(missed.get(), Relaxed);
    };
    // Once through, so that what is kept has settled; the second time hits are counted, of the same requests for all.
    through(&pass);
    let settled = loads.load(Relaxed);
    through(&pass);
    let hits = 100.0 - 100.0 * (loads.load(Relaxed) - settled) as f64 / REQUESTS as f64;
    let turn = move |budget: Duration| Sample::with(team(2, budget, CHUNK, &pass), [hits]);
    Contestant { name: S::NAME, turn: Box::new(turn) }
}

/// Makes all requests once, by two threads.
fn through(pass: &(impl Fn() + Sync)) {
    let half = || (0..REQUESTS / CHUNK / 2).for_each(|_| pass());
    thread::scope(|scope| {
        scope.spawn(half);
        half();
    });
}

/// Requests for the key of rank r with a probability proportional to r^-exponent.
fn zipf(keys: usize, exponent: f64, requests: usize) -> Vec<u64> {
    let mut below = 0.0;
    let ranks = (1..=keys).map(|rank| {
        below += (rank as f64).powf(-exponent);
        below
    });
    let below: Vec<f64> = ranks.collect();
    let all = below.last().copied().unwrap_or_default();
    let mut draw = Draw(7);
    let rank = |point: f64| below.partition_point(|&end| end <= point);
    (0..requests).map(|_| mix(rank(draw.unit() * all) as u32)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_draws_by_rank() {
        let requests = zipf(1000, 1.0, 100_000);
        let count = |rank: u32| requests.iter().filter(|key| **key == mix(rank)).count() as f64;
        // The shares are 1, 1/2 and 1/10 over the harmonic number of 1000, 7.485; the deviations at most 1 % of them.
        for (rank, expected) in [(0, 13_360.0), (1, 6_680.0), (9, 1_336.0)] {
            assert!((count(rank) / expected - 1.0).abs() < 0.1, "{rank}: {}", count(rank));
        }
        assert!(requests.iter().all(|key| (0..1000).any(|rank| mix(rank) == *key)));
    }
}
