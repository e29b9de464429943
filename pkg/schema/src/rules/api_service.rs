// SPDX-License-Identifier: Apache-2.0

//! APIServices (`k8s.io/kube-aggregator/pkg/apis/apiregistration/validation`).

use knarr_types::ErrorList;
use serde_json::{Value, json};

use super::Rules;
use super::at::At;
use super::fill::{self, unset};
use super::metadata;
use super::names;
use super::volumes::require;

pub(super) static API_SERVICE: Rules = Rules {
    default: |service| {
        if let Some(reference) = fill::at(service, "spec.service") {
            unset(reference, "port", 443);
        }
    },
    prepare_create: |service| {
        fill::remove(service, "status");
        if service["spec"]["service"].is_null() {
            service["status"] = json!({"conditions": [available(&service["metadata"]["creationTimestamp"])]});
        }
    },
    prepare_update: |new, old, subresource| {
        fill::keep(new, old, if subresource == "status" { "spec" } else { "status" });
    },
    name: names::path_segment_name,
    validate: |service| validate(&At::root(service)),
    validate_update: |new, _, subresource| match subresource {
        "status" => ErrorList::new(),
        _ => validate(&At::root(new)),
    },
    allow_unconditional_update: false,
    ..Rules::DEFAULT
};

/// What this server serves itself is there from the first moment.
fn available(since: &Value) -> Value {
    json!({"type": "Available", "status": "True", "lastTransitionTime": since, "reason": "Local",
        "message": "Local APIServices are always available"})
}

fn validate(service: &At<'_>) -> ErrorList {
    let spec = service.get("spec");
    let (group, version) = (spec.get("group"), spec.get("version"));
    let mut errors = ErrorList::new();
    let (name, wanted) = (service.get("metadata.name"), format!("{}.{}", version.text(), group.text()));
    if name.text() != wanted {
        errors.push(name.invalid(format!("must be `spec.version+\".\"+spec.group`: {wanted:?}")));
    }
    if !group.text().is_empty() {
        errors.extend(group.faults(names::dns1123_subdomain(group.text())));
    }
    errors.extend(metadata::faults(&version.path, version.text(), names::dns1035_label(version.text())));
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let priority = spec.int(field);
        if priority <= 0 || priority > most {
            errors.push(spec.get(field).invalid_as(priority, format!("must be positive and less than {most}")));
        }
    }
    let (reference, insecure) = (spec.get("service"), spec.get("insecureSkipTLSVerify"));
    if !reference.is_set() {
        if spec.len("caBundle") > 0 || !spec.str("caBundle").is_empty() {
            let message = "local APIServices may not have a caBundle";
            errors.push(spec.get("caBundle").invalid_as("caBundle", message));
        }
        if insecure.value == true {
            errors.push(insecure.invalid("local APIServices may not have insecureSkipTLSVerify"));
        }
        return errors;
    }
    errors.extend(require(&reference, &["namespace", "name"]));
    for fault in names::port_number(reference.int("port")) {
        errors.push(reference.get("port").invalid(format!("port is not valid: {fault}")));
    }
    if insecure.value == true && !spec.str("caBundle").is_empty() {
        errors.push(insecure.invalid("may not be true if caBundle is present"));
    }
    errors
}
