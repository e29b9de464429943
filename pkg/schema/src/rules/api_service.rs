// SPDX-License-Identifier: Apache-2.0

//! APIServices (`k8s.io/kube-aggregator/pkg/apis/apiregistration/validation`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use knarr_types::ErrorList;
use knarr_types::tree::{Value, json};

use super::Rules;
use super::at::At;
use super::fill::{self, unset};
use super::judging::Judging;
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
        if subresource != "status" {
            return fill::keep(new, old, "status");
        }
        fill::keep(new, old, "spec");
        let metadata = fill::object(new, "metadata");
        for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
            fill::keep(metadata, &old["metadata"], field);
        }
    },
    name: names::path_segment_name,
    validate: |service| validate(&At::root(service)),
    validate_update: |new, _, subresource| match subresource {
        "status" => status(&At::root(new)),
        _ => validate(&At::root(new)),
    },
    allow_unconditional_update: false,
    judging: Judging::CHANGE_THEN_WHOLE.with_any_finalizers(),
    ..Rules::DEFAULT
};

/// What this server serves itself is there from the first moment.
fn available(since: &Value) -> Value {
    json!({"type": "Available", "status": "True", "lastTransitionTime": since, "reason": "Local",
        "message": "Local APIServices are always available"})
}

fn status(service: &At<'_>) -> ErrorList {
    const STATUSES: [&str; 3] = ["True", "False", "Unknown"];
    let statuses = service.items("status.conditions").into_iter().map(|condition| condition.get("status"));
    statuses.filter(|status| !STATUSES.contains(&status.text())).map(|status| status.not_supported(&STATUSES)).collect()
}

fn validate(service: &At<'_>) -> ErrorList {
    let spec = service.get("spec");
    let (group, version) = (spec.get("group"), spec.get("version"));
    let mut errors = ErrorList::new();
    let (name, wanted) = (service.get("metadata.name"), format!("{}.{}", version.text(), group.text()));
    if !name.text().is_empty() && name.text() != wanted {
        errors.push(name.invalid(format!("must be `spec.version+\".\"+spec.group`: {wanted:?}")));
    }
    if group.text().is_empty() && version.text() != "v1" {
        errors.push(group.required("only v1 may have an empty group and it better be legacy kube"));
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
        let bundle = STANDARD.decode(spec.str("caBundle")).unwrap_or_default();
        if !bundle.is_empty() {
            let message = "local APIServices may not have a caBundle";
            errors.push(spec.get("caBundle").invalid_as(format!("{} bytes", bundle.len()), message));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_here_needs_no_certificate_and_has_a_group() {
        let service = json!({"metadata": {"name": "v2."}, "spec": {"version": "v2", "caBundle": "YWJj",
            "groupPriorityMinimum": 1, "versionPriority": 1}});
        let found: Vec<_> = validate(&At::root(&service)).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "spec.group: Required value: only v1 may have an empty group and it better be legacy kube",
                "spec.caBundle: Invalid value: \"3 bytes\": local APIServices may not have a caBundle",
            ]
        );
    }

    #[test]
    fn a_write_of_the_status_touches_nothing_else() {
        let old = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"version": "v1"}});
        let mut new = json!({"metadata": {"annotations": {"c": "d"}}, "spec": {},
            "status": {"conditions": [{"type": "Available", "status": "Maybe"}]}});
        (API_SERVICE.prepare_update)(&mut new, &old, "status");
        assert_eq!((&new["metadata"], &new["spec"]), (&json!({"labels": {"a": "b"}}), &old["spec"]));
        let found: Vec<_> =
            (API_SERVICE.validate_update)(&new, &old, "status").iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            ["status.conditions[0].status: Unsupported value: \"Maybe\": supported values: \"True\", \"False\", \
              \"Unknown\""]
        );
    }
}
