// SPDX-License-Identifier: Apache-2.0

//! What the runtime tells the agent: states, exits, events, figures.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{ContainerId, PodUid, SandboxConfig};

/// How a container ended. Lies in `exit.json` of its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; 128 + signal when a signal ended it.
    pub code: i32,
    /// The signal that ended it.
    #[serde(default)]
    pub signal: Option<i32>,
    /// The kernel killed it for its memory limit.
    #[serde(default)]
    pub oom_killed: bool,
    /// Nanoseconds since the epoch.
    #[serde(default)]
    pub started_at_ns: u64,
    /// Nanoseconds since the epoch.
    pub finished_at_ns: u64,
    /// Why it could not start, or why the exit code is not known.
    #[serde(default)]
    pub message: Option<String>,
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerState {
    /// Prepared, not started.
    Created,
    /// Running.
    Running {
        /// Its first process, as the host counts.
        pid: i32,
        /// Nanoseconds since the epoch.
        started_at_ns: u64,
    },
    /// Ended.
    Exited(Exit),
}

/// A container and its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Which.
    pub id: ContainerId,
    /// The image's name as given.
    pub image: String,
    /// The state.
    pub state: ContainerState,
    /// Nanoseconds since the epoch.
    pub created_at_ns: u64,
    /// As given in its config.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// Whether the pod's shim lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxState {
    /// It answers.
    Ready,
    /// It is gone (the host was restarted, or it was killed): nothing of the pod runs, and only
    /// `remove_pod` makes sense.
    NotReady,
}

/// A pod as its shim, or its folder, shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodStatus {
    /// The sandbox as it was asked for.
    pub config: SandboxConfig,
    /// Whether it runs.
    pub state: SandboxState,
    /// Process id of the shim; 0 when gone.
    pub shim_pid: i32,
    /// Its containers, all attempts that were not removed.
    pub containers: Vec<ContainerStatus>,
}

/// What happens without being asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A container ended.
    Exited(ContainerId, Exit),
    /// The shim of a pod is gone though the pod was not removed.
    ShimLost(PodUid),
}

/// Use of a cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStats {
    /// CPU time since the start, in nanoseconds.
    pub cpu_ns: u64,
    /// Memory in use, page cache included, in bytes.
    pub memory_bytes: u64,
    /// Memory that cannot be reclaimed at once: use less inactive file pages.
    pub working_set_bytes: u64,
    /// Anonymous memory.
    pub rss_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// Use of a pod and each of its containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodStats {
    /// The whole pod.
    pub total: ContainerStats,
    /// By container.
    pub containers: Vec<(ContainerId, ContainerStats)>,
}
