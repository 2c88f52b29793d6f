//! Loaders: what a cache with a loader of its own calls for a value.

use crate::api::handle::entry::Entry;
use crate::api::load::answers::Answers;
use crate::engine::outcome::Loaded;
use core::future::Future;

/// Loads the values of a [`LoadingCache`](crate::LoadingCache), blocking. A closure
/// `Fn(&K) -> Result<V, E>` is a loader.
///
/// Its counterpart for tasks is [`LoadAsync`], whose verbs end in `_async`:
/// [`load_async`](crate::LoadingCache::load_async). [`Blocking`](crate::Blocking) lets tasks await
/// a blocking loader. [`BoxLoad`](crate::BoxLoad) is a type to name where the loader is a closure.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no blocking loader of values `{V}` by keys `{K}`",
    label = "neither a `Load<{K}, {V}>` nor a closure `Fn(&{K}) -> Result<{V}, E>`",
    note = "a loader that returns futures is a `LoadAsync`: its verbs are `load_async`, `load_all_async` and `refresh_async`"
)]
pub trait Load<K, V>: Send + Sync + 'static {
    /// The error of a load that gives no value.
    type Error: Send + Sync + 'static;

    /// Loads the value of a key.
    fn load(&self, key: &K) -> Result<V, Self::Error>;

    /// Loads the value of a key, and gets the value that it replaces, fresh or expired, if there is
    /// one. It may answer that this value is still right, that there is no value, or for how long
    /// the new one is kept. The cache calls this method for each load of one key. The default calls
    /// [`load`](Self::load).
    ///
    /// [`Builder::revalidating_loader`](crate::Builder::revalidating_loader) makes a loader of a
    /// closure that does so.
    ///
    /// ```
    /// use bellwether::{Cache, Entry, Load, Loaded};
    /// use std::convert::Infallible;
    /// type Page = (u32, String);
    /// struct Site;
    /// impl Site {
    ///     fn fetch(&self, path: &str, known: Option<u32>) -> Option<Page> {
    ///         (known != Some(7)).then(|| (7, format!("<html>{path}")))
    ///     }
    /// }
    /// impl Load<String, Page> for Site {
    ///     type Error = Infallible;
    ///     fn load(&self, path: &String) -> Result<Page, Infallible> {
    ///         Ok(self.fetch(path, None).expect("no version is known, so there is a page"))
    ///     }
    ///     fn revalidate(
    ///         &self,
    ///         path: &String,
    ///         old: Option<Entry<'static, String, Page>>,
    ///     ) -> Result<Loaded<Page>, Infallible> {
    ///         Ok(self.fetch(path, old.map(|page| page.0)).map_or(Loaded::NotModified, Loaded::New))
    ///     }
    /// }
    /// let pages = Cache::builder().max_capacity(100).loader(Site).build()?;
    /// assert_eq!(pages.load("/")?.1, "<html>/");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn revalidate(&self, key: &K, old: Option<Entry<'static, K, V>>) -> Result<Loaded<V>, Self::Error> {
        drop(old);
        self.load(key).map(Loaded::New)
    }

    /// Loads several keys, each of them once: those that
    /// [`load_all`](crate::LoadingCache::load_all) did not find. It gives its results to `answers`,
    /// by key, in any order.
    ///
    /// By default it calls [`revalidate`](Self::revalidate) for one key after the other. (The
    /// default recognises keys by their addresses. So code that calls it with fewer keys must pass
    /// references out of the slice that it was given itself.)
    ///
    /// ```
    /// use bellwether::{Answers, Cache, Load};
    /// # struct Database;
    /// # impl Database {
    /// #     fn rows(&self, _: &[&u32]) -> Result<Vec<(u32, String)>, String> {
    /// #         Ok(vec![(2, "two".into()), (1, "one".into())])
    /// #     }
    /// # }
    /// impl Load<u32, String> for Database {
    ///     type Error = String;
    ///     fn load(&self, key: &u32) -> Result<String, String> {
    ///         self.rows(&[key])?.pop().map(|row| row.1).ok_or("no such row".into())
    ///     }
    ///     fn load_all(&self, keys: &[&u32], answers: &mut Answers<'_, u32, String, String>) {
    ///         match self.rows(keys) {
    ///             Ok(rows) => {
    ///                 rows.into_iter().for_each(|(key, text)| drop(answers.put(&key, text)));
    ///             }
    ///             Err(error) => return answers.fail_rest(error),
    ///         }
    ///         answers.fail_rest("no such row".into());
    ///     }
    /// }
    /// let texts = Cache::builder().max_capacity(100).loader(Database).build()?;
    /// let all = texts.load_all(&[1, 2, 3]);
    /// assert!(matches!(&all[..2], [Ok(one), Ok(two)] if one == "one" && two == "two"));
    /// assert!(all[2].is_err());
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    fn load_all(&self, keys: &[&K], answers: &mut Answers<'_, K, V, Self::Error>) {
        for key in keys {
            let answer = self.revalidate(key, answers.take_old(key));
            answers.answer_same(key, answer);
        }
    }
}

