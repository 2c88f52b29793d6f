//! Ready-made loaders: closures that get the old value, blocking loaders for tasks, and loaders
//! whose type can be named.

use super::load::{Load, LoadAsync};
use crate::api::builder::Builder;
use crate::api::handle::entry::Entry;
use crate::api::load::answers::Answers;
use crate::api::load::loading_cache::LoadingBuilder;
use crate::engine::outcome::Loaded;
use alloc::boxed::Box;
use core::fmt;
use core::future::Future;
use core::pin::Pin;

/// A loader made of a closure that gets the value that it replaces. From
/// [`Builder::revalidating_loader`], which says more.
///
/// The closure is `Fn(&K, Option<Entry<'static, K, V>>) -> Result<Loaded<V>, E>`, or returns a
/// future of such a result. In the one case this type is a [`Load`], in the other a [`LoadAsync`].
/// The cache calls [`revalidate`](Load::revalidate) for all loads. A direct call of
/// [`load`](Load::load) panics if the closure then answers that there is no value.
#[derive(Clone, Copy)]
pub struct Revalidating<F>(pub F);

impl<K, V, S> Builder<K, V, S> {
    /// Gives the cache a loader: a closure that gets the value that it replaces, fresh or expired,
    /// if there is one, and that may answer more than a value ([`Loaded`]). The closure is blocking
    /// ([`LoadingCache::load`](crate::LoadingCache::load)), or returns a future
    /// ([`LoadingCache::load_async`](crate::LoadingCache::load_async)). This is the last setting.
    ///
    /// ```
    /// use bellwether::{Cache, LoadError, Loaded};
    /// use std::convert::Infallible;
    /// use std::time::Duration;
    /// type Page = (u32, String);
    /// let pages = Cache::<String, Page>::builder()
    ///     .max_capacity(100)
    ///     .negative_ttl(Duration::from_secs(5))
    ///     .revalidating_loader(|path, old| match (path.as_str(), old.map(|page| page.0)) {
    ///         // The server's answer to `If-None-Match: 7`.
    ///         ("/", Some(7)) => Ok::<_, Infallible>(Loaded::NotModified),
    ///         ("/", _) => Ok(Loaded::New((7, "<html>".to_owned()))),
    ///         _ => Ok(Loaded::NotFound),
    ///     })
    ///     .build()?;
    /// assert_eq!(pages.load("/")?.0, 7);
    /// pages.expire("/");
    /// assert_eq!(pages.load("/")?.0, 7, "confirmed");
    /// assert!(matches!(pages.load("/nowhere"), Err(LoadError::NotFound)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn revalidating_loader<F, R>(self, load: F) -> LoadingBuilder<K, V, Revalidating<F>, S>
    where
        F: Fn(&K, Option<Entry<'static, K, V>>) -> R + Send + Sync + 'static,
    {
        self.loader(Revalidating(load))
    }
}

/// Returns the value of a load whose caller has no use for another answer.
fn value<V>(loaded: Loaded<V>) -> V {
    loaded.into_value().unwrap_or_else(|_| panic!("there is no value: call `revalidate`, which can say so"))
}

impl<K, V, E, F> Load<K, V> for Revalidating<F>
where
    F: Fn(&K, Option<Entry<'static, K, V>>) -> Result<Loaded<V>, E> + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    type Error = E;
    fn load(&self, key: &K) -> Result<V, E> {
        self.0(key, None).map(value)
    }
    fn revalidate(&self, key: &K, old: Option<Entry<'static, K, V>>) -> Result<Loaded<V>, E> {
        self.0(key, old)
    }
}

impl<K, V, E, F, Fut> LoadAsync<K, V> for Revalidating<F>
where
    F: Fn(&K, Option<Entry<'static, K, V>>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Loaded<V>, E>> + Send,
    E: Send + Sync + 'static,
{
    type Error = E;
    fn load(&self, key: &K) -> impl Future<Output = Result<V, E>> + Send {
        let loading = self.0(key, None);
        async { loading.await.map(value) }
    }
    fn revalidate(
        &self,
        key: &K,
        old: Option<Entry<'static, K, V>>,
    ) -> impl Future<Output = Result<Loaded<V>, E>> + Send {
        self.0(key, old)
    }
}

/// A blocking loader that tasks await. It is both a [`Load`] and a [`LoadAsync`].
///
/// Threads use it as they use the loader within. For tasks
/// ([`load_async`](crate::LoadingCache::load_async) and its like) the cache has its
/// [`spawner`](crate::Builder::spawner) run the loader as work that may block
/// ([`Spawn::spawn_blocking`](crate::Spawn::spawn_blocking)): with the feature `tokio`, on the
/// runtime's threads for blocking work. So no task blocks.
///
/// ```
/// use bellwether::{Blocking, Cache};
/// use std::convert::Infallible;
/// let lengths = Cache::builder()
///     .max_capacity(100)
///     .loader(Blocking(|key: &String| Ok::<usize, Infallible>(key.len())))
///     .build()?;
/// assert_eq!(lengths.load("Oslo")?, 4);
/// let length = lengths.load_async("Seattle");
/// # use std::{pin::pin, task::{Context, Poll, Wake, Waker}, thread::{self, Thread}};
/// # struct Unpark(Thread);
/// # impl Wake for Unpark {
/// #     fn wake(self: std::sync::Arc<Self>) { self.0.unpark() }
/// # }
/// # let waker = Waker::from(std::sync::Arc::new(Unpark(thread::current())));
/// # let mut length = pin!(length);
/// # let length = loop {
/// #     match length.as_mut().poll(&mut Context::from_waker(&waker)) {
/// #         Poll::Ready(length) => break length,
/// #         Poll::Pending => thread::park(),
/// #     }
/// # };
/// assert_eq!(length?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The futures of the trait's own methods block where they are polled: the cache does not use
/// them.
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug)]
pub struct Blocking<L>(pub L);

