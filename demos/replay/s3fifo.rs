//! S3-FIFO (Yang et al., SOSP'23), one thread.

use crate::simulation::Policy;
use std::collections::VecDeque;

/// Where a key is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Out,
    Small,
    Main,
}

/// What is known of a key.
#[derive(Clone, Copy)]
struct Entry {
    place: Place,
    /// Uses since it came or since main's hand last passed it, 3 at most.
    uses: u8,
    /// When its ghost was made, by `S3Fifo::ghosts_made`; 0 if it has none.
    ghost: u64,
}

/// A small queue in which most keys die young, a main one for those that were used meanwhile, and a ghost queue of keys
/// that left small unused: these go to main at once if they come back.
pub(crate) struct S3Fifo {
    capacity: u64,
    /// The share of small: a tenth.
    small_capacity: u64,
    /// The ghosts are as many as main's entries.
    ghost_capacity: u64,
    entries: Vec<Entry>,
    small: VecDeque<u32>,
    main: VecDeque<u32>,
    ghosts_made: u64,
}

impl S3Fifo {
    /// Uses that a key needs in small to get to main.
    const PROMOTION: u8 = 2;

    pub(crate) fn new(capacity: u64, keys: u32) -> Self {
        let small_capacity = (capacity / 10).max(1);
        Self {
            capacity,
            small_capacity,
            ghost_capacity: capacity - small_capacity,
            entries: vec![Entry { place: Place::Out, uses: 0, ghost: 0 }; keys as usize],
            small: VecDeque::new(),
            main: VecDeque::new(),
            ghosts_made: 0,
        }
    }

    fn entry(&mut self, key: u32) -> &mut Entry {
        &mut self.entries[key as usize]
    }

    fn evict(&mut self) {
        let from_small = self.small.len() as u64 >= self.small_capacity || self.main.is_empty();
        if !(from_small && self.evict_small()) {
            self.evict_main();
        }
    }

    /// Moves the used ones to main and evicts the first that is not. False if all have been moved.
    fn evict_small(&mut self) -> bool {
        while let Some(key) = self.small.pop_front() {
            let uses = self.entry(key).uses;
            if uses < Self::PROMOTION {
                self.ghosts_made += 1;
                *self.entry(key) = Entry { place: Place::Out, uses: 0, ghost: self.ghosts_made };
                return true;
            }
            *self.entry(key) = Entry { place: Place::Main, uses: 0, ghost: 0 };
            self.main.push_back(key);
        }
        false
    }

    fn evict_main(&mut self) {
        while let Some(key) = self.main.pop_front() {
            let entry = self.entry(key);
            if entry.uses == 0 {
                entry.place = Place::Out;
                return;
            }
            entry.uses -= 1;
            self.main.push_back(key);
        }
    }
}

impl Policy for S3Fifo {
    fn request(&mut self, key: u32) -> bool {
        let entry = self.entry(key);
        if entry.place != Place::Out {
            entry.uses = (entry.uses + 1).min(3);
            return true;
        }
        if (self.small.len() + self.main.len()) as u64 == self.capacity {
            self.evict();
        }
        // Asked only now: the eviction may have pushed the oldest ghost out.
        let ghost = self.entry(key).ghost;
        let remembered = ghost > 0 && ghost + self.ghost_capacity > self.ghosts_made;
        let place = if remembered { Place::Main } else { Place::Small };
        *self.entry(key) = Entry { place, uses: 0, ghost: 0 };
        let queue = if remembered { &mut self.main } else { &mut self.small };
        queue.push_back(key);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(capacity: u64, requests: &[u32]) -> String {
        let mut policy = S3Fifo::new(capacity, 100);
        requests.iter().map(|&key| if policy.request(key) { 'H' } else { '.' }).collect()
    }

    #[test]
    fn one_hit_wonders_leave_small_alone() {
        // Ten entries, small is one. Key 0 is used twice in small, so it moves to main when 10 comes, and 1 goes.
        let mut requests: Vec<_> = (0..10).collect();
        requests.extend([0, 0]);
        // A scan: from now on each key evicts the oldest of small, never 0.
        requests.extend(10..40);
        requests.push(0);
        let expected = format!("{}HH{}H", ".".repeat(10), ".".repeat(30));
        assert_eq!(hits(10, &requests), expected);
    }

    #[test]
    fn one_use_is_not_enough() {
        let mut requests: Vec<_> = (0..10).collect();
        requests.extend([0, 10, 0]);
        assert_eq!(hits(10, &requests), format!("{}H..", ".".repeat(10)));
    }

    #[test]
    fn ghosts_come_back_into_main() {
        // 10 evicts 0, which becomes a ghost. It comes back into main (1 goes), and survives a scan of any length.
        let mut requests: Vec<_> = (0..11).collect();
        requests.push(0);
        requests.extend(11..60);
        requests.push(0);
        assert_eq!(hits(10, &requests), format!("{}H", ".".repeat(61)));
    }

    #[test]
    fn ghosts_are_as_many_as_main() {
        // The ghosts of 0 to 8 are all there are room for. When 0 comes back, 9 leaves small, and its ghost is one too
        // many: 0 enters small, and a scan washes it away. 1, in the other run, is still remembered.
        for (back, survives) in [(0, '.'), (1, 'H')] {
            let mut requests: Vec<_> = (0..19).collect();
            requests.push(back);
            requests.extend(20..50);
            requests.push(back);
            assert!(hits(10, &requests).ends_with(survives), "{back}");
        }
    }

    #[test]
    fn main_gives_a_turn_for_each_use() {
        // 10 evicts 0, and when 0 comes back as a ghost, it evicts 1, and so on, until 0 to 9 fill main.
        let mut requests: Vec<_> = (0..11).chain(0..10).collect();
        // 0 is used once. 10 comes back: main's hand passes 0, and takes 1.
        requests.extend([0, 10, 0, 1]);
        assert_eq!(hits(10, &requests), format!("{}H.H.", ".".repeat(21)));
        // Unused, it is taken at once.
        requests.truncate(21);
        requests.extend([10, 1, 0]);
        assert_eq!(hits(10, &requests), format!("{}.H.", ".".repeat(21)));
    }

    #[test]
    fn a_cache_of_one() {
        assert_eq!(hits(1, &[0, 0, 0, 0, 1, 1, 0]), ".HHH.H.");
    }
}
