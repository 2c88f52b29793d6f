//! All that is replayed on one trace: bellwether, by one thread and by two, the peers, and Belady's optimum.

use crate::{
    Result,
    args::Size,
    belady::Future,
    caches::{Entrant, PEERS, Peer},
    replay::{self, STRIDE},
    trace::{Trace, mix},
};
use indicatif::ProgressBar;

/// The rows that come before those of the peers: bellwether, by threads.
pub(crate) const OURS: [(&str, usize); 2] = [("bellwether", 1), ("bellwether, 2 threads", 2)];
/// How often each trace is replayed at each size.
pub(crate) const RUNS: u64 = (OURS.len() + PEERS.len() + 1) as u64;

/// The names of all caches, in the order of [`Heat::hits`].
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    OURS.iter().map(|(name, _)| *name).chain(PEERS.iter().map(|peer| peer.name))
}

/// The results on one trace.
pub(crate) struct Race {
    pub(crate) trace: String,
    pub(crate) requests: u64,
    pub(crate) heats: Vec<Heat>,
}

/// The results at one size.
pub(crate) struct Heat {
    pub(crate) size: Size,
    /// Hits of the best there can be.
    pub(crate) optimum: u64,
    /// Hits of the caches.
    pub(crate) hits: Vec<u64>,
}

/// Replays a trace at all sizes, and moves the bar by one for every request.
pub(crate) fn run(trace: &Trace, sizes: &[Size], bar: &ProgressBar) -> Result<Race> {
    let future = Future::of(trace);
    let heats = sizes.iter().map(|&size| {
        bar.set_message(format!("{} at {}", trace.name, size.entries));
        let optimum = future.hits(trace, size.entries, || ());
        bar.inc(trace.requests.len() as u64);
        let mut hits = Vec::new();
        for (_, threads) in OURS {
            hits.push(replay::run(trace, size.entries, threads, bar)?.hits);
        }
        for peer in &PEERS {
            hits.push(read_through(peer, trace, size.entries, bar)?);
        }
        Ok(Heat { size, optimum, hits })
    });
    let heats = heats.collect::<Result<_>>()?;
    Ok(Race { trace: trace.name.clone(), requests: trace.requests.len() as u64, heats })
}

/// The hits of a peer: what is not there is inserted.
fn read_through(peer: &Entrant, trace: &Trace, capacity: u64, bar: &ProgressBar) -> Result<u64> {
    let mut cache = (peer.new)(capacity);
    let mut hits = 0;
    for stride in trace.requests.chunks(STRIDE as usize) {
        for key in stride.iter().copied().map(mix) {
            match cache.get(key) {
                Some(value) if value == !key => hits += 1,
                Some(_) => return Err(format!("{} gave a value of another key", peer.name).into()),
                None => cache.insert(key, !key),
            }
        }
        bar.inc(stride.len() as u64);
    }
    keeps_to(capacity, peer.name, cache.as_mut())?;
    Ok(hits)
}

/// A cache that holds more than it was given room for would win unfairly. (foyer and quick_cache round each shard's
/// share up, so a few entries more may be there.)
fn keeps_to(capacity: u64, name: &str, cache: &mut dyn Peer) -> Result {
    match cache.len() {
        Some(len) if len > capacity + 64 => {
            Err(format!("{name} holds {len} entries, its capacity is {capacity}").into())
        }
        _ => Ok(()),
    }
}
