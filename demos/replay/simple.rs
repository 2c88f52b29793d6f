//! FIFO, LRU and SIEVE, one thread, as plain as they come.

use crate::{list::List, simulation::Policy};
use std::collections::VecDeque;

/// First in, first out.
pub(crate) struct Fifo {
    capacity: u64,
    cached: Vec<bool>,
    queue: VecDeque<u32>,
}

impl Fifo {
    pub(crate) fn new(capacity: u64, keys: u32) -> Self {
        Self { capacity, cached: vec![false; keys as usize], queue: VecDeque::new() }
    }
}

impl Policy for Fifo {
    fn request(&mut self, key: u32) -> bool {
        if self.cached[key as usize] {
            return true;
        }
        if self.queue.len() as u64 == self.capacity {
            let victim = self.queue.pop_front().expect("a capacity of one or more");
            self.cached[victim as usize] = false;
        }
        self.queue.push_back(key);
        self.cached[key as usize] = true;
        false
    }
}

/// The least recently used goes first.
pub(crate) struct Lru {
    capacity: u64,
    cached: Vec<bool>,
    list: List,
}

impl Lru {
    pub(crate) fn new(capacity: u64, keys: u32) -> Self {
        Self { capacity, cached: vec![false; keys as usize], list: List::new(keys) }
    }
}

impl Policy for Lru {
    fn request(&mut self, key: u32) -> bool {
        let hit = self.cached[key as usize];
        if hit {
            self.list.remove(key);
        } else if self.list.len() == self.capacity {
            let victim = self.list.oldest().expect("a capacity of one or more");
            self.list.remove(victim);
            self.cached[victim as usize] = false;
        }
        self.list.push(key);
        self.cached[key as usize] = true;
        hit
    }
}

/// SIEVE (Zhang et al., NSDI'24): a hand goes from the oldest to the newest, again and again. It takes the mark off those
/// that were used since it came by, and evicts the first that was not. Nobody changes places.
pub(crate) struct Sieve {
    capacity: u64,
    cached: Vec<bool>,
    marked: Vec<bool>,
    list: List,
    /// Where the hand goes on; from the oldest if nowhere.
    hand: Option<u32>,
}

impl Sieve {
    pub(crate) fn new(capacity: u64, keys: u32) -> Self {
        let none = vec![false; keys as usize];
        Self { capacity, cached: none.clone(), marked: none, list: List::new(keys), hand: None }
    }

    fn evict(&mut self) {
        while let Some(key) = self.hand.or(self.list.oldest()) {
            self.hand = self.list.newer(key);
            if !self.marked[key as usize] {
                self.list.remove(key);
                self.cached[key as usize] = false;
                return;
            }
            self.marked[key as usize] = false;
        }
    }
}

impl Policy for Sieve {
    fn request(&mut self, key: u32) -> bool {
        if self.cached[key as usize] {
            self.marked[key as usize] = true;
            return true;
        }
        if self.list.len() == self.capacity {
            self.evict();
        }
        self.list.push(key);
        self.cached[key as usize] = true;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The requests that hit, as a string of `.` and `H`.
    fn hits(mut policy: impl Policy, requests: &[u32]) -> String {
        requests.iter().map(|&key| if policy.request(key) { 'H' } else { '.' }).collect()
    }

    // Two entries, keys 0 to 3. All three policies go the same way until the first eviction, of key 2, and then apart.
    const REQUESTS: [u32; 9] = [0, 1, 0, 2, 0, 1, 0, 3, 0];

    #[test]
    fn fifo_by_hand() {
        // 2 evicts 0 although it was used; 0 evicts 1; 1 evicts 2; 3 evicts 0; 0 evicts 1.
        assert_eq!(hits(Fifo::new(2, 4), &REQUESTS), "..H...H..");
    }

    #[test]
    fn lru_by_hand() {
        // 2 evicts 1; 1 evicts 2; 3 evicts 1: key 0 is never the least recently used.
        assert_eq!(hits(Lru::new(2, 4), &REQUESTS), "..H.H.H.H");
    }

    #[test]
    fn sieve_by_hand() {
        // 2: 0 is marked, 1 goes, and the hand comes to its end. 0 is marked again. 1: the hand begins at the oldest, 0,
        // unmarks it, and 2 goes. 0 is marked. 3: as before, 1 goes.
        assert_eq!(hits(Sieve::new(2, 4), &REQUESTS), "..H.H.H.H");
        // What sets it apart from LRU: the hand stays where it was. 0, 1, 2 are in and 0 is marked. 3: 0 loses its mark,
        // 1 goes, the hand stands at 2. 1: 2 goes, although 0 is older and unmarked. So 0 hits, and LRU's 2 would too.
        assert_eq!(hits(Sieve::new(3, 4), &[0, 1, 2, 0, 3, 1, 0, 2]), "...H..H.");
        assert_eq!(hits(Lru::new(3, 4), &[0, 1, 2, 0, 3, 1, 0, 2]), "...H..H.");
        // The hand at the newest of all: all marked, so each loses its mark, and it begins again at the oldest.
        assert_eq!(hits(Sieve::new(2, 4), &[0, 1, 0, 1, 2, 0, 1]), "..HH...");
    }

    #[test]
    fn room_for_all_and_room_for_one() {
        let requests = [0, 1, 2, 2, 1, 0];
        assert_eq!(hits(Fifo::new(9, 3), &requests), "...HHH");
        assert_eq!(hits(Lru::new(9, 3), &requests), "...HHH");
        assert_eq!(hits(Sieve::new(9, 3), &requests), "...HHH");
        assert_eq!(hits(Fifo::new(1, 3), &requests), "...H..");
        assert_eq!(hits(Lru::new(1, 3), &requests), "...H..");
        assert_eq!(hits(Sieve::new(1, 3), &requests), "...H..");
    }
}
