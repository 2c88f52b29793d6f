//! The routes for products.
//!
//! | route | caches |
//! |---|---|
//! | `GET /products/{id}` | the response cache, then the product cache |
//! | `GET /products?category=tea` | the response cache |
//! | `PUT /products/{id}`, `POST /products` | ends what shows the product, in both |
//! | `GET /direct/products/{id}` | none, for comparison |

use crate::answer::Refusal;
use crate::app::App;
use crate::database::{Details, Line, Product};
use crate::deadline;
use crate::record::Served;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bellwether_tower::CacheLayer;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// The largest id that a client may choose.
const LAST_ID: u32 = 1_000_000_000;

pub(crate) fn products(app: &App) -> Router<App> {
    Router::new()
        .route("/products/{id}", get(product).put(change).layer(cached(app)))
        .route("/products", get(list).post(create).layer(cached(app)))
        .route("/direct/products/{id}", get(direct))
        .layer(from_fn_with_state(app.settings.deadline, deadline::within))
        .layer(from_fn_with_state(app.clone(), record))
}

/// The response cache for a route. The service has one host, by all names that clients have for it.
fn cached(app: &App) -> CacheLayer {
    let path = |request: &axum::http::request::Parts| request.uri.path_and_query().map(ToString::to_string);
    app.responses.layer().key(path)
}

/// Counts the reads, by what the response cache says of them.
async fn record(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return next.run(request).await;
    }
    let open = app.record.begin();
    let response = next.run(request).await;
    open.answered(served(&response));
    response
}

fn served(response: &Response) -> Served {
    if response.status() == StatusCode::GATEWAY_TIMEOUT {
        return Served::Late;
    }
    if response.status().is_server_error() {
        return Served::Failed;
    }
    let Some(status) = response.headers().get(CACHE_STATUS).and_then(|status| status.to_str().ok()) else {
        return Served::Direct;
    };
    let has = |name| status.split(';').any(|parameter| parameter.trim() == name);
    if has("hit") {
        return Served::Hit;
    }
    if has("collapsed") { Served::Waited } else { Served::Called }
}

/// The tag of the page of a product.
pub(crate) fn page_tag(id: u32) -> String {
    format!("product:{id}")
}

/// The tag of all that shows a product beside others.
fn mention_tag(id: u32) -> String {
    format!("mentions:{id}")
}

/// The tag of a list.
fn list_tag(category: Option<&str>) -> String {
    category.map_or_else(|| "products".to_owned(), |category| format!("category:{category}"))
}

/// Returns the headers of a cacheable response.
///
/// A client may keep it, and asks each time whether it is still right: nothing reaches a client's
/// cache when a product changes. The caches of all processes are told, so they need not ask.
fn headers(fresh: u64, stale: u64, tags: impl Iterator<Item = String>) -> HeaderMap {
    let mut control = format!("public, max-age=0, s-maxage={fresh}");
    if stale > 0 {
        control += &format!(", stale-while-revalidate={stale}");
    }
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, HeaderValue::try_from(control).expect("plain text"));
    let tags = tags.collect::<Vec<_>>().join(" ");
    if let Ok(tags) = HeaderValue::try_from(tags) {
        headers.insert(SURROGATE_KEY, tags);
    }
    headers
}

fn found(app: &App, product: &Product) -> Response {
    let mentions = product.bought_together.iter().map(|other| mention_tag(other.id));
    let tags = std::iter::once(page_tag(product.id)).chain(mentions);
    let settings = &app.settings;
    let headers = headers(settings.response_ttl.as_secs(), settings.response_stale.as_secs(), tags);
    (headers, Json(product)).into_response()
}

fn not_found(app: &App, id: u32) -> Response {
    let headers = headers(app.settings.negative_ttl.as_secs(), 0, std::iter::once(page_tag(id)));
    (StatusCode::NOT_FOUND, headers, Json(json!({ "error": format!("no product {id}") }))).into_response()
}

async fn product(State(app): State<App>, Path(id): Path<u32>) -> Result<Response, Refusal> {
    app.record.handler_called();
    let product = app.products.get(id).await?;
    Ok(product.map_or_else(|| not_found(&app, id), |product| found(&app, &product)))
}

/// The same without any cache: each request is a query.
async fn direct(State(app): State<App>, Path(id): Path<u32>) -> Result<Response, Refusal> {
    let product = app.database.product(id).await?.map(Arc::new);
    let mut response = product.map_or_else(|| not_found(&app, id), |product| found(&app, &product));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().remove(SURROGATE_KEY);
    Ok(response)
}

#[derive(Deserialize)]
struct Selection {
    category: Option<String>,
}

async fn list(State(app): State<App>, Query(selection): Query<Selection>) -> Result<Response, Refusal> {
    app.record.handler_called();
    let category = selection.category;
    if let Some(category) = &category {
        check_category(category)?;
    }
    let tag = list_tag(category.as_deref());
    let lines: Vec<Line> = app.database.list(category).await?;
    let tags = std::iter::once(tag).chain(lines.iter().map(|line| mention_tag(line.id)));
    let settings = &app.settings;
    Ok((headers(settings.response_ttl.as_secs(), settings.response_stale.as_secs(), tags), Json(lines)).into_response())
}

/// (A category is a part of a tag, and tags are separated by spaces.)
fn check_category(category: &str) -> Result<(), Refusal> {
    let right = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=32).contains(&category.len()) && category.chars().all(right) {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "category: expected 1 to 32 of a-z, 0-9 and -"))
}

fn check(details: &Details) -> Result<(), Refusal> {
    check_category(&details.category)?;
    if (1..=100).contains(&details.name.chars().count()) && !details.name.contains(char::is_control) {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "name: expected 1 to 100 characters"))
}

async fn change(
    State(app): State<App>,
    Path(id): Path<u32>,
    Json(details): Json<Details>,
) -> Result<Response, Refusal> {
    if !(1..=LAST_ID).contains(&id) {
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, format!("id: expected 1 to {LAST_ID}")));
    }
    write(app, Some(id), details).await
}

async fn create(State(app): State<App>, Json(details): Json<Details>) -> Result<Response, Refusal> {
    write(app, None, details).await
}

/// Writes a product, and then ends what shows it. A task of its own does so: a deadline, or a
/// client that goes away, must not come between the two.
async fn write(app: App, id: Option<u32>, details: Details) -> Result<Response, Refusal> {
    check(&details)?;
    let written = tokio::spawn(async move {
        let category = details.category.clone();
        let (id, former) = app.database.write(id, details).await?;
        let mut tags = BTreeSet::from([page_tag(id), mention_tag(id), list_tag(None), list_tag(Some(&category))]);
        tags.extend(former.as_ref().map(|former| list_tag(Some(former))));
        // The products first: a response made after its tag has ended must find the new one.
        app.products.invalidate_all_with(id).await?;
        let ending: Vec<_> = tags.iter().map(|tag| app.responses.invalidate_tag(tag)).collect();
        for end in ending {
            end.await?;
        }
        let status = if former.is_some() { StatusCode::OK } else { StatusCode::CREATED };
        let place = [(header::LOCATION, format!("/products/{id}"))];
        Ok((status, place, Json(json!({ "id": id, "invalidated": tags }))).into_response())
    });
    let failed = |_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the write came to nothing");
    written.await.map_err(failed)?
}
