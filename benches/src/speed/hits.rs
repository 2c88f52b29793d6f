//! Hits: of many keys by one thread, with and without a time to live, and of one hot key by two.

use crate::{
    rounds::{CHUNK, Contestant, Draw, Sample, alone, team},
    subjects::{Bellwether, Foyer, Hasher, MiniMoka, Moka, Papaya, Quick, SccCache, SccIndex, Subject, Ufo},
    trace::mix,
};
use bellwether::{Clock, CoarseClock};
use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

pub(crate) const GET: &str = "bellwether, `get`";
pub(crate) const GET_REF: &str = "bellwether, `get_ref`";
pub(crate) const PINNED: &str = "bellwether, one `pin`, `get_ref`";
pub(crate) const HUGE: &str = "bellwether, `huge_pages`, `get`";
pub(crate) const TTL: &str = "bellwether, TTL";
pub(crate) const CLOCK: &str = "the coarse clock alone";
pub(crate) const QUICK_TTL: &str = "quick_cache + `Instant`";
pub(crate) const HASHBROWN: &str = "hashbrown, one thread";
const PAPAYA_PINNED: &str = "papaya, one `pin`";
const QUICK_COARSE: &str = "quick_cache + coarse clock";
/// The keys that the hot one is among.
const HOT_KEYS: usize = 1000;
/// Long enough that nothing expires.
const HOUR: Duration = Duration::from_secs(3600);

/// Which keys are asked for, in chunks, and what their values sum up to: proof that each call was a hit.
struct Asked {
    keys: Vec<u64>,
    sums: Vec<u64>,
}

impl Asked {
    /// So many distinct keys, asked for at random.
    fn among(keys: usize) -> Arc<Self> {
        let mut draw = Draw(keys as u64);
        let length = (4 * keys).next_multiple_of(CHUNK).max(4 * CHUNK);
        let keys: Vec<_> = (0..length).map(|_| mix(draw.below(keys) as u32)).collect();
        let sum = |chunk: &[u64]| chunk.iter().fold(0_u64, |sum, key| sum.wrapping_add(value(*key)));
        let sums = keys.chunks(CHUNK).map(sum).collect();
        Arc::new(Self { keys, sums })
    }
}

fn value(key: u64) -> u64 {
    !key
}

/// Looks all keys up; a miss counts as 0 and spoils the sum.
#[inline]
fn each(keys: &[u64], get: impl Fn(&u64) -> Option<u64>) -> u64 {
    keys.iter().fold(0_u64, |sum, key| sum.wrapping_add(get(key).unwrap_or_default()))
}

/// One thread that looks up chunk after chunk.
fn looking(name: &'static str, asked: &Arc<Asked>, look: impl Fn(&[u64]) -> u64 + 'static) -> Contestant {
    let (asked, next) = (Arc::clone(asked), AtomicUsize::new(0));
    let turn = move |budget| {
        let pass = || {
            let chunk = next.fetch_add(1, Relaxed) % asked.sums.len();
            let sum = look(black_box(&asked.keys[chunk * CHUNK..][..CHUNK]));
            assert_eq!(sum, asked.sums[chunk], "{name}: all are hits");
        };
        Sample::of(alone(budget, CHUNK, pass))
    };
    Contestant { name, turn: Box::new(turn) }
}

/// One of ours with room for so many entries, in huge pages.
pub(crate) fn on_huge_pages(keys: usize) -> Bellwether {
    let room = Bellwether::ROOM * keys;
    Bellwether::builder().max_capacity(room as u64).huge_pages(true).build().expect("valid settings")
}

fn full<S: Subject>(keys: usize) -> S {
    filled(keys, S::with_room(S::ROOM * keys))
}

fn filled<S: Subject>(keys: usize, subject: S) -> S {
    (0..keys).map(|key| mix(key as u32)).for_each(|key| subject.put(key, value(key)));
    subject
}

fn getting<S: Subject>(keys: usize, asked: &Arc<Asked>) -> Contestant {
    let subject: S = full(keys);
    looking(S::NAME, asked, move |keys| each(keys, |key| subject.get(*key)))
}

/// Hits of this many keys, by one thread.
pub(crate) fn plain(keys: usize) -> Vec<Contestant> {
    let asked = &Asked::among(keys);
    let ours: Bellwether = full(keys);
    let ours = Arc::new(ours);
    let same = Arc::clone(&ours);
    let huge = filled(keys, on_huge_pages(keys));
    let papaya: Papaya = full(keys);
    let map: hashbrown::HashMap<u64, u64, Hasher> =
        (0..keys).map(|key| mix(key as u32)).map(|key| (key, value(key))).collect();
    vec![
        looking(GET, asked, move |keys| each(keys, |key| ours.get(key))),
        looking(PINNED, asked, move |keys| {
            let pinned = same.pin();
            each(keys, |key| pinned.get_ref(key).map(|value| *value))
        }),
        looking(HUGE, asked, move |keys| each(keys, |key| huge.get(key))),
        looking(HASHBROWN, asked, move |keys| each(keys, |key| map.get(key).copied())),
        getting::<Papaya>(keys, asked),
        looking(PAPAYA_PINNED, asked, move |keys| {
            let pinned = papaya.pin();
            each(keys, |key| pinned.get(key).copied())
        }),
        getting::<SccIndex>(keys, asked),
        getting::<SccCache>(keys, asked),
        getting::<Quick>(keys, asked),
        getting::<Moka>(keys, asked),
        getting::<MiniMoka>(keys, asked),
        getting::<Ufo>(keys, asked),
        getting::<Foyer>(keys, asked),
    ]
}

