// SPDX-License-Identifier: Apache-2.0
//! The ways to the nodes: each dials in, and then answers HTTP/2 requests on that connection.
//!
//! So a node needs no open port and may sit behind NAT. A connection's newest successor replaces it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Request, StatusCode, Uri};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use knarr_types::{Reason, ResourceId, Status};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Response;
use crate::app::App;
use crate::request::RequestContext;

/// What is spoken, and its version.
const PROTOCOL: &str = "knarr-tunnel/1";
/// A node that is silent for that long is asked whether it is there.
const PING_AFTER: Duration = Duration::from_secs(20);
/// How long it may take to say so.
const PONG_WITHIN: Duration = Duration::from_secs(10);
/// What may be on its way in one stream, in bytes.
const STREAM_WINDOW: u32 = 256 << 10;
/// What may be on its way in all streams: a few that nobody reads leave room for the others.
const CONNECTION_WINDOW: u32 = 32 << 20;

/// The connected nodes. Clones share them.
#[derive(Clone, Default)]
pub struct Tunnels(Arc<Links>);

#[derive(Default)]
struct Links {
    nodes: Mutex<HashMap<String, Link>>,
    opened: AtomicU64,
}

struct Link {
    /// Which of all connections it is, so that an old one does not remove its successor.
    number: u64,
    sender: SendRequest<Body>,
}

// === impl Tunnels ===

impl Tunnels {
    /// Whether the node can be reached.
    #[cfg(test)]
    pub(crate) fn is_connected(&self, node: &str) -> bool {
        self.0.nodes.lock().get(node).is_some_and(|link| !link.sender.is_closed())
    }

    /// Sends a request to a node. Of its URI only path and query count.
    ///
    /// # Errors
    /// 503 where the node is not connected, or its connection breaks before it answers.
    pub async fn call(&self, node: &str, mut request: Request<Body>) -> Result<Response, Status> {
        let sender = self.0.nodes.lock().get(node).map(|link| link.sender.clone());
        let mut sender = sender.filter(|s| !s.is_closed()).ok_or_else(|| not_connected(node))?;
        *request.uri_mut() = at_node(node, request.uri())?;
        *request.version_mut() = http::Version::HTTP_2;
        let answer = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        match answer.await {
            Ok(response) => Ok(response.map(Body::new)),
            Err(error) => {
                tracing::debug!(node, %error, "a node did not answer");
                Err(not_connected(node))
            }
        }
    }

    /// Keeps the connection of a node until it breaks.
    pub async fn keep<T>(&self, node: &str, stream: T)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PONG_WITHIN)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let (sender, connection) = match builder.handshake(TokioIo::new(stream)).await {
            Ok(pair) => pair,
            Err(error) => return tracing::debug!(node, %error, "the tunnel of a node did not open"),
        };
        let number = self.0.opened.fetch_add(1, Ordering::Relaxed);
        self.0.nodes.lock().insert(node.to_owned(), Link { number, sender });
        tracing::info!(node, "the node is connected");
        let end = connection.await;
        let mut nodes = self.0.nodes.lock();
        if nodes.get(node).is_some_and(|link| link.number == number) {
            nodes.remove(node);
            tracing::info!(node, error = end.err().map(tracing::field::display), "the node is disconnected");
        }
    }
}

/// `GET /knarr/v1/tunnel`: turns a node's connection into its tunnel.
///
/// # Errors
/// 403 for whoever is no node, 400 where the request asks for another protocol.
pub fn open(app: &App, context: &RequestContext, mut request: Request<Body>) -> Result<Response, Status> {
    let Some(node) = context.user.node().map(str::to_owned) else {
        let why = "only nodes, which show their certificates, have a tunnel";
        return Err(Status::forbidden(&ResourceId::new("", "nodes"), "", why));
    };
    let asked = request.headers().get(UPGRADE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !asked.eq_ignore_ascii_case(PROTOCOL) {
        return Err(Status::bad_request(format!("unable to upgrade: this path speaks {PROTOCOL}, not {asked:?}")));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let tunnels = app.tunnels.clone();
    tokio::spawn(async move {
        match upgrade.await {
            Ok(stream) => tunnels.keep(&node, TokioIo::new(stream)).await,
            Err(error) => tracing::debug!(node, %error, "the tunnel of a node did not open"),
        }
    });
    Ok(switching(PROTOCOL))
}

/// The answer after which another protocol is spoken.
#[must_use]
pub fn switching(protocol: &'static str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static(protocol));
    response
}

fn at_node(node: &str, uri: &Uri) -> Result<Uri, Status> {
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    Uri::builder().scheme("http").authority(node).path_and_query(path).build().map_err(Status::internal)
}

fn not_connected(node: &str) -> Status {
    Status::new(503, Reason::ServiceUnavailable, format!("error dialing backend: node {node} is not connected"))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use http_body_util::BodyExt as _;
    use hyper_util::service::TowerToHyperService;

    use super::*;

    async fn connect(tunnels: &Tunnels, word: &'static str) -> tokio::task::JoinHandle<()> {
        let (near, far) = tokio::io::duplex(4096);
        let routes = Router::new().route("/word", get(move || async move { word }));
        let before = tunnels.0.opened.load(Ordering::Relaxed);
        let node = tokio::spawn(async move {
            let service = TowerToHyperService::new(routes);
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(far), service)
                .await;
        });
        let keeper = tunnels.clone();
        tokio::spawn(async move { keeper.keep("n1", near).await });
        while tunnels.0.opened.load(Ordering::Relaxed) == before || !tunnels.is_connected("n1") {
            tokio::task::yield_now().await;
        }
        node
    }

    async fn word(tunnels: &Tunnels) -> Result<String, Status> {
        let request = Request::get("/word?a=b").body(Body::empty()).unwrap();
        let answer = tunnels.call("n1", request).await?;
        Ok(String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_newest_connection_of_a_node_is_used_until_it_breaks() {
        let tunnels = Tunnels::default();
        let refused = word(&tunnels).await.unwrap_err();
        assert_eq!((refused.code, &*refused.message), (503, "error dialing backend: node n1 is not connected"));
        let first = connect(&tunnels, "first").await;
        assert_eq!(word(&tunnels).await.unwrap(), "first");
        let second = connect(&tunnels, "second").await;
        assert_eq!(word(&tunnels).await.unwrap(), "second");
        first.abort();
        let _ = first.await;
        assert_eq!(word(&tunnels).await.unwrap(), "second");
        second.abort();
        let _ = second.await;
        assert_eq!(word(&tunnels).await.unwrap_err().code, 503);
    }
}
