// SPDX-License-Identifier: Apache-2.0

//! The agent's death ends no container.

use knarr_runtime::{ContainerState, Event, PodRuntime, SandboxState};

use crate::case;
use crate::support::{Case, Host, exit_event};

pub const CASES: &[Case] = &[
    case!(a_new_agent_finds_pods_as_they_are),
    case!(a_pod_whose_shim_died_is_told_and_can_be_removed),
    case!(the_shim_is_small_and_on_its_own),
];

async fn a_new_agent_finds_pods_as_they_are(host: Host) {
    let id = host.pod("p1", host.shell("while [ ! -e /go ]; do sleep 0.05; done; exit 11")).await;
    let before = host.state(&id).await;
    let adopted = host.another_runtime();
    let pods = adopted.list().await.unwrap();
    assert_eq!(pods.len(), 1);
    assert_eq!(pods[0].config, host.sandbox("p1"));
    assert_eq!(pods[0].state, SandboxState::Ready);
    assert_eq!(pods[0].containers[0].state, before, "same process, same start");
    let mut events = adopted.events();
    assert_eq!(host.exec(&id, "touch /go").await.2, 0);
    assert_eq!(exit_event(&mut events, &id).await.code, 11);
    let again = adopted.run_pod_sandbox(&host.sandbox("p1")).await.unwrap();
    assert_eq!(again.shim_pid, pods[0].shim_pid, "what runs is not made twice");
}

async fn a_pod_whose_shim_died_is_told_and_can_be_removed(host: Host) {
    let mut events = host.runtime.events();
    let id = host.pod("p1", host.shell("sleep 1000")).await;
    let ContainerState::Running { pid, .. } = host.state(&id).await else { panic!("not running") };
    let shim = host.runtime.status(&id.pod).await.unwrap().shim_pid;
    let shim = rustix::process::Pid::from_raw(shim).unwrap();
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
    assert_eq!(events.recv().await, Some(Event::ShimLost(id.pod.clone())));
    let status = host.runtime.status(&id.pod).await.unwrap();
    assert_eq!(status.state, SandboxState::NotReady);
    assert!(matches!(status.containers[0].state, ContainerState::Exited(_)));
    let again = host.pod("p1", host.shell("sleep 1000")).await;
    assert!(matches!(host.state(&again).await, ContainerState::Running { .. }), "a new shim begins anew");
    host.runtime.remove_pod(&id.pod).await.unwrap();
    let left = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(left.is_empty() || left.contains(") Z "), "{left}");
}

async fn the_shim_is_small_and_on_its_own(host: Host) {
    let id = host.pod("p1", host.shell("sleep 1000")).await;
    assert_eq!(host.exec(&id, "echo x").await.2, 0);
    let shim = host.runtime.status(&id.pod).await.unwrap().shim_pid;
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{shim}/{file}")).unwrap();
    let status = read("status");
    assert!(status.contains("Threads:\t1\n"), "{status}");
    let session = read("stat").rsplit_once(')').unwrap().1.split(' ').nth(4).unwrap().to_owned();
    assert_eq!(session, shim.to_string(), "its own session");
    for line in read("cgroup").lines() {
        assert!(line.ends_with(&format!("/{}/podp1/shim", host.cgroup)), "{line}");
    }
    let private_kib: u64 = read("smaps_rollup")
        .lines()
        .filter(|line| line.starts_with("Private_"))
        .map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap())
        .sum();
    println!("  private memory of a shim: {private_kib} KiB");
    // The limit of 3 MiB is for release builds; this one holds debug code.
    assert!(private_kib < 6 << 10, "{private_kib} KiB");
}
