//! Writes: to the server, and so to all processes.

use super::Tier;
use crate::error::WriteError;
use crate::key::SharedKey;
use crate::link::text_of;
use crate::queue::{Base, Queue, Write, Written};
use crate::settings::Unshareable;
use crate::tags::cell;
use crate::terms::Asked;
use bellwether::{Expiry, Loaded, ToKey};
use equivalent::Equivalent;
use redis::RedisError;
use std::hash::Hash;
use std::time::Duration;
use tokio::time::Instant;

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Tier<K, V> {
    /// Stores a value for all processes, in the place of any other. A load in progress, in any
    /// process, is not stored.
    ///
    /// When this returns [`Written::Shared`], each other process that had the key in memory has a
    /// push on its way, or its link is dead, which it notices within the time of the heartbeat.
    /// This process fetches the value at its next read: a change of another process may lie
    /// between.
    ///
    /// # Errors
    /// [`WriteError`]: a value that cannot be shared changes nothing; a refusal of the server
    /// leaves other processes as they are.
    ///
    /// # Cancellation
    /// The write may have been made, or not. This process's memory has dropped the key.
    pub async fn insert(&self, key: K, value: V) -> Result<Written, WriteError> {
        self.insert_with(key, value, Expiry::new()).await
    }

    /// As [`insert`](Self::insert), with a time to live for this value alone, exactly that long. A
    /// value with a time of zero is not stored: the key is removed.
    ///
    /// # Errors, cancellation
    /// As [`insert`](Self::insert).
    pub async fn insert_with_ttl(&self, key: K, value: V, ttl: Duration) -> Result<Written, WriteError> {
        self.insert_with(key, value, Expiry::new().exact_ttl(ttl)).await
    }

    /// As [`insert`](Self::insert), with terms for this value alone: how long it is fresh, its
    /// windows past that, how old it is, what a load of it costs. (An early
    /// [`refresh`](Expiry::refresh) is not among what processes share: it has no effect here.)
    ///
    /// # Errors, cancellation
    /// As [`insert`](Self::insert).
    pub async fn insert_with(&self, key: K, value: V, expiry: Expiry) -> Result<Written, WriteError> {
        let tier = &self.inner;
        let terms = tier.settings.terms(&key, &value, Asked::from(expiry));
        if terms.times(tier.settings.keep(terms.windows), Duration::ZERO, Duration::ZERO).is_over() {
            return self.invalidate(&key).await;
        }
        let (payload, cells) =
            tier.settings.encode(&key, &value, (tier.mirror.now(), terms.windows)).map_err(|why| match why {
                Unshareable::Codec(error) => WriteError::Codec(error),
                Unshareable::TooLarge => WriteError::TooLarge,
            })?;
        let (version, payload) = (tier.process.token(), payload.into());
        let insert = Write::Insert { version, payload, terms, given: Instant::now(), base: Base::Anything };
        let written = self.write(&key, insert).await?;
        if written == Written::Queued {
            // Until the link is back, this process has what it was given.
            if let Loaded::With(held, expiry) = tier.unshared(value, cells, &terms) {
                tier.cache.insert_with(key.clone(), held, expiry);
            }
            if tier.link.current().is_some() {
                // It has come back meanwhile, and has looked through memory.
                tier.cache.invalidate(&key);
            }
        }
        Ok(written)
    }

    /// Removes a key from all processes. A load in progress, in any process, is not stored.
    ///
    /// # Errors, cancellation
    /// As [`insert`](Self::insert).
    #[doc(alias = "remove")]
    pub async fn invalidate<Q>(&self, key: &Q) -> Result<Written, WriteError>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
    {
        self.write(&key.to_key(), Write::Remove).await
    }

    /// Ends the time to live of a key's value now, for all processes. The old value stays on the
    /// server for the windows of old values and for conditional requests; memory drops it. A load
    /// in progress goes on, and is stored.
    ///
    /// # Errors, cancellation
    /// As [`insert`](Self::insert).
    pub async fn expire<Q>(&self, key: &Q) -> Result<Written, WriteError>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToKey<K>,
    {
        let version = self.inner.process.token();
        self.write(&key.to_key(), Write::Expire { version }).await
    }

    /// Makes a write of one key. Memory drops the key before it and after it.
    async fn write(&self, key: &K, write: Write) -> Result<Written, WriteError> {
        let tier = &self.inner;
        let known = tier.cache.peek(key).and_then(|held| held.shared_version());
        tier.cache.invalidate(key);
        let queued = |queue: &mut Queue<K>| queue.put(key.clone(), write.clone(), known);
        let Some(nodes) = tier.open_or(queued) else {
            return Ok(Written::Queued);
        };
        // A command that has come to nothing may have been made all the same.
        let queue = |queue: &mut Queue<K>| queue.put(key.clone(), write.clone(), None);
        let made = async {
            let names = tier.names_of(&nodes, key).await?;
            tier.write(&nodes, &names, &write).await
        };
        let made = tier.while_linked(made).await;
        tier.cache.invalidate(key);
        tier.ring(key);
        self.made(made, queue)
    }

    /// Invalidates all entries of all processes with this tag
    /// ([`Builder::tags_with`](crate::Builder::tags_with)), and the results of loads that have
    /// begun. Does nothing without `tags_with`.
    ///
    /// Cost: one command, however many entries there are.
    ///
    /// # Errors, cancellation
    /// As [`insert`](Self::insert).
    pub async fn invalidate_tag(&self, tag: impl AsRef<[u8]>) -> Result<Written, WriteError> {
        let (tier, cell) = (&self.inner, cell(tag.as_ref()));
        if tier.settings.tags_with.is_none() {
            return Ok(Written::Shared);
        }
        tier.cache.invalidate_tag(&cell);
        let queue = |queue: &mut Queue<K>| queue.put_cell(cell);
        let Some(nodes) = tier.open_or(queue) else { return Ok(Written::Queued) };
        let made = tier.while_linked(tier.write_tag(&nodes, cell)).await;
        self.made(made, queue)
    }

    /// Invalidates all entries of all processes: a new generation begins, and what is left of the
    /// old one expires by itself.
    ///
    /// Cost: one command, and in each process a walk over memory.
    ///
    /// # Errors, cancellation
    /// As [`insert`](Self::insert).
    pub async fn invalidate_all(&self) -> Result<Written, WriteError> {
        let tier = &self.inner;
        tier.generation_changed();
        let Some(nodes) = tier.open_or(Queue::put_generation) else { return Ok(Written::Queued) };
        let made = tier.while_linked(tier.read_generation(&nodes, true)).await.map(drop);
        tier.cache.invalidate_all();
        tier.flights.wake_all();
        self.made(made, Queue::put_generation)
    }

    /// Turns the end of a command into the end of a write.
    fn made(&self, made: Result<(), RedisError>, queue: impl FnOnce(&mut Queue<K>)) -> Result<Written, WriteError> {
        match made {
            Ok(()) => Ok(Written::Shared),
            Err(error) => {
                self.inner.failed(&error);
                if self.inner.is_refusal(&error) {
                    return Err(WriteError::Refused(text_of(&error)));
                }
                self.inner.queue_failed(queue);
                Ok(Written::Queued)
            }
        }
    }
}
