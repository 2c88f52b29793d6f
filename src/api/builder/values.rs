//! Settings that are asked about each value: its times and its tags.

use super::Builder;
use crate::engine::config::ExpiryWith;
use crate::engine::expiry::Expiry;
use crate::engine::tags::Tags;
use alloc::boxed::Box;
use core::time::Duration;

impl<K, V, S> Builder<K, V, S> {
    /// Sets a function that gives each value a time to live; `None` falls through to
    /// [`time_to_live`](Self::time_to_live). The cache calls it once for each value, when the value
    /// is published, unless the value has a time to live of its own. The short form of
    /// [`expiry_with`](Self::expiry_with): of the two, the last one given counts.
    #[doc(alias = "expire_after")]
    pub fn ttl_with(mut self, ttl: impl Fn(&K, &V) -> Option<Duration> + Send + Sync + 'static) -> Self {
        self.expiry_with = Some(ExpiryWith::Ttl(Box::new(ttl)));
        self
    }

    /// Sets a function that gives each value its terms: how long it is fresh, when it is refreshed,
    /// and how long past its expiry it may be served. What it does not give is as the cache was
    /// built. The cache calls it once for each value, when the value is published or confirmed,
    /// whether the key is new or not.
    ///
    /// Terms that the loader, the request or the call of `insert` gives count before these, part by
    /// part.
    ///
    /// ```
    /// use bellwether::{Cache, Expiry, Refresh};
    /// use std::time::Duration;
    /// struct Page { max_age: u64, grace: u64, html: String }
    /// let seconds = Duration::from_secs;
    /// let pages: Cache<String, Page> = Cache::builder()
    ///     .max_capacity(1000)
    ///     .expiry_with(move |_, page: &Page| {
    ///         let ttl = Expiry::new().ttl(seconds(page.max_age));
    ///         let expiry = ttl.stale_if_error(seconds(page.grace));
    ///         // What lives for less than ten seconds is not worth a load ahead of time.
    ///         if page.max_age < 10 { expiry.refresh(Refresh::never()) } else { expiry }
    ///     })
    ///     .build()?;
    /// # pages.insert("/".into(), Page { max_age: 5, grace: 60, html: "…".into() });
    /// # assert!(pages.get_ref("/").is_some_and(|page| page.html == "…"));
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    #[doc(alias = "Expiry")]
    #[doc(alias = "expire_after_create")]
    #[doc(alias = "expire_after_update")]
    pub fn expiry_with(mut self, expiry: impl Fn(&K, &V) -> Expiry + Send + Sync + 'static) -> Self {
        self.expiry_with = Some(ExpiryWith::All(Box::new(expiry)));
        self
    }

    /// Sets a function that may give a value another time to live each time it is read. It gets the
    /// time that is left (`Duration::MAX` if the value never expires), and returns the new one,
    /// counted from now; `None` leaves the value as it is. What a value gets as it is stored is
    /// [`expiry_with`](Self::expiry_with)'s to say.
    ///
    /// The cache calls the function *at each hit*, under a pin, and maybe once more if the same
    /// lookup goes on to load. So it must be quick. An [`expire`](crate::Cache::expire) at the same
    /// time counts before it. The jitter does not shorten such a time. The windows past the expiry
    /// stay, and so does a [`refresh`](crate::Expiry::refresh) of the value's own.
    ///
    /// Cost: each hit in such a cache reads the clock and looks the expiry up, as with a
    /// [`time_to_idle`](Self::time_to_idle). Other caches pay nothing.
    ///
    /// ```
    /// use bellwether::Cache;
    /// use std::time::Duration;
    /// # let clock = bellwether::ManualClock::new();
    /// let minutes = |n: u64| Duration::from_secs(60 * n);
    /// // A session lives for 30 minutes from its last use on, an admin's for five.
    /// let sessions: Cache<u64, bool> = Cache::builder()
    ///     .max_capacity(1000)
    ///     # .clock(clock.clone())
    ///     .time_to_live(minutes(30))
    ///     .ttl_after_read(move |_, admin, _left| Some(minutes(if *admin { 5 } else { 30 })))
    ///     .build()?;
    /// # sessions.insert(1, false);
    /// # clock.advance(minutes(20));
    /// # assert!(sessions.get(&1).is_some());
    /// # clock.advance(minutes(20));
    /// # assert!(sessions.get(&1).is_some());
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    #[doc(alias = "expire_after_read")]
    pub fn ttl_after_read(
        mut self,
        ttl: impl Fn(&K, &V, Duration) -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        self.ttl_after_read = Some(Box::new(ttl));
        self
    }

