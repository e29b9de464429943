// SPDX-License-Identifier: Apache-2.0
//! Resources that change while a pod runs.

use knarr_tests::cluster::LATER;
use knarr_tests::kubectl::Kubectl;

/// What a container may have, told by its group: microseconds of CPU in a tenth of a second, bytes.
const LIMITS: &str = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max; \
                      cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true";

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: grows}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: IMAGE
    command: [sleep, "3600"]
    resources: {requests: {cpu: 50m, memory: 16Mi}, limits: {cpu: 100m, memory: 32Mi}}
    resizePolicy: [{resourceName: memory, restartPolicy: NotRequired}]
  - name: again
    image: IMAGE
    command: [sh, -c, "trap 'exit 0' TERM; while true; do sleep 0.1; done"]
    resources: {requests: {cpu: 50m, memory: 16Mi}, limits: {cpu: 100m, memory: 32Mi}}
    resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]
"#;

pub fn resources_change_while_a_pod_runs(kubectl: &Kubectl, image: &str) {
    kubectl.apply(&POD.replace("IMAGE", image));
    kubectl.run(&["wait", "--for=condition=Ready", "pod/grows", "--timeout=90s"]);
    let limits = |container: &str| kubectl.run(&["exec", "grows", "-c", container, "--", "sh", "-c", LIMITS]);
    let resize = |container: &str, requests: &str, limits: &str| {
        let change = format!(
            r#"{{"spec":{{"containers":[{{"name":"{container}","resources":{{"requests":{requests},"limits":{limits}}}}}]}}}}"#
        );
        kubectl.run(&["patch", "pod", "grows", "--subresource", "resize", "--patch", &change]);
    };
    let of = |container: &str, path: &str| format!("{{.status.containerStatuses[?(@.name=='{container}')].{path}}}");
    let told = |container: &str, path: &str, want: &str| {
        kubectl.wait_for(&["pod", "grows"], &of(container, path), want, LATER)
    };
    assert_eq!(limits("c"), "10000\n33554432\n");

    resize("c", r#"{"cpu":"100m"}"#, r#"{"cpu":"200m","memory":"64Mi"}"#);
    told("c", "resources.limits.cpu", "200m");
    told("c", "resources.limits.memory", "64Mi");
    told("c", "allocatedResources.cpu", "100m");
    assert_eq!(limits("c"), "20000\n67108864\n", "more, in place");
    resize("c", r#"{"cpu":"50m"}"#, r#"{"cpu":"150m","memory":"48Mi"}"#);
    told("c", "resources.limits.memory", "48Mi");
    assert_eq!(limits("c"), "15000\n50331648\n", "and less");
    told("c", "restartCount", "0");

    resize("again", r#"{"memory":"32Mi"}"#, r#"{"memory":"64Mi"}"#);
    told("again", "restartCount", "1");
    told("again", "resources.limits.memory", "64Mi");
    kubectl.run(&["wait", "--for=condition=Ready", "pod/grows", "--timeout=90s"]);
    assert_eq!(limits("again"), "10000\n67108864\n", "by a restart, as it asked");
    told("c", "restartCount", "0");

    let pending = r#"{.status.conditions[?(@.type=="PodResizePending")]['reason','observedGeneration']}"#;
    resize("c", r#"{"cpu":"5000"}"#, r#"{"cpu":"5000"}"#);
    let generation = kubectl.json(&["pod", "grows"])["metadata"]["generation"].to_string();
    kubectl.wait_for(&["pod", "grows"], pending, &format!("Infeasible {generation}"), LATER);
    assert_eq!(limits("c"), "15000\n50331648\n");
    resize("c", r#"{"cpu":"50m"}"#, r#"{"cpu":"150m"}"#);
    kubectl.wait_for(&["pod", "grows"], pending, "", LATER);
    let progress = r#"{.status.conditions[?(@.type=="PodResizeInProgress")].status}"#;
    kubectl.wait_for(&["pod", "grows"], progress, "", LATER);
    let events = kubectl.run(&["get", "events", "-o", "jsonpath={.items[?(@.involvedObject.name=='grows')].reason}"]);
    for reason in ["ResizeStarted", "ResizeCompleted", "ResizeInfeasible"] {
        assert!(events.contains(reason), "{reason}: {events}");
    }
    kubectl.run(&["delete", "pod", "grows", "--wait"]);
}
