//! What a thread does: everything there is, at random.

use crate::ledger::{Before, LEAD};
use crate::pasture::{HEAVIEST, KEYS, Pasture};
use crate::value::{Failed, Payload, Value};
use bellwether::{LoadError, Lookup, Op, Waited};
use fastrand::Rng;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// What all who work in a round share.
pub(crate) struct Round {
    pub(crate) pastures: Vec<Arc<Pasture>>,
    /// Work ends, and hung loads come back.
    pub(crate) over: AtomicBool,
    /// Operations so far.
    pub(crate) steps: AtomicU64,
    /// When a load may hang again, in ms: most of the time somebody does, and never everybody.
    hang_at: AtomicU64,
    start: Instant,
}

/// How a load goes on before it ends.
pub(crate) enum Pace {
    Quick,
    /// So many turns of others.
    Slow(u32),
    /// For so long, or until the round is over.
    Hung(Duration),
}

/// How a load ends.
pub(crate) enum End {
    Value(u32),
    Fail,
    Panic,
}

impl Round {
    pub(crate) fn new(pastures: &[Arc<Pasture>]) -> Self {
        let (over, steps, hang_at) = Default::default();
        Self { pastures: pastures.to_vec(), over, steps, hang_at, start: Instant::now() }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// A cache, and one of its keys: low ones are more popular.
    fn pick(&self, rng: &mut Rng) -> (&Pasture, u32) {
        self.steps.fetch_add(1, SeqCst);
        let key = u64::from(rng.u32(0..KEYS)) * u64::from(rng.u32(0..KEYS)) / u64::from(KEYS);
        (&self.pastures[rng.usize(0..self.pastures.len())], key as u32)
    }

    pub(crate) fn pace(&self, rng: &mut Rng) -> Pace {
        match rng.u32(0..64) {
            0..4 => Pace::Slow(rng.u32(1..20)),
            4 if self.may_hang() => Pace::Hung(LEAD * rng.u32(2..12) / 4),
            _ => Pace::Quick,
        }
    }

    fn may_hang(&self) -> bool {
        let (now, at) = (self.start.elapsed().as_millis() as u64, self.hang_at.load(SeqCst));
        now >= at && self.hang_at.compare_exchange(at, now + LEAD.as_millis() as u64 / 2, SeqCst, SeqCst).is_ok()
    }
}

/// One in a thousand is heavier than any capacity.
pub(crate) fn weight(rng: &mut Rng) -> u32 {
    if rng.u32(0..1000) == 0 { 1_000_000 } else { rng.u32(0..HEAVIEST + 1) }
}

pub(crate) fn end(rng: &mut Rng, fails: bool) -> End {
    match rng.u32(0..32) {
        0..3 if fails => End::Fail,
        3 => End::Panic,
        _ => End::Value(weight(rng)),
    }
}

/// Works until the round is over.
pub(crate) fn work(round: &Round, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    while !round.is_over() {
        Turn::new(round, &mut rng).take(&mut rng);
    }
}

/// One operation.
pub(crate) struct Turn<'r> {
    pub(crate) round: &'r Round,
    pub(crate) pasture: &'r Pasture,
    pub(crate) key: u32,
    pub(crate) before: Before,
}

impl<'r> Turn<'r> {
    pub(crate) fn new(round: &'r Round, rng: &mut Rng) -> Self {
        let (pasture, key) = round.pick(rng);
        Self { round, pasture, key, before: pasture.before(key) }
    }

    fn take(&self, rng: &mut Rng) {
        let (pasture, key, cache) = (self.pasture, self.key, &self.pasture.cache);
        match rng.u32(0..100) {
            0..30 => cache.get(&key).iter().for_each(|value| self.given(value, "get")),
            30..34 => cache.get_ref(&key).iter().for_each(|value| self.given(value, "get_ref")),
            34..38 => cache.get_entry(&key).iter().for_each(|value| self.given(value, "get_entry")),
            38..52 => self.get_with(rng),
            52..66 => self.try_get_with(rng),
            66..72 => self.lease(rng),
            72..76 => self.compute(rng),
            76..84 => {
                let ttl = [None, None, Some(Duration::ZERO), Some(Duration::from_micros(rng.u64(0..20_000)))];
                pasture.insert(key, weight(rng), ttl[rng.usize(0..4)]);
            }
            84..88 => {
                let removed = pasture.write(key..=key, || cache.remove(&key), |_| true);
                removed.iter().for_each(|value| self.given(value, "remove"));
            }
            88..92 => drop(pasture.write(key..=key, || cache.invalidate(&key), |_| true)),
            92..94 => self.remove_if(),
            // A load that begins afterwards may run beside one that began before.
            94..96 => drop(pasture.write(key..=key, || cache.expire(&key), |_| false)),
            96..98 => {
                let pinned = cache.pin();
                pinned.get(&key).iter().for_each(|value| self.given(value, "pin, get"));
                pinned.get_ref(&key).iter().for_each(|value| self.given(value, "pin, get_ref"));
            }
            _ => self.rarely(rng),
        }
    }

    fn rarely(&self, rng: &mut Rng) {
        let (pasture, cache) = (self.pasture, &self.pasture.cache);
        match rng.u32(0..600) {
            0 => pasture.write(0..KEYS, || cache.invalidate_all(), |_| true),
            1 => pasture.write(0..KEYS, || cache.retain(|key, _| key % 2 == 0), |key| key % 2 == 1),
            2..12 => pasture.invalidate_tag(self.key),
            12..16 => drop(cache.purge_expired()),
            16..32 => pasture.resize(rng.u64(..)),
            32..36 => pasture.walk(),
            _ => pasture.look(),
        }
    }

