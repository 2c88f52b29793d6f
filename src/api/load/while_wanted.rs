//! Loads in the background that live no longer than callers wait for them.

use crate::api::load::detached::Detached;

impl<K, V, S, Q: ?Sized> Detached<'_, K, V, S, Q> {
    /// Has the load, if this caller begins it, live no longer than callers wait for it. Once the
    /// last of them has left (it was cancelled, or its deadline ran out), the load's future is
    /// dropped, and the flight ends without a value. A caller that comes as the load is dropped
    /// loads anew.
    ///
    /// A load that has not begun by then is not begun. A blocking load that has begun runs on, and
    /// its value is stored. A load that no caller waits for from the beginning (an early refresh,
    /// or one while a stale value is served) is for later readers, and lives without waiters.
    ///
    /// ```
    /// use bellwether::Cache;
    /// use std::sync::Arc;
    /// # use std::{pin::pin, task::{Context, Poll, Waker}, sync::Mutex};
    /// # let loads: Arc<Mutex<Vec<bellwether::Task>>> = Arc::default();
    /// # let (spawned, context) = (loads.clone(), &mut Context::from_waker(Waker::noop()));
    /// let builder = Cache::builder().max_capacity(10);
    /// # let builder = builder.spawner(move |load| spawned.lock().unwrap().push(load));
    /// let cache: Arc<Cache<u32, u64>> = Arc::new(builder.build()?);
    /// let slow = || std::future::pending();
    /// let mut request = Box::pin(cache.detached(&1).while_wanted().get_with_async(slow));
    /// # assert!(request.as_mut().poll(context).is_pending());
    /// # let mut load = loads.lock().unwrap().pop().unwrap();
    /// # assert!(load.as_mut().poll(context).is_pending());
    /// assert!(cache.is_loading(&1));
    /// drop(request);
    /// # assert!(load.as_mut().poll(context).is_ready());
    /// assert!(!cache.is_loading(&1), "it was dropped when nobody waited");
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    pub fn while_wanted(mut self) -> Self {
        self.limits.while_wanted = true;
        self
    }
}
