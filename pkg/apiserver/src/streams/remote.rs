// SPDX-License-Identifier: Apache-2.0
//! The node's end: requests whose bodies are read and written at the same time.

use std::convert::Infallible;
use std::fmt::Write as _;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::StreamExt as _;
use http::Request;
use http_body_util::{BodyExt as _, Limited};
use knarr_types::stream::{self, Decoder};
use knarr_types::{ResourceId, Status, StatusDetails};
use tokio::sync::mpsc;

use super::target::Target;
use crate::Response;
use crate::query::Query;
use crate::tunnel::Tunnels;

/// Pieces on their way to the node.
const QUEUE: usize = 16;
/// How much of a node's words is read when it refuses.
const WORDS_MAX: usize = 16 << 10;

/// A command in a container, or the attachment to its first process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    node: String,
    pod: String,
    uri: String,
    /// Whether it reads what the client sends.
    pub stdin: bool,
    /// Whether its output is wanted.
    pub stdout: bool,
    /// Whether its error output is wanted.
    pub stderr: bool,
    /// Whether it has a terminal.
    pub tty: bool,
}

/// A command's output.
pub struct Output {
    pieces: BodyDataStream,
    decoder: Decoder,
}

impl Command {
    /// What is asked for; `what` is `exec` or `attach`.
    ///
    /// # Errors
    /// 400 without a command to run, or without any stream.
    pub fn of(what: &str, target: &Target, container: &str, query: &Query) -> Result<Self, Status> {
        let tty = query.is_true("tty");
        // A terminal has one output.
        let (stdin, stdout, stderr) =
            (query.is_true("stdin"), query.is_true("stdout"), query.is_true("stderr") && !tty);
        if !stdin && !stdout && !stderr {
            return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
        }
        let mut pairs = Pairs::new(&format!("/{what}/{}/{}/{container}", target.namespace, target.name));
        if what == "exec" {
            let mut words = query.all("command").peekable();
            if words.peek().is_none() {
                return Err(Status::bad_request("you must specify at least 1 command for the container"));
            }
            words.for_each(|word| pairs.add("command", word));
        }
        for (name, on) in [("stdin", stdin), ("stdout", stdout), ("stderr", stderr), ("tty", tty)] {
            pairs.add(name, if on { "true" } else { "false" });
        }
        let (node, pod) = (target.node.clone(), target.name.clone());
        Ok(Self { node, pod, uri: pairs.uri(), stdin, stdout, stderr, tty })
    }

    /// Starts it.
    ///
    /// # Errors
    /// 503 without the node; and what the node refuses.
    pub async fn start(&self, tunnels: &Tunnels) -> Result<(mpsc::Sender<Bytes>, Output), Status> {
        let (input, pieces) = open(tunnels, &self.node, &self.uri, &self.pod).await?;
        Ok((input, Output { pieces, decoder: Decoder::default() }))
    }
}

impl Output {
    /// The next frame; `None` where the node broke off. Not cancel-safe.
    pub async fn next(&mut self) -> Option<(u8, Bytes)> {
        loop {
            match self.decoder.next() {
                Ok(Some(frame)) => return Some(frame),
                Ok(None) => self.decoder.push(&self.pieces.next().await?.ok()?),
                Err(error) => {
                    tracing::warn!(%error, "a node sends what is no frame");
                    return None;
                }
            }
        }
    }
}

/// Posts to a node: what is sent becomes the request's body, the pieces are the answer's.
///
/// # Errors
/// 503 without the node; and what the node refuses.
pub async fn open(
    tunnels: &Tunnels,
    node: &str,
    uri: &str,
    pod: &str,
) -> Result<(mpsc::Sender<Bytes>, BodyDataStream), Status> {
    let (input, pieces) = mpsc::channel::<Bytes>(QUEUE);
    let pieces = futures::stream::unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((Ok::<_, Infallible>(piece), pieces))
    });
    let request = Request::post(uri).body(Body::from_stream(pieces)).map_err(Status::internal)?;
    let answer = tunnels.call(node, request).await?;
    if !answer.status().is_success() {
        return Err(refusal(answer, pod).await);
    }
    Ok((input, answer.into_body().into_data_stream()))
}

/// A node's refusal as upstream passes on that of a kubelet.
pub async fn refusal(answer: Response, pod: &str) -> Status {
    let code = answer.status().as_u16();
    let words = Limited::new(answer.into_body(), WORDS_MAX).collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let words = String::from_utf8_lossy(&words).trim().to_owned();
    match code {
        400 => Status::bad_request(words),
        404 => {
            let mut status = Status::not_found(&ResourceId::new("", "pods"), pod);
            status.message = format!("the server could not find the requested resource ( pods {pod})");
            status
        }
        500 => Status::internal(words),
        code => Status::new(code, knarr_types::Reason::Unknown, words).with_details(StatusDetails {
            name: pod.into(),
            kind: "pods".into(),
            ..Default::default()
        }),
    }
}

/// The last frame of a command that could not be run: what went wrong, for the client.
pub fn failure(status: &Status) -> Vec<u8> {
    status.to_json().to_string().into_bytes()
}

/// What a client is told when the node breaks off.
pub fn broken_off(node: &Command) -> Status {
    Status::internal(format!("error dialing backend: the connection to node {} broke off", node.node))
}

/// Frames for the node.
pub fn input_frame(channel: u8, payload: &[u8]) -> Option<Bytes> {
    matches!(channel, stream::STDIN | stream::RESIZE | stream::CLOSE).then(|| stream::encode(channel, payload))
}

/// A path and the query behind it.
pub struct Pairs(String);

impl Pairs {
    /// A path alone. Its parts are names of Kubernetes objects, which need no encoding.
    pub fn new(path: &str) -> Self {
        Self(path.to_owned())
    }

    /// Adds a pair.
    pub fn add(&mut self, name: &str, value: &str) {
        let mark = if self.0.contains('?') { '&' } else { '?' };
        self.0.push(mark);
        self.0.push_str(name);
        self.0.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                self.0.push(char::from(byte));
            } else {
                // Writing to a String does not fail.
                let _ = write!(self.0, "%{byte:02X}");
            }
        }
    }

    /// Both.
    pub fn uri(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target { node: "n".into(), namespace: "ns".into(), name: "p".into(), uid: "u".into() }
    }

    #[test]
    fn commands_become_the_nodes_requests() {
        let query = Query::parse("command=sh&command=-c&command=echo%20a%26b&stdin=1&stdout=true&stderr=true&tty=true");
        let command = Command::of("exec", &target(), "c", &query).unwrap();
        let want =
            "/exec/ns/p/c?command=sh&command=-c&command=echo%20a%26b&stdin=true&stdout=true&stderr=false&tty=true";
        assert_eq!(command.uri, want);
        let none = Command::of("exec", &target(), "c", &Query::parse("stdout=true")).unwrap_err();
        assert_eq!(none.message, "you must specify at least 1 command for the container");
        let silent = Command::of("attach", &target(), "c", &Query::default()).unwrap_err();
        assert_eq!(silent.message, "you must specify at least 1 of stdin, stdout, stderr");
    }
}
