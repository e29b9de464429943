// SPDX-License-Identifier: Apache-2.0

//! What is wrong with a pod's status (ValidatePodStatusUpdate).

use knarr_types::{ErrorList, FieldError, Shown};

use super::addresses::{self, is_ipv4, is_ipv6};
use super::at::{At, same};
use super::go_print;
use super::names;

/// What is wrong with a change of the status.
pub fn validate(pod: &At<'_>, before: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let status = pod.get("status");
    for condition in status.items("conditions") {
        if condition.str("type").is_empty() {
            errors.push(condition.get("type").required(""));
        }
    }
    if pod.str("spec.nodeName") != before.str("spec.nodeName") {
        errors.push(status.get("nodeName").forbidden("may not be changed directly"));
    }
    let nominated = status.get("nominatedNodeName");
    if !nominated.text().is_empty() && nominated.text() != before.str("status.nominatedNodeName") {
        errors.extend(nominated.faults(names::dns1123_subdomain(nominated.text())));
    }
    let class = status.get("qosClass");
    if !same(class.value, before.raw("status.qosClass")) {
        errors.push(class.invalid("field is immutable"));
    }
    errors.extend(transitions(pod, before));
    errors.extend(pod_addresses(&status));
    errors.extend(host_addresses(&status));
    errors
}

/// What has ended for good does not run again.
fn transitions(pod: &At<'_>, before: &At<'_>) -> ErrorList {
    let policy = before.str("spec.restartPolicy");
    let sidecars: Vec<&str> = before
        .items("spec.initContainers")
        .iter()
        .filter(|container| container.str("restartPolicy") == "Always")
        .map(|container| container.str("name"))
        .collect();
    let mut errors = ErrorList::new();
    for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        let ephemeral = list == "ephemeralContainerStatuses";
        if policy == "Always" && !ephemeral {
            continue;
        }
        let now = pod.get("status").items(list);
        let path = pod.get("status").get(list).path;
        for (index, old) in before.get("status").items(list).iter().enumerate() {
            let ended = old.has("state.terminated");
            let may_retry = policy == "OnFailure" && old.int("state.terminated.exitCode") != 0 && !ephemeral;
            if !ended || may_retry || (list == "initContainerStatuses" && sidecars.contains(&old.str("name"))) {
                continue;
            }
            if now.iter().any(|new| new.str("name") == old.str("name") && !new.has("state.terminated")) {
                let why = "may not be transitioned to non-terminated state";
                errors.push(FieldError::forbidden(&path.index(index).child("state"), why));
            }
        }
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

/// Of several addresses there is one of each family, and none twice.
fn one_a_family(status: &At<'_>, list: &str) -> ErrorList {
    let items = status.items(list);
    let texts: Vec<&str> = items.iter().map(|address| address.str("ip")).collect();
    if texts.len() < 2 {
        return ErrorList::new();
    }
    let mut errors = ErrorList::new();
    let shown = |at: &At<'_>| go_print::structure(at.value, &[("IP", "ip$")]).to_string();
    let both = texts.iter().any(|text| is_ipv4(text)) && texts.iter().any(|text| is_ipv6(text));
    if !both || texts.len() > 2 {
        let all = items.iter().map(shown).collect::<Vec<_>>().join(",");
        let why = "may specify no more than one IP for each IP family";
        errors.push(status.get(list).invalid_as(Shown::Printed(format!("[{all}]")), why));
    }
    for (index, address) in items.iter().enumerate() {
        if texts[..index].contains(&texts[index]) {
            errors.push(FieldError::duplicate(&address.path, Shown::Printed(shown(address))));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(before: serde_json::Value, after: serde_json::Value) -> Vec<String> {
        let spec = json!({"restartPolicy": "Never"});
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
        assert_eq!(faults(json!({}), of(&["10.0.0.1", "10.0.0.1"])).len(), 2);
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