    pub(crate) fn given(&self, value: &Payload, by: &str) {
        self.pasture.ledger.given(self.key, self.before, value, by);
    }

    /// The loader: reads the version, takes its time, and ends.
    fn load(&self, rng: &mut Rng, fails: bool) -> Result<Value, Failed> {
        let loading = self.pasture.load(self.key, self.before);
        match self.round.pace(rng) {
            Pace::Quick => {}
            Pace::Slow(turns) => (0..turns).for_each(|_| std::thread::yield_now()),
            Pace::Hung(time) => {
                let since = Instant::now();
                while since.elapsed() < time && !self.round.is_over() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
        self.come_to(end(rng, fails), loading.version)
    }

    /// What a load comes to that has read `version`.
    pub(crate) fn come_to(&self, end: End, version: u64) -> Result<Value, Failed> {
        match end {
            End::Value(weight) => Ok(Payload::loaded(self.key, version, weight, &self.pasture.census)),
            End::Fail => Err(Failed::new(self.key)),
            // Without the hook: nothing of it is to be seen.
            End::Panic => resume_unwind(Box::new("a loader panics, as it was told to")),
        }
    }

    fn get_with(&self, rng: &mut Rng) {
        let load = || self.load(rng, false).unwrap_or_else(|_| unreachable!("it was told not to fail"));
        let got = catch_unwind(AssertUnwindSafe(|| self.pasture.cache.get_with(&self.key, load)));
        got.iter().for_each(|value| self.given(value, "get_with"));
    }

    fn try_get_with(&self, rng: &mut Rng) {
        let mut own = None;
        let load = || self.load(rng, true).inspect_err(|failed| own = Some(failed.clone()));
        let got = catch_unwind(AssertUnwindSafe(|| self.pasture.cache.try_get_with(&self.key, load)));
        if let Ok(got) = got {
            self.answered(got);
        }
        self.settle(own);
    }

    /// An error of one's own is over.
    pub(crate) fn settle(&self, own: Option<Failed>) {
        if let Some(failed) = own {
            failed.settle(self.pasture.ledger.tick());
        }
    }

    pub(crate) fn answered(&self, got: Result<Value, LoadError<Failed>>) {
        match got {
            Ok(value) => self.given(&value, "try_get_with"),
            Err(LoadError::Load(failed)) => {
                self.pasture.ledger.failed(self.key, self.before, &failed, self.pasture.keeps_failures());
            }
            Err(LoadError::Foreign(_)) => self.pasture.ledger.fault("a failure of a type that nobody has"),
            // Abandoned: by a lease that was failed by hand.
            Err(_) => {}
        }
    }

    fn lease(&self, rng: &mut Rng) {
        match self.pasture.cache.lease(&self.key) {
            Lookup::Hit(value) => self.given(&value, "lease"),
            Lookup::Refresh(old, lease) => {
                self.given(&old, "lease, early");
                self.lead(lease, rng);
            }
            Lookup::Lead(lease) => self.lead(lease, rng),
            Lookup::Wait(waiter) if rng.bool() => drop(waiter),
            Lookup::Wait(waiter) => match waiter.wait() {
                Waited::Ready(value) => self.given(&value, "wait"),
                Waited::Lead(lease) => self.lead(lease, rng),
                Waited::Failed(any) => self.answered(Err(LoadError::Load(any.downcast().unwrap()))),
                _ => {}
            },
            _ => {}
        }
    }

    fn lead(&self, lease: bellwether::Lease<'_, u32, Value>, rng: &mut Rng) {
        let loaded = catch_unwind(AssertUnwindSafe(|| self.load(rng, true)));
        match (loaded, rng.u32(0..8)) {
            (Err(_), _) | (_, 0) => drop(lease),
            (_, 1) => lease.fail(),
            (Ok(Ok(value)), 2) => {
                // What there is, is confirmed: it is as good as what was loaded.
                lease.stale().into_iter().for_each(|old| old.confirm(value.version()));
                lease.renew().iter().for_each(|value| self.given(value, "renew"));
            }
            (Ok(Err(failed)), _) => {
                lease.fail_with(failed.clone());
                self.settle(Some(failed));
            }
            (Ok(Ok(value)), 3) => drop(lease.fulfil_with_ttl(value, Duration::ZERO)),
            (Ok(Ok(value)), _) => match lease.fulfil(value) {
                Ok(value) | Err(value) => self.given(&value, "fulfil"),
            },
        }
    }

    fn compute(&self, rng: &mut Rng) {
        let what = rng.u32(0..8);
        let decide = |old: Option<&Value>| {
            old.into_iter().for_each(|old| self.given(old, "compute"));
            match (what, self.load(rng, true)) {
                (0, _) => Op::Remove,
                (1, _) | (_, Err(_)) => Op::Nop,
                (_, Ok(value)) => Op::Put(value),
            }
        };
        drop(catch_unwind(AssertUnwindSafe(|| self.pasture.cache.compute(&self.key, decide))));
    }

    /// Half of the values.
    fn remove_if(&self) {
        let (key, ledger) = (self.key, &self.pasture.ledger);
        let version = ledger.write(key);
        let removed = self.pasture.cache.remove_if(&key, |_, value| value.weight % 2 == 1);
        match removed {
            Some(value) => {
                self.given(&value, "remove_if");
                ledger.written(key, version);
            }
            None => ledger.unwritten(key),
        }
    }
}
