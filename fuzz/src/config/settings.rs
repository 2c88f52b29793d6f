//! What a cache is built with, and what is wrong with it.

use super::{Subject, Value};
use arbitrary::Arbitrary;
use bellwether::{BuildError, Cache, ManualClock, Tags};
use std::cell::Cell;
use std::time::Duration;

/// Small numbers and the ends of their types.
#[derive(Arbitrary, Debug, Clone, Copy)]
pub struct Number(u8);

impl Number {
    pub fn get(self) -> u64 {
        const ALL: [u64; 16] = [
            0,
            1,
            2,
            3,
            7,
            8,
            100,
            1024,
            1025,
            4096,
            8192,
            u32::MAX as u64,
            1 << 40,
            i64::MAX as u64,
            u64::MAX - 1,
            u64::MAX,
        ];
        ALL[usize::from(self.0 % 16)]
    }

    fn size(self) -> usize {
        self.get() as usize
    }
}

#[derive(Arbitrary, Debug, Clone, Copy)]
pub struct Time(u8);

impl Time {
    pub fn get(self) -> Duration {
        const ALL: [Duration; 16] = [
            Duration::ZERO,
            Duration::from_nanos(1),
            Duration::from_nanos(999),
            Duration::from_micros(1),
            Duration::from_millis(1),
            Duration::from_millis(50),
            Duration::from_secs(1),
            Duration::from_secs(3600),
            // About as long as an entry can remember when it is to be looked at.
            Duration::from_secs(35 * 365 * 86400),
            Duration::from_secs(1 << 31),
            Duration::from_nanos(i64::MAX as u64),
            Duration::from_nanos(u64::MAX - 1),
            Duration::from_nanos(u64::MAX),
            Duration::new(u64::MAX / 1_000_000_000, 999_999_999),
            Duration::from_secs(u64::MAX),
            Duration::MAX,
        ];
        ALL[usize::from(self.0 % 16)]
    }

    /// Whether it is a deadline at all: what does not fit 64 bits of ns is for ever.
    fn is_finite(self) -> bool {
        self.get().as_nanos() < u128::from(u64::MAX)
    }
}

#[derive(Arbitrary, Debug, Clone, Copy)]
pub enum Fraction {
    Zero,
    MinusZero,
    Half,
    AlmostOne,
    One,
    Two,
    Negative,
    Least,
    Most,
    Infinite,
    NaN,
    Bits(u64),
}

impl Fraction {
    pub fn get(self) -> f64 {
        match self {
            Self::Zero => 0.0,
            Self::MinusZero => -0.0,
            Self::Half => 0.5,
            Self::AlmostOne => 1.0 - f64::EPSILON / 2.0,
            Self::One => 1.0,
            Self::Two => 2.0,
            Self::Negative => -1e-300,
            Self::Least => f64::MIN_POSITIVE,
            Self::Most => f64::MAX,
            Self::Infinite => f64::INFINITY,
            Self::NaN => f64::NAN,
            Self::Bits(bits) => f64::from_bits(bits),
        }
    }
}

#[derive(Arbitrary, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weigher {
    Zero,
    Most,
    Half,
    OfValue,
    /// Another weight each time that it is asked.
    Changes,
}

thread_local! {
    static ASKED: Cell<u32> = const { Cell::new(0) };
}

impl Weigher {
    pub fn weigh(self, value: &Value) -> u32 {
        match self {
            Self::Zero => 0,
            Self::Most => u32::MAX,
            Self::Half => 1 << 31,
            Self::OfValue => value.weight,
            Self::Changes => ASKED.replace(ASKED.get().wrapping_mul(5).wrapping_add(1)),
        }
    }
}

/// The time, and whether a timer follows it.
#[derive(Arbitrary, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clocking {
    System,
    Manual,
    Timed,
}

#[derive(Arbitrary, Debug)]
pub struct Settings {
    pub capacity: Option<Number>,
    initial: Option<Number>,
    shards: Option<Number>,
    pub weigher: Option<Weigher>,
    pub ttl: Option<Time>,
    pub idle: Option<Time>,
    /// What it says, in turn with nothing.
    pub ttl_with: Option<Time>,
    tags: bool,
    jitter: Option<Fraction>,
    beta: Option<Fraction>,
    cooldown: Option<Time>,
    negative_ttl: Option<Time>,
    while_refresh: Option<Time>,
    if_error: Option<Time>,
    wait: Option<Time>,
    soft: Option<Time>,
    hard: Option<Time>,
    lead: Option<Time>,
    max_waiters: Option<Number>,
    max_loads: Option<Number>,
    huge_pages: bool,
    record_stats: bool,
    seed: Option<u64>,
    pub clocking: Clocking,
    origin: Number,
}

