//! A response as bytes, for other processes.

use crate::cache::WallClock;
use crate::failure::Failure;
use crate::stored::{Arrival, Stored, Value, Whole};
use crate::vary::Selected;
use crate::verdict::Terms;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use bellwether::Clock;
use bellwether_redis::{Codec, CodecError};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_bytes::Bytes as Raw;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The version of the layout: the first byte. A process that knows another one takes the response
/// for a miss.
const VERSION: u8 = 1;

/// The most bytes of a failure's text that bellwether-redis tells other processes.
const MOST_TEXT: usize = 4096;

/// What the text of a failure begins with that has a response.
const RESPONSE: &str = "response ";

/// Writes responses as postcard writes these structures.
#[derive(Clone)]
pub(crate) struct ResponseCodec {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) wall_clock: WallClock,
}

#[derive(Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "it lives for one call, and nearly all are responses")]
enum Kind<'a> {
    Pass,
    #[serde(borrow)]
    Response(Response<'a>),
}

type Lines<'a> = Vec<(&'a str, &'a Raw)>;

/// Headers with what the request has in them.
type Selection<'a> = Vec<(&'a str, Option<&'a Raw>)>;

#[derive(Default, Serialize, Deserialize)]
struct Response<'a> {
    status: u16,
    #[serde(borrow)]
    headers: Lines<'a>,
    #[serde(borrow)]
    body: &'a Raw,
    #[serde(borrow)]
    trailers: Option<Lines<'a>>,
    /// The rule's number, and what it has selected.
    #[serde(borrow)]
    vary: Option<(u64, Selection<'a>)>,
    #[serde(borrow)]
    tags: Vec<&'a str>,
    age: Duration,
    lifetime: Duration,
    validate: bool,
    while_revalidate: Duration,
    if_error: Duration,
    confirmed: bool,
    /// When it came, since 1970.
    arrived: Duration,
    /// For how long after that it is not refreshed early.
    quiet: Duration,
}

fn line<'a>((name, value): (&'a str, &'a HeaderValue)) -> (&'a str, &'a Raw) {
    (name, Raw::new(value.as_bytes()))
}

fn headers(lines: Lines<'_>) -> Result<HeaderMap, CodecError> {
    let mut headers = HeaderMap::with_capacity(lines.len());
    for (name, value) in lines {
        headers.try_append(HeaderName::try_from(name)?, HeaderValue::from_bytes(value)?)?;
    }
    Ok(headers)
}

impl ResponseCodec {
    /// Returns the bytes of a response, with another body if one is given.
    fn encode_response(&self, stored: &Stored, body: &[u8]) -> Result<Vec<u8>, CodecError> {
        let since = Duration::from_nanos(self.clock.now().saturating_sub(stored.at));
        let arrived = (self.wall_clock)().duration_since(SystemTime::UNIX_EPOCH)?.saturating_sub(since);
        let vary = stored.selected.as_ref().map(|selected| {
            let values = selected.headers().map(|(name, value)| (name.as_str(), value.map(Raw::new)));
            (selected.id(), values.collect())
        });
        let terms = &stored.terms;
        write(&Kind::Response(Response {
            status: stored.status.as_u16(),
            headers: stored.lines().map(line).collect(),
            body: Raw::new(body),
            trailers: stored
                .trailers()
                .map(|all| all.iter().map(|(name, value)| line((name.as_str(), value))).collect()),
            vary,
            tags: stored.tags().iter().map(|tag| &**tag).collect(),
            age: terms.age,
            lifetime: terms.lifetime,
            validate: terms.validate,
            while_revalidate: terms.while_revalidate,
            if_error: terms.if_error,
            confirmed: stored.confirmed,
            arrived,
            quiet: Duration::from_nanos(stored.quiet_until.saturating_sub(stored.at)),
        }))
    }

    /// Returns how long ago a response came, by the wall clocks of both processes.
    fn since(&self, response: &Response<'_>) -> Duration {
        let arrived = SystemTime::UNIX_EPOCH.checked_add(response.arrived);
        // (If this process's clock is behind, it has come just now.)
        arrived.and_then(|arrived| (self.wall_clock)().duration_since(arrived).ok()).unwrap_or_default()
    }

    /// Returns a response that came so long ago.
    fn stored(&self, response: Response<'_>, since: Duration) -> Result<Stored, CodecError> {
        let now = self.clock.now();
        let terms = Terms {
            age: response.age.saturating_add(since),
            lifetime: response.lifetime,
            validate: response.validate,
            while_revalidate: response.while_revalidate,
            if_error: response.if_error,
        };
        let selected = response.vary.map(|(id, values)| {
            let named = |(name, value): (&str, Option<&Raw>)| {
                Ok((HeaderName::try_from(name)?, value.map(|value| value.to_vec().into())))
            };
            Ok::<_, CodecError>(Selected::of(id, values.into_iter().map(named).collect::<Result<_, CodecError>>()?))
        });
        let whole = Whole {
            status: StatusCode::from_u16(response.status)?,
            headers: headers(response.headers)?,
            body: Bytes::copy_from_slice(response.body),
            trailers: response.trailers.map(headers).transpose()?,
            confirmed: response.confirmed,
        };
        let quiet = u64::try_from(response.quiet.saturating_sub(since).as_nanos()).unwrap_or(u64::MAX);
        let arrival = Arrival { at: now, now: (self.wall_clock)(), quiet_until: now.saturating_add(quiet) };
        let tags = response.tags.into_iter().map(Into::into).collect();
        Ok(Stored::new(whole, terms, selected.transpose()?, tags, arrival))
    }
}

fn write(kind: &Kind<'_>) -> Result<Vec<u8>, CodecError> {
    Ok(postcard::to_extend(kind, vec![VERSION])?)
}

