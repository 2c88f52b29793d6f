//! What the layer of one route does: the store's defaults, and what the route says in their place.

use http::StatusCode;
use http::request::Parts;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

type KeyWith = Arc<dyn Fn(&Parts) -> Option<String> + Send + Sync>;
type TagsWith = Arc<dyn Fn(&Parts) -> Vec<String> + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) enable: bool,
    pub(crate) ttl: Option<Duration>,
    pub(crate) negative: Vec<(StatusCode, Duration)>,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
    pub(crate) wait_timeout: Option<Duration>,
    pub(crate) soft_timeout: Option<Duration>,
    pub(crate) hard_timeout: Option<Duration>,
    pub(crate) lead_timeout: Option<Duration>,
    pub(crate) body_limit: usize,
    pub(crate) hit_for_pass: Duration,
    pub(crate) key: Option<KeyWith>,
    pub(crate) tags: Vec<String>,
    pub(crate) tags_with: Option<TagsWith>,
    pub(crate) etag: bool,
    pub(crate) cache_status: bool,
    pub(crate) client_cache_control: bool,
    pub(crate) authorization: bool,
    pub(crate) cookies: bool,
    pub(crate) retry_after: Duration,
}

/// How long a request waits, and for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) wait_timeout: Option<Duration>,
    pub(crate) soft_timeout: Option<Duration>,
    pub(crate) hard_timeout: Option<Duration>,
    pub(crate) lead_timeout: Option<Duration>,
    /// A new answer is needed, whatever is there.
    pub(crate) anew: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enable: true,
            ttl: None,
            negative: Vec::new(),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            wait_timeout: None,
            soft_timeout: None,
            hard_timeout: None,
            lead_timeout: None,
            body_limit: 1 << 20,
            hit_for_pass: Duration::from_secs(5),
            key: None,
            tags: Vec::new(),
            tags_with: None,
            etag: false,
            cache_status: true,
            client_cache_control: false,
            authorization: false,
            cookies: false,
            retry_after: Duration::from_secs(1),
        }
    }
}

impl Settings {
    /// Returns whether the soft timeout can have no effect.
    pub(crate) fn is_soft_above_hard(&self) -> bool {
        matches!((self.soft_timeout, self.hard_timeout), (Some(soft), Some(hard)) if soft > hard)
    }

    /// Returns how long a request waits. With `anew`, for a new answer, whatever is there.
    pub(crate) fn limits(&self, anew: bool) -> Limits {
        let Self { wait_timeout, soft_timeout, hard_timeout, lead_timeout, .. } = *self;
        Limits { wait_timeout, soft_timeout, hard_timeout, lead_timeout, anew }
    }

    /// Returns for how long a response with this status is kept, if the settings say so.
    pub(crate) fn negative_ttl(&self, status: StatusCode) -> Option<Duration> {
        self.negative.iter().find(|(of, _)| *of == status).map(|(_, ttl)| *ttl)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("enable", &self.enable)
            .field("ttl", &self.ttl)
            .field("negative", &self.negative)
            .field("stale_while_revalidate", &self.stale_while_revalidate)
            .field("stale_if_error", &self.stale_if_error)
            .field("tags", &self.tags)
            .finish_non_exhaustive()
    }
}

