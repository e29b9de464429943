// SPDX-License-Identifier: Apache-2.0
//! Bodies: requests read up to a bound, responses made of shared bytes.

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WARNING, X_CONTENT_TYPE_OPTIONS};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use knarr_types::Status;
use serde_json::Value;

/// What goes back to a client.
pub type Response = http::Response<Body>;

/// The largest body of a request that is read.
pub const MAX_REQUEST_BYTES: usize = 3 * 1024 * 1024;

/// Reads a request's body.
///
/// # Errors
/// 413 where it is larger than [`MAX_REQUEST_BYTES`], 400 where it breaks off.
pub async fn read(body: Body) -> Result<Bytes, Status> {
    match Limited::new(body, MAX_REQUEST_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
        Err(error) => Err(Status::bad_request(format!("the request's body broke off: {error}"))),
    }
}

/// Reads what a client sends that gets no answer about it: a connection whose request was not read
/// cannot be used again. A long body is not waited for.
pub async fn drain(body: Body) {
    const PATIENCE_BYTES: usize = 256 * 1024;
    // What goes wrong here ends the connection, and nothing else.
    let _ = Limited::new(body, PATIENCE_BYTES).collect().await;
}

/// What a client with too large a body is told.
#[must_use]
pub fn too_large() -> Status {
    Status::too_large(format!("Request entity too large: limit is {MAX_REQUEST_BYTES}"))
}

/// A response with a JSON document.
#[must_use]
pub fn json(code: u16, document: &Value) -> Response {
    // A tree of plain values is always JSON.
    bytes(code, "application/json", serde_json::to_vec(document).unwrap_or_default())
}

/// A response with these bytes.
#[must_use]
pub fn bytes(code: u16, media_type: &'static str, content: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(content.into()));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// A response with text for people.
#[must_use]
pub fn text(code: u16, content: &'static str) -> Response {
    let mut response = bytes(code, "text/plain; charset=utf-8", content);
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A failure as the client gets it, in what it accepts.
#[must_use]
pub fn status(status: &Status, accept: &str) -> Response {
    let mut response = crate::serve_object::respond(accept, status.code, &status.to_json());
    if let Some(seconds) = status.details.as_ref().map(|d| d.retry_after_seconds).filter(|s| *s > 0) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Adds warnings for the person behind the client (RFC 7234, section 5.5).
pub fn warn(response: &mut Response, warnings: &[String]) {
    for text in warnings {
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(WARNING, value);
        }
    }
}
