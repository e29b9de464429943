// SPDX-License-Identifier: Apache-2.0
//! What a client wants its connection to become.

use axum::body::Body;
use axum::extract::FromRequestParts as _;
use axum::extract::ws::WebSocketUpgrade;
use http::header::{CONNECTION, HeaderName, HeaderValue, UPGRADE};
use http::{HeaderMap, Request};
use hyper::upgrade::OnUpgrade;
use knarr_types::{Reason, Status};

use crate::Response;
use crate::tunnel::switching;

/// The name of SPDY in `Upgrade`.
const SPDY: &str = "SPDY/3.1";
/// Which protocols inside SPDY a client speaks, and which the server chose.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// No client sends longer messages.
const MESSAGE_MAX: usize = 16 << 20;

/// A connection to take over.
pub enum Wanted {
    /// As a WebSocket.
    WebSocket(WebSocketUpgrade),
    /// As SPDY.
    Spdy(Spdy),
}

/// A connection that becomes SPDY.
pub struct Spdy {
    offered: Vec<String>,
    upgrade: OnUpgrade,
}

impl Wanted {
    /// Reads the request.
    ///
    /// # Errors
    /// 400 where it wants neither.
    pub async fn of(mut request: Request<Body>) -> Result<Self, Status> {
        let headers = request.headers();
        if asks(headers, UPGRADE, SPDY) && asks(headers, CONNECTION, "upgrade") {
            let values = headers.get_all(STREAM_PROTOCOL).iter().filter_map(|v| v.to_str().ok());
            let offered = values.flat_map(|v| v.split(',')).map(|v| v.trim().to_owned()).collect();
            return Ok(Self::Spdy(Spdy { offered, upgrade: hyper::upgrade::on(&mut request) }));
        }
        if !asks_websocket(headers) {
            return Err(Status::bad_request("Upgrade request required"));
        }
        let (mut parts, _) = request.into_parts();
        match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
            Ok(upgrade) => Ok(Self::WebSocket(upgrade.max_message_size(MESSAGE_MAX).max_frame_size(MESSAGE_MAX))),
            Err(error) => Err(Status::bad_request(format!("unable to upgrade: {}", error.body_text()))),
        }
    }
}

/// Whether a request wants to become a WebSocket.
pub fn asks_websocket(headers: &HeaderMap) -> bool {
    asks(headers, UPGRADE, "websocket") && asks(headers, CONNECTION, "upgrade")
}

fn asks(headers: &HeaderMap, name: HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).any(|v| v.trim().eq_ignore_ascii_case(wanted))
}

impl Spdy {
    /// Answers with the first protocol that both sides speak; the connection comes after the answer.
    ///
    /// # Errors
    /// 403 where there is none, as upstream answers.
    pub fn accept(self, spoken: &[&'static str]) -> Result<(Response, &'static str, OnUpgrade), Status> {
        let Some(chosen) = spoken.iter().find(|p| self.offered.iter().any(|o| o == *p)) else {
            let message = format!(
                "unable to upgrade: unable to negotiate protocol: client supports {:?}, server accepts {spoken:?}",
                self.offered
            );
            return Err(Status::new(403, Reason::Forbidden, message));
        };
        let mut response = switching(SPDY);
        response.headers_mut().insert(STREAM_PROTOCOL, HeaderValue::from_static(chosen));
        Ok((response, chosen, self.upgrade))
    }
}

/// Chooses a WebSocket's protocol.
///
/// # Errors
/// 400 where the client speaks none of them.
pub fn choose(
    socket: WebSocketUpgrade,
    spoken: &'static [&'static str],
) -> Result<(WebSocketUpgrade, &'static str), Status> {
    let socket = socket.protocols(spoken.iter().copied());
    match socket.selected_protocol().and_then(|p| spoken.iter().find(|s| p == **s)) {
        Some(chosen) => Ok((socket, chosen)),
        None => {
            let offered: Vec<_> = socket.requested_protocols().filter_map(|p| p.to_str().ok()).collect();
            let message = format!("unable to upgrade: client supports {offered:?}, server accepts {spoken:?}");
            Err(Status::bad_request(message))
        }
    }
}

/// The same where a client that names no protocol is understood too.
///
/// # Errors
/// 400 where the client names others only.
pub fn choose_or_none(
    socket: WebSocketUpgrade,
    spoken: &'static [&'static str],
) -> Result<(WebSocketUpgrade, Option<&'static str>), Status> {
    if socket.requested_protocols().next().is_none() {
        return Ok((socket, None));
    }
    choose(socket, spoken).map(|(socket, chosen)| (socket, Some(chosen)))
}
