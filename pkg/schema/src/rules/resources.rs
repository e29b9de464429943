// SPDX-License-Identifier: Apache-2.0

//! Resource names, amounts, requests and limits of containers and pods.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldError, Quantity};

use super::amount::{Amount, compare};
use super::at::At;
use super::metadata::{NOT_NEGATIVE, faults};
use super::names;

/// Those that are counted.
const COUNTED_RESOURCES: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
/// The others that the cluster knows by itself.
const MEASURED_RESOURCES: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "storage",
    "requests.storage",
];

/// Judges the name of a resource.
type NameCheck = fn(&str, &At<'_>) -> ErrorList;

/// What is wrong with the requests and limits of a container.
pub fn container(resources: &At<'_>, claims_of_pod: &[&str]) -> ErrorList {
    let mut errors = requests_and_limits(resources, container_resource_name);
    errors.extend(claims(resources, claims_of_pod));
    errors
}

/// What is wrong with what a pod takes beside its containers: upstream judges it as their limits.
pub fn overhead(overhead: &At<'_>) -> ErrorList {
    if !overhead.is_set() {
        return ErrorList::new();
    }
    let limits = knarr_types::tree::json!({"limits": overhead.value});
    requests_and_limits(&At::new(&limits, overhead.path.clone()), container_resource_name)
}

/// What is wrong with the requests and limits of a whole pod.
pub fn pod(spec: &At<'_>) -> ErrorList {
    let resources = spec.get("resources");
    if !resources.is_set() {
        return ErrorList::new();
    }
    if spec.str("os.name") == "windows" {
        return vec![resources.forbidden("may not be set for a windows pod")];
    }
    let mut errors = ErrorList::new();
    if resources.has("claims") {
        errors.push(resources.get("claims").forbidden("claims may not be set for Resources at pod-level"));
    }
    errors.extend(requests_and_limits(&resources, pod_resource_name));
    let claims_of_pod: Vec<&str> = spec.items("resourceClaims").iter().map(|claim| claim.str("name")).collect();
    errors.extend(claims(&resources, &claims_of_pod));
    errors.extend(fits_containers(spec, &resources));
    errors
}

fn pod_resource_name(name: &str, amount: &At<'_>) -> ErrorList {
    let errors = resource_name(name, amount);
    if errors.is_empty() && !is_of_pods(name) {
        return vec![FieldError::not_supported(&amount.path, name, &["cpu", "hugepages-", "memory"])];
    }
    errors
}

fn fits_containers(spec: &At<'_>, resources: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for list in ["requests", "limits"] {
        // Only of what cannot be shared out twice do the limits count together.
        let judged = |name: &str| {
            (list == "requests" || is_huge_page(name)) && named_by_containers(spec.value, list).contains(name)
        };
        for (name, amount) in resources.entries(list).into_iter().filter(|(name, _)| judged(name)) {
            let together = aggregated(spec, list, name);
            if amount.text().parse::<Quantity>().is_ok_and(|given| together.nanos() > given.nanos()) {
                let message = format!("must be greater than or equal to aggregate container {list} of {together}");
                errors.push(amount.invalid(message));
            }
        }
    }
    for (index, container) in spec.items("containers").iter().enumerate() {
        for (name, limit) in container.entries("resources.limits") {
            let of_pod = resources.get("limits").str(name);
            if !of_pod.is_empty() && compare(limit.text(), of_pod) == Ordering::Greater {
                let path = resources.get("containers").path.index(index).key(name).child("limits");
                let message = format!("must be less than or equal to pod limits of {of_pod}");
                errors.push(FieldError::invalid(&path, limit.text(), message));
            }
        }
    }
    errors
}

/// What the containers of a pod have together, or any step of its start alone, if that is more
/// (AggregateContainerRequests).
pub(super) fn aggregated(spec: &At<'_>, list: &str, name: &str) -> Quantity {
    let of = |container: &At<'_>| {
        let given = container.get("resources").get(list);
        let amount = match given.value.get(name) {
            Some(Value::String(text)) => text.parse::<Quantity>().ok(),
            Some(Value::Number(number)) => number.to_string().parse().ok(),
            _ => None,
        };
        amount.unwrap_or(Quantity::ZERO)
    };
    let max = |a: Quantity, b: Quantity| if b.nanos() > a.nanos() { b } else { a };
    let running = spec.items("containers").iter().map(of).fold(Quantity::ZERO, Quantity::plus);
    let (mut sidecars, mut most) = (Quantity::ZERO, Quantity::ZERO);
    for container in spec.items("initContainers") {
        let with_own = sidecars.plus(of(&container));
        if container.str("restartPolicy") == "Always" {
            sidecars = with_own;
        }
        most = max(most, with_own);
    }
    max(running.plus(sidecars), most)
}

/// The resources that containers of a pod ask for, or are limited in.
pub(super) fn named_by_containers(spec: &Value, list: &str) -> BTreeSet<String> {
    let containers = ["containers", "initContainers"].iter().filter_map(|all| spec[*all].as_array()).flatten();
    let amounts = containers.filter_map(|container| container["resources"][list].as_object());
    amounts.flat_map(|amounts| amounts.iter().map(|(name, _)| name.to_string())).collect()
}

/// A pod may ask for it as a whole.
pub(super) fn is_of_pods(name: &str) -> bool {
    ["cpu", "memory"].contains(&name) || is_huge_page(name)
}

