// SPDX-License-Identifier: Apache-2.0
//! The gRPC probe: one call of `grpc.health.v1.Health/Check`, written by hand.
//!
//! Both messages are one field long, so a protobuf compiler would be more than what it compiles.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// The longest answer that is read, in bytes.
const ANSWER_MAX: usize = 4 << 10;
/// The names of `ServingStatus`, by number.
const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

/// Codes of gRPC that have words of their own.
const DEADLINE_EXCEEDED: &str = "4";
const UNIMPLEMENTED: &str = "12";

/// Asks the server at `address` for the health of `service`; empty is the server as a whole.
///
/// # Errors
/// Why it is not healthy, in upstream's words.
pub async fn check(address: &str, service: &str, timeout: Duration) -> Result<(), String> {
    let seconds = timeout.as_secs();
    let late =
        |_| format!("timeout: failed to connect service {address:?} within {seconds}s: context deadline exceeded");
    let begun = tokio::time::Instant::now();
    let stream = tokio::time::timeout(timeout, TcpStream::connect(address)).await.map_err(late)?;
    let stream = stream.map_err(|error| format!("error: failed to connect service at {address:?}: {error}"))?;
    let left = timeout.saturating_sub(begun.elapsed());
    match tokio::time::timeout(left, call(stream, address, service)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("timeout: health rpc did not complete within {seconds}s: context deadline exceeded")),
    }
}

async fn call(stream: TcpStream, address: &str, service: &str) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("error: health rpc probe failed: {error}");
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| failed(&error))?;
    // It ends with the sender, at the end of this call.
    tokio::spawn(connection);
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.36")
        .body(Full::new(request(service)))
        .map_err(|error| failed(&error))?;
    let answer = sender.send_request(request).await.map_err(|error| failed(&error))?;
    let (head, body) = answer.into_parts();
    if !head.status.is_success() {
        return Err(failed(&format!("unexpected HTTP status code {}", head.status.as_u16())));
    }
    let body = Limited::new(body, ANSWER_MAX).collect().await.map_err(|error| failed(&error))?;
    // A call that fails at once has its status among the headers.
    verdict(body.trailers().unwrap_or(&head.headers))?;
    match serving_status(&body.to_bytes()) {
        Some(1) => Ok(()),
        Some(other) => {
            let name = STATUSES.get(other).map_or_else(|| other.to_string(), |name| (*name).to_owned());
            Err(format!("service unhealthy (responded with {name:?})"))
        }
        None => Err(failed(&"the answer is no HealthCheckResponse")),
    }
}

fn verdict(headers: &HeaderMap) -> Result<(), String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let message = text("grpc-message");
    match text("grpc-status") {
        "0" | "" => Ok(()),
        UNIMPLEMENTED => Err(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
        )),
        DEADLINE_EXCEEDED => Err(format!("timeout: health rpc did not complete: {message}")),
        code => Err(format!("error: health rpc probe failed: code {code}: {message}")),
    }
}

/// A HealthCheckRequest, framed: not compressed, its length, `service` as field 1.
fn request(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        write_varint(service.len(), &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), &message].concat().into()
}

/// `status`, field 1, of a framed HealthCheckResponse; a field that is left out is zero.
fn serving_status(framed: &[u8]) -> Option<usize> {
    let (head, message) = framed.split_at_checked(5)?;
    let length = u32::from_be_bytes(head[1..].try_into().ok()?) as usize;
    match message.get(..length)? {
        [] if head[0] == 0 => Some(0),
        [0x08, value, ..] if head[0] == 0 && *value < 0x80 => Some(usize::from(*value)),
        _ => None,
    }
}

fn write_varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    type Frames = Vec<Result<Frame<Bytes>, std::convert::Infallible>>;

    /// A health server that knows `good`, `bad` and nothing else; gives its address.
    async fn server() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = hyper::service::service_fn(answer);
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
        address
    }

    async fn answer(
        request: Request<hyper::body::Incoming>,
    ) -> Result<
        Response<impl hyper::body::Body<Data = Bytes, Error = std::convert::Infallible>>,
        std::convert::Infallible,
    > {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        let asked = request.into_body().collect().await.unwrap().to_bytes();
        let (status, code): (&[u8], &str) = match &asked[5..] {
            b"" | b"\x0a\x04good" => (&[0, 0, 0, 0, 2, 8, 1], "0"),
            b"\x0a\x03bad" => (&[0, 0, 0, 0, 2, 8, 2], "0"),
            b"\x0a\x04odd?" => (&[0, 0, 0, 0, 9, 8], "0"),
            _ => (&[], "12"),
        };
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", code.parse().unwrap());
        trailers.insert("grpc-message", "words".parse().unwrap());
        let frames: Frames = vec![Ok(Frame::data(Bytes::copy_from_slice(status))), Ok(Frame::trailers(trailers))];
        Ok(Response::new(StreamBody::new(futures::stream::iter(frames))))
    }

    #[tokio::test]
    async fn a_service_is_healthy_when_it_says_that_it_serves() {
        let address = server().await;
        for (service, fault) in [
            ("", None),
            ("good", None),
            ("bad", Some("service unhealthy (responded with \"NOT_SERVING\")")),
            ("odd?", Some("error: health rpc probe failed: the answer is no HealthCheckResponse")),
            (
                "none",
                Some("error: this server does not implement the grpc health protocol (grpc.health.v1.Health): words"),
            ),
        ] {
            let answer = check(&address, service, Duration::from_secs(20)).await;
            assert_eq!(answer.err().as_deref(), fault, "{service}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_silent_or_away_is_named() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap().to_string();
        let error = check(&address, "", Duration::from_millis(50)).await.unwrap_err();
        assert!(error.starts_with("timeout: "), "{error}");
        drop(silent);
        let error = check(&address, "", Duration::from_secs(20)).await.unwrap_err();
        assert!(error.starts_with(&format!("error: failed to connect service at {address:?}")), "{error}");
    }

    #[test]
    fn lengths_beyond_127_take_two_bytes() {
        let framed = request(&"x".repeat(200));
        assert_eq!(framed[5..8], [0x0a, 0xc8, 0x01]);
        assert_eq!(serving_status(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(serving_status(&[0, 0]), None);
    }
}
