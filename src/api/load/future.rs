//! The asynchronous API: how a task waits, and the read-through verbs for tasks. It depends on no
//! runtime.

use crate::api::cache::Cache;
use crate::api::error::LoadError;
use crate::api::handle::entry::Entry;
use crate::api::handle::form::{AsValue, ReturnAs};
use crate::api::handle::lease::Lease;
use crate::api::handle::waiter::{Waiter, Woken};
use crate::api::load::read_through::{Attempt, ReadThrough, Resolution, as_loaded, certain, plain_hit};
use crate::engine::key::ToKey;
use crate::engine::outcome::Loaded;
use crate::engine::role::Manner;
use crate::flight::reentry::{self, FlightId};
use core::future::{Future, poll_fn};
use core::hash::{BuildHasher, Hash};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use equivalent::Equivalent;

/// A loader's future, which is polled and dropped as the load of `flights`. If it asks for a key of
/// theirs, it gets an error (`Reentrant`) instead of waiting for itself.
pub(crate) struct Loading<'l, Fut> {
    flights: &'l [FlightId],
    future: Pin<&'l mut Option<Fut>>,
}

impl<'l, Fut> Loading<'l, Fut> {
    pub(crate) fn new(flights: &'l [FlightId], future: Pin<&'l mut Option<Fut>>) -> Self {
        Self { flights, future }
    }
}

impl<Fut: Future> Future for Loading<'_, Fut> {
    type Output = Fut::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Fut::Output> {
        let flights = self.flights;
        let Some(future) = self.future.as_mut().as_pin_mut() else { unreachable!("it is there until it has ended") };
        let polled = reentry::during(flights, || future.poll(cx));
        if polled.is_ready() {
            // Drop the future here, where its output is a local: an output that is already being
            // returned would leak if this drop panicked.
            reentry::during(flights, || self.future.set(None));
        }
        polled
    }
}

impl<Fut> Drop for Loading<'_, Fut> {
    fn drop(&mut self) {
        reentry::during(self.flights, || self.future.set(None));
    }
}

impl<'c, K, V> Waiter<'c, K, V> {
    /// Waits as a task. Returns None if the time `at` comes first.
    pub(crate) fn wait_async(&mut self, at: u64) -> impl Future<Output = Option<Woken<'c, K, V>>> {
        poll_fn(move |cx| self.poll_until(cx, at))
    }
}

/// Runs a lookup to its end, as a task. `begin` begins the lookup, `as_loaded` interprets the
/// loader's output, and `finish` makes the result.
///
/// All verbs share this one async block, and no other future wraps it: each further layer would
/// store the loader once more.
#[allow(clippy::manual_async_fn, reason = "an async fn holds its arguments twice")]
pub(crate) fn run_async<'c, 'q, K, V, Q, F, E, Fut, T>(
    begin: impl FnOnce() -> Attempt<'c, 'q, K, V, Q, F>,
    load: impl FnOnce(Option<&Lease<'c, K, V>>) -> Fut,
    as_loaded: impl FnOnce(Fut::Output) -> Result<Loaded<V>, E>,
    finish: impl FnOnce(Result<F::Out, LoadError<E>>) -> T,
) -> impl Future<Output = T>
where
    K: 'c,
    V: 'c,
    Q: ?Sized + Equivalent<K> + ToKey<K> + 'q,
    F: ReturnAs<'c, K, V>,
    E: Send + Sync + 'static,
    Fut: Future,
{
    async move {
        let mut through = match begin() {
            Attempt::Hit(value) => {
                // The value is a local while the loader is dropped; so are the values below. A
                // value that is already being returned would leak if such a drop panicked.
                drop((load, as_loaded));
                return finish(Ok(value));
            }
            Attempt::ReadThrough(through) => through,
        };
        while let Some((waiter, at)) = through.waits() {
            let woken = waiter.wait_async(at).await;
            through.on(woken);
        }
        let mut lease = match through.end() {
            Resolution::Value(value) => {
                drop((load, as_loaded, through));
                return finish(Ok(value));
            }
            Resolution::Refused(why) => {
                drop((load, as_loaded, through));
                return finish(Err(why.into()));
            }
            Resolution::Lead(lease) => Some(lease),
            Resolution::Alone => None,
        };
        let flight = lease.as_ref().map(Lease::flight);
        let future = reentry::during(flight.as_slice(), || load(lease.as_ref()));
        let mut future = pin!(Some(future));
        let mut loading = Loading::new(flight.as_slice(), future.as_mut());
        let mut limit = through.inline_limit();
        let ended = poll_fn(|cx| match Pin::new(&mut loading).poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => through.poll_limit(&mut limit, lease.as_ref(), cx).map(Err),
        });
        let ended = ended.await;
        // Drop the load before the lease: a caller that takes the flight over must not run beside
        // what is left of this load.
        drop(loading);
        // Drop the limit before there is a result: its waker may panic when it is dropped, and the
        // result would leak.
        drop(limit);
        let output = match ended {
            Ok(output) => output,
            Err(instead) => {
                drop(lease);
                return finish(instead);
            }
        };
        lease.iter_mut().for_each(Lease::end_load);
        finish(match lease {
            Some(lease) => through.finish(lease, as_loaded(output)),
            None => through.alone(as_loaded(output)),
        })
    }
}

