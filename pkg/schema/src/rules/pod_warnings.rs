// SPDX-License-Identifier: Apache-2.0

//! What the maker of a pod should know (`pkg/api/pod/warnings.go`).

use knarr_types::Object;
use serde_json::Value;

use super::amount::Amount;
use super::at::At;
use super::containers;
use super::names;

const OLD_LABELS: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
];
const OLD_VOLUMES: &[(&str, &str)] = &[
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];
const NO_SELECTOR: &str = "a null labelSelector results in matching no pod";

/// Warnings about a pod.
pub fn pod(pod: &Object) -> Vec<String> {
    let pod = At::root(pod);
    let mut warnings = name(&pod, "the Pod's hostname");
    warnings.extend(of_template(&pod.get("spec"), &pod.get("metadata")));
    warnings
}

/// Warnings about the template at `spec.template` of a workload.
pub fn template(template: &At<'_>) -> Vec<String> {
    of_template(&template.get("spec"), &template.get("metadata"))
}

/// Warnings about a workload whose name becomes part of its pods' names, and about its template.
pub fn workload(workload: &Object) -> Vec<String> {
    let workload = At::root(workload);
    let mut warnings = name(&workload, "Pod names and hostnames");
    warnings.extend(template(&workload.get("spec.template")));
    warnings
}

/// A warning where the name is no DNS label.
pub fn name(object: &At<'_>, used_in: &str) -> Vec<String> {
    let faults = names::dns1123_label(object.str("metadata.name"));
    if faults.is_empty() || object.str("metadata.name").is_empty() {
        return Vec::new();
    }
    let what = "which can result in surprising behavior; a DNS label is recommended";
    vec![format!("metadata.name: this is used in {used_in}, {what}: [{}]", faults.join(" "))]
}

fn of_template(spec: &At<'_>, metadata: &At<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    for (key, label) in spec.entries("nodeSelector") {
        warnings.extend(known(OLD_LABELS, key).map(|why| format!("{}: {why}", label.path)));
    }
    warnings.extend(annotations(metadata));
    warnings.extend(repeated(spec, "hostAliases", "ip"));
    for volume in spec.items("volumes") {
        for (kind, why) in OLD_VOLUMES {
            if volume.has(kind) {
                warnings.push(format!("{}: {why}", volume.get(kind).path));
            }
        }
        warnings.extend(projected(&volume));
    }
    for secret in spec.items("imagePullSecrets") {
        if secret.str("name").is_empty() {
            warnings.push(format!("{}: invalid empty name \"\"", secret.get("name").path));
        }
    }
    warnings.extend(repeated(spec, "imagePullSecrets", "name"));
    for container in containers::all(spec) {
        warnings.extend(fractions(&container));
        warnings.extend(variables(&container));
        warnings.extend(ports(&container));
    }
    warnings.extend(missing_selectors(spec));
    warnings
}

fn known<'a>(table: &[(&str, &'a str)], key: &str) -> Option<&'a str> {
    table.iter().find(|(known, _)| *known == key).map(|(_, why)| *why)
}

fn annotations(metadata: &At<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    for (key, annotation) in metadata.entries("annotations") {
        let why = if key.starts_with("container.apparmor.security.beta.kubernetes.io/") {
            "deprecated since v1.30; use the \"appArmorProfile\" field instead"
        } else if key == "scheduler.alpha.kubernetes.io/critical-pod" {
            "non-functional in v1.16+; use the \"priorityClassName\" field instead"
        } else if key == "seccomp.security.alpha.kubernetes.io/pod"
            || key.starts_with("container.seccomp.security.alpha.kubernetes.io/")
        {
            "non-functional in v1.27+; use the \"seccompProfile\" field instead"
        } else {
            continue;
        };
        warnings.push(format!("{}: {why}", annotation.path));
    }
    warnings
}

