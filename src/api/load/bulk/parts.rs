//! The keys of one bulk load, and the loads that it has to run.

use crate::api::error::LoadError;
use crate::api::handle::form::AsValue;
use crate::api::handle::lease::Lease;
use crate::api::load::answers::{Given, Olds, hash_of};
use crate::api::load::fate::Fate;
use crate::api::load::loading_cache::LoadingCache;
use crate::api::load::read_through::{ReadThrough, Resolution, deliver_shared};
use crate::engine::key::ToKey;
use crate::flight::reentry::{self, FlightId};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::{BuildHasher, Hash};
use core::ops::Range;
use equivalent::Equivalent;

/// A loader's answers for the keys of one caller alone.
type Unshared<V, E> = Vec<Option<Result<V, LoadError<E>>>>;

/// The state of one key.
#[allow(clippy::large_enum_variant, reason = "most are going until the end, and a box for each would cost more")]
pub(super) enum One<'q, K: 'static, V: Clone + 'static, Q: ?Sized, E> {
    /// A key whose lookup has not ended. `tried`: its load was given to the loader once, and is not
    /// begun a second time.
    Going {
        through: ReadThrough<'static, 'q, K, V, Q, AsValue>,
        tried: bool,
    },
    Done(Result<V, LoadError<E>>),
}

/// The keys of one call, in the caller's order.
pub(super) struct Bulk<'q, K: 'static, V: Clone + 'static, Q: ?Sized, E> {
    pub(super) keys: Vec<&'q Q>,
    pub(super) all: Vec<One<'q, K, V, Q, E>>,
    /// The fate of the call's loads in the background.
    pub(super) fate: Fate,
}

/// Keys that this caller leads, to be loaded by one call of the loader. The first three fields have
/// one element a key.
pub(super) struct Led<K: 'static, V: 'static> {
    pub(super) leases: Vec<Lease<'static, K, V>>,
    pub(super) hashes: Vec<u64>,
    /// The index of each key in [`Bulk::keys`].
    pub(super) places: Vec<usize>,
    /// The flights that the waiting caller is loading itself.
    pub(super) serves: Vec<FlightId>,
}

/// Keys to be loaded for this caller alone and not stored, each key once.
pub(super) struct Alone<K> {
    pub(super) keys: Vec<K>,
    pub(super) hashes: Vec<u64>,
    /// Pairs of an index in [`Bulk::keys`] and the index of that key in `keys`.
    pub(super) places: Vec<(usize, usize)>,
}

/// The loads that a bulk load has to run now.
pub(super) struct Todo<K: 'static, V: 'static> {
    /// On the caller's thread: the caller must wait for these in any case.
    pub(super) here: Led<K, V>,
    /// In the background.
    pub(super) elsewhere: Led<K, V>,
    /// For this caller alone; not stored.
    pub(super) alone: Option<Alone<K>>,
}

impl<K: 'static, V: 'static> Todo<K, V> {
    pub(super) fn nothing() -> Self {
        let nothing = || Led { leases: Vec::new(), hashes: Vec::new(), places: Vec::new(), serves: Vec::new() };
        Self { here: nothing(), elsewhere: nothing(), alone: None }
    }
}

impl<K: 'static, V: 'static> Led<K, V> {
    pub(super) fn push(&mut self, lease: Lease<'static, K, V>, hash: u64, place: usize) {
        self.leases.push(lease);
        self.hashes.push(hash);
        self.places.push(place);
    }

    pub(super) fn keys(&self) -> Vec<&K> {
        self.leases.iter().map(Lease::key).collect()
    }

    /// Returns the values that the load replaces.
    pub(super) fn olds(&self) -> Olds<K, V> {
        // Most bulk loads replace none, and allocate nothing for that.
        if self.leases.iter().all(|lease| lease.stale().is_none()) {
            return Vec::new();
        }
        self.leases.iter().map(Lease::old_entry).collect()
    }

    /// Returns the flights that the loader must not wait for.
    pub(super) fn flights(&self) -> Vec<FlightId> {
        self.leases.iter().map(Lease::flight).chain(self.serves.iter().copied()).collect()
    }

    /// Notes that the call of the loader begins. For each key it is that key's load.
    pub(super) fn begin_load(&mut self) {
        self.leases.iter_mut().for_each(Lease::begin_load);
    }

    /// Notes that the call of the loader has ended.
    pub(super) fn end_load(&mut self) {
        self.leases.iter_mut().for_each(Lease::end_load);
    }

