// SPDX-License-Identifier: Apache-2.0
//! What only the node does for a pod that runs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use knarr_tests::cluster::{Cluster, LATER};
use knarr_tests::kubectl::Kubectl;
use knarr_tests::wait::until;

use crate::lines::Lines;
use crate::mounts::mounts_travel_as_they_are_told_to;
use crate::resize::resources_change_while_a_pod_runs;
use crate::restarts::one_container_may_start_all_again;

#[test]
fn nodes_look_after_pods_that_run() {
    let mut cluster = Cluster::start(1);
    let image = cluster.push_busybox();
    let kubectl = &cluster.kubectl.clone();
    mounts_travel_as_they_are_told_to(kubectl, &image, &cluster.folder().join("travel"));
    one_container_may_start_all_again(kubectl, &image);
    resources_change_while_a_pod_runs(kubectl, &image);
    nodes_tell_of_themselves(kubectl, &image);
    what_a_node_keeps_is_for_root_alone(&cluster.folder().join("node1"));
    a_server_ends_in_time_whatever_is_open(&mut cluster, &image);
}

fn what_a_node_keeps_is_for_root_alone(data: &Path) {
    for folder in ["", "pods", "objects", "runtime"] {
        let mode = fs::metadata(data.join(folder)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700, "{folder:?}: Secrets lie below it");
    }
}

fn a_server_ends_in_time_whatever_is_open(cluster: &mut Cluster, image: &str) {
    let kubectl = &cluster.kubectl;
    kubectl.run(&["run", "busy", "--image", image, "--command", "--", "sh", "-c", "echo up; exec sleep 3600"]);
    kubectl.run(&["wait", "--for=condition=Ready", "pod/busy", "--timeout=90s"]);
    let command = Lines::of(kubectl.command(&["exec", "busy", "--", "sh", "-c", "echo begun; exec sleep 3600"]));
    command.find("the command runs", |line| line == "begun");
    let log = Lines::of(kubectl.command(&["logs", "-f", "busy"]));
    log.find("the log is followed", |line| line == "up");
    let watch = Lines::of(kubectl.command(&["get", "pods", "--watch", "--no-headers"]));
    watch.find("the watch runs", |line| line.starts_with("busy "));
    assert!(cluster.server.terminate(Duration::from_secs(5)).success());
    assert_ne!(command.finish().0, Some(0), "who typed the command is told that it was cut off");
}

/// What clients ask of a kubelet behind the API.
fn nodes_tell_of_themselves(kubectl: &Kubectl, image: &str) {
    let ask = |path: &str| kubectl.try_run(&["get", "--raw", &format!("/api/v1/nodes/node1/proxy/{path}")], "");
    kubectl.run(&["run", "seen", "--image", image, "--command", "--", "sleep", "3600"]);
    kubectl.run(&["wait", "--for=condition=Ready", "pod/seen", "--timeout=90s"]);
    assert_eq!(ask("healthz").out, "ok");
    until("the figures of the container are there", LATER, || {
        let figures = ask("metrics/resource").out;
        let of_container = "{container=\"seen\",namespace=\"default\",pod=\"seen\"} ";
        let families = ["cpu_usage_seconds_total", "memory_working_set_bytes", "start_time_seconds"];
        let all = families.iter().all(|family| figures.contains(&format!("container_{family}{of_container}")));
        (all && figures.contains("node_memory_working_set_bytes "), figures)
    });
    let summary: serde_json::Value = serde_json::from_str(&ask("stats/summary").out).unwrap();
    assert_eq!(summary["pods"][0]["podRef"]["name"], "seen");
    let pods: serde_json::Value = serde_json::from_str(&ask("pods").out).unwrap();
    assert_eq!((&pods["kind"], &pods["items"][0]["metadata"]["name"]), (&"PodList".into(), &"seen".into()));
    let settings: serde_json::Value = serde_json::from_str(&ask("configz").out).unwrap();
    assert_eq!(settings["kubeletconfig"]["maxPods"], 110);
    assert!(ask("logs/").out.contains("<pre>"), "a list of files");
    let outside = ask("logs/..%2f..%2fetc/passwd");
    assert_ne!(outside.code, 0, "{outside:?}");
    kubectl.run(&["delete", "pod", "seen", "--now"]);
}
