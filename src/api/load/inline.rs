//! The deadlines of a task that polls its own load: when the task stops waiting for it.
//!
//! (A thread that runs its own closure cannot be stopped.)

use crate::api::handle::entry::CoreRef;
use crate::engine::config::Limits;
use crate::engine::wait::task::TaskDeadline;
use crate::runtime::xfetch::NEVER;
use alloc::boxed::Box;
use core::task::{Context, Poll};

/// How long a task waits for the load that it polls. (Boxed: most tasks have no deadlines.)
pub(crate) struct InlineLimit(Option<Box<Deadlines>>);

struct Deadlines {
    /// The deadline if there is an old value.
    soft: u64,
    /// The deadline in any case.
    hard: u64,
    deadline: TaskDeadline,
}

/// The deadline that has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Soft,
    Hard,
}

impl InlineLimit {
    /// Returns the limit of a caller. `began` is when the caller began to wait, or `NEVER` if it
    /// has not.
    pub(crate) fn new<K, V>(core: &CoreRef<'_, K, V>, limits: &Limits, began: u64) -> Self {
        let config = &core.get().config;
        let Limits { soft_timeout, hard_timeout, .. } = *limits;
        if soft_timeout.min(hard_timeout) == NEVER || config.timeless() {
            return Self(None);
        }
        let began = if began == NEVER { config.wait_now() } else { began };
        let [soft, hard] = [soft_timeout, hard_timeout].map(|limit| began.saturating_add(limit));
        Self(Some(Box::new(Deadlines { soft, hard, deadline: TaskDeadline::NONE })))
    }

    /// Returns `Ready` with a deadline that has come, each at most once. Until then the task is
    /// woken at the next deadline.
    pub(crate) fn poll<K, V>(&mut self, core: &CoreRef<'_, K, V>, cx: &Context<'_>) -> Poll<Due> {
        let Some(deadlines) = &mut self.0 else { return Poll::Pending };
        let (soft, hard) = (deadlines.soft, deadlines.hard);
        if !deadlines.deadline.is_over(&core.get().config, soft.min(hard), cx) {
            return Poll::Pending;
        }
        if soft < hard {
            deadlines.soft = NEVER;
            return Poll::Ready(Due::Soft);
        }
        (deadlines.soft, deadlines.hard) = (NEVER, NEVER);
        Poll::Ready(Due::Hard)
    }
}
