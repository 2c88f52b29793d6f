//! What lies on the server: names of keys, tokens, and the bytes of a value.

use crate::key::SharedKey;
use crate::terms::Windows;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A flight's token: the process, and a number that is new for each flight. A value's version is
/// the token of the flight, or of the insert, that wrote it.
pub(crate) type Token = [u8; 16];

/// The version of a value that only this process has.
pub(crate) const UNSHARED: Token = [0; 16];

/// A process, as others know it: 8 random bytes.
#[derive(Debug)]
pub(crate) struct Process {
    id: [u8; 8],
    next: AtomicU64,
}

impl Process {
    pub(crate) fn new() -> Self {
        // Never zero, so that no token equals `UNSHARED`.
        Self { id: fastrand::u64(1..).to_be_bytes(), next: AtomicU64::new(1) }
    }

    /// Returns a token that no other flight has.
    pub(crate) fn token(&self) -> Token {
        // Relaxed: the numbers need only differ.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut token = [0; 16];
        token[..8].copy_from_slice(&self.id);
        token[8..].copy_from_slice(&number.to_be_bytes());
        token
    }

    pub(crate) fn hex(&self) -> String {
        hex(&self.id)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The names of a namespace on the server.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) namespace: String,
    /// The key of the generation.
    pub(crate) generation: Vec<u8>,
    /// The key of the tags' invalidations.
    pub(crate) tags: Vec<u8>,
    /// The channel on which an invalidation of a tag is told.
    pub(crate) tag_channel: String,
    /// The beginning of the channels by which others see that this process lives.
    pub(crate) alive: String,
}

/// The two keys of one entry, in one slot: the value's and the flight's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntryNames {
    pub(crate) value: Vec<u8>,
    pub(crate) flight: Vec<u8>,
}

/// What a key on the server is to this process.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Named<'k> {
    Generation,
    Value(&'k [u8]),
    Flight(&'k [u8]),
    /// No key of this namespace, or one of another generation.
    Other,
}

impl Names {
    pub(crate) fn new(namespace: &str, process: &Process) -> Self {
        Self {
            namespace: namespace.to_owned(),
            generation: format!("{namespace}:gen").into_bytes(),
            tags: format!("{namespace}:tags").into_bytes(),
            tag_channel: format!("{namespace}:t"),
            alive: format!("{namespace}:p:{}", process.hex()),
        }
    }

    fn prefix(&self, generation: &str) -> Vec<u8> {
        // `k:` keeps the braces from being empty, for any key.
        format!("{}:{generation}:{{k:", self.namespace).into_bytes()
    }

    pub(crate) fn entry(&self, generation: &str, key: &impl SharedKey) -> EntryNames {
        let mut value = self.prefix(generation);
        key.encode(&mut value);
        value.push(b'}');
        let mut flight = value.clone();
        flight.extend_from_slice(b":f");
        EntryNames { value, flight }
    }

    /// Returns what `name` is, with the bytes of its key. (No name of a flight ends with a brace,
    /// and each name of a value does: keys `a` and `a}:f` do not meet.)
    pub(crate) fn parse<'k>(&self, generation: &str, name: &'k [u8]) -> Named<'k> {
        if name == self.generation {
            return Named::Generation;
        }
        let Some(rest) = name.strip_prefix(&*self.prefix(generation)) else { return Named::Other };
        match (rest.strip_suffix(b"}"), rest.strip_suffix(b"}:f")) {
            (Some(key), _) => Named::Value(key),
            (None, Some(key)) => Named::Flight(key),
            (None, None) => Named::Other,
        }
    }
}

/// The tags of a value as cells, and when its load began: the epoch and number of the last
/// invalidation of any tag that was known then.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Stamp {
    pub(crate) epoch: u64,
    pub(crate) number: u64,
    pub(crate) cells: Box<[u16]>,
}

/// The layout of the bytes in front of a value. Raised when it changes.
const LAYOUT: u8 = 2;

/// Which windows of its own a value has.
const WHILE_REFRESH: u8 = 1;
const IF_ERROR: u8 = 2;

