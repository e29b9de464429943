// SPDX-License-Identifier: Apache-2.0

//! What is wrong with Services (ValidateService, ValidateServiceUpdate).

use std::net::IpAddr;

use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldError, FieldPath, Object};

use super::at::At;
use super::service::{is_externally_accessible, needs_health_check, settle_families};
use super::{addresses, metadata, names, service_changes, service_ports};

const ONLY_LOAD_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";
const NOT_EXTERNAL_NAME: &str = "may not be set for ExternalName services";
/// What is said of what stays.
pub(super) const KEPT: &str = "may not change once set";
/// The old annotation for endpoints nearby.
pub(super) const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
/// The newer one.
pub(super) const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// What is wrong with the addresses that a service names, which is told alone.
#[must_use]
pub fn judge_addresses(service: &Object, old: Option<&Object>) -> ErrorList {
    let errors = cluster_ips(&At::root(service).get("spec"));
    if errors.is_empty() { settle_families(&mut service.clone(), old) } else { errors }
}

/// Addresses are given out before anything else is judged: what is wrong with them is said alone.
pub(super) fn validate_new(service: &Object) -> ErrorList {
    let errors = judge_addresses(service, None);
    if errors.is_empty() { validate(&At::root(service), true) } else { errors }
}

fn validate(service: &At<'_>, is_new: bool) -> ErrorList {
    let spec = service.get("spec");
    let mut errors: ErrorList = topology_annotations(&service.get("metadata.annotations")).into_iter().collect();
    errors.extend(by_type(&spec));
    errors.extend(service_ports::each_port(&spec));
    errors.extend(metadata::labels(&spec.get("selector")));
    errors.extend(session_affinity(&spec));
    errors.extend(cluster_ips(&spec));
    for address in spec.items("externalIPs") {
        let faults = addresses::ip(&address);
        errors.extend(if faults.is_empty() { addresses::not_special(&address) } else { faults });
    }
    errors.extend(super::containers::required_one_of(
        &spec.get("type"),
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
    ));
    errors.extend(service_ports::together(&spec, is_new));
    errors.extend(load_balancer(&spec, &service.get("metadata.annotations")));
    errors.extend(load_balancer_class(&spec, None));
    errors.extend(traffic_policies(&spec));
    errors
}

/// The old annotation says what the new one does, where both are there.
fn topology_annotations(annotations: &At<'_>) -> Option<FieldError> {
    let given = |key: &str| annotations.value.get(key).and_then(Value::as_str);
    let (mode, hints) = (given(TOPOLOGY_MODE)?, given(TOPOLOGY_HINTS)?);
    let message = format!("must match annotations[{TOPOLOGY_HINTS}] when both are specified");
    (mode != hints).then(|| FieldError::invalid(&annotations.path.key(TOPOLOGY_MODE), mode, message))
}

fn by_type(spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let headless = spec.strings("clusterIPs").first() == Some(&"None");
    let kind = spec.str("type");
    if spec.len("ports") == 0 && !headless && kind != "ExternalName" {
        errors.push(spec.get("ports").required(""));
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let path = spec.get("clusterIPs").path.index(0);
            errors.push(FieldError::invalid(&path, "None", format!("may not be set to 'None' for {kind} services")));
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies"] {
                if spec.len(field) > 0 {
                    errors.push(spec.get(field).forbidden(NOT_EXTERNAL_NAME));
                }
            }
            if spec.has("ipFamilyPolicy") {
                errors.push(spec.get("ipFamilyPolicy").forbidden(NOT_EXTERNAL_NAME));
            }
            let name = spec.get("externalName");
            match name.text().strip_suffix('.').unwrap_or(name.text()) {
                "" => errors.push(name.required("")),
                given => errors.extend(metadata::faults(&name.path, given, names::dns1123_subdomain(given))),
            }
        }
        _ => {}
    }
    errors
}

