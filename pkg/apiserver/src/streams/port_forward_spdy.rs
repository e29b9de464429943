// SPDX-License-Identifier: Apache-2.0
//! Port-forward over SPDY: two streams for each connection to a port, one for its data and one for what
//! goes wrong. kubectl carries the bytes of SPDY in messages of a WebSocket.

use std::collections::HashMap;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use futures::{SinkExt as _, StreamExt as _};
use http::HeaderValue;
use hyper_util::rt::TokioIo;
use knarr_types::Status;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::exec;
use super::port_forward::Way;
use super::spdy::{Connection, Stream, Writer};
use super::upgrade::Spdy;
use crate::Response;

const PROTOCOLS: [&str; 1] = ["portforward.k8s.io"];
/// The name of SPDY in a WebSocket.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// Bytes between the WebSocket and SPDY.
const BUFFER: usize = 64 << 10;

/// The streams of one connection, until both are there.
#[derive(Default)]
struct Pair {
    data: Option<Stream>,
    error: Option<Writer>,
}

/// Takes the connection over.
///
/// # Errors
/// 403 where the client speaks another protocol.
pub fn serve(spdy: Spdy, way: Way) -> Result<Response, Status> {
    let (response, _, upgrade) = spdy.accept(&PROTOCOLS)?;
    tokio::spawn(async move {
        if let Ok(connection) = upgrade.await {
            session(Connection::serve(TokioIo::new(connection)), way).await;
        }
    });
    Ok(response)
}

/// Whether the client means SPDY in a WebSocket.
pub fn is_tunnel(socket: &WebSocketUpgrade) -> bool {
    socket.requested_protocols().any(|p| p == TUNNEL)
}

/// Takes such a connection over.
pub fn serve_tunnel(mut socket: WebSocketUpgrade, way: Way) -> Response {
    socket.set_selected_protocol(HeaderValue::from_static(TUNNEL));
    socket.on_upgrade(|socket| async move {
        let (near, far) = tokio::io::duplex(BUFFER);
        let session = session(Connection::serve(far), way);
        tokio::join!(session, carry(socket, near));
    })
}

/// Carries bytes between messages and SPDY.
async fn carry(socket: WebSocket, stream: DuplexStream) {
    let (mut sink, mut source) = socket.split();
    let (mut read, mut write) = tokio::io::split(stream);
    let from_client = async {
        while let Some(data) = exec::next(&mut source).await {
            if write.write_all(&data).await.is_err() {
                return;
            }
        }
    };
    let to_client = async {
        let mut buffer = vec![0; BUFFER];
        while let Ok(count @ 1..) = read.read(&mut buffer).await {
            if sink.send(Message::binary(buffer[..count].to_vec())).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = from_client => return,
        () = to_client => {}
    }
    exec::farewell(sink, source).await;
}

/// Serves connections to ports until the client leaves.
async fn session(mut connection: Connection, way: Way) {
    let mut pairs = HashMap::<String, Pair>::new();
    // They end with the session.
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        let stream = tokio::select! {
            stream = connection.next() => stream,
            Some(_) = tasks.join_next() => continue,
        };
        let Some(stream) = stream else { return };
        let Some((request, is_data)) = place(&stream) else {
            let _ = stream.writer.reset().await;
            continue;
        };
        let pair = pairs.entry(request.clone()).or_default();
        if is_data {
            pair.data = Some(stream);
        } else {
            pair.error = Some(stream.writer);
        }
        match pairs.remove(&request) {
            Some(Pair { data: Some(data), error: Some(error) }) => {
                tasks.spawn(forward(way.clone(), data, error));
            }
            Some(half) => drop(pairs.insert(request, half)),
            None => {}
        }
    }
}

/// Which pair a stream belongs to, and whether it is the one for data. Old clients number no requests,
/// and open the stream for data right after that for errors.
fn place(stream: &Stream) -> Option<(String, bool)> {
    let is_data = match stream.headers.get("streamtype")? {
        "data" => true,
        "error" => false,
        _ => return None,
    };
    let first = if is_data { stream.id.saturating_sub(2) } else { stream.id };
    Some((stream.headers.get("requestid").map_or_else(|| format!("stream {first}"), str::to_owned), is_data))
}

async fn forward(way: Way, stream: Stream, error: Writer) {
    let Stream { headers, data, writer, .. } = stream;
    let port = headers.get("port").and_then(|p| p.parse().ok()).filter(|p| *p > 0u16);
    let carried = match port {
        Some(port) => {
            let sink = &writer;
            way.carry(port, data, |piece| async move { sink.send(&piece).await.is_ok() }).await
        }
        None => Err("the stream names no port".to_owned()),
    };
    if let Err(words) = carried {
        let _ = error.send(words.as_bytes()).await;
    }
    let _ = error.finish().await;
    let _ = writer.finish().await;
}
