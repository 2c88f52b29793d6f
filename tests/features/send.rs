//! Futures of every async verb are `Send`, for keys, values and errors that hold `'static` borrows
//! or trait objects.
//!
//! It is enough that it compiles: within a task that is sent, the compiler forgets which lifetimes
//! are `'static`, and which are the same. A verb whose future needs to know is refused there
//! ("implementation of `Send` is not general enough").
#![allow(dead_code, reason = "it is enough that it compiles")]

use bellwether::{Blocking, BoxLoadAsync, Cache, Equivalent, LoadAsync, Loaded, LoadingCache, Lookup, Op, ToKey};
use std::borrow::Cow;
use std::convert::Infallible;
use std::error::Error;
use std::fmt::{self, Debug};
use std::hash::{BuildHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;

fn send<T: Send>(future: T) -> T {
    future
}

/// A key that holds a trait object.
#[derive(Clone)]
struct DynKey(Arc<dyn Name + Send + Sync>);

/// A key that owns one.
struct BoxKey(Box<dyn Name + Send + Sync>);

trait Name: Debug {
    fn name(&self) -> &str;
}

#[derive(Debug)]
struct Named(&'static str);

impl Name for Named {
    fn name(&self) -> &str {
        self.0
    }
}

macro_rules! by_name {
    ($($key:ty),*) => {$(
        impl PartialEq for $key {
            fn eq(&self, other: &Self) -> bool {
                self.0.name() == other.0.name()
            }
        }
        impl Eq for $key {}
        impl Hash for $key {
            fn hash<H: Hasher>(&self, h: &mut H) {
                self.0.name().hash(h);
            }
        }
    )*};
}
by_name!(DynKey, BoxKey);

impl Clone for BoxKey {
    fn clone(&self) -> Self {
        Self(Box::new(Named("one")))
    }
}

type DynValue = Arc<dyn Debug + Send + Sync>;
/// A value that is not `Clone`, for the verbs that do not ask for it.
type BoxValue = Box<dyn Debug + Send + Sync>;
type DynError = Box<dyn Error + Send + Sync>;
type Pair = (&'static str, Cow<'static, str>);

/// A value whose type has a lifetime in a function pointer and in a trait object, too.
#[derive(Clone)]
struct Odd(fn(&'static str) -> &'static str, Arc<Describe>);

type Describe = dyn Fn(&str) -> Cow<'static, str> + Send + Sync;

/// A type of the user's own, with a parameter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Own<'a, T>(Cow<'a, str>, T);

/// The async verbs whose values need not be `Clone`.
macro_rules! counted_verbs {
    ($cache:expr, $key:expr, $value:expr, $error:ty) => {{
        let cache = $cache;
        drop(send(async { cache.entry(&$key).get_with_async(|| async { $value }).await.1 }));
        drop(send(async { cache.entry(&$key).try_get_with_async(|| async { Ok::<_, $error>($value) }).await.is_ok() }));
        drop(send(async {
            let key = $key;
            let request = cache.entry(&key).revalidate_with_async(|old| async move {
                std::future::ready(()).await;
                drop(old);
                Ok::<_, $error>(Loaded::New($value))
            });
            request.await.is_ok()
        }));
        drop(send(async { cache.detached(&$key).get_with_async(|| async { $value }).await.1 }));
        drop(send(async {
            cache.detached(&$key).try_get_with_async(|| async { Ok::<_, $error>($value) }).await.is_ok()
        }));
        drop(send(async { cache.detached(&$key).get_with_key_async(|_| async { $value }).await.1 }));
        drop(send(async {
            cache.detached(&$key).try_get_with_key_async(|_| async { Ok::<_, $error>($value) }).await.is_ok()
        }));
        drop(send(async {
            let key = $key;
            let request = cache.detached(&key).revalidate_with_async(|_, old| async move {
                std::future::ready(()).await;
                drop(old);
                Ok::<_, $error>(Loaded::New($value))
            });
            request.await.is_ok()
        }));
        drop(send(async {
            match cache.lease(&$key) {
                Lookup::Wait(waiter) => drop(waiter.await),
                Lookup::Lead(lease) => {
                    std::future::ready(()).await;
                    drop(lease.fulfil($value));
                }
                _ => {}
            }
        }));
        drop(send(async {
            let key = $key;
            let change = cache.compute_async(&key, |old| async move {
                std::future::ready(()).await;
                drop(old);
                Op::Put($value)
            });
            let change = change.await;
            std::future::ready(()).await;
            change.applied
        }));
        drop(send(async { cache.try_compute_async(&$key, |_| async { Ok::<_, $error>(Op::Nop) }).await.is_ok() }));
        drop(send(async { cache.upsert_async(&$key, |_| async { $value }).await.applied }));
        let cache = cache.clone();
        drop(send(async move {
            let Lookup::Lead(lease) = cache.lease_owned(&$key) else { return };
            std::future::ready(()).await;
            let entry = lease.fulfil($value);
            std::future::ready(()).await;
            drop(entry);
        }));
    }};
}

/// The async verbs of a cache.
macro_rules! verbs {
    ($key_type:ty, $value_type:ty, $key:expr, $value:expr, $error:ty) => {{
        let cache: Arc<Cache<$key_type, $value_type>> = Arc::new(Cache::new(10));
        let (one, two) = (cache.clone(), cache.clone());
        drop(send(async move { one.get_with_async(&$key, || async { $value }).await }));
        drop(send(async move { two.try_get_with_async(&$key, || async { Ok::<_, $error>($value) }).await.is_ok() }));
        counted_verbs!(cache, $key, $value, $error);
    }};
}

/// The async verbs of a cache with a loader.
macro_rules! loading_verbs {
    ($cache:expr, $key:expr) => {{
        let cache = $cache;
        let (one, two, three) = (cache.clone(), cache.clone(), cache.clone());
        drop(send(async move { one.load_async(&$key).await.is_ok() }));
        drop(send(async move { two.load_all_async(&[$key]).await.len() }));
        drop(send(async move {
            let keys = [$key, $key];
            let found = three.load_all_async(keys.iter()).await;
            std::future::ready(()).await;
            found.iter().filter(|found| found.is_ok()).count()
        }));
        let four = cache.clone();
        drop(send(async move {
            let found = four.request(&$key).load_async().await;
            std::future::ready(()).await;
            found.is_ok()
        }));
        drop(send(async move { cache.refresh_async(&$key) }));
    }};
}

fn dyn_value() -> DynValue {
    Arc::new(1)
}

fn odd() -> Odd {
    Odd(|s| s, Arc::new(|s| s.to_owned().into()))
}

fn key() -> DynKey {
    DynKey(Arc::new(Named("one")))
}

#[test]
fn every_async_verb_is_send_for_static_borrows_and_trait_objects() {
    verbs!(u8, String, 1, String::new(), Infallible);
    verbs!(u8, &'static str, 1, "v", &'static str);
    verbs!(&'static str, u8, "k", 1, Cow<'static, str>);
    verbs!(&'static str, &'static str, "k", "v", DynError);
    verbs!(u8, DynValue, 1, dyn_value(), Arc<dyn Error + Send + Sync>);
    verbs!(DynKey, DynValue, key(), dyn_value(), DynError);
    verbs!(BoxKey, Cow<'static, str>, BoxKey(Box::new(Named("one"))), Cow::Borrowed("v"), fmt::Error);
    verbs!(Cow<'static, str>, Pair, Cow::Borrowed("k"), ("v", Cow::Borrowed("w")), (&'static str, DynError));
    verbs!(Pair, Odd, ("k", Cow::Borrowed("l")), odd(), Own<'static, DynError>);
    verbs!(
        Own<'static, &'static str>,
        Own<'static, Pair>,
        Own("k".into(), "l"),
        Own("v".into(), ("w", "x".into())),
        Infallible
    );
    verbs!(&'static [&'static str], Arc<[&'static str]>, &["k"][..], Arc::from(["v"]), Arc<[&'static str]>);
    verbs!(String, Vec<Box<fn(&str) -> &str>>, String::new(), Vec::new(), Box<dyn Fn(&str) -> &str + Send + Sync>);
}

#[test]
fn and_for_values_that_are_not_clone() {
    let cache: Arc<Cache<&'static str, BoxValue>> = Arc::new(Cache::new(10));
    counted_verbs!(cache, "k", Box::new(1) as BoxValue, DynError);
    let cache: Arc<Cache<DynKey, &'static (dyn Debug + Send + Sync)>> = Arc::new(Cache::new(10));
    counted_verbs!(cache, key(), &1 as &'static (dyn Debug + Send + Sync), DynError);
}

/// A query of another type than the key, which borrows.
#[derive(Hash)]
struct Query<'a>(&'a str);

impl Equivalent<&'static str> for Query<'_> {
    fn equivalent(&self, key: &&'static str) -> bool {
        self.0 == *key
    }
}
impl ToKey<&'static str> for Query<'_> {
    fn to_key(&self) -> &'static str {
        self.0.to_owned().leak()
    }
}

#[test]
fn and_for_queries_that_borrow() {
    let cache: Arc<Cache<&'static str, &'static str>> = Arc::new(Cache::new(10));
    counted_verbs!(cache, Query("k"), "v", &'static str);
    let cache: Arc<Cache<Cow<'static, str>, DynValue>> = Arc::new(Cache::new(10));
    let (one, two) = (cache.clone(), cache.clone());
    let name = "k".to_owned();
    drop(send(async { one.entry(name.as_str()).get_with_async(|| async { dyn_value() }).await.1 }));
    drop(send(async { two.detached(name.as_str()).get_with_async(|| async { dyn_value() }).await.1 }));
}

/// A loader for one lifetime alone: `'static`.
struct Loader;

impl LoadAsync<u8, &'static str> for Loader {
    type Error = Infallible;
    async fn load(&self, _: &u8) -> Result<&'static str, Infallible> {
        std::future::ready(()).await;
        Ok("loaded")
    }
}
impl LoadAsync<&'static str, DynValue> for Loader {
    type Error = DynError;
    async fn load(&self, key: &&'static str) -> Result<DynValue, DynError> {
        std::future::ready(()).await;
        Ok(Arc::new(*key))
    }
}
impl LoadAsync<Cow<'static, str>, Pair> for Loader {
    type Error = &'static str;
    async fn load(&self, key: &Cow<'static, str>) -> Result<Pair, &'static str> {
        std::future::ready(()).await;
        Ok(("loaded", key.clone()))
    }
}
impl LoadAsync<DynKey, Odd> for Loader {
    type Error = Own<'static, DynError>;
    async fn load(&self, _: &DynKey) -> Result<Odd, Own<'static, DynError>> {
        std::future::ready(()).await;
        Ok(odd())
    }
}

