//! A waker that unparks a thread.

use super::sync::thread::{self, Thread};
use alloc::{sync::Arc, task::Wake};

pub(crate) struct Unpark(Thread);

impl Unpark {
    pub(crate) fn this_thread() -> Arc<Self> {
        Arc::new(Self(thread::current()))
    }
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
