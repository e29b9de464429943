// SPDX-License-Identifier: Apache-2.0

//! What a pod gets where its maker said nothing (`pkg/apis/core/v1/defaults.go`).

use knarr_types::tree::{Value, json};
use knarr_types::{FieldPath, Object};

use super::at::At;
use super::fill::{at, each, empty, object, unset};
use super::image_name;
use super::resources;

/// Defaults that pods and templates share.
pub fn pod_spec(spec: &mut Value) {
    empty(spec, "dnsPolicy", "ClusterFirst");
    empty(spec, "restartPolicy", "Always");
    empty(spec, "schedulerName", "default-scheduler");
    unset(spec, "terminationGracePeriodSeconds", 30);
    object(spec, "securityContext");
    mirror_service_account(spec);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        each(spec, list).for_each(container);
    }
    each(spec, "volumes").for_each(volume);
}

/// The deprecated `serviceAccount` says the same as `serviceAccountName`.
fn mirror_service_account(spec: &mut Value) {
    let name = spec["serviceAccountName"].as_str().filter(|name| !name.is_empty());
    let old_name = spec["serviceAccount"].as_str().filter(|name| !name.is_empty());
    if let Some(name) = name.or(old_name).map(str::to_owned) {
        spec["serviceAccount"] = json!(name);
        spec["serviceAccountName"] = json!(name);
    }
}

/// Defaults of a whole pod: requests from limits, ports of the host's network.
pub fn pod(pod: &mut Object) {
    settle_addresses(pod);
    let spec = object(pod, "spec");
    if spec.is_as_stored() {
        return; // It has had its defaults.
    }
    pod_spec(spec);
    for list in ["containers", "initContainers"] {
        for container in each(spec, list) {
            requests_from_limits(container);
        }
    }
    pod_level_resources(spec);
    unset(spec, "enableServiceLinks", true);
    if spec["hostNetwork"] == true {
        for list in ["containers", "initContainers"] {
            for container in each(spec, list) {
                for port in each(container, "ports") {
                    let number = port["containerPort"].clone();
                    empty(port, "hostPort", number);
                }
            }
        }
    }
}

/// The first of `podIPs` is `podIP`; where they differ the older field counts, as upstream's conversion has it.
fn settle_addresses(pod: &mut Object) {
    let status = &pod["status"];
    let one = status["podIP"].as_str().unwrap_or_default().to_owned();
    let listed = status["podIPs"].as_array().filter(|list| !list.is_empty());
    let first = listed.map(|list| list[0]["ip"].as_str().unwrap_or_default().to_owned());
    match first {
        None if one.is_empty() => {}
        Some(first) if first == one => {}
        Some(first) if one.is_empty() => pod["status"]["podIP"] = json!(first),
        _ => pod["status"]["podIPs"] = json!([{ "ip": one }]),
    }
}

fn requests_from_limits(container: &mut Value) {
    let Some(limits) = container["resources"]["limits"].as_object().cloned() else { return };
    let requests = object(object(container, "resources"), "requests");
    for (name, limit) in limits {
        unset(requests, &name, limit);
    }
}

/// Limits and requests of the whole pod, of which it names some already: the huge pages that its containers may
/// have, what they ask for together, otherwise the limit.
fn pod_level_resources(spec: &mut Value) {
    let given = |spec: &Value, list: &str| spec["resources"][list].as_object().is_some_and(|all| !all.is_empty());
    if !given(spec, "limits") && !given(spec, "requests") {
        return;
    }
    let pages =
        together(spec, "limits", |name| resources::is_huge_page(name) && spec["resources"]["requests"][name].is_null());
    fill_in(spec, "limits", pages);
    if !given(spec, "limits") {
        return;
    }
    let asked = together(spec, "requests", |name| resources::is_of_pods(name) && !resources::is_huge_page(name));
    fill_in(spec, "requests", asked);
    let limits = spec["resources"]["limits"].as_object().cloned().unwrap_or_default();
    let of_pods = limits.into_iter().filter(|(name, _)| resources::is_of_pods(name));
    fill_in(spec, "requests", of_pods.map(|(name, limit)| (name.to_string(), limit)).collect());
}

