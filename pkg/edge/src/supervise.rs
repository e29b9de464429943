// SPDX-License-Identifier: Apache-2.0

//! The agent's side: keeps edge running and its sockets open.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::unix::AsyncFd;

use crate::Error;
use crate::listeners::{self, Listen, Listener};

/// How to start edge.
#[derive(Clone, Debug)]
pub struct Supervised {
    /// The binary, `/proc/self/exe`.
    pub program: PathBuf,
    /// Its arguments: `edge --snapshot FILE --control SOCKET`.
    pub arguments: Vec<OsString>,
    /// The same control socket.
    pub control: PathBuf,
    /// The sockets to hold for it.
    pub listen: Vec<Listen>,
    /// Where its standard output and error go; none: where ours go.
    pub log: Option<PathBuf>,
}

/// An edge that lives longer than this is started again at once when it ends.
const SETTLED: Duration = Duration::from_secs(10);

/// [`take_over`] and [`Held::run`] in one.
pub async fn supervise(edge: Supervised, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    take_over(edge).await?.run(shutdown).await
}

/// The sockets, open, and the edge that serves them, if one runs.
#[derive(Debug)]
pub struct Held {
    edge: Supervised,
    listeners: Vec<Listener>,
    running: Option<Process>,
}

impl Held {
    /// Where the sockets really are, ports of 0 replaced.
    pub fn listens(&self) -> impl Iterator<Item = Listen> {
        self.listeners.iter().map(|listener| listener.listen)
    }

    /// Keeps an edge running until `shutdown`, which leaves it running. One that ends is started again, at
    /// once and then with pauses of at most half a second.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        tokio::pin!(shutdown);
        let mut pause = Duration::ZERO;
        loop {
            let process = match self.running.take() {
                Some(process) => process,
                None => spawn(&self.edge, &self.listeners)?,
            };
            let started = Instant::now();
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                ended = process.ended() => ended?,
            }
            pause = if started.elapsed() > SETTLED { Duration::ZERO } else { next_pause(pause) };
            tracing::warn!(pid = process.pid.as_raw_pid(), ?pause, "edge ended: starting it again");
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

/// Ends a running edge (`knarr down`) and waits until it is gone; true if there was one.
pub async fn stop(control: &Path) -> Result<bool, Error> {
    match find(control)? {
        None => Ok(false),
        Some((process, _)) => {
            process.end().await?;
            let _ = std::fs::remove_file(control); // stale from here on
            Ok(true)
        }
    }
}

/// A process by its descriptor: its id cannot come to mean another.
#[derive(Debug)]
struct Process {
    pid: Pid,
    descriptor: AsyncFd<OwnedFd>,
}

impl Process {
    fn open(pid: Pid) -> Result<Self, Error> {
        let open = || crate::readiness::register(pidfd_open(pid, PidfdFlags::NONBLOCK)?);
        Ok(Self { pid, descriptor: open().map_err(Error::system("watch the edge process"))? })
    }

    async fn ended(&self) -> Result<(), Error> {
        let readable = self.descriptor.readable().await;
        readable.map(|mut ready| ready.retain_ready()).map_err(Error::system("watch the edge process"))
    }

    async fn end(&self) -> Result<(), Error> {
        match pidfd_send_signal(self.descriptor.get_ref(), Signal::TERM) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => self.ended().await,
            Err(errno) => Err(Error::system("end the edge process")(errno.into())),
        }
    }

    /// Whether it runs this very file.
    fn runs(&self, program: &Path) -> bool {
        let id = |path: &Path| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
        let its = id(Path::new(&format!("/proc/{}/exe", self.pid.as_raw_pid())));
        its.is_some() && its == id(program)
    }
}

/// Opens the sockets, or takes them from an edge that runs already; an edge of another binary, or with other
/// sockets, is ended, and what is still wanted of its sockets stays open, so that no connection is refused.
pub async fn take_over(edge: Supervised) -> Result<Held, Error> {
    let found = find(&edge.control)?;
    let (process, mut held) = found.map_or((None, Vec::new()), |(process, held)| (Some(process), held));
    let matches = |listener: &Listener, wanted: &Listen| {
        let (is, wanted_address) = (listener.listen.address, wanted.address);
        listener.listen.purpose == wanted.purpose
            && is.ip() == wanted_address.ip()
            && (wanted_address.port() == 0 || is.port() == wanted_address.port())
    };
    let count = held.len();
    held.retain(|listener| edge.listen.iter().any(|wanted| matches(listener, wanted)));
    let missing: Vec<Listen> =
        edge.listen.iter().filter(|wanted| !held.iter().any(|listener| matches(listener, wanted))).copied().collect();
    let same = held.len() == count && missing.is_empty();
    if let Some(process) = process {
        if same && process.runs(&edge.program) {
            tracing::info!(pid = process.pid.as_raw_pid(), "edge is running already: adopted");
            return Ok(Held { edge, listeners: held, running: Some(process) });
        }
        tracing::info!(pid = process.pid.as_raw_pid(), "replacing an edge of another version or with other sockets");
        process.end().await?;
    }
    for wanted in missing {
        held.push(listeners::bind(wanted)?);
    }
    Ok(Held { edge, listeners: held, running: None })
}

/// The edge behind a control socket, and copies of its sockets.
fn find(control: &Path) -> Result<Option<(Process, Vec<Listener>)>, Error> {
    let Ok(stream) = UnixStream::connect(control) else { return Ok(None) };
    let set_up = || -> std::io::Result<_> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(rustix::net::sockopt::socket_peercred(&stream)?.pid)
    };
    let pid = set_up().map_err(Error::file("ask", control))?;
    let Ok(process) = Process::open(pid) else { return Ok(None) };
    match listeners::receive(&stream) {
        Ok(held) => Ok(Some((process, held))),
        Err(error) => {
            // It lives but does not answer as it should: it is replaced.
            tracing::warn!(%error, "edge does not hand over its sockets");
            Ok(Some((process, Vec::new())))
        }
    }
}

fn spawn(edge: &Supervised, held: &[Listener]) -> Result<Process, Error> {
    let (here, there) = UnixStream::pair().map_err(Error::system("make a socket pair"))?;
    let mut command = tokio::process::Command::new(&edge.program);
    command.args(&edge.arguments).stdin(Stdio::from(OwnedFd::from(there)));
    if let Some(log) = &edge.log {
        let file = OpenOptions::new().create(true).append(true).open(log).map_err(Error::file("open", log))?;
        let copy = file.try_clone().map_err(Error::file("open", log))?;
        command.stdout(file).stderr(copy);
    }
    let child = command.spawn().map_err(Error::file("run", &edge.program))?;
    drop(command); // and with it our copy of its end of the pair
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let process = Process::open(pid.ok_or_else(|| Error::HandOver("edge ended at once".to_owned()))?)?;
    // Its sockets wait for it in the pair; an edge that has ended already is noticed by its descriptor.
    if let Err(error) = listeners::send(&here, held) {
        tracing::warn!(%error, "hand sockets to edge");
    }
    tracing::info!(pid = process.pid.as_raw_pid(), "edge started");
    // Dropped, the child is reaped by the runtime when it ends.
    drop(child);
    Ok(process)
}

/// 0, 50 ms, then twice as long each time. However often it ends, it is back within a second, its start included.
fn next_pause(last: Duration) -> Duration {
    (last * 2).clamp(Duration::from_millis(50), Duration::from_millis(500))
}
