// SPDX-License-Identifier: Apache-2.0
//! What controllers make of the cluster: dependents that go or stay, namespaces that end, nodes that fall silent.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use knarr_tests::cluster::{Cluster, LATER, SOON};
use knarr_tests::knarr::Process;
use knarr_tests::kubectl::Kubectl;
use knarr_tests::wait::{eventually, until};

#[test]
fn what_is_left_without_an_owner_a_namespace_or_a_node_is_dealt_with() {
    let mut cluster = Cluster::start(2);
    let image = cluster.push_busybox();
    let kubectl = cluster.kubectl.clone();
    dependents_go_or_stay(&kubectl, &image);
    pods_are_replaced_one_after_all_others(&kubectl, &image);
    old_templates_are_forgotten(&kubectl, &image);
    every_namespace_has_its_account_and_the_ca(&kubectl, cluster.folder());
    a_namespace_ends_with_all_that_is_in_it(&kubectl, &image);
    pods_leave_a_silent_node(&mut cluster, &kubectl, &image);
}

fn deployment(name: &str, image: &str, more: &str) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: {name}}}}}{more}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{{name: c, image: '{image}', command: [sleep, '3600']}}]
"
    )
}

fn names(kubectl: &Kubectl, kind: &str, app: &str) -> Vec<String> {
    let label = format!("app={app}");
    kubectl.run(&["get", kind, "-l", &label, "-o", "name"]).lines().map(str::to_owned).collect()
}

fn dependents_go_or_stay(kubectl: &Kubectl, image: &str) {
    kubectl.apply(&deployment("owned", image, ""));
    kubectl.run(&["rollout", "status", "deployment/owned", "--timeout=90s"]);
    let (sets, pods) = (names(kubectl, "rs", "owned"), names(kubectl, "pods", "owned"));
    kubectl.run(&["delete", "deployment", "owned", "--cascade=orphan"]);
    let owners = "jsonpath={.items[*].metadata.ownerReferences[*].kind}";
    assert_eq!(kubectl.run(&["get", "rs", "-l", "app=owned", "-o", owners]), "", "the set has lost its owner");
    assert_eq!((names(kubectl, "rs", "owned"), names(kubectl, "pods", "owned")), (sets.clone(), pods.clone()));
    kubectl.apply(&deployment("owned", image, ""));
    eventually("the set is adopted again", SOON, || {
        let found = kubectl.run(&["get", "rs", "-l", "app=owned", "-o", owners]);
        if found == "Deployment" { Ok(()) } else { Err(found) }
    });
    assert_eq!((names(kubectl, "rs", "owned"), names(kubectl, "pods", "owned")), (sets, pods), "nothing was replaced");
    kubectl.run(&["delete", "deployment", "owned", "--cascade=foreground", "--timeout=60s"]);
    assert!(names(kubectl, "rs", "owned").is_empty(), "its sets went first");
    kubectl.apply(&deployment("owned", image, ""));
    kubectl.run(&["delete", "deployment", "owned"]);
    until("its pods go behind it", LATER, || {
        let left = [names(kubectl, "rs", "owned"), names(kubectl, "pods", "owned")].concat();
        (left.is_empty(), left.join(" "))
    });
}

/// By Recreate: no new pod is there before the last old one has ended.
fn pods_are_replaced_one_after_all_others(kubectl: &Kubectl, image: &str) {
    let recreated = deployment("anew", image, "\n  strategy: {type: Recreate}");
    kubectl.apply(&recreated);
    kubectl.run(&["rollout", "status", "deployment/anew", "--timeout=90s"]);
    let old = names(kubectl, "pods", "anew");
    kubectl.apply(&recreated.replace("'3600'", "'3601'"));
    let phases = "jsonpath={range .items[*]}pod/{.metadata.name} {.status.phase}{\"\\n\"}{end}";
    until("the new pods are there", LATER, || {
        let found = kubectl.run(&["get", "pods", "-l", "app=anew", "-o", phases]);
        let (before, after): (Vec<_>, Vec<_>) =
            found.lines().partition(|line| old.iter().any(|name| line.starts_with(name.as_str())));
        let running = before.iter().any(|line| line.ends_with("Running"));
        assert!(after.is_empty() || !running, "an old pod runs beside a new one: {found}");
        (after.len() == 2 && before.is_empty(), found)
    });
    kubectl.run(&["rollout", "status", "deployment/anew", "--timeout=90s"]);
    kubectl.run(&["delete", "deployment", "anew"]);
}

