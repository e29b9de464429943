// SPDX-License-Identifier: Apache-2.0

//! The trait of a pod runtime, with the OCI runtime behind it.
//!
//! The agent decides; this crate acts. A pod is one folder, one shim process and one cgroup, all
//! named after the pod's uid, so that everything is found again, and undone, by id alone. The
//! shim holds the pod: the agent may die and come back at any time.

mod cgroup;
mod config;
mod error;
pub mod oci;
mod protocol;
mod seccomp;
pub mod shim;
mod spec;
mod status;

pub use config::{
    Capabilities, ContainerConfig, ContainerId, Device, ExecConfig, Mount, MountKind, Namespaces, PodUid, Propagation,
    Resources, SandboxConfig, Seccomp, User,
};
pub use error::{Error, Result};
pub use status::{ContainerState, ContainerStats, ContainerStatus, Event, Exit, PodStats, PodStatus, SandboxState};

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use oci::stream::Session;

/// Runs pods: sandboxes, and containers in them.
///
/// All calls are idempotent as far as their names allow: what exists is not made twice, what is
/// gone is not an error to remove.
#[async_trait]
pub trait PodRuntime: Send + Sync {
    /// Makes the pod's sandbox, or adopts the one that runs.
    async fn run_pod_sandbox(&self, config: &SandboxConfig) -> Result<PodStatus>;

    /// What each run wrote into its root file system, in bytes on the host's disk.
    async fn written_bytes(&self, pod: &PodUid) -> Result<Vec<(ContainerId, u64)>>;

    /// Prepares a container: its root file system, its user, its specification. Nothing runs yet.
    async fn create_container(&self, id: &ContainerId, config: &ContainerConfig) -> Result<()>;

    /// Starts a created container and gives its process id on the host.
    async fn start_container(&self, id: &ContainerId) -> Result<i32>;

    /// Sends `signal` (the container's stop signal when `None`), waits up to `grace`, then kills;
    /// returns how the container ended.
    async fn stop_container(&self, id: &ContainerId, signal: Option<i32>, grace: Duration) -> Result<Exit>;

    /// Sends a signal to the container's first process.
    async fn signal(&self, id: &ContainerId, signal: i32) -> Result<()>;

    /// Kills what is left of a container and forgets it; its log files stay.
    async fn remove_container(&self, id: &ContainerId) -> Result<()>;

    /// What the pod's shim knows of it; [`Error::PodNotFound`] when nothing is there.
    async fn status(&self, pod: &PodUid) -> Result<PodStatus>;

    /// All pods that left a folder here, running or not: what a new agent adopts.
    async fn list(&self) -> Result<Vec<PodStatus>>;

    /// Runs one more process in a running container.
    async fn exec(&self, id: &ContainerId, config: &ExecConfig) -> Result<Session>;

    /// Joins the streams of a running container's first process; its input only with `stdin`. An input that is
    /// open `stdin_once` is the first session's alone and ends with it.
    async fn attach(&self, id: &ContainerId, stdin: bool) -> Result<Session>;

    /// Changes the limits and shares of the whole pod while it runs. What cannot be set does not keep the rest from it.
    async fn update_pod(&self, pod: &PodUid, resources: &Resources) -> Result<()>;

    /// The same of one container.
    async fn update_container(&self, id: &ContainerId, resources: &Resources) -> Result<()>;

    /// CPU, memory and processes of a pod and its containers.
    async fn stats(&self, pod: &PodUid) -> Result<PodStats>;

    /// Ends the pod: its processes, mounts, cgroups, namespaces and folder are gone after it.
    async fn remove_pod(&self, pod: &PodUid) -> Result<()>;

    /// Exits of containers and losses of shims from now on, of all pods. One receiver: the latest.
    fn events(&self) -> mpsc::UnboundedReceiver<Event>;
}