fn session_affinity(spec: &At<'_>) -> ErrorList {
    let mut errors: ErrorList =
        super::containers::required_one_of(&spec.get("sessionAffinity"), &["ClientIP", "None"]).into_iter().collect();
    let config = spec.get("sessionAffinityConfig");
    match spec.str("sessionAffinity") {
        "ClientIP" => {
            let timeout = config.get("clientIP.timeoutSeconds");
            if timeout.value.as_i64().is_some_and(|seconds| !(1..=86400).contains(&seconds)) {
                errors.push(timeout.invalid("must be greater than 0 and less than 86400"));
            }
        }
        "None" if config.is_set() => {
            errors.push(config.forbidden("must not be set when session affinity is None"));
        }
        _ => {}
    }
    errors
}

fn cluster_ips(spec: &At<'_>) -> ErrorList {
    if spec.str("type") == "ExternalName" {
        return ErrorList::new();
    }
    let list = spec.get("clusterIPs");
    let given = spec.strings("clusterIPs");
    let mut errors = ErrorList::new();
    match (spec.str("clusterIP"), given.first()) {
        ("", Some(_)) => errors.push(list.invalid("must be empty when `clusterIP` is not specified")),
        ("", None) => {}
        (_, None) => errors.push(list.required("")),
        (address, Some(first)) if address != *first => errors.push(list.invalid("first value must match `clusterIP`")),
        _ => {}
    }
    errors.extend(families(spec));
    let mut invalid = false;
    for (index, address) in spec.items("clusterIPs").iter().enumerate() {
        if index == 0 && address.text() == "None" {
            if given.len() > 1 {
                errors.push(list.invalid("'None' must be the first and only value"));
            }
            continue;
        }
        let faults = addresses::ip(address);
        invalid |= !faults.is_empty();
        errors.extend(faults);
    }
    if given.len() > 2 {
        errors.push(list.invalid("may only hold up to 2 values"));
    }
    if invalid {
        return errors;
    }
    let six = given.iter().filter(|address| addresses::is_ipv6(address)).count();
    if given.len() > 1 && (six == 0 || six == given.len()) {
        errors.push(list.invalid("may specify no more than one IP for each IP family"));
    }
    for (index, (address, family)) in spec.items("clusterIPs").iter().zip(spec.strings("ipFamilies")).enumerate() {
        let Ok(parsed) = address.text().parse::<IpAddr>() else { continue };
        let actual = if parsed.is_ipv6() { "IPv6" } else { "IPv4" };
        if ["IPv4", "IPv6"].contains(&family) && family != actual {
            errors.push(address.invalid(format!("expected an {family} value as indicated by `ipFamilies[{index}]`")));
        }
    }
    errors
}

