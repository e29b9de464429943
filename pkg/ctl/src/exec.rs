// SPDX-License-Identifier: Apache-2.0
//! `exec`: a command in a container, with this terminal's input, output and size.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::ResourceExt as _;
use kube::api::{Api, AttachParams, AttachedProcess, TerminalSize};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::ExecArgs;
use crate::error::CtlError;
use crate::logs::{container, pod};
use crate::session::Session;

/// Runs `exec`; its exit code is the command's.
pub(crate) async fn run(session: &Session, args: ExecArgs) -> Result<u8, CtlError> {
    let pod = pod(session, &args.target).await?;
    let container = container(&pod, args.container.as_deref(), args.quiet)?;
    let is_terminal = tcgetattr(std::io::stdin()).is_ok();
    let tty = args.tty && is_terminal;
    if args.tty && !is_terminal {
        eprintln!("Unable to use a TTY - input is not a terminal or the right kind of file");
    }
    let params = AttachParams {
        container: Some(container),
        stdin: args.stdin,
        stdout: true,
        stderr: !tty,
        tty,
        ..AttachParams::default()
    };
    let api = Api::<Pod>::namespaced(session.client.clone(), &session.namespace);
    let process = api.exec(&pod.name_any(), args.command, &params).await?;
    let _raw = if tty { RawTerminal::enter() } else { None };
    join(process, args.stdin, tty).await
}

/// Connects the process' streams with ours until it ends.
async fn join(mut process: AttachedProcess, stdin: bool, tty: bool) -> Result<u8, CtlError> {
    let status = process.take_status();
    let output = process
        .stdout()
        .map(|mut out| tokio::spawn(async move { tokio::io::copy(&mut out, &mut tokio::io::stdout()).await }));
    let errors = process
        .stderr()
        .map(|mut err| tokio::spawn(async move { tokio::io::copy(&mut err, &mut tokio::io::stderr()).await }));
    // Standard input may stay open for ever: nothing waits for it.
    let input = process.stdin().filter(|_| stdin).map(|mut to| {
        tokio::spawn(async move {
            let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut to).await;
            let _ = to.shutdown().await;
        })
    });
    let sizes = if tty { process.terminal_size().map(|sender| tokio::spawn(send_sizes(sender))) } else { None };
    let ended = match status {
        Some(status) => status.await,
        None => None,
    };
    for copy in [output, errors].into_iter().flatten() {
        // The output may have been closed by who reads it: the exit code still counts.
        let _ = copy.await;
    }
    let _ = tokio::io::stdout().flush().await;
    [input, sizes].into_iter().flatten().for_each(|task| task.abort());
    exit_code(ended)
}

/// What the final status says: the command's exit code, or why it did not run.
pub(crate) fn exit_code(status: Option<Status>) -> Result<u8, CtlError> {
    let Some(status) = status else {
        return Err(CtlError::Unreachable {
            server: String::new(),
            reason: "the connection ended before the command did".into(),
        });
    };
    if status.status.as_deref() == Some("Success") {
        return Ok(0);
    }
    let causes = status.details.and_then(|d| d.causes).unwrap_or_default();
    let code = causes.into_iter().find(|c| c.reason.as_deref() == Some("ExitCode")).and_then(|c| c.message);
    match code.and_then(|c| c.parse::<u8>().ok()) {
        Some(code) => {
            eprintln!("command terminated with exit code {code}");
            Ok(code)
        }
        None => Err(CtlError::usage(status.message.unwrap_or_default())),
    }
}

async fn send_sizes(mut sender: impl futures::Sink<TerminalSize> + Unpin) {
    use futures::SinkExt as _;
    let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
    while let Ok(size) = tcgetwinsize(std::io::stdin()) {
        if sender.send(TerminalSize { height: size.ws_row, width: size.ws_col }).await.is_err() {
            return;
        }
        changes.recv().await;
    }
}

/// The terminal passes every key on, until this is dropped.
struct RawTerminal(Termios);

impl RawTerminal {
    fn enter() -> Option<Self> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
    }
}

/// Runs a command without a terminal and gives what it printed, with `input` as its standard input.
pub(crate) async fn capture(
    api: &Api<Pod>,
    pod: &str,
    container: &str,
    command: Vec<String>,
    input: Option<Vec<u8>>,
) -> Result<Vec<u8>, CtlError> {
    let params = AttachParams {
        container: Some(container.to_owned()),
        stdin: input.is_some(),
        stdout: true,
        stderr: true,
        ..AttachParams::default()
    };
    let mut process = api.exec(pod, command, &params).await?;
    let status = process.take_status();
    if let (Some(mut to), Some(input)) = (process.stdin(), input) {
        tokio::spawn(async move {
            // A command that ends early says so in its status.
            let _ = to.write_all(&input).await;
            let _ = to.shutdown().await;
        });
    }
    let lost = |e: std::io::Error| CtlError::unreachable(&e);
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    if let (Some(mut out), Some(mut err)) = (process.stdout(), process.stderr()) {
        tokio::try_join!(out.read_to_end(&mut output), err.read_to_end(&mut errors)).map_err(lost)?;
    }
    let ended = match status {
        Some(status) => status.await,
        None => None,
    };
    if exit_code(ended)? != 0 {
        let text = String::from_utf8_lossy(&errors);
        return Err(CtlError::usage(format!("in the container: {}", text.trim())));
    }
    Ok(output)
}
