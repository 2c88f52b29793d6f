//! Several keys that one caller leads in its process: asked for, loaded and shared together.

use super::{Boarded, Lease, Old, board, text_of_error};
use crate::error::{RemoteError, SharedError};
use crate::flights::{Flight, Phase};
use crate::held::Held;
use crate::inner::Inner;
use crate::key::SharedKey;
use crate::link::Connected;
use crate::scripts::{Acquired, Ask, End, Takes};
use crate::stats::Count;
use crate::terms::{Asked, Terms};
use bellwether::{LoadError, Loaded};
use redis::RedisResult;
use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What a key of a bulk read has come to.
pub(crate) type Got<V, E> = Result<V, LoadError<SharedError<E>>>;

type MemoryLease<'c, K, V> = bellwether::Lease<'c, K, Held<V>>;

/// A key that this caller leads in its process. The lease ends before the registration.
struct One<'c, K: SharedKey, V: Clone + Send + Sync + 'static> {
    lease: MemoryLease<'c, K, V>,
    flight: Arc<Flight>,
    old: Option<Old<V>>,
    before: u64,
    /// The server's lease. None: the load is this process's alone.
    shared: Option<Lease<K, V>>,
    _boarded: Option<Boarded<K, V>>,
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static> One<'_, K, V> {
    fn key(&self) -> K {
        self.lease.key().clone()
    }

    /// Ends the flight of this process with what memory keeps.
    fn fulfil<E>(self, kept: Loaded<Held<V>>) -> Got<V, E> {
        let entry = match kept {
            Loaded::With(held, expiry) => self.lease.fulfil_with(held, expiry),
            Loaded::Unstored(held) => self.lease.fulfil_with_ttl(held, Duration::ZERO),
            _ => return Err(LoadError::Abandoned),
        };
        let (Ok(entry) | Err(entry)) = entry;
        Ok(entry.value.clone())
    }

    fn absent<E>(self, kept: Duration) -> Got<V, E> {
        self.lease.not_found_for(kept);
        Err(LoadError::NotFound)
    }

    /// Ends the flight of this process with a failure, which its waiters get as text.
    fn fail<E: Send + Sync + 'static>(self, text: &str) {
        self.lease.fail_with(SharedError::<E>::Remote(RemoteError { text: text.to_owned() }));
    }
}

type All<'c, K, V> = Vec<One<'c, K, V>>;