/// Elements of a list that have the same `field` as an earlier one.
fn repeated(spec: &At<'_>, list: &str, field: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let mut warnings = Vec::new();
    for item in spec.items(list) {
        let value = item.str(field);
        if !value.is_empty() && seen.contains(&value) {
            warnings.push(format!("{}: duplicate {field} {value:?}", item.get(field).path));
        }
        seen.push(value);
    }
    warnings
}

fn projected(volume: &At<'_>) -> Vec<String> {
    let name = volume.str("name");
    let mut warnings = Vec::new();
    let mut taken: Vec<(String, String)> = Vec::new();
    for source in volume.items("projected.sources") {
        if source.value.as_object().is_none_or(serde_json::Map::is_empty) {
            warnings.push(format!("volume {name:?} (Projected) has no sources provided"));
        }
        for (field, kind) in [("secret", "Secret"), ("configMap", "ConfigMap")] {
            for item in source.get(field).items("items") {
                let (path, from) = (item.str("path"), format!("{kind} {:?}", source.get(field).str("name")));
                let overlaps =
                    |other: &str| path.starts_with(&format!("{other}/")) || other.starts_with(&format!("{path}/"));
                for (other, other_from) in taken.iter().filter(|(other, _)| overlaps(other)) {
                    warnings.push(format!(
                        "volume {name:?} (Projected): overlapping paths: {path:?} ({from}) with {other:?} ({other_from})"
                    ));
                }
                taken.push((path.to_owned(), from));
            }
        }
    }
    warnings
}

/// Bytes come whole.
fn fractions(container: &At<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    for list in ["limits", "requests"] {
        for (name, amount) in container.get("resources").entries(list) {
            let fraction = Amount::parse(amount.text()).is_some_and(|amount| !amount.is_whole());
            if fraction && ["memory", "ephemeral-storage"].contains(&name) {
                let text = amount.text();
                warnings
                    .push(format!("{}: fractional byte value {text:?} is invalid, must be an integer", amount.path));
            }
        }
    }
    warnings
}

fn variables(container: &At<'_>) -> Vec<String> {
    let mut seen = Vec::new();
    let mut warnings = Vec::new();
    for variable in container.items("env") {
        let name = variable.str("name");
        if seen.contains(&name) {
            let what = "which may be dropped when using apply";
            warnings.push(format!("{}: hides previous definition of {name:?}, {what}", variable.path));
        }
        seen.push(name);
    }
    warnings
}

fn ports(container: &At<'_>) -> Vec<String> {
    let ports = container.items("ports");
    let mut warnings = Vec::new();
    let key = |port: &At<'_>| {
        (
            port.int("containerPort"),
            port.str("protocol").to_owned(),
            port.int("hostPort"),
            port.str("hostIP").to_owned(),
        )
    };
    for (index, port) in ports.iter().enumerate() {
        if let Some(first) = ports[..index].iter().find(|other| key(other) == key(port)) {
            warnings.push(format!("{}: duplicate port definition with {}", port.path, first.path));
        }
        if !port.str("hostIP").is_empty() && port.int("hostPort") == 0 {
            warnings.push(format!(
                "{}: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{}}}",
                port.path,
                port.str("name"),
                port.int("containerPort"),
                port.str("protocol"),
                port.str("hostIP"),
            ));
        }
    }
    warnings
}

fn missing_selectors(spec: &At<'_>) -> Vec<String> {
    let mut terms = Vec::new();
    for kind in ["podAffinity", "podAntiAffinity"] {
        let affinity = spec.get("affinity").get(kind);
        terms.extend(affinity.items("requiredDuringSchedulingIgnoredDuringExecution"));
        let preferred = affinity.items("preferredDuringSchedulingIgnoredDuringExecution");
        terms.extend(preferred.iter().map(|term| term.get("podAffinityTerm")));
    }
    terms.extend(spec.items("topologySpreadConstraints"));
    terms
        .iter()
        .filter(|term| *term.raw("labelSelector") == Value::Null)
        .map(|term| format!("{}: {NO_SELECTOR}", term.get("labelSelector").path))
        .collect()
}
