//! The service's settings, from its environment.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// What a service is started with. [`Settings::default`] needs nothing else on the machine.
#[derive(Clone)]
pub struct Settings {
    /// The address that the service listens at. Default: 127.0.0.1.
    pub host: IpAddr,
    /// The port that the service listens at. Zero: a free one. Default: 8080.
    pub port: u16,
    /// The Redis or Valkey of the second tier. Default: none; memory alone keeps products and responses.
    pub redis_url: Option<String>,
    /// The prefix of the names on that server.
    pub redis_namespace: String,
    /// The file of the database. Default: a temporary one, which is removed at the end.
    pub database: Option<PathBuf>,
    /// How many connections to the database there are. Default: 2.
    pub connections: usize,
    /// How many orders a new database is filled with. The hot product's query grows with them.
    /// Default: 60,000.
    pub orders: u32,
    /// How long a product is fresh in the product cache. Default: 60 s.
    pub product_ttl: Duration,
    /// How long the answer "no such product" is fresh, in both caches. Default: 5 s.
    pub negative_ttl: Duration,
    /// How long a response is fresh in the response cache. Default: 10 s.
    pub response_ttl: Duration,
    /// How long past that a response is served while a new one is made. Default: 30 s.
    pub response_stale: Duration,
    /// How long a request may take. Default: 2 s.
    pub deadline: Duration,
    /// The name of the caches in the metrics (the label `cache`). Default: `products`.
    pub name: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            host: Ipv4Addr::LOCALHOST.into(),
            port: 8080,
            redis_url: None,
            redis_namespace: "service-products".to_owned(),
            database: None,
            connections: 2,
            orders: 40_000,
            product_ttl: Duration::from_secs(60),
            negative_ttl: Duration::from_secs(5),
            response_ttl: Duration::from_secs(10),
            response_stale: Duration::from_secs(30),
            deadline: Duration::from_secs(2),
            name: "products".to_owned(),
        }
    }
}

impl fmt::Debug for Settings {
    /// The server's address is left out: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("redis", &self.redis_url.is_some())
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

/// A value of the environment that is none of those allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingError {
    name: &'static str,
    value: String,
    expected: String,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={:?}: expected {}", self.name, self.value, self.expected)
    }
}

impl std::error::Error for SettingError {}