/// A loaded value on its way to the server.
struct Shipped<'c, K: SharedKey, V: Clone + Send + Sync + 'static> {
    one: One<'c, K, V>,
    value: V,
    terms: Terms,
    payload: Vec<u8>,
    cells: Box<[u16]>,
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Inner<K, V> {
    /// Brings the values of these keys. What is not among the results, another process loads.
    pub(crate) async fn bring_all<E, F, Fut>(
        self: &Arc<Self>,
        leases: Vec<MemoryLease<'_, K, V>>,
        load: &F,
    ) -> HashMap<K, Got<V, E>>
    where
        E: Display + Send + Sync + 'static,
        F: Fn(Vec<K>) -> Fut,
        Fut: Future<Output = Result<Vec<(K, V)>, E>>,
    {
        let (mut ones, mut got) = (Vec::new(), HashMap::new());
        for lease in leases {
            let old = lease.stale().cloned().map(|held| Old { held, fresh: lease.stale_for().is_none() });
            let mut boarded = None;
            let flight = board(self, lease.key(), old.is_some(), |it| boarded = Some(it));
            let before = flight.ask();
            ones.push(One { lease, flight, old, before, shared: None, _boarded: boarded });
        }
        let connected = self.link.current();
        let to_load = match &connected {
            None => self.locally(ones),
            Some(connected) => match self.ask_all(connected, &mut ones).await {
                Ok(answers) => self.sort(connected, ones.into_iter().zip(answers), &mut got),
                Err(error) => {
                    self.failed(&error);
                    self.locally(ones)
                }
            },
        };
        if !to_load.is_empty() {
            self.load_all(connected.as_ref(), to_load, load, &mut got).await;
        }
        got
    }

    /// Returns those that are loaded without the server. The others look again.
    fn locally<'c>(&self, ones: All<'c, K, V>) -> All<'c, K, V> {
        let mut local: All<'c, K, V> = ones;
        local.retain(|one| one.flight.turn(Phase::Local, one.before));
        local.iter_mut().for_each(|one| one.shared = None);
        self.count(Count::LocalLoad, local.len() as u64);
        local
    }

    /// Asks the server for all keys, in one round trip to each node.
    async fn ask_all(self: &Arc<Self>, connected: &Connected, ones: &mut All<'_, K, V>) -> RedisResult<Vec<Acquired>> {
        for one in &mut *ones {
            let (key, token) = (one.key(), self.process.token());
            let names = self.names_of(&connected.nodes, &key).await?;
            // Given up if it is dropped before the answer: the server may lease it all the same.
            one.shared = Some(Lease { tier: self.clone(), key, names, token, held: true });
        }
        let places = ones.iter().enumerate().filter_map(|(place, one)| Some((place, one, one.shared.as_ref()?)));
        let by_node = connected.nodes.sorted(places.collect(), |(_, _, lease)| &lease.names.value);
        let mut answers: Vec<Option<Acquired>> = ones.iter().map(|_| None).collect();
        for of_node in by_node {
            let asks = of_node.iter().map(|(_, one, lease)| {
                let takes = if one.old.as_ref().is_some_and(|old| old.fresh) { Takes::Other } else { Takes::Any };
                let ask = Ask {
                    token: &lease.token,
                    alive: &connected.alive,
                    lead_timeout: self.settings.lead_timeout,
                    takes,
                    have: one.old.as_ref().and_then(|old| old.held.shared_version()),
                    waited: None,
                    refused: None,
                    max_age: None,
                    wants_old: false,
                };
                (&lease.names, ask)
            });
            let asks: Vec<_> = asks.collect();
            let asked = self.scripts.acquire_all(&connected.nodes, &asks);
            let got = connected.until_given_up(asked).await?;
            for ((place, ..), answer) in of_node.iter().zip(got) {
                answers[*place] = Some(answer);
            }
        }
        let missing = || redis::RedisError::from((redis::ErrorKind::UnexpectedReturnType, "fewer answers than keys"));
        answers.into_iter().map(|answer| answer.ok_or_else(missing)).collect()
    }

    /// Ends the flights that the server has an answer for, and returns those to load.
    fn sort<'c, E: Send + Sync + 'static>(
        &self,
        connected: &Connected,
        asked: impl Iterator<Item = (One<'c, K, V>, Acquired)>,
        got: &mut HashMap<K, Got<V, E>>,
    ) -> All<'c, K, V> {
        let mut to_load = Vec::new();
        for (mut one, answer) in asked {
            if let Some(shared) = &mut one.shared {
                shared.held = matches!(answer, Acquired::Lead { .. });
            }
            let key = one.key();
            let turned = |phase| one.flight.turn(phase, one.before);
            let end = match answer {
                Acquired::Lead { .. } => {
                    one.flight.lead();
                    to_load.push(one);
                    continue;
                }
                Acquired::Hit((stored, served)) if turned(Phase::Holding) => match self.read(&stored) {
                    Ok(held) => one.fulfil(self.kept(held, &served, connected.tracking)),
                    Err(_) => continue,
                },
                Acquired::Same(served) if turned(Phase::Holding) => match &one.old {
                    Some(old) => {
                        let kept = self.kept(old.held.clone(), &served, connected.tracking);
                        one.fulfil(kept)
                    }
                    None => continue,
                },
                Acquired::Failed { text } if turned(Phase::Leading) => {
                    self.count(Count::RemoteFailure, 1);
                    one.fail::<E>(&text);
                    Err(LoadError::Load(Arc::new(SharedError::Remote(RemoteError { text }))))
                }
                Acquired::Absent { kept } if turned(Phase::Leading) => one.absent(kept),
                // Another process refreshes a value that is good still.
                Acquired::Wait { .. } if one.old.as_ref().is_some_and(|old| old.fresh) => {
                    got.insert(key, one.old.as_ref().map(|old| old.held.value.clone()).ok_or(LoadError::Abandoned));
                    continue;
                }
                // Another process loads it, or a change was pushed: looked for one by one.
                _ => continue,
            };
            if end.is_ok() {
                self.count(Count::SharedHit, 1);
            }
            got.insert(key, end);
        }
        self.count(Count::SharedLoad, to_load.len() as u64);
        to_load
    }

    /// Loads these keys by one call, and shares what it gives.
    async fn load_all<E, F, Fut>(
        &self,
        connected: Option<&Connected>,
        ones: All<'_, K, V>,
        load: &F,
        got: &mut HashMap<K, Got<V, E>>,
    ) where
        E: Display + Send + Sync + 'static,
        F: Fn(Vec<K>) -> Fut,
        Fut: Future<Output = Result<Vec<(K, V)>, E>>,
    {
        let (began, started) = (self.mirror.now(), Instant::now());
        let loaded = load(ones.iter().map(One::key).collect()).await;
        let took = started.elapsed();
        let mut values: HashMap<K, V> = match loaded {
            Ok(values) => values.into_iter().collect(),
            Err(error) => return self.fail_all(connected, ones, error, got).await,
        };
        let (mut shipped, mut absent) = (Vec::new(), Vec::new());
        for one in ones {
            let key = one.key();
            let Some(value) = values.remove(&key) else {
                absent.push(one);
                continue;
            };
            let terms = self.settings.terms(&key, &value, Asked::default());
            let times = terms.times(self.settings.keep(terms.windows), took, Duration::ZERO);
            match self.settings.encode(&key, &value, (began.clone(), terms.windows)) {
                Ok((_, cells)) if one.shared.is_none() => {
                    got.insert(key, one.fulfil(self.unshared(value, cells, &terms)));
                }
                Ok((payload, cells)) if !times.is_over() => {
                    shipped.push(Shipped { one, value, terms, payload, cells });
                }
                encoded => {
                    if encoded.is_err() {
                        self.count(Count::Unshareable, 1);
                    }
                    got.insert(key, one.fulfil(Loaded::Unstored(Held::passing(value))));
                }
            }
        }
        self.ship(connected, shipped, took, got).await;
        let kept = self.settings.negative_ttl;
        let told = self.end_all(connected, &mut absent, (End::Absent, kept)).await;
        for one in absent {
            let kept = if told { kept } else { Duration::ZERO };
            got.insert(one.key(), one.absent(kept));
        }
    }

    /// Shares loaded values, in one round trip to each node.
    async fn ship<E>(
        &self,
        connected: Option<&Connected>,
        shipped: Vec<Shipped<'_, K, V>>,
        took: Duration,
        got: &mut HashMap<K, Got<V, E>>,
    ) {
        let Some(connected) = connected else { return };
        let name = |it: &Shipped<'_, K, V>| -> Vec<u8> {
            it.one.shared.as_ref().map(|lease| lease.names.value.clone()).unwrap_or_default()
        };
        let named: Vec<_> = shipped.into_iter().map(|it| (name(&it), it)).collect();
        for of_node in connected.nodes.sorted(named, |(name, _)| name) {
            let values: Vec<_> = of_node
                .iter()
                .filter_map(|(_, it)| {
                    let lease = it.one.shared.as_ref()?;
                    let times = it.terms.times(self.settings.keep(it.terms.windows), took, Duration::ZERO);
                    Some((&lease.names, &lease.token, &it.payload[..], times))
                })
                .collect();
            let stored = connected.until_given_up(self.scripts.publish_all(&connected.nodes, &values)).await;
            if let Err(error) = &stored {
                self.failed(error);
            }
            for (number, (_, it)) in of_node.into_iter().enumerate() {
                let Shipped { mut one, value, terms, cells, .. } = it;
                let (key, mut kept) = (one.key(), Loaded::Unstored(Held::passing(value.clone())));
                if let (Ok(stored), Some(lease)) = (&stored, &mut one.shared) {
                    lease.held = false;
                    match stored.get(number) {
                        Some(true) => {
                            let held = Held::new(value, lease.token, cells, terms.windows);
                            kept = self.own(held, &terms, took, connected.tracking);
                        }
                        _ => self.count(Count::Fenced, 1),
                    }
                }
                got.insert(key, one.fulfil(kept));
            }
        }
    }

    /// Ends the flights of a call that has failed: by an old value where one stands in.
    async fn fail_all<E: Display + Send + Sync + 'static>(
        &self,
        connected: Option<&Connected>,
        mut ones: All<'_, K, V>,
        error: E,
        got: &mut HashMap<K, Got<V, E>>,
    ) {
        let text = text_of_error(&error);
        let error = Arc::new(SharedError::Own(error));
        self.count(Count::Failure, ones.len() as u64);
        self.end_all(connected, &mut ones, (End::Failed(&text), self.settings.negative_ttl)).await;
        for one in ones {
            let over = one.lease.stale_for();
            let stands_in = one.old.as_ref().filter(|old| {
                let window = self.settings.if_error(old.held.windows());
                over.is_none_or(|over| over < window)
            });
            let end = match stands_in {
                Some(old) => Ok(old.held.value.clone()),
                None => Err(LoadError::Load(error.clone())),
            };
            got.insert(one.key(), end);
            one.fail::<E>(&text);
        }
    }

    /// Tells the other processes that there are no values. Returns whether they were told.
    async fn end_all(
        &self,
        connected: Option<&Connected>,
        ones: &mut All<'_, K, V>,
        (end, kept): (End<'_>, Duration),
    ) -> bool {
        let Some(connected) = connected else { return false };
        let leases: Vec<_> = ones.iter_mut().filter_map(|one| one.shared.as_mut()).collect();
        for of_node in connected.nodes.sorted(leases, |lease| &lease.names.value) {
            let flights: Vec<_> = of_node.iter().map(|lease| (&lease.names, &lease.token, end, kept)).collect();
            let told = connected.until_given_up(self.scripts.fail_all(&connected.nodes, &flights)).await;
            match told {
                Ok(_) => of_node.into_iter().for_each(|lease| lease.held = false),
                Err(error) => {
                    self.failed(&error);
                    return false;
                }
            }
        }
        true
    }
}
