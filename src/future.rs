//! The asynchronous face: how a task waits, and the read-through verbs for tasks. It knows no runtime.

#[cfg(feature = "std")]
use crate::alarms::ThreadTimer;
use crate::cache::Cache;
#[cfg(feature = "std")]
use crate::clock::{Clock, CoarseClock};
use crate::engine::Core;
use crate::error::LoadError;
use crate::expiry::nanos;
use crate::key::ToKey;
use crate::lease::Lease;
use crate::stats::Event;
use crate::sync::untracked::{AtomicBool, AtomicPtr, Ordering};
use crate::through::{Cloned, End, Form, Next, Through, land, plain_hit, store};
#[cfg(feature = "std")]
use crate::timer::Timer;
use crate::waiter::{Waiter, Woken};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::task::Wake;
use core::future::{Future, poll_fn};
use core::hash::{BuildHasher, Hash};
use core::pin::{Pin, pin};
use core::ptr;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use equivalent::Equivalent;

/// When a task stops waiting: by the cache's clock and timer.
struct Until<'c, K, V> {
    core: &'c Core<K, V>,
    /// In ns of [`Self::now`].
    at: u64,
    alarm: Option<Arc<Alarm>>,
    /// The waker that the alarm has.
    task: Option<Waker>,
}

/// Wakes the task that was polled last, once. Timers keep an alarm until its time, so it lets go of the task before that if
/// nobody waits any more.
struct Alarm {
    task: AtomicPtr<Waker>,
    gone_off: AtomicBool,
}

impl Alarm {
    /// Gives it another task to wake, or none; the one that it had.
    fn swap(&self, task: Option<Waker>) -> Option<Waker> {
        let new = task.map_or(ptr::null_mut(), |task| Box::into_raw(Box::new(task)));
        // AcqRel: the waker goes with its pointer, both ways; and `gone_off` is seen by who comes after `wake`.
        let old = self.task.swap(new, Ordering::AcqRel);
        // SAFETY: what is not null came from `Box::into_raw` above, and each swap hands it to one owner.
        (!old.is_null()).then(|| *unsafe { Box::from_raw(old) })
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        // Before the swap, which publishes it: whoever gives it another task afterwards sees that it is of no use any more.
        self.gone_off.store(true, Ordering::Relaxed);
        if let Some(task) = self.swap(None) {
            task.wake();
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        drop(self.swap(None));
    }
}

impl<'c, K, V> Until<'c, K, V> {
    /// None for a time that never comes, or that nothing could tell of.
    fn after(core: &'c Core<K, V>, timeout: Duration) -> Option<Self> {
        let mut until = Self { core, at: 0, alarm: None, task: None };
        if cfg!(not(feature = "std")) && core.config.timer.is_none() {
            return None;
        }
        until.at = until.now().saturating_add(nanos(timeout));
        (until.at != u64::MAX).then_some(until)
    }

    /// Whether the user's clock has no timer: then the system's clock is waited by.
    #[cfg(feature = "std")]
    fn by_system(&self) -> bool {
        self.core.config.timer.is_none() && self.core.config.time.is_custom()
    }

    fn now(&self) -> u64 {
        #[cfg(feature = "std")]
        if self.by_system() {
            return CoarseClock::new().now();
        }
        self.core.config.time.now()
    }

    fn set(&self, alarm: Arc<Alarm>) {
        #[cfg(feature = "std")]
        if self.by_system() {
            return ThreadTimer::new().wake_at(self.at, Waker::from(alarm));
        }
        self.core.config.wake_at(self.core.config.time.to_clock(self.at), Waker::from(alarm));
    }

    fn is_over(&mut self, cx: &Context<'_>) -> bool {
        if self.now() >= self.at {
            return true;
        }
        let same = self.task.as_ref().is_some_and(|task| task.will_wake(cx.waker()));
        if !same {
            self.task = Some(cx.waker().clone());
        }
        // One alarm for all polls: timers keep them until their time. Another if it has gone off and the clock has stepped
        // back since.
        if let Some(alarm) = &self.alarm {
            if !same {
                drop(alarm.swap(self.task.clone()));
            }
            if !alarm.gone_off.load(Ordering::Relaxed) {
                return false;
            }
        }
        let alarm = Arc::new(Alarm { task: AtomicPtr::new(ptr::null_mut()), gone_off: AtomicBool::new(false) });
        drop(alarm.swap(self.task.clone()));
        self.alarm = Some(alarm.clone());
        self.set(alarm);
        // The timer may fire before it has been told.
        self.now() >= self.at
    }
}

impl<K, V> Drop for Until<'_, K, V> {
    fn drop(&mut self) {
        if let Some(alarm) = &self.alarm {
            drop(alarm.swap(None));
        }
    }
}

