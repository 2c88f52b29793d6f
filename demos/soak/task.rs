//! What a task does: the asynchronous verbs, on the same keys as the threads, and dropped at any await.

use crate::thread::{Pace, Round, Turn, end, weight};
use crate::value::{Failed, Value};
use bellwether::{Lookup, Waited};
use fastrand::Rng;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::{task, time};

/// Futures that were dropped before they had come to an end.
pub(crate) static CANCELLED: AtomicU64 = AtomicU64::new(0);

/// Works until the round is over.
pub(crate) async fn work(round: Arc<Round>, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    while !round.is_over() {
        Turn::new(&round, &mut rng).take_async(&mut rng).await;
        // A plain hit has no await of its own.
        task::yield_now().await;
    }
}

/// What a future comes to; None if it panics, or is dropped after so many polls, or that much time.
async fn driven<T>(future: impl Future<Output = T>, rng: &mut Rng) -> Option<T> {
    let mut polls = [u32::MAX, u32::MAX, rng.u32(0..4)][rng.usize(0..3)];
    let time = [Duration::from_secs(3600), Duration::from_micros(rng.u64(0..5_000))][rng.usize(0..2)];
    let cancelled = || CANCELLED.fetch_add(1, SeqCst);
    let mut future = pin!(future);
    let guarded = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Ready(got)) => Poll::Ready(Some(got)),
        Ok(Poll::Pending) if polls == 0 => {
            cancelled();
            Poll::Ready(None)
        }
        Ok(Poll::Pending) => {
            polls -= 1;
            Poll::Pending
        }
        Err(_) => Poll::Ready(None),
    });
    time::timeout(time, guarded).await.unwrap_or_else(|_| {
        cancelled();
        None
    })
}

impl Turn<'_> {
    async fn take_async(&self, rng: &mut Rng) {
        let (pasture, key, cache) = (self.pasture, self.key, &self.pasture.cache);
        let mut theirs = rng.fork();
        match rng.u32(0..10) {
            0..4 => {
                let load = async || match self.load_async(&mut theirs, false).await {
                    Ok(value) => value,
                    Err(_) => unreachable!("it was told not to fail"),
                };
                let got = driven(cache.get_with_async(&key, load), rng).await;
                got.iter().for_each(|value| self.given(value, "get_with_async"));
            }
            4..8 => {
                let mut own = None;
                let load = async || self.load_async(&mut theirs, true).await.inspect_err(|e| own = Some(e.clone()));
                if let Some(got) = driven(cache.try_get_with_async(&key, load), rng).await {
                    self.answered(got);
                }
                self.settle(own);
            }
            8 => self.wait_async(rng).await,
            _ => pasture.insert(key, weight(rng), None),
        }
    }

    /// The loader, as a future: the same, at an await.
    async fn load_async(&self, rng: &mut Rng, fails: bool) -> Result<Value, Failed> {
        let loading = self.pasture.load(self.key, self.before);
        match self.round.pace(rng) {
            Pace::Quick => {}
            Pace::Slow(turns) => {
                for _ in 0..turns {
                    task::yield_now().await;
                }
            }
            Pace::Hung(span) => {
                let since = Instant::now();
                while since.elapsed() < span && !self.round.is_over() {
                    time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
        self.come_to(end(rng, fails), loading.version)
    }

    /// A place by hand among those who wait; there is no loader here, so a lease is given up or ended at once.
    async fn wait_async(&self, rng: &mut Rng) {
        let lease = match self.pasture.cache.lease(&self.key) {
            Lookup::Hit(value) => return self.given(&value, "lease"),
            Lookup::Refresh(_, lease) | Lookup::Lead(lease) => lease,
            Lookup::Wait(waiter) => match driven(waiter, rng).await {
                Some(Waited::Ready(value)) => return self.given(&value, "wait, in a task"),
                Some(Waited::Lead(lease)) => lease,
                _ => return,
            },
            _ => return,
        };
        drop(self.pasture.load(self.key, self.before));
        if rng.bool() {
            task::yield_now().await;
        }
        drop(lease);
    }
}
