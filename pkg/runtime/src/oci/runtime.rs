// SPDX-License-Identifier: Apache-2.0

//! [`OciRuntime`]: finds shims by folder, starts them, asks them, and cleans up after them.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::PodRuntime;
use crate::cgroup::Cgroups;
use crate::config::{ContainerConfig, ContainerId, ExecConfig, PodUid, Resources, SandboxConfig};
use crate::error::{Error, Result};
use crate::protocol::{Request, Response, StreamKind};
use crate::shim::folder::{PodDir, RunDir, Sandbox, read_json, write_json};
use crate::status::{ContainerState, Event, Exit, PodStats, PodStatus, SandboxState};

use super::client::{Connection, failure};
use super::stream::{Session, Stream};

/// How long a killed container may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Where the runtime keeps its pods and how it starts shims.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of the pods' folders; its own, nothing else lies there.
    pub root: PathBuf,
    /// Cgroup of all pods, relative to the hierarchies' roots: `knarr-<node id>`.
    pub cgroup: String,
    /// Command that runs [`crate::shim::main`] with the arguments after it.
    pub shim: Vec<OsString>,
}

impl Options {
    /// The usual ones: this very binary, called with `shim`, is the shim.
    pub fn new(root: impl Into<PathBuf>, node_id: &str) -> Options {
        Options {
            root: root.into(),
            cgroup: format!("knarr-{node_id}"),
            shim: vec!["/proc/self/exe".into(), "shim".into()],
        }
    }
}

/// Runs pods with one shim each.
pub struct OciRuntime {
    options: Options,
    cgroups: Cgroups,
    events: Arc<Mutex<mpsc::UnboundedSender<Event>>>,
    /// The tasks that listen to shims.
    watchers: Arc<Mutex<HashMap<PodUid, JoinHandle<()>>>>,
}

impl OciRuntime {
    /// Makes the folder; starts and stops nothing.
    pub fn new(options: Options) -> Result<OciRuntime> {
        fs::create_dir_all(&options.root).map_err(Error::io("cannot make", &options.root))?;
        let cgroups = Cgroups::detect().map_err(Error::io("cannot read control groups of", "/proc/self"))?;
        share_mounts().map_err(Error::io("cannot share mounts below", "/"))?;
        let (events, _nobody_listens_yet) = mpsc::unbounded_channel();
        let events = Arc::new(Mutex::new(events));
        Ok(OciRuntime { options, cgroups, events, watchers: Arc::default() })
    }

    fn dir(&self, pod: &PodUid) -> PodDir {
        PodDir(self.options.root.join(pod.as_str()))
    }

    fn pod_cgroup(&self, pod: &PodUid) -> String {
        format!("{}/pod{pod}", self.options.cgroup)
    }

    async fn connect(&self, pod: &PodUid) -> Result<Connection> {
        let dir = self.dir(pod);
        Connection::open(&dir.0).await.map_err(|_| {
            if dir.sandbox().exists() { Error::ShimGone(pod.clone()) } else { Error::PodNotFound(pod.clone()) }
        })
    }

    async fn ask(&self, pod: &PodUid, request: &Request) -> Result<(Response, Connection)> {
        let mut connection = self.connect(pod).await?;
        let response = connection.ask(request).await.map_err(|_| Error::ShimGone(pod.clone()))?;
        Ok((response, connection))
    }

    async fn ask_about(&self, id: &ContainerId, request: Request) -> Result<(Response, Connection)> {
        match self.ask(&id.pod, &request).await? {
            (Response::Failed { kind, message }, _) => Err(failure(id, kind, message)),
            answered => Ok(answered),
        }
    }