/// The settings that a route may change, as methods of the builder and of the layer.
macro_rules! settings {
    ($this:ident, $settings:expr) => {
        /// Whether responses are cached. Default: yes. A layer with `false` calls the service and
        /// does nothing else: no key, no allocation, no header.
        pub fn enable(mut $this, enable: bool) -> Self {
            $settings.enable = enable;
            $this
        }

        /// How long a response is fresh that says nothing itself: that has neither `max-age` nor
        /// `s-maxage` nor `Expires`, and whose status may be cached without a word (200, 203, 204,
        /// 300, 301, 308). Default: such a response is not stored.
        ///
        /// A route with this setting also shares what it does not store with those who wait: a 404,
        /// say. With zero it does nothing else, so that requests at the same time are one call.
        #[doc(alias = "expire")]
        pub fn ttl(mut $this, ttl: std::time::Duration) -> Self {
            $settings.ttl = Some(ttl);
            $this
        }

        /// How long a response with this status, of 400 or above, is kept if it says nothing
        /// itself. Default: it is not. A second call for the same status replaces the first. With
        /// zero it is not kept.
        ///
        /// A status of 500 or above is stored in no other way, whatever its `Cache-Control` says.
        /// While an old response may be served (`stale_if_error`), 500, 502, 503 and 504 do not
        /// replace it.
        ///
        /// # Panics
        /// If the status is below 400.
        pub fn negative_ttl(mut $this, status: http::StatusCode, ttl: std::time::Duration) -> Self {
            assert!(status.as_u16() >= 400, "negative_ttl is for errors, not for {status}");
            $settings.negative.retain(|(of, _)| *of != status);
            $settings.negative.push((status, ttl));
            $this
        }

        /// How long past its time a response is served while one request calls the handler in the
        /// background, where the response itself has no `stale-while-revalidate` (RFC 5861).
        /// Default: zero.
        ///
        /// Neither this nor `stale_if_error` touches a response with `no-cache`, `must-revalidate`,
        /// `proxy-revalidate` or `s-maxage`. (With `s-maxage`, windows that the response has itself
        /// count.)
        #[doc(alias = "grace")]
        pub fn stale_while_revalidate(mut $this, stale: std::time::Duration) -> Self {
            $settings.stale_while_revalidate = stale;
            $this
        }

        /// How long past its time a response stands in for a failure, where the response itself has
        /// no `stale-if-error` (RFC 5861). Default: zero. A failure is a status of 500, 502, 503 or
        /// 504, an error of the service, a panic, a broken body, a deadline, or an overload.
        #[doc(alias = "grace")]
        pub fn stale_if_error(mut $this, stale: std::time::Duration) -> Self {
            $settings.stale_if_error = stale;
            $this
        }

        /// How long a request waits for the handler's call on behalf of another request. Then it is
        /// answered with 504, or with a stale response. Default: no bound.
        pub fn wait_timeout(mut $this, timeout: std::time::Duration) -> Self {
            $settings.wait_timeout = Some(timeout);
            $this
        }

        /// How long a request waits for a new response if an old one may be served. Default: no
        /// bound.
        pub fn soft_timeout(mut $this, timeout: std::time::Duration) -> Self {
            $settings.soft_timeout = Some(timeout);
            $this
        }

        /// How long a request waits altogether, for its own call of the handler, too. Then it is
        /// answered with 504, or with a stale response. The handler goes on. Default: no bound.
        #[doc(alias = "max_wait")]
        pub fn hard_timeout(mut $this, timeout: std::time::Duration) -> Self {
            $settings.hard_timeout = Some(timeout);
            $this
        }

        /// After how long a call of the handler counts as hung, so that another request calls it
        /// again. Several times what the slowest call takes. Default: never; with a second level, as
        /// that says.
        ///
        /// # Panics
        /// If the time is zero: each call would be hung at once.
        pub fn lead_timeout(mut $this, timeout: std::time::Duration) -> Self {
            assert!(!timeout.is_zero(), "lead_timeout must be longer than zero");
            $settings.lead_timeout = Some(timeout);
            $this
        }

        /// The largest body that is stored, in bytes. Default: 1 MiB. A larger one goes through to
        /// the request that called the handler, as a stream. All others call the handler
        /// themselves.
        pub fn body_limit(mut $this, bytes: usize) -> Self {
            $settings.body_limit = bytes;
            $this
        }

        /// For how long the layer remembers that a URI's response may not be shared. Meanwhile each
        /// request for it goes to the handler at once, and none waits for another. Default: 5 s.
        /// With zero it remembers nothing, so requests at the same time wait for the first one's
        /// answer.
        pub fn hit_for_pass(mut $this, time: std::time::Duration) -> Self {
            $settings.hit_for_pass = time;
            $this
        }

        /// A function that makes the key of a request, in place of host, path and query. `None`:
        /// the request goes to the handler. It gets the request as GET. Variants by `Vary` are kept
        /// apart all the same.
        ///
        /// Routes with such functions share one space of keys: put what tells them apart into the
        /// key.
        pub fn key(
            mut $this,
            key: impl Fn(&http::request::Parts) -> Option<String> + Send + Sync + 'static,
        ) -> Self {
            $settings.key = Some(std::sync::Arc::new(key));
            $this
        }

        /// Adds a tag to each response, beside those in its `Surrogate-Key` headers.
        #[doc(alias = "namespace")]
        pub fn tag(mut $this, tag: impl Into<String>) -> Self {
            $settings.tags.push(tag.into());
            $this
        }

        /// A function that gives further tags of the response to a request.
        pub fn tags_with(
            mut $this,
            tags: impl Fn(&http::request::Parts) -> Vec<String> + Send + Sync + 'static,
        ) -> Self {
            $settings.tags_with = Some(std::sync::Arc::new(tags));
            $this
        }

        /// Whether a stored response with status 200 and without an `ETag` gets one, made of its
        /// body: a weak one, so that a compression layer outside may change the bytes. Default: no.
        /// It costs a hash of the body for each call of the handler.
        pub fn etag(mut $this, etag: bool) -> Self {
            $settings.etag = etag;
            $this
        }

        /// Whether responses have a `Cache-Status` header (RFC 9211). Default: yes.
        pub fn cache_status(mut $this, cache_status: bool) -> Self {
            $settings.cache_status = cache_status;
            $this
        }

        /// Whether the `Cache-Control` of requests counts: `no-cache` and `max-age` have the
        /// response validated, `no-store` goes to the handler, `only-if-cached` is answered with
        /// 504 where nothing fresh is stored. Default: no, because any client could so call the
        /// handler at will.
        pub fn client_cache_control(mut $this, honour: bool) -> Self {
            $settings.client_cache_control = honour;
            $this
        }

        /// Whether requests with `Authorization` are cached. Default: no, they go to the handler.
        /// With `true` they are answered from the store, and a response to one is stored if it says
        /// `public`, `s-maxage` or `must-revalidate` (RFC 9111 section 3.5).
        pub fn authorization(mut $this, cached: bool) -> Self {
            $settings.authorization = cached;
            $this
        }

        /// Whether requests with `Cookie` are cached. Default: no, they go to the handler. With
        /// `true` the cookies have no part in the key: responses that differ by them must say
        /// `Vary: Cookie` or `private`.
        pub fn cookies(mut $this, cached: bool) -> Self {
            $settings.cookies = cached;
            $this
        }

        /// What `Retry-After` says on a 503, rounded up to seconds. Default: 1 s.
        pub fn retry_after(mut $this, time: std::time::Duration) -> Self {
            $settings.retry_after = time;
            $this
        }
    };
}
pub(crate) use settings;
