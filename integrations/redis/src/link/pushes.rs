//! What the server pushes, handled where the connection reads it: in the server's order, before any
//! later reply.

use crate::flights::{Met, Pushed};
use crate::inner::Inner;
use crate::key::SharedKey;
use crate::stats::Count;
use crate::tags::Drops;
use crate::wire::Named;
use redis::aio::{AsyncPushSender, SendError};
use redis::{PushInfo, PushKind, Value};
use std::sync::Weak;

/// The receiver of one connection's pushes.
pub(crate) struct PushTarget<K, V> {
    pub(crate) tier: Weak<Inner<K, V>>,
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static> AsyncPushSender for PushTarget<K, V> {
    fn send(&self, info: PushInfo) -> Result<(), SendError> {
        let Some(tier) = self.tier.upgrade() else { return Err(SendError) };
        match info.kind {
            PushKind::Invalidate => tier.changed(info.data),
            PushKind::Message => tier.told(&info.data),
            PushKind::Disconnection => tier.link.suspect(),
            _ => {}
        }
        Ok(())
    }
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Inner<K, V> {
    /// Keys have changed on the server.
    fn changed(&self, data: Vec<Value>) {
        match data.into_iter().next() {
            Some(Value::Array(keys)) => {
                keys.iter().filter_map(bytes).for_each(|key| self.key_changed(key));
                // Told when it is done: who hears of a push does not find the old value any more.
                self.count(Count::Push, keys.len() as u64);
            }
            // The server was flushed.
            _ => self.generation_changed(),
        }
    }

    fn key_changed(&self, name: &[u8]) {
        let generation = self.link.generation().unwrap_or_default();
        match self.names.parse(&generation, name) {
            Named::Generation => self.generation_changed(),
            Named::Value(key) => match self.flights.push(key, Pushed::Value) {
                Met::Woken => {}
                Met::None | Met::Drop => self.drop_bytes(key, |_| true),
            },
            Named::Flight(key) => match self.flights.push(key, Pushed::Flight) {
                Met::Drop => self.drop_bytes(key, |_| true),
                // A value that was loaded beside that flight hears of no other change.
                Met::Woken => self.drop_bytes(key, |tier| tier.peeked(key).is_some_and(|beside| beside)),
                // Nor does the answer that there is no value, or that a load has failed.
                Met::None => self.drop_bytes(key, |tier| tier.peeked(key).is_none_or(|beside| beside)),
            },
            Named::Other => {}
        }
    }

    /// Returns whether the value that memory has at a key was loaded beside another flight. None:
    /// memory has no value.
    fn peeked(&self, key: &[u8]) -> Option<bool> {
        self.cache.peek(&K::decode(key)?).map(|held| held.beside)
    }

    /// Drops what memory has at a key, and fences its load, if `doomed`.
    pub(crate) fn drop_bytes(&self, key: &[u8], doomed: impl FnOnce(&Self) -> bool) {
        if !doomed(self) {
            return;
        }
        match K::decode(key) {
            Some(key) => drop(self.cache.invalidate(&key)),
            // A key that cannot be read: another one may have been meant.
            None => self.cache.invalidate_all(),
        }
    }

    /// All entries are of an old generation from now on.
    pub(crate) fn generation_changed(&self) {
        self.link.forget_generation();
        self.cache.invalidate_all();
        self.flights.wake_all();
    }

    /// A tag was invalidated by some process.
    fn told(&self, data: &[Value]) {
        let [channel, message] = data else { return };
        if bytes(channel) != Some(self.names.tag_channel.as_bytes()) {
            return;
        }
        let numbers = bytes(message).and_then(|text| std::str::from_utf8(text).ok()).and_then(|text| {
            let mut parts = text.split(' ').map(str::parse::<u64>);
            Some((parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?))
        });
        match numbers {
            Some((epoch, number, cell)) => {
                let cell = u16::try_from(cell).unwrap_or(u16::MAX);
                self.tags_told(epoch, number, &[(cell, number)]);
            }
            None => self.cache.invalidate_all(),
        }
    }

    /// Notes invalidations of tags, and drops from memory what they end.
    pub(crate) fn tags_told(&self, epoch: u64, number: u64, told: &[(u16, u64)]) {
        match self.mirror.update(epoch, number, told) {
            Drops::Cells(cells) => cells.iter().for_each(|cell| self.cache.invalidate_tag(cell)),
            Drops::All => self.cache.invalidate_all(),
        }
    }
}
