//! The page, and what it is made of: its files, its numbers, and its buttons.

use crate::answer::Refusal;
use crate::app::App;
use crate::database::HOT;
use crate::generator::{Generator, Plan};
use crate::record::TICK;
use crate::routes::page_tag;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// What the page's handlers share. Not part of [`App`]: the router has that.
#[derive(Clone)]
pub(crate) struct Demo(Arc<Parts>);

struct Parts {
    app: App,
    /// The product routes, for the generator.
    router: Router,
    generator: Generator,
    metrics: PrometheusHandle,
}

impl Demo {
    pub(crate) fn new(app: App, router: Router, metrics: PrometheusHandle) -> Self {
        Self(Arc::new(Parts { app, router, generator: Generator::new(), metrics }))
    }

    /// Begins to follow an action, which is about to be done.
    fn follow(&self, action: &'static str) {
        self.0.app.record.follow(action, self.0.generator.plan().cached);
    }
}

pub(crate) fn routes() -> Router<Demo> {
    let script = ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("page/app.js"));
    let charts = ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("page/charts.js"));
    let style = ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("page/style.css"));
    let icon = ([(header::CONTENT_TYPE, "image/svg+xml")], include_str!("page/icon.svg"));
    Router::new()
        .route("/", get(Html(include_str!("page/index.html"))))
        .route("/app.js", get(script))
        .route("/charts.js", get(charts))
        .route("/style.css", get(style))
        .route("/icon.svg", get(icon))
        .route("/stats", get(stats))
        .route("/metrics", get(metrics))
        .route("/demo/generator", post(generate))
        .route("/demo/clear", post(clear))
        .route("/demo/expire", post(expire))
        .route("/demo/database", post(stall))
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

/// All numbers; the samples are those after the one of the number `after`.
async fn stats(State(demo): State<Demo>, Query(After { after }): Query<After>) -> Json<Value> {
    let app = &demo.0.app;
    let (samples, actions) = app.record.since(after);
    let settings = &app.settings;
    Json(json!({
        "latest": app.record.latest(),
        "counts": app.record.counts(),
        "asking": app.database.asking(),
        "open": app.record.open(),
        "products_in": app.products.place(),
        "shared_hits": app.products.shared_hits(),
        "shared_responses": app.responses.tier_stats().map_or(0, |stats| stats.shared_hits),
        "responses": app.responses.len(),
        "generator": demo.0.generator.plan(),
        "stalled": app.database.is_stalled(),
        "tick_ms": TICK.as_millis() as u64,
        "settings": {
            "product_ttl_s": settings.product_ttl.as_secs(),
            "response_ttl_s": settings.response_ttl.as_secs(),
            "response_stale_s": settings.response_stale.as_secs(),
            "negative_ttl_s": settings.negative_ttl.as_secs(),
            "deadline_ms": settings.deadline.as_millis() as u64,
            "connections": settings.connections,
        },
        "actions": actions,
        "samples": samples,
    }))
}

/// The metrics in Prometheus' text format.
async fn metrics(State(demo): State<Demo>) -> Response {
    demo.0.app.products.publish_metrics();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], demo.0.metrics.render()).into_response()
}

async fn generate(State(demo): State<Demo>, Json(plan): Json<Plan>) -> Result<StatusCode, Refusal> {
    plan.check().map_err(|why| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, why))?;
    demo.0.generator.follow(plan, &demo.0.router);
    Ok(StatusCode::NO_CONTENT)
}

/// Removes the hot product from both caches. All who ask for it wait for one query.
async fn clear(State(demo): State<Demo>) -> Result<StatusCode, Refusal> {
    demo.follow("clear");
    let app = &demo.0.app;
    app.products.invalidate(HOT).await?;
    app.responses.invalidate_tag(&page_tag(HOT)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends the hot product's time to live: its response is served, old as it is, while one query is
/// made. (With Redis it is removed.)
async fn expire(State(demo): State<Demo>) -> Result<StatusCode, Refusal> {
    demo.follow("expire");
    let app = &demo.0.app;
    app.products.invalidate(HOT).await?;
    app.responses.expire_tag(&page_tag(HOT)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stall {
    stalled: bool,
}

async fn stall(State(demo): State<Demo>, Json(Stall { stalled }): Json<Stall>) -> StatusCode {
    demo.follow(if stalled { "stall" } else { "resume" });
    demo.0.app.database.stall(stalled).await;
    StatusCode::NO_CONTENT
}
