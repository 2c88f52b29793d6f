//! Checks of the rings, for tests.

use super::cell::{self, Content, next_lap};
use super::*;

impl<T> Rings<T> {
    /// Returns whether `entry` is in slot `number`.
    pub(crate) fn holds(&self, number: u32, entry: NonNull<T>) -> bool {
        self.pool.slot(number).is_some_and(|cell| cell.load(Ordering::Relaxed) == cell::word_of(entry))
    }

    /// Returns how many entries and segments there are, or what is wrong with them. No other thread
    /// is at work.
    pub(crate) fn validate(&self) -> Result<(usize, usize), alloc::string::String> {
        let mut seen = alloc::vec![false; self.pool.made.load(Ordering::Relaxed) as usize];
        let mut found = alloc::vec::Vec::new();
        let mut holes = [0; RINGS];
        for ring in &self.rings {
            self.check_ring(ring, &mut seen, &mut found)?;
        }
        found.iter().filter_map(|&word| counted_for(word)).for_each(|ring| holes[ring as usize] += 1);
        found.retain(|&word| matches!(Content::of(word), Content::Entry(_)));
        if self.rings.each_ref().map(|ring| ring.holes.load(Ordering::Relaxed)) != holes {
            return Err("holes miscounted".into());
        }
        let mut top = SegmentLink(self.pool.free.load(Ordering::Relaxed)).number();
        while top != 0 {
            Self::visit(&mut seen, top)?;
            let segment = self.pool.segment(top).ok_or("a free segment that does not exist")?;
            if !segment.is_fresh() {
                return Err("a free segment in the middle of a lap".into());
            }
            top = segment.below.load(Ordering::Relaxed);
        }
        if seen.contains(&false) {
            return Err("a segment in neither a ring nor the free list".into());
        }
        let entries = found.len();
        found.sort_unstable();
        found.dedup();
        if found.len() != entries {
            return Err("an entry in two slots".into());
        }
        Ok((entries, seen.len()))
    }

    fn check_ring(
        &self,
        ring: &Ring<T>,
        seen: &mut [bool],
        found: &mut alloc::vec::Vec<*mut T>,
    ) -> Result<(), &'static str> {
        let [first, last] = [&ring.first, &ring.last].map(|end| SegmentLink(end.link.load(Ordering::Relaxed)));
        let head = ring.first.position.load(Ordering::Relaxed);
        let (mut at, mut segments, mut base) = (first, 0_u32, None);
        while !at.is_none() {
            Self::visit(seen, at.number())?;
            segments += 1;
            let segment = self.pool.linked(at);
            let lap = segment.lap(at).ok_or("a segment in another lap than its link")?;
            if base.replace(lap.position(SLOTS)).is_some_and(|before| before != lap.position(0)) {
                return Err("a segment's position is not behind the one before");
            }
            let emptied = lap.check(found);
            if emptied > 0 && at != first {
                return Err("the hand has been in a segment behind the first");
            }
            if at == first && head > lap.position(emptied) {
                return Err("the hand has passed an entry");
            }
            let next = SegmentLink(segment.next.load(Ordering::Relaxed));
            if (at == last) != (next == SegmentLink::none(at.tag())) || (at != last && next.is_none()) {
                return Err("the last segment is not the one without a successor");
            }
            at = next;
        }
        let counted = ring.segments.load(Ordering::Relaxed);
        if segments == counted && first.is_none() == last.is_none() { Ok(()) } else { Err("segments miscounted") }
    }

    fn visit(seen: &mut [bool], number: u32) -> Result<(), &'static str> {
        let seen = seen.get_mut(number as usize - 1).ok_or("a segment that was never made")?;
        if core::mem::replace(seen, true) { Err("a segment in two places") } else { Ok(()) }
    }
}

impl<T> Lap<'_, T> {
    /// Adds the words of the cells to `found`. Returns how many cells the hand has emptied.
    fn check(&self, found: &mut alloc::vec::Vec<*mut T>) -> usize {
        let words = self.segment.words();
        found.extend(words);
        words.iter().take_while(|&&word| word == cell::empty(next_lap(self.link.tag()))).count()
    }
}

impl<T> Segment<T> {
    fn words(&self) -> [*mut T; SLOTS] {
        self.cells.each_ref().map(|cell| cell.load(Ordering::Relaxed))
    }

    /// Returns whether all cells are empty for the next lap.
    fn is_fresh(&self) -> bool {
        let own = SegmentLink(self.own.load(Ordering::Relaxed));
        self.words().iter().all(|&word| word == cell::empty(own.tag()))
    }
}