/// Returns the bytes of a value: layout, codec, schema, tags, windows, and what the codec wrote.
pub(crate) fn encode(codec: u8, schema: u32, (stamp, windows): (&Stamp, &Windows), value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + 16 + 2 * stamp.cells.len() + 16 + value.len());
    out.extend_from_slice(&[LAYOUT, codec]);
    out.extend_from_slice(&schema.to_be_bytes());
    out.push(u8::try_from(stamp.cells.len()).expect("the tags of a value are bounded"));
    let parts = [(WHILE_REFRESH, windows.while_refresh), (IF_ERROR, windows.if_error)];
    out.push(parts.iter().filter(|(_, window)| window.is_some()).map(|(flag, _)| flag).sum());
    if !stamp.cells.is_empty() {
        out.extend_from_slice(&stamp.epoch.to_be_bytes());
        out.extend_from_slice(&stamp.number.to_be_bytes());
        stamp.cells.iter().for_each(|cell| out.extend_from_slice(&cell.to_be_bytes()));
    }
    for window in parts.iter().filter_map(|(_, window)| *window) {
        let nanos = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        out.extend_from_slice(&nanos.to_be_bytes());
    }
    out.extend_from_slice(value);
    out
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let number;
    (number, *bytes) = bytes.split_first_chunk::<8>()?;
    Some(u64::from_be_bytes(*number))
}

/// Returns the tags, the windows and the codec's bytes. None: another layout, codec or schema, or
/// no value at all.
pub(crate) fn decode(codec: u8, schema: u32, bytes: &[u8]) -> Option<(Stamp, Windows, &[u8])> {
    let (head, mut rest) = bytes.split_first_chunk::<8>()?;
    if head[0] != LAYOUT || head[1] != codec || head[2..6] != schema.to_be_bytes() {
        return None;
    }
    let mut stamp = Stamp::default();
    if head[6] != 0 {
        (stamp.epoch, stamp.number) = (number(&mut rest)?, number(&mut rest)?);
        let length = 2 * usize::from(head[6]);
        let cells = rest.get(..length)?;
        stamp.cells = cells.chunks_exact(2).map(|two| u16::from_be_bytes([two[0], two[1]])).collect();
        rest = &rest[length..];
    }
    let mut windows = Windows::default();
    for (flag, window) in [(WHILE_REFRESH, &mut windows.while_refresh), (IF_ERROR, &mut windows.if_error)] {
        if head[7] & flag != 0 {
            *window = Some(Duration::from_nanos(number(&mut rest)?));
        }
    }
    Some((stamp, windows, rest))
}

/// How many bytes lie in front of a value's payload: its version, when it expires, what a load of
/// it takes, and when it was made.
const HEAD: usize = 40;

/// Splits what lies at a value's key: its version, and its payload.
pub(crate) fn split(stored: &[u8]) -> Option<(Token, &[u8])> {
    let (head, payload) = stored.split_first_chunk::<HEAD>()?;
    Some((head[..16].try_into().ok()?, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_do_not_collide() {
        let names = Names::new("ns", &Process::new());
        let of = |key: &str| names.entry("g", &key.to_owned());
        let keys = ["", "a", "a:lock", "a:f", "a}:f", "a}", "{", "}", "}:f", "k:a"];
        let mut all: Vec<_> = keys.iter().flat_map(|key| [of(key).value, of(key).flight]).collect();
        for key in keys {
            assert_eq!(names.parse("g", &of(key).value), Named::Value(key.as_bytes()), "{key}");
            assert_eq!(names.parse("g", &of(key).flight), Named::Flight(key.as_bytes()), "{key}");
            assert_eq!(names.parse("h", &of(key).value), Named::Other);
        }
        all.push(names.generation.clone());
        all.push(names.tags.clone());
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 2 * keys.len() + 2);
        assert_eq!(names.parse("g", b"ns:gen"), Named::Generation);
    }

    #[test]
    fn values_come_back_and_others_are_refused() {
        let second = Some(Duration::from_secs(1));
        for cells in [vec![], vec![7], vec![1; 255]] {
            let windows = Windows { while_refresh: second.filter(|_| cells.len() == 1), if_error: second };
            let stamp = Stamp { epoch: u64::MAX, number: 3, cells: cells.into() };
            let bytes = encode(1, 2, (&stamp, &windows), b"value");
            let (found, own, value) = decode(1, 2, &bytes).unwrap();
            assert_eq!((found.cells, own, value), (stamp.cells, windows, &b"value"[..]));
            assert_eq!(decode(2, 2, &bytes), None, "another codec");
            assert_eq!(decode(1, 3, &bytes), None, "another schema");
            assert!((0..bytes.len() - 5).all(|length| decode(1, 2, &bytes[..length]).is_none()), "cut off");
        }
    }
}
