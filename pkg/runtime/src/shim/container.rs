// SPDX-License-Identifier: Apache-2.0

//! One run of a container: prepared, started, watched, ended.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use nix::sys::wait::WaitStatus;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::cgroup::Cgroups;
use crate::config::{ContainerConfig, ContainerId, Mount, MountKind, PodUid, Propagation, is_file_name};
use crate::protocol::Failure;
use crate::spec::{self, DeviceNode, Surroundings, users};
use crate::status::{ContainerState, ContainerStatus, Exit};

use super::clock;
use super::console::Console;
use super::devices;
use super::folder::{PodDir, Record, RunDir, Sandbox, write_json};
use super::launcher::{CANNOT_EXECUTE, Launcher};
use super::output::Outputs;
use super::{rootfs, sources, trace};

/// Why a request failed.
pub type Refused = (Failure, String);

/// What a container needs to know of its pod.
pub struct Pod {
    /// Its description.
    pub sandbox: Sandbox,
    /// Its folder.
    pub dir: PodDir,
    /// The host's control groups.
    pub cgroups: Cgroups,
    /// First process of the shared process id namespace.
    pub pause_pid: Option<i32>,
    /// The mount namespace that the shim was started in.
    pub host_mounts: OwnedFd,
    /// Capabilities that can be given.
    pub held: Vec<&'static str>,
    /// The least inclination to be killed for memory that may be given.
    pub oom_score_adj_min: i32,
}

/// A container that was created.
pub struct Container {
    /// Name in the pod.
    pub name: String,
    /// Which run.
    pub attempt: u32,
    /// Where its files are.
    pub dir: RunDir,
    /// Its cgroup.
    pub cgroup: String,
    /// Where it is in its life.
    pub state: ContainerState,
    /// What starts programs in it.
    pub launcher: Launcher,
    /// What comes out of it.
    pub outputs: Outputs,
    /// The writing end of its input.
    pub stdin: Option<OwnedFd>,
    /// Its terminal.
    pub terminal: Option<OwnedFd>,
    /// Who runs in it.
    pub uid: u32,
    /// Whether it asked for a terminal, for input, and for input only once.
    pub wants: Wants,
    image: String,
    created_at_ns: u64,
    annotations: std::collections::BTreeMap<String, String>,
}

/// What a container asked for, as far as it matters after its start.
#[derive(Clone, Copy, Debug)]
pub struct Wants {
    /// A terminal.
    pub tty: bool,
    /// Open input.
    pub stdin: bool,
    /// Input that ends with the first client.
    pub stdin_once: bool,
}

impl Container {
    /// Prepares a container: folder, root file system, user, specification, log file. `beside` is a
    /// process whose process id namespace it joins.
    pub fn create(
        pod: &Pod,
        beside: Option<i32>,
        name: String,
        attempt: u32,
        config: ContainerConfig,
    ) -> Result<Container, Refused> {
        if !is_file_name(&name) {
            return Err((Failure::Invalid, format!("container name {name:?} is no file name")));
        }
        if config.args.is_empty() {
            return Err((Failure::Invalid, "no command specified".to_owned()));
        }
        if let Some(name) = spec::capabilities::unknown(&config) {
            return Err((Failure::Invalid, format!("unknown capability {name:?}")));
        }
        let run = format!("{name}-{attempt}");
        let dir = pod.dir.run(&run);
        let made = Container::prepare(pod, beside, &dir, name, attempt, config);
        if made.is_err() {
            sources::release(&dir);
            rootfs::unmount(&dir);
            let _what_is_left_goes_with_the_pod = fs::remove_dir_all(&dir.0);
        }
        made.map_err(|message| (Failure::Other, message))
    }

