//! `Cache-Control` (RFC 9111 section 5.2, RFC 5861), as responses and requests say it.

use http::HeaderMap;
use http::header::{CACHE_CONTROL, PRAGMA};
use std::time::Duration;

/// The longest time that a directive can say: 2³¹ seconds (RFC 9111 section 1.2.2).
const LONGEST: u64 = 1 << 31;

/// What a response says about its storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResponseDirectives {
    pub(crate) no_store: bool,
    pub(crate) no_cache: bool,
    pub(crate) private: bool,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) must_understand: bool,
    pub(crate) max_age: Option<Duration>,
    pub(crate) s_maxage: Option<Duration>,
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
}

/// What a client asks of caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestDirectives {
    pub(crate) no_store: bool,
    pub(crate) no_cache: bool,
    pub(crate) only_if_cached: bool,
    pub(crate) max_age: Option<Duration>,
    pub(crate) min_fresh: Option<Duration>,
    pub(crate) max_stale: Option<Duration>,
}

/// Calls `each` with each directive: its name, and its argument without quotes. Returns false if a
/// line has bytes that no directive can have.
fn directives(headers: &HeaderMap, mut each: impl FnMut(&str, Option<&str>)) -> bool {
    let mut readable = true;
    for line in headers.get_all(CACHE_CONTROL) {
        let Ok(line) = line.to_str() else {
            readable = false;
            continue;
        };
        let mut rest = line;
        while !rest.is_empty() {
            let end = end_of_member(rest);
            let member = rest[..end].trim();
            rest = rest.get(end + 1..).unwrap_or("");
            let (name, argument) = match member.split_once('=') {
                Some((name, argument)) => (name.trim(), Some(argument.trim().trim_matches('"'))),
                None => (member, None),
            };
            if !name.is_empty() {
                each(name, argument);
            }
        }
    }
    readable
}

/// Returns where the first member of a list ends: at a comma outside of quotes.
fn end_of_member(list: &str) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
    }
    list.len()
}

/// Returns the seconds of an argument: capped, and none if it is no number.
fn seconds(argument: Option<&str>) -> Option<Duration> {
    let digits = argument.filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))?;
    // A number too large to be read is one above the cap.
    Some(Duration::from_secs(digits.parse().unwrap_or(LONGEST).min(LONGEST)))
}

/// Sets the time of a directive. An argument that cannot be read counts as zero, and of two that
/// differ the shorter one counts: such a response is rather stale (RFC 9111 section 4.2.1).
fn shorten(time: &mut Option<Duration>, argument: Option<&str>) {
    let said = seconds(argument).unwrap_or(Duration::ZERO);
    *time = Some(time.map_or(said, |before| before.min(said)));
}

impl ResponseDirectives {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut all = Self::default();
        let readable = directives(headers, |name, argument| {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            match () {
                () if is("no-store") => all.no_store = true,
                // With field names, too: a cache may take these two as if there were none.
                () if is("no-cache") => all.no_cache = true,
                () if is("private") => all.private = true,
                () if is("public") => all.public = true,
                () if is("must-revalidate") || is("proxy-revalidate") => all.must_revalidate = true,
                () if is("must-understand") => all.must_understand = true,
                () if is("max-age") => shorten(&mut all.max_age, argument),
                () if is("s-maxage") => shorten(&mut all.s_maxage, argument),
                () if is("stale-while-revalidate") => shorten(&mut all.stale_while_revalidate, argument),
                () if is("stale-if-error") => shorten(&mut all.stale_if_error, argument),
                () => {}
            }
        });
        // What cannot be read might have said so.
        all.no_store |= !readable;
        all
    }
}

impl RequestDirectives {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut all = Self::default();
        directives(headers, |name, argument| {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            match () {
                () if is("no-store") => all.no_store = true,
                () if is("no-cache") => all.no_cache = true,
                () if is("only-if-cached") => all.only_if_cached = true,
                () if is("max-age") => shorten(&mut all.max_age, argument),
                () if is("min-fresh") => all.min_fresh = seconds(argument),
                // Without an argument: however stale.
                () if is("max-stale") => {
                    all.max_stale = Some(argument.map_or(Duration::MAX, |_| seconds(argument).unwrap_or_default()));
                }
                () => {}
            }
        });
        let says_no_cache = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"no-cache");
        if !headers.contains_key(CACHE_CONTROL) && headers.get(PRAGMA).is_some_and(says_no_cache) {
            all.no_cache = true;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(lines: &[&str]) -> ResponseDirectives {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, line.parse().unwrap());
        }
        ResponseDirectives::of(&headers)
    }

    fn s(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn lines_members_case_and_quotes() {
        let read = response(&["Max-Age=\"60\" ,, PUBLIC", "s-maxage = 5, ext=\"a, no-store\""]);
        let expected = ResponseDirectives { public: true, max_age: s(60), s_maxage: s(5), ..Default::default() };
        assert_eq!(read, expected);
        assert!(response(&["private=\"set-cookie, x\""]).private);
        assert!(response(&["ext=\"a\\\", no-store\""]) == ResponseDirectives::default());
    }

    #[test]
    fn times_that_cannot_be_read_or_differ() {
        assert_eq!(response(&["max-age=x"]).max_age, s(0));
        assert_eq!(response(&["max-age"]).max_age, s(0));
        assert_eq!(response(&["max-age=-1"]).max_age, s(0));
        assert_eq!(response(&["max-age=1.5"]).max_age, s(0));
        assert_eq!(response(&["max-age=60", "max-age=5"]).max_age, s(5));
        assert_eq!(response(&["max-age=99999999999999999999999"]).max_age, s(LONGEST));
    }

    #[test]
    fn what_cannot_be_read_is_not_stored() {
        let mut headers = HeaderMap::new();
        headers.append(CACHE_CONTROL, http::HeaderValue::from_bytes(b"max-age=60, \xff").unwrap());
        assert!(ResponseDirectives::of(&headers).no_store);
    }

    #[test]
    fn clients() {
        let mut headers = HeaderMap::new();
        headers.append(PRAGMA, "no-cache".parse().unwrap());
        assert!(RequestDirectives::of(&headers).no_cache);
        headers.append(CACHE_CONTROL, "max-stale, min-fresh=7, max-age=0".parse().unwrap());
        let read = RequestDirectives::of(&headers);
        let (max_stale, min_fresh, max_age) = (Some(Duration::MAX), s(7), s(0));
        assert_eq!(read, RequestDirectives { max_stale, min_fresh, max_age, ..Default::default() });
    }
}
