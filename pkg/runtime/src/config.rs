// SPDX-License-Identifier: Apache-2.0

//! What the agent asks for: sandboxes, containers and processes, as plain data.
//!
//! These types travel to the shim as JSON and lie in the pod's folder, and an older shim may read
//! what a newer agent wrote: fields are only ever added, each with a default.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A pod's uid; it names the pod's folder, cgroup and shim.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PodUid(String);

impl PodUid {
    /// Takes a uid that is safe as a file name: letters, digits, `-`, `_` and `.`, no leading dot.
    pub fn new(uid: impl Into<String>) -> Option<PodUid> {
        let uid = uid.into();
        is_file_name(&uid).then_some(PodUid(uid))
    }

    /// The uid as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One run of a container: pod, name in the pod, and how many runs came before.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContainerId {
    /// The pod it belongs to.
    pub pod: PodUid,
    /// The container's name in the pod's spec.
    pub name: String,
    /// 0 for the first run, one more for each restart.
    pub attempt: u32,
}

impl ContainerId {
    /// Puts an id together.
    pub fn new(pod: PodUid, name: impl Into<String>, attempt: u32) -> ContainerId {
        ContainerId { pod, name: name.into(), attempt }
    }

    /// `NAME-ATTEMPT`, the folder of this run and its id in the pod.
    pub fn run(&self) -> String {
        format!("{}-{}", self.name, self.attempt)
    }

    /// The id in a pod's status: `knarr://<pod uid>.<name>.<attempt>`.
    pub fn uri(&self) -> String {
        format!("knarr://{}.{}.{}", self.pod, self.name, self.attempt)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}-{}", self.pod, self.name, self.attempt)
    }
}

/// Whether `name` can be a folder's name without surprises.
pub(crate) fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 200
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Which of the host's namespaces the pod uses instead of its own, and what its containers share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespaces {
    /// Path of the network namespace that the caller made; `None` is the host's network.
    pub network: Option<PathBuf>,
    /// The host's process ids (`hostPID`).
    pub host_pid: bool,
    /// The host's shared memory and semaphores (`hostIPC`).
    pub host_ipc: bool,
    /// One process id namespace for all containers (`shareProcessNamespace`).
    pub shared_pid: bool,
}

/// A pod's sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxConfig {
    /// The pod's uid.
    pub uid: PodUid,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// Host name in the pod; unused with the host's network.
    #[serde(default)]
    pub hostname: String,
    /// Namespaces.
    #[serde(default)]
    pub namespaces: Namespaces,
    /// Folder of the containers' log files (`<log_dir>/<container>/<attempt>.log`).
    pub log_dir: PathBuf,
    /// Kernel parameters, set in the pod's namespaces.
    #[serde(default)]
    pub sysctls: Vec<(String, String)>,
    /// Limits of the whole pod.
    #[serde(default)]
    pub resources: Resources,
    /// Size of `/dev/shm` in bytes; 64 MiB when `None`.
    #[serde(default)]
    pub shm_bytes: Option<u64>,
    /// Anything the caller wants back from [`crate::PodRuntime::list`] after its own restart.
    #[serde(default)]
    pub annotations: std::collections::BTreeMap<String, String>,
}

/// Limits and shares; `None` leaves the kernel's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// CPU weight in cgroup v1 units (2 to 262,144; 1024 is one core).
    pub cpu_shares: Option<u64>,
    /// CPU time per period, in microseconds.
    pub cpu_quota_us: Option<i64>,
    /// Length of a period, in microseconds; 100,000 when `None`.
    pub cpu_period_us: Option<u64>,
    /// Memory limit in bytes.
    pub memory_bytes: Option<i64>,
    /// Number of processes and threads.
    pub pids: Option<i64>,
}

