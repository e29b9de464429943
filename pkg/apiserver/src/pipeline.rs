// SPDX-License-Identifier: Apache-2.0
//! A request's way through the server: what it asks, who asks, whether they may, the answer.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT, WARNING,
};
use http::{HeaderMap, Request};
use hyper::body::Body as _;
use knarr_schema::Kind;
use knarr_types::Status;
use tracing::Instrument as _;

use crate::app::App;
use crate::body::{self, Response};
use crate::impersonation::impersonate;
use crate::metrics::Asked;
use crate::query::{self, Query};
use crate::request::{RequestContext, RequestInfo};
use crate::{
    actions, documents, health, identity, nonresource, read, route, streams, subresources, traces, watch, write,
};

/// How long a request may take that names no time. Upstream's default.
const DEADLINE: Duration = Duration::from_secs(60);
/// What a request may take beyond its deadline before it is broken off.
const OVERTIME: Duration = Duration::from_secs(2);
/// What its client is told, in upstream's words.
const TOO_LATE: &str = "Timeout: request did not complete within the allotted timeout";
/// What an answer is called by, for those who look for it in logs.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// Subresources of pods that are connections to their node.
const STREAMS: [&str; 4] = ["log", "exec", "attach", "portforward"];
/// What is reached over HTTP through the API.
const PROXIED: [&str; 3] = ["pods", "services", "nodes"];
/// Subresources that are actions of their own.
const SPECIAL: [&str; 3] = ["binding", "eviction", "token"];

/// Subresources that are the whole object, of which they change a part.
const VIEWS: [&str; 5] = ["status", "ephemeralcontainers", "resize", "approval", "finalize"];

/// Answers a request. It never fails: what goes wrong is an answer too.
///
/// In a box: whoever awaits the future itself gets a copy of the code of all that it calls.
pub fn handle(app: Arc<App>, request: Request<Body>) -> Pin<Box<dyn Future<Output = Response> + Send>> {
    Box::pin(answer(app, request))
}

