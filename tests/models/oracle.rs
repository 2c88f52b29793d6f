//! Random operations against a plain model, under a manual clock: the same answers, step by step.

use crate::common::{Census, Constant, Member};
use bellwether::{Cache, Lease, Lookup, ManualClock, Op};
use std::collections::HashMap;
use std::time::Duration;

type Value = Member<u64>;

/// What must be true: key to value and expiry. Unbounded, so nothing is evicted.
#[derive(Default)]
struct Model {
    entries: HashMap<u32, (u64, u64)>,
}

impl Model {
    fn get(&self, key: u32, now: u64) -> Option<u64> {
        self.entries.get(&key).filter(|e| now < e.1).map(|e| e.0)
    }

    fn put(&mut self, key: u32, value: u64, now: u64, ttl: u64) {
        if ttl == 0 {
            self.entries.remove(&key);
        } else {
            self.entries.insert(key, (value, now.saturating_add(ttl)));
        }
    }

    fn remove(&mut self, key: u32, now: u64) -> Option<u64> {
        let live = self.get(key, now);
        self.entries.remove(&key);
        live
    }
}

struct Run<'c, S> {
    cache: &'c Cache<u32, Value, S>,
    clock: &'c ManualClock,
    census: &'c Census,
    model: Model,
    random: fastrand_like::Rng,
    /// Leases held over several steps, with whether their key was changed meanwhile.
    held: Vec<(u32, Lease<'c, u32, Value>, bool)>,
    step: u64,
}

/// SplitMix64: the tests need no more.
mod fastrand_like {
    pub(crate) struct Rng(pub(crate) u64);
    impl Rng {
        pub(crate) fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (z ^ (z >> 31)) % n
        }
    }
}

const TTL: u64 = 50;

impl<'c, S: std::hash::BuildHasher> Run<'c, S> {
    fn now(&self) -> u64 {
        bellwether::Clock::now(self.clock)
    }

    fn value(&self) -> Value {
        self.census.member(self.step)
    }

    fn changed(&mut self, key: Option<u32>) {
        for (k, _, changed) in &mut self.held {
            *changed |= key.is_none_or(|key| key == *k);
        }
    }

    fn step(&mut self) {
        self.step += 1;
        let (key, now, step) = (self.random.below(24) as u32, self.now(), self.step);
        let held = self.held.iter().any(|h| h.0 == key);
        match self.random.below(16) {
            0..=3 => assert_eq!(self.cache.get(&key).map(|v| v.what), self.model.get(key, now)),
            4 => {
                self.cache.insert(key, self.value());
                self.model.put(key, step, now, TTL);
                self.changed(Some(key));
            }
            5 => {
                let ttl = [0, 1, 7, u64::MAX][self.random.below(4) as usize];
                self.cache.insert_with_ttl(key, self.value(), Duration::from_nanos(ttl));
                self.model.put(key, step, now, ttl);
                self.changed(Some(key));
            }
            6 => {
                assert_eq!(self.cache.remove(&key).map(|v| v.what), self.model.remove(key, now));
                self.changed(Some(key));
            }
            7 if !held => {
                let expected = self.model.get(key, now).unwrap_or(step);
                assert_eq!(self.cache.get_with(&key, || self.value()).what, expected);
                if expected == step {
                    self.model.put(key, step, now, TTL);
                }
            }
            8 if !held => {
                let failed = self.cache.try_get_with(&key, || Err::<Value, _>(step));
                assert_eq!(failed.ok().map(|v| v.what), self.model.get(key, now));
            }
            9 if !held => {
                if let Lookup::Lead(lease) = self.cache.lease(&key) {
                    self.held.push((key, lease, false));
                }
            }
            10 => self.end_a_lease(),
            11 if !held => self.compute(key),
            12 => {
                let odd = self.cache.remove_if(&key, |_, v| v.what % 2 == 1).map(|v| v.what);
                assert_eq!(odd, self.model.get(key, now).filter(|v| v % 2 == 1));
                if odd.is_some() {
                    self.model.remove(key, now);
                    self.changed(Some(key));
                }
            }
            13 => self.clock.advance(Duration::from_nanos(self.random.below(20))),
            14 if self.random.below(20) == 0 => self.rarely(),
            _ => self.compare(),
        }
    }

