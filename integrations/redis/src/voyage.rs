//! The load of a key over all processes: what the leader among this process's callers does.

use crate::error::{RemoteError, SharedError};
use crate::flights::{Flight, Phase, lock};
use crate::held::Held;
use crate::inner::Inner;
use crate::key::SharedKey;
use crate::link::{Connected, TierEvent};
use crate::scripts::{Acquired, Ask};
use crate::settings::Unshareable;
use crate::stats::Count;
use crate::wire::{self, EntryNames, Stamp, Token};
use bellwether::{Entry, Expiry, Loaded as Kept};
use std::fmt::Display;
use std::future::{Future, pending};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

/// The most bytes of an error's text that other processes get.
const MOST_TEXT: usize = 4096;

/// The settings of one call.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Call {
    pub(crate) ttl: Option<Duration>,
    pub(crate) exact: bool,
    pub(crate) wait_timeout: Option<Duration>,
    pub(crate) lead_timeout: Duration,
    pub(crate) skip_shared_lock: bool,
}

/// Where a value came from.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// This process's memory.
    Memory,
    /// The server.
    Shared,
    /// This caller's loader.
    Loaded,
    /// Another caller's load, of this process or of another one, that this caller waited for.
    Waited,
}

/// The result of a load that may say more than a value: for
/// [`TierRequest::revalidate_with_async`](crate::TierRequest::revalidate_with_async). As
/// [`bellwether::Loaded`], for what all processes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loaded<V> {
    /// A value, with the tier's time to live.
    New(V),
    /// A value with a time to live of its own. Zero acts as `Unstored`. The tier's
    /// [`ttl_jitter`](crate::Builder::ttl_jitter) shortens it.
    NewFor(V, Duration),
    /// A value with a time to live of its own, exactly that long.
    NewForExactly(V, Duration),
    /// A value that is handed to the callers of this process and not stored.
    Unstored(V),
    /// The old value is still right, and its time to live begins anew. If there is no old value, the
    /// load counts as abandoned.
    NotModified,
}

/// What a caller takes along while it leads its process's load.
pub(crate) struct Voyage<K: SharedKey, V: Clone + Send + Sync + 'static> {
    registered: Mutex<Option<Registration<K, V>>>,
    source: Mutex<(Source, bool)>,
    /// Rung when the caller's time to wait for other processes is over.
    overdue: Notify,
}

/// The registration of a load; dropped after memory has its result, so that no push in between is
/// missed.
struct Registration<K, V> {
    tier: Arc<Inner<K, V>>,
    flight: Arc<Flight>,
}

