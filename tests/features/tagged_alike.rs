//! An entry with a tag that is never invalidated behaves as one without: scripts of expiry, early refresh,
//! failure, cooldown, staleness and idling, with each step at each instant of a grid, give the same answers.

use crate::common::*;
use bellwether::{Builder, Cache, LoadError, Loaded, ManualClock, Outcome, Tags};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// What a cache is built with.
#[derive(Clone, Copy, Debug)]
struct Settings {
    ttl: Option<u64>,
    idle: Option<u64>,
    beta: f64,
    while_refresh: u64,
    if_error: u64,
    cooldown: u64,
    negative: u64,
}

impl Settings {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for (ttl, idle) in [(Some(10), None), (None, None), (Some(10), Some(6)), (None, Some(6))] {
            for beta in [0.0, 1.0, 50.0] {
                for (while_refresh, if_error) in [(0, 0), (5, 0), (0, 100), (5, 100)] {
                    // (An entry that idles is never served stale.)
                    if idle.is_some() && while_refresh + if_error != 0 {
                        continue;
                    }
                    for (cooldown, negative) in [(0, 0), (1, 0), (1, 2), (7, 0)] {
                        all.push(Self { ttl, idle, beta, while_refresh, if_error, cooldown, negative });
                    }
                }
            }
        }
        all
    }

    fn build(self, tagged: bool) -> (TestCache, ManualClock) {
        let (mut builder, clock): (Builder<u32, u64>, _) = timed();
        builder = builder.xfetch(self.beta).error_cooldown(secs(self.cooldown)).negative_ttl(secs(self.negative));
        builder = builder.stale_while_refresh(secs(self.while_refresh)).stale_if_error(secs(self.if_error));
        if let Some(ttl) = self.ttl {
            builder = builder.time_to_live(secs(ttl));
        }
        if let Some(idle) = self.idle {
            builder = builder.time_to_idle(secs(idle));
        }
        if tagged {
            builder = builder.tags_with(|_, _, tags: &mut Tags<'_>| tags.add("group"));
        }
        (builder.build().unwrap(), clock)
    }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// One step of a script.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A read-through whose load takes a second.
    Load,
    Fail,
    Confirm,
    LoadFor(u64),
    Get,
    Expire,
    Insert,
    Lease,
    Purge,
}

/// What a step came to, as text.
fn take(step: Step, cache: &TestCache, clock: &ManualClock) -> String {
    let told = |found: Result<(u64, Outcome), LoadError<Broken>>, called: bool| format!("{found:?}, called {called}");
    let through = |end: Result<Loaded<u64>, Broken>| {
        let mut called = false;
        let found = cache.entry(&1).revalidate_with(|_| {
            called = true;
            clock.advance(SECOND);
            end
        });
        told(found.map(|(entry, outcome)| (*entry, outcome)), called)
    };
    match step {
        Step::Load => through(Ok(Loaded::New(1))),
        Step::Fail => through(Err(Broken("down"))),
        Step::Confirm => through(Ok(Loaded::NotModified)),
        Step::LoadFor(n) => through(Ok(Loaded::NewFor(2, secs(n)))),
        Step::Get => format!("{:?} {}", cache.get(&1), cache.contains_key(&1)),
        Step::Expire => cache.expire(&1).to_string(),
        Step::Insert => {
            cache.insert(1, 3);
            String::new()
        }
        Step::Lease => format!("{:?}", std::mem::discriminant(&cache.lease(&1))),
        Step::Purge => cache.purge_expired().to_string(),
    }
}

/// A step's answer, and what can be seen of the cache afterwards.
fn seen(step: Step, cache: &TestCache, clock: &ManualClock) -> (String, Option<(Duration, Duration)>, String) {
    let answer = take(step, cache, clock);
    let peeked = cache.peek(&1).map(|entry| {
        let left = bellwether::Ref::expires_in(&entry).unwrap_or(Duration::MAX);
        (left, bellwether::Ref::age(&entry))
    });
    // (What is retired waits for readers of other caches, too.)
    let mut stats = cache.stats();
    (stats.retired_bytes, stats.retired_weight) = (0, 0);
    (answer, peeked, format!("{stats:?}"))
}