    fn prepare(
        pod: &Pod,
        beside: Option<i32>,
        dir: &RunDir,
        name: String,
        attempt: u32,
        mut config: ContainerConfig,
    ) -> Result<Container, String> {
        fs::create_dir_all(&dir.0).map_err(|e| format!("cannot make {}: {e}", dir.0.display()))?;
        rootfs::mount_overlay(dir, &config.layers)?;
        check_sources(&config)?;
        let rootfs = dir.rootfs();
        let passwd = rootfs::read_text(&rootfs, "/etc/passwd");
        let group = rootfs::read_text(&rootfs, "/etc/group");
        let ids = users::resolve(&config.user, &passwd, &group)?;
        if config.cwd.as_os_str().len() > 1 {
            rootfs::make_dir(&rootfs, &config.cwd)
                .map_err(|e| format!("cannot make the working directory {}: {e}", config.cwd.display()))?;
        }
        let volumes = if config.read_only_root { image_volumes(&config, &rootfs)? } else { Vec::new() };
        config.mounts.extend(volumes);
        sources::prepare(&pod.host_mounts, dir, &mut config.mounts)?;
        // Lowering it is a right that a shim in a container may lack; better more killable than not at all.
        config.oom_score_adj = config.oom_score_adj.map(|score| score.max(pod.oom_score_adj_min));
        let cgroup = format!("{}/{name}-{attempt}", pod.sandbox.cgroup);
        let nodes = devices::nodes(&config)?;
        let spec = specification(pod, beside, &config, &ids, &rootfs, &cgroup, &nodes);
        let log_path = crate::oci::log_path(&pod.sandbox.config.log_dir, &name, attempt);
        let failed = |path: &Path, e| format!("cannot write {}: {e}", path.display());
        let outputs = Outputs::new(log_path.clone()).map_err(|e| failed(&log_path, e))?;
        write_json(&dir.spec(), &spec).map_err(|e| failed(&dir.spec(), e))?;
        let launcher = Launcher::new(&config, &pod.held)?;
        let created_at_ns = clock::now_ns();
        let record = Record { name, attempt, created_at_ns, config };
        write_json(&dir.record(), &record).map_err(|e| failed(&dir.record(), e))?;
        let Record { name, config, .. } = record;
        pod.cgroups
            .create(&cgroup)
            .and_then(|()| pod.cgroups.limit(&cgroup, &config.resources))
            .and_then(|()| devices::rules(&config, &nodes).map_or(Ok(()), |r| pod.cgroups.limit_devices(&cgroup, &r)))
            .map_err(|e| format!("cannot limit the container: {e}"))?;
        Ok(Container {
            name,
            attempt,
            dir: dir.clone(),
            cgroup,
            state: ContainerState::Created,
            launcher,
            outputs,
            stdin: None,
            terminal: None,
            uid: ids.uid,
            wants: Wants { tty: config.tty, stdin: config.stdin, stdin_once: config.stdin_once },
            image: config.image,
            created_at_ns,
            annotations: config.annotations,
        })
    }

