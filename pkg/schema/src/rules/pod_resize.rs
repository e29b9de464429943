// SPDX-License-Identifier: Apache-2.0

//! `pods/resize`: the amounts of cpu and memory of a pod's containers, and nothing else
//! (dropNonResizeUpdates, ValidatePodResize).

use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldError, FieldPath, Object};

use super::at::{At, same};
use super::fill;
use super::pod::{only_owners_change, qos_class};
use super::pod_spec::is_mirror;

const LISTS: [&str; 2] = ["containers", "initContainers"];

/// Keeps all but resources and their policies as they were. A pod whose containers are others stays as it
/// was sent: validation refuses it.
pub fn prepare(new: &mut Object, old: &Object) {
    let names = |pod: &Object, list: &str| -> Vec<Value> {
        pod["spec"][list].as_array().into_iter().flatten().map(|container| container["name"].clone()).collect()
    };
    if LISTS.iter().all(|list| names(new, list) == names(old, list)) {
        let sent = new["spec"].clone();
        only_owners_change(new, old);
        for list in LISTS {
            for (index, container) in fill::each(&mut new["spec"], list).enumerate() {
                for field in ["resources", "resizePolicy"] {
                    fill::keep(container, &sent[list][index], field);
                }
            }
        }
        fill::keep(&mut new["spec"], &sent, "resources");
    } else {
        fill::keep(new, old, "status");
    }
    fill::bump_generation(new, old, &["spec"]);
}

/// Adds what is wrong with a resize to what is wrong with the pod; some pods are only told that they cannot
/// be resized.
pub fn validate(pod: &At<'_>, before: &At<'_>, errors: &mut ErrorList) {
    let whole = |why: &str| vec![FieldError::forbidden(&FieldPath::new("[]"), why)];
    if is_mirror(&before.get("metadata")) {
        *errors = whole("static pods cannot be resized");
        return;
    }
    if before.str("spec.os.name") == "windows" {
        *errors = whole("windows pods cannot be resized");
        return;
    }
    let spec = pod.get("spec");
    let class = pod.str("status.qosClass");
    if qos_class(before) != qos_class(pod) {
        errors.push(spec.invalid_as(class, "Pod QOS Class may not change as a result of resizing"));
    }
    let statuses = before.items("status.containerStatuses");
    if statuses.iter().find(|status| status.has("state.running")).is_some_and(|status| !status.has("resources")) {
        errors.push(spec.forbidden("Pod running on node without support for resize"));
    }
    let order = ordering(pod, before);
    if !order.is_empty() {
        errors.extend(order);
        return;
    }
    for list in ["initContainers", "containers"] {
        errors.extend(removed(&spec, &before.get("spec"), list));
    }
    errors.extend(other_changes(&spec, &before.get("spec")));
}

fn ordering(pod: &At<'_>, before: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for list in LISTS {
        let (new, old) = (pod.get("spec").items(list), before.get("spec").items(list));
        if new.len() != old.len() {
            let why = format!("{list} may not be added or removed on resize");
            errors.push(pod.get("spec").get(list).forbidden(why));
            continue;
        }
        for (new, _) in new.iter().zip(&old).filter(|(new, old)| new.str("name") != old.str("name")) {
            errors.push(new.get("name").forbidden(format!("{list} may not be renamed or reordered on resize")));
        }
    }
    errors
}

fn removed(spec: &At<'_>, before: &At<'_>, list: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    for (new, old) in spec.items(list).iter().zip(before.items(list)) {
        for what in ["requests", "limits"] {
            let amounts = new.get("resources").get(what);
            let gone = old.get("resources").entries(what).iter().any(|(name, _)| amounts.value.get(*name).is_none());
            if gone {
                errors.push(amounts.forbidden(format!("resource {what} cannot be removed")));
            }
        }
    }
    errors
}

/// What differs besides cpu and memory.
fn other_changes(spec: &At<'_>, before: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for list in LISTS {
        for (new, old) in spec.items(list).iter().zip(before.items(list)) {
            if same(&with_amounts_of(new.value, old.value), old.value) {
                continue;
            }
            errors.push(match list {
                "initContainers" => {
                    new.forbidden("only cpu and memory resources for init or sidecar containers are mutable")
                }
                _ => spec.forbidden("only cpu and memory resources are mutable"),
            });
        }
    }
    errors
}

/// A container with the cpu and the memory of another.
fn with_amounts_of(container: &Value, other: &Value) -> Value {
    let mut container = container.clone();
    if container["resources"].is_object() {
        // Upstream's copy leaves them out, and so asks only whether there were any.
        fill::remove(&mut container["resources"], "claims");
    }
    for what in ["requests", "limits"] {
        for name in ["cpu", "memory"] {
            let before = &other["resources"][what];
            if before.get(name).is_some() || container["resources"][what].get(name).is_some() {
                fill::keep(fill::object(fill::object(&mut container, "resources"), what), before, name);
            }
        }
        // None left is none at all.
        if container["resources"][what].as_object().is_some_and(knarr_types::tree::Map::is_empty) {
            fill::remove(&mut container["resources"], what);
        }
    }
    container
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    fn pod(limits: Value) -> Value {
        json!({"metadata": {"name": "p", "generation": 1}, "status": {"qosClass": "Burstable"}, "spec": {"containers": [
            {"name": "c", "image": "a", "resources": {"requests": {"cpu": "100m"}, "limits": limits}}]}})
    }

    fn faults(limits: Value) -> Vec<String> {
        let (old, new) = (pod(json!({"cpu": "200m"})), pod(limits));
        let mut errors = ErrorList::new();
        validate(&At::root(&new), &At::root(&old), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_cpu_and_memory_change_and_none_goes() {
        assert!(faults(json!({"cpu": "300m", "memory": "1Gi"})).is_empty());
        let (old, mut new) = (pod(Value::Null), pod(json!({"cpu": "300m"})));
        new["status"] = old["status"].clone();
        let mut errors = ErrorList::new();
        validate(&At::root(&new), &At::root(&old), &mut errors);
        assert_eq!(errors, [], "limits may be added to a container without any");
        let limits = "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed";
        assert_eq!(faults(json!({})), [limits]);
        let other = "spec: Forbidden: only cpu and memory resources are mutable";
        assert_eq!(faults(json!({"cpu": "200m", "ephemeral-storage": "1Gi"})), [other]);
    }

    #[test]
    fn a_resize_touches_resources_only() {
        let old = pod(json!({"cpu": "200m"}));
        let mut new = pod(json!({"cpu": "300m"}));
        new["spec"]["containers"][0]["image"] = json!("b");
        new["metadata"]["labels"] = json!({"a": "b"});
        prepare(&mut new, &old);
        assert_eq!(new["spec"]["containers"][0]["image"], "a");
        assert_eq!(new["spec"]["containers"][0]["resources"]["limits"]["cpu"], "300m");
        assert_eq!((new["metadata"].get("labels"), &new["metadata"]["generation"]), (None, &json!(2)));
    }
}
