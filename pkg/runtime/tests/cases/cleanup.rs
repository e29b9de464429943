// SPDX-License-Identifier: Apache-2.0

//! A removed pod leaves nothing.

use knarr_runtime::oci::cleanup_all;
use knarr_runtime::{ContainerState, PodRuntime};

use crate::case;
use crate::support::{Case, Host};

pub const CASES: &[Case] = &[
    case!(a_removed_pod_leaves_no_process_mount_cgroup_or_file),
    case!(cleaning_up_takes_all_pods_without_an_agent),
    case!(stats_tell_what_runs),
];

fn cgroups_named(name: &str) -> Vec<std::path::PathBuf> {
    std::fs::read_dir("/sys/fs/cgroup")
        .unwrap()
        .flatten()
        .map(|hierarchy| hierarchy.path().join(name))
        .filter(|path| path.exists())
        .collect()
}

async fn a_removed_pod_leaves_no_process_mount_cgroup_or_file(host: Host) {
    let id = host.pod("p1", host.shell("sleep 1000 & sleep 1000 & wait")).await;
    let ContainerState::Running { pid, .. } = host.state(&id).await else { panic!("not running") };
    let shim = host.runtime.status(&id.pod).await.unwrap().shim_pid;
    let group = format!("{}/podp1", host.cgroup);
    assert!(!cgroups_named(&group).is_empty());
    host.runtime.remove_pod(&id.pod).await.unwrap();
    assert_eq!(cgroups_named(&group), Vec::<std::path::PathBuf>::new());
    for pid in [pid, shim] {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }
    assert!(!host.dir.join("pods/p1").exists());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(host.dir.to_str().unwrap()));
    host.runtime.remove_pod(&id.pod).await.unwrap();
}

async fn cleaning_up_takes_all_pods_without_an_agent(host: Host) {
    for uid in ["p1", "p2"] {
        host.pod(uid, host.shell("sleep 1000")).await;
    }
    let removed = cleanup_all(&host.dir.join("pods"), &host.cgroup).unwrap();
    assert_eq!(removed.len(), 3, "{removed:?}");
    assert_eq!(cgroups_named(&host.cgroup), Vec::<std::path::PathBuf>::new());
    assert_eq!(host.runtime.list().await.unwrap(), []);
}

async fn stats_tell_what_runs(host: Host) {
    let id = host.pod("p1", host.shell("while true; do :; done")).await;
    loop {
        let stats = host.runtime.stats(&id.pod).await.unwrap();
        let (found, used) = stats.containers[0].clone();
        assert_eq!(found, id);
        if used.cpu_ns > 20_000_000 && used.memory_bytes > 0 && used.pids == 1 {
            assert!(stats.total.cpu_ns >= used.cpu_ns);
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
