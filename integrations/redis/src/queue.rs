//! Writes that wait for the link, and their replay.

use crate::flights::lock;
use crate::inner::Inner;
use crate::key::SharedKey;
use crate::link::{Nodes, TierEvent};
use crate::stats::Count;
use crate::terms::Terms;
use crate::wire::{EntryNames, Token};
use redis::RedisResult;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A write of one key.
#[derive(Clone)]
pub(crate) enum Write {
    /// `base`, for one that was queued: the version that this process knew then. The server has it
    /// still, or another process has changed the key since.
    Insert {
        version: Token,
        payload: Arc<[u8]>,
        terms: Terms,
        given: Instant,
        base: Base,
    },
    Remove,
    Expire {
        version: Token,
    },
}

/// What must be at a key's value for an insert to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Base {
    Anything,
    Version(Token),
    /// It is not known what was there. The key is removed instead.
    Unknown,
}

pub(crate) struct Queue<K> {
    /// The connection that writes go to; None: they are queued.
    open: Option<Nodes>,
    by_key: HashMap<K, Write>,
    cells: HashSet<u16>,
    generation: bool,
    most: usize,
}

impl<K> Queue<K> {
    pub(crate) fn new(most: usize) -> Self {
        Self { open: None, by_key: HashMap::new(), cells: HashSet::new(), generation: false, most }
    }

    fn len(&self) -> usize {
        self.by_key.len() + self.cells.len() + usize::from(self.generation)
    }

    /// Has `queue` put a write, and returns whether the queue has run over.
    fn enqueue(&mut self, queue: impl FnOnce(&mut Self)) -> bool {
        queue(self);
        let runs_over = self.len() > self.most;
        if runs_over {
            self.begin_anew();
        }
        runs_over
    }

    /// Replaces all that is queued by a new generation.
    fn begin_anew(&mut self) {
        self.by_key.clear();
        self.cells.clear();
        self.generation = true;
    }
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The server has it. Other processes hear of it now.
    Shared,
    /// There is no link. This process has it; the server and other processes get it when the link
    /// is back, if nothing newer of this process takes its place.
    Queued,
}

