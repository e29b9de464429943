// SPDX-License-Identifier: Apache-2.0
//! What only the node does for a pod that runs.

use knarr_tests::cluster::{Cluster, LATER};
use knarr_tests::kubectl::Kubectl;
use knarr_tests::wait::until;

use crate::mounts::mounts_travel_as_they_are_told_to;
use crate::resize::resources_change_while_a_pod_runs;
use crate::restarts::one_container_may_start_all_again;

#[test]
fn nodes_look_after_pods_that_run() {
    let cluster = Cluster::start(1);
    let image = cluster.push_busybox();
    let kubectl = &cluster.kubectl;
    mounts_travel_as_they_are_told_to(kubectl, &image, &cluster.folder().join("travel"));
    one_container_may_start_all_again(kubectl, &image);
    resources_change_while_a_pod_runs(kubectl, &image);
    nodes_tell_of_themselves(kubectl, &image);
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
