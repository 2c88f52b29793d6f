//! Running the loader: for all processes under the server's lease, or for this process alone.

use super::inquiry::Led;
use super::{Call, Loaded, Result, Source, Trip};
use crate::error::SharedError;
use crate::held::Held;
use crate::inner::Inner;
use crate::key::SharedKey;
use crate::settings::Unshareable;
use crate::stats::Count;
use crate::wire::{self, Stamp, Token};
use bellwether::Loaded as Kept;
use std::fmt::Display;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// The most bytes of an error's text that other processes get.
const MOST_TEXT: usize = 4096;

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Inner<K, V> {
    /// Returns how long a loaded value lives, and the value. None: it is the old one.
    fn ttl_and_value(&self, key: &K, call: &Call, loaded: Loaded<V>) -> Option<(Duration, V)> {
        let given = |value: &V| match call.ttl {
            Some(ttl) if call.exact => ttl,
            Some(ttl) => self.settings.jittered(ttl),
            None => self.settings.ttl_of(key, value),
        };
        Some(match loaded {
            Loaded::New(value) => (given(&value), value),
            Loaded::NewFor(value, ttl) => (self.settings.jittered(ttl), value),
            Loaded::NewForExactly(value, ttl) => (ttl, value),
            Loaded::Unstored(value) => (Duration::ZERO, value),
            Loaded::NotModified => return None,
        })
    }

    /// Loads without the server. The value lives for the `unlinked_ttl` at most.
    pub(super) async fn load_locally<E, F, Fut>(&self, trip: Trip<'_, K, V>, load: F) -> Result<V, E>
    where
        F: FnOnce(Option<V>) -> Fut,
        Fut: Future<Output = std::result::Result<Loaded<V>, E>>,
    {
        self.stats.add(Count::LocalLoad, 1);
        self.load_unshared(trip, load).await
    }

    /// Loads beside the process that has the lease, for this process alone.
    pub(super) async fn load_beside<E, F, Fut>(&self, trip: Trip<'_, K, V>, load: F) -> Result<V, E>
    where
        F: FnOnce(Option<V>) -> Fut,
        Fut: Future<Output = std::result::Result<Loaded<V>, E>>,
    {
        self.stats.add(Count::LoadBeside, 1);
        let loaded = self.load_unshared(trip, load).await?;
        Ok(match loaded {
            Kept::NewForExactly(held, ttl) => Kept::NewForExactly(Held { beside: true, ..held }, ttl),
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
        let confirmed = || Some((self.settings.ttl_of(key, had.as_ref()?), had.clone()?));
        let Some((ttl, value)) = self.ttl_and_value(key, call, loaded).or_else(confirmed) else {
            return Ok(Kept::NotModified);
        };
        Ok(match self.settings.cells(key, &value) {
            Some(cells) => Kept::NewForExactly(Held::unshared(value, cells), ttl.min(self.link.times.unlinked_ttl)),
            None => Kept::Unstored(Held::unshared(value, Box::default())),
        })
    }

    /// Loads for all processes, under the server's lease.
    pub(super) async fn lead<E, F, Fut>(&self, mut led: Led<K, V>, trip: Trip<'_, K, V>, load: F) -> Result<V, E>
    where
        E: Display,
        F: FnOnce(Option<V>) -> Fut,
        Fut: Future<Output = std::result::Result<Loaded<V>, E>>,
    {
        let Trip { key, old, call, voyage } = trip;
        self.stats.add(Count::SharedLoad, 1);
        voyage.found(Source::Loaded, false);
        let (stored, over) = led.stored.take().unzip();
        let on_server = stored.as_deref().and_then(wire::split);
        let version = on_server.map(|(version, _)| version);
        let of_server = || on_server.and_then(|(_, payload)| self.settings.decode(payload)).map(|(value, _)| value);
        let had = old.as_ref().map(|old| old.held.value.clone()).or_else(of_server);
        let (began, started) = (self.mirror.now(), Instant::now());
        let loaded = load(had.clone()).await;
        let delta = started.elapsed();
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                self.fail(&mut led, &error).await;
                let window = self.settings.stale_if_error;
                return match had.filter(|_| old.is_none() && over.is_some_and(|over| over < window)) {
                    Some(value) => {
                        voyage.found(Source::Shared, true);
                        Ok(Kept::Unstored(Held::unshared(value, Box::default())))
                    }
                    None => Err(SharedError::Own(error)),
                };
            }
        };
        let not_modified = matches!(loaded, Loaded::NotModified);
        let confirmed = || Some((self.settings.ttl_of(key, had.as_ref()?), had.clone()?));
        let Some((ttl, value)) = self.ttl_and_value(key, call, loaded).or_else(confirmed) else {
            return Ok(Kept::NotModified);
        };
        // What is confirmed is renewed where it lies, if it is the value that lies there.
        let same = old.as_ref().map_or(version, |old| old.held.shared_version());
        let renewed = version.filter(|_| not_modified && version == same);
        self.publish(&mut led, key, (value, ttl), (began, delta), renewed).await
    }

    /// Shares a loaded value, and has memory keep it if the server did.
    async fn publish<E>(
        &self,
        led: &mut Led<K, V>,
        key: &K,
        (value, ttl): (V, Duration),
        (began, delta): (Stamp, Duration),
        renewed: Option<Token>,
    ) -> Result<V, E> {
        let unstored = |value| Ok(Kept::Unstored(Held::unshared(value, Box::default())));
        if ttl.is_zero() {
            return unstored(value);
        }
        let (payload, cells) = match self.settings.encode(key, &value, began) {
            Ok(encoded) => encoded,
            Err(Unshareable::Codec(_) | Unshareable::TooLarge) => {
                self.stats.add(Count::Unshareable, 1);
                return unstored(value);
            }
        };
        let (token, times) = (led.lease.token, (ttl, self.settings.keep(), delta));
        let (names, mut conn) = (&led.lease.names, led.connected.conn.clone());
        let command = async {
            match renewed {
                Some(version) => self.scripts.renew(&mut conn, names, (&token, &version), times).await,
                None => self.scripts.publish(&mut conn, names, &token, &payload, times).await,
            }
        };
        let stored = led.connected.until_given_up(command).await;
        match stored {
            Ok(true) => {
                led.lease.held = false;
                Ok(self.kept(Held::new(value, token, cells), ttl, delta, led.connected.tracking))
            }
            Ok(false) => {
                led.lease.held = false;
                self.stats.add(Count::Fenced, 1);
                unstored(value)
            }
            Err(error) => {
                self.failed(&error);
                unstored(value)
            }
        }
    }

    /// Tells the other processes of a failure.
    async fn fail(&self, led: &mut Led<K, V>, error: &impl Display) {
        self.stats.add(Count::Failure, 1);
        let mut text = error.to_string();
        let mut end = text.len().min(MOST_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        let (names, token, mut conn) = (&led.lease.names, led.lease.token, led.connected.conn.clone());
        let told = self.scripts.fail(&mut conn, names, &token, &text, self.settings.negative_ttl);
        match led.connected.until_given_up(told).await {
            Ok(_) => led.lease.held = false,
            Err(error) => self.failed(&error),
        }
    }
}
