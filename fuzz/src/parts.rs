//! Keys, values and errors that count themselves, and a hasher that can be made bad.

use crate::input::{Hash as Bits, Worth};
use bellwether::{RemovalCause, ToKey};
use std::borrow::Borrow;
use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, Hash, Hasher};
use std::time::Duration;

thread_local! {
    static ALIVE: Cell<i64> = const { Cell::new(0) };
    static NEXT: Cell<u64> = const { Cell::new(1) };
    static REMOVED: RefCell<Vec<(u8, u64, RemovalCause)>> = const { RefCell::new(Vec::new()) };
}

/// Counted from creation to drop.
#[derive(Debug)]
pub struct Token(());

impl Token {
    pub fn new() -> Self {
        ALIVE.set(ALIVE.get() + 1);
        Self(())
    }

    /// How many there are.
    pub fn alive() -> i64 {
        ALIVE.get()
    }
}

impl Clone for Token {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        ALIVE.set(ALIVE.get() - 1);
    }
}

#[derive(Clone, Debug)]
pub struct Key {
    pub id: u8,
    _token: Token,
}

impl Key {
    pub fn new(id: u8) -> Self {
        Self { id, _token: Token::new() }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl Borrow<u8> for Key {
    fn borrow(&self) -> &u8 {
        &self.id
    }
}

impl ToKey<Key> for u8 {
    fn to_key(&self) -> Key {
        Key::new(*self)
    }
}

#[derive(Clone, Debug)]
pub struct Value {
    pub id: u64,
    pub weight: u8,
    pub ttl: Option<Duration>,
    _token: Token,
}

impl Value {
    pub fn new(worth: Worth) -> Self {
        let ttl = worth.ttl.map(|t| t.duration());
        Self { id: fresh(), weight: worth.weight, ttl, _token: Token::new() }
    }
}

pub struct Error {
    pub id: u64,
    _token: Token,
}

impl Error {
    pub fn new() -> Self {
        Self { id: fresh(), _token: Token::new() }
    }
}

fn fresh() -> u64 {
    NEXT.replace(NEXT.get() + 1)
}

/// The eviction listener.
pub fn removed(key: &Key, value: &Value, cause: RemovalCause) {
    REMOVED.with_borrow_mut(|all| all.push((key.id, value.id, cause)));
}

/// What it was told since the last call.
pub fn take_removed() -> Vec<(u8, u64, RemovalCause)> {
    REMOVED.take()
}

#[derive(Clone, Copy)]
pub struct Hashing(pub Bits);

pub struct Mixer(Bits, u64);

impl BuildHasher for Hashing {
    type Hasher = Mixer;
    fn build_hasher(&self) -> Mixer {
        Mixer(self.0, 0)
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.1 = (self.1 ^ u64::from(*byte)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
    }
    fn finish(&self) -> u64 {
        let mixed = self.1 ^ (self.1 >> 29);
        match self.0 {
            Bits::Constant => 7,
            Bits::OneBit => mixed & 1,
            Bits::Full => mixed,
        }
    }
}
