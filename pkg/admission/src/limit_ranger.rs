// SPDX-License-Identifier: Apache-2.0
//! LimitRanger: a namespace's defaults for containers, and its bounds for containers, pods and claims.
//! <https://kubernetes.io/docs/concepts/policy/limit-range/>

use knarr_types::tree::Value;
use knarr_types::{Object, Quantity, Status};

use crate::amounts::{self, Amounts};
use crate::{Lookup, Operation, Request};

/// Tells what was set here.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

fn applies(request: &Request<'_>) -> bool {
    let is_pod = request.is("", "Pod");
    if is_pod && request.operation == Operation::Update {
        return request.subresource == "resize";
    }
    let known = is_pod || request.is("", "PersistentVolumeClaim");
    let dying = request.old.is_some_and(|old| !old["metadata"]["deletionTimestamp"].is_null());
    known && request.subresource.is_empty() && request.operation != Operation::Delete && !dying
}

fn limits<'a>(ranges: &'a [Object], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    ranges.iter().flat_map(|r| r["spec"]["limits"].as_array().into_iter().flatten()).filter(move |l| l["type"] == kind)
}

/// Gives containers the namespace's defaults.
pub(crate) fn mutate(request: &Request<'_>, object: &mut Object, lookup: &dyn Lookup) {
    if !applies(request) || !request.is("", "Pod") {
        return;
    }
    for range in lookup.list("", "limitranges", Some(request.namespace)) {
        let mut told = Vec::new();
        let defaults = limits(std::slice::from_ref(&range), "Container").cloned().collect::<Vec<_>>();
        for (list, word) in [("containers", "container"), ("initContainers", "init container")] {
            let containers = object["spec"].get_mut(list).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                let name = format!("{word} {}", container["name"].as_str().unwrap_or_default());
                for (field, source, what) in [("requests", "defaultRequest", "request"), ("limits", "default", "limit")]
                {
                    let set = fill(container, field, &defaults, source);
                    if !set.is_empty() {
                        told.push(format!("{} {what} for {name}", set.join(", ")));
                    }
                }
            }
        }
        if !told.is_empty() {
            object["metadata"]["annotations"][ANNOTATION] =
                format!("LimitRanger plugin set: {}", told.join("; ")).into();
        }
    }
}

/// Sets what a container lacks; gives the names of what was set.
fn fill(container: &mut Value, field: &str, defaults: &[Value], source: &str) -> Vec<String> {
    let mut set = Vec::new();
    for (name, amount) in defaults.iter().flat_map(|d| d[source].as_object().into_iter().flatten()) {
        if container["resources"][field].get(name).is_none() {
            container["resources"][field][name] = amount.clone();
            set.push(name.to_string());
        }
    }
    set.sort();
    set
}

