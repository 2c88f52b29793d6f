//! Loads: their loaders, and how they end.

use crate::field::Field;
use crate::ledger::Before;
use crate::value::{Failed, Value};
use crate::{one_of, roll};
use bellwether::{Lease, LoadError, Lookup, Op, Waited};
use shuttle::{future, thread};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// How a load ends.
#[derive(Clone, Copy)]
enum End {
    Value,
    Fail,
    Panic,
}

/// A call of the cache for a key.
pub struct Call<'f> {
    field: &'f Field,
    key: u64,
    before: Before,
}

impl<'f> Call<'f> {
    /// It begins now.
    pub fn new(field: &'f Field, key: u64) -> Self {
        Self { field, key, before: field.before(key) }
    }

    /// It is given this.
    pub fn given(&self, value: &Value, by: &str) {
        self.field.ledger.given(self.key, self.before, value.record(), by);
    }

    fn end(&self, fails: bool) -> End {
        match self.field.terms.fails {
            false => End::Value,
            true => one_of(&[End::Value, End::Value, if fails { End::Fail } else { End::Panic }, End::Panic]),
        }
    }

    fn come_to(&self, version: u64, fails: bool) -> Result<Value, Failed> {
        match self.end(fails) {
            End::Value => Ok(self.field.loaded(self.key, version)),
            End::Fail => Err(self.field.failed(self.key)),
            // Without the hook: it would print the schedule.
            End::Panic => resume_unwind(Box::new("a loader panics, as it was told to")),
        }
    }

    /// The loader: reads the version, takes its time, and ends.
    pub fn load(&self, fails: bool) -> Result<Value, Failed> {
        let loading = self.field.load(self.key, self.before);
        (0..roll(3)).for_each(|_| thread::yield_now());
        self.come_to(loading.version, fails)
    }

    async fn load_async(&self, fails: bool) -> Result<Value, Failed> {
        let loading = self.field.load(self.key, self.before);
        for _ in 0..roll(3) {
            future::yield_now().await;
        }
        self.come_to(loading.version, fails)
    }

    /// Read-through, without errors.
    pub fn get_with(&self) {
        let load = || self.load(false).expect("it was told not to fail");
        let got = catch_unwind(AssertUnwindSafe(|| self.field.cache.get_with(&self.key, load)));
        if let Some(value) = told(got) {
            self.given(&value, "get_with");
        }
    }

    /// Read-through.
    pub fn try_get_with(&self) {
        let mut own = None;
        let load = || self.load(true).inspect_err(|failed| own = Some(failed.clone()));
        let got = catch_unwind(AssertUnwindSafe(|| self.field.cache.try_get_with(&self.key, load)));
        if let Some(got) = told(got) {
            self.answered(got);
        }
        self.settle(own);
    }

    /// An error of one's own is over.
    fn settle(&self, own: Option<Failed>) {
        if let Some(failed) = own {
            failed.settle(self.field.ledger.tick());
        }
    }

    fn answered(&self, got: Result<Value, LoadError<Failed>>) {
        match got {
            Ok(value) => self.given(&value, "try_get_with"),
            Err(LoadError::Load(failed)) => {
                self.field.ledger.failed(self.key, self.before, &failed, self.field.terms.keeps_failures);
            }
            // By a lease that was failed by hand; such a failure may be kept.
            Err(LoadError::Abandoned) => {}
            Err(LoadError::TimedOut | LoadError::Overloaded) if self.field.terms.refuses => {}
            Err(other) => panic!("nobody has said that: {other:?}"),
        }
    }

    /// Read-through, as a task that may be dropped at any await.
    pub fn task(&self) {
        let load = async || self.load_async(false).await.expect("it was told not to fail");
        if let Some(value) = driven(self.field.cache.get_with_async(&self.key, load)) {
            self.given(&value, "get_with_async");
        }
    }

    /// The same with errors.
    pub fn try_task(&self) {
        let mut own = None;
        let load = async || self.load_async(true).await.inspect_err(|e| own = Some(e.clone()));
        if let Some(got) = driven(self.field.cache.try_get_with_async(&self.key, load)) {
            self.answered(got);
        }
        self.settle(own);
    }

