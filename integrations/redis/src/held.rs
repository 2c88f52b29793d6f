//! What memory holds for each key.

use crate::terms::Windows;
use crate::wire::{Token, UNSHARED};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A value as memory holds it: the value, and what the server knows it by.
///
/// The closures that [`Builder::memory`](crate::Builder::memory) hands to bellwether's builder get
/// this type. It derefs to the value.
#[derive(Clone)]
pub struct Held<V> {
    pub(crate) value: V,
    pub(crate) version: Token,
    /// Loaded beside another process's flight (`skip_shared_lock`).
    pub(crate) beside: bool,
    extra: Option<Arc<Extra>>,
}

/// What few values have.
struct Extra {
    /// The cells of the tags.
    cells: Box<[u16]>,
    windows: Windows,
}

impl<V> Held<V> {
    pub(crate) fn new(value: V, version: Token, cells: Box<[u16]>, windows: Windows) -> Self {
        let plain = cells.is_empty() && windows == Windows::default();
        let extra = (!plain).then(|| Arc::new(Extra { cells, windows }));
        Self { value, version, beside: false, extra }
    }

    /// Returns a value that no other process can find.
    pub(crate) fn unshared(value: V, cells: Box<[u16]>, windows: Windows) -> Self {
        Self::new(value, UNSHARED, cells, windows)
    }

    /// Returns a value that memory does not keep.
    pub(crate) fn passing(value: V) -> Self {
        Self::unshared(value, Box::default(), Windows::default())
    }

    /// Returns the version, if the server has had this value.
    pub(crate) fn shared_version(&self) -> Option<Token> {
        (self.version != UNSHARED).then_some(self.version)
    }

    pub(crate) fn cells(&self) -> &[u16] {
        self.extra.as_ref().map_or(&[], |extra| &extra.cells)
    }

    /// Returns the windows that are the value's own.
    pub(crate) fn windows(&self) -> Windows {
        self.extra.as_ref().map_or_else(Windows::default, |extra| extra.windows)
    }

    /// Returns whether the server has had this value. A value that was loaded while there was no
    /// link, or beside another process's load, is not shared.
    pub fn is_shared(this: &Self) -> bool {
        this.shared_version().is_some()
    }
}

impl<V> Deref for Held<V> {
    type Target = V;
    fn deref(&self) -> &V {
        &self.value
    }
}

impl<V: fmt::Debug> fmt::Debug for Held<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