/// Who runs in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[derive(Default)]
pub struct User {
    /// `runAsUser`; over `image_user`.
    pub uid: Option<u32>,
    /// `runAsGroup`.
    pub gid: Option<u32>,
    /// `USER` of the image: `name`, `uid`, `name:group`, ..., looked up in the image's files.
    pub image_user: String,
    /// `fsGroup` and `supplementalGroups`.
    pub supplemental_groups: Vec<u32>,
    /// Leave out the groups that the image's `/etc/group` gives the user
    /// (`supplementalGroupsPolicy: Strict`).
    pub strict_groups: bool,
}

/// What a mount shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    /// A file or folder of the host.
    Bind(PathBuf),
    /// Memory, with a limit in bytes.
    Tmpfs(Option<u64>),
}

/// How mounts made later travel, as in the Kubernetes API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Propagation {
    /// They do not.
    #[default]
    None,
    /// From the host into the container.
    HostToContainer,
    /// Both ways.
    Bidirectional,
}

/// Something mounted into the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the container.
    pub destination: PathBuf,
    /// What is there.
    pub kind: MountKind,
    /// Writes fail.
    #[serde(default)]
    pub read_only: bool,
    /// How later mounts travel.
    #[serde(default)]
    pub propagation: Propagation,
}

/// Capabilities, by name with or without `CAP_`; `ALL` is all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// Added to the default set.
    pub add: Vec<String>,
    /// Taken from it.
    pub drop: Vec<String>,
}

/// The system calls that the container may make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seccomp {
    /// All of them.
    #[default]
    Unconfined,
    /// Those of the list that container runtimes share.
    RuntimeDefault,
    /// Those of an OCI profile in a file of the host.
    Localhost(PathBuf),
}

/// A device of the host, shown in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path on the host.
    pub host: PathBuf,
    /// Path in the container.
    pub container: PathBuf,
    /// Of `r`, `w` and `m`.
    pub access: String,
}

/// A container to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerConfig {
    /// Name of the image, for status and messages.
    pub image: String,
    /// Folders of the image's layers, the lowest first.
    pub layers: Vec<PathBuf>,
    /// Command and arguments, with variables expanded.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Working directory; `/` when empty. Made when missing.
    pub cwd: PathBuf,
    /// Who runs.
    pub user: User,
    /// Mounts, in order.
    pub mounts: Vec<Mount>,
    /// Capabilities beyond and below the default.
    pub capabilities: Capabilities,
    /// All capabilities and devices, nothing masked, no seccomp.
    pub privileged: bool,
    /// The root file system cannot be written.
    pub read_only_root: bool,
    /// Paths that can be written all the same, with what the image has there: the volumes that it declares.
    pub image_volumes: Vec<PathBuf>,
    /// `allowPrivilegeEscalation: false`.
    pub no_new_privileges: bool,
    /// System calls.
    pub seccomp: Seccomp,
    /// Limits.
    pub resources: Resources,
    /// Devices.
    pub devices: Vec<Device>,
    /// `procMount: Unmasked`.
    pub unmasked_proc: bool,
    /// Kernel's inclination to kill it first, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Keep standard input open for `attach`.
    pub stdin: bool,
    /// Close standard input when the first attached client leaves.
    pub stdin_once: bool,
    /// A terminal instead of pipes.
    pub tty: bool,
    /// Signal that asks it to stop; SIGTERM when `None`.
    pub stop_signal: Option<i32>,
    /// The run ([`ContainerId::run`]) of the pod's container whose processes it is to see, beside its
    /// own.
    pub processes_of: Option<String>,
    /// Anything the caller wants back from [`crate::PodRuntime::list`].
    pub annotations: std::collections::BTreeMap<String, String>,
}

/// One more process in a running container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecConfig {
    /// Command and arguments.
    pub args: Vec<String>,
    /// A terminal.
    pub tty: bool,
    /// Whether standard input is wanted.
    pub stdin: bool,
    /// Size of the terminal: columns, rows.
    pub size: Option<(u16, u16)>,
}