/// What the containers have together of these resources.
fn together(spec: &Value, list: &str, which: impl Fn(&str) -> bool) -> Vec<(String, Value)> {
    let names = resources::named_by_containers(spec, list).into_iter().filter(|name| which(name));
    let all = At::new(spec, FieldPath::root());
    names.map(|name| (name.clone(), json!(resources::aggregated(&all, list, &name).to_string()))).collect()
}

/// Sets amounts of the whole pod that are not set.
fn fill_in(spec: &mut Value, list: &str, amounts: Vec<(String, Value)>) {
    for (name, amount) in amounts {
        unset(object(object(spec, "resources"), list), &name, amount);
    }
}

fn container(container: &mut Value) {
    let policy = pull_policy(container["image"].as_str().unwrap_or_default());
    empty(container, "imagePullPolicy", policy);
    empty(container, "terminationMessagePath", "/dev/termination-log");
    empty(container, "terminationMessagePolicy", "File");
    each(container, "ports").for_each(|port| empty(port, "protocol", "TCP"));
    for variable in each(container, "env") {
        field_ref(variable, "valueFrom.fieldRef");
        if let Some(reference) = at(variable, "valueFrom.fileKeyRef") {
            unset(reference, "optional", false);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = at(container, name) {
            empty(probe, "timeoutSeconds", 1);
            empty(probe, "periodSeconds", 10);
            empty(probe, "successThreshold", 1);
            empty(probe, "failureThreshold", 3);
            handler(probe);
        }
    }
    for hook in ["lifecycle.postStart", "lifecycle.preStop"] {
        if let Some(hook) = at(container, hook) {
            handler(hook);
        }
    }
}

/// `Always` for an image that may change under its name. What is no name is left to validation.
fn pull_policy(image: &str) -> &'static str {
    if image_name::tag(image) == Some("latest") { "Always" } else { "IfNotPresent" }
}

fn handler(handler: &mut Value) {
    if let Some(http) = at(handler, "httpGet") {
        empty(http, "path", "/");
        empty(http, "scheme", "HTTP");
    }
    if let Some(grpc) = at(handler, "grpc") {
        unset(grpc, "service", "");
    }
}

fn field_ref(holder: &mut Value, path: &str) {
    if let Some(reference) = at(holder, path) {
        empty(reference, "apiVersion", "v1");
    }
}

fn volume(volume: &mut Value) {
    let has_source =
        volume.as_object().is_some_and(|map| map.iter().any(|(key, value)| key != "name" && !value.is_null()));
    if !has_source {
        volume["emptyDir"] = json!({});
    }
    for kind in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = at(volume, kind) {
            unset(source, "defaultMode", 0o644);
        }
    }
    if let Some(source) = at(volume, "downwardAPI") {
        each(source, "items").for_each(|item| field_ref(item, "fieldRef"));
    }
    if let Some(projected) = at(volume, "projected") {
        for source in each(projected, "sources") {
            if let Some(token) = at(source, "serviceAccountToken") {
                unset(token, "expirationSeconds", 3600);
            }
            if let Some(downward) = at(source, "downwardAPI") {
                each(downward, "items").for_each(|item| field_ref(item, "fieldRef"));
            }
        }
    }
    if let Some(image) = at(volume, "image") {
        let policy = pull_policy(image["reference"].as_str().unwrap_or_default());
        empty(image, "pullPolicy", policy);
    }
    if let Some(spec) = at(volume, "ephemeral.volumeClaimTemplate.spec") {
        unset(spec, "volumeMode", "Filesystem");
    }
    shared_volume_source(volume);
}

/// Defaults of volume sources that pods and persistent volumes have in common.
pub fn shared_volume_source(holder: &mut Value) {
    if let Some(source) = at(holder, "hostPath") {
        unset(source, "type", "");
    }
    if let Some(source) = at(holder, "iscsi") {
        empty(source, "iscsiInterface", "default");
    }
    if let Some(source) = at(holder, "rbd") {
        empty(source, "pool", "rbd");
        empty(source, "user", "admin");
        empty(source, "keyring", "/etc/ceph/keyring");
    }
    if let Some(source) = at(holder, "azureDisk") {
        unset(source, "cachingMode", "ReadWrite");
        unset(source, "kind", "Shared");
        unset(source, "fsType", "ext4");
        unset(source, "readOnly", false);
    }
    if let Some(source) = at(holder, "scaleIO") {
        empty(source, "storageMode", "ThinProvisioned");
        empty(source, "fsType", "xfs");
    }
}
