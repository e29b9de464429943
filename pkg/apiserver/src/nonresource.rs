// SPDX-License-Identifier: Apache-2.0
//! Paths of Knarr's own, which are no Kubernetes resources: those that nodes use.

use std::sync::Arc;

use axum::body::Body;
use http::Request;
use knarr_types::Status;

use crate::app::App;
use crate::body::Response;
use crate::request::RequestContext;
use crate::{join, tunnel};

/// Answers a request for such a path; `None` where it is none.
pub async fn handle(
    app: &Arc<App>,
    context: &RequestContext,
    request: Request<Body>,
) -> Option<Result<Response, Status>> {
    match (context.info.verb, context.info.path.as_str()) {
        ("get" | "head", "/knarr/v1/ca" | "/cacerts") => Some(Ok(join::ca(app))),
        ("post", "/knarr/v1/join") => Some(join::join(app, context, request).await),
        ("get", "/knarr/v1/tunnel") => Some(tunnel::open(app, context, request)),
        _ => None,
    }
}
