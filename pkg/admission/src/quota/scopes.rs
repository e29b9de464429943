// SPDX-License-Identifier: Apache-2.0
//! Which objects a quota is about.
//! <https://kubernetes.io/docs/concepts/policy/resource-quotas/#quota-scopes>

use knarr_types::Object;
use knarr_types::tree::Value;

use super::usage::Counted;
use crate::amounts;

/// Whether all scopes of a quota hold for an object.
#[must_use]
pub fn hold(quota: &Object, kind: Counted<'_>, object: &Object) -> bool {
    let spec = &quota["spec"];
    let plain = spec["scopes"].as_array().into_iter().flatten();
    let selectors = spec["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten();
    plain.into_iter().all(|scope| holds(scope.as_str(), &Value::Null, kind, object))
        && selectors.into_iter().all(|s| holds(s["scopeName"].as_str(), s, kind, object))
}

/// A pod that has a deadline.
pub(super) fn is_terminating(pod: &Object) -> bool {
    pod["spec"]["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0)
}

fn holds(scope: Option<&str>, selector: &Value, kind: Counted<'_>, object: &Object) -> bool {
    let spec = &object["spec"];
    if kind.is("persistentvolumeclaims") && scope == Some("VolumeAttributesClass") {
        let named = [&spec["volumeAttributesClassName"], &object["status"]["currentVolumeAttributesClassName"]];
        return named.iter().any(|class| chosen(selector, class.as_str().unwrap_or_default()));
    }
    if !kind.is("pods") {
        return false;
    }
    match scope {
        Some("Terminating") => is_terminating(object),
        Some("NotTerminating") => !is_terminating(object),
        Some("BestEffort") => is_best_effort(object),
        Some("NotBestEffort") => !is_best_effort(object),
        Some("PriorityClass") => chosen(selector, spec["priorityClassName"].as_str().unwrap_or_default()),
        Some("CrossNamespacePodAffinity") => reaches_out(&spec["affinity"]),
        _ => false,
    }
}

/// Whether a selector over names fits one; none is empty.
fn chosen(selector: &Value, name: &str) -> bool {
    let listed = || selector["values"].as_array().into_iter().flatten().any(|v| v == name);
    match selector["operator"].as_str() {
        None | Some("Exists") => !name.is_empty(),
        Some("DoesNotExist") => name.is_empty(),
        Some("In") => !name.is_empty() && listed(),
        Some("NotIn") => name.is_empty() || !listed(),
        Some(_) => false,
    }
}

/// A pod none of whose containers asks for anything or is limited in anything.
fn is_best_effort(pod: &Object) -> bool {
    let none = |resources: &Value| {
        ["requests", "limits"].iter().all(|list| {
            let amounts = amounts::read(&resources[*list]);
            ["cpu", "memory"].iter().all(|name| amounts.get(*name).is_none_or(|a| a.nanos() == 0))
        })
    };
    let lists = ["containers", "initContainers"];
    none(&pod["spec"]["resources"])
        && lists.iter().flat_map(|l| pod["spec"][*l].as_array().into_iter().flatten()).all(|c| none(&c["resources"]))
}

/// Whether affinity looks at pods of other namespaces.
fn reaches_out(affinity: &Value) -> bool {
    let outside = |term: &Value| {
        term["namespaces"].as_array().is_some_and(|n| !n.is_empty()) || !term["namespaceSelector"].is_null()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let list = |name: &str| affinity[*kind][name].as_array().into_iter().flatten();
        list("requiredDuringSchedulingIgnoredDuringExecution").any(outside)
            || list("preferredDuringSchedulingIgnoredDuringExecution").any(|t| outside(&t["podAffinityTerm"]))
    })
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn scopes_choose_pods() {
        let pods = Counted { group: "", resource: "pods" };
        let check = |spec: Value, pod: Value| hold(&json!({"spec": spec}), pods, &json!({"spec": pod}));
        let busy = json!({"containers": [{"resources": {"requests": {"cpu": "1m"}}}]});
        assert!(check(json!({}), busy.clone()));
        assert!(check(json!({"scopes": ["NotBestEffort", "NotTerminating"]}), busy.clone()));
        assert!(!check(json!({"scopes": ["BestEffort"]}), busy));
        assert!(check(json!({"scopes": ["Terminating"]}), json!({"activeDeadlineSeconds": 5})));
        let class = |operator: &str| {
            json!({"scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": operator, "values": ["high"]}]}})
        };
        assert!(check(class("In"), json!({"priorityClassName": "high"})));
        assert!(!check(class("In"), json!({})));
        assert!(check(class("NotIn"), json!({})));
        assert!(check(class("Exists"), json!({"priorityClassName": "low"})));
        let secrets = Counted { group: "", resource: "secrets" };
        assert!(!hold(&json!({"spec": {"scopes": ["BestEffort"]}}), secrets, &json!({})));
    }
}
