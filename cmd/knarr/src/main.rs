// SPDX-License-Identifier: Apache-2.0
//! The `knarr` binary: arguments, configuration file, wiring, exit codes. No logic.
//!
//! Also answers to `knarr-server`, `knarr-agent` and `knarrctl`, which are links to it.

mod agent;
mod config;
mod down;
mod edge;
mod heap;
mod page_faults;
mod program_text;
mod rest;
mod server;
mod telemetry;
mod up;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: heap::Heap = heap::Heap;

/// One binary that turns Linux hosts into a Kubernetes cluster.
#[derive(Debug, Parser)]
#[command(name = "knarr", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs server and agent on this host.
    Up(Box<up::UpArgs>),
    /// Stops the pods of this host and removes everything that Knarr made on it.
    Down(down::DownArgs),
    /// Runs the control plane: API, scheduler, controllers, state.
    Server(Box<server::ServerArgs>),
    /// Runs a node.
    Agent(Box<agent::AgentArgs>),
    /// Talks to a cluster, as kubectl does.
    Ctl(Box<knarr_ctl::Args>),
    /// Answers DNS and ingress of a node; the agent starts it.
    #[command(hide = true)]
    Edge(edge::EdgeArgs),
}

fn main() -> ExitCode {
    let mut args = with_command_of_link(std::env::args_os().collect());
    // A shim forks: it must be the only thread, and stay small.
    if args.get(1).is_some_and(|a| a == "shim") {
        return knarr_runtime::shim::main(args.drain(2..));
    }
    match parse(args).and_then(run) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("knarr: {}", knarr_types::with_causes(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// The arguments, with the command in front that the program's own name stands for.
fn with_command_of_link(mut args: Vec<OsString>) -> Vec<OsString> {
    let name = args.first().map(Path::new).and_then(Path::file_name).and_then(|n| n.to_str()).unwrap_or_default();
    let command = match name {
        "knarr-server" => "server",
        "knarr-agent" => "agent",
        "knarrctl" => "ctl",
        _ => return args,
    };
    args.insert(1, command.into());
    args
}

/// Reads the command line; for the commands that run for long, with the configuration file's keys.
fn parse(args: Vec<OsString>) -> anyhow::Result<Command> {
    let mut cli = Cli::command().mut_subcommand("ctl", knarr_ctl::as_kubectl);
    let configurable = ["up", "server", "agent"];
    let name = args.get(1).and_then(|a| a.to_str()).filter(|a| configurable.contains(a)).map(str::to_owned);
    let args = match name.as_deref().and_then(|n| cli.find_subcommand(n)) {
        Some(command) => {
            let mut all = vec![args[0].clone()];
            all.extend(config::with_file(command, args[1..].to_vec())?);
            all
        }
        None => args,
    };
    // Wrong usage and `--help` end here, with clap's own codes and words.
    let matches = cli.try_get_matches_from_mut(args).unwrap_or_else(|e| e.exit());
    Ok(Cli::from_arg_matches(&matches).unwrap_or_else(|e| e.exit()).command)
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Edge(args) => edge::run(args).map(|()| ExitCode::SUCCESS),
        Command::Down(args) => down::run(&args),
        Command::Ctl(args) => {
            let runtime = runtime(1, || {}, || {})?;
            let code = runtime.block_on(ctl(*args));
            // Something may still read the keyboard: it is not waited for until a key is hit.
            runtime.shutdown_background();
            code
        }
        Command::Up(args) => {
            let (_telemetry, runtime) = serving(args.server.otlp_endpoint.as_deref())?;
            runtime.block_on(up::run(*args)).map(|()| ExitCode::SUCCESS)
        }
        Command::Server(args) => {
            let (_telemetry, runtime) = serving(args.settings.otlp_endpoint.as_deref())?;
            runtime.block_on(server::run(*args)).map(|()| ExitCode::SUCCESS)
        }
        Command::Agent(args) => {
            let (_telemetry, runtime) = serving(None)?;
            runtime.block_on(agent::run(*args, terminated())).map(|()| ExitCode::SUCCESS)
        }
    }
}

async fn ctl(args: knarr_ctl::Args) -> anyhow::Result<ExitCode> {
    match knarr_ctl::run(args).await {
        Ok(code) => Ok(ExitCode::from(code)),
        // Whoever read the output has seen enough.
        Err(knarr_ctl::CtlError::OutputClosed) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("{}", error.line());
            Ok(ExitCode::FAILURE)
        }
    }
}

/// What a process that serves needs: logs and traces, and a runtime with a thread a core.
fn serving(otlp_endpoint: Option<&str>) -> anyhow::Result<(telemetry::Guard, tokio::runtime::Runtime)> {
    let work = Arc::new(rest::Work::default());
    let noted = Arc::clone(&work);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let heaps = Arc::new(heap::Heaps::default());
    let asked = Arc::clone(&heaps);
    let runtime = runtime(threads, move || noted.note(), move || asked.waiting())?;
    let telemetry = runtime.block_on(async { telemetry::start(otlp_endpoint) })?;
    runtime.spawn(program_text::release_at_rest(work, heaps));
    Ok((telemetry, runtime))
}

fn runtime(
    threads: usize,
    woken: impl Fn() + Send + Sync + 'static,
    waiting: impl Fn() + Send + Sync + 'static,
) -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(32)
        .on_thread_unpark(woken)
        .on_thread_park(waiting)
        .enable_all()
        .build()?)
}

/// Resolves on SIGTERM or SIGINT.
pub async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