impl<K: SharedKey, V: Clone + Send + Sync + 'static> Inner<K, V> {
    /// Returns the connection for writes; if there is none, calls `queue` instead.
    pub(crate) fn open_or(&self, queue: impl FnOnce(&mut Queue<K>)) -> Option<Nodes> {
        let ran_over = {
            let mut locked = lock(&self.queue);
            if locked.open.is_some() {
                return locked.open.clone();
            }
            locked.enqueue(queue)
        };
        self.tell_queued(ran_over);
        None
    }

    /// Queues a write whose command has come to nothing, and has the link replaced.
    pub(crate) fn queue_failed(&self, queue: impl FnOnce(&mut Queue<K>)) {
        let ran_over = lock(&self.queue).enqueue(queue);
        self.link.replace();
        self.tell_queued(ran_over);
    }

    /// Tells of a write that was queued. The queue is not locked: an observer may write.
    fn tell_queued(&self, ran_over: bool) {
        self.count(Count::QueuedWrite, 1);
        if ran_over {
            self.count(Count::QueueOverflow, 1);
            self.event(&TierEvent::QueueOverflow);
        }
    }

    pub(crate) fn writes_are_queued(&self) -> bool {
        lock(&self.queue).len() > 0
    }

    pub(crate) fn close_writes(&self) {
        lock(&self.queue).open = None;
    }

    /// Begins the new generation that is queued, if one is. Returns None if none is.
    pub(crate) async fn replay_generation(&self, nodes: &Nodes) -> RedisResult<Option<Arc<str>>> {
        if !std::mem::take(&mut lock(&self.queue).generation) {
            return Ok(None);
        }
        let made = self.read_generation(nodes, true).await;
        match &made {
            Ok(_) => self.count(Count::ReplayedWrite, 1),
            Err(_) => lock(&self.queue).generation = true,
        }
        made.map(Some)
    }

    /// Makes the queued writes, and opens the way for those that come. Returns how many were made.
    pub(crate) async fn replay(&self, nodes: &Nodes) -> RedisResult<u64> {
        let mut replayed = 0;
        loop {
            // What was queued after a new generation belongs into it.
            if self.replay_generation(nodes).await?.is_some() {
                continue;
            }
            let (cells, writes) = {
                let mut queue = lock(&self.queue);
                let queue = &mut *queue;
                if queue.generation {
                    continue;
                }
                if queue.len() == 0 {
                    queue.open = Some(nodes.clone());
                    break;
                }
                (std::mem::take(&mut queue.cells), std::mem::take(&mut queue.by_key))
            };
            replayed += self.replay_some(nodes, cells, writes).await?;
        }
        self.count(Count::ReplayedWrite, replayed);
        Ok(replayed)
    }

    /// Makes some writes. Those that fail go back, unless newer ones have come.
    async fn replay_some(
        &self,
        nodes: &Nodes,
        mut cells: HashSet<u16>,
        mut writes: HashMap<K, Write>,
    ) -> RedisResult<u64> {
        let mut replayed = 0;
        let made = async {
            while let Some(cell) = cells.iter().next().copied() {
                self.write_tag(nodes, cell).await?;
                cells.remove(&cell);
                replayed += 1;
            }
            while let Some(key) = writes.keys().next().cloned() {
                let names = self.names_of(nodes, &key).await?;
                match self.write(nodes, &names, &writes[&key]).await {
                    Ok(()) => replayed += 1,
                    // Refused by a server that answers: it would be refused again, for ever.
                    Err(error) if error.code().is_some_and(|code| code == "OOM") => self.failed(&error),
                    Err(error) => return Err(error),
                }
                writes.remove(&key);
            }
            RedisResult::Ok(())
        }
        .await;
        if made.is_err() {
            let mut queue = lock(&self.queue);
            queue.cells.extend(cells);
            for (key, write) in writes {
                queue.by_key.entry(key).or_insert(write);
            }
        }
        made.map(|()| replayed)
    }

    /// Makes one write.
    pub(crate) async fn write(&self, nodes: &Nodes, names: &EntryNames, write: &Write) -> RedisResult<()> {
        match write {
            Write::Insert { version, payload, terms, given, base } => {
                let base = match base {
                    Base::Anything => None,
                    Base::Version(version) => Some(version),
                    Base::Unknown => return self.replay_conflict(nodes, names).await,
                };
                let times = terms.times(self.settings.keep(terms.windows), Duration::ZERO, given.elapsed());
                if times.is_over() {
                    return self.remove(nodes, names).await;
                }
                if !self.scripts.insert(nodes, names, (version, base), payload, times).await? {
                    self.count(Count::ReplayConflict, 1);
                }
                Ok(())
            }
            Write::Remove => self.remove(nodes, names).await,
            Write::Expire { version } => self.scripts.expire(nodes, names, version).await.map(drop),
        }
    }

    /// Removes a key that this process has written without the link, not knowing what others did.
    async fn replay_conflict(&self, nodes: &Nodes, names: &EntryNames) -> RedisResult<()> {
        self.remove(nodes, names).await?;
        self.count(Count::ReplayConflict, 1);
        Ok(())
    }

    async fn remove(&self, nodes: &Nodes, names: &EntryNames) -> RedisResult<()> {
        redis::cmd("DEL").arg(&names.value).arg(&names.flight).query_async(&mut nodes.of(&names.value)).await
    }

    /// Invalidates a cell of tags for all processes.
    pub(crate) async fn write_tag(&self, nodes: &Nodes, cell: u16) -> RedisResult<()> {
        let told = (fastrand::u64(1..), cell, &*self.names.tag_channel);
        let (epoch, number) = self.scripts.tag(nodes, &self.names.tags, told).await?;
        self.tags_told(epoch, number, &[(cell, number)]);
        Ok(())
    }
}

impl<K: SharedKey> Queue<K> {
    /// Queues a write, in the place of an older one. `base`: the version that memory had.
    pub(crate) fn put(&mut self, key: K, mut write: Write, known: Option<Token>) {
        if let Write::Insert { base, .. } = &mut write {
            *base = match (self.by_key.get(&key), known) {
                (Some(Write::Insert { base, .. }), _) => *base,
                (None, Some(version)) => Base::Version(version),
                _ => Base::Unknown,
            };
        }
        self.by_key.insert(key, write);
    }

    pub(crate) fn put_cell(&mut self, cell: u16) {
        self.cells.insert(cell);
    }

    pub(crate) fn put_generation(&mut self) {
        self.begin_anew();
    }
}