    fn end_a_lease(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let (key, lease, changed) = self.held.swap_remove(self.random.below(self.held.len() as u64) as usize);
        let (now, step, value) = (self.now(), self.step, self.value());
        match self.random.below(4) {
            0 => drop(lease),
            1 => lease.fail_with(step),
            _ => {
                assert_eq!(lease.fulfil(value).is_ok(), !changed, "a change during the load wins");
                if !changed {
                    self.model.put(key, step, now, TTL);
                }
            }
        }
    }

    fn compute(&mut self, key: u32) {
        let (now, seen) = (self.now(), self.model.get(key, self.now()));
        let (choice, value) = (self.random.below(3), self.value());
        let put = value.what;
        let change = self.cache.compute(&key, |v| {
            assert_eq!(v.map(|v| v.what), seen);
            match choice {
                0 => Op::Put(value),
                1 => Op::Remove,
                _ => Op::Nop,
            }
        });
        assert!(change.applied);
        assert_eq!(change.old.as_ref().map(|v| v.what), seen);
        assert_eq!(change.new.as_ref().map(|v| v.what), [Some(put), None, seen][choice as usize]);
        match choice {
            0 => self.model.put(key, self.step, now, TTL),
            1 => drop(self.model.entries.remove(&key)),
            _ => {}
        }
    }

    fn rarely(&mut self) {
        let now = self.now();
        match self.random.below(3) {
            0 => {
                self.cache.invalidate_all();
                self.model.entries.clear();
                self.changed(None);
            }
            1 => {
                self.cache.retain(|&k, v| (u64::from(k) + v.what) % 3 != 0);
                // What is being refreshed cannot be asked about, and goes.
                let held: Vec<u32> = self.held.iter().filter(|h| !h.2).map(|h| h.0).collect();
                self.model.entries.retain(|k, e| (u64::from(*k) + e.0) % 3 != 0 && !held.contains(k));
                self.changed(None);
            }
            _ => {
                self.cache.purge_expired();
                let held: Vec<u32> = self.held.iter().filter(|h| !h.2).map(|h| h.0).collect();
                self.model.entries.retain(|k, e| now < e.1 || held.contains(k));
                // Of those that are being loaded some may have gone before, as others were stored.
                let over = self.cache.len() - self.cache.iter().count();
                assert!(over <= self.expired(), "{over} are over");
            }
        }
    }

    fn expired(&self) -> usize {
        self.model.entries.values().filter(|e| self.now() >= e.1).count()
    }

    /// Everything at once.
    fn compare(&self) {
        let mut seen: Vec<_> = self.cache.iter().map(|r| (*bellwether::Ref::key(&r), r.what)).collect();
        let now = self.now();
        let mut expected: Vec<_> =
            self.model.entries.iter().filter(|(_, e)| now < e.1).map(|(k, e)| (*k, e.0)).collect();
        seen.sort_unstable();
        expected.sort_unstable();
        assert_eq!(seen, expected);
        assert_eq!(self.cache.len() as u64, self.cache.weight());
        for (key, _, changed) in &self.held {
            assert!(*changed || self.cache.is_loading(key));
        }
    }
}

fn run<S: std::hash::BuildHasher + Default>(seed: u64, steps: u32) {
    let (census, clock) = (Census::default(), ManualClock::new());
    let cache = Cache::builder()
        .max_capacity(u64::MAX)
        .time_to_live(Duration::from_nanos(TTL))
        .xfetch(0.0)
        .clock(clock.clone())
        .hasher(S::default())
        .build()
        .unwrap();
    let random = fastrand_like::Rng(seed);
    let mut run =
        Run { cache: &cache, clock: &clock, census: &census, model: Model::default(), random, held: vec![], step: 0 };
    (0..steps).for_each(|_| run.step());
    run.compare();
    drop(run);
    drop(cache);
    assert_eq!(census.alive(), 0);
}

#[test]
fn random_operations_agree_with_a_model() {
    (0..20).for_each(|seed| run::<bellwether::DefaultHashBuilder>(seed, 5_000));
}

#[test]
fn random_operations_agree_with_a_model_when_all_keys_collide() {
    (100..110).for_each(|seed| run::<Constant>(seed, 5_000));
}