#[cfg(feature = "std")]
impl<K, V, L: Load<K, V>> Load<K, V> for Blocking<L> {
    type Error = L::Error;
    fn load(&self, key: &K) -> Result<V, L::Error> {
        self.0.load(key)
    }
    fn revalidate(&self, key: &K, old: Option<Entry<'static, K, V>>) -> Result<Loaded<V>, L::Error> {
        self.0.revalidate(key, old)
    }
    fn load_all(&self, keys: &[&K], answers: &mut Answers<'_, K, V, L::Error>) {
        self.0.load_all(keys, answers);
    }
}

#[cfg(feature = "std")]
impl<K, V, L> LoadAsync<K, V> for Blocking<L>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    L: Load<K, V>,
{
    type Error = L::Error;
    async fn load(&self, key: &K) -> Result<V, L::Error> {
        self.0.load(key)
    }
    async fn revalidate(&self, key: &K, old: Option<Entry<'static, K, V>>) -> Result<Loaded<V>, L::Error> {
        self.0.revalidate(key, old)
    }
    async fn load_all(&self, keys: &[&K], answers: &mut Answers<'_, K, V, L::Error>) {
        self.0.load_all(keys, answers);
    }
    fn blocking(&self) -> Option<&dyn Load<K, V, Error = L::Error>> {
        Some(&self.0)
    }
}

/// A blocking loader whose type can be named, for a [`LoadingCache`](crate::LoadingCache) in a
/// struct or a `static` whose loader is a closure. A load costs a call by a pointer.
///
/// ```
/// use bellwether::{BoxLoad, BuildError, Cache, LoadingCache};
/// use std::num::ParseIntError;
/// struct Numbers {
///     parsed: LoadingCache<String, i64, BoxLoad<String, i64, ParseIntError>>,
/// }
/// fn numbers(radix: u32) -> Result<Numbers, BuildError> {
///     let parse = move |text: &String| i64::from_str_radix(text, radix);
///     let parsed = Cache::builder().max_capacity(100).loader(BoxLoad::new(parse)).build()?;
///     Ok(Numbers { parsed })
/// }
/// let numbers = numbers(16)?;
/// assert_eq!(numbers.parsed.load("ff")?, 255);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct BoxLoad<K, V, E>(Box<dyn Load<K, V, Error = E>>);

impl<K, V, E: Send + Sync + 'static> BoxLoad<K, V, E> {
    /// Boxes a loader.
    pub fn new(loader: impl Load<K, V, Error = E>) -> Self {
        Self(Box::new(loader))
    }
}

