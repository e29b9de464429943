// SPDX-License-Identifier: Apache-2.0

//! Devices of the host for containers that ask for them, or that are privileged.

use std::fs;
use std::path::Path;

use rustix::fs::FileType;

use crate::cgroup::devices::{Rule, access, of_every_container};
use crate::config::ContainerConfig;
use crate::spec::DeviceNode;

/// Folders of `/dev` that every container has of its own.
const OWN: [&str; 5] = ["pts", "shm", "mqueue", "fd", "console"];

/// The nodes to make in the container.
pub fn nodes(config: &ContainerConfig) -> Result<Vec<DeviceNode>, String> {
    let mut nodes = Vec::new();
    if config.privileged {
        collect(Path::new("/dev"), &mut nodes, 0);
    }
    for device in &config.devices {
        let host = &device.host;
        let stat = rustix::fs::stat(host).map_err(|e| format!("cannot use the device {}: {e}", host.display()))?;
        let path = device.container.to_string_lossy().into_owned();
        let node = node(path, &stat, &device.access).ok_or_else(|| format!("{} is no device", host.display()))?;
        nodes.push(node);
    }
    Ok(nodes)
}

/// What the container may do with devices; `None` for a privileged one, which may all.
pub fn rules(config: &ContainerConfig, nodes: &[DeviceNode]) -> Option<Vec<Rule>> {
    let rule = |node: &DeviceNode| Rule {
        block: node.kind == 'b',
        major: Some(node.major),
        minor: Some(node.minor),
        access: access(&node.access),
    };
    (!config.privileged).then(|| of_every_container().into_iter().chain(nodes.iter().map(rule)).collect())
}

fn collect(dir: &Path, nodes: &mut Vec<DeviceNode>, depth: u32) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if depth == 0 && OWN.iter().any(|own| entry.file_name() == *own) {
            continue;
        }
        let Ok(stat) = rustix::fs::lstat(&path) else { continue };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory && depth < 4 {
            collect(&path, nodes, depth + 1);
        }
        nodes.extend(node(path.to_string_lossy().into_owned(), &stat, "rwm"));
    }
}

fn node(path: String, stat: &rustix::fs::Stat, access: &str) -> Option<DeviceNode> {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        _ => return None,
    };
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    let mode = stat.st_mode & 0o7777;
    Some(DeviceNode { path, kind, major, minor, access: access.to_owned(), mode })
}
