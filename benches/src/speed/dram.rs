//! Hits among so many entries that each is fetched from memory: keys at random, whose fetches overlap; and keys of which
//! each is the value of the last, so that none does.

use crate::{
    hits::{GET, HASHBROWN, HUGE, PINNED, on_huge_pages},
    rounds::{CHUNK, Contestant, Draw, Sample, alone},
    subjects::{Bellwether, Hasher, Papaya, Quick, SccIndex, Subject},
    trace::mix,
};
use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

const KEYS: usize = 4_000_000;
/// No cache of these counts more of an entry.
const USES: usize = 3;

/// All keys on a ring, in an order at random: each one's value is the next.
struct Ring {
    keys: Vec<u64>,
    /// The order, another one, in which they are stored: lest neighbours on the ring be neighbours in memory.
    stored: Vec<u32>,
    /// Some of them, drawn at random, and what the values of each chunk sum up to.
    asked: Vec<u64>,
    sums: Vec<u64>,
}

impl Ring {
    fn new() -> Self {
        let mut draw = Draw(1);
        let mut shuffled = || {
            let mut numbers: Vec<_> = (0..KEYS as u32).collect();
            (1..KEYS).rev().for_each(|last| numbers.swap(last, draw.below(last + 1)));
            numbers
        };
        let (ring, stored) = (shuffled(), shuffled());
        let keys: Vec<_> = ring.into_iter().map(mix).collect();
        let places: Vec<_> = (0..KEYS.next_multiple_of(CHUNK)).map(|_| draw.below(KEYS)).collect();
        let next = |place: &usize| keys[(place + 1) % KEYS];
        let sum = |chunk: &[usize]| chunk.iter().fold(0_u64, |sum, place| sum.wrapping_add(next(place)));
        let sums = places.chunks(CHUNK).map(sum).collect();
        let asked = places.iter().map(|&place| keys[place]).collect();
        Self { keys, stored, asked, sums }
    }

    fn entries(&self) -> impl Iterator<Item = (u64, u64)> {
        self.stored.iter().map(|&place| (self.keys[place as usize], self.keys[(place as usize + 1) % KEYS]))
    }
}

/// What is looked up in one pass.
#[derive(Clone, Copy)]
enum Asked<'a> {
    /// These keys; the result is the sum of their values.
    Each(&'a [u64]),
    /// As many keys, each the value of the last, from this one on; the result is the last value.
    From(u64),
}

/// A miss spoils the result.
#[inline]
fn look_up(asked: Asked<'_>, get: impl Fn(&u64) -> Option<u64>) -> u64 {
    match asked {
        Asked::Each(keys) => keys.iter().fold(0_u64, |sum, key| sum.wrapping_add(get(key).unwrap_or_default())),
        Asked::From(first) => (0..CHUNK).fold(first, |key, _| get(&key).unwrap_or_default()),
    }
}

fn looking(
    name: &'static str,
    ring: &Arc<Ring>,
    chained: bool,
    look: impl Fn(Asked<'_>) -> u64 + 'static,
) -> Contestant {
    let (ring, next) = (Arc::clone(ring), AtomicUsize::new(0));
    let pass = move || {
        let turn = next.fetch_add(1, Relaxed);
        let chunk = turn % ring.sums.len();
        let (asked, result) = if chained {
            let first = turn * CHUNK % KEYS;
            (Asked::From(ring.keys[first]), ring.keys[(first + CHUNK) % KEYS])
        } else {
            (Asked::Each(&ring.asked[chunk * CHUNK..][..CHUNK]), ring.sums[chunk])
        };
        assert_eq!(look(black_box(asked)), result, "{name}: all are hits");
    };
    Contestant { name, turn: Box::new(move |budget| Sample::of(alone(budget, CHUNK, &pass))) }
}

fn getting<S: Subject>(name: &'static str, ring: &Arc<Ring>, chained: bool) -> Contestant {
    let subject = Arc::new(full::<S>(ring));
    looking(name, ring, chained, move |asked| look_up(asked, |key| subject.get(*key)))
}

fn full<S: Subject>(ring: &Ring) -> S {
    filled(ring, S::with_room(S::ROOM * KEYS))
}

/// All entries, and warm: the caches that count uses count some few, and what is measured is what comes after. (There are more keys
/// than are asked for in all rounds.)
fn filled<S: Subject>(ring: &Ring, subject: S) -> S {
    ring.entries().for_each(|(key, value)| subject.put(key, value));
    for _ in 0..USES {
        for &key in &ring.keys {
            black_box(subject.get(key));
        }
    }
    subject
}

/// A minute goes into building them; together they take some three GiB.
pub(crate) fn field(chained: bool) -> Vec<Contestant> {
    let ring = &Arc::new(Ring::new());
    let ours: Arc<Bellwether> = Arc::new(full(ring));
    let same = Arc::clone(&ours);
    let huge = filled(ring, on_huge_pages(KEYS));
    let map: hashbrown::HashMap<u64, u64, Hasher> = ring.entries().collect();
    vec![
        looking(GET, ring, chained, move |asked| look_up(asked, |key| ours.get(key))),
        looking(PINNED, ring, chained, move |asked| {
            let pinned = same.pin();
            look_up(asked, |key| pinned.get_ref(key).map(|value| *value))
        }),
        looking(HUGE, ring, chained, move |asked| look_up(asked, |key| huge.get(key))),
        looking(HASHBROWN, ring, chained, move |asked| look_up(asked, |key| map.get(key).copied())),
        getting::<Quick>(Quick::NAME, ring, chained),
        getting::<Papaya>(Papaya::NAME, ring, chained),
        getting::<SccIndex>(SccIndex::NAME, ring, chained),
    ]
}
