// SPDX-License-Identifier: Apache-2.0
//! Exec and attach over a WebSocket: each message begins with the number of its channel.
//! <https://kubernetes.io/docs/reference/using-api/websockets/>

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use knarr_types::Status;
use knarr_types::stream;
use tokio::sync::mpsc;

use super::remote::{self, Command, Output};
use super::upgrade;
use crate::Response;
use crate::tunnel::Tunnels;

/// The second differs by the message that closes a channel.
const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// How long a client may take to close its end after ours.
const FAREWELL: Duration = Duration::from_secs(5);

/// Takes the connection over.
///
/// # Errors
/// 400 where the client speaks another protocol.
pub fn serve(socket: WebSocketUpgrade, tunnels: Tunnels, command: Command) -> Result<Response, Status> {
    let (socket, _) = upgrade::choose(socket, &PROTOCOLS)?;
    Ok(socket.on_upgrade(|socket| session(socket, tunnels, command)))
}

async fn session(socket: WebSocket, tunnels: Tunnels, command: Command) {
    let (mut sink, mut source) = socket.split();
    match command.start(&tunnels).await {
        Ok((input, output)) => {
            tokio::select! {
                // The client is gone; what it ran is told so by the end of both bodies.
                () = from_client(&mut source, input) => return,
                () = to_client(&mut sink, output, &command) => {}
            }
        }
        Err(status) => {
            let _ = sink.send(message(stream::STATUS, &remote::failure(&status))).await;
        }
    }
    farewell(sink, source).await;
}

/// Closes a connection so that the other side reads all of it. Clients take a close without the normal
/// code for a failure.
pub async fn farewell(mut sink: SplitSink<WebSocket, Message>, mut source: SplitStream<WebSocket>) {
    let rest = async {
        let close = CloseFrame { code: close_code::NORMAL, reason: "".into() };
        let _ = sink.send(Message::Close(Some(close))).await;
        while let Some(Ok(_)) = source.next().await {}
    };
    let _ = tokio::time::timeout(FAREWELL, rest).await;
}

async fn from_client(source: &mut SplitStream<WebSocket>, input: mpsc::Sender<Bytes>) {
    while let Some(data) = next(source).await {
        let Some((channel, payload)) = data.split_first() else { continue };
        if let Some(frame) = remote::input_frame(*channel, payload) {
            // A command that reads no more is still listened to.
            let _ = input.send(frame).await;
        }
    }
}

/// The next message that carries something; `None` once the client is gone.
pub async fn next(source: &mut SplitStream<WebSocket>) -> Option<Bytes> {
    loop {
        match source.next().await?.ok()? {
            Message::Binary(data) => return Some(data),
            Message::Text(text) => return Some(text.into()),
            Message::Close(_) => return None,
            Message::Ping(_) | Message::Pong(_) => {}
        }
    }
}

async fn to_client(sink: &mut SplitSink<WebSocket, Message>, mut output: Output, command: &Command) {
    // Clients learn from an empty message that the command has begun, as from upstream.
    if sink.send(message(stream::STDOUT, &[])).await.is_err() {
        return;
    }
    while let Some((channel, payload)) = output.next().await {
        let is_wanted = match channel {
            stream::STDOUT => command.stdout,
            stream::STDERR => command.stderr,
            stream::STATUS => true,
            _ => false,
        };
        if is_wanted && sink.send(message(channel, &payload)).await.is_err() || channel == stream::STATUS {
            return;
        }
    }
    let status = remote::broken_off(command);
    let _ = sink.send(message(stream::STATUS, &remote::failure(&status))).await;
}

/// A message of a channel.
pub fn message(channel: u8, payload: &[u8]) -> Message {
    let mut data = BytesMut::with_capacity(1 + payload.len());
    data.put_u8(channel);
    data.put_slice(payload);
    Message::Binary(data.freeze())
}
