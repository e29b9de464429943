// SPDX-License-Identifier: Apache-2.0

//! What is wrong with a pod's status (ValidatePodStatusUpdate).

use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldError, Object, Shown};

use super::addresses::{self, is_ipv4, is_ipv6};
use super::at::{At, same};
use super::container_restarts;
use super::fill;
use super::go_print;
use super::names;
use super::pod::annotations_change;

const NOT_NEGATIVE_INTEGER: &str = "must be a non-negative integer";
const NOT_A_CONTAINER: &str = "must match the name of an entry in spec.initContainers.name or spec.containers.name";
const NOT_A_REQUEST: &str = "must match the extended resource name of an entry in spec.initContainers.resources.requests \
     or spec.containers.resources.requests";
const NOT_A_CLAIM: &str = "must match one of the container's resource claims in a format \
     'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty";
/// The lists of statuses, and of the containers that they are of; ephemeral ones have no resources.
const STATUS_LISTS: &[(&str, &str)] = &[
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", ""),
];

/// Keeps which generation was seen, of the pod and of its conditions, where a write leaves it out.
pub fn keep_observed(new: &mut Object, old: &Object) {
    let seen = |value: &Value| value["observedGeneration"].as_i64().unwrap_or_default();
    if seen(&new["status"]) == 0 && seen(&old["status"]) != 0 {
        new["status"]["observedGeneration"] = old["status"]["observedGeneration"].clone();
    }
    let mut before = old["status"]["conditions"].as_array().cloned().unwrap_or_default();
    for condition in fill::each(fill::object(new, "status"), "conditions") {
        let Some(index) = before.iter().position(|old| old["type"] == condition["type"]) else { continue };
        let old = before.remove(index);
        if seen(condition) == 0 && seen(&old) != 0 {
            condition["observedGeneration"] = old["observedGeneration"].clone();
        }
    }
}

/// What is wrong with a change of the status.
pub fn validate(pod: &At<'_>, before: &At<'_>) -> ErrorList {
    let mut errors = annotations_change(pod, before);
    let status = pod.get("status");
    errors.extend(conditions(&status));
    errors.extend(nominated(&status, before));
    if status.int("observedGeneration") < 0 {
        errors.push(status.get("observedGeneration").invalid(NOT_NEGATIVE_INTEGER));
    }
    let class = status.get("qosClass");
    if !same(class.value, before.raw("status.qosClass")) {
        errors.push(class.invalid("field is immutable"));
    }
    errors.extend(transitions(&status, before));
    errors.extend(claim_statuses(pod));
    errors.extend(extended_claim(pod));
    errors.extend(pod_addresses(&status));
    errors.extend(host_addresses(&status));
    errors.extend(users(pod));
    errors.extend(health(pod));
    errors
}

fn conditions(status: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for condition in status.items("conditions") {
        if condition.int("observedGeneration") < 0 {
            errors.push(condition.get("observedGeneration").invalid(NOT_NEGATIVE_INTEGER));
        }
        let kind = condition.str("type");
        if !["PodScheduled", "Ready", "Initialized"].contains(&kind) {
            let path = condition.path.child("Type");
            errors.extend(names::qualified_name(kind).into_iter().map(|fault| FieldError::invalid(&path, kind, fault)));
        }
    }
    errors
}

/// The node that a pod is to go to once there is room.
fn nominated(status: &At<'_>, before: &At<'_>) -> ErrorList {
    let node = status.get("nominatedNodeName");
    if node.text().is_empty() || node.text() == before.str("status.nominatedNodeName") {
        return ErrorList::new();
    }
    let mut errors = node.faults(names::dns1123_subdomain(node.text()));
    if !before.str("spec.nodeName").is_empty() {
        errors.push(node.forbidden("may not be set on pods that are already bound to a node"));
    }
    errors
}

