// SPDX-License-Identifier: Apache-2.0
//! Subresources of pods that are connections to their node: log, exec, attach, port-forward.
//!
//! Clients come with WebSockets or SPDY/3.1, the node speaks frames in HTTP/2 bodies; this is where
//! one becomes the other. The pod is checked before a connection is taken over, what fails later is
//! told in the connection.

mod exec;
mod exec_spdy;
mod links;
mod log;
mod port_forward;
mod port_forward_spdy;
mod proxy;
mod proxy_answer;
mod proxy_tls;
mod remote;
pub mod spdy;
mod target;
#[cfg(test)]
mod tests;
mod upgrade;

use std::sync::Arc;

use axum::body::Body;
use http::{Method, Request};
use knarr_auth::Objects as _;
use knarr_types::{Object, ResourceId, Status};

use crate::app::App;
use crate::body::Response;
use crate::request::RequestContext;
use crate::route;
use target::Target;
use upgrade::Wanted;

pub use proxy::proxy;

/// Answers a request for such a subresource; `None` where it is none.
pub async fn handle(
    app: &Arc<App>,
    context: &RequestContext,
    request: Request<Body>,
) -> Option<Result<Response, Status>> {
    let info = &context.info;
    if info.resource != "pods" || !info.group.is_empty() {
        return None;
    }
    match (info.subresource.as_str(), request.method()) {
        ("log", &Method::GET) if upgrade::asks_websocket(request.headers()) => Some(match Wanted::of(request).await {
            Ok(Wanted::WebSocket(socket)) => log::over_websocket(app, context, socket).await,
            Ok(Wanted::Spdy(_)) => log::log(app, context).await,
            Err(status) => Err(status),
        }),
        ("log", &Method::GET) => Some(log::log(app, context).await),
        ("exec" | "attach", &(Method::GET | Method::POST)) => Some(command(app, context, request).await),
        ("portforward", &(Method::GET | Method::POST)) => Some(forward(app, context, request).await),
        ("log" | "exec" | "attach" | "portforward", _) => Some(Err(route::method_not_allowed())),
        _ => None,
    }
}

/// Exec and attach.
async fn command(app: &App, context: &RequestContext, request: Request<Body>) -> Result<Response, Status> {
    let pod = pod(app, context)?;
    let container = target::container(&pod, context.query.get("container").unwrap_or_default())?;
    let target = Target::of(&pod)?;
    let command = remote::Command::of(&context.info.subresource, &target, &container, &context.query)?;
    let tunnels = app.tunnels.clone();
    match Wanted::of(request).await? {
        Wanted::WebSocket(socket) => exec::serve(socket, tunnels, command),
        Wanted::Spdy(spdy) => exec_spdy::serve(spdy, tunnels, command),
    }
}

async fn forward(app: &App, context: &RequestContext, request: Request<Body>) -> Result<Response, Status> {
    let pod = pod(app, context)?;
    let way = port_forward::Way { tunnels: app.tunnels.clone(), target: Target::of(&pod)? };
    match Wanted::of(request).await? {
        Wanted::WebSocket(socket) if port_forward_spdy::is_tunnel(&socket) => {
            Ok(port_forward_spdy::serve_tunnel(socket, way))
        }
        Wanted::WebSocket(socket) => port_forward::serve(socket, way, &context.query),
        Wanted::Spdy(spdy) => port_forward_spdy::serve(spdy, way),
    }
}

fn pod(app: &App, context: &RequestContext) -> Result<Object, Status> {
    let info = &context.info;
    app.core("pods", &info.namespace, &info.name)
        .ok_or_else(|| Status::not_found(&ResourceId::new("", "pods"), &info.name))
}
