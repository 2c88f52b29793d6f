//! Checks of the rings, for tests.

use super::*;

impl<T> Rings<T> {
    /// Returns whether `entry` is in slot `number`.
    pub(crate) fn holds(&self, number: u32, entry: NonNull<T>) -> bool {
        self.slot(number).is_some_and(|cell| cell.load(Ordering::Relaxed) == entry.as_ptr())
    }

    /// Returns how many entries and segments there are, or what is wrong with them. No other thread
    /// is at work.
    pub(crate) fn validate(&self) -> Result<(usize, usize), alloc::string::String> {
        let mut seen = alloc::vec![false; self.made.load(Ordering::Relaxed) as usize];
        let mut found = alloc::vec::Vec::new();
        for ring in &self.rings {
            self.check_ring(ring, &mut seen, &mut found)?;
        }
        let mut top = SegmentLink(self.free.load(Ordering::Relaxed)).number();
        while top != 0 {
            Self::visit(&mut seen, top)?;
            let segment = self.segment(top).ok_or("a free segment that does not exist")?;
            if !segment.is_fresh(segment.lap.load(Ordering::Relaxed)) {
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
        ring: &Ring,
        seen: &mut [bool],
        found: &mut alloc::vec::Vec<*mut T>,
    ) -> Result<(), &'static str> {
        let [first, last] = [&ring.first, &ring.last].map(|link| SegmentLink(link.load(Ordering::Relaxed)));
        let (mut at, mut segments) = (first, 0);
        while !at.is_none() {
            Self::visit(seen, at.number())?;
            segments += 1;
            let segment = self.linked(at);
            if segment.check(at.tag(), found)? > 0 && at != first {
                return Err("the hand has been in a segment behind the first");
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
