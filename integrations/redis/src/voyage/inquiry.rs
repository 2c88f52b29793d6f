//! Asking the server for a key, and waiting for the process that loads it.

use super::{Source, Trip, Voyage};
use crate::error::RemoteError;
use crate::flights::{Flight, Phase};
use crate::held::Held;
use crate::inner::Inner;
use crate::key::SharedKey;
use crate::link::{Connected, TierEvent};
use crate::scripts::{Acquired, Ask};
use crate::stats::Count;
use crate::wire::{self, EntryNames, Token};
use bellwether::{Expiry, Loaded as Kept};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// The lease of a flight on the server: given up when it is dropped before its end.
pub(super) struct SharedLease<K: SharedKey, V: Clone + Send + Sync + 'static> {
    tier: Arc<Inner<K, V>>,
    key: K,
    pub(super) names: EntryNames,
    pub(super) token: Token,
    /// Whether the server may have the lease.
    pub(super) held: bool,
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Drop for SharedLease<K, V> {
    fn drop(&mut self) {
        if !self.held {
            return;
        }
        let (tier, key, names, token) = (self.tier.clone(), self.key.clone(), self.names.clone(), self.token);
        self.tier.runtime.spawn(async move {
            // If the connection is lost, so is the lease.
            while let Some(mut connected) = tier.link.current() {
                if tier.scripts.release(&mut connected.conn, &names, &token).await.is_ok() {
                    break;
                }
                sleep(tier.link.times.heartbeat).await;
            }
            tier.ring(&key);
        });
    }
}

/// A load that this process leads.
pub(super) struct Led<K: SharedKey, V: Clone + Send + Sync + 'static> {
    pub(super) lease: SharedLease<K, V>,
    pub(super) connected: Connected,
    /// What lies at the value's key, and how long its time is over.
    pub(super) stored: Option<(Vec<u8>, Duration)>,
}

/// What the next question asks, and what it follows.
pub(super) struct Inquiry {
    flight: Arc<Flight>,
    /// The version that is known, and whether it is to be replaced though it is good.
    have: Option<Token>,
    refresh: bool,
    waiting: Waiting,
}

impl Inquiry {
    pub(super) fn new<K: SharedKey, V: Clone + Send + Sync + 'static>(
        flight: Arc<Flight>,
        trip: &Trip<'_, K, V>,
        probe: Duration,
    ) -> Self {
        let have = trip.old.as_ref().and_then(|old| old.held.shared_version());
        let refresh = trip.old.as_ref().is_some_and(|old| old.fresh);
        Self { flight, have, refresh, waiting: Waiting::new(probe, trip.call.wait_timeout) }
    }
}

