// SPDX-License-Identifier: Apache-2.0
//! Port-forward over a WebSocket, the form in which the ports are known from the start: port N of the
//! query has channel 2N for its data and 2N+1 for its error. Each begins with the port, low byte first.

use axum::body::BodyDataStream;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use knarr_types::Status;
use tokio::sync::mpsc;

use super::target::Target;
use super::{exec, remote, upgrade};
use crate::Response;
use crate::query::Query;
use crate::tunnel::Tunnels;

const PROTOCOLS: [&str; 1] = ["v4.channel.k8s.io"];
/// Channels have numbers of one byte.
const PORTS_MAX: usize = 127;
/// Messages that wait for one port, or for the client.
const QUEUE: usize = 32;

/// The way to a pod's ports.
#[derive(Clone)]
pub struct Way {
    /// The nodes.
    pub tunnels: Tunnels,
    /// The pod.
    pub target: Target,
}

impl Way {
    /// Carries what comes `from_client` to a port, and what the port says by `to_client`, which tells whether the client
    /// is still there; until the port closes or the client goes.
    ///
    /// # Errors
    /// The words for the client, where there is no way to the port.
    pub async fn carry<F>(
        &self,
        port: u16,
        mut from_client: mpsc::Receiver<Bytes>,
        to_client: impl Fn(Bytes) -> F,
    ) -> Result<(), String>
    where
        F: Future<Output = bool>,
    {
        let (input, mut output) = self.connect(port).await?;
        let to_pod = async move {
            while let Some(piece) = from_client.recv().await {
                if input.send(piece).await.is_err() {
                    return;
                }
            }
        };
        let from_pod = async {
            while let Some(Ok(piece)) = output.next().await {
                if !to_client(piece).await {
                    return;
                }
            }
        };
        tokio::pin!(from_pod);
        // A client that has said all may still listen.
        tokio::select! {
            () = &mut from_pod => {}
            () = to_pod => from_pod.await,
        }
        Ok(())
    }

    /// Connects to a port.
    ///
    /// # Errors
    /// The words for the client.
    pub async fn connect(&self, port: u16) -> Result<(mpsc::Sender<Bytes>, BodyDataStream), String> {
        let Target { node, namespace, name, uid } = &self.target;
        let uri = format!("/portForward/{namespace}/{name}?port={port}");
        remote::open(&self.tunnels, node, &uri, name).await.map_err(|status| {
            let words = status.message.trim_start_matches("Internal error occurred: ");
            format!("error forwarding port {port} to pod {name}, uid {uid}: {words}")
        })
    }
}

/// Takes the connection over.
///
/// # Errors
/// 400 where the client speaks another protocol, or names no ports.
pub fn serve(socket: WebSocketUpgrade, way: Way, query: &Query) -> Result<Response, Status> {
    let ports = ports(query)?;
    let (socket, _) = upgrade::choose(socket, &PROTOCOLS)?;
    Ok(socket.on_upgrade(|socket| session(socket, way, ports)))
}

fn ports(query: &Query) -> Result<Vec<u16>, Status> {
    let texts = query.all("ports").flat_map(|p| p.split(','));
    let ports: Result<Vec<u16>, Status> = texts
        .map(|text| match text.trim().parse() {
            Ok(port @ 1..) => Ok(port),
            _ => Err(Status::bad_request(format!("unable to parse {text:?} as a port"))),
        })
        .collect();
    match ports? {
        ports if ports.is_empty() => Err(Status::bad_request("query parameter \"ports\" is required")),
        ports if ports.len() > PORTS_MAX => Err(Status::bad_request(format!("at most {PORTS_MAX} ports"))),
        ports => Ok(ports),
    }
}

async fn session(socket: WebSocket, way: Way, ports: Vec<u16>) {
    let (mut sink, mut source) = socket.split();
    let (outgoing, mut messages) = mpsc::channel::<Message>(QUEUE);
    let mut inputs = Vec::new();
    let mut tasks = tokio::task::JoinSet::new();
    for (channel, port) in (0u8..).step_by(2).zip(ports) {
        let (input, pieces) = mpsc::channel(QUEUE);
        inputs.push(input);
        tasks.spawn(one_port(way.clone(), channel, port, pieces, outgoing.clone()));
    }
    drop(outgoing);
    let from_client = async {
        while let Some(mut data) = exec::next(&mut source).await {
            let channel = usize::from(data.first().copied().unwrap_or(u8::MAX));
            if channel % 2 == 0
                && let Some(input) = inputs.get(channel / 2)
            {
                // A port that is closed is still listened to.
                let _ = input.send(data.split_off(1)).await;
            }
        }
    };
    // It ends when the last port does.
    let to_client = async {
        while let Some(message) = messages.recv().await {
            if sink.send(message).await.is_err() {
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

async fn one_port(way: Way, channel: u8, port: u16, pieces: mpsc::Receiver<Bytes>, outgoing: mpsc::Sender<Message>) {
    for channel in [channel, channel + 1] {
        let _ = outgoing.send(exec::message(channel, &port.to_le_bytes())).await;
    }
    let sink = &outgoing;
    let to_client = |piece: Bytes| async move { sink.send(exec::message(channel, &piece)).await.is_ok() };
    if let Err(words) = way.carry(port, pieces, to_client).await {
        let _ = outgoing.send(exec::message(channel + 1, words.as_bytes())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_listed_in_the_query() {
        for (query, want) in [
            ("ports=80", Ok(vec![80])),
            ("ports=80,443", Ok(vec![80, 443])),
            ("ports=80&ports=443", Ok(vec![80, 443])),
            ("", Err("query parameter \"ports\" is required")),
            ("ports=0", Err("unable to parse \"0\" as a port")),
            ("ports=70000", Err("unable to parse \"70000\" as a port")),
        ] {
            assert_eq!(ports(&Query::parse(query)).map_err(|s| s.message), want.map_err(str::to_owned), "{query}");
        }
    }
}
