// SPDX-License-Identifier: Apache-2.0

//! One more process in a running container, and joining the streams of its first.

use std::fs;
use std::os::fd::OwnedFd;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use crate::config::ExecConfig;
use crate::protocol::{Failure, StreamKind};
use crate::spec;

use super::console::Console;
use super::container::{Container, Pipes, Pod, Refused, classify, exec_file, words};
use super::folder::{read_json, write_json};
use super::trace;

/// Output that an attached client may be behind, in bytes.
const ATTACH_BYTES: usize = 1 << 20;

/// What the agent gets: descriptors and what they are.
pub type Ends = Vec<(StreamKind, OwnedFd)>;

/// Starts the process; gives its id and the agent's ends of its streams.
pub fn start(pod: &Pod, container: &Container, config: &ExecConfig, number: u64) -> Result<(i32, Ends), Refused> {
    if container.pid().is_none() {
        return Err((Failure::NotRunning, format!("container {} is not running", container.run())));
    }
    if config.args.is_empty() {
        return Err((Failure::Invalid, "no command specified".to_owned()));
    }
    let file = exec_file(&container.dir, number);
    let mark = trace::mark(&pod.dir.log());
    let started = launch(pod, container, config, &file);
    let _left_from_the_start = fs::remove_file(&file);
    started.map_err(|message| classify(message, &trace::since(&pod.dir.log(), mark)))
}

fn launch(
    pod: &Pod,
    container: &Container,
    config: &ExecConfig,
    file: &std::path::Path,
) -> Result<(i32, Ends), String> {
    let spec: serde_json::Value =
        read_json(&container.dir.spec()).map_err(|e| format!("cannot read {}: {e}", container.dir.spec().display()))?;
    write_json(file, &spec::exec_process(&spec, config))
        .map_err(|e| format!("cannot write {}: {e}", file.display()))?;
    let mut builder = ContainerBuilder::new(container.run(), SyscallType::default())
        .with_root_path(pod.dir.state())
        .map_err(|e| words(&e))?
        .with_executor(container.launcher.with_size(config.size));
    let console = config.tty.then(|| Console::listen(&container.dir.0)).transpose();
    let console = console.map_err(|e| format!("cannot make a terminal: {e}"))?;
    let mut ends: Ends = Vec::new();
    if let Some(console) = &console {
        builder = builder.with_console_socket(Some(console.path()));
    } else {
        let pipes = Pipes::open(config.stdin, container.uid).map_err(|e| format!("cannot make pipes: {e}"))?;
        builder = builder.with_stdin(pipes.stdin.0).with_stdout(pipes.stdout.1).with_stderr(pipes.stderr.1);
        ends.extend(pipes.stdin.1.map(|fd| (StreamKind::Stdin, fd)));
        ends.push((StreamKind::Stdout, pipes.stdout.0));
        ends.push((StreamKind::Stderr, pipes.stderr.0));
    }
    let pid = builder.as_tenant().with_detach(true).with_process(Some(file)).build().map_err(|e| words(&e))?;
    if let Some(console) = console {
        let terminal = console.accept().map_err(|e| format!("cannot get the terminal: {e}"))?;
        ends.push((StreamKind::Terminal, terminal));
    }
    Ok((pid.as_raw(), ends))
}

/// Joins the streams of the container's first process.
pub fn attach(container: &mut Container, client: u64, stdin: bool) -> Result<Ends, Refused> {
    if container.pid().is_none() {
        return Err((Failure::NotRunning, format!("container {} is not running", container.run())));
    }
    let failed = |e: std::io::Error| (Failure::Other, format!("cannot attach: {e}"));
    let mut ends: Ends = Vec::new();
    if let Some(terminal) = &container.terminal {
        ends.push((StreamKind::Terminal, terminal.try_clone().map_err(failed)?));
    } else if stdin && container.wants.stdin_once {
        // Handed over for good: the process sees the end of its input when this client closes it or leaves.
        ends.extend(container.stdin.take().map(|stdin| (StreamKind::Stdin, stdin)));
    } else if stdin && let Some(stdin) = &container.stdin {
        ends.push((StreamKind::Stdin, stdin.try_clone().map_err(failed)?));
    }
    let names: &[_] = if container.wants.tty {
        &[("stdout", StreamKind::Stdout)]
    } else {
        &[("stdout", StreamKind::Stdout), ("stderr", StreamKind::Stderr)]
    };
    for (name, kind) in names {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
        let _a_smaller_one_does_too = fcntl_setpipe_size(&write, ATTACH_BYTES);
        container.outputs.attach(client, name, write).map_err(failed)?;
        ends.push((*kind, read));
    }
    Ok(ends)
}
