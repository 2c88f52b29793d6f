//! Running the loader: for all processes under the server's lease, or for this process alone.

use super::inquiry::Led;
use super::{Call, Result, Source, Trip};
use crate::error::SharedError;
use crate::held::Held;
use crate::inner::Inner;
use crate::key::SharedKey;
use crate::scripts::{End, Served};
use crate::settings::Unshareable;
use crate::stats::Count;
use crate::terms::{Asked, Terms};
use crate::wire::{self, Stamp, Token};
use bellwether::{Expiry, Loaded};
use std::fmt::Display;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// The most bytes of an error's text that other processes get.
const MOST_TEXT: usize = 4096;

/// Returns the text of an error, as other processes get it.
pub(crate) fn text_of_error(error: &impl Display) -> String {
    let mut text = error.to_string();
    let mut end = text.len().min(MOST_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// What a load has come to.
enum Came<V> {
    Value(V, Terms),
    /// The value is not kept.
    Passing(V),
    /// There is none, for so long.
    Absent(Duration),
    /// It has not changed, and there is none that it could have changed from.
    Nothing,
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Inner<K, V> {
    /// Interprets what a loader has given. Its own terms count before those of the call.
    fn came(&self, key: &K, call: &Call, had: Option<&V>, loaded: Loaded<V>) -> Came<V> {
        let asked = |value: V, own: Expiry| {
            let terms = self.settings.terms(key, &value, Asked::from(own).or(call.asked));
            Came::Value(value, terms)
        };
        let confirmed = |own: Expiry| had.map_or(Came::Nothing, |value| asked(value.clone(), own));
        match loaded {
            Loaded::New(value) => asked(value, Expiry::new()),
            Loaded::NewFor(value, ttl) => asked(value, Expiry::new().ttl(ttl)),
            Loaded::NewForExactly(value, ttl) => asked(value, Expiry::new().exact_ttl(ttl)),
            Loaded::With(value, own) => asked(value, own),
            Loaded::Unstored(value) => Came::Passing(value),
            Loaded::NotModified => confirmed(Expiry::new()),
            Loaded::NotModifiedWith(own) => confirmed(own),
            Loaded::NotFound => Came::Absent(self.settings.negative_ttl),
            Loaded::NotFoundFor(kept) => Came::Absent(kept),
            _ => Came::Nothing,
        }
    }

    /// Loads without the server. The value lives for the `unlinked_ttl` at most.
    pub(super) async fn load_locally<E, F, Fut>(&self, trip: Trip<'_, K, V>, load: F) -> Result<V, E>
    where
        F: FnOnce(Option<V>) -> Fut,
        Fut: Future<Output = std::result::Result<Loaded<V>, E>>,
    {
        self.count(Count::LocalLoad, 1);
        self.load_unshared(trip, load).await
    }

    /// Loads beside the process that has the lease, for this process alone.
    pub(super) async fn load_beside<E, F, Fut>(&self, trip: Trip<'_, K, V>, load: F) -> Result<V, E>
    where
        F: FnOnce(Option<V>) -> Fut,
        Fut: Future<Output = std::result::Result<Loaded<V>, E>>,
    {
        self.count(Count::LoadBeside, 1);
        Ok(match self.load_unshared(trip, load).await? {
            Loaded::With(mut held, terms) => {
                held.beside = true;
                Loaded::With(held, terms)
            }
            // No push would take that back.
            Loaded::NotFoundFor(_) => Loaded::NotFoundFor(Duration::ZERO),
            other => other,
        })
    }

    async fn load_unshared<E, F, Fut>(&self, trip: Trip<'_, K, V>, load: F) -> Result<V, E>
    where
        F: FnOnce(Option<V>) -> Fut,
        Fut: Future<Output = std::result::Result<Loaded<V>, E>>,
    {
        let Trip { key, old, call, voyage } = trip;
        voyage.found(Source::Loaded, false);
        let had = old.map(|old| old.held.value);
        let loaded = load(had.clone()).await.map_err(SharedError::Own)?;
        let most = self.link.times.unlinked_ttl;
        let (value, terms) = match self.came(key, call, had.as_ref(), loaded) {
            Came::Value(value, terms) => (value, terms),
            Came::Passing(value) => return Ok(Loaded::Unstored(Held::passing(value))),
            Came::Absent(kept) => return Ok(Loaded::NotFoundFor(kept.min(most))),
            Came::Nothing => return Ok(Loaded::NotModified),
        };
        let Some(cells) = self.settings.cells(key, &value) else {
            return Ok(Loaded::Unstored(Held::passing(value)));
        };
        Ok(self.unshared(value, cells, &terms))
    }

    /// Has memory keep a value that no other process has, for the `unlinked_ttl` at most.
    pub(crate) fn unshared(&self, value: V, cells: Box<[u16]>, terms: &Terms) -> Loaded<Held<V>> {
        let ttl = terms.ttl.saturating_sub(terms.age).min(self.link.times.unlinked_ttl);
        let held = Held::unshared(value, cells, terms.windows);
        if ttl.is_zero() {
            return Loaded::Unstored(held);
        }
        let expiry = Expiry::new().exact_ttl(ttl.saturating_add(terms.age)).age(terms.age);
        Loaded::With(held, terms.windows.given_to(expiry))
    }

    /// Loads for all processes, under the server's lease.
    pub(super) async fn lead<E, F, Fut>(&self, mut led: Led<K, V>, trip: Trip<'_, K, V>, load: F) -> Result<V, E>
    where
        E: Display,
        F: FnOnce(Option<V>) -> Fut,
        Fut: Future<Output = std::result::Result<Loaded<V>, E>>,
    {
        let Trip { key, old, call, voyage } = trip;
        self.count(Count::SharedLoad, 1);
        voyage.found(Source::Loaded, false);
        let stored = led.stored.take();
        let on_server = stored.as_ref().and_then(|(bytes, served)| {
            let (version, payload) = wire::split(bytes)?;
            let (value, stamp, windows) = self.settings.decode(payload)?;
            // What a tag has ended stands in for nothing.
            let over = if self.mirror.is_good(&stamp) { served.over } else { Duration::MAX };
            Some((version, value, windows, over))
        });
        let had = old.as_ref().map(|old| old.held.value.clone());
        let had = had.or_else(|| on_server.as_ref().map(|(_, value, ..)| value.clone()));
        let (began, started) = (self.mirror.now(), Instant::now());
        let loaded = load(had.clone()).await;
        let took = started.elapsed();
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                let text = text_of_error(&error);
                self.count(Count::Failure, 1);
                self.end(&mut led, (End::Failed(&text), self.settings.negative_ttl)).await;
                let stands_in = on_server.filter(|(_, _, windows, over)| {
                    old.is_none() && *over < call.substitute_window(self.settings.if_error(*windows))
                });
                let Some((_, value, ..)) = stands_in else { return Err(SharedError::Own(error)) };
                voyage.found(Source::Shared, true);
                return Ok(Loaded::Unstored(Held::passing(value)));
            }
        };
        let not_modified = matches!(loaded, Loaded::NotModified | Loaded::NotModifiedWith(_));
        match self.came(key, call, had.as_ref(), loaded) {
            Came::Value(value, terms) => {
                // What is confirmed is renewed where it lies, if it is the value that lies there.
                let renewed = on_server.filter(|(version, _, windows, _)| {
                    let same = old.as_ref().is_none_or(|old| old.held.shared_version() == Some(*version));
                    not_modified && same && *windows == terms.windows
                });
                let renewed = renewed.map(|(version, ..)| version);
                Ok(self.publish(&mut led, key, (value, terms), (began, took), renewed).await)
            }
            Came::Passing(value) => Ok(Loaded::Unstored(Held::passing(value))),
            Came::Absent(kept) => {
                let told = self.end(&mut led, (End::Absent, kept)).await;
                Ok(Loaded::NotFoundFor(if told { kept } else { Duration::ZERO }))
            }
            Came::Nothing => Ok(Loaded::NotModified),
        }
    }

    /// Shares a loaded value, and has memory keep it if the server did.
    async fn publish(
        &self,
        led: &mut Led<K, V>,
        key: &K,
        (value, terms): (V, Terms),
        (began, took): (Stamp, Duration),
        renewed: Option<Token>,
    ) -> Loaded<Held<V>> {
        let times = terms.times(self.settings.keep(terms.windows), took, Duration::ZERO);
        if times.is_over() {
            return Loaded::Unstored(Held::passing(value));
        }
        let (payload, cells) = match self.settings.encode(key, &value, (began, terms.windows)) {
            Ok(encoded) => encoded,
            Err(Unshareable::Codec(_) | Unshareable::TooLarge) => {
                self.count(Count::Unshareable, 1);
                return Loaded::Unstored(Held::passing(value));
            }
        };
        let (token, names, nodes) = (led.lease.token, &led.lease.names, &led.connected.nodes);
        let command = async {
            match renewed {
                Some(version) => self.scripts.renew(nodes, names, (&token, &version), times).await,
                None => self.scripts.publish(nodes, names, &token, &payload, times).await,
            }
        };
        let stored = led.connected.until_given_up(command).await;
        led.lease.held = stored.is_err();
        match stored {
            Ok(true) => self.own(Held::new(value, token, cells, terms.windows), &terms, took, led.connected.tracking),
            Ok(false) => {
                self.count(Count::Fenced, 1);
                Loaded::Unstored(Held::passing(value))
            }
            Err(error) => {
                self.failed(&error);
                Loaded::Unstored(Held::passing(value))
            }
        }
    }

    /// Has memory keep a value that this process has just shared.
    pub(crate) fn own(&self, held: Held<V>, terms: &Terms, took: Duration, tracking: bool) -> Loaded<Held<V>> {
        let served = Served {
            left: terms.ttl.saturating_sub(terms.age),
            over: terms.age.saturating_sub(terms.ttl),
            delta: terms.cost.unwrap_or(took),
            age: terms.age,
        };
        let expiry = self.expiry(&held, &served, tracking);
        let expiry = match terms.refresh {
            Some(refresh) => expiry.refresh(refresh),
            None => expiry,
        };
        Loaded::With(held, expiry)
    }

    /// Tells the other processes that the load has come to no value.
    /// Returns whether the flight was still this one.
    async fn end(&self, led: &mut Led<K, V>, end: (End<'_>, Duration)) -> bool {
        let (names, token, nodes) = (&led.lease.names, led.lease.token, &led.connected.nodes);
        let told = self.scripts.fail(nodes, names, &token, end);
        match led.connected.until_given_up(told).await {
            Ok(told) => {
                led.lease.held = false;
                told
            }
            Err(error) => {
                self.failed(&error);
                false
            }
        }
    }
}