fn families(spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = Vec::new();
    for family in spec.items("ipFamilies") {
        errors.extend(super::security::one_of(&family, &["IPv4", "IPv6"]));
        if seen.contains(&family.text()) {
            errors.push(family.duplicate());
        }
        seen.push(family.text());
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    errors.extend(super::security::one_of(&spec.get("ipFamilyPolicy"), &policies));
    errors
}

fn load_balancer(spec: &At<'_>, annotations: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let balanced = spec.str("type") == "LoadBalancer";
    let ranges = spec.get("loadBalancerSourceRanges").named(spec.path.child("LoadBalancerSourceRanges"));
    let trimmed = |text: &str, path: FieldPath| addresses::cidr(&At::new(&Value::from(text.trim()), path));
    if spec.len("loadBalancerSourceRanges") > 0 {
        if !balanced {
            errors.push(ranges.forbidden(ONLY_LOAD_BALANCER));
        }
        for (index, range) in spec.strings("loadBalancerSourceRanges").iter().enumerate() {
            errors.extend(trimmed(range, ranges.path.index(index)));
        }
    } else if let Some(text) = annotations.value.get(SOURCE_RANGES).and_then(Value::as_str) {
        let path = annotations.path.key(SOURCE_RANGES);
        if !balanced {
            errors.push(FieldError::forbidden(&path, ONLY_LOAD_BALANCER));
        }
        let ranges = text.split(',').filter(|_| !text.trim().is_empty());
        errors.extend(ranges.flat_map(|range| trimmed(range, path.clone())));
    }
    let allocate = spec.get("allocateLoadBalancerNodePorts");
    match (balanced, allocate.is_set()) {
        (false, true) => errors.push(allocate.forbidden(ONLY_LOAD_BALANCER)),
        (true, false) => {
            errors.push(FieldError::required(&FieldPath::new("allocateLoadBalancerNodePorts"), ""));
        }
        _ => {}
    }
    errors
}

fn load_balancer_class(spec: &At<'_>, before: Option<&At<'_>>) -> ErrorList {
    let class = spec.get("loadBalancerClass");
    if spec.str("type") != "LoadBalancer" {
        return class.is_set().then(|| class.forbidden(ONLY_LOAD_BALANCER)).into_iter().collect();
    }
    let mut errors = ErrorList::new();
    let balanced_before = before.filter(|before| before.str("type") == "LoadBalancer");
    if balanced_before.is_some_and(|before| before.raw("loadBalancerClass") != class.value) {
        errors.push(class.invalid(KEPT));
    }
    if class.is_set() {
        errors.extend(class.faults(names::qualified_name(class.text())));
    }
    errors
}

fn traffic_policies(spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let external = spec.get("externalTrafficPolicy");
    if is_externally_accessible(spec.value) {
        errors.extend(super::containers::required_one_of(&external, &["Cluster", "Local"]));
    } else if !external.text().is_empty() {
        errors.push(external.invalid("may only be set for externally-accessible services"));
    }
    let health_check = spec.get("healthCheckNodePort");
    if needs_health_check(spec.value) {
        if spec.int("healthCheckNodePort") != 0 {
            errors.extend(health_check.faults(names::port_number(spec.int("healthCheckNodePort"))));
        }
    } else if spec.int("healthCheckNodePort") != 0 {
        let message = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(health_check.invalid(message));
    }
    errors.extend(super::security::one_of(&spec.get("internalTrafficPolicy"), &["Cluster", "Local"]));
    let distributions = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    errors.extend(super::security::one_of(&spec.get("trafficDistribution"), &distributions));
    errors
}

/// What is wrong with a change of a service, or of its status.
pub(super) fn validate_update(new: &Object, old: &Object, subresource: &str) -> ErrorList {
    let (service, before) = (At::root(new), At::root(old));
    if subresource == "status" {
        let balancer = service.get("status.loadBalancer");
        if service.str("spec.type") != "LoadBalancer" && balancer.len("ingress") > 0 {
            return vec![balancer.get("ingress").forbidden("may only be used when `spec.type` is 'LoadBalancer'")];
        }
        return addresses::load_balancer_status(&balancer, true);
    }
    let (spec, old_spec) = (service.get("spec"), before.get("spec"));
    let faults = judge_addresses(new, Some(old));
    if !faults.is_empty() {
        return faults;
    }
    let mut errors = service_changes::kept_addresses(&spec, &old_spec);
    errors.extend(service_changes::kept_families(&spec, &old_spec));
    errors.extend(load_balancer_class(&spec, Some(&old_spec)));
    let health_check = spec.get("healthCheckNodePort");
    let checked = needs_health_check(spec.value) && needs_health_check(old_spec.value);
    if checked && spec.int("healthCheckNodePort") != old_spec.int("healthCheckNodePort") {
        errors.push(health_check.forbidden("field is immutable"));
    }
    errors.extend(validate(&service, false));
    errors
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn wrong_addresses_are_told_of_alone() {
        let service = json!({"spec": {"type": "ClusterIP", "clusterIP": "x", "clusterIPs": ["x"], "ports": []}});
        let told: Vec<_> = validate_new(&service).iter().map(|error| error.path.to_string()).collect();
        assert_eq!(told, ["spec.clusterIPs[0]"]);
    }
}