    /// `NAME-ATTEMPT`.
    pub fn run(&self) -> String {
        format!("{}-{}", self.name, self.attempt)
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Option<i32> {
        match self.state {
            ContainerState::Running { pid, .. } => Some(pid),
            _ => None,
        }
    }

    /// What the agent is told.
    pub fn status(&self, pod: &PodUid) -> ContainerStatus {
        ContainerStatus {
            id: ContainerId::new(pod.clone(), self.name.clone(), self.attempt),
            image: self.image.clone(),
            state: self.state.clone(),
            created_at_ns: self.created_at_ns,
            annotations: self.annotations.clone(),
        }
    }

    /// Starts it. What fails here is final: the container has ended, with code 128, before its
    /// program ran.
    pub fn start(&mut self, pod: &Pod) -> Result<i32, Refused> {
        if self.state != ContainerState::Created {
            return Err((Failure::Invalid, format!("container {} was started before", self.run())));
        }
        let mark = trace::mark(&pod.dir.log());
        let launched = self.launch(pod);
        sources::release(&self.dir);
        match launched {
            Ok(pid) => {
                self.state = ContainerState::Running { pid, started_at_ns: clock::now_ns() };
                Ok(pid)
            }
            Err(message) => {
                self.clear(pod);
                let refused = classify(message, &trace::since(&pod.dir.log(), mark));
                self.finish(Exit {
                    code: 128,
                    signal: None,
                    oom_killed: false,
                    started_at_ns: 0,
                    finished_at_ns: clock::now_ns(),
                    message: Some(refused.1.clone()),
                });
                Err(refused)
            }
        }
    }

    fn launch(&mut self, pod: &Pod) -> Result<i32, String> {
        let state = pod.dir.state();
        fs::create_dir_all(&state).map_err(|e| format!("cannot make {}: {e}", state.display()))?;
        let mut builder = ContainerBuilder::new(self.run(), SyscallType::default())
            .with_root_path(&state)
            .map_err(|e| words(&e))?
            .with_executor(self.launcher.clone());
        let console = self.wants.tty.then(|| Console::listen(&self.dir.0)).transpose();
        let console = console.map_err(|e| format!("cannot make a terminal: {e}"))?;
        let mut ours = Vec::new();
        let mut stdin = None;
        if let Some(console) = &console {
            builder = builder.with_console_socket(Some(console.path()));
        } else {
            let ends = Pipes::open(self.wants.stdin, self.uid).map_err(|e| format!("cannot make pipes: {e}"))?;
            builder = builder.with_stdin(ends.stdin.0).with_stdout(ends.stdout.1).with_stderr(ends.stderr.1);
            stdin = ends.stdin.1;
            ours = vec![("stdout", ends.stdout.0), ("stderr", ends.stderr.0)];
        }
        let mut container =
            builder.as_init(&self.dir.0).with_systemd(false).with_detach(true).build().map_err(|e| words(&e))?;
        let pid = container.pid().ok_or("the container has no process")?.as_raw();
        if let Some(console) = console {
            let terminal = console.accept().map_err(|e| format!("cannot get the terminal: {e}"))?;
            let copy = terminal.try_clone().map_err(|e| format!("cannot copy the terminal: {e}"))?;
            ours = vec![("stdout", copy)];
            self.terminal = Some(terminal);
        }
        self.stdin = stdin;
        self.outputs.listen(ours).map_err(|e| format!("cannot listen to the container: {e}"))?;
        container.start().map_err(|e| words(&e))?;
        Ok(pid)
    }

    /// Takes note that its first process ended; gives how, for those who watch.
    pub fn ended(&mut self, pod: &Pod, status: WaitStatus) -> Exit {
        let ContainerState::Running { started_at_ns, .. } = self.state else {
            return self.lost();
        };
        let (code, signal) = match status {
            WaitStatus::Exited(_, code) => (code, None),
            WaitStatus::Signaled(_, signal, _) => (128 + signal as i32, Some(signal as i32)),
            _ => (255, None),
        };
        let oom_killed = signal == Some(libc::SIGKILL) && pod.cgroups.oom_kills(&self.cgroup) > 0;
        self.clear(pod);
        let finished_at_ns = clock::now_ns();
        let exit = Exit { code, signal, oom_killed, started_at_ns, finished_at_ns, message: None };
        self.finish(exit.clone());
        exit
    }

    fn lost(&self) -> Exit {
        match &self.state {
            ContainerState::Exited(exit) => exit.clone(),
            _ => Exit {
                code: 255,
                signal: None,
                oom_killed: false,
                started_at_ns: 0,
                finished_at_ns: clock::now_ns(),
                message: Some("the container ended before it was started".to_owned()),
            },
        }
    }

    /// Kills what is left of it, reads what is left of its output, and gives back what it held.
    pub fn clear(&mut self, pod: &Pod) {
        let _what_lives_is_killed_with_the_pod = pod.cgroups.kill(&self.cgroup);
        self.outputs.close();
        self.stdin = None;
        self.terminal = None;
        sources::release(&self.dir);
        rootfs::unmount(&self.dir);
        let _what_is_left_goes_with_the_pod = pod.cgroups.remove(&self.cgroup);
        let _what_is_left_goes_with_the_pod = fs::remove_dir_all(pod.dir.state().join(self.run()));
    }

    fn finish(&mut self, exit: Exit) {
        let _a_full_disk_loses_it_with_the_shim_only = write_json(&self.dir.exit(), &exit);
        self.state = ContainerState::Exited(exit);
    }
}

/// The pipes of a process: (reading end, writing end).
pub struct Pipes {
    /// Input; without a writing end it is `/dev/null`.
    pub stdin: (OwnedFd, Option<OwnedFd>),
    /// Output.
    pub stdout: (OwnedFd, OwnedFd),
    /// Error output.
    pub stderr: (OwnedFd, OwnedFd),
}

impl Pipes {
    /// Makes them. They belong to `uid`, who may then open them by name, too (`/dev/stdout`).
    pub fn open(stdin: bool, uid: u32) -> std::io::Result<Pipes> {
        let pipe = || -> std::io::Result<(OwnedFd, OwnedFd)> {
            let ends = pipe_with(PipeFlags::CLOEXEC)?;
            rustix::fs::fchown(&ends.0, Some(rustix::fs::Uid::from_raw(uid)), None)?;
            Ok(ends)
        };
        let stdin = if stdin {
            let (read, write) = pipe()?;
            (read, Some(write))
        } else {
            (fs::File::open("/dev/null")?.into(), None)
        };
        Ok(Pipes { stdin, stdout: pipe()?, stderr: pipe()? })
    }
}

fn specification(
    pod: &Pod,
    beside: Option<i32>,
    config: &ContainerConfig,
    ids: &spec::Ids,
    rootfs: &Path,
    cgroup: &str,
    devices: &[DeviceNode],
) -> serde_json::Value {
    let around = Surroundings {
        sandbox: &pod.sandbox.config,
        ids,
        rootfs,
        cgroup,
        shm: &pod.dir.shm(),
        first_pid: beside.or(pod.pause_pid),
        devices,
        held: &pod.held,
        cgroup_folders: &pod.cgroups.folders(cgroup),
        cgroup_v2: pod.cgroups.is_v2(),
    };
    spec::build(config, &around)
}

/// The image's own volumes, where nothing else is mounted: their places in the root file system, mounted upon
/// themselves. A root that cannot be written leaves mounts in it alone.
fn image_volumes(config: &ContainerConfig, rootfs: &Path) -> Result<Vec<Mount>, String> {
    let taken = |path: &PathBuf| config.mounts.iter().any(|mount| mount.destination == **path);
    let free = config.image_volumes.iter().filter(|path| path.is_absolute() && !taken(path));
    let mount = |path: &PathBuf| {
        let source = rootfs::make_dir(rootfs, path).and_then(|()| rootfs::real_path(rootfs, path));
        let source = source.map_err(|e| format!("cannot make the image's volume {}: {e}", path.display()))?;
        Ok(Mount {
            destination: path.clone(),
            kind: MountKind::Bind(source),
            read_only: false,
            propagation: Propagation::None,
        })
    };
    free.map(mount).collect()
}

/// A bind mount of what is not there fails late and in riddles; say it here.
fn check_sources(config: &ContainerConfig) -> Result<(), String> {
    for mount in &config.mounts {
        if !mount.destination.is_absolute() {
            return Err(format!("mount path {} is not absolute", mount.destination.display()));
        }
        if let MountKind::Bind(source) = &mount.kind
            && let Err(e) = fs::symlink_metadata(source)
        {
            return Err(format!("cannot mount {} at {}: {e}", source.display(), mount.destination.display()));
        }
    }
    Ok(())
}

/// What an error of libcontainer says, which may hold the zero bytes of C's strings.
pub fn words(error: &dyn std::error::Error) -> String {
    knarr_types::with_causes(error).replace('\0', "")
}

/// A command that cannot run has its own kind, and its message is the launcher's own. Else the
/// cause is in what libcontainer said meanwhile.
pub fn classify(message: String, said: &str) -> Refused {
    match message.find(CANNOT_EXECUTE) {
        Some(at) => (Failure::CannotExecute, message[at..].trim_end_matches(['"', ')']).to_owned()),
        None if said.is_empty() => (Failure::Other, message),
        None => (Failure::Other, format!("{message} ({})", said.trim())),
    }
}

/// The folder where a process file of an `exec` lies for the moment of its start.
pub fn exec_file(dir: &RunDir, number: u64) -> PathBuf {
    dir.0.join(format!("exec-{number}.json"))
}
