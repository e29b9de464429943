// SPDX-License-Identifier: Apache-2.0
//! Exec and attach: the client's frames to the process, the process' output to the client.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use bytes::Bytes;
use futures::StreamExt as _;
use knarr_runtime::oci::stream::Session;
use knarr_runtime::{Error, ExecConfig};
use knarr_types::stream::{self, Decoder};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};

use super::{Answer, Query, Refusal, Request, find, octets, running, streaming};
use crate::context::Context;

/// Once the process has ended, output that some child of it may still write is waited for so long.
const LINGER: Duration = Duration::from_millis(300);
const CHUNK: usize = 32 << 10;
/// Frames on their way to the client.
const QUEUE: usize = 8;

/// `POST /exec/{namespace}/{pod}/{container}?command=...`
pub async fn exec(
    State(context): State<Arc<Context>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    let query = Query::parse(query.as_deref());
    let args = query.all("command");
    if args.is_empty() {
        return Err(Refusal::bad("you must specify at least 1 command for the container"));
    }
    let view = find(&context, &namespace, &pod)?;
    let id = running(&view, &container)?;
    let config = ExecConfig { args, tty: query.flag("tty"), stdin: query.flag("stdin"), size: None };
    match context.runtime.exec(&id, &config).await {
        Ok(session) => Ok(connect(session, body, &query)),
        // The client learns of it as of a command that failed, as with a shell.
        Err(Error::CannotExecute(message)) => Ok(octets(Body::from(stream::failure(&message)))),
        Err(error) => Err(Refusal::internal(error)),
    }
}

/// `POST /attach/{namespace}/{pod}/{container}`
pub async fn attach(request: Request<(String, String, String)>, body: Body) -> Answer {
    let (State(context), Path((namespace, pod, container)), RawQuery(query)) = request;
    let query = Query::parse(query.as_deref());
    let view = find(&context, &namespace, &pod)?;
    let id = running(&view, &container)?;
    let session = context.runtime.attach(&id, query.flag("stdin")).await.map_err(Refusal::internal)?;
    Ok(connect(session, body, &query))
}

/// Joins a session and a request; the answer's body lives as long as the session.
fn connect(mut session: Session, body: Body, query: &Query) -> axum::response::Response {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (ended, has_ended) = watch::channel(false);
    let stdin = session.stdin.take().filter(|_| query.flag("stdin"));
    let terminal = session.terminal().unwrap_or_default();
    let stdout = session.stdout.take();
    let stderr = session.stderr.take();
    let input = tokio::spawn(feed(body, stdin, terminal));
    let output = sender.clone();
    let stdout = tokio::spawn(pump(stream::STDOUT, stdout, output, has_ended.clone()));
    let output = sender.clone();
    let stderr = tokio::spawn(pump(stream::STDERR, stderr, output, has_ended));
    tokio::spawn(async move {
        let exit = tokio::select! {
            exit = session.wait() => exit,
            // The client is gone: the process keeps its fate, its streams are closed.
            () = sender.closed() => {
                input.abort();
                return;
            }
        };
        ended.send_replace(true);
        let _ = tokio::join!(stdout, stderr);
        let last = match exit {
            Ok(exit) => stream::exit_status(exit.code),
            Err(error) => stream::failure(&error.to_string()),
        };
        let _ = sender.send(last).await;
        input.abort();
    });
    octets(streaming(receiver))
}

/// The client's frames: input, its end, and sizes.
async fn feed(body: Body, mut stdin: Option<impl AsyncWrite + Unpin>, terminal: Option<OwnedFd>) {
    let mut pieces = body.into_data_stream();
    let mut decoder = Decoder::default();
    while let Some(Ok(piece)) = pieces.next().await {
        decoder.push(&piece);
        loop {
            match decoder.next() {
                Ok(Some((stream::STDIN, payload))) => {
                    if let Some(pipe) = &mut stdin
                        && pipe.write_all(&payload).await.is_err()
                    {
                        // The process reads no more.
                        stdin = None;
                    }
                }
                Ok(Some((stream::CLOSE, payload))) if payload.first() == Some(&stream::STDIN) => stdin = None,
                Ok(Some((stream::RESIZE, payload))) => resize(terminal.as_ref(), &payload),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => return tracing::warn!(%error, "a client of exec is broken"),
            }
        }
    }
}

fn resize(terminal: Option<&OwnedFd>, payload: &[u8]) {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Size {
        width: u16,
        height: u16,
    }
    let (Some(terminal), Ok(size)) = (terminal, serde_json::from_slice::<Size>(payload)) else { return };
    let size = rustix::termios::Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
    // A terminal whose process has just ended takes no size, and needs none.
    let _ = rustix::termios::tcsetwinsize(terminal, size);
}

/// One output to the client, to its end, or until it is silent after the process' end.
async fn pump(
    channel: u8,
    stream: Option<impl AsyncRead + Unpin>,
    output: mpsc::Sender<Bytes>,
    mut ended: watch::Receiver<bool>,
) {
    let Some(mut stream) = stream else { return };
    let mut chunk = vec![0; CHUNK];
    loop {
        let over = *ended.borrow_and_update();
        let read = tokio::select! {
            read = stream.read(&mut chunk) => read,
            () = tokio::time::sleep(LINGER), if over => return,
            _ = ended.changed(), if !over => continue,
        };
        match read {
            Ok(0) | Err(_) => return,
            Ok(count) => {
                if output.send(stream::encode(channel, &chunk[..count])).await.is_err() {
                    return;
                }
            }
        }
    }
}
