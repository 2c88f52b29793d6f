//! Tags: groups of entries, of all processes, that are invalidated together.
//!
//! As in bellwether itself, a tag is a cell, and a cell has the number of its last invalidation.
//! The server counts the invalidations and tells each over pub/sub; each process mirrors the cells.
//! A value carries the last number that was known when its load began, and is good while no cell of
//! its tags has a higher one. Two tags that share a cell are invalidated together, which costs a
//! load and is never wrong.

use crate::flights::lock;
use crate::wire::Stamp;
use std::sync::Mutex;

/// The number of cells.
const CELLS: u16 = 4096;

/// The most tags of one value.
const MOST: usize = 255;

/// Takes the tags of a value, one by one: see [`Builder::tags_with`](crate::Builder::tags_with).
#[derive(Debug, Default)]
pub struct TagList {
    cells: Vec<u16>,
}

impl TagList {
    /// Adds a tag: any bytes, the same in all processes.
    pub fn add(&mut self, tag: impl AsRef<[u8]>) {
        let cell = cell(tag.as_ref());
        if !self.cells.contains(&cell) {
            self.cells.push(cell);
        }
    }

    /// Returns the cells. None: there are too many.
    pub(crate) fn into_cells(self) -> Option<Box<[u16]>> {
        (self.cells.len() <= MOST).then(|| self.cells.into())
    }
}

/// Returns the cell of a tag, the same in all processes (FNV-1a).
pub(crate) fn cell(tag: &[u8]) -> u16 {
    let hash = tag
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    ((hash ^ (hash >> 32)) % u64::from(CELLS)) as u16
}

#[derive(Debug)]
struct Cells {
    /// Random, and another one when the server has lost its numbers. 0: none is known.
    epoch: u64,
    number: u64,
    cells: Box<[u64]>,
}

/// This process's copy of the server's cells.
#[derive(Debug)]
pub(crate) struct Mirror(Mutex<Cells>);

/// What a process must drop from memory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Drops {
    Cells(Vec<u16>),
    /// The numbers begin anew: no stamp from before can be compared.
    All,
}

impl Mirror {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Cells { epoch: 0, number: 0, cells: vec![0; usize::from(CELLS)].into() }))
    }

    /// Takes invalidations that the server has told: cells with their numbers, and the last number.
    pub(crate) fn update(&self, epoch: u64, number: u64, told: &[(u16, u64)]) -> Drops {
        let mut mirror = lock(&self.0);
        let anew = mirror.epoch != epoch;
        if anew {
            mirror.epoch = epoch;
            mirror.number = 0;
            mirror.cells.fill(0);
        }
        mirror.number = mirror.number.max(number);
        let mut changed = Vec::new();
        for &(cell, number) in told {
            let Some(last) = mirror.cells.get_mut(usize::from(cell)) else { continue };
            if *last < number {
                *last = number;
                changed.push(cell);
            }
        }
        if anew { Drops::All } else { Drops::Cells(changed) }
    }

    /// Returns the stamp of a load that begins now, without its cells.
    pub(crate) fn now(&self) -> Stamp {
        let mirror = lock(&self.0);
        Stamp { epoch: mirror.epoch, number: mirror.number, cells: Box::default() }
    }

    /// Returns whether no tag of a value was invalidated since its load began.
    pub(crate) fn is_good(&self, stamp: &Stamp) -> bool {
        if stamp.cells.is_empty() {
            return true;
        }
        let mirror = lock(&self.0);
        let good = |&cell: &u16| mirror.cells.get(usize::from(cell)).is_some_and(|&last| last <= stamp.number);
        mirror.epoch == stamp.epoch && mirror.epoch != 0 && stamp.cells.iter().all(good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_good_until_one_of_its_tags_is_invalidated() {
        let mirror = Mirror::new();
        let stamp = |cells: &[u16]| Stamp { cells: cells.into(), ..mirror.now() };
        assert!(mirror.is_good(&stamp(&[])));
        assert!(!mirror.is_good(&stamp(&[1])), "nothing is known yet");
        assert_eq!(mirror.update(9, 5, &[]), Drops::All);
        let (one, both) = (stamp(&[1]), stamp(&[1, 2]));
        assert!(mirror.is_good(&one) && mirror.is_good(&both));
        assert_eq!(mirror.update(9, 6, &[(2, 6)]), Drops::Cells(vec![2]));
        assert!(mirror.is_good(&one) && !mirror.is_good(&both));
        assert!(mirror.is_good(&stamp(&[2])), "its load began afterwards");
        assert_eq!(mirror.update(9, 6, &[(2, 6)]), Drops::Cells(vec![]), "told twice");
        assert_eq!(mirror.update(8, 1, &[(3, 1)]), Drops::All);
        assert!(!mirror.is_good(&one), "of another epoch");
    }

    #[test]
    fn tags_are_the_same_cells_everywhere() {
        assert_eq!((cell(b""), cell(b"user:7")), (cell(b""), cell(b"user:7")));
        let mut list = TagList::default();
        list.add("a");
        list.add(String::from("a"));
        assert_eq!(list.into_cells().unwrap().len(), 1);
        let mut many = TagList::default();
        (0..1000).for_each(|n| many.add(format!("{n}")));
        assert_eq!(many.into_cells(), None);
    }
}
