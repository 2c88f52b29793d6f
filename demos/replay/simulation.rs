//! What a simulated policy is.

/// A cache for one thread in which all entries weigh the same.
pub(crate) trait Policy {
    /// Read-through: whether the key was there. It is there afterwards.
    fn request(&mut self, key: u32) -> bool;
}
