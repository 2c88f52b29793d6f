//! Belady's optimum: what a cache could hit that knows the future.

use crate::trace::Trace;
use std::collections::BinaryHeap;

/// For each request, the position of the next request for the same key, or `NEVER`.
pub(crate) struct Future(Vec<u32>);

/// A trace has fewer requests than this.
const NEVER: u32 = u32::MAX;

impl Future {
    pub(crate) fn of(trace: &Trace) -> Self {
        let mut next = vec![NEVER; trace.unique() as usize];
        let mut future = vec![NEVER; trace.requests.len()];
        for (at, &key) in trace.requests.iter().enumerate().rev() {
            future[at] = next[key as usize];
            next[key as usize] = at as u32;
        }
        Self(future)
    }

    /// The most hits that a cache of this size can have. It may hand out what it loads without keeping it.
    ///
    /// Exact, in O(n log n): of the cached keys and the new one, the one whose next request is the farthest away goes.
    /// `tick` is called for every request.
    pub(crate) fn hits(&self, trace: &Trace, capacity: u64, mut tick: impl FnMut()) -> u64 {
        let mut cached = vec![false; trace.unique() as usize];
        let mut len = 0;
        // When the cached keys are due. A key that was hit has left its old due time behind, but that has passed and is
        // below all that are to come, so the top is never one of those.
        let mut due = BinaryHeap::new();
        let mut hits = 0;
        for (&key, &next) in trace.requests.iter().zip(&self.0) {
            tick();
            let cached_before = cached[key as usize];
            hits += u64::from(cached_before);
            len -= u64::from(cached_before);
            // What nobody will ask for again needs no room.
            cached[key as usize] = next != NEVER;
            if next == NEVER {
                continue;
            }
            due.push(next);
            len += 1;
            if len > capacity {
                let farthest = due.pop().expect("all that is cached is due");
                let victim = trace.requests[farthest as usize];
                cached[victim as usize] = false;
                len -= 1;
            }
        }
        hits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn optimum(requests: &[u32], capacity: u64) -> u64 {
        let trace = Trace::renumber("t".into(), requests.iter()).expect("a request");
        Future::of(&trace).hits(&trace, capacity, || ())
    }

    #[test]
    fn next_requests() {
        let trace = Trace::renumber("t".into(), [5, 6, 5, 5].iter()).expect("four requests");
        assert_eq!(Future::of(&trace).0, [2, NEVER, 3, NEVER]);
    }

    #[test]
    fn textbook_example() {
        // Operating System Concepts, "Page replacement", three frames: LRU has twelve faults, the optimum nine, if each page
        // must be put into a frame. Here 4, which is asked for once, need not be, and that spares 0 its third fault.
        let requests = [7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2, 1, 2, 0, 1, 7, 0, 1];
        assert_eq!(optimum(&requests, 3), 20 - 8);
        assert_eq!(optimum(&requests, 100), 20 - 6);
    }

    #[test]
    fn by_hand() {
        // 0 and 1 are in, 2 is not kept, the rest hits.
        assert_eq!(optimum(&[0, 1, 2, 0, 1, 1], 2), 3);
        // 2 is due before 1, which goes: 0 and 2 hit.
        assert_eq!(optimum(&[0, 1, 2, 0, 2, 1], 2), 2);
        // 1 is not kept, because 0 is due earlier.
        assert_eq!(optimum(&[0, 1, 0, 0, 1], 1), 2);
        assert_eq!(optimum(&[0, 1, 0, 1], 0), 0);
    }

    /// No choice of victims, tried out one and all, has more hits.
    #[test]
    fn nothing_is_better() {
        fn best(requests: &[u32], capacity: usize, cached: &mut Vec<u32>) -> u64 {
            let Some((key, rest)) = requests.split_first() else { return 0 };
            if cached.contains(key) {
                return 1 + best(rest, capacity, cached);
            }
            if cached.len() < capacity {
                cached.push(*key);
                let hits = best(rest, capacity, cached);
                cached.pop();
                return hits;
            }
            let without = |victim: usize| {
                let mut cached = cached.clone();
                cached[victim] = *key;
                best(rest, capacity, &mut cached)
            };
            let evicting = (0..capacity).map(without).max().unwrap_or(0);
            evicting.max(best(rest, capacity, &mut cached.clone()))
        }

        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % 5
        };
        for _ in 0..200 {
            let requests: Vec<_> = (0..14).map(|_| random()).collect();
            for capacity in 1..4 {
                assert_eq!(
                    optimum(&requests, capacity),
                    best(&requests, capacity as usize, &mut vec![]),
                    "{requests:?}"
                );
            }
        }
    }
}
