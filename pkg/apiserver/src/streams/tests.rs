// SPDX-License-Identifier: Apache-2.0
//! Clients on a loopback port, a node made up behind a tunnel, and what passes between them.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::RawQuery;
use axum::routing::post;
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use knarr_types::stream::{self, Decoder};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::port_forward::Way;
use super::remote::Command;
use super::target::Target;
use super::upgrade::Wanted;
use super::{exec, exec_spdy, log, port_forward, port_forward_spdy};
use crate::query::Query;
use crate::tunnel::Tunnels;

type Socket = tokio_tungstenite::WebSocketStream<TcpStream>;

fn target() -> Target {
    Target { node: "n1".into(), namespace: "ns".into(), name: "p".into(), uid: "u".into() }
}

/// A node whose commands say in capitals what they hear, and whose port 80 echoes.
fn node() -> Router {
    let shout = |body: Body| async move {
        let (sender, receiver) = tokio::sync::mpsc::channel(8);
        tokio::spawn(async move {
            let (mut pieces, mut decoder) = (body.into_data_stream(), Decoder::default());
            'all: while let Some(Ok(piece)) = pieces.next().await {
                decoder.push(&piece);
                while let Ok(Some((channel, payload))) = decoder.next() {
                    match channel {
                        stream::STDIN => {
                            let _ = sender.send(stream::encode(stream::STDOUT, &payload.to_ascii_uppercase())).await;
                        }
                        stream::RESIZE => {
                            let _ = sender.send(stream::encode(stream::STDERR, &payload)).await;
                        }
                        _ => break 'all,
                    }
                }
            }
            let _ = sender.send(stream::exit_status(7)).await;
        });
        body_of(receiver)
    };
    let echo = |RawQuery(query): RawQuery, body: Body| async move {
        if query.as_deref() == Some("port=80") {
            Ok(body)
        } else {
            Err((http::StatusCode::INTERNAL_SERVER_ERROR, "refused"))
        }
    };
    Router::new().route("/exec/ns/p/c", post(shout)).route("/portForward/ns/p", post(echo))
}

fn body_of(receiver: tokio::sync::mpsc::Receiver<bytes::Bytes>) -> Body {
    Body::from_stream(futures::stream::unfold(receiver, |mut receiver| async move {
        Some((Ok::<_, std::convert::Infallible>(receiver.recv().await?), receiver))
    }))
}

async fn server() -> SocketAddr {
    let tunnels = Tunnels::default();
    let (near, far) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move {
        let service = TowerToHyperService::new(node());
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(far), service).await;
    });
    let keeper = tunnels.clone();
    tokio::spawn(async move { keeper.keep("n1", near).await });
    while !tunnels.is_connected("n1") {
        tokio::task::yield_now().await;
    }
    let answer = move |request: Request<Body>| {
        let tunnels = tunnels.clone();
        async move {
            let query = Query::parse(request.uri().query().unwrap_or_default());
            let forward = request.uri().path() == "/portforward";
            let way = Way { tunnels: tunnels.clone(), target: target() };
            let command = || Command::of("exec", &target(), "c", &query);
            let of_log = request.uri().path() == "/log";
            let answer = match (Wanted::of(request).await, forward) {
                (Ok(Wanted::WebSocket(socket)), false) if of_log => log::messages(socket, Body::from("a line\n")),
                (Ok(Wanted::WebSocket(socket)), true) if port_forward_spdy::is_tunnel(&socket) => {
                    Ok(port_forward_spdy::serve_tunnel(socket, way))
                }
                (Ok(Wanted::WebSocket(socket)), true) => port_forward::serve(socket, way, &query),
                (Ok(Wanted::Spdy(spdy)), true) => port_forward_spdy::serve(spdy, way),
                (Ok(Wanted::WebSocket(socket)), false) => command().and_then(|c| exec::serve(socket, tunnels, c)),
                (Ok(Wanted::Spdy(spdy)), false) => command().and_then(|c| exec_spdy::serve(spdy, tunnels, c)),
                (Err(status), _) => Err(status),
            };
            answer.unwrap_or_else(|status| crate::body::status(&status, ""))
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    address
}

async fn connect(path: &str, protocol: &'static str) -> Socket {
    let address = server().await;
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(protocol));
    let stream = TcpStream::connect(address).await.unwrap();
    tokio_tungstenite::client_async(request, stream).await.unwrap().0
}

