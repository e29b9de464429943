// SPDX-License-Identifier: Apache-2.0
//! Subresources that are actions, and kinds that are only asked and never stored.

mod access;
mod binding;
mod eviction;
mod reviews;
mod token;

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::Request;
use jiff::Timestamp;
use knarr_schema::managed_fields::{Manager, OneVersion, manager_name, track_update};
use knarr_schema::{Kind, decode_as};
use knarr_types::tree::{Value, json};
use knarr_types::{Object, ResourceId, Status};

use crate::app::App;
use crate::body::{self, Response};
use crate::negotiate::{Answer, Form, action_answer, answer, body_media, fits};
use crate::read;
use crate::request::RequestContext;
use crate::serve_object;
use crate::write::WriteOptions;

/// Answers a request for one of them; `None` where it is none.
pub async fn handle(
    app: &Arc<App>,
    context: &RequestContext,
    request: Request<Body>,
) -> Option<Result<Response, Status>> {
    let info = &context.info;
    let body = match app.request_bodies.read(request.into_body(), context.deadline).await {
        Ok(body) => body,
        Err(status) => return Some(Err(status)),
    };
    let is_action = info.verb == "create" && is_action(&info.group, &info.resource, info.below());
    if let Some(Err(status)) = is_action.then(|| action_answer(&context.accept)) {
        return Some(Err(status));
    }
    let answer = match (&*info.group, &*info.resource, info.below(), info.verb) {
        ("", "pods", "binding", "create") | ("", "bindings", "", "create") => {
            binding::create(app, context, &body).await
        }
        ("", "pods", "eviction", "create") => eviction::create(app, context, &body).await,
        ("", "serviceaccounts", "token", "create") => token::create(app, context, &body).await,
        ("authentication.k8s.io", "tokenreviews", "", "create") => reviews::token(app, context, &body).await,
        ("authentication.k8s.io", "selfsubjectreviews", "", "create") => reviews::myself(app, context, &body).await,
        ("authorization.k8s.io", resource, "", "create") => reviews::access(app, context, resource, &body).await,
        // Nothing here is a component on its own whose health somebody else would have to ask for.
        ("", "componentstatuses", "", "get") => {
            Err(Status::not_found(&ResourceId::new("", "componentstatus"), &info.name))
        }
        ("", "componentstatuses", "", "list") => no_components(app, context).await,
        _ => return None,
    };
    Some(answer)
}

/// The list of no components, in the form that the client asked for.
async fn no_components(app: &App, context: &RequestContext) -> Result<Response, Status> {
    let registry = app.registry.load();
    let kind = registry
        .by_resource("", "v1", "componentstatuses")
        .ok_or_else(|| Status::internal("componentstatuses are not served"))?;
    let answer = answer(&context.accept, &context.query, kind)?;
    fits(answer, kind, true)?;
    Ok(read::respond(kind, Vec::new(), &json!({}), answer).await)
}

/// What is created and never there.
fn is_action(group: &str, resource: &str, below: &str) -> bool {
    match group {
        "" => matches!(
            (resource, below),
            ("pods", "binding" | "eviction") | ("bindings", "") | ("serviceaccounts", "token")
        ),
        "authentication.k8s.io" | "authorization.k8s.io" => true,
        _ => false,
    }
}

/// Reads a body that is no resource; gives also what the client is to be warned of, and whether nothing is to be kept.
fn decode(
    app: &App,
    context: &RequestContext,
    kind: &Kind,
    body: &Bytes,
) -> Result<(Object, Vec<String>, bool), Status> {
    let media = body_media(&context.content_type)?;
    let options = WriteOptions::of(&context.query, "create", false)?;
    let (mut object, warnings) = decode_as(kind, &app.registry.load(), body, media, options.validation)?;
    place(&context.info.namespace, &mut object)?;
    Ok((object, warnings, options.dry_run))
}

/// What is sent is in the namespace of the path, whether it says so or nothing; beside namespaces it has none.
fn place(namespace: &str, object: &mut Object) -> Result<(), Status> {
    let Some(metadata) = object["metadata"].as_object_mut() else { return Ok(()) };
    let sent = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
    if namespace.is_empty() {
        metadata.remove("namespace");
    } else if sent.is_empty() {
        metadata.insert("namespace", namespace.into());
    } else if sent != namespace {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Status::bad_request(message));
    }
    Ok(())
}

/// The same with `defaults` and managed fields, as for an object that is created; and what the client is to be
/// warned of.
fn decode_tracked(
    app: &App,
    context: &RequestContext,
    kind: &Kind,
    body: &Bytes,
    defaults: fn(&mut Object),
) -> Result<(Object, Vec<String>), Status> {
    let options = WriteOptions::of(&context.query, context.info.verb, false)?;
    let media = body_media(&context.content_type)?;
    let (mut object, warnings) = decode_as(kind, &app.registry.load(), body, media, options.validation)?;
    defaults(&mut object);
    if object["metadata"].is_null() {
        object["metadata"] = json!({});
    }
    place(&context.info.namespace, &mut object)?;
    knarr_schema::normalize_sent(&mut object, kind.ty.get());
    let api_version = kind.api_version();
    let manager = Manager {
        name: manager_name(&options.manager, &context.user_agent),
        api_version: &api_version,
        subresource: context.info.below(),
        // What has no storage has no strategy either, and so no fields that a write resets.
        reset: &[],
        others: &OneVersion,
    };
    track_update(None, &mut object, kind.ty.get(), &manager, Timestamp::now());
    Ok((object, warnings))
}

/// The kind of a body by its names.
fn body_kind(group: &str, version: &str, kind: &str) -> Result<Kind, Status> {
    Kind::of_body(group, version, kind).ok_or_else(|| Status::internal(format!("{kind} is not known")))
}

/// The answer to an action that succeeded.
fn done(context: &RequestContext, warnings: &[String]) -> Result<Response, Status> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    // It is the same in all forms.
    let answer = Answer { form: Form::Object, ..action_answer(&context.accept)? };
    let content = serve_object::in_encoding(&status, answer.encoding);
    Ok(answered(answer, content, warnings))
}

/// The answer with what an action has made, in the form that the client asked for.
fn made(context: &RequestContext, kind: &Kind, object: &Object, warnings: &[String]) -> Result<Response, Status> {
    let answer = action_answer(&context.accept)?;
    fits(answer, kind, false)?;
    let formed = serve_object::formed(kind, object, answer.form, true);
    Ok(answered(answer, serve_object::in_encoding(&formed, answer.encoding), warnings))
}

fn answered(answer: Answer, content: Bytes, warnings: &[String]) -> Response {
    let mut response = body::bytes(201, answer.encoding.media_type(), content);
    body::warn(&mut response, warnings);
    response
}

/// A subresource's object must be about the object of the path.
fn check_name(context: &RequestContext, object: &Object, what: &str) -> Result<(), Status> {
    if object["metadata"]["name"].as_str().unwrap_or_default() == context.info.name {
        return Ok(());
    }
    Err(Status::bad_request(format!("name in URL does not match name in {what} object")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_where_the_path_says() {
        let placed = |path: &str, sent: Value| {
            let mut object = json!({"metadata": {"namespace": sent}});
            place(path, &mut object).map(|()| object["metadata"].clone()).map_err(|status| status.code)
        };
        assert_eq!(placed("n", json!("n")), Ok(json!({"namespace": "n"})));
        assert_eq!(placed("n", Value::Null), Ok(json!({"namespace": "n"})));
        assert_eq!(placed("n", json!("m")), Err(400));
        assert_eq!(placed("", json!("m")), Ok(json!({})));
    }
}