    /// Sets the function that adds an entry's tags, for
    /// [`invalidate_tag`](crate::Cache::invalidate_tag). Anything that implements `Hash` can be a
    /// tag; the same tag must always hash in the same way.
    ///
    /// The cache calls the function when a value is published, and then *at each hit of an entry
    /// that has tags*, under a pin. So it must be quick, and must always give the same tags for the
    /// same key and value.
    ///
    /// Cost: an entry without tags costs nothing more (with a time to live: two instructions); an
    /// entry with tags takes 8 bytes more. Each cache with this setting takes 128 KiB, in pages
    /// that the system zeroes lazily.
    ///
    /// ```
    /// use bellwether::{Cache, Tags};
    /// struct Page { author: String, text: String }
    /// let pages: Cache<String, Page> = Cache::builder()
    ///     .max_capacity(1000)
    ///     .tags_with(|_, page: &Page, tags: &mut Tags<'_>| tags.add(page.author.as_str()))
    ///     .build()?;
    /// pages.insert("/".into(), Page { author: "Ada".into(), text: "…".into() });
    /// pages.invalidate_tag("Ada");
    /// assert!(!pages.contains_key("/"));
    /// # Ok::<(), bellwether::BuildError>(())
    /// ```
    pub fn tags_with(mut self, tags: impl Fn(&K, &V, &mut Tags<'_>) + Send + Sync + 'static) -> Self {
        self.tags_with = Some(Box::new(tags));
        self
    }

    /// Shortens each time to live by a random fraction of it, up to `share` (`0.0..1.0`), so that
    /// entries loaded together do not expire together. Default 0.
    ///
    /// | the time to live is from | |
    /// |---|---|
    /// | [`time_to_live`], [`ttl_with`] | shortened |
    /// | [`Request::ttl`], [`Detached::ttl`], [`Loaded::NewFor`], [`Expiry::ttl`] | shortened |
    /// | [`Request::exact_ttl`], [`Detached::exact_ttl`], [`Loaded::NewForExactly`] | exact |
    /// | [`insert_with_ttl`], [`Lease::fulfil_with_ttl`], [`Expiry::exact_ttl`] | exact |
    ///
    /// [`time_to_live`]: Self::time_to_live
    /// [`ttl_with`]: Self::ttl_with
    /// [`Request::ttl`]: crate::Request::ttl
    /// [`Detached::ttl`]: crate::Detached::ttl
    /// [`Loaded::NewFor`]: crate::Loaded::NewFor
    /// [`Request::exact_ttl`]: crate::Request::exact_ttl
    /// [`Detached::exact_ttl`]: crate::Detached::exact_ttl
    /// [`Loaded::NewForExactly`]: crate::Loaded::NewForExactly
    /// [`Expiry::ttl`]: crate::Expiry::ttl
    /// [`Expiry::exact_ttl`]: crate::Expiry::exact_ttl
    /// [`insert_with_ttl`]: crate::Cache::insert_with_ttl
    /// [`Lease::fulfil_with_ttl`]: crate::Lease::fulfil_with_ttl
    ///
    /// A renewed value ([`Lease::renew`](crate::Lease::renew),
    /// [`Loaded::NotModified`](crate::Loaded::NotModified)) lives as long as one that is loaded
    /// anew. The jitter never shortens `Duration::MAX`, `time_to_idle`, `negative_ttl`, or the
    /// windows in which old values are served.
    pub fn ttl_jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }
}