impl<K, V, E, F> Load<K, V> for F
where
    F: Fn(&K) -> Result<V, E> + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    type Error = E;
    fn load(&self, key: &K) -> Result<V, E> {
        self(key)
    }
}

/// Loads the values of a [`LoadingCache`](crate::LoadingCache), as tasks. A closure
/// `Fn(&K) -> impl Future<Output = Result<V, E>>` whose futures do not borrow the key is a loader.
///
/// Its counterpart for threads is [`Load`], whose verbs have no suffix:
/// [`load`](crate::LoadingCache::load). [`Blocking`](crate::Blocking) makes a `LoadAsync` of a
/// `Load`. [`BoxLoadAsync`](crate::BoxLoadAsync) is a type to name where the loader is a closure.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no asynchronous loader of values `{V}` by keys `{K}`",
    label = "neither a `LoadAsync<{K}, {V}>` nor a closure `Fn(&{K}) -> impl Future<Output = Result<{V}, E>>`",
    note = "a loader that returns values is a `Load`: its verbs are `load`, `load_all` and `refresh`",
    note = "for tasks that await a blocking loader, give the cache `Blocking(loader)`"
)]
pub trait LoadAsync<K, V>: Send + Sync + 'static {
    /// The error of a load that gives no value.
    type Error: Send + Sync + 'static;

    /// Loads the value of a key.
    fn load(&self, key: &K) -> impl Future<Output = Result<V, Self::Error>> + Send;

    /// Loads the value of a key, and gets the value that it replaces: see [`Load::revalidate`]. The
    /// default calls [`load`](Self::load).
    fn revalidate(
        &self,
        key: &K,
        old: Option<Entry<'static, K, V>>,
    ) -> impl Future<Output = Result<Loaded<V>, Self::Error>> + Send {
        drop(old);
        let loading = self.load(key);
        async { loading.await.map(Loaded::New) }
    }

    /// Loads several keys, each of them once: those that
    /// [`load_all_async`](crate::LoadingCache::load_all_async) did not find. It gives its results
    /// to `answers`, by key, in any order. By default it revalidates one key after the other, as
    /// [`Load::load_all`].
    fn load_all(&self, keys: &[&K], answers: &mut Answers<'_, K, V, Self::Error>) -> impl Future<Output = ()> + Send
    where
        K: Send + Sync,
        V: Send + Sync,
    {
        async move {
            for key in keys {
                let answer = self.revalidate(key, answers.take_old(key)).await;
                answers.answer_same(key, answer);
            }
        }
    }

    /// Returns the blocking loader that the cache runs as work that may block, instead of this one:
    /// see [`Blocking`](crate::Blocking).
    #[cfg(feature = "std")]
    #[doc(hidden)]
    fn blocking(&self) -> Option<&dyn Load<K, V, Error = Self::Error>> {
        None
    }
}

impl<K, V, E, F, Fut> LoadAsync<K, V> for F
where
    F: Fn(&K) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<V, E>> + Send,
    E: Send + Sync + 'static,
{
    type Error = E;
    fn load(&self, key: &K) -> impl Future<Output = Result<V, E>> + Send {
        self(key)
    }
}
