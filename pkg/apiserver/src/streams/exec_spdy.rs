// SPDX-License-Identifier: Apache-2.0
//! Exec and attach over SPDY: a stream for each of input, outputs, sizes, and the final Status.

use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use knarr_types::Status;
use knarr_types::stream;
use tokio::sync::mpsc;

use super::remote::{self, Command, Output};
use super::spdy::{Connection, Stream, Writer};
use super::upgrade::Spdy;
use crate::Response;
use crate::tunnel::Tunnels;

/// The protocol whose final Status is JSON.
const PROTOCOLS: [&str; 1] = ["v4.channel.k8s.io"];
/// How long a client may take to open its streams.
const OPENING: Duration = Duration::from_secs(30);
/// A size of a terminal is never longer, in bytes.
const SIZE_MAX: usize = 4096;

/// The streams of one command.
#[derive(Default)]
struct Streams {
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    error: Option<Stream>,
    resize: Option<Stream>,
}

/// Takes the connection over.
///
/// # Errors
/// 403 where the client speaks another protocol.
pub fn serve(spdy: Spdy, tunnels: Tunnels, command: Command) -> Result<Response, Status> {
    let (response, _, upgrade) = spdy.accept(&PROTOCOLS)?;
    tokio::spawn(session(upgrade, tunnels, command));
    Ok(response)
}

async fn session(upgrade: OnUpgrade, tunnels: Tunnels, command: Command) {
    let Ok(connection) = upgrade.await else { return };
    let mut connection = Connection::serve(TokioIo::new(connection));
    let over = connection.over();
    let opening = tokio::time::timeout(OPENING, Streams::open(&mut connection, &command)).await;
    let Ok(Some(mut streams)) = opening else { return };
    tokio::select! {
        () = run(&mut streams, &tunnels, &command) => {}
        () = over.cancelled() => return,
    }
    for stream in [streams.stdin, streams.stdout, streams.stderr, streams.error, streams.resize].into_iter().flatten() {
        let _ = stream.writer.finish().await;
    }
    connection.end().await;
}

async fn run(streams: &mut Streams, tunnels: &Tunnels, command: &Command) {
    let error = streams.error.as_ref().map(|s| s.writer.clone());
    let status = match command.start(tunnels).await {
        Ok((input, output)) => {
            let stdin = feed(streams.stdin.as_mut(), input.clone());
            let sizes = resize(streams.resize.as_mut(), input);
            let both = async { tokio::join!(stdin, sizes) };
            let writers = [&streams.stdout, &streams.stderr].map(|s| s.as_ref().map(|s| s.writer.clone()));
            let output = copy(output, writers, command);
            tokio::pin!(output);
            tokio::select! {
                status = &mut output => status,
                _ = both => output.await,
            }
        }
        Err(status) => Some(remote::failure(&status).into()),
    };
    if let (Some(status), Some(error)) = (status, error) {
        let _ = error.send(&status).await;
    }
}

impl Streams {
    /// Waits for all streams that the command needs; `None` where the client leaves before.
    async fn open(connection: &mut Connection, command: &Command) -> Option<Self> {
        let mut streams = Self::default();
        while !streams.are_complete(command) {
            let stream = connection.next().await?;
            let place = match stream.headers.get("streamtype") {
                Some("stdin") => &mut streams.stdin,
                Some("stdout") => &mut streams.stdout,
                Some("stderr") => &mut streams.stderr,
                Some("error") => &mut streams.error,
                Some("resize") => &mut streams.resize,
                _ => {
                    let _ = stream.writer.reset().await;
                    continue;
                }
            };
            *place = Some(stream);
        }
        Some(streams)
    }

    fn are_complete(&self, command: &Command) -> bool {
        self.error.is_some()
            && (self.stdin.is_some() || !command.stdin)
            && (self.stdout.is_some() || !command.stdout)
            && (self.stderr.is_some() || !command.stderr)
            && (self.resize.is_some() || !command.tty)
    }
}

async fn feed(stdin: Option<&mut Stream>, input: mpsc::Sender<Bytes>) {
    let Some(stdin) = stdin else { return };
    while let Some(piece) = stdin.data.recv().await {
        let _ = input.send(stream::encode(stream::STDIN, &piece)).await;
    }
    let _ = input.send(stream::encode(stream::CLOSE, &[stream::STDIN])).await;
}

/// Sizes come as JSON, a line each.
async fn resize(sizes: Option<&mut Stream>, input: mpsc::Sender<Bytes>) {
    let Some(sizes) = sizes else { return };
    let mut pending = Vec::new();
    while let Some(piece) = sizes.data.recv().await {
        pending.extend_from_slice(&piece);
        while let Some(end) = pending.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let _ = input.send(stream::encode(stream::RESIZE, line.trim_ascii())).await;
        }
        if pending.len() > SIZE_MAX {
            return;
        }
    }
}

/// Copies the output to its end; gives the final Status.
async fn copy(mut output: Output, writers: [Option<Writer>; 2], command: &Command) -> Option<Bytes> {
    while let Some((channel, payload)) = output.next().await {
        let writer = match channel {
            stream::STDOUT => &writers[0],
            stream::STDERR => &writers[1],
            stream::STATUS => return Some(payload),
            _ => continue,
        };
        if let Some(writer) = writer
            && writer.send(&payload).await.is_err()
        {
            return None;
        }
    }
    Some(remote::failure(&remote::broken_off(command)).into())
}
