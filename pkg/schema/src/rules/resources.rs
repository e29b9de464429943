// SPDX-License-Identifier: Apache-2.0

//! Resource names, amounts, requests and limits of containers and pods.

use std::cmp::Ordering;

use knarr_types::{ErrorList, FieldError};

use super::amount::{Amount, compare};
use super::at::At;
use super::metadata::{NOT_NEGATIVE, faults};
use super::names;

const INTEGER_RESOURCES: &[&str] = &[
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
const STANDARD_RESOURCES: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];

/// What is wrong with the requests and limits of a container.
pub fn container(resources: &At<'_>, claims_of_pod: &[&str]) -> ErrorList {
    let mut errors = requests_and_limits(resources);
    errors.extend(claims(resources, claims_of_pod));
    errors
}

/// What is wrong with the requests and limits of a whole pod.
pub fn pod(spec: &At<'_>) -> ErrorList {
    let resources = spec.get("resources");
    if !resources.is_set() {
        return ErrorList::new();
    }
    let mut errors = ErrorList::new();
    if resources.has("claims") {
        errors.push(resources.get("claims").forbidden("claims cannot be set for Resources at pod-level"));
    }
    for list in ["limits", "requests"] {
        for (name, amount) in resources.entries(list) {
            if !(["cpu", "memory"].contains(&name) || is_huge_page(name)) {
                errors.push(FieldError::not_supported(&amount.path, name, &["cpu", "hugepages-", "memory"]));
            }
        }
    }
    errors.extend(requests_and_limits(&resources));
    errors.extend(fits_containers(spec, &resources));
    errors
}

fn fits_containers(spec: &At<'_>, resources: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
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

fn requests_and_limits(resources: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    for (name, amount) in limits.entries_here() {
        errors.extend(container_resource_name(name, &amount));
        errors.extend(quantity(name, &amount));
        errors.extend(huge_page_multiple(name, &amount));
    }
    for (name, amount) in requests.entries_here() {
        errors.extend(container_resource_name(name, &amount));
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
    let Some(limit) = limits.value.get(name).and_then(serde_json::Value::as_str) else {
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
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for claim in resources.items("claims") {
        let name = claim.str("name");
        if name.is_empty() {
            errors.push(claim.required(""));
            continue;
        }
        let key = (name, claim.str("request"));
        if seen.contains(&key) {
            let shown = if key.1.is_empty() { name.to_owned() } else { format!("{name}/{}", key.1) };
            errors.push(FieldError::duplicate(&claim.path, shown));
        }
        seen.push(key);
        if !claims_of_pod.contains(&name) {
            let mut error = FieldError::not_found(&claim.path, name);
            error.detail = if claims_of_pod.is_empty() {
                "must be one of the names in pod.spec.resourceClaims which is empty".to_owned()
            } else {
                format!("must be one of the names in pod.spec.resourceClaims: {}", claims_of_pod.join(", "))
            };
            errors.push(error);
        }
    }
    errors
}

/// What is wrong with the amount of a resource.
pub fn quantity(name: &str, amount: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(parsed) = Amount::parse(amount.text()) else { return errors };
    if parsed.is_negative() {
        errors.push(amount.invalid(NOT_NEGATIVE));
    }
    if (INTEGER_RESOURCES.contains(&name) || is_extended(name)) && !parsed.is_whole() {
        errors.push(amount.invalid("must be an integer"));
    }
    errors
}

fn huge_page_multiple(name: &str, amount: &At<'_>) -> Option<FieldError> {
    let unit = Amount::parse(name.strip_prefix("hugepages-")?)?;
    let parsed = Amount::parse(amount.text())?;
    let message = format!("{} is not positive integer multiple of {name}", amount.text());
    (!parsed.is_multiple_of(unit)).then(|| amount.invalid(message))
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
    STANDARD_RESOURCES.contains(&name) || is_huge_page(name) || name.starts_with("requests.hugepages-")
}
