// SPDX-License-Identifier: Apache-2.0
//! Exec and attach over a WebSocket: each message begins with the number of its channel.
//! <https://kubernetes.io/docs/reference/using-api/websockets/>

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use knarr_types::Status;
use knarr_types::stream;
use knarr_types::tree::Value;
use tokio::sync::mpsc;

use super::remote::{self, Command, Output};
use super::upgrade;
use crate::Response;
use crate::tunnel::Tunnels;

/// The newest first: clients name all that they speak. One that names none speaks the third.
const PROTOCOLS: [&str; 5] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io", "v4.base64.channel.k8s.io", "base64.channel.k8s.io"];
/// How long a client may take to close its end after ours.
const FAREWELL: Duration = Duration::from_secs(5);

/// How a protocol writes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wording {
    /// As text: the channel's digit, then base64. Otherwise as bytes, of which the first is the channel.
    base64: bool,
    /// How the command ended is a Status; otherwise words, and none where it went well.
    status: bool,
}

/// Takes the connection over.
///
/// # Errors
/// 400 where the client speaks another protocol.
pub fn serve(socket: WebSocketUpgrade, tunnels: Tunnels, command: Command) -> Result<Response, Status> {
    let (socket, protocol) = upgrade::choose_or_none(socket, &PROTOCOLS)?;
    let wording = Wording::of(protocol);
    Ok(socket.on_upgrade(move |socket| session(socket, tunnels, command, wording)))
}

async fn session(socket: WebSocket, tunnels: Tunnels, command: Command, wording: Wording) {
    let (mut sink, mut source) = socket.split();
    match command.start(&tunnels).await {
        Ok((input, output)) => {
            tokio::select! {
                // The client is gone; what it ran is told so by the end of both bodies.
                () = from_client(&mut source, input, wording) => return,
                () = to_client(&mut sink, output, &command, wording) => {}
            }
        }
        Err(status) => {
            let _ = sink.send(wording.ending(&remote::failure(&status))).await;
        }
    }
    farewell(sink, source).await;
}

impl Wording {
    fn of(protocol: Option<&str>) -> Self {
        let protocol = protocol.unwrap_or_default();
        Self { base64: protocol.contains("base64"), status: protocol.starts_with('v') }
    }

    fn message(self, channel: u8, payload: &[u8]) -> Message {
        if !self.base64 {
            return message(channel, payload);
        }
        Message::Text(format!("{channel}{}", STANDARD.encode(payload)).into())
    }

    /// The channel and the payload of a client's message; `None` where it is none.
    fn parse(self, data: &Bytes) -> Option<(u8, Bytes)> {
        let channel = *data.first()?;
        if !self.base64 {
            return Some((channel, data.slice(1..)));
        }
        Some((channel.checked_sub(b'0')?, STANDARD.decode(&data[1..]).ok()?.into()))
    }

    /// How the command ended, which the node says as a Status.
    fn ending(self, status: &[u8]) -> Message {
        if self.status {
            return self.message(stream::STATUS, status);
        }
        let status: Value = serde_json::from_slice(status).unwrap_or_default();
        let failed = status["status"] != "Success";
        let words = status["message"].as_str().filter(|_| failed).unwrap_or_default();
        self.message(stream::STATUS, words.as_bytes())
    }
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

async fn from_client(source: &mut SplitStream<WebSocket>, input: mpsc::Sender<Bytes>, wording: Wording) {
    while let Some(data) = next(source).await {
        let Some((channel, payload)) = wording.parse(&data) else { continue };
        if let Some(frame) = remote::input_frame(channel, &payload) {
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

async fn to_client(sink: &mut SplitSink<WebSocket, Message>, mut output: Output, command: &Command, wording: Wording) {
    // Clients learn from an empty message that the command has begun, as from upstream.
    if sink.send(wording.message(stream::STDOUT, &[])).await.is_err() {
        return;
    }
    while let Some((channel, payload)) = output.next().await {
        let is_wanted = match channel {
            stream::STDOUT => command.stdout,
            stream::STDERR => command.stderr,
            stream::STATUS => {
                let _ = sink.send(wording.ending(&payload)).await;
                return;
            }
            _ => false,
        };
        if is_wanted && sink.send(wording.message(channel, &payload)).await.is_err() {
            return;
        }
    }
    let status = remote::broken_off(command);
    let _ = sink.send(wording.ending(&remote::failure(&status))).await;
}

/// A message of a channel.
pub fn message(channel: u8, payload: &[u8]) -> Message {
    let mut data = BytesMut::with_capacity(1 + payload.len());
    data.put_u8(channel);
    data.put_slice(payload);
    Message::Binary(data.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_has_its_words() {
        let failed = br#"{"status":"Failure","message":"command terminated with exit code 7"}"#;
        let words = &b"command terminated with exit code 7"[..];
        for (protocol, output, ending) in [
            (Some("v5.channel.k8s.io"), message(1, b"hi"), message(3, failed)),
            (Some("channel.k8s.io"), message(1, b"hi"), message(3, words)),
            (None, message(1, b"hi"), message(3, words)),
            (
                Some("base64.channel.k8s.io"),
                Message::Text("1aGk=".into()),
                Message::Text(format!("3{}", STANDARD.encode(words)).into()),
            ),
            (
                Some("v4.base64.channel.k8s.io"),
                Message::Text("1aGk=".into()),
                Message::Text(format!("3{}", STANDARD.encode(failed)).into()),
            ),
        ] {
            let wording = Wording::of(protocol);
            assert_eq!((wording.message(1, b"hi"), wording.ending(failed)), (output, ending), "{protocol:?}");
        }
        let old = Wording::of(Some("channel.k8s.io"));
        assert_eq!(old.ending(br#"{"status":"Success"}"#), message(3, b""), "nothing to say");
        let text = Wording::of(Some("base64.channel.k8s.io"));
        assert_eq!(text.parse(&Bytes::from_static(b"0aGk=")), Some((0, Bytes::from_static(b"hi"))));
        assert_eq!(text.parse(&Bytes::from_static(b"0!")), None);
    }
}