/// A loader's future, polled, and dropped, as what it is: if it asks for the key that it loads, it is told so rather than left
/// to wait for itself.
pub(crate) struct Loading<'l, 'c, K, V, Fut> {
    lease: &'l Lease<'c, K, V>,
    future: Pin<&'l mut Option<Fut>>,
}

impl<'l, 'c, K, V, Fut> Loading<'l, 'c, K, V, Fut> {
    pub(crate) fn new(lease: &'l Lease<'c, K, V>, future: Pin<&'l mut Option<Fut>>) -> Self {
        Self { lease, future }
    }
}

impl<K, V, Fut: Future> Future for Loading<'_, '_, K, V, Fut> {
    type Output = Fut::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Fut::Output> {
        let lease = self.lease;
        match self.future.as_mut().as_pin_mut() {
            Some(future) => lease.guarded(|_| future.poll(cx)),
            None => unreachable!("it is there until this is dropped"),
        }
    }
}

impl<K, V, Fut> Drop for Loading<'_, '_, K, V, Fut> {
    fn drop(&mut self) {
        self.lease.guarded(|_| self.future.set(None));
    }
}

/// Waits; None: the deadline came first.
async fn wait<'c, K, V>(waiter: &mut Waiter<'c, K, V>, until: &mut Option<Until<'c, K, V>>) -> Option<Woken<'c, K, V>> {
    poll_fn(|cx| match waiter.poll_woken(cx) {
        Poll::Ready(woken) => Poll::Ready(Some(woken)),
        // The flight may have ended in the same moment.
        Poll::Pending if until.as_mut().is_some_and(|until| until.is_over(cx)) => Poll::Ready(waiter.check()),
        Poll::Pending => Poll::Pending,
    })
    .await
}

impl<K, V, S: BuildHasher> Cache<K, V, S> {
    /// As [`get_with`](Cache::get_with), for tasks: the value of a key, loaded by the future that `load` makes if there is
    /// none, by one caller, once, while the others wait for it. Threads and tasks share one flight.
    ///
    /// Lazy: nothing happens before it is polled. The loader's future is polled within this one, so it runs as long as this
    /// is polled; nothing is boxed, and no runtime is needed. It is `Send` if `F` and its future are, `Q: Sync`,
    /// `K, V: Send + Sync` and `S: Sync`. `wait_timeout` is by the cache's [`Timer`](crate::Timer).
    ///
    /// ```
    /// # use std::task::{Context, Poll, Waker};
    /// use bellwether::Cache;
    /// let cache: Cache<String, usize> = Cache::new(10);
    /// let length = cache.get_with_async("Seattle", || async { "Seattle".len() });
    /// # let mut length = std::pin::pin!(length);
    /// # let Poll::Ready(length) = length.as_mut().poll(&mut Context::from_waker(Waker::noop())) else { panic!() };
    /// # assert_eq!((length, cache.get("Seattle")), (7, Some(7)));
    /// ```
    ///
    /// # Cancellation
    /// Dropping the future of the caller who loads, at any `.await`, hands the load over: one of those who wait takes it on
    /// with its own `load`. Dropping that of one who waits leaves the flight at once. (A leader that is neither polled nor
    /// dropped holds the others up, until their `wait_timeout`.)
    ///
    /// # Panics
    /// If `load` or its future does: it reaches this caller only.
    pub async fn get_with_async<Q, F, Fut>(&self, q: &Q, load: F) -> V
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = V>,
        V: Clone,
    {
        match self.read_through_async(q, true).await {
            End::Value(value) => value,
            End::Lead(lease) => {
                let value = Loading::new(&lease, pin!(Some(lease.guarded(|_| load())))).await;
                store::<K, V, Cloned>(lease, value, None)
            }
            End::Alone(_) => {
                self.core().count(Event::Bypassed);
                load().await
            }
        }
    }