    async fn spawn_shim(&self, dir: &PodDir, pod: &PodUid) -> Result<()> {
        let failed = |reason: String| Error::ShimStart { pod: pod.clone(), reason };
        let (program, args) =
            self.options.shim.split_first().ok_or_else(|| failed("no command for shims is configured".to_owned()))?;
        let output = tokio::process::Command::new(program)
            .args(args)
            .arg(&dir.0)
            // The binary's allocator else takes its first memory in huge pages: 4 MiB for each pod.
            .env("MIMALLOC_ARENA_EAGER_COMMIT", "0")
            .stdin(std::process::Stdio::null())
            .output()
            .await
            .map_err(|e| failed(e.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    /// Listens to a pod's shim, unless something does already.
    async fn watch(&self, pod: &PodUid) -> Result<()> {
        if self.watchers.lock().get(pod).is_some_and(|task| !task.is_finished()) {
            return Ok(());
        }
        let (_, connection) = self.ask(pod, &Request::Watch).await?;
        let task = tokio::spawn(pass_on(pod.clone(), connection, Arc::clone(&self.events)));
        if let Some(before) = self.watchers.lock().insert(pod.clone(), task) {
            before.abort();
        }
        Ok(())
    }

    /// Removes all of a pod that is left, whether its shim ended well or not.
    async fn sweep(&self, pod: &PodUid) -> Result<()> {
        let (cgroups, group, dir) = (self.cgroups.clone(), self.pod_cgroup(pod), self.dir(pod));
        let work = move || {
            cgroups.kill(&group)?;
            cgroups.remove(&group)?;
            remove_dir(&dir.0)
        };
        let left = match tokio::task::spawn_blocking(work).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(e)) => e.to_string(),
            Err(e) => e.to_string(),
        };
        Err(Error::Leftover { pod: pod.clone(), left })
    }

    fn status_from_files(&self, pod: &PodUid) -> Result<PodStatus> {
        let dir = self.dir(pod);
        let sandbox: Sandbox = read_json(&dir.sandbox()).map_err(|_| Error::PodNotFound(pod.clone()))?;
        let containers = dir.runs().iter().filter_map(|run| run.status_without_shim(pod)).collect();
        let state = SandboxState::NotReady;
        Ok(PodStatus { config: sandbox.config, state, shim_pid: 0, containers })
    }

    async fn streams(&self, id: &ContainerId, request: Request) -> Result<Session> {
        let (response, mut connection) = self.ask_about(id, request).await?;
        let Response::Streams { streams } = response else {
            return Err(unexpected(&response));
        };
        let fds = connection.take_fds();
        if fds.len() != streams.len() {
            return Err(Error::Shim("the shim did not hand over its streams".to_owned()));
        }
        session(streams.into_iter().zip(fds), connection)
            .map_err(|e| Error::Shim(format!("cannot use the streams of {id}: {e}")))
    }
}

#[async_trait]
impl PodRuntime for OciRuntime {
    async fn run_pod_sandbox(&self, config: &SandboxConfig) -> Result<PodStatus> {
        let dir = self.dir(&config.uid);
        if self.connect(&config.uid).await.is_err() {
            // What a shim left that is gone is of no use to the next.
            self.sweep(&config.uid).await?;
            fs::create_dir_all(&dir.0).map_err(Error::io("cannot make", &dir.0))?;
            private(&dir.0).map_err(Error::io("cannot protect", &dir.0))?;
            let sandbox = Sandbox { config: config.clone(), cgroup: self.pod_cgroup(&config.uid) };
            write_json(&dir.sandbox(), &sandbox).map_err(Error::io("cannot write", dir.sandbox()))?;
            self.spawn_shim(&dir, &config.uid).await?;
        }
        self.watch(&config.uid).await?;
        self.status(&config.uid).await
    }

    async fn create_container(&self, id: &ContainerId, config: &ContainerConfig) -> Result<()> {
        let (name, attempt) = (id.name.clone(), id.attempt);
        let request = Request::Create { name, attempt, config: Box::new(config.clone()) };
        self.ask_about(id, request).await.map(drop)
    }

    async fn start_container(&self, id: &ContainerId) -> Result<i32> {
        match self.ask_about(id, Request::Start { run: id.run() }).await?.0 {
            Response::Started { pid } => Ok(pid),
            other => Err(unexpected(&other)),
        }
    }

    async fn stop_container(&self, id: &ContainerId, signal: Option<i32>, grace: Duration) -> Result<Exit> {
        // Listen first, then look, so that no exit falls between.
        let (_, mut watch) = self.ask_about(id, Request::Watch).await?;
        let status = self.status(&id.pod).await?;
        let container = status.containers.into_iter().find(|c| c.id == *id);
        match container.map(|c| c.state) {
            None => return Err(Error::ContainerNotFound(id.clone())),
            Some(ContainerState::Exited(exit)) => return Ok(exit),
            Some(ContainerState::Created) => return Err(Error::NotRunning(id.clone())),
            Some(ContainerState::Running { .. }) => {}
        }
        if !grace.is_zero() {
            self.signal(id, signal.unwrap_or(libc::SIGTERM)).await.or_else(ignore_not_running)?;
            if let Ok(exit) = tokio::time::timeout(grace, exit_of(&mut watch, id)).await {
                return exit;
            }
        }
        self.signal(id, libc::SIGKILL).await.or_else(ignore_not_running)?;
        tokio::time::timeout(KILL_PATIENCE, exit_of(&mut watch, id))
            .await
            .map_err(|_| Error::Shim(format!("container {id} does not die")))?
    }