impl<K, V> Drop for Registration<K, V> {
    fn drop(&mut self) {
        self.tier.flights.remove(&self.flight);
    }
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Voyage<K, V> {
    pub(crate) fn new() -> Self {
        Self { registered: Mutex::new(None), source: Mutex::new((Source::Loaded, false)), overdue: Notify::new() }
    }

    fn board(&self, tier: &Arc<Inner<K, V>>, key: &K, has_old: bool) -> Arc<Flight> {
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        let flight = tier.flights.register(bytes, has_old);
        *lock(&self.registered) = Some(Registration { tier: tier.clone(), flight: flight.clone() });
        flight
    }

    fn found(&self, source: Source, stale: bool) {
        *lock(&self.source) = (source, stale);
    }

    /// Returns where the value came from, and whether it is an old one.
    pub(crate) fn source(&self) -> (Source, bool) {
        *lock(&self.source)
    }

    /// Waits until the caller's time to wait for other processes is over.
    pub(crate) async fn overdue(&self) {
        self.overdue.notified().await;
    }
}

/// The lease of a flight on the server: given up when it is dropped before its end.
struct SharedLease<K: SharedKey, V: Clone + Send + Sync + 'static> {
    tier: Arc<Inner<K, V>>,
    key: K,
    names: EntryNames,
    token: Token,
    /// Whether the server may have the lease.
    held: bool,
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Drop for SharedLease<K, V> {
    fn drop(&mut self) {
        if !self.held {
            return;
        }
        let (tier, key, names, token) = (self.tier.clone(), self.key.clone(), self.names.clone(), self.token);
        self.tier.runtime.spawn(async move {
            if let Some(mut connected) = tier.link.current() {
                // Without an answer the lease ends by itself.
                let _ = tier.scripts.release(&mut connected.conn, &names, &token).await;
            }
            tier.ring(&key);
        });
    }
}

/// What this process had when the load began.
pub(crate) struct Old<V> {
    held: Held<V>,
    fresh: bool,
}

impl<V: Clone> Old<V> {
    pub(crate) fn of<K>(entry: Option<Entry<'_, K, Held<V>>>) -> Option<Self> {
        let entry = entry?;
        let fresh = Entry::expires_in(&entry).is_none_or(|left| !left.is_zero());
        Some(Self { held: (*entry).clone(), fresh })
    }
}

type Result<T, E> = std::result::Result<Kept<Held<T>>, SharedError<E>>;

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Inner<K, V> {
    /// Brings a value for all callers of this process: from the server, from the process that loads
    /// it, or by `load`.
    pub(crate) async fn bring<E, F, Fut>(
        self: &Arc<Self>,
        key: &K,
        old: Option<Old<V>>,
        call: &Call,
        voyage: &Voyage<K, V>,
        load: F,
    ) -> Result<V, E>
    where
        E: Display + Send + Sync + 'static,
        F: FnOnce(Option<V>) -> Fut,
        Fut: Future<Output = std::result::Result<Loaded<V>, E>>,
    {
        let flight = voyage.board(self, key, old.is_some());
        let mut have = old.as_ref().and_then(|old| old.held.shared_version());
        let mut refresh = old.as_ref().is_some_and(|old| old.fresh);
        let mut waiting = Waiting::new(self.settings.probe, call.wait_timeout);
        loop {
            let before = flight.ask();
            let Some(mut connected) = self.link.current() else {
                if flight.turn(Phase::Local, before) {
                    return self.load_locally(key, old, call, voyage, load).await;
                }
                continue;
            };
            let asked = self.ask(&mut connected, key, (refresh, have, waiting.token), call.lead_timeout).await;
            let (lease, answer) = match asked {
                Ok(asked) => asked,
                Err(error) => {
                    self.failed(&error);
                    if flight.turn(Phase::Local, before) {
                        return self.load_locally(key, old, call, voyage, load).await;
                    }
                    continue;
                }
            };
            match answer {
                Acquired::Hit { .. } | Acquired::Same { .. } if !flight.turn(Phase::Holding, before) => {
                    self.stats.add(Count::AskedAgain, 1);
                }
                Acquired::Hit { left, delta, stored } => match self.read(&stored) {
                    Ok(held) => {
                        voyage.found(waiting.source(), false);
                        self.stats.add(Count::SharedHit, 1);
                        return Ok(self.kept(held, left, delta, connected.tracking));
                    }
                    // To be replaced, as if it were not there.
                    Err(version) => (refresh, have) = (true, Some(version)),
                },
                Acquired::Same { left, delta } => {
                    let Some(old) = &old else { continue };
                    voyage.found(waiting.source(), false);
                    self.stats.add(Count::SharedHit, 1);
                    return Ok(self.kept(old.held.clone(), left, delta, connected.tracking));
                }
                Acquired::Wait { .. } if call.skip_shared_lock => {
                    // A push since then has ended the tracking, and memory would hear of no other.
                    if !flight.turn(Phase::Leading, before) {
                        continue;
                    }
                    return self.load_beside(key, old, call, voyage, load).await;
                }
                Acquired::Wait { left, token } => {
                    self.stats.add(Count::Wait, 1);
                    if !waiting.sleep(&flight, before, left, token, voyage).await {
                        self.stats.add(Count::Probe, 1);
                    }
                }
                Acquired::Failed { text } => {
                    self.stats.add(Count::RemoteFailure, 1);
                    return Err(SharedError::Remote(RemoteError { text }));
                }
                Acquired::Lead { old: stored } => {
                    flight.lead();
                    let led = Led { lease, connected, stored };
                    return self.lead(led, key, old, call, voyage, load).await;
                }
            }
        }
    }

    /// Asks the server once. The lease is the caller's to end if it leads.
    async fn ask(
        self: &Arc<Self>,
        connected: &mut Connected,
        key: &K,
        (refresh, have, waited): (bool, Option<Token>, Option<Token>),
        lead_timeout: Duration,
    ) -> redis::RedisResult<(SharedLease<K, V>, Acquired)> {
        let names = self.names_of(&mut connected.conn, key).await?;
        let token = self.process.token();
        // Given up if the caller is cancelled, or the answer does not come: the server may lease it
        // all the same.
        let mut lease = SharedLease { tier: self.clone(), key: key.clone(), names, token, held: true };
        let ask = Ask { token: &token, alive: &self.names.alive, lead_timeout, refresh, have, waited };
        let answer = self.scripts.acquire(&mut connected.conn, &lease.names, ask).await?;
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
    fn kept(&self, held: Held<V>, left: Duration, delta: Duration, tracking: bool) -> Kept<Held<V>> {
        let most = if tracking { Duration::MAX } else { self.settings.untracked_ttl };
        let ttl = left.min(self.settings.memory_ttl).min(most);
        // Early refresh goes by what a load takes, not by what this answer took.
        Kept::With(held, Expiry::new().exact_ttl(ttl).cost(delta))
    }

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
    async fn load_locally<E, F, Fut>(
        &self,
        key: &K,
        old: Option<Old<V>>,
        call: &Call,
        voyage: &Voyage<K, V>,
        load: F,
    ) -> Result<V, E>
    where
        F: FnOnce(Option<V>) -> Fut,
        Fut: Future<Output = std::result::Result<Loaded<V>, E>>,
    {
        self.stats.add(Count::LocalLoad, 1);
        self.load_unshared(key, old, call, voyage, load).await
    }

    /// Loads beside the process that has the lease, for this process alone.
    async fn load_beside<E, F, Fut>(
        &self,
        key: &K,
        old: Option<Old<V>>,
        call: &Call,
        voyage: &Voyage<K, V>,
        load: F,
    ) -> Result<V, E>
    where
        F: FnOnce(Option<V>) -> Fut,
        Fut: Future<Output = std::result::Result<Loaded<V>, E>>,
    {
        self.stats.add(Count::LoadBeside, 1);
        let loaded = self.load_unshared(key, old, call, voyage, load).await?;
        Ok(match loaded {
            Kept::NewForExactly(held, ttl) => Kept::NewForExactly(Held { beside: true, ..held }, ttl),
            other => other,
        })
    }

    async fn load_unshared<E, F, Fut>(
        &self,
        key: &K,
        old: Option<Old<V>>,
        call: &Call,
        voyage: &Voyage<K, V>,
        load: F,
    ) -> Result<V, E>
    where
        F: FnOnce(Option<V>) -> Fut,
        Fut: Future<Output = std::result::Result<Loaded<V>, E>>,
    {
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
    async fn lead<E, F, Fut>(
        &self,
        mut led: Led<K, V>,
        key: &K,
        old: Option<Old<V>>,
        call: &Call,
        voyage: &Voyage<K, V>,
        load: F,
    ) -> Result<V, E>
    where
        E: Display,
        F: FnOnce(Option<V>) -> Fut,
        Fut: Future<Output = std::result::Result<Loaded<V>, E>>,
    {
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
        let (names, conn) = (&led.lease.names, &mut led.connected.conn);
        let stored = match renewed {
            Some(version) => self.scripts.renew(conn, names, (&token, &version), times).await,
            None => self.scripts.publish(conn, names, &token, &payload, times).await,
        };
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
        let (names, token, conn) = (&led.lease.names, led.lease.token, &mut led.connected.conn);
        match self.scripts.fail(conn, names, &token, &text, self.settings.negative_ttl).await {
            Ok(_) => led.lease.held = false,
            Err(error) => self.failed(&error),
        }
    }
}

/// A load that this process leads.
struct Led<K: SharedKey, V: Clone + Send + Sync + 'static> {
    lease: SharedLease<K, V>,
    connected: Connected,
    /// What lies at the value's key, and how long its time is over.
    stored: Option<(Vec<u8>, Duration)>,
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

    /// Sleeps until a push, the next probe, or the end of the lease. Returns whether there was a push.
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