impl Settings {
    pub fn build(&self, clock: &ManualClock) -> Result<Subject, BuildError> {
        macro_rules! set {
            ($builder:expr $(, $setting:ident: $value:expr)*) => {{
                let mut builder = $builder;
                $(if let Some(value) = $value { builder = builder.$setting(value); })*
                builder
            }};
        }
        clock.set(self.origin.get().min(u64::MAX - 1));
        let time = |time: Option<Time>| time.map(Time::get);
        let mut builder = set!(
            Cache::builder().name("fuzzed").huge_pages(self.huge_pages),
            max_capacity: self.capacity.map(Number::get),
            initial_capacity: self.initial.map(Number::size),
            shards: self.shards.map(Number::size),
            time_to_live: time(self.ttl),
            time_to_idle: time(self.idle),
            ttl_jitter: self.jitter.map(Fraction::get),
            xfetch: self.beta.map(Fraction::get),
            error_cooldown: time(self.cooldown),
            negative_ttl: time(self.negative_ttl),
            stale_while_refresh: time(self.while_refresh),
            stale_if_error: time(self.if_error),
            wait_timeout: time(self.wait),
            soft_timeout: time(self.soft),
            hard_timeout: time(self.hard),
            lead_timeout: time(self.lead),
            max_waiters: self.max_waiters.map(Number::size),
            max_loads: self.max_loads.map(Number::size),
            seed: self.seed,
            weigher: self.weigher.map(|weigher| move |_: &u8, value: &Value| weigher.weigh(value)),
            ttl_with: time(self.ttl_with).map(|ttl| move |_: &u8, v: &Value| (v.version % 2 == 0).then_some(ttl)),
            tags_with: self.tags.then_some(|key: &u8, value: &Value, tags: &mut Tags<'_>| {
                if tagged(value.version) {
                    tags.add(key);
                }
            })
        );
        if self.record_stats {
            builder = builder.record_stats();
        }
        match self.clocking {
            Clocking::System => builder,
            Clocking::Manual => builder.clock(clock.clone()),
            Clocking::Timed => builder.clock(clock.clone()).timer(clock.clone()),
        }
        .build()
    }

    pub fn has_tags(&self, version: u64) -> bool {
        self.tags && tagged(version)
    }

    /// That a refusal tells the truth.
    pub fn refused(&self, why: &BuildError) {
        assert!(self.faults().contains(&std::mem::discriminant(why)), "refused without reason: {why}");
        assert!(!why.to_string().is_empty());
    }

    /// That nothing was wrong with it.
    pub fn accepted(&self) {
        assert!(self.faults().is_empty(), "accepted in spite of its faults");
    }

    fn faults(&self) -> Vec<std::mem::Discriminant<BuildError>> {
        let outside = |shards: Number| !(1..=1024).contains(&shards.get());
        let deadline = [self.wait, self.soft, self.hard, self.lead].into_iter().flatten().any(Time::is_finite);
        let zero = |time: Option<Time>| time.is_some_and(|t| t.get().is_zero());
        let none = |most: Option<Number>| most.is_some_and(|most| most.get() == 0);
        let finite = |time: Option<Time>| time.filter(|time| time.is_finite());
        let stale = [self.while_refresh, self.if_error].into_iter().flatten().any(|time| !time.get().is_zero());
        let (soft, hard) = (finite(self.soft).map(Time::get), finite(self.hard).map(Time::get));
        let all = [
            (self.capacity.is_none(), BuildError::MissingCapacity),
            (self.shards.is_some_and(outside), BuildError::Shards(0)),
            (self.beta.is_some_and(|b| !b.get().is_finite() || b.get() < 0.0), BuildError::Beta(0.0)),
            (self.jitter.is_some_and(|j| !(j.get() >= 0.0 && j.get() < 1.0)), BuildError::Jitter(0.0)),
            (zero(self.idle), BuildError::ZeroTimeToIdle),
            (zero(self.lead), BuildError::ZeroLeadTimeout),
            (self.idle.is_some() && stale, BuildError::StaleWithIdle),
            (soft.is_some() && !stale, BuildError::SoftTimeoutWithoutStale),
            (soft.zip(hard).is_some_and(|(soft, hard)| soft > hard), BuildError::SoftAboveHard),
            (none(self.max_loads), BuildError::ZeroMaxLoads),
            (none(self.max_waiters) && finite(self.lead).is_some(), BuildError::LeadTimeoutWithoutWaiters),
            (deadline && self.clocking == Clocking::Manual, BuildError::MissingTimer),
        ];
        all.into_iter().filter(|(wrong, _)| *wrong).map(|(_, error)| std::mem::discriminant(&error)).collect()
    }

    /// Whether nothing that was inserted ever goes by itself.
    pub fn keeps_all(&self) -> bool {
        let expires = self.ttl.is_some() || self.idle.is_some() || self.ttl_with.is_some();
        // (Much retired weight would keep new entries out for a while.)
        let light = matches!(self.weigher, None | Some(Weigher::Zero));
        self.capacity.map(Number::get) == Some(u64::MAX) && light && !expires
    }
}

/// Some values have a tag: their key.
fn tagged(version: u64) -> bool {
    version % 3 != 0
}
