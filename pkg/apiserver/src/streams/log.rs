// SPDX-License-Identifier: Apache-2.0
//! `GET .../pods/NAME/log`: the node's answer, as it comes.

use axum::body::Body;
use axum::extract::ws::{Message, WebSocketUpgrade};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::Request;
use http::header::{CONTENT_TYPE, HeaderValue};
use knarr_schema::decode::go_time::canonical_time;
use knarr_types::{ErrorList, FieldError, FieldPath, Reason, Status};

use super::remote::{Pairs, refusal};
use super::target::{self, Target};
use super::{exec, upgrade};
use crate::Response;
use crate::app::App;
use crate::negotiate::{Form, action_answer};
use crate::query::Query;
use crate::request::RequestContext;

/// What of a log may be asked for, by the names that the node knows too.
const OPTIONS: [&str; 8] =
    ["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream"];

/// How a log is sent over a WebSocket: as bytes, which is what a client means that names nothing, or as text.
const PROTOCOLS: [&str; 2] = ["binary.k8s.io", AS_TEXT];
const AS_TEXT: &str = "base64.binary.k8s.io";

/// The log of a container.
///
/// # Errors
/// 404 without the pod, 400 without the container, 422 for options that make no sense, 503 without the
/// node, 406 where objects of no form are accepted; and what the node refuses.
pub async fn log(app: &App, context: &RequestContext) -> Result<Response, Status> {
    let form = action_answer(&context.accept)?.form;
    let errors = validate(&context.query)?;
    if !errors.is_empty() {
        return Err(Status::invalid("", "PodLogOptions", &context.info.name, &errors));
    }
    let pod = super::pod(app, context)?;
    let container = target::container(&pod, context.query.get("container").unwrap_or_default())?;
    refuse_form(form)?;
    // A pod that has no node has said nothing.
    let Ok(target) = Target::of(&pod) else {
        let mut silent = Response::new(Body::empty());
        *silent.status_mut() = http::StatusCode::NO_CONTENT;
        return Ok(silent);
    };
    let path = format!("/containerLogs/{}/{}/{container}", target.namespace, target.name);
    let mut pairs = Pairs::new(&path);
    for name in OPTIONS {
        if let Some(value) = context.query.filled(name) {
            pairs.add(name, value);
        }
    }
    let request = Request::get(pairs.uri()).body(Body::empty()).map_err(Status::internal)?;
    let answer = app.tunnels.call(&target.node, request).await?;
    if !answer.status().is_success() {
        return Err(refusal(answer, &target.name).await);
    }
    Ok(text(answer.into_body()))
}

/// The same over a WebSocket, for browsers: what the log says, in messages as it comes.
///
/// # Errors
/// As [`log`], and 400 where the client speaks another protocol.
pub async fn over_websocket(app: &App, context: &RequestContext, socket: WebSocketUpgrade) -> Result<Response, Status> {
    let answer = log(app, context).await?;
    if answer.status() != http::StatusCode::OK {
        return Ok(answer);
    }
    messages(socket, answer.into_body())
}

/// Sends a body as messages.
pub(super) fn messages(socket: WebSocketUpgrade, body: Body) -> Result<Response, Status> {
    let (socket, protocol) = upgrade::choose_or_none(socket, &PROTOCOLS)?;
    let as_text = protocol == Some(AS_TEXT);
    let message = move |piece: Bytes| match as_text {
        true => Message::Text(STANDARD.encode(piece).into()),
        false => Message::Binary(piece),
    };
    Ok(socket.on_upgrade(async move |socket| {
        let (mut sink, mut source) = socket.split();
        let to_client = async {
            // The client learns from an empty message that it is answered.
            let first = futures::stream::once(std::future::ready(Ok(Bytes::new())));
            let mut pieces = first.chain(body.into_data_stream());
            while let Some(Ok(piece)) = pieces.next().await {
                if sink.send(message(piece)).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = async { while exec::next(&mut source).await.is_some() {} } => return,
            () = to_client => {}
        }
        exec::farewell(sink, source).await;
    }))
}

/// A log has no metadata, whoever asks for them.
fn refuse_form(form: Form) -> Result<(), Status> {
    let Form::Metadata { list, .. } = form else { return Ok(()) };
    Err(if list {
        let message =
            "you requested PartialObjectMetadataList, but the requested object is not a list (*rest.LocationStreamer)";
        Status::new(406, Reason::NotAcceptable, message)
    } else {
        Status::new(500, Reason::Unknown, "object does not implement the Object interfaces")
    })
}

fn text(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// Upstream's rules for `PodLogOptions`.
fn validate(query: &Query) -> Result<ErrorList, Status> {
    let mut errors = ErrorList::new();
    for (name, least, words) in [
        ("tailLines", 0, "must be greater than or equal to 0"),
        ("limitBytes", 1, "must be greater than 0"),
        ("sinceSeconds", 1, "must be greater than 0"),
    ] {
        if let Some(number) = query.number(name)?.filter(|n| *n < least) {
            errors.push(FieldError::invalid(&FieldPath::new(name), number, words));
        }
    }
    if let Some(time) = query.filled("sinceTime") {
        canonical_time(time).map_err(Status::bad_request)?;
    }
    if query.filled("sinceSeconds").is_some() && query.filled("sinceTime").is_some() {
        let words = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.push(FieldError::forbidden(&FieldPath::new("[]"), words));
    }
    match query.filled("stream") {
        None | Some("All" | "Stdout" | "Stderr") => {}
        Some(other) => {
            errors.push(FieldError::not_supported(&FieldPath::new("stream"), other, &["All", "Stdout", "Stderr"]));
        }
    }
    Ok(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_judged_as_upstream_does() {
        for (query, faults) in [
            ("tailLines=0&limitBytes=1&follow=true", 0),
            ("tailLines=-1", 1),
            ("limitBytes=0&sinceSeconds=0", 2),
            ("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", 1),
            ("stream=Both", 1),
        ] {
            assert_eq!(validate(&Query::parse(query)).unwrap().len(), faults, "{query}");
        }
        assert_eq!(validate(&Query::parse("tailLines=x")).unwrap_err().code, 400);
        let no_time = validate(&Query::parse("sinceTime=abc")).unwrap_err();
        let want = "parsing time \"abc\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"abc\" as \"2006\"";
        assert_eq!((no_time.code, no_time.message.as_str()), (400, want));
    }
}
