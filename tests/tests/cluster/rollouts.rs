// SPDX-License-Identifier: Apache-2.0
//! Rollouts of DaemonSets and StatefulSets with `knarr ctl` beside kubectl, on a server without controllers: what they
//! would write is written here.

use knarr_tests::cluster::Bare;
use knarr_tests::kubectl::Kubectl;
use serde_json::json;

use crate::beside::Both;

const SETS: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agents}
spec:
  selector: {matchLabels: {app: agents}}
  template: {metadata: {labels: {app: agents}}, spec: {containers: [{name: c, image: 'nginx:2'}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: base}
spec:
  replicas: 3
  serviceName: base
  selector: {matchLabels: {app: base}}
  template: {metadata: {labels: {app: base}}, spec: {containers: [{name: c, image: 'nginx:2'}]}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: by-hand}
spec:
  updateStrategy: {type: OnDelete}
  selector: {matchLabels: {app: by-hand}}
  template: {metadata: {labels: {app: by-hand}}, spec: {containers: [{name: c, image: 'nginx:2'}]}}
";

/// Typed to one after the other.
const SAME: [&str; 13] = [
    "rollout status ds/agents --watch=false",
    "rollout status sts base --watch=false",
    "rollout status ds/by-hand --watch=false",
    "rollout status svc/kubernetes --watch=false",
    "rollout restart svc/kubernetes",
    "rollout pause svc/kubernetes",
    "rollout history ds/agents",
    "rollout history statefulset base",
    "rollout history ds/by-hand",
    "rollout undo ds/agents --to-revision=9",
    "rollout restart ds/agents",
    "rollout pause sts/base",
    "rollout resume ds/agents",
];

#[test]
fn sets_are_rolled_out_and_back_as_with_kubectl() {
    let bare = Bare::start(&[]);
    let kubectl = &bare.kubectl;
    kubectl.apply(SETS);
    remember(kubectl, "daemonset", "DaemonSet", "agents");
    remember(kubectl, "statefulset", "StatefulSet", "base");
    let both = Both::new(kubectl.clone(), &bare.host, bare.folder.path());
    let mut differences: Vec<String> = SAME.iter().filter_map(|words| both.difference(words, "", "")).collect();
    for status in [
        json!({"observedGeneration": 9, "desiredNumberScheduled": 3, "updatedNumberScheduled": 1}),
        json!({"observedGeneration": 9, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 2}),
        json!({"observedGeneration": 9, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3}),
    ] {
        set_status(kubectl, "daemonset/agents", &status);
        differences.extend(both.difference("rollout status ds/agents --watch=false", "", ""));
    }
    for status in [
        json!({"replicas": 3, "observedGeneration": 9, "readyReplicas": 1}),
        json!({"replicas": 3, "observedGeneration": 9, "readyReplicas": 3, "currentReplicas": 2, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b"}),
        json!({"replicas": 3, "observedGeneration": 9, "readyReplicas": 3, "currentReplicas": 3, "updatedReplicas": 3, "currentRevision": "b", "updateRevision": "b"}),
    ] {
        set_status(kubectl, "statefulset/base", &status);
        differences.extend(both.difference("rollout status sts/base --watch=false", "", ""));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));

    let undone = both.ctl(&["rollout", "undo", "statefulset/base"], "");
    assert_eq!(undone.out, "statefulset.apps/base rolled back\n", "{undone:?}");
    let image = "jsonpath={.spec.template.spec.containers[0].image}";
    assert_eq!(kubectl.run(&["get", "sts", "base", "-o", image]), "nginx:1");
}

fn set_status(kubectl: &Kubectl, object: &str, status: &serde_json::Value) {
    let patch = json!({"status": status}).to_string();
    kubectl.run(&["patch", object, "--subresource=status", "--type=merge", "-p", &patch]);
}

/// Two revisions of a set, as its controller keeps them: of another image, and of the present one.
fn remember(kubectl: &Kubectl, resource: &str, kind: &str, name: &str) {
    let uid = kubectl.run(&["get", resource, name, "-o", "jsonpath={.metadata.uid}"]);
    for (revision, cause) in [(1, "first"), (2, "second")] {
        let containers = json!([{"name": "c", "image": format!("nginx:{revision}"), "imagePullPolicy": "IfNotPresent",
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "resources": {}}]);
        let spec = json!({"containers": containers, "restartPolicy": "Always", "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst", "securityContext": {}, "schedulerName": "default-scheduler"});
        let template = json!({"$patch": "replace", "metadata": {"labels": {"app": name}}, "spec": spec});
        let object = json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": revision,
            "metadata": {"name": format!("{name}-{revision}"), "labels": {"app": name},
                "annotations": {"kubernetes.io/change-cause": cause},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true}]},
            "data": {"spec": {"template": template}},
        });
        kubectl.run_with(&["create", "-f", "-"], &object.to_string());
    }
}