    async fn signal(&self, id: &ContainerId, signal: i32) -> Result<()> {
        self.ask_about(id, Request::Signal { run: id.run(), signal }).await.map(drop)
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<()> {
        match self.ask_about(id, Request::Remove { run: id.run() }).await {
            Ok(_) | Err(Error::ContainerNotFound(_) | Error::PodNotFound(_)) => Ok(()),
            Err(e) => Err(e),
        }
    }

    async fn status(&self, pod: &PodUid) -> Result<PodStatus> {
        match self.ask(pod, &Request::Status).await {
            Ok((Response::Status { status, .. }, _)) => Ok(*status),
            Ok((other, _)) => Err(unexpected(&other)),
            Err(Error::ShimGone(_)) => self.status_from_files(pod),
            Err(e) => Err(e),
        }
    }

    async fn list(&self) -> Result<Vec<PodStatus>> {
        let entries = fs::read_dir(&self.options.root).map_err(Error::io("cannot read", &self.options.root))?;
        let mut pods = Vec::new();
        for entry in entries.flatten() {
            let Some(pod) = entry.file_name().to_str().and_then(PodUid::new) else { continue };
            // Listen first, then look, so that no exit falls between. A shim that is gone shows in
            // the status.
            let _gone = self.watch(&pod).await;
            match self.status(&pod).await {
                Ok(status) => pods.push(status),
                Err(Error::PodNotFound(_)) => continue,
                Err(e) => return Err(e),
            }
        }
        Ok(pods)
    }

    async fn exec(&self, id: &ContainerId, config: &ExecConfig) -> Result<Session> {
        let config = Box::new(config.clone());
        self.streams(id, Request::Exec { run: id.run(), config }).await
    }

    async fn attach(&self, id: &ContainerId, stdin: bool) -> Result<Session> {
        self.streams(id, Request::Attach { run: id.run(), stdin }).await
    }

    async fn update_pod(&self, pod: &PodUid, resources: &Resources) -> Result<()> {
        self.cgroups.update(&self.pod_cgroup(pod), resources).map_err(|e| Error::Shim(e.to_string()))
    }

    async fn update_container(&self, id: &ContainerId, resources: &Resources) -> Result<()> {
        let group = format!("{}/{}", self.pod_cgroup(&id.pod), id.run());
        self.cgroups.update(&group, resources).map_err(|e| Error::Shim(e.to_string()))
    }

    async fn stats(&self, pod: &PodUid) -> Result<PodStats> {
        let group = self.pod_cgroup(pod);
        let status = self.status(pod).await?;
        let total = self.cgroups.stats(&group);
        let running = status.containers.into_iter().filter(|c| matches!(c.state, ContainerState::Running { .. }));
        let containers = running
            .map(|c| {
                let stats = self.cgroups.stats(&format!("{group}/{}", c.id.run()));
                (c.id, stats)
            })
            .collect();
        Ok(PodStats { total, containers })
    }

    async fn written_bytes(&self, pod: &PodUid) -> Result<Vec<(ContainerId, u64)>> {
        let (pod, dir) = (pod.clone(), self.dir(pod));
        let measure = move || {
            let of_run = |run: RunDir| {
                let id = container_of(&pod, run.0.file_name()?.to_str()?)?;
                Some((id, disk_bytes(&run.upper())))
            };
            dir.runs().into_iter().filter_map(of_run).collect()
        };
        tokio::task::spawn_blocking(measure).await.map_err(|e| Error::Shim(e.to_string()))
    }

    async fn remove_pod(&self, pod: &PodUid) -> Result<()> {
        if let Some(task) = self.watchers.lock().remove(pod) {
            task.abort();
        }
        if let Ok((_, mut connection)) = self.ask(pod, &Request::Shutdown).await {
            // Its end of the connection closes when it is gone.
            let _gone = tokio::time::timeout(KILL_PATIENCE, connection.next()).await;
        }
        self.sweep(pod).await
    }

    fn events(&self) -> mpsc::UnboundedReceiver<Event> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.events.lock() = sender;
        receiver
    }
}

/// Ends every pod below `root` and everything in the cgroup; for `knarr down`, without an agent.
/// Gives what was there: one line each.
pub fn cleanup_all(root: &Path, cgroup: &str) -> Result<Vec<String>> {
    let cgroups = Cgroups::detect().map_err(Error::io("cannot read control groups of", "/proc/self"))?;
    let mut removed = Vec::new();
    let processes = cgroups.processes(cgroup).len();
    cgroups.kill(cgroup).map_err(Error::io("cannot kill what is in the cgroup", cgroup))?;
    if cgroups.exists(cgroup) {
        cgroups.remove(cgroup).map_err(Error::io("cannot remove the cgroup", cgroup))?;
        removed.push(format!("cgroup {cgroup} with {processes} processes"));
    }
    let Ok(entries) = fs::read_dir(root) else { return Ok(removed) };
    for entry in entries.flatten() {
        remove_dir(&entry.path()).map_err(Error::io("cannot remove", entry.path()))?;
        removed.push(format!("pod {}", entry.file_name().to_string_lossy()));
    }
    Ok(removed)
}

fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What a file, or all below a folder, takes on the disk.
fn disk_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    let below = || fs::read_dir(path).into_iter().flatten().flatten().map(|e| disk_bytes(&e.path())).sum::<u64>();
    metadata.blocks() * 512 + if metadata.is_dir() { below() } else { 0 }
}

