//! `Vary` (RFC 9111 section 4.1): which headers of a request a response was selected by.

use http::HeaderMap;
use http::header::{HeaderName, VARY};

/// What all lines of a header say; `None` if there is none.
pub(crate) type Values = Option<Box<[u8]>>;

/// The headers that a stored response varies by, with the values of the request that it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selected {
    /// Which rule this is. The keys of the other variants have this number in them. So when the
    /// response under the URI is invalidated, and another rule takes its place, no request finds
    /// the other variants any more.
    id: u64,
    headers: Box<[(HeaderName, Values)]>,
}

/// The rule of a response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// One response for all requests.
    None,
    By(Vec<HeaderName>),
    /// `*`, or what cannot be read: no request is known to match.
    Any,
}

impl Rule {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut names = Vec::new();
        for line in headers.get_all(VARY) {
            let Ok(line) = line.to_str() else { return Self::Any };
            for member in line.split(',').map(str::trim).filter(|member| !member.is_empty()) {
                match member.parse::<HeaderName>() {
                    Ok(name) if member != "*" => names.push(name),
                    _ => return Self::Any,
                }
            }
        }
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        if names.is_empty() { Self::None } else { Self::By(names) }
    }
}

/// Returns whether the lines of a header say this, whatever blanks are around the commas between
/// and within lines; `None`: there is no such header.
fn says(headers: &HeaderMap, name: &HeaderName, value: Option<&[u8]>) -> bool {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), value) {
        (None, None) => true,
        // As nearly all requests have it.
        (Some(line), Some(value)) if lines.next().is_none() && line.as_bytes() == value => true,
        (Some(_), Some(value)) => joined(headers, name).as_deref() == Some(value),
        _ => false,
    }
}

/// Returns the members of a header's lines with one comma between them, and no blanks around it.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Values {
    let mut lines = headers.get_all(name).iter().peekable();
    lines.peek()?;
    let mut all = Vec::new();
    for member in lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')) {
        let member = member.trim_ascii();
        if !member.is_empty() {
            if !all.is_empty() {
                all.push(b',');
            }
            all.extend_from_slice(member);
        }
    }
    Some(all.into())
}

impl Selected {
    pub(crate) fn new(id: u64, names: Vec<HeaderName>, request: &HeaderMap) -> Self {
        let select = |name: HeaderName| {
            let value = joined(request, &name);
            (name, value)
        };
        Self { id, headers: names.into_iter().map(select).collect() }
    }

    /// Makes what another process has written.
    #[cfg(feature = "redis")]
    pub(crate) fn of(id: u64, headers: Box<[(HeaderName, Values)]>) -> Self {
        Self { id, headers }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    #[cfg(feature = "redis")]
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&HeaderName, Option<&[u8]>)> {
        self.headers.iter().map(|(name, value)| (name, value.as_deref()))
    }

    /// Returns whether these are the headers of a rule.
    pub(crate) fn has_names(&self, names: &[HeaderName]) -> bool {
        self.headers.len() == names.len() && self.headers.iter().zip(names).all(|((name, _), other)| name == other)
    }

    /// Returns whether a request selects the response, too.
    pub(crate) fn matches(&self, request: &HeaderMap) -> bool {
        self.headers.iter().all(|(name, value)| says(request, name, value.as_deref()))
    }

    /// Appends the rule's number, and what a request has in its headers, to the key of a variant.
    pub(crate) fn append_to(&self, variant: &mut Vec<u8>, request: &HeaderMap) {
        variant.extend_from_slice(&self.id.to_be_bytes());
        for (name, _) in &self.headers {
            // With the length before each value, so that no two lists of values look alike.
            let value = joined(request, name);
            let length = value.as_ref().map_or(u64::MAX, |value| value.len() as u64);
            variant.extend_from_slice(&length.to_be_bytes());
            variant.extend_from_slice(value.as_deref().unwrap_or_default());
        }
    }

    /// Returns how many bytes the values take.
    pub(crate) fn len(&self) -> usize {
        self.headers.iter().map(|(_, value)| 32 + value.as_ref().map_or(0, |value| value.len())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lines: &[(&str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).fold(
            HeaderMap::new(),
            |mut all, (name, value)| {
                all.append(name, value);
                all
            },
        )
    }

    #[test]
    fn rules() {
        let names = |all: &[&str]| Rule::By(all.iter().map(|name| name.parse().unwrap()).collect());
        assert_eq!(Rule::of(&request(&[])), Rule::None);
        assert_eq!(Rule::of(&request(&[("vary", "B, a"), ("vary", "b")])), names(&["a", "b"]));
        for any in ["*", "a, *", "a b"] {
            assert_eq!(Rule::of(&request(&[("vary", any)])), Rule::Any, "{any}");
        }
    }

    #[test]
    fn every_line_counts_and_blanks_do_not() {
        let first = request(&[("accept", "a, b")]);
        let selected = Selected::new(1, vec!["accept".parse().unwrap(), "x".parse().unwrap()], &first);
        assert!(selected.matches(&request(&[("accept", "a"), ("accept", "b")])));
        assert!(selected.matches(&request(&[("accept", " a ,b,")])));
        for other in
            [&[("accept", "a")][..], &[("accept", "a, b"), ("accept", "c")], &[("accept", "a, b"), ("x", "")], &[]]
        {
            assert!(!selected.matches(&request(other)), "{other:?}");
        }
    }

    #[test]
    fn no_two_lists_of_values_have_one_key() {
        let names = || vec!["a".parse().unwrap(), "b".parse().unwrap()];
        let key = |id, lines: &[(&str, &str)]| {
            let mut key = Vec::new();
            Selected::new(id, names(), &HeaderMap::new()).append_to(&mut key, &request(lines));
            key
        };
        let one = key(1, &[("a", "xy")]);
        assert_eq!(one, key(1, &[("a", "xy")]));
        for other in [key(2, &[("a", "xy")]), key(1, &[("a", "x"), ("b", "y")]), key(1, &[("a", "xy"), ("b", "")])] {
            assert_ne!(one, other);
        }
    }
}
