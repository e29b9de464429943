// SPDX-License-Identifier: Apache-2.0

//! Services (`pkg/registry/core/service`, ValidateService). Addresses and node ports are given out
//! by the server; what can be said about them without an allocator is here.

use std::net::IpAddr;

use knarr_types::tree::{Value, json};
use knarr_types::{ErrorList, FieldError, FieldPath, Object};

use super::Rules;
use super::at::{At, same};
use super::fill::{each, empty, keep, object, remove, unset};
use super::names;
use super::service_changes;
use super::service_ports;
use super::{addresses, metadata};

pub(super) static SERVICE: Rules = Rules {
    default,
    prepare_create,
    prepare_update,
    name: names::dns_label_name,
    validate: validate_new,
    validate_update,
    warnings: service_changes::warnings,
    status_warnings: addresses::load_balancer_warnings,
    fields,
    allow_create_on_update: true,
    ..Rules::DEFAULT
};

const ONLY_LOAD_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";
const NOT_EXTERNAL_NAME: &str = "may not be set for ExternalName services";
/// What is said of what stays.
pub(super) const KEPT: &str = "may not change once set";
/// The old annotation for endpoints nearby.
pub(super) const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
/// The newer one.
pub(super) const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

fn default(service: &mut Object) {
    let spec = object(service, "spec");
    empty(spec, "sessionAffinity", "None");
    if spec["sessionAffinity"] == "None" {
        remove(spec, "sessionAffinityConfig");
    } else if spec["sessionAffinity"] == "ClientIP"
        && spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].is_null()
    {
        spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 10800}});
    }
    empty(spec, "type", "ClusterIP");
    for port in each(spec, "ports") {
        empty(port, "protocol", "TCP");
        let number = port["port"].clone();
        empty(port, "targetPort", number);
    }
    if is_externally_accessible(spec) {
        empty(spec, "externalTrafficPolicy", "Cluster");
    }
    if ["NodePort", "LoadBalancer", "ClusterIP"].contains(&kind(spec)) {
        unset(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind(spec) == "LoadBalancer" {
        unset(spec, "allocateLoadBalancerNodePorts", true);
        if let Some(balancer) = super::fill::at(service, "status.loadBalancer") {
            each(balancer, "ingress")
                .filter(|ingress| ingress["ip"].is_string())
                .for_each(|i| unset(i, "ipMode", "VIP"));
        }
    }
}

fn prepare_create(service: &mut Object) {
    service["status"] = json!({"loadBalancer": {}});
    let spec = object(service, "spec");
    let address = spec["clusterIP"].as_str().unwrap_or_default().to_owned();
    if !address.is_empty() && len(&spec["clusterIPs"]) == 0 {
        spec["clusterIPs"] = json!([address]);
    }
}

fn prepare_update(new: &mut Object, old: &Object, subresource: &str) {
    if subresource == "status" {
        keep(new, old, "spec");
        return;
    }
    keep(new, old, "status");
    if kind(&old["spec"]) == "LoadBalancer" && kind(&new["spec"]) != "LoadBalancer" {
        object(new, "status")["loadBalancer"] = json!({});
    }
    let (spec, before) = (object(new, "spec"), &old["spec"]);
    follow_cluster_ip(spec, before);
    keep_allocated(spec, before);
    drop_what_the_type_forbids(spec, before);
}

/// A client may say only one of `clusterIP` and `clusterIPs`; the other follows.
fn follow_cluster_ip(spec: &mut Value, before: &Value) {
    let (address, old_address) = (text(spec, "clusterIP").to_owned(), text(before, "clusterIP"));
    let list_untouched = same(&spec["clusterIPs"], &before["clusterIPs"]);
    if address != old_address && list_untouched {
        spec["clusterIPs"] = if address.is_empty() { json!([]) } else { json!([address]) };
    } else if address == old_address && !list_untouched && len(&spec["clusterIPs"]) == 0 && !address.is_empty() {
        spec["clusterIPs"] = json!([address]);
    }
}

/// What the server gave out stays where an update leaves it out.
fn keep_allocated(spec: &mut Value, before: &Value) {
    if kind(spec) != "ExternalName" && kind(before) != "ExternalName" {
        if text(spec, "clusterIP").is_empty() {
            keep(spec, before, "clusterIP");
        }
        if len(&spec["clusterIPs"]) == 0 && spec["clusterIP"] == before["clusterIP"] {
            keep(spec, before, "clusterIPs");
        }
        if len(&spec["ipFamilies"]) == 0 {
            keep(spec, before, "ipFamilies");
        }
        if spec["ipFamilyPolicy"].is_null() {
            keep(spec, before, "ipFamilyPolicy");
        }
    }
    if gets_node_ports(spec) && gets_node_ports(before) {
        keep_node_ports(spec, before);
    }
    if needs_health_check(spec) && needs_health_check(before) && spec["healthCheckNodePort"].as_i64().unwrap_or(0) == 0
    {
        keep(spec, before, "healthCheckNodePort");
    }
}

fn keep_node_ports(spec: &mut Value, before: &Value) {
    let numbers = |spec: &Value| -> Vec<i64> {
        spec["ports"].as_array().into_iter().flatten().filter_map(|port| port["nodePort"].as_i64()).collect()
    };
    let taken = numbers(spec);
    let known: Vec<(String, i64)> = before["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|port| Some((text(port, "name").to_owned(), port["nodePort"].as_i64()?)))
        .collect();
    for port in each(spec, "ports") {
        if port["nodePort"].as_i64().unwrap_or_default() != 0 {
            continue;
        }
        let name = text(port, "name").to_owned();
        if let Some((_, number)) = known.iter().find(|(other, number)| *other == name && !taken.contains(number)) {
            port["nodePort"] = json!(number);
        }
    }
}

/// Fields that the new type cannot have go, where the update did not set them itself.
fn drop_what_the_type_forbids(spec: &mut Value, before: &Value) {
    let drop_unchanged = |field: &str, spec: &mut Value| {
        if same(&spec[field], &before[field]) {
            remove(spec, field);
        }
    };
    if kind(before) != "ExternalName" && kind(spec) == "ExternalName" {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            drop_unchanged(field, spec);
        }
    }
    if needs_node_ports(before) && !needs_node_ports(spec) {
        let numbers = |spec: &Value| -> Vec<i64> {
            spec["ports"].as_array().into_iter().flatten().filter_map(|port| port["nodePort"].as_i64()).collect()
        };
        let had = numbers(before);
        if numbers(spec).iter().all(|number| had.contains(number)) {
            each(spec, "ports").for_each(|port| remove(port, "nodePort"));
        }
    }
    if needs_health_check(before) && !needs_health_check(spec) {
        drop_unchanged("healthCheckNodePort", spec);
    }
    if kind(before) == "LoadBalancer" && kind(spec) != "LoadBalancer" {
        drop_unchanged("allocateLoadBalancerNodePorts", spec);
        drop_unchanged("loadBalancerClass", spec);
    }
    if is_externally_accessible(before) && !is_externally_accessible(spec) {
        drop_unchanged("externalTrafficPolicy", spec);
    }
}

/// Settles address families and their policy in a cluster whose services have only IPv4 addresses; `old` is what the
/// service was. The server calls it after validation and before it gives out addresses.
pub fn settle_families(service: &mut Object, old: Option<&Object>) -> ErrorList {
    if kind(&service["spec"]) == "ExternalName" {
        // Upstream keeps it and shows it to nobody.
        remove(&mut service["spec"], "internalTrafficPolicy");
        return ErrorList::new();
    }
    let mut errors = old.map(|old| release_second(&mut service["spec"], &old["spec"])).unwrap_or_default();
    let at = At::root(service).get("spec");
    let headless = at.strings("clusterIPs").first() == Some(&"None");
    // Whoever writes the endpoints by hand may write both families.
    let by_hand = headless && at.len("selector") == 0;
    let undecided = if by_hand { "RequireDualStack" } else { "SingleStack" };
    let policy = at.raw("ipFamilyPolicy").as_str().unwrap_or(undecided).to_owned();
    for (list, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
        if policy == "SingleStack" && at.len(list) == 2 {
            let message = format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
            errors.push(at.get("ipFamilyPolicy").invalid_as(policy.as_str(), message));
        }
    }
    let mut families: Vec<&str> = at.strings("ipFamilies");
    for (index, address) in at.items("clusterIPs").iter().enumerate().filter(|(_, address)| address.text() != "None") {
        if index < families.len() {
            continue;
        }
        if addresses::is_ipv6(address.text()) {
            errors.push(address.invalid_as(at.raw("clusterIPs").clone(), "IPv6 is not configured on this cluster"));
        } else {
            families.push("IPv4");
        }
    }
    if !errors.is_empty() {
        return errors;
    }
    let settled = if by_hand {
        let first = families.first().copied().unwrap_or("IPv4");
        let second = if first == "IPv4" { "IPv6" } else { "IPv4" };
        if policy == "SingleStack" { json!([first]) } else { json!([first, second]) }
    } else {
        if policy == "RequireDualStack" {
            let message = "this cluster is not configured for dual-stack services";
            errors.push(at.get("ipFamilyPolicy").invalid_as(policy.as_str(), message));
        }
        for (index, _) in families.iter().enumerate().filter(|(_, family)| **family == "IPv6") {
            let path = at.get("ipFamilies").path.index(index);
            errors.push(FieldError::invalid(&path, "IPv6", "not configured on this cluster"));
        }
        if families.is_empty() { json!(["IPv4"]) } else { json!(families) }
    };
    service["spec"]["ipFamilies"] = settled;
    service["spec"]["ipFamilyPolicy"] = json!(policy);
    errors
}

/// A service that turns to a single stack lets go of its second address and family; no other may.
fn release_second(spec: &mut Value, before: &Value) -> ErrorList {
    let policy = text(spec, "ipFamilyPolicy").to_owned();
    let lists = [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")];
    if policy == "SingleStack" {
        for (list, _) in lists {
            if same(&spec[list], &before[list]) && len(&spec[list]) > 1 {
                spec[list] = json!([spec[list][0].clone()]);
            }
        }
        return ErrorList::new();
    }
    let reduced = lists.iter().filter(|(list, _)| (1..len(&before[*list])).contains(&len(&spec[*list])));
    let path = FieldPath::new("spec.ipFamilyPolicy");
    let fault = |what| {
        FieldError::invalid(&path, policy.as_str(), format!("must be 'SingleStack' to release the secondary {what}"))
    };
    if policy.is_empty() { ErrorList::new() } else { reduced.map(|(_, what)| fault(what)).collect() }
}

/// What is wrong with the addresses that a service names, which is told alone.
#[must_use]
pub fn judge_addresses(service: &Object, old: Option<&Object>) -> ErrorList {
    let errors = cluster_ips(&At::root(service).get("spec"));
    if errors.is_empty() { settle_families(&mut service.clone(), old) } else { errors }
}

/// Addresses are given out before anything else is judged: what is wrong with them is said alone.
fn validate_new(service: &Object) -> ErrorList {
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

fn validate_update(new: &Object, old: &Object, subresource: &str) -> ErrorList {
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

fn fields(service: &Object) -> Vec<(&'static str, String)> {
    let spec = At::root(service).get("spec");
    vec![("spec.clusterIP", spec.str("clusterIP").to_owned()), ("spec.type", spec.str("type").to_owned())]
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn kind(spec: &Value) -> &str {
    text(spec, "type")
}

fn len(list: &Value) -> usize {
    list.as_array().map_or(0, Vec::len)
}

fn is_externally_accessible(spec: &Value) -> bool {
    ["LoadBalancer", "NodePort"].contains(&kind(spec)) || (kind(spec) == "ClusterIP" && len(&spec["externalIPs"]) > 0)
}

/// A service that has node ports and does not do without.
fn gets_node_ports(spec: &Value) -> bool {
    needs_node_ports(spec) && (kind(spec) == "NodePort" || spec["allocateLoadBalancerNodePorts"] != false)
}

fn needs_node_ports(spec: &Value) -> bool {
    ["NodePort", "LoadBalancer"].contains(&kind(spec))
}

fn needs_health_check(spec: &Value) -> bool {
    kind(spec) == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_turns_to_cluster_ip_loses_what_only_others_have() {
        let mut old = json!({"spec": {"type": "NodePort", "clusterIP": "10.43.0.9", "clusterIPs": ["10.43.0.9"],
            "ports": [{"port": 80, "nodePort": 30001}], "externalTrafficPolicy": "Cluster"}});
        default(&mut old);
        let mut new = old.clone();
        new["spec"]["type"] = json!("ClusterIP");
        prepare_update(&mut new, &old, "");
        assert_eq!(new["spec"]["ports"][0].get("nodePort"), None);
        assert_eq!(new["spec"].get("externalTrafficPolicy"), None);
        assert_eq!(new["spec"]["clusterIP"], "10.43.0.9");
        // Ports may come and go with the type; numbers of nodes that are new are meant.
        for (ports, left) in [
            (json!([{"port": 81}, {"port": 80, "nodePort": 30001}]), json!([null, null])),
            (json!([{"port": 80, "nodePort": 30002}]), json!([30002])),
        ] {
            let mut new = old.clone();
            new["spec"]["type"] = json!("ClusterIP");
            new["spec"]["ports"] = ports;
            prepare_update(&mut new, &old, "");
            let numbers: Vec<Value> =
                new["spec"]["ports"].as_array().unwrap().iter().map(|port| port["nodePort"].clone()).collect();
            assert_eq!(json!(numbers), left);
        }
    }

    #[test]
    fn wrong_addresses_are_told_of_alone() {
        let service = json!({"spec": {"type": "ClusterIP", "clusterIP": "x", "clusterIPs": ["x"], "ports": []}});
        let told: Vec<_> = validate_new(&service).iter().map(|error| error.path.to_string()).collect();
        assert_eq!(told, ["spec.clusterIPs[0]"]);
    }

    #[test]
    fn a_single_family_is_what_a_service_gets() {
        let mut service = json!({"spec": {"type": "ClusterIP", "selector": {"a": "b"}}});
        assert_eq!(settle_families(&mut service, None), []);
        assert_eq!(service["spec"]["ipFamilies"], json!(["IPv4"]));
        assert_eq!(service["spec"]["ipFamilyPolicy"], "SingleStack");
        let mut both = json!({"spec": {"type": "ClusterIP", "selector": {"a": "b"}, "ipFamilyPolicy": "RequireDualStack",
            "ipFamilies": ["IPv4", "IPv6"]}});
        let told: Vec<_> = settle_families(&mut both, None).iter().map(|error| error.path.to_string()).collect();
        assert_eq!(told, ["spec.ipFamilyPolicy", "spec.ipFamilies[1]"]);
    }
}
