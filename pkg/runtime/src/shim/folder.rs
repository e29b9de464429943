// SPDX-License-Identifier: Apache-2.0

//! What lies where in a pod's folder, and how files there are written: whole or not at all.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::{ContainerConfig, ContainerId, PodUid, SandboxConfig};
use crate::status::{ContainerState, ContainerStatus, Exit};

/// `sandbox.json`: all that a shim needs to know at its start.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sandbox {
    /// As asked for.
    pub config: SandboxConfig,
    /// The pod's cgroup, relative to the hierarchies' roots.
    pub cgroup: String,
}

/// `container.json`: a container as asked for.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    /// Name in the pod.
    pub name: String,
    /// Which run.
    pub attempt: u32,
    /// Nanoseconds since the epoch.
    pub created_at_ns: u64,
    /// As asked for.
    pub config: ContainerConfig,
}

/// A pod's folder.
#[derive(Clone, Debug)]
pub struct PodDir(pub PathBuf);

impl PodDir {
    /// The sandbox's description.
    pub fn sandbox(&self) -> PathBuf {
        self.0.join("sandbox.json")
    }

    /// The shim's own messages.
    pub fn log(&self) -> PathBuf {
        self.0.join("shim.log")
    }

    /// The pod's shared memory.
    pub fn shm(&self) -> PathBuf {
        self.0.join("shm")
    }

    /// libcontainer's own state.
    pub fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    /// Folder of all runs of containers.
    pub fn containers(&self) -> PathBuf {
        self.0.join("containers")
    }

    /// Folder of one run.
    pub fn run(&self, run: &str) -> RunDir {
        RunDir(self.containers().join(run))
    }

    /// The runs that have a folder.
    pub fn runs(&self) -> Vec<RunDir> {
        let Ok(entries) = fs::read_dir(self.containers()) else { return Vec::new() };
        let mut runs: Vec<RunDir> = entries.flatten().map(|e| RunDir(e.path())).collect();
        runs.sort_by(|a, b| a.0.cmp(&b.0));
        runs
    }
}

/// The folder of one run of a container.
#[derive(Clone, Debug)]
pub struct RunDir(pub PathBuf);

impl RunDir {
    /// The container's description.
    pub fn record(&self) -> PathBuf {
        self.0.join("container.json")
    }

    /// The OCI specification.
    pub fn spec(&self) -> PathBuf {
        self.0.join("config.json")
    }

    /// Where its root file system is mounted, in the shim's mount namespace.
    pub fn rootfs(&self) -> PathBuf {
        self.0.join("rootfs")
    }

    /// What it writes into its root file system.
    pub fn upper(&self) -> PathBuf {
        self.0.join("upper")
    }

    /// How it ended.
    pub fn exit(&self) -> PathBuf {
        self.0.join("exit.json")
    }

    /// The status that the files tell when no shim can be asked.
    pub fn status_without_shim(&self, pod: &PodUid) -> Option<ContainerStatus> {
        let record: Record = read_json(&self.record()).ok()?;
        let exit = read_json(&self.exit()).unwrap_or_else(|_| Exit {
            code: 137,
            signal: None,
            oom_killed: false,
            started_at_ns: 0,
            finished_at_ns: 0,
            message: Some("the container could not be located when the pod's shim was gone".to_owned()),
        });
        Some(ContainerStatus {
            id: ContainerId::new(pod.clone(), record.name, record.attempt),
            image: record.config.image,
            state: ContainerState::Exited(exit),
            created_at_ns: record.created_at_ns,
            annotations: record.config.annotations,
        })
    }
}

/// Writes a file that only root reads, whole or not at all.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    fs::rename(&temporary, path)
}

/// Reads a file back.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}
