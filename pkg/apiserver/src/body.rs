// SPDX-License-Identifier: Apache-2.0
//! Bodies: what is left of those of requests, and responses made of shared bytes.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WARNING, X_CONTENT_TYPE_OPTIONS};
use http_body_util::{BodyExt as _, Limited};
use knarr_types::Status;
use knarr_types::tree::Value;
use tokio::sync::oneshot;

/// What goes back to a client.
pub type Response = http::Response<Body>;

/// The largest body of a request that is read.
pub const MAX_REQUEST_BYTES: usize = 3 * 1024 * 1024;

/// A body, and the way to get back what its reader leaves of it.
pub fn reclaimed(body: Body) -> (Body, Rest) {
    let (back, rest) = oneshot::channel();
    (Body::new(Lent { body: Some(body), back: Some(back) }), Rest(rest))
}

/// What was left of a body when its reader dropped it.
#[derive(Debug)]
pub struct Rest(oneshot::Receiver<Body>);

impl Rest {
    /// Reads it to its end. A long body or a slow client is not waited for, nor a reader that goes on.
    pub async fn drain(mut self) {
        /// What kube-apiserver reads of a body that nobody wanted.
        const MAX_BYTES: usize = 256 * 1024;
        const PATIENCE: Duration = Duration::from_secs(10);
        let Ok(body) = self.0.try_recv() else { return };
        // What goes wrong here ends the connection, and nothing else.
        let _ = tokio::time::timeout(PATIENCE, Limited::new(body, MAX_BYTES).collect()).await;
    }
}

/// A body that goes back where it came from when it is dropped before its end.
struct Lent {
    body: Option<Body>,
    back: Option<oneshot::Sender<Body>>,
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        self.body.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.as_ref().map(http_body::Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let left = self.body.take().filter(|body| !http_body::Body::is_end_stream(body));
        if let (Some(body), Some(back)) = (left, self.back.take()) {
            // Where nobody waits for it any more, it ends here.
            let _ = back.send(body);
        }
    }
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
    unsniffed(bytes(code, "text/plain; charset=utf-8", content))
}

/// The response, of whose content browsers do not guess what it is.
#[must_use]
pub fn unsniffed(mut response: Response) -> Response {
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
    warn(&mut response, &status.warnings);
    response
}

/// Adds warnings for the person behind the client (RFC 7234, section 5.5).
pub fn warn(response: &mut Response, warnings: &[String]) {
    for text in recorded(warnings) {
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

/// Those that are sent: each once, none with control characters, and all cut short once they are too long together.
fn recorded(warnings: &[String]) -> Vec<String> {
    const ALL_MAX: usize = 4096;
    const EACH_MAX: usize = 256;
    let mut told: Vec<&String> = Vec::new();
    for text in warnings {
        if !text.is_empty() && !text.contains(char::is_control) && !told.contains(&text) {
            told.push(text);
        }
    }
    let length = |text: &String| text.chars().count();
    let mut written = 0;
    if told.iter().map(|text| length(text)).sum::<usize>() <= ALL_MAX {
        return told.into_iter().cloned().collect();
    }
    let cut = |text: &&String| text.chars().take(EACH_MAX).collect::<String>();
    let fits = |text: &String| {
        let fits = written < ALL_MAX;
        written += length(text);
        fits
    };
    told.iter().map(cut).take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_told_once_and_cut_where_they_are_many() {
        let of = |texts: &[&str]| recorded(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["a", "", "b\n", "a", "c"]), ["a", "c"]);
        let long = "x".repeat(5000);
        assert_eq!(of(&["a", &long]), ["a".to_owned(), "x".repeat(256)]);
        let many: Vec<String> = (0..40).map(|n| format!("{n}{}", "y".repeat(300))).collect();
        assert_eq!(recorded(&many).len(), 16);
    }

    #[tokio::test]
    async fn what_a_reader_leaves_of_a_body_comes_back() {
        let (body, mut rest) = reclaimed(Body::from("unread"));
        drop(body);
        let unread = rest.0.try_recv().unwrap().collect().await.unwrap();
        assert_eq!(unread.to_bytes(), "unread");
        let (body, mut rest) = reclaimed(Body::from("read"));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "read");
        assert!(rest.0.try_recv().is_err());
    }
}