/// What has ended for good does not run again.
fn transitions(status: &At<'_>, before: &At<'_>) -> ErrorList {
    // Nothing of the spec is looked at before something ended.
    let spec = before.get("spec");
    let all_again = || container_restarts::may_start_all_again(&spec);
    let policy = || spec.str("restartPolicy");
    let named = |list: &str, name: &str| spec.items(list).into_iter().find(|container| container.str("name") == name);
    let regular = |name: &str, code: i64| {
        all_again()
            || named("containers", name)
                .is_some_and(|container| container_restarts::starts_again(&container, &spec, code))
    };
    let init = |name: &str, code: i64| {
        let sidecar = named("initContainers", name).is_some_and(|init| init.str("restartPolicy") == "Always");
        all_again() || policy() == "Always" || (policy() == "OnFailure" && code != 0) || sidecar
    };
    let mut errors = ErrorList::new();
    for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        let (now, path) = (status.items(list), status.get(list).path);
        for (index, old) in before.get("status").items(list).iter().enumerate() {
            let (name, code) = (old.str("name"), old.int("state.terminated.exitCode"));
            let runs = now.iter().any(|new| new.str("name") == name && !new.has("state.terminated"));
            let may = || match list {
                "containerStatuses" => regular(name, code),
                "initContainerStatuses" => init(name, code),
                _ => false,
            };
            if old.has("state.terminated") && runs && !may() {
                let why = "may not be transitioned to non-terminated state";
                errors.push(FieldError::forbidden(&path.index(index).child("state"), why));
            }
        }
    }
    errors
}

fn claim_statuses(pod: &At<'_>) -> ErrorList {
    let claims = || pod.items("spec.resourceClaims").into_iter();
    let mut errors = ErrorList::new();
    let mut seen = Vec::new();
    for status in pod.items("status.resourceClaimStatuses") {
        let name = status.get("name");
        if !claims().any(|claim| claim.str("name") == name.text()) {
            errors.push(name.invalid_as(name.text(), "must match the name of an entry in `spec.resourceClaims`"));
        }
        if seen.contains(&name.text()) {
            errors.push(name.duplicate());
        }
        seen.push(name.text());
        let claim = status.get("resourceClaimName");
        if claim.is_set() {
            errors.extend(claim.named(name.path).faults(names::dns1123_subdomain(claim.text())));
        }
    }
    errors
}

fn extended_claim(pod: &At<'_>) -> ErrorList {
    let claim = pod.get("status.extendedResourceClaimStatus");
    if !claim.is_set() {
        return ErrorList::new();
    }
    let mut errors = ErrorList::new();
    let mappings = claim.items("requestMappings");
    if mappings.is_empty() {
        errors.push(claim.get("requestMappings").required("at least one request mapping is required"));
    }
    let spec = pod.get("spec");
    let containers = || ["initContainers", "containers"].iter().flat_map(|list| spec.items(list));
    let mut seen = Vec::new();
    for mapping in &mappings {
        let (container, resource) = (mapping.get("containerName"), mapping.get("resourceName"));
        match containers().rfind(|other| other.str("name") == container.text()) {
            None => errors.push(container.invalid_as(container.text(), NOT_A_CONTAINER)),
            Some(found) if found.get("resources.requests").value.get(resource.text()).is_none() => {
                errors.push(resource.invalid_as(resource.text(), NOT_A_REQUEST));
            }
            Some(_) => {}
        }
        let request = mapping.str("requestName");
        let path = claim.path.child("requestName");
        errors
            .extend(names::dns1123_label(request).into_iter().map(|fault| FieldError::invalid(&path, request, fault)));
        let key = (container.text(), resource.text(), request);
        if seen.contains(&key) {
            let parts = ["containerName", "resourceName", "requestName"];
            errors.extend(parts.iter().map(|part| mapping.get(part).duplicate()));
        }
        seen.push(key);
    }
    let name = claim.get("resourceClaimName");
    if name.text().is_empty() {
        errors.push(name.required(""));
    } else {
        errors.extend(name.faults(names::dns1123_subdomain(name.text())));
    }
    errors
}

/// Who the processes of containers run as.
fn users(pod: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let statuses = STATUS_LISTS.iter().flat_map(|(list, _)| pod.get("status").items(list));
    for user in statuses.map(|status| status.get("user.linux")).filter(At::is_set) {
        if pod.str("spec.os.name") == "windows" {
            errors.push(user.forbidden("cannot be set for a windows pod"));
            continue;
        }
        let ids = [user.get("uid"), user.get("gid")];
        for id in ids.into_iter().chain(user.items("supplementalGroups")) {
            let number = id.value.as_i64().unwrap_or_default();
            let faults = names::user_or_group_id(number).into_iter();
            errors.extend(faults.map(|fault| id.invalid_as(number, fault)));
        }
    }
    errors
}

/// How the devices fare that containers were given.
fn health(pod: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for (list, containers) in STATUS_LISTS {
        for status in pod.get("status").items(list) {
            if containers.is_empty() {
                if status.len("allocatedResourcesStatus") > 0 {
                    let at = status.get("allocatedResourcesStatus");
                    errors.push(at.forbidden("must not be specified in container status"));
                }
                continue;
            }
            for resource in status.items("allocatedResourcesStatus") {
                let mut container = pod.items(&format!("spec.{containers}")).into_iter();
                let container = container.find(|other| other.str("name") == status.str("name"));
                errors.extend(container.and_then(|container| not_asked_for(&resource, &container)));
                errors.extend(health_of(&resource));
            }
        }
    }
    errors
}