impl<K, V, S: BuildHasher> Cache<K, V, S> {
    /// As [`get_with`](Cache::get_with), for tasks: returns the value of a key. If there is none,
    /// one caller loads it, once, by the future that its `load` makes, while the others wait for
    /// it. Threads and tasks share one flight.
    ///
    /// The future is lazy: nothing happens before it is polled. It polls the loader's future
    /// itself, so a load runs only while this future is polled. Nothing is boxed, and no runtime is
    /// needed. It is `Send` if `F` and its future are, `Q: Sync`, `K, V: Send + Sync` and
    /// `S: Sync`. The cache's [`Timer`](crate::Timer) measures the `wait_timeout`.
    ///
    /// ```
    /// # use std::task::{Context, Poll, Waker};
    /// use bellwether::Cache;
    /// let cache: Cache<String, usize> = Cache::new(10);
    /// let length = cache.get_with_async("Seattle", || async { "Seattle".len() });
    /// # let mut length = std::pin::pin!(length);
    /// # let mut context = Context::from_waker(Waker::noop());
    /// # let Poll::Ready(length) = length.as_mut().poll(&mut context) else { panic!() };
    /// # assert_eq!((length, cache.get("Seattle")), (7, Some(7)));
    /// ```
    ///
    /// # Cancellation
    /// If the leader's future is dropped, at any `.await`, one of the waiters takes the load over
    /// with its own `load`. If a waiter's future is dropped, it leaves the flight at once. (A
    /// leader that is neither polled nor dropped holds the others up, until their `wait_timeout`.)
    ///
    /// # Panics
    /// If `load` or its future panics; the panic reaches this caller only.
    #[doc(alias = "get_or_insert_async")]
    #[doc(alias = "singleflight")]
    pub fn get_with_async<'c, Q, F, Fut>(&'c self, q: &'c Q, load: F) -> impl Future<Output = V>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = V>,
        V: Clone,
    {
        run_async(|| self.begin(q, true), |_| load(), |value| Ok(Loaded::New(value)), certain)
    }

    /// As [`try_get_with`](Cache::try_get_with), for tasks; see
    /// [`get_with_async`](Self::get_with_async).
    ///
    /// # Errors
    /// As [`try_get_with`](Cache::try_get_with); `Reentrant` if the loader's future of this same
    /// key asks for the key.
    ///
    /// # Cancellation, panics
    /// As [`get_with_async`](Self::get_with_async).
    #[doc(alias = "get_or_insert_async")]
    pub fn try_get_with_async<'c, Q, E, F, Fut>(
        &'c self,
        q: &'c Q,
        load: F,
    ) -> impl Future<Output = Result<V, LoadError<E>>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
        V: Clone,
        E: Send + Sync + 'static,
    {
        run_async(|| self.begin(q, false), |_| load(), as_loaded, |found| found)
    }

    /// As [`try_get_with_async`](Self::try_get_with_async), with a loader that gets the value that
    /// it replaces, fresh or expired, if there is one, and may answer that this value is still
    /// right, or say how long its new value is kept: see
    /// [`Request::revalidate_with`](crate::Request::revalidate_with).
    ///
    /// Cost: a hit is one of `try_get_with_async`, which clones the value. That of a
    /// [`Request`](crate::Request) counts a reference instead, and costs about twice as much.
    ///
    /// ```
    /// # use std::task::{Context, Poll, Waker};
    /// use bellwether::{Cache, Entry, Loaded, LoadError};
    /// use std::convert::Infallible;
    /// let pages: Cache<String, u32> = Cache::new(10);
    /// pages.insert("/".to_owned(), 7);
    /// pages.expire("/");
    /// let fetch = |old: Option<Entry<'_, String, u32>>| {
    ///     let answer = if old.is_some() { Loaded::NotModified } else { Loaded::New(8) };
    ///     async move { Ok::<_, Infallible>(answer) }
    /// };
    /// let page = pages.revalidate_with_async("/", fetch);
    /// # let mut page = std::pin::pin!(page);
    /// # let mut context = Context::from_waker(Waker::noop());
    /// # let Poll::Ready(page) = page.as_mut().poll(&mut context) else { panic!() };
    /// assert!(matches!(page, Ok(7)));
    /// ```
    ///
    /// # Errors
    /// As [`try_get_with_async`](Self::try_get_with_async); `NotModified` if the loader answers
    /// [`Loaded::NotModified`] and there was no old value.
    ///
    /// # Cancellation, panics
    /// As [`get_with_async`](Self::get_with_async).
    pub fn revalidate_with_async<'c, Q, E, F, Fut>(
        &'c self,
        q: &'c Q,
        load: F,
    ) -> impl Future<Output = Result<V, LoadError<E>>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        F: FnOnce(Option<Entry<'c, K, V>>) -> Fut,
        Fut: Future<Output = Result<Loaded<V>, E>>,
        V: Clone,
        E: Send + Sync + 'static,
    {
        // A value may have a time of its own, so the load is timed in any case.
        let begin = || match plain_hit(self.core(), q, self.hash(q)) {
            Some(value) => Attempt::Hit(value),
            None => {
                let manner = Manner::of_verb(false).and(Manner::TIMED);
                Attempt::ReadThrough(ReadThrough::<_, _, _, AsValue>::plain(self.core(), q, self.hash(q), manner))
            }
        };
        let load = |lease: Option<&Lease<'c, K, V>>| load(lease.and_then(Lease::old_entry));
        run_async(begin, load, |loaded| loaded, |found| found)
    }
}

