// SPDX-License-Identifier: Apache-2.0
//! Port-forward: one request carries the bytes of one connection to a port of the pod.

use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream as StdStream};
use std::path::PathBuf;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use bytes::Bytes;
use futures::StreamExt as _;
use knarr_network::pod::netns_path;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::{Answer, Query, Refusal, Request, find, octets, streaming};

const CHUNK: usize = 32 << 10;

/// `POST /portForward/{namespace}/{pod}?port=N`
pub async fn port_forward(request: Request<(String, String)>, body: Body) -> Answer {
    let (State(context), Path((namespace, pod)), RawQuery(query)) = request;
    let query = Query::parse(query.as_deref());
    let port = query.number::<u16>("port")?.ok_or_else(|| Refusal::bad("port is missing"))?;
    let view = find(&context, &namespace, &pod)?;
    let host_network = view.pod().spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
    let netns = (!host_network).then(|| netns_path(&context.layout.netns(), view.uid.as_str()));
    let stream = connect(netns, port).await.map_err(|error| {
        Refusal::internal(format!("failed to connect to localhost:{port} inside namespace of pod {pod}: {error}"))
    })?;
    let (mut from, mut to) = stream.into_split();
    let (sender, receiver) = mpsc::channel::<Bytes>(8);
    tokio::spawn(async move {
        let mut pieces = body.into_data_stream();
        while let Some(Ok(piece)) = pieces.next().await {
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        // The client has said all; the pod may still answer.
        let _ = to.shutdown().await;
    });
    tokio::spawn(async move {
        let mut chunk = vec![0; CHUNK];
        while let Ok(count @ 1..) = from.read(&mut chunk).await {
            if sender.send(Bytes::copy_from_slice(&chunk[..count])).await.is_err() {
                return;
            }
        }
    });
    Ok(octets(streaming(receiver)))
}

/// Connects to a port of the loopback address in a network namespace. The thread that enters the
/// namespace ends with it; the socket stays there.
async fn connect(netns: Option<PathBuf>, port: u16) -> std::io::Result<TcpStream> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("port-forward".to_owned()).spawn(move || {
        let dial = || -> std::io::Result<StdStream> {
            if let Some(path) = &netns {
                nix::sched::setns(File::open(path)?, nix::sched::CloneFlags::CLONE_NEWNET)?;
            }
            let loopback: [SocketAddr; 2] = [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()];
            let stream = StdStream::connect(&loopback[..])?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        };
        // The client may have left meanwhile.
        let _ = sender.send(dial());
    })?;
    let stream = receiver.await.map_err(|_| std::io::Error::other("the connecting thread ended"))??;
    TcpStream::from_std(stream)
}
