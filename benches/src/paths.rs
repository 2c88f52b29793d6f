//! One operation again and again, for `callgrind.sh` to count.
//!
//! `paths <way> <times>`: each way is a function that is never inlined, so that its instructions can be told from those of
//! the setting up around it.

use bellwether::{Builder, Cache, Pinned};
use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;
use std::time::Duration;

/// Keys in the cache, and keys asked for. Few enough to stay in the processor's caches: instructions are counted here,
/// not misses.
const KEYS: u64 = 1000;

type Fixed = BuildHasherDefault<Fold>;
type Numbers = Cache<u64, u64, Fixed>;

/// What the default hasher does to a number (one folded multiplication), but with a constant for its random seed: so
/// that every run walks the same buckets, and counts repeat to the instruction.
#[derive(Default)]
struct Fold(u64);

impl Hasher for Fold {
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u64");
    }
    #[inline]
    fn write_u64(&mut self, n: u64) {
        let wide = u128::from(n ^ 0x243F_6A88_85A3_08D3) * 0x1319_8A2E_0370_7344;
        self.0 = wide as u64 ^ (wide >> 64) as u64;
    }
}

/// `Cache::get`: of an entry without a time to live (`get`), and of one with it, by the default clock (`ttl`).
#[unsafe(no_mangle)]
#[inline(never)]
fn path_get(cache: &Numbers, key: u64) -> Option<u64> {
    cache.get(&key)
}

/// `Pinned::get_ref`, the pin held outside.
#[unsafe(no_mangle)]
#[inline(never)]
fn path_pinned(pinned: &Pinned<'_, u64, u64, Fixed>, key: u64) -> Option<u64> {
    pinned.get_ref(&key).map(|value| *value)
}

/// `Cache::get_with`, its loader never called.
#[unsafe(no_mangle)]
#[inline(never)]
fn path_get_with(cache: &Numbers, key: u64) -> u64 {
    cache.get_with(&key, || unreachable!("a hit loads nothing"))
}

/// The same of a key that is not there.
#[unsafe(no_mangle)]
#[inline(never)]
fn path_load(cache: &Numbers, key: u64) -> u64 {
    cache.get_with(&key, || key * 3)
}

/// `Cache::insert`: over a key that is there (`insert_over`), or of a new one into a full cache (`insert_full`).
#[unsafe(no_mangle)]
#[inline(never)]
fn path_insert(cache: &Numbers, key: u64) {
    cache.insert(key, key * 3);
}

/// `Cache::remove`, of a key that is there.
#[unsafe(no_mangle)]
#[inline(never)]
fn path_remove(cache: &Numbers, key: u64) -> Option<u64> {
    cache.remove(&key)
}

fn builder(way: &str) -> Builder<u64, u64, Fixed> {
    // A seed, for two runs to do the same.
    let builder = Cache::builder().seed(1).hasher(Fixed::default());
    match way {
        "ttl" | "ttl_get_with" => builder.max_capacity(u64::MAX).time_to_live(Duration::from_secs(3600)),
        "insert_full" => builder.max_capacity(KEYS),
        _ => builder.max_capacity(u64::MAX),
    }
}

/// A cache of warm entries.
fn warm(way: &str) -> Numbers {
    let cache: Numbers = builder(way).build().expect("valid settings");
    for key in 0..KEYS {
        // Loaded, not inserted: so one with a time to live is one that may be refreshed early.
        cache.get_with(&key, || key * 3);
    }
    for key in (0..KEYS).cycle().take(4 * KEYS as usize) {
        // Warm: the use counters are full.
        assert_eq!(cache.get(&key), Some(key * 3));
    }
    cache
}

fn hits(way: &str, cache: &Numbers, times: u64) -> u64 {
    let keys = (0..times).map(|i| black_box(i % KEYS));
    match way {
        "get" | "ttl" => keys.filter_map(|k| path_get(cache, k)).sum(),
        "pinned" => {
            let pinned = cache.pin();
            keys.filter_map(|k| path_pinned(black_box(&pinned), k)).sum()
        }
        _ => keys.map(|k| path_get_with(cache, k)).sum(),
    }
}

/// Operations that change the cache; what is done besides is not counted.
fn changes(way: &str, cache: &Numbers, times: u64) {
    for i in 0..times {
        let (new, old) = (black_box(KEYS + i), black_box(i % KEYS));
        match way {
            "insert_full" => path_insert(cache, new),
            "insert_over" => path_insert(cache, old),
            "load" => {
                assert_eq!(path_load(cache, new), new * 3);
                cache.remove(&new);
            }
            "remove" => {
                cache.insert(new, 1);
                assert_eq!(path_remove(cache, new), Some(1));
            }
            unknown => panic!("no such way: {unknown}"),
        }
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let way = args.next().expect("usage: paths <way> <times>");
    let times: u64 = args.next().map_or(1_000_000, |n| n.parse().expect("times: a number"));
    let cache = black_box(warm(&way));
    match way.as_str() {
        "get" | "pinned" | "get_with" | "ttl" | "ttl_get_with" => {
            let sum = hits(&way, &cache, times);
            assert_eq!(sum, (0..times).map(|i| i % KEYS * 3).sum(), "all are hits");
        }
        _ => changes(&way, &cache, times),
    }
    println!("{way}: {times} times");
}