/// Refuses what is beyond a bound.
pub(crate) fn validate(request: &Request<'_>, object: Option<&Object>, lookup: &dyn Lookup) -> Result<(), Status> {
    let Some(object) = object.filter(|_| applies(request)) else { return Ok(()) };
    for range in lookup.list("", "limitranges", Some(request.namespace)) {
        let mut errors = if request.is("", "Pod") { pod(&range, object) } else { claim(&range, object) };
        // Two containers with the same fault are told of once.
        let mut told = std::collections::HashSet::new();
        errors.retain(|error| told.insert(error.clone()));
        let why = match errors.as_slice() {
            [] => continue,
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        return Err(request.refusal(&why));
    }
    Ok(())
}

/// Bounds are judged as they follow each other, whatever they bound.
fn pod(range: &Object, pod: &Object) -> Vec<String> {
    let mut errors = Vec::new();
    for limit in range["spec"]["limits"].as_array().into_iter().flatten() {
        match limit["type"].as_str() {
            Some("Container") => {
                let of = |list| pod["spec"][list].as_array().into_iter().flatten();
                for container in of("containers").chain(of("initContainers")) {
                    let of = |field: &str| amounts::read(&container["resources"][field]);
                    check(limit, "Container", &of("requests"), &of("limits"), &mut errors);
                }
            }
            Some("Pod") => {
                let of = |field| amounts::of_containers(pod, field);
                check(limit, "Pod", &of("requests"), &of("limits"), &mut errors);
            }
            _ => {}
        }
    }
    errors
}

fn claim(range: &Object, claim: &Object) -> Vec<String> {
    let mut errors = Vec::new();
    let requests = amounts::read(&claim["spec"]["resources"]["requests"]);
    for limit in limits(std::slice::from_ref(range), "PersistentVolumeClaim") {
        for (name, bound) in amounts::read(&limit["min"]) {
            errors.extend(below(&name, "PersistentVolumeClaim", bound, &requests, &Amounts::new()));
        }
        for (name, bound) in amounts::read(&limit["max"]) {
            let Some(request) = requests.get(&name) else { continue };
            if *request > bound {
                errors.push(format!(
                    "maximum {name} usage per PersistentVolumeClaim is {bound}, but request is {request}"
                ));
            }
        }
    }
    errors
}

fn check(limit: &Value, kind: &str, requests: &Amounts, limits: &Amounts, errors: &mut Vec<String>) {
    for (name, bound) in amounts::read(&limit["min"]) {
        errors.extend(below(&name, kind, bound, requests, limits));
    }
    for (name, bound) in amounts::read(&limit["max"]) {
        errors.extend(above(&name, kind, bound, requests, limits));
    }
    for (name, bound) in amounts::read(&limit["maxLimitRequestRatio"]) {
        errors.extend(ratio(&name, kind, bound, requests, limits));
    }
}

fn below(name: &str, kind: &str, bound: Quantity, requests: &Amounts, limits: &Amounts) -> Option<String> {
    let start = format!("minimum {name} usage per {kind} is {bound}");
    match (requests.get(name), limits.get(name)) {
        (None, _) => Some(format!("{start}.  No request is specified")),
        (Some(request), _) if *request < bound => Some(format!("{start}, but request is {request}")),
        (_, Some(limit)) if *limit < bound => Some(format!("{start}, but limit is {limit}")),
        _ => None,
    }
}

fn above(name: &str, kind: &str, bound: Quantity, requests: &Amounts, limits: &Amounts) -> Option<String> {
    let start = format!("maximum {name} usage per {kind} is {bound}");
    match (requests.get(name), limits.get(name)) {
        (_, None) => Some(format!("{start}.  No limit is specified")),
        (_, Some(limit)) if *limit > bound => Some(format!("{start}, but limit is {limit}")),
        (Some(request), _) if *request > bound => Some(format!("{start}, but request is {request}")),
        _ => None,
    }
}

fn ratio(name: &str, kind: &str, bound: Quantity, requests: &Amounts, limits: &Amounts) -> Option<String> {
    let start = format!("{name} max limit to request ratio per {kind} is {bound}");
    let positive = |amount: Option<&Quantity>| amount.map(|a| a.nanos()).filter(|n| *n > 0);
    let Some(request) = positive(requests.get(name)) else {
        return Some(format!("{start}, but no request is specified or request is 0"));
    };
    let Some(limit) = positive(limits.get(name)) else {
        return Some(format!("{start}, but no limit is specified or limit is 0"));
    };
    #[expect(clippy::cast_precision_loss, reason = "the ratio is told to six digits")]
    let observed = limit as f64 / request as f64;
    // In whole numbers: limit / request > bound.
    let beyond = limit.saturating_mul(1_000_000_000) > bound.nanos().saturating_mul(request);
    beyond.then(|| format!("{start}, but provided ratio is {observed:.6}"))
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    fn range(limit: Value) -> Object {
        json!({"spec": {"limits": [limit]}})
    }

    fn one(requests: Value, limits: Value) -> Object {
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests, "limits": limits}}]}})
    }

    #[test]
    fn bounds_are_told_in_upstreams_words() {
        let min = range(json!({"type": "Container", "min": {"memory": "64Mi"}}));
        let max = range(json!({"type": "Pod", "max": {"memory": "64Mi"}}));
        let table = [
            (&min, one(json!({"memory": "64Mi"}), json!({})), ""),
            (&min, one(json!({}), json!({})), "minimum memory usage per Container is 64Mi.  No request is specified"),
            (
                &min,
                one(json!({"memory": "32Mi"}), json!({})),
                "minimum memory usage per Container is 64Mi, but request is 32Mi",
            ),
            (&max, one(json!({}), json!({"memory": "1Gi"})), "maximum memory usage per Pod is 64Mi, but limit is 1Gi"),
        ];
        for (range, object, want) in table {
            assert_eq!(pod(range, &object).join("; "), want, "{object}");
        }
    }

    #[test]
    fn bounds_are_told_in_their_order_and_without_overhead() {
        let limits = json!([{"type": "Pod", "max": {"cpu": "1"}}, {"type": "Container", "max": {"cpu": "1"}}]);
        let range = json!({"spec": {"limits": limits}});
        let mut two = one(json!({}), json!({"cpu": "2"}));
        two["spec"]["overhead"] = json!({"cpu": "1"});
        let told = pod(&range, &two);
        assert_eq!(told, ["Pod", "Container"].map(|kind| format!("maximum cpu usage per {kind} is 1, but limit is 2")));
    }

    #[test]
    fn a_ratio_counts_exactly() {
        let range = range(json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}));
        let of = |limit: &str| pod(&range, &one(json!({"cpu": "100m"}), json!({"cpu": limit}))).join("");
        assert_eq!(of("200m"), "");
        assert_eq!(of("300m"), "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000");
    }

    #[test]
    fn claims_are_bounded_by_their_requests() {
        let range =
            range(json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}));
        let of = |size: &str| claim(&range, &json!({"spec": {"resources": {"requests": {"storage": size}}}})).join("");
        assert_eq!(of("1Gi"), "");
        assert_eq!(of("512Mi"), "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 512Mi");
        assert_eq!(of("3Gi"), "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi");
    }
}
