//! A generator of load: tasks of this process that ask the service's own router, without sockets.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;

use crate::database::HOT;

/// What the generator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    pub(crate) running: bool,
    /// Requests a second, of all tasks together. They send fewer when answers are slow: a task has
    /// one request at a time.
    rate: u32,
    tasks: u32,
    /// Whether it asks through the caches.
    pub(crate) cached: bool,
    asks: Asks,
}

/// What it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Asks {
    /// The hot product alone.
    Hot,
    /// Of twenty requests: sixteen for the hot product, three for others, one for an unknown one.
    Mixed,
}

impl Plan {
    /// Returns what is wrong with the plan.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        match self {
            Self { rate: 1..=5000, tasks: 1..=256, .. } => Ok(()),
            Self { tasks: 1..=256, .. } => Err("rate: expected 1 to 5000 requests a second"),
            _ => Err("tasks: expected 1 to 256"),
        }
    }

    fn path(&self) -> String {
        let id = match self.asks {
            Asks::Hot => HOT,
            Asks::Mixed => match fastrand::u32(0..20) {
                0..16 => HOT,
                16..19 => fastrand::u32(2..=500),
                _ => fastrand::u32(1_000_000..1_000_050),
            },
        };
        if self.cached { format!("/products/{id}") } else { format!("/direct/products/{id}") }
    }
}

/// The generator. Dropping it ends its tasks.
pub(crate) struct Generator(Mutex<(Plan, Option<DropGuard>)>);

impl Generator {
    pub(crate) fn new() -> Self {
        let plan = Plan { running: false, rate: 400, tasks: 64, cached: true, asks: Asks::Hot };
        Self(Mutex::new((plan, None)))
    }

    fn state(&self) -> MutexGuard<'_, (Plan, Option<DropGuard>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn plan(&self) -> Plan {
        self.state().0
    }

    /// Goes on by another plan. Requests in progress are dropped, as by clients that go away.
    pub(crate) fn follow(&self, plan: Plan, router: &Router) {
        let mut state = self.state();
        let end = CancellationToken::new();
        if plan.running {
            for task in 0..plan.tasks {
                tokio::spawn(run(plan, task, router.clone(), end.clone()));
            }
        }
        *state = (plan, Some(end.drop_guard()));
    }
}

async fn run(plan: Plan, task: u32, router: Router, end: CancellationToken) {
    let period = Duration::from_secs(1) * plan.tasks / plan.rate;
    // The tasks' turns are spread over the period.
    let mut turns = interval_at(Instant::now() + period * task / plan.tasks, period);
    turns.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let ask = async {
        loop {
            turns.tick().await;
            let request = Request::get(plan.path()).body(Body::empty()).expect("a path");
            let Ok(response) = router.clone().oneshot(request).await;
            // As a client does: to the end. (What goes wrong is in the status, and counted.)
            let _ = response.into_body().collect().await;
        }
    };
    end.run_until_cancelled(ask).await;
}
