//! The deadline of each request.
//!
//! It lies outside of the response cache: when it ends, the handler goes on, and the next request
//! finds its response.

use crate::answer::Refusal;
use axum::extract::{Request, State};
use axum::http::{HeaderName, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::time::Duration;

/// A client's own deadline, in milliseconds. It may only be shorter than the service's.
const HEADER: HeaderName = HeaderName::from_static("x-deadline-ms");

fn of_client(request: &Request) -> Result<Option<Duration>, Refusal> {
    let Some(value) = request.headers().get(HEADER) else { return Ok(None) };
    let milliseconds = value.to_str().ok().and_then(|value| value.parse().ok());
    let wrong = || Refusal::new(StatusCode::BAD_REQUEST, "X-Deadline-Ms: expected a number of milliseconds");
    milliseconds.map(|number| Some(Duration::from_millis(number))).ok_or_else(wrong)
}

/// Answers 504 when the request has taken longer than the service's deadline, or its client's.
pub(crate) async fn within(State(most): State<Duration>, request: Request, next: Next) -> Response {
    let deadline = match of_client(&request) {
        Ok(own) => own.map_or(most, |own| own.min(most)),
        Err(refusal) => return refusal.into_response(),
    };
    match tokio::time::timeout(deadline, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let why = format!("no answer within {} ms", deadline.as_millis());
            Refusal::new(StatusCode::GATEWAY_TIMEOUT, why).into_response()
        }
    }
}