/// What the environment has, by name.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Returns a value that parses. A value that is empty counts as not given.
fn parsed<T: FromStr>(env: Lookup<'_>, name: &'static str, expected: &str) -> Result<Option<T>, SettingError> {
    let Some(value) = env(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    let parsed = value.parse().ok();
    parsed.map(Some).ok_or(SettingError { name, value, expected: expected.to_owned() })
}

/// Returns a number within a range.
fn number(
    env: Lookup<'_>,
    name: &'static str,
    range: RangeInclusive<u64>,
    what: &str,
) -> Result<Option<u64>, SettingError> {
    let expected = format!("{what} from {} to {}", range.start(), range.end());
    match parsed(env, name, &expected)? {
        Some(value) if !range.contains(&value) => Err(SettingError { name, value: value.to_string(), expected }),
        value => Ok(value),
    }
}

/// Returns a time of whole seconds, up to a day.
fn seconds(env: Lookup<'_>, name: &'static str, least: u64) -> Result<Option<Duration>, SettingError> {
    Ok(number(env, name, least..=86_400, "a number of seconds")?.map(Duration::from_secs))
}

impl Settings {
    /// Reads the settings by `env`, which returns the value of a name: `HOST`, `PORT`, `REDIS_URL`,
    /// `DATABASE`, `CONNECTIONS`, `ORDERS`, `PRODUCT_TTL`, `NEGATIVE_TTL`, `RESPONSE_TTL`,
    /// `RESPONSE_STALE`, `DEADLINE_MS`. What is not given, or empty, is as in
    /// [`default`](Self::default).
    ///
    /// # Errors
    /// [`SettingError`]: a value is none of those allowed. The error repeats the value, but not an
    /// address of Redis: that may hold a password.
    pub fn read(env: impl Fn(&str) -> Option<String>) -> Result<Self, SettingError> {
        let (env, default) = (&env as Lookup<'_>, Self::default());
        let redis_url = env("REDIS_URL").filter(|url| !url.is_empty());
        if redis_url.as_ref().is_some_and(|url| !url.starts_with("redis://")) {
            return Err(SettingError {
                name: "REDIS_URL",
                value: "…".to_owned(),
                expected: "an address like redis://127.0.0.1:6379/".to_owned(),
            });
        }
        let connections = number(env, "CONNECTIONS", 1..=64, "a number")?;
        let orders = number(env, "ORDERS", 100..=2_000_000, "a number")?;
        let deadline = number(env, "DEADLINE_MS", 1..=60_000, "a number of milliseconds")?;
        Ok(Self {
            host: parsed(env, "HOST", "an IP address like 127.0.0.1 or 0.0.0.0")?.unwrap_or(default.host),
            port: parsed(env, "PORT", "a port from 0 (a free one) to 65535")?.unwrap_or(default.port),
            redis_url,
            database: parsed(env, "DATABASE", "a path")?,
            connections: connections.map_or(default.connections, |number| number as usize),
            orders: orders.map_or(default.orders, |number| number as u32),
            product_ttl: seconds(env, "PRODUCT_TTL", 1)?.unwrap_or(default.product_ttl),
            negative_ttl: seconds(env, "NEGATIVE_TTL", 1)?.unwrap_or(default.negative_ttl),
            response_ttl: seconds(env, "RESPONSE_TTL", 1)?.unwrap_or(default.response_ttl),
            response_stale: seconds(env, "RESPONSE_STALE", 0)?.unwrap_or(default.response_stale),
            deadline: deadline.map_or(default.deadline, Duration::from_millis),
            ..default
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &'static str, value: &'static str) -> Result<Settings, String> {
        let env = move |asked: &str| (asked == name).then(|| value.to_owned());
        Settings::read(env).map_err(|error| error.to_string())
    }

    #[test]
    fn each_name_sets_its_setting() {
        assert_eq!(read("PORT", "0").unwrap().port, 0);
        assert_eq!(read("HOST", "::1").unwrap().host.to_string(), "::1");
        assert_eq!(read("REDIS_URL", "redis://h/").unwrap().redis_url.as_deref(), Some("redis://h/"));
        assert_eq!(read("DATABASE", "/tmp/x").unwrap().database, Some("/tmp/x".into()));
        assert_eq!(read("CONNECTIONS", "7").unwrap().connections, 7);
        assert_eq!(read("ORDERS", "100").unwrap().orders, 100);
        assert_eq!(read("PRODUCT_TTL", "7").unwrap().product_ttl, Duration::from_secs(7));
        assert_eq!(read("NEGATIVE_TTL", "7").unwrap().negative_ttl, Duration::from_secs(7));
        assert_eq!(read("RESPONSE_TTL", "7").unwrap().response_ttl, Duration::from_secs(7));
        assert_eq!(read("RESPONSE_STALE", "0").unwrap().response_stale, Duration::ZERO);
        assert_eq!(read("DEADLINE_MS", "7").unwrap().deadline, Duration::from_millis(7));
        assert_eq!(read("PORT", "").unwrap().port, 8080, "as if not given");
    }

    #[test]
    fn a_bad_value_is_told_with_what_is_expected() {
        let error = |name, value| read(name, value).unwrap_err();
        assert_eq!(error("PORT", "http"), "PORT=\"http\": expected a port from 0 (a free one) to 65535");
        assert_eq!(error("PORT", "65536"), "PORT=\"65536\": expected a port from 0 (a free one) to 65535");
        assert_eq!(error("CONNECTIONS", "0"), "CONNECTIONS=\"0\": expected a number from 1 to 64");
        assert_eq!(error("DEADLINE_MS", "-1"), "DEADLINE_MS=\"-1\": expected a number of milliseconds from 1 to 60000");
        assert!(error("HOST", "localhost").contains("an IP address"));
        let secret = error("REDIS_URL", "http://user:password@host/");
        assert!(secret.contains("redis://127.0.0.1:6379/") && !secret.contains("password"), "{secret}");
    }
}