/// Of those without pods as many stay as `revisionHistoryLimit` says, and lead back.
fn old_templates_are_forgotten(kubectl: &Kubectl, image: &str) {
    let empty = deployment("idle", image, "").replace("replicas: 2", "replicas: 0\n  revisionHistoryLimit: 2");
    let revisions = "jsonpath={.items[*].metadata.annotations.deployment\\.kubernetes\\.io/revision}";
    let sets = |want: &str| {
        until("the sets are as many as wanted", SOON, || {
            let found = kubectl.run(&["get", "rs", "-l", "app=idle", "-o", revisions]);
            let mut words: Vec<_> = found.split(' ').collect();
            words.sort_unstable();
            (words.join(" ") == want, found)
        });
    };
    for (seconds, want) in [(1, "1"), (2, "1 2"), (3, "1 2 3"), (4, "2 3 4")] {
        kubectl.apply(&empty.replace("'3600'", &format!("'{seconds}'")));
        sets(want);
    }
    kubectl.run(&["rollout", "undo", "deployment/idle", "--to-revision=2"]);
    sets("3 4 5");
    let command = "jsonpath={.spec.template.spec.containers[0].command[1]}";
    assert_eq!(kubectl.run(&["get", "deployment", "idle", "-o", command]), "2");
    kubectl.run(&["delete", "deployment", "idle"]);
}

fn every_namespace_has_its_account_and_the_ca(kubectl: &Kubectl, folder: &Path) {
    let ca = fs::read_to_string(folder.join("server/tls/ca.crt")).unwrap();
    kubectl.run(&["create", "namespace", "ending"]);
    let both_are_there = || {
        until("the account and the CA are there", SOON, || {
            let all = ["serviceaccount/default", "configmap/kube-root-ca.crt"];
            let path = "jsonpath={.items[0].metadata.name} {.items[1].data.ca\\.crt}";
            let found = kubectl.try_run(&[&["get", "-n", "ending", "-o", path], &all[..]].concat(), "");
            (found.out.trim() == format!("default {}", ca.trim()), format!("{found:?}"))
        });
    };
    both_are_there();
    let other = r#"{"data": {"ca.crt": "another"}}"#;
    kubectl.run(&["patch", "configmap", "kube-root-ca.crt", "-n", "ending", "--type=merge", "-p", other]);
    both_are_there();
    kubectl.run(&["delete", "serviceaccount/default", "configmap/kube-root-ca.crt", "-n", "ending"]);
    both_are_there();
}

fn a_namespace_ends_with_all_that_is_in_it(kubectl: &Kubectl, image: &str) {
    kubectl.run(&["create", "configmap", "one", "-n", "ending"]);
    kubectl.run_with(&["apply", "-n", "ending", "-f", "-"], &deployment("inside", image, ""));
    kubectl.run(&["rollout", "status", "deployment/inside", "-n", "ending", "--timeout=90s"]);
    kubectl.run(&["delete", "namespace", "ending", "--timeout=90s"]);
    let left = kubectl.run(&["get", "all,configmaps,serviceaccounts,endpointslices", "-A", "-o", "name"]);
    assert!(!left.contains("inside") && !left.contains("configmap/one"), "{left}");
    let refused = kubectl.try_run(&["create", "configmap", "late", "-n", "ending"], "");
    assert!(refused.err.contains("namespaces \"ending\" not found"), "{refused:?}");
}

fn pods_leave_a_silent_node(cluster: &mut Cluster, kubectl: &Kubectl, image: &str) {
    let patient = |name: &str, seconds: u32| {
        format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  nodeName: node2
  terminationGracePeriodSeconds: 1
  tolerations: [{{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: {seconds}}}]
  containers: [{{name: c, image: '{image}', command: [sleep, '3600']}}]
---
"
        )
    };
    kubectl.apply(&[patient("brief", 1), patient("steady", 3600)].concat());
    kubectl.run(&["wait", "--for=condition=Ready", "pod/brief", "pod/steady", "--timeout=90s"]);
    cluster.agents[1].kill();
    let silent = Instant::now();
    let ready = "{.status.conditions[?(@.type==\"Ready\")].status}";
    kubectl.wait_for(&["node", "node2"], ready, "Unknown", LATER);
    // 40 s after its last lease, which may have been 10 s old.
    assert!(silent.elapsed() > Duration::from_secs(20), "given up after {:?}", silent.elapsed());
    until("the node is tainted", SOON, || {
        let taints = kubectl.run(&["get", "node", "node2", "-o", "jsonpath={.spec.taints[*].key}"]);
        (taints.contains("node.kubernetes.io/unreachable"), taints)
    });
    until("the pod that waits no longer is told to go", LATER, || {
        let deleted = kubectl.run(&["get", "pod", "brief", "-o", "jsonpath={.metadata.deletionTimestamp}"]);
        (!deleted.is_empty(), deleted)
    });
    let steady = "jsonpath={.metadata.deletionTimestamp}{.status.conditions[?(@.type==\"Ready\")].status}";
    assert_eq!(kubectl.run(&["get", "pod", "steady", "-o", steady]), "False", "the other stays, and gets no traffic");
    Process::restart(&mut cluster.agents[1]);
    kubectl.wait_for(&["node", "node2"], ready, "True", LATER);
    kubectl.run(&["wait", "--for=delete", "pod/brief", "--timeout=60s"]);
    kubectl.run(&["wait", "--for=condition=Ready", "pod/steady", "--timeout=60s"]);
    let restarts = "jsonpath={.status.containerStatuses[0].restartCount}";
    assert_eq!(kubectl.run(&["get", "pod", "steady", "-o", restarts]), "0", "its container never noticed");
}