/// Only root may look into a pod's folder.
fn private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

/// Shims see the agent's later mounts only where the root mount is shared, which systemd makes it
/// and a bare init does not.
fn share_mounts() -> io::Result<()> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    let root = text.lines().find(|line| line.split(' ').nth(4) == Some("/"));
    if root.is_some_and(|line| line.contains(" shared:")) {
        return Ok(());
    }
    let flags = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_SHARED;
    nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?;
    Ok(())
}

/// Tells what a shim tells, until it ends.
async fn pass_on(pod: PodUid, mut connection: Connection, events: Arc<Mutex<mpsc::UnboundedSender<Event>>>) {
    loop {
        let event = match connection.next().await {
            Ok(Response::Exited { run, exit }) => match container_of(&pod, &run) {
                Some(id) => Event::Exited(id, exit),
                None => continue,
            },
            Ok(_) => continue,
            Err(_) => break,
        };
        let _nobody_listens = events.lock().send(event);
    }
    let _nobody_listens = events.lock().send(Event::ShimLost(pod));
}

fn container_of(pod: &PodUid, run: &str) -> Option<ContainerId> {
    let (name, attempt) = run.rsplit_once('-')?;
    Some(ContainerId::new(pod.clone(), name, attempt.parse().ok()?))
}

async fn exit_of(watch: &mut Connection, id: &ContainerId) -> Result<Exit> {
    loop {
        match watch.next().await {
            Ok(Response::Exited { run, exit }) if run == id.run() => return Ok(exit),
            Ok(_) => {}
            Err(_) => return Err(Error::ShimGone(id.pod.clone())),
        }
    }
}

fn ignore_not_running(error: Error) -> Result<()> {
    match error {
        Error::NotRunning(_) => Ok(()),
        other => Err(other),
    }
}

fn unexpected(response: &Response) -> Error {
    match response {
        Response::Failed { message, .. } => Error::Shim(message.clone()),
        other => Error::Shim(format!("unexpected answer of a shim: {other:?}")),
    }
}

fn session(ends: impl Iterator<Item = (StreamKind, OwnedFd)>, connection: Connection) -> io::Result<Session> {
    let mut session = Session { stdin: None, stdout: None, stderr: None, terminal: None, connection };
    for (kind, fd) in ends {
        match kind {
            StreamKind::Stdin => session.stdin = Some(Stream::new(fd)?),
            StreamKind::Stdout => session.stdout = Some(Stream::new(fd)?),
            StreamKind::Stderr => session.stderr = Some(Stream::new(fd)?),
            StreamKind::Terminal => session.terminal = Some(fd),
        }
    }
    if let Some(terminal) = &session.terminal {
        session.stdin = Some(Stream::new(terminal.try_clone()?)?);
        if session.stdout.is_none() {
            session.stdout = Some(Stream::new(terminal.try_clone()?)?);
        }
    }
    Ok(session)
}
