// SPDX-License-Identifier: Apache-2.0
//! What goes with its owner, what stays while it is used, and what keeps a number of pods without a Deployment.

use knarr_tests::cluster::{Cluster, LATER, SOON};
use knarr_tests::kubectl::Kubectl;
use knarr_tests::wait::until;

#[test]
fn objects_go_with_owners_of_any_kind_and_stay_while_they_are_used() {
    let cluster = Cluster::start(1);
    let image = cluster.push_busybox();
    let kubectl = &cluster.kubectl;
    a_replication_controller_keeps_its_pods(kubectl, &image);
    owners_in_a_circle_go(kubectl);
    objects_go_with_a_custom_owner(kubectl);
    a_namespace_ends_pods_first(kubectl, &image);
    claims_stay_while_a_pod_has_them(kubectl, &image);
}

fn gone(kubectl: &Kubectl, arguments: &[&str]) {
    until("it goes", LATER, || {
        let left = kubectl.run(&[&["get"], arguments, &["--ignore-not-found", "-o", "name"]].concat());
        (left.is_empty(), left)
    });
}

fn a_replication_controller_keeps_its_pods(kubectl: &Kubectl, image: &str) {
    kubectl.apply(&format!(
        "
apiVersion: v1
kind: ReplicationController
metadata: {{name: crew}}
spec:
  replicas: 2
  template:
    metadata: {{labels: {{app: crew}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{{name: c, image: '{image}', command: [sleep, '3600']}}]
"
    ));
    kubectl.wait_for(&["rc", "crew"], "{.status.readyReplicas}", "2", LATER);
    let names = kubectl.run(&["get", "pods", "-l", "app=crew", "-o", "jsonpath={.items[*].metadata.name}"]);
    let first = names.split(' ').next().unwrap();
    kubectl.run(&["label", "pod", first, "app=free", "--overwrite"]);
    let owner = "{.metadata.ownerReferences[*].kind}";
    kubectl.wait_for(&["pod", first], owner, "", SOON);
    kubectl.wait_for(&["rc", "crew"], "{.status.readyReplicas}", "2", LATER);
    kubectl.run(&["label", "pod", first, "app=crew", "--overwrite"]);
    kubectl.wait_for(&["pod", first], owner, "ReplicationController", SOON);
    kubectl.run(&["delete", "rc", "crew"]);
    gone(kubectl, &["pods", "-l", "app=crew"]);
}

fn owned_by(kind: &str, api_version: &str, name: &str, uid: &str) -> String {
    format!(
        "{{\"metadata\": {{\"ownerReferences\": [{{\"apiVersion\": \"{api_version}\", \"kind\": \"{kind}\", \"name\": \"{name}\", \
         \"uid\": \"{uid}\", \"blockOwnerDeletion\": true}}]}}}}"
    )
}

fn uid(kubectl: &Kubectl, kind: &str, name: &str) -> String {
    kubectl.run(&["get", kind, name, "-o", "jsonpath={.metadata.uid}"])
}

fn owners_in_a_circle_go(kubectl: &Kubectl) {
    let ring = ["one", "two", "three"];
    for name in ring {
        kubectl.run(&["create", "configmap", name, "--from-literal=ring=yes"]);
        kubectl.run(&["label", "configmap", name, "ring=yes"]);
    }
    for (index, name) in ring.iter().enumerate() {
        let owner = ring[(index + 2) % 3];
        let patch = owned_by("ConfigMap", "v1", owner, &uid(kubectl, "configmap", owner));
        kubectl.run(&["patch", "configmap", name, "--type=merge", "-p", &patch]);
    }
    kubectl.run(&["delete", "configmap", "one", "--cascade=foreground", "--wait=false"]);
    gone(kubectl, &["configmaps", "-l", "ring=yes"]);
}

const SHIPS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ships.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: ships, singular: ship, kind: Ship, listKind: ShipList}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
";

fn objects_go_with_a_custom_owner(kubectl: &Kubectl) {
    kubectl.apply(SHIPS);
    kubectl.run(&["wait", "--for=condition=Established", "crd/ships.example.com", "--timeout=30s"]);
    kubectl.apply("---\n{apiVersion: example.com/v1, kind: Ship, metadata: {name: cog}}");
    kubectl.run(&["create", "configmap", "cargo"]);
    let patch = owned_by("Ship", "example.com/v1", "cog", &uid(kubectl, "ship", "cog"));
    kubectl.run(&["patch", "configmap", "cargo", "--type=merge", "-p", &patch]);
    kubectl.run(&["delete", "ship", "cog"]);
    gone(kubectl, &["configmap", "cargo"]);

    kubectl.run(&["create", "namespace", "harbour"]);
    kubectl.apply("---\n{apiVersion: example.com/v1, kind: Ship, metadata: {name: hulk, namespace: harbour}}");
    kubectl.run(&["delete", "namespace", "harbour", "--timeout=90s"]);
    assert_eq!(kubectl.run(&["get", "ships", "-A", "-o", "name"]), "", "custom objects end with their namespace");
    kubectl.run(&["delete", "crd", "ships.example.com", "--timeout=60s"]);
}

fn a_namespace_ends_pods_first(kubectl: &Kubectl, image: &str) {
    kubectl.run(&["create", "namespace", "ordered"]);
    kubectl.run(&["create", "configmap", "settings", "-n", "ordered"]);
    kubectl.apply(&format!(
        "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: held, namespace: ordered, finalizers: [example.com/held]}}, \
         spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: c, image: '{image}', command: [sleep, '3600']}}]}}}}"
    ));
    kubectl.run(&["delete", "namespace", "ordered", "--wait=false"]);
    kubectl.wait_for(
        &["namespace", "ordered"],
        "{.status.conditions[?(@.type==\"NamespaceFinalizersRemaining\")].status}",
        "True",
        SOON,
    );
    kubectl.run(&["get", "configmap", "settings", "-n", "ordered"]);
    kubectl.run(&[
        "patch",
        "pod",
        "held",
        "-n",
        "ordered",
        "--type=merge",
        "-p",
        "{\"metadata\":{\"finalizers\":null}}",
    ]);
    gone(kubectl, &["namespace", "ordered"]);
}

fn claims_stay_while_a_pod_has_them(kubectl: &Kubectl, image: &str) {
    kubectl.apply(&format!(
        "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: user}}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 0
  containers: [{{name: c, image: '{image}', command: [sleep, '3600'], volumeMounts: [{{name: v, mountPath: /v}}]}}]
  volumes: [{{name: v, persistentVolumeClaim: {{claimName: data}}}}]
"
    ));
    kubectl.run(&["delete", "pvc", "data", "--wait=false"]);
    let deleted = kubectl.run(&["get", "pvc", "data", "-o", "jsonpath={.metadata.deletionTimestamp}"]);
    assert!(!deleted.is_empty(), "it waits for the pod");
    kubectl.run(&["delete", "pod", "user"]);
    gone(kubectl, &["pvc", "data"]);
}
