//! The resident set, over the run.

/// Resident bytes of this process, where the system tells.
#[cfg(target_os = "linux")]
pub(crate) fn resident() -> Option<u64> {
    // SAFETY: asks for a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(page).ok()?)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn resident() -> Option<u64> {
    None
}

/// Samples at rest, one a round.
#[derive(Default)]
pub(crate) struct Memory(Vec<u64>);

/// The middle of the middle third, and that of the last.
pub(crate) struct Thirds {
    pub(crate) middle: u64,
    pub(crate) last: u64,
}

impl Memory {
    pub(crate) fn sample(&mut self) {
        self.0.extend(resident());
    }

    /// None where there are too few samples to tell a trend from noise.
    pub(crate) fn thirds(&self) -> Option<Thirds> {
        let third = self.0.len() / 3;
        if third < 8 {
            return None;
        }
        let median = |part: &[u64]| {
            let mut part = part.to_vec();
            part.sort_unstable();
            part[part.len() / 2]
        };
        Some(Thirds { middle: median(&self.0[third..2 * third]), last: median(&self.0[2 * third..]) })
    }
}

impl Thirds {
    /// The allocator's arenas come and go with the threads: a quarter and 16 MiB. A leak of one value in a thousand
    /// operations is more than that within minutes.
    pub(crate) fn are_flat(&self) -> bool {
        self.last <= self.middle + self.middle / 4 + (16 << 20)
    }
}