/// The messages that carry something, until `enough` says so or the server closes.
async fn read(socket: &mut Socket, enough: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Binary(data) => {
                let last = enough(&data);
                all.push(data.to_vec());
                if last {
                    break;
                }
            }
            // kubectl takes any other code for a failure.
            Message::Close(frame) => assert_eq!(frame.map(|f| u16::from(f.code)), Some(1000)),
            _ => {}
        }
    }
    all
}

#[tokio::test]
async fn a_command_hears_its_client_and_tells_how_it_ended() {
    let path = "/exec?command=shout&stdin=true&stdout=true&stderr=true";
    let mut socket = connect(path, "v5.channel.k8s.io").await;
    socket.send(Message::binary(&b"\x00hello"[..])).await.unwrap();
    socket.send(Message::binary(&b"\x04{\"Width\":80}"[..])).await.unwrap();
    socket.send(Message::binary(&b"\xff\x00"[..])).await.unwrap();
    let all = read(&mut socket, |_| false).await;
    assert_eq!(all[..3], [&b"\x01"[..], b"\x01HELLO", b"\x02{\"Width\":80}"]);
    assert_eq!(all[3][0], 3);
    let status: knarr_types::tree::Value = serde_json::from_slice(&all[3][1..]).unwrap();
    assert_eq!(status["details"]["causes"][0]["message"], "7");
}

#[tokio::test]
async fn ports_are_forwarded_over_channels() {
    let mut socket = connect("/portforward?ports=80,81", "v4.channel.k8s.io").await;
    socket.send(Message::binary(&b"\x00ping"[..])).await.unwrap();
    let mut all = read(&mut socket, |m| m == b"\x00ping").await;
    if !all.iter().any(|m| m[0] == 3 && m.len() > 3) {
        all.extend(read(&mut socket, |m| m[0] == 3 && m.len() > 3).await);
    }
    for wanted in [&b"\x00\x50\x00"[..], b"\x01\x50\x00", b"\x02\x51\x00", b"\x03\x51\x00", b"\x00ping"] {
        assert!(all.iter().any(|m| m == wanted), "{wanted:?}");
    }
    let error = all.iter().find(|m| m[0] == 3 && m.len() > 3).unwrap();
    assert!(String::from_utf8_lossy(error).contains("error forwarding port 81 to pod p, uid u: refused"));
}

#[tokio::test]
async fn a_client_of_old_hears_words_instead_of_a_status() {
    let mut socket = connect("/exec?command=shout&stdin=true&stdout=true", "channel.k8s.io").await;
    socket.send(Message::binary(&b"\x00hello"[..])).await.unwrap();
    socket.send(Message::binary(&b"\xff\x00"[..])).await.unwrap();
    let all = read(&mut socket, |_| false).await;
    assert_eq!(all[..2], [&b"\x01"[..], b"\x01HELLO"]);
    let last = all.last().unwrap();
    assert!(last[0] == 3 && last.get(1) != Some(&b'{'), "{last:?}");
}

#[tokio::test]
async fn a_log_comes_in_messages() {
    let mut socket = connect("/log", "binary.k8s.io").await;
    assert_eq!(read(&mut socket, |_| false).await, [&b""[..], b"a line\n"]);
    let mut socket = connect("/log", "base64.binary.k8s.io").await;
    let texts = socket.by_ref().filter_map(|m| async { m.ok().filter(Message::is_text) });
    let texts: Vec<_> = texts.map(|m| m.into_text().unwrap().to_string()).collect().await;
    assert_eq!(texts, ["", "YSBsaW5lCg=="]);
}
