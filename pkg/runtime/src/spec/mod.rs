// SPDX-License-Identifier: Apache-2.0

//! The OCI specification of a container, built from its config: pure, data in and data out.
//!
//! It is built as the JSON that lies in the container's folder, so that nothing is in it that was
//! not put there: libcontainer reads it back for the start and for every `exec`.

pub mod capabilities;
mod mounts;
pub mod users;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::config::Seccomp;
use crate::config::{ContainerConfig, ExecConfig, SandboxConfig};

pub use users::Ids;

/// Where commands are looked for when the image says nothing.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Kernel files that show or change more than a container should see.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Kernel files that a container may read only.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the specification is made from beside the config.
pub struct Surroundings<'a> {
    /// The pod.
    pub sandbox: &'a SandboxConfig,
    /// Who runs, resolved.
    pub ids: &'a Ids,
    /// The mounted root file system.
    pub rootfs: &'a Path,
    /// The container's cgroup, relative to the hierarchies' roots.
    pub cgroup: &'a str,
    /// The pod's shared memory.
    pub shm: &'a Path,
    /// A process of the process id namespace that the container joins: the pod's shared one, or that
    /// of another container.
    pub first_pid: Option<i32>,
    /// Devices of the host for a privileged container, and those asked for: (path in the
    /// container, `c` or `b`, major, minor, access).
    pub devices: &'a [DeviceNode],
    /// Capabilities that can be given.
    pub held: &'a [&'static str],
    /// The same in each hierarchy, as the host sees it.
    pub cgroup_folders: &'a [PathBuf],
    /// Whether the host has only cgroup v2.
    pub cgroup_v2: bool,
}

/// A device as `mknod` wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNode {
    /// Path in the container.
    pub path: String,
    /// `c` or `b`.
    pub kind: char,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Of `r`, `w` and `m`.
    pub access: String,
    /// Permission bits.
    pub mode: u32,
}

/// The specification.
pub fn build(config: &ContainerConfig, around: &Surroundings<'_>) -> Value {
    let masked: &[&str] = if config.privileged || config.unmasked_proc { &[] } else { &MASKED };
    let read_only: &[&str] = if config.privileged || config.unmasked_proc { &[] } else { &READ_ONLY };
    json!({
        "ociVersion": "1.2.0",
        "root": {"path": around.rootfs, "readonly": config.read_only_root},
        "process": process(config, around),
        "mounts": mounts::all(config, around),
        "linux": {
            "namespaces": namespaces(around),
            "cgroupsPath": format!("/{}", around.cgroup),
            "resources": {"devices": device_rules(config, around.devices)},
            "devices": around.devices.iter().map(device).collect::<Vec<_>>(),
            "maskedPaths": masked,
            "readonlyPaths": read_only,
            "rootfsPropagation": mounts::root_propagation(config),
        },
    })
}

/// The process of the container itself.
fn process(config: &ContainerConfig, around: &Surroundings<'_>) -> Value {
    let ids = around.ids;
    let cwd = if config.cwd.as_os_str().is_empty() { Path::new("/") } else { &config.cwd };
    let launch = launch_capabilities(config, around.held);
    let mut process = json!({
        "terminal": config.tty,
        "user": {"uid": ids.uid, "gid": ids.gid, "additionalGids": ids.groups},
        "args": config.args,
        "env": environment(config, around.sandbox),
        "cwd": cwd,
        "capabilities": {
            "bounding": launch, "effective": launch, "permitted": launch,
            "inheritable": [], "ambient": [],
        },
        "rlimits": [],
    });
    if config.no_new_privileges {
        process["noNewPrivileges"] = Value::Bool(true); // libcontainer takes false for true
    }
    if let Some(adjustment) = config.oom_score_adj {
        process["oomScoreAdj"] = json!(adjustment);
    }
    process
}

/// The process of an `exec`: the container's, with other arguments.
pub fn exec_process(spec: &Value, exec: &ExecConfig) -> Value {
    let mut process = spec["process"].clone();
    process["args"] = json!(exec.args);
    process["terminal"] = json!(exec.tty);
    if exec.tty
        && let Some(env) = process["env"].as_array_mut()
        && !env.iter().any(|e| e.as_str().is_some_and(|e| e.starts_with("TERM=")))
    {
        env.push(json!("TERM=xterm"));
    }
    process
}

/// The capabilities at the time of launch, with names as OCI has them. Installing a filter of
/// system calls without `no_new_privileges` takes SYS_ADMIN, so the launcher gets it, and SETPCAP
/// to give both up again before the container's program runs.
fn launch_capabilities(config: &ContainerConfig, held: &[&'static str]) -> Vec<String> {
    let mut names = capabilities::granted(config, held);
    if needs_power_to_filter(config) {
        for name in ["SETPCAP", "SYS_ADMIN"] {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names.iter().map(|name| format!("CAP_{name}")).collect()
}

/// Whether the launcher installs a filter by its capability rather than by `no_new_privileges`.
pub fn needs_power_to_filter(config: &ContainerConfig) -> bool {
    !config.privileged && !config.no_new_privileges && config.seccomp != Seccomp::Unconfined
}

fn environment(config: &ContainerConfig, sandbox: &SandboxConfig) -> Vec<String> {
    let has = |name: &str| config.env.iter().any(|e| e.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')));
    let mut env = Vec::with_capacity(config.env.len() + 3);
    if !has("PATH") {
        env.push(format!("PATH={DEFAULT_PATH}"));
    }
    if !has("HOSTNAME") && !sandbox.hostname.is_empty() {
        env.push(format!("HOSTNAME={}", sandbox.hostname));
    }
    if config.tty && !has("TERM") {
        env.push("TERM=xterm".to_owned());
    }
    env.extend(config.env.iter().cloned());
    env
}

/// Network, host name and shared memory are the shim's own, which libcontainer inherits.
fn namespaces(around: &Surroundings<'_>) -> Value {
    let mut list = vec![json!({"type": "mount"})];
    let shared = &around.sandbox.namespaces;
    match around.first_pid {
        Some(pid) => list.push(json!({"type": "pid", "path": format!("/proc/{pid}/ns/pid")})),
        None if shared.host_pid => {}
        None => list.push(json!({"type": "pid"})),
    }
    if around.cgroup_v2 {
        list.push(json!({"type": "cgroup"}));
    }
    Value::Array(list)
}

fn device_rules(config: &ContainerConfig, devices: &[DeviceNode]) -> Value {
    if config.privileged {
        return json!([{"allow": true, "type": "a", "access": "rwm"}]);
    }
    let mut rules = vec![json!({"allow": false, "type": "a", "access": "rwm"})];
    rules.extend(devices.iter().map(|d| {
        json!({"allow": true, "type": d.kind.to_string(), "major": d.major, "minor": d.minor,
               "access": d.access})
    }));
    Value::Array(rules)
}

fn device(d: &DeviceNode) -> Value {
    json!({"path": d.path, "type": d.kind.to_string(), "major": d.major, "minor": d.minor,
           "fileMode": d.mode, "uid": 0, "gid": 0})
}