    /// Ends all leases of a load in the background with its answers.
    pub(super) fn deliver<E: Send + Sync + 'static>(self, given: Given<V, E>) {
        let mut given = given.into_iter();
        self.each(|lease, _| {
            let limits = lease.core().get().config.limits.clone();
            match given.next().flatten() {
                Some(given) => deliver_shared(lease, given, &limits),
                None => lease.fail(),
            }
        });
    }

    /// Ends the leases one by one; `end` gets each lease and its index in [`Bulk::keys`]. User code
    /// that runs meanwhile must not wait for a flight whose lease has not ended yet.
    pub(super) fn each(self, mut end: impl FnMut(Lease<'static, K, V>, usize)) {
        let flights = self.flights();
        for (n, (lease, place)) in self.leases.into_iter().zip(self.places).enumerate() {
            reentry::during(&flights[n..], || end(lease, place));
        }
    }
}

impl<K> Alone<K> {
    /// Adds a key and the caller's index for it, unless the key is there; then only the index.
    pub(super) fn push<Q: ?Sized + Equivalent<K> + ToKey<K>>(&mut self, q: &Q, hash: u64, place: usize) {
        // A linear search: this path runs only while no further flight may begin, and few keys
        // occur twice.
        let same = |at: &usize| self.hashes[*at] == hash && q.equivalent(&self.keys[*at]);
        let at = (0..self.keys.len()).find(same).unwrap_or_else(|| {
            self.keys.push(q.to_key());
            self.hashes.push(hash);
            self.keys.len() - 1
        });
        self.places.push((place, at));
    }
}

impl<'q, K, V, Q, E> Bulk<'q, K, V, Q, E>
where
    K: Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
    E: Send + Sync + 'static,
{
    /// Takes the result of each key in `range` that has come to an end, without waiting, and
    /// returns the loads that follow. With `here`, a load that the caller must wait for in any case
    /// runs on the caller's thread.
    pub(super) fn sort<L, S>(&mut self, cache: &LoadingCache<K, V, L, S>, range: Range<usize>, here: bool) -> Todo<K, V>
    where
        S: BuildHasher + Send + Sync + 'static,
    {
        let mut todo = Todo::nothing();
        for place in range {
            let (q, one) = (self.keys[place], &mut self.all[place]);
            let One::Going { through, tried } = one else { continue };
            if through.waits().is_some() {
                continue;
            }
            let hash = || hash_of(cache.hasher(), &q);
            match through.end() {
                Resolution::Value(value) => *one = One::Done(Ok(value)),
                Resolution::Refused(why) => *one = One::Done(Err(why.into())),
                end if *tried => *one = One::Done(through.lost(end, self.fate.error())),
                Resolution::Lead(lease) => {
                    *tried = true;
                    if here && through.must_wait(&lease) {
                        todo.here.push(lease, hash(), place);
                    } else {
                        through.hand_on(lease, |lease, serves| {
                            todo.elsewhere.push(lease, hash(), place);
                            todo.elsewhere.serves = serves;
                        });
                    }
                }
                Resolution::Alone => {
                    *tried = true;
                    let none = || Alone { keys: Vec::new(), hashes: Vec::new(), places: Vec::new() };
                    todo.alone.get_or_insert_with(none).push(q, hash(), place);
                }
            }
        }
        todo
    }

    /// Goes on after the wait for one key has ended. If the caller leads that key now, the later
    /// keys that have ended meanwhile are included, so that one call loads all of them.
    pub(super) fn go_on<L, S>(&mut self, cache: &LoadingCache<K, V, L, S>, place: usize, here: bool) -> Todo<K, V>
    where
        S: BuildHasher + Send + Sync + 'static,
    {
        let leads = matches!(&self.all[place], One::Going { through, tried: false } if through.flight().is_some());
        if !leads {
            return self.sort(cache, place..place + 1, here);
        }
        for one in &mut self.all[place + 1..] {
            let One::Going { through, .. } = one else { continue };
            if let Some(woken) = through.waits().and_then(|(waiter, _)| waiter.check()) {
                through.on(Some(woken));
            }
        }
        self.sort(cache, place..self.all.len(), here)
    }

    /// Sets the result of a key whose load has ended.
    #[cfg(feature = "std")]
    pub(super) fn finish(
        &mut self,
        place: usize,
        finish: impl FnOnce(&mut ReadThrough<'static, 'q, K, V, Q, AsValue>) -> Result<V, LoadError<E>>,
    ) {
        if let One::Going { through, .. } = &mut self.all[place] {
            self.all[place] = One::Done(finish(through));
        }
    }

    /// Sets the results of keys that were loaded for this caller alone.
    pub(super) fn settle_alone(&mut self, places: Vec<(usize, usize)>, given: Result<Unshared<V, E>, Arc<str>>) {
        for (place, at) in places {
            self.all[place] = One::Done(match &given {
                Err(message) => Err(LoadError::Panicked(message.clone())),
                Ok(given) => given.get(at).cloned().flatten().unwrap_or(Err(LoadError::Abandoned)),
            });
        }
    }

    pub(super) fn results(self) -> Vec<Result<V, LoadError<E>>> {
        let result = |one| match one {
            One::Done(result) => result,
            One::Going { .. } => unreachable!("each key was seen through to its end"),
        };
        self.all.into_iter().map(result).collect()
    }
}
