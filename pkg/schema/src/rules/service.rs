// SPDX-License-Identifier: Apache-2.0

//! Services (`pkg/registry/core/service`): their defaults, and what changes of them bring along. Addresses and node ports
//! are given out by the server; what can be said about them without an allocator is here.

use knarr_types::tree::{Value, json};
use knarr_types::{ErrorList, FieldError, FieldPath, Object};

use super::Rules;
use super::at::{At, same};
use super::fill::{each, empty, keep, object, remove, unset};
use super::{addresses, names, service_changes, service_validation};

pub use super::service_validation::judge_addresses;

pub(super) static SERVICE: Rules = Rules {
    default,
    prepare_create,
    prepare_update,
    name: names::dns_label_name,
    validate: service_validation::validate_new,
    validate_update: service_validation::validate_update,
    warnings: service_changes::warnings,
    status_warnings: addresses::load_balancer_warnings,
    fields,
    allow_create_on_update: true,
    ..Rules::DEFAULT
};

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

pub(super) fn is_externally_accessible(spec: &Value) -> bool {
    ["LoadBalancer", "NodePort"].contains(&kind(spec)) || (kind(spec) == "ClusterIP" && len(&spec["externalIPs"]) > 0)
}

/// A service that has node ports and does not do without.
fn gets_node_ports(spec: &Value) -> bool {
    needs_node_ports(spec) && (kind(spec) == "NodePort" || spec["allocateLoadBalancerNodePorts"] != false)
}

fn needs_node_ports(spec: &Value) -> bool {
    ["NodePort", "LoadBalancer"].contains(&kind(spec))
}

pub(super) fn needs_health_check(spec: &Value) -> bool {
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
