//! Linearizability: whatever threads do to a key at the same time, what they saw can be put in one order.
//!
//! Short histories, and many of them: three threads meet, do a few operations each on one or two new keys, at random, and the
//! history of each key is checked (`history`, which says what is asked of a cache that is no map).
mod history;

use crate::common::{Broken, Constant, quietly};
use bellwether::{Cache, DefaultHashBuilder, Op};
use fastrand::Rng;
use history::{History, Record, Value, What};
use std::hash::BuildHasher;
use std::hint::spin_loop;
use std::io::{Write, stderr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::thread;

const THREADS: usize = 3;
/// Of each thread in each round; the thread that comes to it last looks what is left.
const OPERATIONS: usize = 5;
/// Even: after the last one no key is to have a value.
const ROUNDS: u32 = 3_000;

/// All threads are here for the nth time. They go on within a few nanoseconds of each other: a wake-up would take
/// longer than a round.
#[derive(Default)]
struct Meeting(AtomicUsize);

impl Meeting {
    fn meet(&self, times: usize) {
        self.0.fetch_add(1, SeqCst);
        for turn in 0_u32.. {
            if self.0.load(SeqCst) >= times * THREADS {
                return;
            }
            if turn % 64 == 63 { thread::yield_now() } else { spin_loop() }
        }
    }
}

struct Trial<S> {
    cache: Cache<u32, Value, S>,
    meeting: Meeting,
    ticks: AtomicU64,
    values: AtomicU64,
    /// What was done in this round, with its key.
    round: Mutex<Vec<(u32, Record)>>,
}

impl<S: BuildHasher + Sync> Trial<S> {
    fn value(&self) -> Value {
        self.values.fetch_add(1, SeqCst) as Value
    }

    /// An operation, timed from before its call until after its return.
    fn operate(&self, key: u32, rng: &mut Rng) -> Record {
        let kind = rng.u32(0..20);
        let (value, turns) = (self.value(), rng.u32(0..4));
        let call = self.ticks.fetch_add(1, SeqCst);
        let what = self.perform(key, kind, value, turns);
        Record { call, end: self.ticks.fetch_add(1, SeqCst), what }
    }

    fn perform(&self, key: u32, kind: u32, value: Value, turns: u32) -> What {
        let cache = &self.cache;
        match kind {
            0 | 1 => What::Get(cache.get(&key)),
            2 => What::Get(cache.get_entry(&key).map(|entry| *entry)),
            3 => What::Contains(cache.contains_key(&key)),
            4..7 => {
                cache.insert(key, value);
                What::Insert(value)
            }
            7 | 8 => What::Remove(cache.remove(&key)),
            9 => What::Drop(cache.invalidate(&key)),
            10 => What::RemoveOdd(cache.remove_if(&key, |_, value| value % 2 == 1)),
            11..15 => self.load(key, value, turns),
            15 => self.fail(key, turns),
            16 => self.panic(key, turns),
            _ => {
                let op = [Op::Put(value), Op::Put(value), Op::Remove, Op::Nop][(value % 4) as usize];
                let mut saw = None;
                let change = cache.compute(&key, |old| {
                    saw = old.copied();
                    dawdle(turns);
                    op
                });
                assert_eq!(change.old.as_deref().copied(), saw);
                What::Compute(saw, op)
            }
        }
    }

    fn load(&self, key: u32, value: Value, turns: u32) -> What {
        let got = self.cache.get_with(&key, || {
            dawdle(turns);
            value
        });
        if got == value { What::Loaded(value) } else { What::Found(got) }
    }

    fn fail(&self, key: u32, turns: u32) -> What {
        let got = self.cache.try_get_with(&key, || {
            dawdle(turns);
            Err(Broken("no"))
        });
        got.map_or(What::Failed, What::Found)
    }

    /// Its load is handed on to one of those who wait.
    fn panic(&self, key: u32, turns: u32) -> What {
        let got = catch_unwind(AssertUnwindSafe(|| {
            self.cache.get_with(&key, || {
                dawdle(turns);
                panic!("the loader panics, as it was told to")
            })
        }));
        got.map_or(What::Failed, What::Found)
    }

    fn run(&self, thread: usize, keys: u32, seed: u64, evictions: bool) {
        let mut rng = Rng::with_seed(seed ^ (thread as u64) << 32);
        for round in 0..ROUNDS as usize {
            self.meeting.meet(2 * round + 1);
            let mut own = Vec::with_capacity(OPERATIONS);
            for _ in 0..OPERATIONS {
                let key = round as u32 * keys + rng.u32(0..keys);
                own.push((key, self.operate(key, &mut rng)));
            }
            let mut all = self.round.lock().unwrap();
            all.extend(own);
            if all.len() == THREADS * OPERATIONS + begun(round, keys) {
                (0..keys).for_each(|key| self.check(round as u32 * keys + key, &mut all, seed, evictions));
                all.clear();
                let next = (round as u32 + 1) * keys;
                (next..).take(begun(round + 1, keys)).for_each(|key| all.push((key, self.begin(key))));
            }
            drop(all);
            self.meeting.meet(2 * round + 2);
        }
    }

    /// A value for a key of the next round.
    fn begin(&self, key: u32) -> Record {
        let (value, call) = (self.value(), self.ticks.fetch_add(1, SeqCst));
        self.cache.insert(key, value);
        Record { call, end: self.ticks.fetch_add(1, SeqCst), what: What::Insert(value) }
    }

    /// With a last look at the key, and then nothing left of it.
    fn check(&self, key: u32, all: &mut Vec<(u32, Record)>, seed: u64, evictions: bool) {
        let call = self.ticks.fetch_add(1, SeqCst);
        let what = What::Remove(self.cache.remove(&key));
        all.push((key, Record { call, end: self.ticks.fetch_add(1, SeqCst), what }));
        let mut records: Vec<_> = all.iter().filter(|(of, _)| *of == key).map(|(_, record)| *record).collect();
        if !History::new(&records, evictions).is_linearizable() {
            records.sort_by_key(|record| record.call);
            let lines: Vec<_> = records.iter().map(|r| format!("{:>8}..{:<8} {:?}", r.call, r.end, r.what)).collect();
            let told = lines.join("\n");
            // The other threads wait at the next meeting for ever: no unwinding, and nothing that the test's end would print.
            let _ = writeln!(stderr(), "seed {seed}, evictions {evictions}, key {key}: no order explains\n{told}");
            std::process::exit(101);
        }
        assert!(!self.cache.is_loading(&key), "a flight was left behind");
    }
}

/// How many keys have a value as a round begins: all in every other round. (Two who remove it meet in their first step, then;
/// a value that one of them has just inserted is mostly gone again before another looks.)
fn begun(round: usize, keys: u32) -> usize {
    if round % 2 == 1 { keys as usize } else { 0 }
}

/// Lets others have a turn, in the middle of a load.
fn dawdle(turns: u32) {
    (0..turns).for_each(|_| thread::yield_now());
}

fn trial<S: BuildHasher + Default + Send + Sync>(capacity: u64, keys: u32, seed: u64) {
    // One at a time: threads that wait for each other, awake, would take the cores from those of another trial.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let evictions = capacity != u64::MAX;
    // However many leaders panic: who waits gets another's value, or loads.
    let builder = Cache::builder().max_capacity(capacity).seed(seed).max_handovers(u32::MAX);
    let cache = builder.hasher(S::default()).build().unwrap();
    let (meeting, ticks, values, round) = Default::default();
    let trial = Trial { cache, meeting, ticks, values, round };
    quietly(|| {
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let trial = &trial;
                scope.spawn(move || trial.run(thread, keys, seed, evictions));
            }
        });
    });
    let stats = trial.cache.stats();
    println!("capacity {capacity}, {keys} keys: {stats:?}");
    // Histories in which nothing happens at the same time would hold of anything.
    assert!(stats.coalesced > 0 && stats.handovers > 0, "the threads never met: {stats:?}");
    assert_eq!((trial.cache.len(), trial.cache.weight()), (0, 0), "the last look left nothing");
    trial.cache.validate().unwrap();
}

#[test]
fn with_ample_room() {
    trial::<DefaultHashBuilder>(u64::MAX, 1, 1);
    trial::<DefaultHashBuilder>(u64::MAX, 2, 2);
}

#[test]
fn with_evictions() {
    trial::<DefaultHashBuilder>(1, 2, 3);
    trial::<DefaultHashBuilder>(2, 3, 4);
    // Nothing is kept at all.
    trial::<DefaultHashBuilder>(0, 1, 5);
}

#[test]
fn in_one_bucket() {
    trial::<Constant>(u64::MAX, 3, 6);
    trial::<Constant>(1, 3, 7);
}
