// SPDX-License-Identifier: Apache-2.0
//! Where a node keeps what: one folder, nothing outside it but what the kernel holds.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use knarr_network::NodeId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::AgentError;

/// The data dir of one node.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The folder itself, absolute.
    pub root: PathBuf,
}

impl Layout {
    /// Takes the folder, made if missing, with an absolute path.
    ///
    /// # Errors
    /// When it cannot be made or read.
    pub fn open(root: &Path) -> Result<Self, AgentError> {
        make_dir(root)?;
        let root = root.canonicalize().map_err(AgentError::file("resolve", root))?;
        let layout = Self { root };
        make_dir(&layout.root.join("edge"))?;
        make_dir(&layout.pods())?;
        Ok(layout)
    }

    /// The node's id: what all that it makes on the host is named after.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        NodeId::of(&self.root.to_string_lossy())
    }

    /// Holds the data dir for this process, until the file is closed. The file says which process that is.
    ///
    /// # Errors
    /// [`AgentError::InUse`] when another process holds it.
    pub fn lock(&self) -> Result<File, AgentError> {
        let path = self.root.join("agent.lock");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(AgentError::file("open", &path))?;
        if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            // One that has just taken it may not have written its id yet.
            let _ = file.read_to_string(&mut holder);
            return Err(AgentError::InUse { data_dir: self.root.clone(), process: holder.trim().parse().ok() });
        }
        let write = file.set_len(0).and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
        write.map_err(AgentError::file("write", &path))?;
        Ok(file)
    }

    /// Key, certificate and CA of the node.
    #[must_use]
    pub fn identity(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    /// What the agent keeps of its pods, one folder a pod.
    #[must_use]
    pub fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// The folder of one pod.
    #[must_use]
    pub fn pod(&self, uid: &str) -> PathBuf {
        self.pods().join(uid)
    }

    /// The log files of one pod: `<container>/<run>.log`.
    #[must_use]
    pub fn logs(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("logs")
    }

    /// The image store.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// The runtime's folder.
    #[must_use]
    pub fn runtime(&self) -> PathBuf {
        self.root.join("runtime")
    }

    /// Where network namespaces of pods are mounted.
    #[must_use]
    pub fn netns(&self) -> PathBuf {
        self.root.join("netns")
    }

    /// The addresses given to pods.
    #[must_use]
    pub fn addresses(&self) -> PathBuf {
        self.root.join("addresses.json")
    }

    /// A file of the edge process.
    #[must_use]
    pub fn edge(&self, file: &str) -> PathBuf {
        self.root.join("edge").join(file)
    }
}

/// Makes a folder, and those above it, that only root may enter.
pub(crate) fn make_dir(path: &Path) -> Result<(), AgentError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(AgentError::file("make", path))
}

/// Puts a file of mode 0600 in place atomically.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    std::fs::rename(&fresh, path)
}

/// Writes a record as JSON, atomically.
pub(crate) fn write_record<T: Serialize>(path: &Path, value: &T) -> Result<(), AgentError> {
    if let Some(folder) = path.parent() {
        make_dir(folder)?;
    }
    let bytes = serde_json::to_vec(value).map_err(std::io::Error::other);
    bytes.and_then(|bytes| write_private(path, &bytes)).map_err(AgentError::file("write", path))
}

/// Reads a record; `None` when it is not there, or (said in the log) when it makes no sense.
pub(crate) fn read_record<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = std::fs::read(path).ok()?;
    serde_json::from_slice(&bytes)
        .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "a record cannot be read; it is ignored"))
        .ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn folders_are_for_root_alone() {
        let dir = tempfile::tempdir().unwrap();
        make_dir(&dir.path().join("node/pods")).unwrap();
        for folder in ["node", "node/pods"] {
            let mode = std::fs::metadata(dir.path().join(folder)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o700, "{folder}");
        }
    }
}
