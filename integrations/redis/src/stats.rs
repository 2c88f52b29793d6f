//! Counters of what a tier does.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident $event:ident;)*) => {
        /// The counts of a tier since it was built: a snapshot of counters that are not all read at
        /// one instant. [`Tier::memory`](crate::Tier::memory) has those of the memory level.
        #[non_exhaustive]
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Clone, Copy)]
        pub(crate) enum Count { $($event,)* }

        const COUNTERS: usize = [$(Count::$event),*].len();

        #[derive(Debug)]
        pub(crate) struct Counters([AtomicU64; COUNTERS]);

        impl Counters {
            pub(crate) fn new() -> Self {
                Self(std::array::from_fn(|_| AtomicU64::new(0)))
            }

            // All operations here are Relaxed: counters order nothing.
            pub(crate) fn add(&self, what: Count, number: u64) {
                self.0[what as usize].fetch_add(number, Ordering::Relaxed);
            }

            pub(crate) fn snapshot(&self) -> Stats {
                Stats { $($name: self.0[Count::$event as usize].load(Ordering::Relaxed),)* }
            }
        }

        impl Count {
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$event => stringify!($name),)*
                }
            }
        }

        impl Stats {
            /// Returns the counters with their names, for exporters.
            pub fn named(&self) -> [(&'static str, u64); COUNTERS] {
                [$((stringify!($name), self.$name),)*]
            }
        }
    };
}

counters! {
    /// Values found on the server, by a caller that did not find them in memory.
    shared_hits SharedHit;
    /// Old values of the server that were served while another process loaded.
    stale_hits StaleHit;
    /// Loads that this process has led for all processes.
    shared_loads SharedLoad;
    /// Loads without a lease of the server: there was no link, or a command has failed.
    local_loads LocalLoad;
    /// Loads beside another process's load, by `skip_shared_lock`.
    loads_beside LoadBeside;
    /// Waits for the load of another process. A wait that is interrupted and goes on counts anew.
    waits Wait;
    /// Questions after a wait without any push: the probe's or at the end of a lease.
    probes Probe;
    /// Pushed changes of keys.
    pushes Push;
    /// Answers that were asked for once more, because a change was pushed meanwhile.
    asked_again AskedAgain;
    /// Values that this process has loaded and the server did not store: the key was changed, or
    /// another process has taken the load over.
    fenced Fenced;
    /// Loads of this process that have failed, the failures that were told to other processes.
    failures Failure;
    /// Failures of other processes that callers of this process have got.
    remote_failures RemoteFailure;
    /// Values on the server that could not be decoded: another codec, schema or layout.
    undecodable Undecodable;
    /// Values on the server that were passed over because one of their tags had been invalidated.
    tag_misses TagMiss;
    /// Values that were not shared: larger than `max_value_bytes`, with too many tags, or refused
    /// by the codec.
    unshareable Unshareable;
    /// Commands that have failed or timed out.
    command_errors CommandError;
    /// Times that the link was lost.
    link_losses LinkLoss;
    /// Times that the link came up, the first time included.
    link_ups LinkUp;
    /// Writes that were queued, as there was no link.
    queued_writes QueuedWrite;
    /// Queued writes that were made when the link came back.
    replayed_writes ReplayedWrite;
    /// Queued inserts that removed their key instead: another process may have changed it
    /// meanwhile.
    replay_conflicts ReplayConflict;
    /// Times that the queue ran over, and a new generation replaced it.
    queue_overflows QueueOverflow;
    /// Values dropped from memory when the link came back, as they had changed.
    outdated_versions OutdatedVersion;
}
