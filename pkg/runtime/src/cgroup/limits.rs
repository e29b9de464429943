// SPDX-License-Identifier: Apache-2.0

//! Limits as files and values, for v1 and v2.

use std::fs;
use std::io;
use std::path::Path;

use crate::config::Resources;

/// Length of a CPU period in microseconds when none is asked for.
const CPU_PERIOD_US: u64 = 100_000;

/// (controller, file, value) for v1.
pub(super) fn v1(resources: &Resources) -> Vec<(&'static str, &'static str, String)> {
    let mut files = Vec::new();
    if let Some(shares) = resources.cpu_shares {
        files.push(("cpu", "cpu.shares", shares.to_string()));
    }
    if let Some(quota) = resources.cpu_quota_us {
        let period = resources.cpu_period_us.unwrap_or(CPU_PERIOD_US);
        files.push(("cpu", "cpu.cfs_period_us", period.to_string()));
        files.push(("cpu", "cpu.cfs_quota_us", quota.to_string()));
    }
    if let Some(bytes) = resources.memory_bytes {
        files.push(("memory", "memory.limit_in_bytes", bytes.to_string()));
    }
    if let Some(pids) = resources.pids {
        files.push(("pids", "pids.max", or_max(pids)));
    }
    files
}

/// (controller, file, value) for v2.
pub(super) fn v2(resources: &Resources) -> Vec<(&'static str, &'static str, String)> {
    let mut files = Vec::new();
    if let Some(shares) = resources.cpu_shares {
        files.push(("cpu", "cpu.weight", weight(shares).to_string()));
    }
    if let Some(quota) = resources.cpu_quota_us {
        let period = resources.cpu_period_us.unwrap_or(CPU_PERIOD_US);
        files.push(("cpu", "cpu.max", format!("{} {period}", or_max(quota))));
    }
    if let Some(bytes) = resources.memory_bytes {
        files.push(("memory", "memory.max", or_max(bytes)));
    }
    if let Some(pids) = resources.pids {
        files.push(("pids", "pids.max", or_max(pids)));
    }
    files
}

fn or_max(value: i64) -> String {
    if value <= 0 { "max".to_owned() } else { value.to_string() }
}

/// v1 shares (2 to 262,144) as a v2 weight (1 to 10,000), by the kernel documentation's line.
pub(super) fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

/// Where the processes of a container go whose own group is to have groups with limits.
const OWN_GROUP: &str = "init";

/// Lets the groups below `dir` use the controllers that limits need (v2). The group that a container sees as its root
/// is an ordinary one, and has processes or groups with limits, not both: its processes move.
pub(super) fn enable_controllers(dir: &Path) -> io::Result<()> {
    let there = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    let control = dir.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&control).unwrap_or_default();
    let has = |text: &str, name: &str| text.split_whitespace().any(|c| c == name);
    for controller in ["cpu", "cpuset", "memory", "pids", "io"] {
        if has(&there, controller) && !has(&enabled, controller) {
            let enable = || fs::write(&control, format!("+{controller}"));
            match enable() {
                Err(e) if e.kind() == io::ErrorKind::ResourceBusy => move_processes(dir).and_then(|()| enable())?,
                other => other?,
            }
        }
    }
    Ok(())
}

fn move_processes(dir: &Path) -> io::Result<()> {
    let own = dir.join(OWN_GROUP);
    fs::create_dir_all(&own)?;
    for pid in fs::read_to_string(dir.join("cgroup.procs"))?.lines() {
        match fs::write(own.join("cgroup.procs"), pid) {
            // It ended meanwhile.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
            other => other?,
        }
    }
    Ok(())
}

/// A new v1 cpuset holds no processor and takes no process before it has some.
pub(super) fn inherit_cpuset(dir: &Path) -> io::Result<()> {
    let Some(parent) = dir.parent() else { return Ok(()) };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if fs::read_to_string(dir.join(file))?.trim().is_empty() {
            fs::write(dir.join(file), fs::read(parent.join(file))?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights_at_both_ends_and_between() {
        for (shares, want) in [(0, 1), (2, 1), (1024, 39), (262_144, 10_000), (1 << 40, 10_000)] {
            assert_eq!(weight(shares), want, "{shares}");
        }
    }

    #[test]
    fn limits_become_files() {
        let resources = Resources {
            cpu_shares: Some(512),
            cpu_quota_us: Some(50_000),
            memory_bytes: Some(1 << 20),
            pids: Some(10),
            ..Resources::default()
        };
        let flat = |files: Vec<(&str, &str, String)>| {
            files.iter().map(|(_, f, v)| format!("{f}={v}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            flat(v1(&resources)),
            "cpu.shares=512 cpu.cfs_period_us=100000 cpu.cfs_quota_us=50000 \
             memory.limit_in_bytes=1048576 pids.max=10"
        );
        assert_eq!(flat(v2(&resources)), "cpu.weight=20 cpu.max=50000 100000 memory.max=1048576 pids.max=10");
    }
}
