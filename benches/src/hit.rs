//! Warm hits and nothing else, for `callgrind.sh` to count.
//!
//! `hit <way> <hits>`: each way is a function that is never inlined, so that its instructions can be told from those of
//! the setting up around it.

use bellwether::{Cache, Pinned};
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
fn hit_get(cache: &Numbers, key: u64) -> Option<u64> {
    cache.get(&key)
}

/// `Pinned::get_ref`, the pin held outside.
#[unsafe(no_mangle)]
#[inline(never)]
fn hit_pinned(pinned: &Pinned<'_, u64, u64, Fixed>, key: u64) -> Option<u64> {
    pinned.get_ref(&key).map(|value| *value)
}

/// `Cache::get_with`, its loader never called.
#[unsafe(no_mangle)]
#[inline(never)]
fn hit_get_with(cache: &Numbers, key: u64) -> u64 {
    cache.get_with(&key, || unreachable!("a hit loads nothing"))
}

fn main() {
    let mut args = std::env::args().skip(1);
    let way = args.next().expect("usage: hit <get|pinned|get_with|ttl|ttl_get_with> <hits>");
    let hits: u64 = args.next().map_or(1_000_000, |n| n.parse().expect("hits: a number"));
    let mut builder = Cache::builder().max_capacity(u64::MAX).hasher(Fixed::default());
    if way.starts_with("ttl") {
        builder = builder.time_to_live(Duration::from_secs(3600));
    }
    let cache: Numbers = builder.build().expect("valid settings");
    for key in 0..KEYS {
        // Loaded, not inserted: so one with a time to live is one that XFetch may refresh.
        cache.get_with(&key, || key * 3);
    }
    for key in (0..KEYS).cycle().take(4 * KEYS as usize) {
        // Warm: the use counters are full.
        assert_eq!(cache.get(&key), Some(key * 3));
    }
    let keys = (0..hits).map(|i| black_box(i % KEYS));
    let cache = black_box(&cache);
    let sum: u64 = match way.as_str() {
        "get" | "ttl" => keys.filter_map(|k| hit_get(cache, k)).sum(),
        "get_with" | "ttl_get_with" => keys.map(|k| hit_get_with(cache, k)).sum(),
        "pinned" => {
            let pinned = cache.pin();
            keys.filter_map(|k| hit_pinned(black_box(&pinned), k)).sum()
        }
        unknown => panic!("no such way: {unknown}"),
    };
    println!("{way}: {hits} hits, sum {sum}");
}