fn loading<K, V>() -> LoadingCache<K, V, Loader>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    Loader: LoadAsync<K, V>,
{
    Cache::builder().max_capacity(10).loader(Loader).build().unwrap()
}

#[test]
fn and_for_loaders() {
    loading_verbs!(loading::<u8, &'static str>(), 1);
    loading_verbs!(loading::<&'static str, DynValue>(), "k");
    loading_verbs!(loading::<Cow<'static, str>, Pair>(), Cow::Borrowed("k"));
    loading_verbs!(loading::<DynKey, Odd>(), key());
    let closure = |key: &&'static str| std::future::ready(Ok::<_, DynError>(*key));
    let by_closure = Cache::builder().max_capacity(10).loader(closure).build().unwrap();
    loading_verbs!(by_closure, "k");
    let boxed: BoxLoadAsync<&'static str, &'static str, DynError> = BoxLoadAsync::new(closure);
    loading_verbs!(Cache::builder().max_capacity(10).loader(boxed).build().unwrap(), "k");
    let blocking = Blocking(|key: &Cow<'static, str>| Ok::<_, DynError>(Pair::from(("v", key.clone()))));
    loading_verbs!(Cache::builder().max_capacity(10).loader(blocking).build().unwrap(), Cow::Borrowed("k"));
    let revalidating = Cache::<DynKey, DynValue>::builder().max_capacity(10).revalidating_loader(|_, old| async move {
        std::future::ready(()).await;
        Ok::<_, DynError>(old.map_or(Loaded::NotFound, |_| Loaded::NotModified))
    });
    loading_verbs!(revalidating.build().unwrap(), key());
}

/// Generic code, under the bounds that `get_with_async` needs and those that a spawner adds.
fn generic<K, V, S, E, L>(cache: Arc<Cache<K, V, S>>, loading: LoadingCache<K, V, L, S>, key: K, load: fn() -> V)
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    E: Send + Sync + 'static,
    L: LoadAsync<K, V>,
{
    let load = move || std::future::ready(load());
    drop(send(async {
        let one = cache.get_with_async(&key, load).await;
        let two = cache.entry(&key).get_with_async(load).await.1;
        let three = cache.entry(&key).try_get_with_async(|| async { Ok::<_, E>(load().await) }).await.is_ok();
        let four = cache.entry(&key).revalidate_with_async(|_| async { Ok::<_, E>(Loaded::New(load().await)) }).await;
        let five = cache.detached(&key).get_with_async(load).await.1;
        let six = cache.detached(&key).try_get_with_async(move || async move { Ok::<_, E>(load().await) }).await;
        let seven = loading.load_async(&key).await;
        let eight = loading.load_all_async([&key]).await;
        let eleven = cache.upsert_async(&key, |_| load()).await.applied;
        let nine = cache
            .detached(&key)
            .revalidate_with_async(move |_, _| async move { Ok::<_, E>(Loaded::New(load().await)) });
        let ten = loading.request(&key).load_async().await;
        (
            one,
            two,
            three,
            four.is_ok(),
            five,
            six.is_ok(),
            seven.is_ok(),
            eight.len(),
            nine.await.is_ok(),
            ten.is_ok(),
            eleven,
        )
    }));
}

/// Whatever borrows for less than `'static` is `Send` in the verbs that do not send it elsewhere.
fn borrowed<'a, V: Clone + Send + Sync>(cache: &Cache<&'a str, V>, key: &'a str, value: V) {
    drop(send(async {
        let value = || std::future::ready(value.clone());
        let (entry, _) = cache.entry(&key).get_with_async(value).await;
        std::future::ready(()).await;
        let change = cache.upsert_async(&key, |_| value()).await;
        std::future::ready(()).await;
        drop(change);
        entry
    }));
}

/// Nothing of it is asked for where a task is not sent.
#[test]
fn what_is_not_sent_need_not_be_send() {
    let cache: Cache<&'static str, &'static str> = Cache::new(10);
    // It compiles, without `send`.
    drop(cache.entry(&"k").get_with_async(|| async {
        let rc = Rc::new("v");
        std::future::ready(()).await;
        *rc
    }));
}
