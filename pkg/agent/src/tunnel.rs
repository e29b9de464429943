// SPDX-License-Identifier: Apache-2.0
//! The connection over which the server reaches the node: dialled by the node, so that it works
//! from behind NAT and the node opens no port.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use rustls::ClientConfig;

use crate::AgentError;
use crate::server::Server;

const PROTOCOL: &str = "knarr-tunnel/1";
/// What may be on its way in one stream, and in all: a few that nobody reads leave room for the others.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 32 << 20;
/// Logs that are followed, commands and forwarded connections at a time.
const STREAMS_MAX: u32 = 4096;
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Keeps a tunnel open, and serves `routes` on it, until dropped.
pub async fn keep_open(server: Server, tls: Arc<ClientConfig>, node: String, routes: Router) {
    let mut pause = PAUSE_MIN;
    loop {
        match open(&server, Arc::clone(&tls), &node).await {
            Ok(stream) => {
                pause = PAUSE_MIN;
                tracing::debug!("the tunnel is open");
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .initial_stream_window_size(STREAM_WINDOW)
                    .initial_connection_window_size(CONNECTION_WINDOW)
                    .max_concurrent_streams(STREAMS_MAX)
                    .serve_connection(stream, TowerToHyperService::new(routes.clone()));
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "the tunnel broke");
                }
            }
            Err(error) => tracing::debug!(%error, "the tunnel cannot be opened"),
        }
        // Nodes of one server do not come back together.
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn open(server: &Server, tls: Arc<ClientConfig>, node: &str) -> Result<hyper::upgrade::Upgraded, AgentError> {
    let stream = server.connect(tls).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| server.error(e))?;
    tokio::spawn(connection.with_upgrades());
    let request = Request::get("/knarr/v1/tunnel")
        .header(header::HOST, server.authority())
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, PROTOCOL)
        .header("X-Knarr-Node", node)
        .body(Empty::<Bytes>::new())
        .map_err(|e| server.error(e))?;
    let answer = sender.send_request(request).await.map_err(|e| server.error(e))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(server.error(format!("asked for a tunnel, it answers {}", answer.status())));
    }
    hyper::upgrade::on(answer).await.map_err(|e| server.error(e))
}