fn read(bytes: &[u8]) -> Result<Kind<'_>, CodecError> {
    let Some((&VERSION, bytes)) = bytes.split_first() else { return Err("of another version".into()) };
    Ok(postcard::from_bytes(bytes)?)
}

impl Codec<Arc<Value>> for ResponseCodec {
    const ID: u8 = 160;

    fn encode(&self, value: &Arc<Value>) -> Result<Vec<u8>, CodecError> {
        match &**value {
            Value::Pass => write(&Kind::Pass),
            Value::Response(stored) => self.encode_response(stored, stored.body()),
        }
    }

    fn decode(&self, bytes: &[u8]) -> Result<Arc<Value>, CodecError> {
        Ok(Arc::new(match read(bytes)? {
            Kind::Pass => Value::Pass,
            Kind::Response(response) => {
                let since = self.since(&response);
                Value::Response(self.stored(response, since)?)
            }
        }))
    }
}

/// Failures as text: what other processes are told of a call that failed.
impl ResponseCodec {
    /// Returns the text of a failure. Of a response that is too long, the body is left out; if its
    /// headers are too long, too, its status alone is told.
    pub(crate) fn text_of(&self, failure: &Failure) -> String {
        let stored = match failure {
            Failure::Response(stored, _) => stored,
            Failure::Private => return "private".to_owned(),
            Failure::Service => return "service".to_owned(),
            Failure::Body => return "body".to_owned(),
            Failure::Spent => return "spent".to_owned(),
            Failure::Panicked => return "panicked".to_owned(),
        };
        let text = |body: &[u8]| {
            let text = format!("{RESPONSE}{}", BASE64.encode(self.encode_response(stored, body).ok()?));
            (text.len() <= MOST_TEXT).then_some(text)
        };
        let whole = if stored.body().len() < MOST_TEXT { text(stored.body()) } else { None };
        whole.or_else(|| text(&[])).unwrap_or_else(|| format!("{}", stored.status.as_u16()))
    }

    /// Returns the failure that was written as this text.
    pub(crate) fn failure(&self, text: &str) -> Failure {
        match text {
            "private" => return Failure::Private,
            "body" => return Failure::Body,
            "spent" => return Failure::Spent,
            "panicked" => return Failure::Panicked,
            _ => {}
        }
        // (What another version of the layer says is a failure, too.)
        let told = self.told(text).ok().flatten();
        told.map_or(Failure::Service, |stored| Failure::Response(Box::new(stored), Duration::ZERO))
    }

    /// Returns the response of a failure. It has come just now.
    fn told(&self, text: &str) -> Result<Option<Stored>, CodecError> {
        let Some(response) = text.strip_prefix(RESPONSE) else {
            let Ok(status) = text.parse() else { return Ok(None) };
            return self.stored(Response { status, ..Response::default() }, Duration::ZERO).map(Some);
        };
        match read(&BASE64.decode(response)?)? {
            Kind::Pass => Ok(None),
            Kind::Response(response) => self.stored(response, Duration::ZERO).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bellwether::ManualClock;

    fn codec() -> ResponseCodec {
        let wall_clock = Arc::new(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
        ResponseCodec { clock: Arc::new(ManualClock::new()), wall_clock }
    }

    fn stored(codec: &ResponseCodec, headers: &[(&'static str, &'static str)], body: &str) -> Stored {
        let lines = headers.iter().map(|(name, value)| (*name, Raw::new(value.as_bytes()))).collect();
        let body = Raw::new(body.as_bytes());
        codec.stored(Response { status: 503, headers: lines, body, ..Response::default() }, Duration::ZERO).unwrap()
    }

    /// Whatever bytes lie on the server: they are a response, or none, and no panic.
    #[test]
    fn what_is_no_response_is_an_error() {
        let codec = codec();
        let value = Arc::new(Value::Response(stored(&codec, &[("vary", "a"), ("etag", "\"1\"")], "body")));
        let bytes = Codec::encode(&codec, &value).unwrap();
        assert!(codec.decode(&bytes).is_ok());
        for end in 0..bytes.len() {
            assert!(codec.decode(&bytes[..end]).is_err(), "{end}");
        }
        for at in 0..bytes.len() {
            for other in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = other;
                let _ = codec.decode(&changed);
            }
        }
        let mut other_version = bytes;
        other_version[0] = VERSION + 1;
        assert_eq!(codec.decode(&other_version).unwrap_err().to_string(), "of another version");
    }

    #[test]
    fn failures_are_read_as_they_were_written() {
        let codec = codec();
        let again = |failure: &Failure| codec.failure(&codec.text_of(failure));
        for plain in [Failure::Private, Failure::Service, Failure::Body, Failure::Spent, Failure::Panicked] {
            assert_eq!(format!("{:?}", again(&plain)), format!("{plain:?}"));
        }
        let long: &'static str = "x".repeat(5000).leak();
        let cases = [("short", "", "short", true), (long, "", "", true), ("short", long, "", false)];
        for (body, header, kept, has_header) in cases {
            let response = stored(&codec, &[("retry-after", "7"), ("x-long", header)], body);
            let text = codec.text_of(&Failure::Response(Box::new(response), Duration::ZERO));
            assert!(text.len() <= MOST_TEXT);
            let Failure::Response(read, _) = codec.failure(&text) else { panic!("{text}") };
            assert_eq!((read.status.as_u16(), &read.body()[..]), (503, kept.as_bytes()));
            assert_eq!(read.headers().contains_key("retry-after"), has_header);
        }
        for unknown in ["", "later: something", "response !", "response AAAA", "99"] {
            assert!(matches!(codec.failure(unknown), Failure::Service), "{unknown}");
        }
    }
}