fn not_asked_for(resource: &At<'_>, container: &At<'_>) -> Option<FieldError> {
    let name = resource.get("name");
    let (known, why) = if name.text().starts_with("claim:") {
        let asked = |claim: &At<'_>| match claim.str("request") {
            "" => format!("claim:{}", claim.str("name")),
            request => format!("claim:{}/{request}", claim.str("name")),
        };
        let known = container.items("resources.claims").iter().any(|claim| asked(claim) == name.text());
        (known, NOT_A_CLAIM)
    } else {
        let known = container.get("resources.requests").value.get(name.text()).is_some();
        (known, "must match one of the container's resource requests")
    };
    (!known).then(|| name.invalid_as(name.text(), why))
}

fn health_of(resource: &At<'_>) -> ErrorList {
    const STATES: &[&str] = &["Healthy", "Unhealthy", "Unknown"];
    let mut errors = ErrorList::new();
    let mut seen = Vec::new();
    for device in resource.items("resources") {
        if !STATES.contains(&device.str("health")) {
            errors.push(device.get("health").not_supported(STATES));
        }
        if seen.contains(&device.str("resourceID")) {
            errors.push(device.get("resourceID").duplicate());
        }
        seen.push(device.str("resourceID"));
    }
    errors
}

fn pod_addresses(status: &At<'_>) -> ErrorList {
    each_address(status, "podIPs").into_iter().chain(one_a_family(status, "podIPs")).collect()
}

fn host_addresses(status: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(first) = status.items("hostIPs").first()
        && first.str("ip") != status.str("hostIP")
    {
        errors.push(first.get("ip").invalid("must be equal to `hostIP`"));
    }
    errors.extend(each_address(status, "hostIPs"));
    errors.extend(one_a_family(status, "hostIPs"));
    errors
}

fn each_address(status: &At<'_>, list: &str) -> ErrorList {
    let items = status.items(list);
    items.iter().flat_map(|address| addresses::ip(&address.get("ip").named(address.path.clone()))).collect()
}

/// Of several addresses there is one of each family.
fn one_a_family(status: &At<'_>, list: &str) -> ErrorList {
    let items = status.items(list);
    let texts: Vec<&str> = items.iter().map(|address| address.str("ip")).collect();
    if texts.len() < 2 {
        return ErrorList::new();
    }
    let shown = |at: &At<'_>| go_print::structure(at.value, &[("IP", "ip$")]).to_string();
    let both = texts.iter().any(|text| is_ipv4(text)) && texts.iter().any(|text| is_ipv6(text));
    if !both || texts.len() > 2 {
        let all = items.iter().map(shown).collect::<Vec<_>>().join(",");
        let why = "may specify no more than one IP for each IP family";
        return vec![status.get(list).invalid_as(Shown::Printed(format!("[{all}]")), why)];
    }
    ErrorList::new()
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    fn faults(before: Value, after: Value) -> Vec<String> {
        let spec = json!({"restartPolicy": "Never", "containers": [{"name": "c"}]});
        let (old, new) = (json!({"spec": spec, "status": before}), json!({"spec": spec, "status": after}));
        validate(&At::root(&new), &At::root(&old)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_pod_has_one_address_of_each_family() {
        let of = |list: &[&str]| json!({"podIPs": list.iter().map(|ip| json!({"ip": ip})).collect::<Vec<_>>()});
        assert!(faults(json!({}), of(&["10.0.0.1", "fd00::1"])).is_empty());
        assert_eq!(
            faults(json!({}), of(&["10.0.0.1", "10.0.0.2"])),
            [concat!(
                "status.podIPs: Invalid value: [{\"IP\":\"10.0.0.1\"},{\"IP\":\"10.0.0.2\"}]: ",
                "may specify no more than one IP for each IP family"
            )]
        );
    }

    #[test]
    fn what_has_ended_does_not_run_again_and_the_class_stays() {
        let ended = json!({"containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 1}}}]});
        let runs = json!({"containerStatuses": [{"name": "c", "state": {"running": {}}}]});
        assert_eq!(
            faults(ended, runs),
            ["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"]
        );
        assert_eq!(
            faults(json!({"qosClass": "Burstable"}), json!({"qosClass": "Guaranteed"})),
            ["status.qosClass: Invalid value: \"Guaranteed\": field is immutable"]
        );
    }
}
