// SPDX-License-Identifier: Apache-2.0
//! Undoing everything that the node of a data dir made on its host.
//!
//! What is found goes by the node's id alone, so other nodes on the host are not touched. Its
//! key, certificate and images stay: they are plain files, gone when the folder is deleted.

use std::path::{Path, PathBuf};

use knarr_network::{NodeId, cleanup};

use crate::layout::Layout;
use crate::{AgentError, volumes};

/// What [`down`] removed, and what it could not.
#[derive(Debug, Default)]
pub struct Report {
    /// One line a thing that is gone, such as `nftables table knarr_0123abcd`.
    pub removed: Vec<String>,
    /// One line a thing that is still there, with the reason; empty when nothing is left.
    pub left: Vec<String>,
}

impl Report {
    fn take(&mut self, what: &str, result: Result<Vec<String>, String>) {
        match result {
            Ok(lines) => self.removed.extend(lines),
            Err(error) => self.left.push(format!("{what}: {error}")),
        }
    }
}

/// Stops every pod of the node and removes its mounts, namespaces, cgroups, links, routes and
/// nftables tables, then looks again whether anything is left. Safe to repeat.
///
/// # Errors
/// When the data dir cannot be read, or its agent still runs ([`AgentError::StillRuns`]). What cannot be removed is in
/// [`Report::left`] instead.
pub fn down(data_dir: &Path) -> Result<Report, AgentError> {
    if !data_dir.exists() {
        return Ok(Report::default());
    }
    let layout = Layout::open(data_dir)?;
    let _lock = layout.lock().map_err(|error| match error {
        AgentError::InUse { data_dir, process } => AgentError::StillRuns { data_dir, process },
        other => other,
    })?;
    let id = layout.node_id();
    let mut report = Report::default();
    report.take("edge", stop_edge(&layout));
    report.take("pods", stop_pods(&layout, &id));
    report.take("network", remove_network(&layout, &id));
    report.take("mounts", unmount(&layout.root));
    report.take("files", remove_files(&layout));
    report.left.extend(what_is_left(&layout, &id));
    Ok(report)
}

fn stop_edge(layout: &Layout) -> Result<Vec<String>, String> {
    let control = layout.edge("control.sock");
    let stopped = block_on(async move { knarr_edge::supervise::stop(&control).await.map_err(|e| e.to_string()) })?;
    Ok(if stopped { vec!["process edge".to_owned()] } else { Vec::new() })
}

fn stop_pods(layout: &Layout, id: &NodeId) -> Result<Vec<String>, String> {
    knarr_runtime::oci::cleanup_all(&layout.runtime(), &cgroup(id)).map_err(|error| error.to_string())
}

fn remove_network(layout: &Layout, id: &NodeId) -> Result<Vec<String>, String> {
    let (id, netns) = (id.clone(), layout.netns());
    block_on(async move { cleanup::remove_all(&id, &netns).await.map_err(|error| error.to_string()) })
}

fn unmount(root: &Path) -> Result<Vec<String>, String> {
    let gone = volumes::unmount_below(root)?;
    Ok(gone.iter().map(|point| format!("mount {}", point.display())).collect())
}

/// Everything but the node's identity and its images.
fn remove_files(layout: &Layout) -> Result<Vec<String>, String> {
    let mut removed = Vec::new();
    let folders =
        [layout.pods(), layout.runtime(), layout.netns(), layout.root.join("edge"), layout.root.join("objects")];
    for folder in folders {
        match std::fs::remove_dir_all(&folder) {
            Ok(()) => removed.push(format!("folder {}", folder.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", folder.display())),
        }
    }
    for file in [layout.addresses(), layout.root.join("network.json")] {
        if std::fs::remove_file(&file).is_ok() {
            removed.push(format!("file {}", file.display()));
        }
    }
    Ok(removed)
}

/// A second look, with other eyes than those that removed.
fn what_is_left(layout: &Layout, id: &NodeId) -> Vec<String> {
    let mut left = Vec::new();
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    left.extend(points.filter(|p| p.starts_with(&layout.root)).map(|p| format!("mount {}", p.display())));
    let prefix = id.link_prefix();
    for link in names_in(Path::new("/sys/class/net")).into_iter().filter(|name| name.starts_with(&prefix)) {
        left.push(format!("link {link}"));
    }
    let hierarchies = names_in(Path::new("/sys/fs/cgroup"));
    let roots = hierarchies.iter().map(|name| Path::new("/sys/fs/cgroup").join(name));
    for path in roots.chain([PathBuf::from("/sys/fs/cgroup")]).map(|root| root.join(cgroup(id))) {
        if path.exists() {
            left.push(format!("cgroup {}", path.display()));
        }
    }
    left
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The cgroup of all pods of the node, as the runtime's options name it.
fn cgroup(id: &NodeId) -> String {
    format!("knarr-{id}")
}

/// Runs something asynchronous from anywhere, within another runtime or not.
fn block_on<T: Send + 'static>(task: impl Future<Output = Result<T, String>> + Send + 'static) -> Result<T, String> {
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(task)
    });
    thread.join().map_err(|_| "the clean-up thread ended badly".to_owned())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_never_was_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let report = down(&dir.path().join("absent")).unwrap();
        assert!(report.removed.is_empty() && report.left.is_empty());
    }

    #[test]
    fn a_running_agent_keeps_its_node() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::open(dir.path()).unwrap();
        let _lock = layout.lock().unwrap();
        let own = Some(std::process::id());
        assert!(matches!(down(dir.path()), Err(AgentError::StillRuns { process, .. }) if process == own));
    }
}