impl<K: 'static, V: 'static, E: Send + Sync + 'static> Load<K, V> for BoxLoad<K, V, E> {
    type Error = E;
    fn load(&self, key: &K) -> Result<V, E> {
        self.0.load(key)
    }
    fn revalidate(&self, key: &K, old: Option<Entry<'static, K, V>>) -> Result<Loaded<V>, E> {
        self.0.revalidate(key, old)
    }
    fn load_all(&self, keys: &[&K], answers: &mut Answers<'_, K, V, E>) {
        self.0.load_all(keys, answers);
    }
}

/// An asynchronous loader whose type can be named: see [`BoxLoad`]. A load costs an allocation,
/// which holds the loader's future.
///
/// ```
/// use bellwether::{BoxLoadAsync, BuildError, Cache, LoadingCache};
/// use std::convert::Infallible;
/// type Lengths = LoadingCache<String, usize, BoxLoadAsync<String, usize, Infallible>>;
/// fn lengths() -> Result<Lengths, BuildError> {
///     let length = |key: &String| {
///         let key = key.clone();
///         async move { Ok(key.len()) }
///     };
///     Cache::builder().max_capacity(100).loader(BoxLoadAsync::new(length)).build()
/// }
/// # lengths()?;
/// # Ok::<(), BuildError>(())
/// ```
pub struct BoxLoadAsync<K, V, E>(Box<dyn DynLoadAsync<K, V, E>>);

/// A future of a boxed loader.
type Boxed<'l, T> = Pin<Box<dyn Future<Output = T> + Send + 'l>>;

/// [`LoadAsync`] as a trait of objects.
trait DynLoadAsync<K, V, E>: Send + Sync + 'static {
    fn load<'l>(&'l self, key: &'l K) -> Boxed<'l, Result<V, E>>;
    fn revalidate<'l>(&'l self, key: &'l K, old: Option<Entry<'static, K, V>>) -> Boxed<'l, Result<Loaded<V>, E>>;
    fn load_all<'l>(&'l self, keys: &'l [&'l K], answers: &'l mut Answers<'_, K, V, E>) -> Boxed<'l, ()>
    where
        K: Send + Sync,
        V: Send + Sync;
    #[cfg(feature = "std")]
    fn blocking(&self) -> Option<&dyn Load<K, V, Error = E>>;
}

impl<K: 'static, V: 'static, L: LoadAsync<K, V>> DynLoadAsync<K, V, L::Error> for L {
    fn load<'l>(&'l self, key: &'l K) -> Boxed<'l, Result<V, L::Error>> {
        Box::pin(LoadAsync::load(self, key))
    }
    fn revalidate<'l>(
        &'l self,
        key: &'l K,
        old: Option<Entry<'static, K, V>>,
    ) -> Boxed<'l, Result<Loaded<V>, L::Error>> {
        Box::pin(LoadAsync::revalidate(self, key, old))
    }
    fn load_all<'l>(&'l self, keys: &'l [&'l K], answers: &'l mut Answers<'_, K, V, L::Error>) -> Boxed<'l, ()>
    where
        K: Send + Sync,
        V: Send + Sync,
    {
        Box::pin(LoadAsync::load_all(self, keys, answers))
    }
    #[cfg(feature = "std")]
    fn blocking(&self) -> Option<&dyn Load<K, V, Error = L::Error>> {
        LoadAsync::blocking(self)
    }
}

impl<K: 'static, V: 'static, E: Send + Sync + 'static> BoxLoadAsync<K, V, E> {
    /// Boxes a loader.
    pub fn new(loader: impl LoadAsync<K, V, Error = E>) -> Self {
        Self(Box::new(loader))
    }
}

impl<K, V, E> LoadAsync<K, V> for BoxLoadAsync<K, V, E>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    type Error = E;
    async fn load(&self, key: &K) -> Result<V, E> {
        self.0.load(key).await
    }
    async fn revalidate(&self, key: &K, old: Option<Entry<'static, K, V>>) -> Result<Loaded<V>, E> {
        self.0.revalidate(key, old).await
    }
    async fn load_all(&self, keys: &[&K], answers: &mut Answers<'_, K, V, E>) {
        self.0.load_all(keys, answers).await;
    }
    #[cfg(feature = "std")]
    fn blocking(&self) -> Option<&dyn Load<K, V, Error = E>> {
        self.0.blocking()
    }
}

impl<F> fmt::Debug for Revalidating<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Revalidating")
    }
}

impl<K, V, E> fmt::Debug for BoxLoad<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxLoad")
    }
}

impl<K, V, E> fmt::Debug for BoxLoadAsync<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxLoadAsync")
    }
}