#[test]
fn a_tag_that_is_never_invalidated_changes_no_answer() {
    let scripts: Vec<[Step; 3]> = [Step::Load, Step::Insert]
        .into_iter()
        .flat_map(|first| [Step::Fail, Step::Expire, Step::Confirm, Step::LoadFor(20), Step::Lease].map(|b| (first, b)))
        .flat_map(|(first, second)| [Step::Fail, Step::Get, Step::Purge].map(|third| [first, second, third]))
        .collect();
    // Before and after an early refresh, the expiry, a cooldown, each window, and 16 cooldowns.
    let instants = [0, 8_500, 10_500, 33_000];
    let grid: Vec<(u32, u32)> = instants.into_iter().flat_map(|x| instants.map(|y| (x, y))).collect();
    let mut comparisons = 0;
    for (settings, [a, b, c]) in Settings::all().into_iter().flat_map(|s| scripts.iter().map(move |script| (s, script)))
    {
        for &(before, after) in &grid {
            let [(plain, clock), (tagged, its)] = [false, true].map(|tagged| settings.build(tagged));
            for (step, wait) in [(a, 0), (b, before), (c, after), (&Step::Load, 1_100)] {
                clock.advance(MS * wait);
                its.advance(MS * wait);
                let (one, other) = (seen(*step, &plain, &clock), seen(*step, &tagged, &its));
                assert_eq!(one, other, "{settings:?}: {a:?}, {before} ms, {b:?}, {after} ms, {c:?}: at {step:?}");
                comparisons += 1;
            }
        }
    }
    assert!(comparisons > 100_000, "{comparisons}");
}

/// One failed early refresh does not end early refreshes.
#[test]
fn after_a_failed_early_refresh_a_tagged_entry_is_refreshed_early_again() {
    for tagged in [false, true] {
        let settings = Settings {
            ttl: Some(100),
            idle: None,
            beta: 50.0,
            while_refresh: 0,
            if_error: 0,
            cooldown: 1,
            negative: 0,
        };
        let (cache, clock) = settings.build(tagged);
        let load = |end: Result<u64, &'static str>| {
            cache.try_get_with(&1, || {
                clock.advance(SECOND);
                end
            })
        };
        load(Ok(1)).unwrap();
        while cache.stats().load_failures == 0 {
            assert_eq!(load(Err("down")).unwrap(), 1);
        }
        let before = cache.stats().loads;
        clock.advance(5 * SECOND);
        while cache.stats().loads == before {
            assert!(cache.contains_key(&1), "tagged {tagged}: it expired without another early refresh");
            load(Ok(2)).unwrap();
            clock.advance(50 * MS);
        }
    }
}

/// The source failed once, past the entry's time; it is asked again after the cooldown, whenever that is.
#[test]
fn a_cooldown_is_over_for_good() {
    for tagged in [false, true] {
        for idle in (1_100..100_000).step_by(100) {
            let settings = Settings {
                ttl: Some(10),
                idle: None,
                beta: 0.0,
                while_refresh: 0,
                if_error: 3600,
                cooldown: 1,
                negative: 0,
            };
            let (cache, clock): (TestCache, _) = settings.build(tagged);
            cache.insert(1, 1);
            clock.advance(11 * SECOND);
            assert_eq!(cache.try_get_with(&1, || Err("down")).unwrap(), 1);
            clock.advance(MS * idle);
            let mut called = false;
            let found = cache.try_get_with(&1, || {
                called = true;
                Ok::<_, &str>(2)
            });
            assert!(called && found.unwrap() == 2, "tagged {tagged}: not called {idle} ms after the failure");
        }
    }
}

/// The expiry word of an entry holds no time later than 8 years. A value with a tag, or with a time to live of decades,
/// is not refreshed from then on at each call, but when its own time comes.
#[test]
fn a_value_lives_longer_than_its_expiry_word_can_say() {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    for (tagged, ttl, calls) in [(true, None, 1), (false, Some(40), 1), (true, Some(40), 1), (true, Some(20), 2)] {
        let clock = ManualClock::new();
        let mut builder = Cache::<u64, u64>::builder().max_capacity(9).clock(clock.clone());
        if tagged {
            builder = builder.tags_with(|_, _, tags: &mut Tags| tags.add("tag"));
        }
        if let Some(years) = ttl {
            builder = builder.time_to_live(years * YEAR);
        }
        let cache = builder.build().unwrap();
        let mut loads = 0;
        for age in [0, 1, 10, 10, 10] {
            clock.advance(age * YEAR);
            cache.get_with(&1, || {
                loads += 1;
                loads
            });
        }
        assert_eq!(loads, calls, "tagged: {tagged}, years to live: {ttl:?}");
    }
}
