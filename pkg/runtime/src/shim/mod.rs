// SPDX-License-Identifier: Apache-2.0

//! The shim: one small process a pod that holds its namespaces, processes, logs and exit codes.
//!
//! It has one thread, no async and no allocation that stays large, so that libcontainer may fork
//! from it and a node of a hundred pods pays a hundred times little. It leaves the agent's session
//! and cgroup before it makes anything, and serves the agent, whichever lives, on a socket in the
//! pod's folder until the pod is removed.

mod clock;
mod console;
mod container;
mod devices;
mod exec;
pub(crate) mod folder;
mod launcher;
mod logs;
mod oom;
mod output;
mod process;
mod rootfs;
mod sandbox;
mod server;
mod sources;
mod trace;
mod wire;

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::fs::{Mode, OFlags};

use crate::cgroup::Cgroups;
use crate::oci::client::SOCKET;

use container::Pod;
use folder::{PodDir, Sandbox};

/// What the child writes to its waiting parent when the pod's sandbox is there.
const READY: &[u8] = b"ready";

/// Runs `shim FOLDER`: detaches a shim for the pod with this folder, returns when it serves. Call
/// it before the process has a second thread.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let (Some(dir), None) = (args.next(), args.next()) else {
        eprintln!("usage: shim FOLDER (started by the agent for each pod)");
        return ExitCode::from(2);
    };
    process::close_inherited();
    match detach(PodDir(PathBuf::from(dir))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Forks the shim and waits for its word; the child never returns.
fn detach(dir: PodDir) -> Result<(), String> {
    let (read, write) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| format!("cannot make a pipe: {e}"))?;
    if process::fork().map_err(|e| format!("cannot fork: {e}"))?.is_none() {
        drop(read);
        std::process::exit(live(&dir, write));
    }
    drop(write);
    let mut said = Vec::new();
    File::from(read).read_to_end(&mut said).map_err(|e| format!("cannot hear the shim: {e}"))?;
    match said.strip_prefix(READY) {
        Some(_) => Ok(()),
        None if said.is_empty() => Err("the shim died before it was ready".to_owned()),
        None => Err(String::from_utf8_lossy(&said).into_owned()),
    }
}

/// The shim's whole life.
fn live(dir: &PodDir, parent: OwnedFd) -> i32 {
    let mut parent = File::from(parent);
    let server = match set_up(dir) {
        Ok(server) => server,
        Err(message) => {
            let _nobody_waits = parent.write_all(message.as_bytes());
            return 1;
        }
    };
    if parent.write_all(READY).is_err() {
        return 1;
    }
    drop(parent);
    process::trim_memory();
    match server.run() {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("the shim ends: {e}");
            1
        }
    }
}

fn set_up(dir: &PodDir) -> Result<server::Server, String> {
    let told = |what: &str, e: &dyn std::fmt::Display| format!("cannot {what}: {e}");
    let sandbox: Sandbox =
        folder::read_json(&dir.sandbox()).map_err(|e| told(&format!("read {}", dir.sandbox().display()), &e))?;
    rustix::process::setsid().map_err(|e| told("leave the agent's session", &e))?;
    rustix::process::chdir("/").map_err(|e| told("go to /", &e))?;
    let cgroups = Cgroups::detect().map_err(|e| told("find control groups", &e))?;
    let own = format!("{}/shim", sandbox.cgroup);
    cgroups
        .create(&own)
        .and_then(|()| cgroups.limit(&sandbox.cgroup, &sandbox.config.resources))
        .and_then(|()| cgroups.join(&own, std::process::id()))
        .map_err(|e| told(&format!("enter the cgroup {own}"), &e))?;
    redirect_output(dir).and_then(|()| trace::start(&dir.log())).map_err(|e| told("open the shim's log", &e))?;
    nix::sys::prctl::set_child_subreaper(true).map_err(|e| told("adopt orphans", &e))?;
    rustix::process::set_parent_process_death_signal(None).map_err(|e| told("outlive the agent", &e))?;
    let oom_score_adj_min = oom::protect();
    let signals = take_signals().map_err(|e| told("take over signals", &e))?;
    let host_mounts = sources::namespace().map_err(|e| told("find the host's mounts", &e))?;
    let pause = sandbox::enter(&sandbox.config, dir)?;
    let listener = listen(dir).map_err(|e| told("listen in the pod's folder", &e))?;
    let _only_a_name = rustix::thread::set_name(c"knarr-shim");
    let pause_pid = pause.map(nix::unistd::Pid::as_raw);
    let held = crate::spec::capabilities::held();
    let pod = Pod { sandbox, held, dir: dir.clone(), cgroups, pause_pid, host_mounts, oom_score_adj_min };
    Ok(server::Server::new(pod, listener, signals))
}

/// Input from nowhere, output into the pod's folder.
fn redirect_output(dir: &PodDir) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let null = File::open("/dev/null")?;
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(dir.log())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&log)?;
    rustix::stdio::dup2_stderr(&log)?;
    Ok(())
}

/// Dead children are told by descriptor; requests to end are not obeyed: a pod ends when the agent
/// removes it, or by force.
fn take_signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
    process::ignore(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGPIPE])?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

fn listen(dir: &PodDir) -> io::Result<UnixListener> {
    let _of_a_shim_before = std::fs::remove_file(dir.0.join(SOCKET));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle = rustix::fs::open(&dir.0, flags, Mode::empty())?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", handle.as_raw_fd());
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
