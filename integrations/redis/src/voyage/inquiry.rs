//! Asking the server for a key, and waiting for the process that loads it.

use super::waiting::Waiting;
use super::{Demand, Source, Stale, Trip};
use crate::error::RemoteError;
use crate::flights::{Flight, Phase};
use crate::held::Held;
use crate::inner::Inner;
use crate::key::SharedKey;
use crate::link::{Connected, TierEvent};
use crate::scripts::{Acquired, Ask, Served, Stored, Takes};
use crate::stats::Count;
use crate::wire::{self, EntryNames, Token};
use bellwether::{Expiry, Loaded};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// The lease of a flight on the server: given up when it is dropped before its end.
pub(crate) struct Lease<K: SharedKey, V: Clone + Send + Sync + 'static> {
    pub(crate) tier: Arc<Inner<K, V>>,
    pub(crate) key: K,
    pub(crate) names: EntryNames,
    pub(crate) token: Token,
    /// Whether the server may have the lease.
    pub(crate) held: bool,
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Drop for Lease<K, V> {
    fn drop(&mut self) {
        if !self.held {
            return;
        }
        let (tier, key, names, token) = (self.tier.clone(), self.key.clone(), self.names.clone(), self.token);
        self.tier.runtime.spawn(async move {
            // If the connection is lost, so is the lease.
            while let Some(connected) = tier.link.current() {
                if tier.scripts.release(&connected.nodes, &names, &token).await.is_ok() {
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
    pub(super) lease: Lease<K, V>,
    pub(super) connected: Connected,
    /// What lies at the value's key.
    pub(super) stored: Option<Stored>,
}

/// What the next question asks, and what it follows.
pub(super) struct Inquiry<V> {
    flight: Arc<Flight>,
    takes: Takes,
    /// The version that is known.
    have: Option<Token>,
    /// A flight whose load began before a caller that wants a new one.
    refused: Option<Token>,
    /// Whether an old value of the server would be of use, and is not known yet.
    wants_old: bool,
    stale: Option<Stale<V>>,
    waiting: Waiting,
}

impl<V: Clone + Send + Sync + 'static> Inquiry<V> {
    pub(super) fn new<K: SharedKey>(flight: Arc<Flight>, trip: &Trip<'_, K, V>, probe: Duration) -> Self {
        let takes = match (trip.call.demand, &trip.old) {
            (Demand::Anew, _) => Takes::New,
            (_, Some(old)) if old.fresh => Takes::Other,
            _ => Takes::Any,
        };
        Self {
            flight,
            takes,
            have: trip.old.as_ref().and_then(|old| old.held.shared_version()),
            refused: None,
            wants_old: trip.old.is_none() && (trip.call.demand == Demand::Any || trip.call.max_stale.is_some()),
            stale: None,
            waiting: Waiting::new(probe, trip.call.wait_timeout),
        }
    }

    fn ask<'a>(&self, call: &super::Call, token: &'a Token, alive: &'a str) -> Ask<'a> {
        Ask {
            token,
            alive,
            lead_timeout: call.lead_timeout,
            takes: self.takes,
            have: self.have,
            waited: self.waiting.token,
            refused: self.refused,
            max_age: if let Demand::Within(age) = call.demand { Some(age) } else { None },
            wants_old: self.wants_old,
        }
    }

    /// Passes a version over, as if it were not there.
    fn pass_over(&mut self, version: Token) {
        (self.takes, self.have) = (Takes::Other, Some(version));
    }
}

/// What comes after a question.
pub(super) enum Next<K: SharedKey, V: Clone + Send + Sync + 'static> {
    /// To be asked again.
    Again,
    Found(Loaded<Held<V>>),
    Failed(RemoteError),
    /// There is no link, or the command has failed.
    LoadLocally,
    /// Another process loads, and this caller does not wait.
    LoadBeside,
    Lead(Led<K, V>),
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Inner<K, V> {
    /// Asks the server once; waits, if another process loads.
    pub(super) async fn inquire(self: &Arc<Self>, inquiry: &mut Inquiry<V>, trip: &Trip<'_, K, V>) -> Next<K, V> {
        let before = inquiry.flight.ask();
        let locally = |flight: &Flight| {
            // A push in between may have told that the link is back.
            if flight.turn(Phase::Local, before) { Next::LoadLocally } else { Next::Again }
        };
        let Some(connected) = self.link.current() else {
            return locally(&inquiry.flight);
        };
        let (lease, answer) = match self.ask(&connected, inquiry, trip).await {
            Ok(asked) => asked,
            Err(error) => {
                self.failed(&error);
                return locally(&inquiry.flight);
            }
        };
        match answer {
            Acquired::Hit(_) | Acquired::Same(_) if !inquiry.flight.turn(Phase::Holding, before) => {
                self.count(Count::AskedAgain, 1);
                Next::Again
            }
            // Memory may keep such an answer: each push ends it.
            Acquired::Failed { .. } | Acquired::Absent { .. } if !inquiry.flight.turn(Phase::Leading, before) => {
                self.count(Count::AskedAgain, 1);
                Next::Again
            }
            Acquired::Hit((stored, served)) => match self.read(&stored) {
                Ok(held) => self.found(inquiry, trip, self.kept(held, &served, connected.tracking)),
                Err(version) => {
                    inquiry.pass_over(version);
                    Next::Again
                }
            },
            Acquired::Same(served) => {
                let Some(old) = &trip.old else { return Next::Again };
                self.found(inquiry, trip, self.kept(old.held.clone(), &served, connected.tracking))
            }
            Acquired::Wait { .. } if trip.call.skip_shared_lock => {
                // A push since then has ended the tracking, and memory would hear of no other.
                if inquiry.flight.turn(Phase::Leading, before) { Next::LoadBeside } else { Next::Again }
            }
            Acquired::Wait { left, token, version, old } => {
                if inquiry.takes == Takes::New {
                    // From here on, what is neither there nor on its way is new.
                    (inquiry.takes, inquiry.have, inquiry.refused) = (Takes::Other, version, Some(token));
                }
                match self.while_refreshed(inquiry, trip, (old, before), connected.tracking) {
                    Some(found) => found,
                    None => self.wait(inquiry, trip, (before, left, token)).await,
                }
            }
            Acquired::Failed { text } => {
                self.count(Count::RemoteFailure, 1);
                Next::Failed(RemoteError { text })
            }
            Acquired::Absent { kept } => Next::Found(Loaded::NotFoundFor(kept)),
            Acquired::Lead { old: stored } => {
                inquiry.flight.lead();
                Next::Lead(Led { lease, connected, stored })
            }
        }
    }

    /// Waits until there is a reason to ask again.
    async fn wait(
        &self,
        inquiry: &mut Inquiry<V>,
        trip: &Trip<'_, K, V>,
        (before, left, token): (u64, Duration, Token),
    ) -> Next<K, V> {
        self.count(Count::Wait, 1);
        let Inquiry { flight, stale, waiting, .. } = inquiry;
        let overdue = || trip.voyage.end_wait(self.instead(trip, stale.as_ref()));
        if !waiting.sleep(flight, before, (left, token), overdue).await {
            self.count(Count::Probe, 1);
        }
        Next::Again
    }

    fn found(&self, inquiry: &Inquiry<V>, trip: &Trip<'_, K, V>, found: Loaded<Held<V>>) -> Next<K, V> {
        trip.voyage.found(inquiry.waiting.source(), false);
        self.count(Count::SharedHit, 1);
        Next::Found(found)
    }

    /// Notes the old value that lies on the server while another process loads, and ends the wait
    /// with it if it may be served meanwhile. Memory keeps it as one whose time is over.
    fn while_refreshed(
        &self,
        inquiry: &mut Inquiry<V>,
        trip: &Trip<'_, K, V>,
        (old, before): (Option<Stored>, u64),
        tracking: bool,
    ) -> Option<Next<K, V>> {
        let (stored, served) = old?;
        inquiry.wants_old = false;
        let held = self.read(&stored).ok()?;
        let (over, window) = (served.over, self.settings.while_refresh(held.windows()));
        let serves = trip.call.demand == Demand::Any && over < trip.call.max_stale.unwrap_or(window);
        if !serves {
            inquiry.stale = Some(Stale { held, over });
            return None;
        }
        if !inquiry.flight.turn(Phase::Holding, before) {
            inquiry.wants_old = true;
            return Some(Next::Again);
        }
        trip.voyage.found(Source::Shared, true);
        self.count(Count::StaleHit, 1);
        Some(Next::Found(self.kept(held, &served, tracking)))
    }

    /// Returns the old value for a caller whose time to wait is over.
    fn instead(&self, trip: &Trip<'_, K, V>, stale: Option<&Stale<V>>) -> Option<(V, Source)> {
        let within =
            |held: &Held<V>, over: Duration| over < trip.call.substitute_window(self.settings.keep(held.windows()));
        if let Some(old) = &trip.old {
            let (_, age) = self.cache.get_stale(trip.key, Duration::MAX)?;
            let serves = match age.stale_for {
                Some(over) => within(&old.held, over),
                // Fresh still: the wait is for an early refresh, or for a newer one.
                None => trip.call.demand == Demand::Any || trip.call.max_stale.is_some(),
            };
            return serves.then(|| (old.held.value.clone(), Source::Memory));
        }
        let stale = stale.filter(|stale| within(&stale.held, stale.over))?;
        Some((stale.held.value.clone(), Source::Shared))
    }

    /// Asks the server once. The lease is the caller's to end if it leads.
    async fn ask(
        self: &Arc<Self>,
        connected: &Connected,
        inquiry: &Inquiry<V>,
        trip: &Trip<'_, K, V>,
    ) -> redis::RedisResult<(Lease<K, V>, Acquired)> {
        let names = self.names_of(&connected.nodes, trip.key).await?;
        let token = self.process.token();
        // Given up if the caller is cancelled, or the answer does not come: the server may lease it
        // all the same.
        let mut lease = Lease { tier: self.clone(), key: trip.key.clone(), names, token, held: true };
        let ask = inquiry.ask(trip.call, &token, &connected.alive);
        let asked = self.scripts.acquire(&connected.nodes, &lease.names, ask);
        let answer = connected.until_given_up(asked).await?;
        lease.held = matches!(answer, Acquired::Lead { .. });
        Ok((lease, answer))
    }

    /// Reads what lies at a value's key. Err: it is to be passed over, with its version.
    pub(crate) fn read(&self, stored: &[u8]) -> std::result::Result<Held<V>, Token> {
        let Some((version, payload)) = wire::split(stored) else { return Err(wire::UNSHARED) };
        match self.settings.decode(payload) {
            Some((value, stamp, windows)) if self.mirror.is_good(&stamp) => {
                Ok(Held::new(value, version, stamp.cells, windows))
            }
            Some(_) => {
                self.count(Count::TagMiss, 1);
                Err(version)
            }
            None => {
                self.count(Count::Undecodable, 1);
                self.event(&TierEvent::Undecodable);
                Err(version)
            }
        }
    }

    /// Has memory keep a value of the server for the rest of its time.
    pub(crate) fn kept(&self, held: Held<V>, served: &Served, tracking: bool) -> Loaded<Held<V>> {
        let expiry = self.expiry(&held, served, tracking);
        Loaded::With(held, expiry.from_tier())
    }

    /// Returns the terms of a value in memory.
    pub(crate) fn expiry(&self, held: &Held<V>, served: &Served, tracking: bool) -> Expiry {
        let most = if tracking { Duration::MAX } else { self.settings.untracked_ttl };
        let left = served.left.min(self.settings.memory_ttl).min(most);
        let ttl = (served.age.saturating_add(left)).saturating_sub(served.over).max(Duration::from_nanos(1));
        // Early refresh goes by what a load takes, not by what this answer took.
        held.windows().given_to(Expiry::new().exact_ttl(ttl).age(served.age).cost(served.delta))
    }
}
