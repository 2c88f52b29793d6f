//! A doubly linked list of keys, for the policies that take keys out of the middle.

/// No key.
const NONE: u32 = u32::MAX;

/// Keys from the newest to the oldest. A key is in it once or not at all, so the links fit in an array by key.
pub(crate) struct List {
    newer: Vec<u32>,
    older: Vec<u32>,
    newest: u32,
    oldest: u32,
    len: u64,
}

impl List {
    /// An empty list for keys below `keys`.
    pub(crate) fn new(keys: u32) -> Self {
        let links = vec![NONE; keys as usize];
        Self { newer: links.clone(), older: links, newest: NONE, oldest: NONE, len: 0 }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// The next newer one than a key of the list.
    pub(crate) fn newer(&self, key: u32) -> Option<u32> {
        let newer = self.newer[key as usize];
        (newer != NONE).then_some(newer)
    }

    /// Puts a key that is not in the list at its new end.
    pub(crate) fn push(&mut self, key: u32) {
        self.newer[key as usize] = NONE;
        self.older[key as usize] = self.newest;
        match self.newest {
            NONE => self.oldest = key,
            newest => self.newer[newest as usize] = key,
        }
        self.newest = key;
        self.len += 1;
    }

    /// Takes a key of the list out.
    pub(crate) fn remove(&mut self, key: u32) {
        let (newer, older) = (self.newer[key as usize], self.older[key as usize]);
        match newer {
            NONE => self.newest = older,
            newer => self.older[newer as usize] = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.newer[older as usize] = newer,
        }
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_out_of_ends_and_middle() {
        let mut list = List::new(4);
        assert_eq!((list.oldest(), list.len()), (None, 0));
        for key in 0..4 {
            list.push(key);
        }
        list.remove(1);
        assert_eq!((list.oldest(), list.newer(0), list.newer(3)), (Some(0), Some(2), None));
        list.remove(3);
        list.remove(0);
        assert_eq!((list.oldest(), list.newer(2), list.len()), (Some(2), None, 1));
        list.push(0);
        assert_eq!(list.newer(2), Some(0));
        list.remove(2);
        list.remove(0);
        assert_eq!((list.oldest(), list.len()), (None, 0));
    }
}
