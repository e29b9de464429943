// SPDX-License-Identifier: Apache-2.0

//! Environment variables of containers and the references to fields and resources in them.

use knarr_types::{ErrorList, FieldError};

use super::amount::Amount;
use super::at::At;
use super::containers;
use super::names;
use super::volumes::no_backsteps;

const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields that a downward API volume may show.
pub const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const KNOWN_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
    "spec.host",
];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const SOURCES: &[&str] = &["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

/// What is wrong with a container's variables.
pub fn variables(container: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for variable in container.items("env") {
        let name = variable.get("name");
        if name.text().is_empty() {
            errors.push(name.required(""));
        } else {
            errors.extend(name.faults(names::env_var_name(name.text())));
        }
        errors.extend(value_from(&variable));
    }
    errors
}

/// What is wrong with the maps that variables are taken from.
pub fn sources(container: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let list = container.get("envFrom");
    for source in container.items("envFrom") {
        let prefix = source.get("prefix");
        if !prefix.text().is_empty() {
            errors.extend(prefix.faults(names::env_var_name(prefix.text())));
        }
        let mut given = 0;
        for kind in ["configMapRef", "secretRef"] {
            if !source.has(kind) {
                continue;
            }
            given += 1;
            let name = source.get(kind).get("name");
            if name.text().is_empty() {
                errors.push(name.required(""));
            } else {
                errors.extend(name.faults(names::dns1123_subdomain(name.text())));
            }
        }
        match given {
            0 => errors.push(list.invalid_as("", "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => errors.push(list.invalid_as("", "may not have more than one field specified at a time")),
        }
    }
    errors
}

fn value_from(variable: &At<'_>) -> ErrorList {
    let from = variable.get("valueFrom");
    let mut errors = ErrorList::new();
    if !from.is_set() {
        return errors;
    }
    let given: Vec<_> = SOURCES.iter().filter(|source| from.has(source)).collect();
    for source in &given {
        let at = from.get(source);
        errors.extend(match **source {
            "fieldRef" => field_ref(&at, ENV_FIELDS),
            "resourceFieldRef" => resource_ref(&at, false),
            "fileKeyRef" => file_ref(&at),
            _ => key_ref(&at),
        });
    }
    if given.is_empty() {
        let message =
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.push(from.invalid_as("", message));
    } else if !variable.str("value").is_empty() {
        errors.push(from.invalid_as("", "may not be specified when `value` is not empty"));
    } else if given.len() > 1 {
        errors.push(from.invalid_as("", "may not have more than one field specified at a time"));
    }
    errors
}

fn key_ref(reference: &At<'_>) -> ErrorList {
    let (name, key) = (reference.get("name"), reference.get("key"));
    let mut errors = name.faults(names::dns1123_subdomain(name.text()));
    if key.text().is_empty() {
        errors.push(key.required(""));
    } else {
        errors.extend(key.faults(names::config_map_key(key.text())));
    }
    errors
}

fn file_ref(reference: &At<'_>) -> ErrorList {
    let judged = |field: &str, faults: fn(&At<'_>) -> ErrorList| {
        let field = reference.get(field);
        if field.text().is_empty() { vec![field.required("")] } else { faults(&field) }
    };
    let mut errors = judged("key", |key| key.faults(names::env_var_name(key.text())));
    errors.extend(judged("volumeName", |volume| volume.faults(names::dns1123_label(volume.text()))));
    errors.extend(judged("path", |path| no_backsteps(path).into_iter().collect()));
    errors
}

/// What is wrong with the volumes whose files variables come from.
pub fn file_volumes(spec: &At<'_>) -> ErrorList {
    let volumes = spec.items("volumes");
    let mut errors = ErrorList::new();
    for container in containers::all(spec) {
        for variable in container.items("env") {
            let reference = variable.get("valueFrom.fileKeyRef");
            if !reference.is_set() {
                continue;
            }
            let name = reference.get("volumeName");
            match volumes.iter().rfind(|volume| volume.str("name") == name.text()) {
                None => errors.push(name.not_found()),
                Some(volume) if !volume.has("emptyDir") => {
                    errors.push(name.invalid_as(name.text(), "referenced volume must be of type emptyDir"));
                }
                Some(_) => {}
            }
        }
    }
    errors
}

/// What is wrong with a reference to a field of the pod.
pub fn field_ref(reference: &At<'_>, supported: &[&str]) -> ErrorList {
    let path = reference.get("fieldPath");
    if reference.str("apiVersion").is_empty() {
        return vec![reference.get("apiVersion").required("")];
    }
    if path.text().is_empty() {
        return vec![path.required("")];
    }
    let refuse = |why: String| vec![path.invalid(format!("error converting fieldPath: {why}"))];
    if reference.str("apiVersion") != "v1" {
        return refuse(format!("unsupported pod version: {}", reference.str("apiVersion")));
    }
    if let Some((field, key)) = subscript(path.text()) {
        return match field {
            "metadata.annotations" => key_faults(reference, key, names::qualified_name(&key.to_lowercase())),
            "metadata.labels" => key_faults(reference, key, names::qualified_name(key)),
            _ => refuse(format!("field label does not support subscript: {}", path.text())),
        };
    }
    if !KNOWN_FIELDS.contains(&path.text()) {
        return refuse(format!("field label not supported: {}", path.text()));
    }
    // An old name of the node's name is taken for the new one.
    let internal = if path.text() == "spec.host" { "spec.nodeName" } else { path.text() };
    if supported.contains(&internal) {
        return ErrorList::new();
    }
    vec![FieldError::not_supported(&path.path, internal, supported)]
}

fn key_faults(reference: &At<'_>, key: &str, faults: Vec<String>) -> ErrorList {
    faults.into_iter().map(|fault| FieldError::invalid(&reference.path, key, fault)).collect()
}

/// `metadata.labels['a']` is field and key.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (field, key) = path.strip_suffix("']")?.split_once("['")?;
    (!field.is_empty()).then_some((field, key))
}

/// What is wrong with a reference to a resource of a container.
pub fn resource_ref(reference: &At<'_>, in_volume: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    let resource = reference.get("resource");
    let huge = ["limits.hugepages-", "requests.hugepages-"].iter().any(|prefix| resource.text().starts_with(prefix));
    if in_volume && reference.str("containerName").is_empty() {
        errors.push(reference.get("containerName").required(""));
    } else if resource.text().is_empty() {
        errors.push(resource.required(""));
    } else if !RESOURCES.contains(&resource.text()) && !huge {
        errors.push(resource.not_supported(RESOURCES));
    }
    errors.extend(divisor(reference));
    errors
}

fn divisor(reference: &At<'_>) -> Option<FieldError> {
    const BYTES: &str = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei";
    let (divisor, resource) = (reference.get("divisor"), reference.str("resource"));
    Amount::parse(divisor.text()).filter(|amount| !amount.is_zero())?;
    let one_of = |list: &str| list.split(", ").any(|unit| unit == divisor.text());
    let (valid, what) = match resource.split_once('.')?.1 {
        "cpu" => ("1m, 1", "1m and 1 are supported with the cpu resource".to_owned()),
        "memory" => (BYTES, format!("{BYTES} are supported with the memory resource")),
        "ephemeral-storage" => (BYTES, format!("{BYTES} are supported with the local ephemeral storage resource")),
        huge if huge.starts_with("hugepages-") => (BYTES, format!("{BYTES} are supported with the hugepages resource")),
        _ => return None,
    };
    (!one_of(valid)).then(|| divisor.invalid_as(resource, format!("only divisor's values {what}")))
}
