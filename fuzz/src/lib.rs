//! Any sequence of operations on a small cache, against a plain model of what it must do.
//!
//! One thread, a manual clock that also steps back, six keys. The model ([`model`]) knows each entry, each flight and
//! each handle; it foretells every answer, except where XFetch's dice or the hand decide, and there it says what they may
//! decide. Evictions are learned from the listener, so that presence is exact in bounded caches, too.

mod drive;
mod input;
mod model;
mod parts;

pub use drive::run;
pub use input::Input;