async fn answer(app: Arc<App>, request: Request<Body>) -> Response {
    let started = Instant::now();
    let head = request.method() == http::Method::HEAD;
    let accept = accept(request.headers()).to_owned();
    // Who asks may give the request a name of its own, as upstream.
    let id = request.headers().get(AUDIT_ID).filter(|id| !id.is_empty()).cloned();
    let query = Query::parse(request.uri().query().unwrap_or_default());
    if !query::is_encoded(request.uri().path()) {
        return misread();
    }
    let path = query::decode_path(request.uri().path());
    let info = RequestInfo::parse(request.method(), &path, &query);
    drop(path);
    let begun = app.metrics.begin(&info, &query, is_apply(request.headers()));
    let span = traces::request(request.method(), &info);
    let answer = run(&app, request, info, query, begun.is_long()).instrument(span.clone()).await;
    let mut response = answer.unwrap_or_else(|status| body::status(&status, &accept));
    begun.end(response.status().as_u16(), started.elapsed(), response.body().size_hint().exact());
    traces::answered(&span, response.status());
    let id = id.or_else(new_id);
    if let Some(id) = id {
        response.headers_mut().insert(AUDIT_ID, id);
    }
    let own = response.headers_mut().entry(http::header::CACHE_CONTROL);
    own.or_insert(HeaderValue::from_static("no-cache, private"));
    if head {
        let length =
            response.body().size_hint().exact().filter(|_| response.status() != http::StatusCode::NOT_MODIFIED);
        if let Some(length) = length {
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        *response.body_mut() = Body::empty();
    }
    response
}

async fn run(
    app: &Arc<App>,
    request: Request<Body>,
    info: RequestInfo,
    query: Query,
    is_long: bool,
) -> Result<Response, Status> {
    if RequestInfo::is_undetermined(&info.path) {
        return Ok(undetermined(&info.path));
    }
    let (context, kind) = match admitted(app, &request, info, query) {
        Err(status) if status.code == 403 => {
            return Ok(body::unsniffed(body::status(&status, accept(request.headers()))));
        }
        admitted => admitted?,
    };
    let answer = dispatch(app, &context, kind, request);
    if is_long || !context.info.is_resource || context.info.below() == "log" {
        return answer.await;
    }
    // Each step keeps to the deadline by itself, and knows better what to say; this is for what waits for the
    // client: a body that never ends.
    let last = context.deadline + OVERTIME;
    tokio::time::timeout_at(last.into(), answer).await.unwrap_or_else(|_| {
        app.metrics.parts.terminated(504, &Asked::of(&context.info, &context.query, false));
        Err(Status::timeout(TOO_LATE, 0))
    })
}

/// What Go's server says to a request that it cannot read.
fn misread() -> Response {
    let mut response = body::bytes(400, "text/plain; charset=utf-8", "400 Bad Request");
    response.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// What upstream says where it cannot tell what a path is about.
fn undetermined(path: &str) -> Response {
    let why = "failed to create RequestInfo: unable to determine kind and namespace from url";
    let content = format!("Internal Server Error: {path:?}: {why}, {path}\n");
    body::unsniffed(body::bytes(500, "text/plain; charset=utf-8", content))
}

/// The request with its user, if nothing speaks against it before its body is read, and the kind it is about.
fn admitted(
    app: &App,
    request: &Request<Body>,
    info: RequestInfo,
    query: Query,
) -> Result<(RequestContext, Option<Arc<Kind>>), Status> {
    let context = context(app, request, info, query)?;
    let info = &context.info;
    if !info.is_resource {
        return Ok((context, None));
    }
    let kind = app.registry.load().by_resource(&info.group, &info.version, &info.resource).cloned();
    if let Some(kind) = &kind {
        route::check(&context, kind, request.method())?;
    }
    Ok((context, kind))
}

fn context(app: &App, request: &Request<Body>, info: RequestInfo, query: Query) -> Result<RequestContext, Status> {
    let deadline = Instant::now() + deadline(&info, &query)?;
    let user = identity::authenticate(app, request, &info)?;
    let user = impersonate(app, user, request.headers(), &info.attributes())?;
    identity::authorize(app, &user, &info.attributes())?;
    let text =
        |name: HeaderName| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    Ok(RequestContext {
        user,
        info,
        user_agent: text(USER_AGENT),
        accept: accept(request.headers()).to_owned(),
        content_type: text(CONTENT_TYPE),
        gzip: text(ACCEPT_ENCODING).contains("gzip"),
        deadline,
        query,
    })
}

/// A name for a request whose client gave it none.
fn new_id() -> Option<HeaderValue> {
    HeaderValue::from_str(uuid::Uuid::new_v4().hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer())).ok()
}

/// Whether the body is a configuration to apply.
fn is_apply(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    content_type.starts_with("application/apply-patch")
}

/// What the client accepts; of several headers the first counts, as upstream.
fn accept(headers: &HeaderMap) -> &str {
    headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

/// How long a request may take; what goes on for as long as its client likes has a time of its own.
fn deadline(info: &RequestInfo, query: &Query) -> Result<Duration, Status> {
    let endless = info.verb == "watch" || info.below() == "proxy" || STREAMS.contains(&info.below());
    let Some(text) = query.filled("timeout").filter(|_| !endless) else { return Ok(DEADLINE) };
    let asked = knarr_types::go_duration::parse(text)
        .map_err(|why| Status::bad_request(format!("invalid timeout specified in the request URL - {why}")))?;
    // None, or one below it, is as long as the server likes.
    let asked = u64::try_from(asked).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos);
    Ok(asked.map_or(DEADLINE, |asked| asked.min(DEADLINE)))
}

async fn dispatch(
    app: &Arc<App>,
    context: &RequestContext,
    kind: Option<Arc<Kind>>,
    request: Request<Body>,
) -> Result<Response, Status> {
    let info = &context.info;
    if info.path.starts_with("//") {
        return route::missing(&app.registry.load(), &info.path);
    }
    if !info.is_resource {
        if let Some(answer) = documents::serve(app, context, request.method(), request.headers()) {
            return answer;
        }
        if let Some(answer) = health::serve(app, &info.path, &context.query) {
            return Ok(answer);
        }
        return nonresource::handle(app, context, request)
            .await
            .unwrap_or_else(|| route::missing(&app.registry.load(), &info.path));
    }
    let Some(kind) = kind else { return route::missing(&app.registry.load(), &info.path) };
    let answer = of_kind(app, context, &kind, request).await;
    let Some(warning) = kind.deprecation() else { return answer };
    app.metrics.parts.deprecated(info);
    let mut response = answer.unwrap_or_else(|status| body::status(&status, &context.accept));
    // Said before anything about the request itself is known.
    let others: Vec<_> = response.headers().get_all(WARNING).iter().cloned().collect();
    response.headers_mut().remove(WARNING);
    body::warn(&mut response, &[warning.to_owned()]);
    for other in others {
        response.headers_mut().append(WARNING, other);
    }
    Ok(response)
}

async fn read_body(app: &App, context: &RequestContext, body: Body) -> Result<Bytes, Status> {
    app.request_bodies.read(body, context.deadline).await
}

async fn of_kind(
    app: &Arc<App>,
    context: &RequestContext,
    kind: &Arc<Kind>,
    request: Request<Body>,
) -> Result<Response, Status> {
    let info = &context.info;
    if kind.custom.is_some() && (!kind.namespaced && !info.namespace.is_empty()) {
        return Ok(body::text(404, "404 page not found\n"));
    }
    if kind.namespaced && info.namespace.is_empty() && !matches!(info.verb, "list" | "watch") && kind.stored() {
        return Ok(body::text(404, "404 page not found\n"));
    }
    if &*kind.kind == "Pod" && STREAMS.contains(&info.below()) {
        let warnings = if info.below() == "log" { Vec::new() } else { actions::connect(app, context).await? };
        let answer = streams::handle(app, context, request).await.unwrap_or_else(|| Err(route::no_such_route()));
        return warned(answer, &warnings);
    }
    if info.group.is_empty() && info.below() == "proxy" && PROXIED.contains(&&*info.resource) {
        let warnings = actions::connect(app, context).await?;
        return warned(streams::proxy(app, context, request).await, &warnings);
    }
    if SPECIAL.contains(&info.below()) || !kind.stored() {
        return subresources::handle(app, context, request).await.unwrap_or_else(|| Err(route::method_not_allowed()));
    }
    let body = request.into_body();
    if !info.subresource.is_empty() {
        return below_object(app, context, kind, body).await;
    }
    let of_one = matches!(info.verb, "update" | "patch");
    if of_one && info.name.is_empty() {
        read_body(app, context, body).await?;
        return Err(Status::bad_request("name must be provided"));
    }
    if !kind.has_verb(info.verb) {
        read_body(app, context, body).await?;
        return Err(not_with_verb(kind, info.verb));
    }
    match info.verb {
        "get" => read::get(app, context, kind).await,
        "list" => read::list(app, context, kind).await,
        "watch" => watch::watch(app, context, kind).await,
        "create" => write::create(app, context, kind, read_body(app, context, body).await?).await,
        "update" => write::update(app, context, kind, "", read_body(app, context, body).await?).await,
        "patch" => write::patch(app, context, kind, "", read_body(app, context, body).await?).await,
        "delete" => write::delete(app, context, kind, read_body(app, context, body).await?).await,
        "deletecollection" => write::delete_collection(app, context, kind, read_body(app, context, body).await?).await,
        _ => Err(route::method_not_allowed()),
    }
}

/// The router of built-in kinds speaks of methods, custom resources of what is asked for.
fn not_with_verb(kind: &Kind, verb: &str) -> Status {
    if kind.custom.is_some() { Status::method_not_allowed(&kind.id(), verb) } else { route::method_not_allowed() }
}

fn warned(answer: Result<Response, Status>, warnings: &[String]) -> Result<Response, Status> {
    answer.map(|mut response| {
        body::warn(&mut response, warnings);
        response
    })
}

/// The subresources that are the object itself, or a view of it: status, scale and the like.
async fn below_object(
    app: &Arc<App>,
    context: &RequestContext,
    kind: &Arc<Kind>,
    body: Body,
) -> Result<Response, Status> {
    let info = &context.info;
    let Some(sub) = kind.subresource(&info.subresource) else {
        return Err(match &kind.custom {
            Some(_) => Status::not_found(&kind.id(), &info.name),
            None => route::no_such_route(),
        });
    };
    if !sub.verbs.iter().any(|v| &**v == info.verb) {
        // An unread body would cost the client its connection.
        read_body(app, context, body).await?;
        return Err(not_with_verb(kind, info.verb));
    }
    match (&*sub.name, info.verb) {
        ("scale", "get") => write::scale::get(app, context, kind).await,
        ("scale", "update" | "patch") => {
            write::scale::write(app, context, kind, read_body(app, context, body).await?).await
        }
        (name, "get") if VIEWS.contains(&name) => read::get(app, context, kind).await,
        (name, "update") if VIEWS.contains(&name) => {
            write::update(app, context, kind, name, read_body(app, context, body).await?).await
        }
        (name, "patch") if VIEWS.contains(&name) => {
            write::patch(app, context, kind, name, read_body(app, context, body).await?).await
        }
        _ => Err(route::method_not_allowed()),
    }
}