    /// As [`try_get_with`](Cache::try_get_with), for tasks; see [`get_with_async`](Self::get_with_async).
    ///
    /// # Errors
    /// As [`try_get_with`](Cache::try_get_with); `Reentrant` if the loader's future of this very key asks for it.
    ///
    /// # Cancellation, panics
    /// As [`get_with_async`](Self::get_with_async).
    pub async fn try_get_with_async<Q, E, F, Fut>(&self, q: &Q, load: F) -> Result<V, LoadError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
        V: Clone,
        E: Send + Sync + 'static,
    {
        match self.read_through_async(q, false).await {
            End::Value(value) => Ok(value),
            End::Lead(lease) => {
                let loaded = Loading::new(&lease, pin!(Some(lease.guarded(|_| load())))).await;
                land::<K, V, Cloned, E>(lease, loaded, None)
            }
            End::Alone(alone) => match alone.error() {
                Some(error) => Err(error),
                None => {
                    self.core().count(Event::Bypassed);
                    load().await.map_err(|e| LoadError::Load(Arc::new(e)))
                }
            },
        }
    }

    async fn read_through_async<Q>(&self, q: &Q, lenient: bool) -> End<'_, K, V, V>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
        V: Clone,
    {
        let (core, hash) = (self.core(), self.hash(q));
        if let Some(value) = plain_hit(core, q, hash) {
            return End::Value(value);
        }
        await_through(Through::<K, V, Q, Cloned>::new(core, q, hash, lenient), core.config.wait_timeout).await
    }
}

/// Sees a lookup through, as a task.
pub(crate) async fn await_through<'c, K, V, Q, F>(
    mut through: Through<'c, '_, K, V, Q, F>,
    timeout: Option<Duration>,
) -> End<'c, K, V, F::Out>
where
    Q: ?Sized + Equivalent<K> + ToKey<K>,
    F: Form<'c, K, V>,
{
    let core = through.core();
    let mut next = through.board();
    let mut until = None;
    loop {
        let mut waiter = match next {
            Next::End(end) => return end,
            Next::Wait(waiter) => waiter,
        };
        if until.is_none() {
            until = timeout.and_then(|timeout| Until::after(core, timeout));
        }
        let woken = wait(&mut waiter, &mut until).await;
        next = through.on(woken);
    }
}

/// Without the bounds of [`Cache::get_with_async`] its future is not `Send`. (With them it is: `tests/tasks.rs`.)
///
/// A loader's future that is not:
/// ```compile_fail
/// # use {bellwether::Cache, std::rc::Rc};
/// fn send<T: Send>(_: T) {}
/// let cache: Cache<u32, u32> = Cache::new(1);
/// send(cache.get_with_async(&1, || async { let rc = Rc::new(1); std::future::ready(()).await; *rc }));
/// ```
/// A closure that is not:
/// ```compile_fail
/// # use {bellwether::Cache, std::rc::Rc};
/// fn send<T: Send>(_: T) {}
/// let cache: Cache<u32, u32> = Cache::new(1);
/// let rc = Rc::new(1);
/// send(cache.get_with_async(&1, move || std::future::ready(*rc)));
/// ```
/// A query that is not `Sync`, though it is `Send`:
/// ```compile_fail
/// # use {bellwether::{Cache, Equivalent, ToKey}, std::{cell::Cell, hash::{Hash, Hasher}}};
/// # struct Query(Cell<u32>);
/// # impl Hash for Query { fn hash<H: Hasher>(&self, h: &mut H) { self.0.get().hash(h) } }
/// # impl Equivalent<u32> for Query { fn equivalent(&self, k: &u32) -> bool { self.0.get() == *k } }
/// # impl ToKey<u32> for Query { fn to_key(&self) -> u32 { self.0.get() } }
/// fn send<T: Send>(_: T) {}
/// let cache: Cache<u32, u32> = Cache::new(1);
/// let query = Query(Cell::new(1));
/// send(cache.get_with_async(&query, || std::future::ready(1)));
/// ```
/// The very same, without `send`, compile:
/// ```
/// # use {bellwether::{Cache, Equivalent, ToKey}, std::{cell::Cell, hash::{Hash, Hasher}, rc::Rc}};
/// # struct Query(Cell<u32>);
/// # impl Hash for Query { fn hash<H: Hasher>(&self, h: &mut H) { self.0.get().hash(h) } }
/// # impl Equivalent<u32> for Query { fn equivalent(&self, k: &u32) -> bool { self.0.get() == *k } }
/// # impl ToKey<u32> for Query { fn to_key(&self) -> u32 { self.0.get() } }
/// let cache: Cache<u32, u32> = Cache::new(1);
/// drop(cache.get_with_async(&1, || async { let rc = Rc::new(1); std::future::ready(()).await; *rc }));
/// let rc = Rc::new(1);
/// drop(cache.get_with_async(&1, move || std::future::ready(*rc)));
/// let query = Query(Cell::new(1));
/// drop(cache.get_with_async(&query, || std::future::ready(1)));
/// ```
#[cfg(all(doctest, feature = "std"))]
struct NotSend;
