// SPDX-License-Identifier: Apache-2.0

//! The mounts of a container: the kernel's file systems first, then its own.

use std::path::Path;

use serde_json::{Value, json};

use crate::config::{ContainerConfig, Mount, MountKind, Propagation};

use super::Surroundings;

/// Where control groups are looked for.
const CGROUPS: &str = "/sys/fs/cgroup";

/// All mounts in the order in which they are made.
pub(super) fn all(config: &ContainerConfig, around: &Surroundings<'_>) -> Value {
    let mut list = kernel(config, around);
    let shm_is_mounted = config.mounts.iter().any(|m| m.destination.as_os_str() == "/dev/shm");
    if !shm_is_mounted {
        let options = ["bind", "rw", "nosuid", "nodev", "noexec"];
        list.push(entry("/dev/shm", "bind", &around.shm.to_string_lossy(), &options));
    }
    // Deeper paths come later, so that a mount never hides one below it.
    let mut own: Vec<&Mount> = config.mounts.iter().collect();
    own.sort_by_key(|m| m.destination.components().count());
    list.extend(own.into_iter().map(mount));
    Value::Array(list)
}

/// The root must let mounts through when a volume does; what each volume lets through is up to its source alone, whose
/// propagation a root that is shared, or a slave, leaves as it is.
pub(super) fn root_propagation(config: &ContainerConfig) -> &'static str {
    let has = |p: Propagation| config.mounts.iter().any(|m| m.propagation == p);
    if has(Propagation::Bidirectional) {
        "shared"
    } else if has(Propagation::HostToContainer) {
        "slave"
    } else {
        "private"
    }
}

fn kernel(config: &ContainerConfig, around: &Surroundings<'_>) -> Vec<Value> {
    let sys_mode = if config.privileged { "rw" } else { "ro" };
    let safe = ["nosuid", "noexec", "nodev"];
    let with = |more: &[&'static str]| [&safe[..], more].concat();
    // A terminal belongs to who runs at it.
    let owner = format!("uid={}", around.ids.uid);
    let mut list = vec![
        entry("/proc", "proc", "proc", &safe),
        entry("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        entry(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5", &owner],
        ),
        entry("/dev/mqueue", "mqueue", "mqueue", &safe),
        entry("/sys", "sysfs", "sysfs", &with(&[sys_mode])),
    ];
    if around.cgroup_v2 {
        list.push(entry(CGROUPS, "cgroup", "cgroup", &with(&["relatime", sys_mode])));
    } else if config.privileged {
        list.push(entry(CGROUPS, "bind", CGROUPS, &["rbind", "rw"]));
    } else {
        // Not libcontainer's mount for v1: that asks the host's `/proc` for a number of the container's processes.
        list.push(entry(CGROUPS, "tmpfs", "tmpfs", &with(&["mode=755", "size=64k"])));
        for folder in around.cgroup_folders {
            let name = folder.strip_prefix(CGROUPS).ok().and_then(|path| path.components().next());
            let Some(name) = name else { continue };
            let destination = Path::new(CGROUPS).join(name);
            let options = with(&["bind", "ro", "relatime"]);
            list.push(entry(&destination.to_string_lossy(), "bind", &folder.to_string_lossy(), &options));
        }
    }
    list
}

fn mount(mount: &Mount) -> Value {
    let destination = mount.destination.to_string_lossy();
    match &mount.kind {
        MountKind::Bind(source) => {
            let propagation = match mount.propagation {
                Propagation::None => "rprivate",
                Propagation::HostToContainer => "rslave",
                Propagation::Bidirectional => "rshared",
            };
            let mode = if mount.read_only { "ro" } else { "rw" };
            entry(&destination, "bind", &source.to_string_lossy(), &["rbind", propagation, mode])
        }
        MountKind::Tmpfs(size) => {
            let mut options = vec!["nosuid".to_owned(), "nodev".to_owned(), "mode=1777".to_owned()];
            options.extend(size.map(|bytes| format!("size={bytes}")));
            if mount.read_only {
                options.push("ro".to_owned());
            }
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            entry(&destination, "tmpfs", "tmpfs", &options)
        }
    }
}

fn entry(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": kind, "source": source, "options": options})
}
