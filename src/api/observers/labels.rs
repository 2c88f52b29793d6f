//! The names that the ready-made observers use for kinds, endings and causes.

use crate::engine::events::{LoadEnding, LoadKind, RemovalCause, WaitEnding};
use crate::engine::rejected::RejectionCause;

pub(super) fn kind(kind: LoadKind) -> &'static str {
    match kind {
        LoadKind::Missing => "missing",
        LoadKind::Expired => "expired",
        LoadKind::Early => "early",
        LoadKind::TakenOver => "taken_over",
        LoadKind::Forced => "forced",
        LoadKind::Compute => "compute",
    }
}

pub(super) fn load_ending(ending: LoadEnding) -> &'static str {
    match ending {
        LoadEnding::Stored => "stored",
        LoadEnding::NotStored => "not_stored",
        LoadEnding::Renewed => "renewed",
        LoadEnding::Fenced => "fenced",
        LoadEnding::Failed => "failed",
        LoadEnding::NotFound => "not_found",
        LoadEnding::Panicked => "panicked",
        LoadEnding::StoodDown => "stood_down",
        LoadEnding::GivenUp => "given_up",
    }
}

pub(super) fn wait_ending(ending: WaitEnding) -> &'static str {
    match ending {
        WaitEnding::Ready => "ready",
        WaitEnding::Failed => "failed",
        WaitEnding::TookOver => "took_over",
        WaitEnding::Abandoned => "abandoned",
        WaitEnding::Left => "left",
    }
}

pub(super) fn cause(cause: RemovalCause) -> &'static str {
    match cause {
        RemovalCause::Explicit => "explicit",
        RemovalCause::Replaced => "replaced",
        RemovalCause::Expired => "expired",
        RemovalCause::Size => "size",
        RemovalCause::Rejected => "rejected",
    }
}

pub(super) fn rejection(cause: RejectionCause) -> &'static str {
    match cause {
        RejectionCause::TooHeavy => "too_heavy",
        RejectionCause::ZeroTimeToLive => "zero_time_to_live",
        RejectionCause::RetiredMemory => "retired_memory",
    }
}