    /// By hand: leads, waits (as a thread, as a task, or not at all), or finds.
    pub fn lease(&self) {
        match self.field.cache.lease(&self.key) {
            Lookup::Hit(value) => self.given(&value, "lease"),
            Lookup::Refresh(old, lease) => {
                self.given(&old, "lease, early");
                self.lead(lease);
            }
            Lookup::Lead(lease) => self.lead(lease),
            Lookup::Wait(waiter) => match roll(4) {
                0 => drop(waiter),
                1 => self.waited(driven(waiter)),
                2 => self.waited(waiter.wait_timeout(Duration::from_secs(3600)).ok()),
                _ => self.waited(Some(waiter.wait())),
            },
            other => panic!("nobody has said that: {other:?}"),
        }
    }

    fn waited(&self, waited: Option<Waited<'_, u64, Value>>) {
        match waited {
            Some(Waited::Ready(value)) => self.given(&value, "wait"),
            Some(Waited::Lead(lease)) => self.lead(lease),
            Some(Waited::Failed(any)) => {
                self.answered(Err(LoadError::Load(any.downcast().expect("a failure of ours"))))
            }
            _ => {}
        }
    }

    fn lead(&self, lease: Lease<'_, u64, Value>) {
        let loaded = catch_unwind(AssertUnwindSafe(|| self.load(true)));
        let way = if self.field.terms.fails { roll(8) } else { 4 + roll(4) };
        match (told(loaded), way) {
            (None, _) | (_, 0) => drop(lease),
            (_, 1) => lease.fail(),
            (Some(Ok(value)), 4) => {
                // What there is, is confirmed: it is as good as what was loaded.
                lease.stale().into_iter().for_each(|old| old.record().confirm(value.record().version()));
                lease.renew().iter().for_each(|value| self.given(value, "renew"));
            }
            (Some(Err(failed)), _) => {
                lease.fail_with(failed.clone());
                self.settle(Some(failed));
            }
            (Some(Ok(value)), 5) => drop(lease.fulfil_with_ttl(value, Duration::ZERO)),
            (Some(Ok(value)), _) => match lease.fulfil(value) {
                Ok(value) | Err(value) => self.given(&value, "fulfil"),
            },
        }
    }

    /// Asks for the key from within its own load: that one is for this caller alone.
    pub fn within(&self) {
        let load = || {
            let inner = self.field.cache.get_with(&self.key, || self.load(false).expect("it was told not to fail"));
            self.given(&inner, "get_with, within a load");
            self.load(false).expect("it was told not to fail")
        };
        self.given(&self.field.cache.get_with(&self.key, load), "get_with, around a load");
    }

    /// Under the key's lease.
    pub fn compute(&self) {
        let what = roll(4);
        let decide = |old: Option<&Value>| {
            old.into_iter().for_each(|old| self.given(old, "compute"));
            match (what, self.load(true)) {
                (0, _) => Op::Remove,
                (1, _) | (_, Err(_)) => Op::Nop,
                (_, Ok(value)) => Op::Put(value),
            }
        };
        let _ = told(catch_unwind(AssertUnwindSafe(|| self.field.cache.compute(&self.key, decide))));
    }
}

/// In the background, by the cache's spawner.
pub fn detached(field: &Arc<Field>, key: u64) {
    let (before, theirs) = (field.before(key), field.clone());
    let load = move || Call { field: &theirs, key, before }.load(false).expect("it was told not to fail");
    let got = catch_unwind(AssertUnwindSafe(|| field.cache.detached(&key).get_with(load)));
    match got {
        Ok((value, _)) => field.ledger.given(key, before, value.record(), "detached"),
        // The load has panicked, on another thread.
        Err(_) if field.terms.fails => {}
        Err(panic) => resume_unwind(panic),
    }
}

/// What came of it; None: a loader's panic, which was meant. Any other goes on.
fn told<T>(got: std::thread::Result<T>) -> Option<T> {
    got.map_err(|panic| {
        if panic.downcast_ref::<&str>() != Some(&"a loader panics, as it was told to") {
            resume_unwind(panic);
        }
    })
    .ok()
}

/// What a future comes to; None if its loader panics, or it is dropped after so many polls.
fn driven<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut polls = [usize::MAX, usize::MAX, roll(3)][roll(3)];
    let mut future = pin!(future);
    future::block_on(poll_fn(|cx| match told(catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)))) {
        None => Poll::Ready(None),
        Some(Poll::Ready(got)) => Poll::Ready(Some(got)),
        Some(Poll::Pending) if polls == 0 => Poll::Ready(None),
        Some(Poll::Pending) => {
            polls -= 1;
            Poll::Pending
        }
    }))
}