/// Hits of this many entries that have a time to live.
pub(crate) fn expiring(keys: usize) -> Vec<Contestant> {
    let asked = &Asked::among(keys);
    let room = Bellwether::ROOM * keys;
    let all = || (0..keys).map(|key| mix(key as u32));
    let ours =
        bellwether::Cache::builder().max_capacity(room as u64).time_to_live(HOUR).build().expect("valid settings");
    // Loaded, not inserted: so each is one that might be refreshed early.
    all().for_each(|key| assert_eq!(ours.get_with(&key, || value(key)), value(key)));
    let without: Bellwether = full(keys);
    let precise = quick_cache::sync::Cache::<u64, (u64, Instant)>::new(room);
    all().for_each(|key| precise.insert(key, (value(key), Instant::now() + HOUR)));
    let clock = CoarseClock::new();
    let coarse = quick_cache::sync::Cache::<u64, (u64, u64)>::new(room);
    let end = clock.now() + HOUR.as_nanos() as u64;
    all().for_each(|key| coarse.insert(key, (value(key), end)));
    let moka: Moka = moka::sync::Cache::builder().max_capacity(room as u64).time_to_live(HOUR).build();
    all().for_each(|key| moka.insert(key, value(key)));
    let mini: MiniMoka = mini_moka::sync::Cache::builder().max_capacity(room as u64).time_to_live(HOUR).build();
    all().for_each(|key| mini.insert(key, value(key)));
    vec![
        looking(TTL, asked, move |keys| each(keys, |key| ours.get(key))),
        looking(GET, asked, move |keys| each(keys, |key| without.get(key))),
        looking(CLOCK, asked, move |keys| {
            each(keys, |key| {
                black_box(clock.now());
                Some(value(*key))
            })
        }),
        looking(QUICK_TTL, asked, move |keys| {
            each(keys, |key| precise.get(key).filter(|(_, end)| Instant::now() < *end).map(|(value, _)| value))
        }),
        looking(QUICK_COARSE, asked, move |keys| {
            each(keys, |key| coarse.get(key).filter(|(_, end)| clock.now() < *end).map(|(value, _)| value))
        }),
        looking(Moka::NAME, asked, move |keys| each(keys, |key| moka.get(key))),
        looking(MiniMoka::NAME, asked, move |keys| each(keys, |key| mini.get(key))),
    ]
}

/// Looks one key up by one thread, then by two: the time is of a call while there are two, the extra figure how many
/// times the calls of one thread the two made together. Each turn has another key: what a key costs depends on what
/// it shares its bucket with, and so on the seed of the hasher.
fn scaling(name: &'static str, look: impl Fn(&[u64]) -> u64 + Sync + 'static) -> Contestant {
    let mut turns = (0..HOT_KEYS).cycle();
    let turn = move |budget: Duration| {
        let key = mix(turns.next().unwrap_or_default() as u32);
        let (keys, sum) = (vec![key; CHUNK], (CHUNK as u64).wrapping_mul(value(key)));
        let pass = || assert_eq!(look(black_box(&keys)), sum, "{name}: all are hits");
        let one = team(1, budget / 2, CHUNK, pass);
        let time = team(2, budget / 2, CHUNK, pass);
        Sample::with(time, [2.0 * one / time])
    };
    Contestant { name, turn: Box::new(turn) }
}

/// One hot key among a thousand, on two threads.
pub(crate) fn hot() -> Vec<Contestant> {
    fn getting<S: Subject>() -> Contestant {
        let subject: S = full(HOT_KEYS);
        scaling(S::NAME, move |keys| each(keys, |key| subject.get(*key)))
    }
    let ours: Arc<Bellwether> = Arc::new(full(HOT_KEYS));
    let same = Arc::clone(&ours);
    let papaya: Papaya = full(HOT_KEYS);
    vec![
        scaling(GET_REF, move |keys| each(keys, |key| ours.get_ref(key).map(|value| *value))),
        scaling(PINNED, move |keys| {
            let pinned = same.pin();
            each(keys, |key| pinned.get_ref(key).map(|value| *value))
        }),
        getting::<Papaya>(),
        scaling(PAPAYA_PINNED, move |keys| {
            let pinned = papaya.pin();
            each(keys, |key| pinned.get(key).copied())
        }),
        getting::<SccIndex>(),
        getting::<SccCache>(),
        getting::<Quick>(),
        getting::<Moka>(),
        getting::<MiniMoka>(),
        getting::<Ufo>(),
        getting::<Foyer>(),
    ]
}
