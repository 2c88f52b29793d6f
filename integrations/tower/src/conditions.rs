//! Conditional requests (RFC 9110 section 13), as far as they concern a cache: `If-None-Match` and
//! `If-Modified-Since`.

use http::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue};

/// What a client has already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    none_match: Vec<HeaderValue>,
    modified_since: Option<HeaderValue>,
}

impl Conditions {
    pub(crate) fn of(request: &HeaderMap) -> Self {
        let none_match: Vec<_> = request.get_all(IF_NONE_MATCH).iter().cloned().collect();
        // Of the two only the first counts (RFC 9110 section 13.2.2).
        let modified_since = none_match.is_empty().then(|| request.get(IF_MODIFIED_SINCE).cloned()).flatten();
        Self { none_match, modified_since }
    }

    /// Returns whether the client has this response already.
    pub(crate) fn are_met_by(&self, response: &HeaderMap) -> bool {
        if !self.none_match.is_empty() {
            let etag = response.get(ETAG).and_then(|etag| etag.to_str().ok());
            let lines = self.none_match.iter().filter_map(|line| line.to_str().ok());
            return lines.into_iter().any(|line| names(line, etag));
        }
        // (Most requests have neither, and need no look at the response.)
        let Some(since) = &self.modified_since else { return false };
        let Some(modified) = response.get(LAST_MODIFIED) else { return false };
        let read = |value: &HeaderValue| httpdate::parse_http_date(value.to_str().ok()?).ok();
        matches!((read(since), read(modified)), (Some(since), Some(modified)) if modified <= since)
    }
}

/// Returns whether a list of entity tags has this one, by the weak comparison, or is `*`.
fn names(list: &str, etag: Option<&str>) -> bool {
    if list.trim() == "*" {
        return true;
    }
    let Some(etag) = etag else { return false };
    entity_tags(list).any(|tag| opaque(tag) == opaque(etag))
}

fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// Returns the entity tags of a list. A comma may be within one.
fn entity_tags(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let quote = rest.find('"')?;
        let end = quote + 1 + rest[quote + 1..].find('"')? + 1;
        let (tag, after) = rest.split_at(end);
        rest = after;
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(http::HeaderName, &str)]) -> HeaderMap {
        let mut all = HeaderMap::new();
        for (name, value) in lines {
            all.append(name, value.parse().unwrap());
        }
        all
    }

    #[test]
    fn entity_tags_and_dates() {
        const FIRST: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
        let tagged = headers(&[(ETAG, "W/\"a,b\""), (LAST_MODIFIED, FIRST)]);
        let cases = [
            (vec![(IF_NONE_MATCH, "\"x\", \"a,b\"")], true),
            (vec![(IF_NONE_MATCH, "\"x\""), (IF_NONE_MATCH, "W/\"a,b\"")], true),
            (vec![(IF_NONE_MATCH, "*")], true),
            (vec![(IF_NONE_MATCH, "\"a\", \"b\"")], false),
            (vec![(IF_NONE_MATCH, "a,b")], false),
            (vec![(IF_MODIFIED_SINCE, FIRST)], true),
            (vec![(IF_MODIFIED_SINCE, LATER)], true),
            (vec![(IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:36 GMT")], false),
            (vec![(IF_MODIFIED_SINCE, "yesterday")], false),
            // `If-None-Match` alone counts.
            (vec![(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, LATER)], false),
            (vec![], false),
        ];
        for (request, met) in cases {
            assert_eq!(Conditions::of(&headers(&request)).are_met_by(&tagged), met, "{request:?}");
        }
        let untagged = HeaderMap::new();
        assert!(!Conditions::of(&headers(&[(IF_NONE_MATCH, "\"x\"")])).are_met_by(&untagged));
        assert!(!Conditions::of(&headers(&[(IF_MODIFIED_SINCE, LATER)])).are_met_by(&untagged));
    }
}