/// What comes after a question.
pub(super) enum Next<K: SharedKey, V: Clone + Send + Sync + 'static> {
    /// To be asked again.
    Again,
    Found(Kept<Held<V>>),
    Failed(RemoteError),
    /// There is no link, or the command has failed.
    LoadLocally,
    /// Another process loads, and this caller does not wait.
    LoadBeside,
    Lead(Led<K, V>),
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Inner<K, V> {
    /// Asks the server once; waits, if another process loads.
    pub(super) async fn inquire(self: &Arc<Self>, inquiry: &mut Inquiry, trip: &Trip<'_, K, V>) -> Next<K, V> {
        let before = inquiry.flight.ask();
        let locally = |flight: &Flight| {
            // A push in between may have told that the link is back.
            if flight.turn(Phase::Local, before) { Next::LoadLocally } else { Next::Again }
        };
        let Some(mut connected) = self.link.current() else {
            return locally(&inquiry.flight);
        };
        let (lease, answer) = match self.ask(&mut connected, inquiry, trip).await {
            Ok(asked) => asked,
            Err(error) => {
                self.failed(&error);
                return locally(&inquiry.flight);
            }
        };
        match answer {
            Acquired::Hit { .. } | Acquired::Same { .. } if !inquiry.flight.turn(Phase::Holding, before) => {
                self.stats.add(Count::AskedAgain, 1);
                Next::Again
            }
            Acquired::Hit { left, delta, stored } => match self.read(&stored) {
                Ok(held) => self.found(inquiry, trip, self.kept(held, left, delta, connected.tracking)),
                Err(version) => {
                    // To be replaced, as if it were not there.
                    (inquiry.refresh, inquiry.have) = (true, Some(version));
                    Next::Again
                }
            },
            Acquired::Same { left, delta } => {
                let Some(old) = &trip.old else { return Next::Again };
                self.found(inquiry, trip, self.kept(old.held.clone(), left, delta, connected.tracking))
            }
            Acquired::Wait { .. } if trip.call.skip_shared_lock => {
                // A push since then has ended the tracking, and memory would hear of no other.
                if inquiry.flight.turn(Phase::Leading, before) { Next::LoadBeside } else { Next::Again }
            }
            Acquired::Wait { left, token } => {
                self.stats.add(Count::Wait, 1);
                if !inquiry.waiting.sleep(&inquiry.flight, before, left, token, trip.voyage).await {
                    self.stats.add(Count::Probe, 1);
                }
                Next::Again
            }
            Acquired::Failed { text } => {
                self.stats.add(Count::RemoteFailure, 1);
                Next::Failed(RemoteError { text })
            }
            Acquired::Lead { old: stored } => {
                inquiry.flight.lead();
                Next::Lead(Led { lease, connected, stored })
            }
        }
    }

    fn found(&self, inquiry: &Inquiry, trip: &Trip<'_, K, V>, kept: Kept<Held<V>>) -> Next<K, V> {
        trip.voyage.found(inquiry.waiting.source(), false);
        self.stats.add(Count::SharedHit, 1);
        Next::Found(kept)
    }

    /// Asks the server once. The lease is the caller's to end if it leads.
    async fn ask(
        self: &Arc<Self>,
        connected: &mut Connected,
        inquiry: &Inquiry,
        trip: &Trip<'_, K, V>,
    ) -> redis::RedisResult<(SharedLease<K, V>, Acquired)> {
        let names = self.names_of(&mut connected.conn, trip.key).await?;
        let token = self.process.token();
        // Given up if the caller is cancelled, or the answer does not come: the server may lease it
        // all the same.
        let mut lease = SharedLease { tier: self.clone(), key: trip.key.clone(), names, token, held: true };
        let Inquiry { refresh, have, ref waiting, .. } = *inquiry;
        let (lead_timeout, waited) = (trip.call.lead_timeout, waiting.token);
        let ask = Ask { token: &token, alive: &connected.alive, lead_timeout, refresh, have, waited };
        let mut conn = connected.conn.clone();
        let asked = self.scripts.acquire(&mut conn, &lease.names, ask);
        let answer = connected.until_given_up(asked).await?;
        lease.held = matches!(answer, Acquired::Lead { .. });
        Ok((lease, answer))
    }

    /// Reads what lies at a value's key. Err: it is to be passed over, with its version.
    fn read(&self, stored: &[u8]) -> std::result::Result<Held<V>, Token> {
        let Some((version, payload)) = wire::split(stored) else { return Err(wire::UNSHARED) };
        match self.settings.decode(payload) {
            Some((value, stamp)) if self.mirror.is_good(&stamp) => Ok(Held::new(value, version, stamp.cells)),
            Some(_) => {
                self.stats.add(Count::TagMiss, 1);
                Err(version)
            }
            None => {
                self.stats.add(Count::Undecodable, 1);
                self.event(&TierEvent::Undecodable);
                Err(version)
            }
        }
    }

    /// Has memory keep a value of the server for the rest of its time.
    pub(super) fn kept(&self, held: Held<V>, left: Duration, delta: Duration, tracking: bool) -> Kept<Held<V>> {
        let most = if tracking { Duration::MAX } else { self.settings.untracked_ttl };
        let ttl = left.min(self.settings.memory_ttl).min(most);
        // Early refresh goes by what a load takes, not by what this answer took.
        Kept::With(held, Expiry::new().exact_ttl(ttl).cost(delta))
    }
}

/// A wait for another process.
struct Waiting {
    longest: Duration,
    probe: Duration,
    until: Option<Instant>,
    timeout: Option<Duration>,
    token: Option<Token>,
}

impl Waiting {
    fn new(longest: Duration, timeout: Option<Duration>) -> Self {
        Self { longest, probe: longest / 5, until: None, timeout, token: None }
    }

    fn source(&self) -> Source {
        if self.token.is_some() { Source::Waited } else { Source::Shared }
    }

    /// Sleeps until a push, the next probe, or the end of the lease. Returns whether there was a
    /// push.
    async fn sleep<K: SharedKey, V: Clone + Send + Sync + 'static>(
        &mut self,
        flight: &Flight,
        before: u64,
        left: Duration,
        token: Token,
        voyage: &Voyage<K, V>,
    ) -> bool {
        self.token = Some(token);
        if self.until.is_none() {
            self.until = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        }
        let nap = self.probe.min(left).max(Duration::from_millis(1));
        self.probe = (self.probe * 2).min(self.longest);
        let deadline = async {
            match self.until {
                Some(until) => sleep_until(until).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = flight.pushed_since(before) => true,
            () = deadline => {
                // The caller goes; another one takes its place.
                voyage.overdue.notify_one();
                pending().await
            }
            () = sleep(nap) => false,
        }
    }
}