/// Without the bounds of [`Cache::get_with_async`] its future is not `Send`. (The test
/// `futures_are_send` checks that with them it is.)
///
/// A loader's future that is not `Send`:
/// ```compile_fail
/// # use {bellwether::Cache, std::rc::Rc};
/// fn send<T: Send>(_: T) {}
/// let cache: Cache<u32, u32> = Cache::new(1);
/// send(cache.get_with_async(&1, || async {
///     let rc = Rc::new(1);
///     std::future::ready(()).await;
///     *rc
/// }));
/// ```
/// A closure that is not `Send`:
/// ```compile_fail
/// # use {bellwether::Cache, std::rc::Rc};
/// fn send<T: Send>(_: T) {}
/// let cache: Cache<u32, u32> = Cache::new(1);
/// let rc = Rc::new(1);
/// send(cache.get_with_async(&1, move || std::future::ready(*rc)));
/// ```
/// A query that is `Send` and not `Sync`:
/// ```compile_fail
/// # use {bellwether::{Cache, Equivalent, ToKey}, std::{cell::Cell, hash::{Hash, Hasher}}};
/// # struct Query(Cell<u32>);
/// # impl Hash for Query {
/// #     fn hash<H: Hasher>(&self, h: &mut H) { self.0.get().hash(h) }
/// # }
/// # impl Equivalent<u32> for Query {
/// #     fn equivalent(&self, k: &u32) -> bool { self.0.get() == *k }
/// # }
/// # impl ToKey<u32> for Query { fn to_key(&self) -> u32 { self.0.get() } }
/// fn send<T: Send>(_: T) {}
/// let cache: Cache<u32, u32> = Cache::new(1);
/// let query = Query(Cell::new(1));
/// send(cache.get_with_async(&query, || std::future::ready(1)));
/// ```
/// The same code without `send` compiles:
/// ```
/// # use bellwether::{Cache, Equivalent, ToKey};
/// # use std::{cell::Cell, hash::{Hash, Hasher}, rc::Rc};
/// # struct Query(Cell<u32>);
/// # impl Hash for Query {
/// #     fn hash<H: Hasher>(&self, h: &mut H) { self.0.get().hash(h) }
/// # }
/// # impl Equivalent<u32> for Query {
/// #     fn equivalent(&self, k: &u32) -> bool { self.0.get() == *k }
/// # }
/// # impl ToKey<u32> for Query { fn to_key(&self) -> u32 { self.0.get() } }
/// let cache: Cache<u32, u32> = Cache::new(1);
/// drop(cache.get_with_async(&1, || async {
///     let rc = Rc::new(1);
///     std::future::ready(()).await;
///     *rc
/// }));
/// let rc = Rc::new(1);
/// drop(cache.get_with_async(&1, move || std::future::ready(*rc)));
/// let query = Query(Cell::new(1));
/// drop(cache.get_with_async(&query, || std::future::ready(1)));
/// ```
#[cfg(all(doctest, feature = "std"))]
struct NotSend;