fn requests_and_limits(resources: &At<'_>, name_check: NameCheck) -> ErrorList {
    let mut errors = ErrorList::new();
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    for (name, amount) in limits.entries_here() {
        errors.extend(name_check(name, &amount));
        errors.extend(quantity(name, &amount));
        errors.extend(huge_page_multiple(name, &amount));
    }
    for (name, amount) in requests.entries_here() {
        errors.extend(name_check(name, &amount));
        errors.extend(quantity(name, &amount));
        errors.extend(request_within_limit(name, &amount, &requests, &limits));
        errors.extend(huge_page_multiple(name, &amount));
    }
    let names: Vec<_> =
        limits.entries_here().into_iter().chain(requests.entries_here()).map(|(name, _)| name).collect();
    let huge = names.iter().any(|name| is_huge_page(name));
    if huge && !names.iter().any(|name| ["cpu", "memory"].contains(name)) {
        errors.push(resources.forbidden("HugePages require cpu or memory"));
    }
    errors
}

fn request_within_limit(name: &str, request: &At<'_>, requests: &At<'_>, limits: &At<'_>) -> Option<FieldError> {
    let may_exceed = is_native(name) && !is_huge_page(name);
    let Some(limit) = limits.value.get(name).and_then(Value::as_str) else {
        return (!may_exceed).then(|| limits.required("Limit must be set for non overcommitable resources"));
    };
    let order = compare(request.text(), limit);
    let wrong = if order != Ordering::Equal && !may_exceed {
        "must be equal to"
    } else if order == Ordering::Greater {
        "must be less than or equal to"
    } else {
        return None;
    };
    Some(requests.invalid_as(request.text(), format!("{wrong} {name} limit of {limit}")))
}

fn claims(resources: &At<'_>, claims_of_pod: &[&str]) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen: Vec<String> = Vec::new();
    for claim in resources.items("claims") {
        let name = claim.str("name");
        if name.is_empty() {
            errors.push(claim.required(""));
            continue;
        }
        errors.extend(overlap(&claim, &mut seen));
        if !claims_of_pod.contains(&name) {
            errors.push(unknown_claim(&claim, claims_of_pod));
        }
    }
    errors
}

/// A claim is asked for whole, or request by request, and nothing of it twice.
fn overlap(claim: &At<'_>, seen: &mut Vec<String>) -> ErrorList {
    let (name, request) = (claim.str("name"), claim.get("request"));
    if seen.iter().any(|other| other == name) {
        return vec![FieldError::duplicate(&claim.path, name)];
    }
    let mut errors = ErrorList::new();
    let key = if request.text().is_empty() { name.to_owned() } else { format!("{name}/{}", request.text()) };
    if !request.text().is_empty() {
        errors.extend(request.faults(names::dns1123_label(request.text())));
    }
    if seen.contains(&key) {
        errors.push(FieldError::duplicate(&claim.path, key.clone()));
    } else if request.text().is_empty() {
        let parts = seen.iter().filter(|other| other.split_once('/').is_some_and(|(other, _)| other == name));
        errors.extend(parts.map(|_| FieldError::duplicate(&claim.path, name)));
    }
    if !seen.contains(&key) {
        seen.push(key);
    }
    errors
}

fn unknown_claim(claim: &At<'_>, claims_of_pod: &[&str]) -> FieldError {
    let mut error = FieldError::not_found(&claim.path, claim.str("name"));
    let mut known: Vec<&str> = claims_of_pod.iter().copied().filter(|name| !name.is_empty()).collect();
    known.sort_unstable();
    known.dedup();
    let what = "must be one of the names in pod.spec.resourceClaims";
    error.detail =
        if known.is_empty() { format!("{what} which is empty") } else { format!("{what}: {}", known.join(", ")) };
    error
}

/// What is wrong with the amount of a resource.
pub fn quantity(name: &str, amount: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(parsed) = Amount::parse(amount.text()) else { return errors };
    if parsed.is_negative() {
        errors.push(amount.invalid(NOT_NEGATIVE));
    }
    if (COUNTED_RESOURCES.contains(&name) || is_extended(name)) && !parsed.is_whole() {
        errors.push(amount.invalid("must be an integer"));
    }
    errors
}

fn huge_page_multiple(name: &str, amount: &At<'_>) -> Option<FieldError> {
    let size = name.strip_prefix("hugepages-")?;
    let parsed = Amount::parse(amount.text())?;
    // A size that is none divides nothing.
    let fits = Amount::parse(size).is_some_and(|unit| parsed.is_multiple_of(unit));
    let message = format!("{} is not positive integer multiple of {name}", amount.text());
    (!fits).then(|| amount.invalid(message))
}

/// What is wrong with the name of any resource.
pub fn resource_name(name: &str, amount: &At<'_>) -> ErrorList {
    let mut errors = faults(&amount.path, name, names::qualified_name(name));
    if errors.is_empty() && !name.contains('/') && !is_standard(name) {
        errors.push(amount.invalid_as(name, "must be a standard resource type or fully qualified"));
    }
    errors
}

/// What is wrong with the name of a resource that a container asks for.
pub fn container_resource_name(name: &str, amount: &At<'_>) -> ErrorList {
    let mut errors = resource_name(name, amount);
    if !name.contains('/') {
        if !["cpu", "memory", "ephemeral-storage"].contains(&name) && !is_huge_page(name) {
            errors.push(amount.invalid_as(name, "must be a standard resource for containers"));
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.push(amount.invalid_as(name, "doesn't follow extended resource name standard"));
    }
    errors
}

/// The cluster's own resource, not one of a device.
pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// A device's resource.
pub fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Memory in large pages.
pub fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// The cluster knows this resource by itself.
pub fn is_standard(name: &str) -> bool {
    let is_listed = [COUNTED_RESOURCES, MEASURED_RESOURCES].iter().any(|list| list.contains(&name));
    is_listed || is_huge_page(name) || name.starts_with("requests.hugepages-")
}
