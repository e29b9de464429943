// SPDX-License-Identifier: Apache-2.0

//! NetworkPolicies, IP addresses and service CIDRs (`pkg/apis/networking/validation`).

use ipnet::IpNet;
use knarr_types::ErrorList;
use knarr_types::tree::{Value, json};

use super::Rules;
use super::addresses;
use super::at::{At, same};
use super::fill::{self, each, empty, object, unset};
use super::judging::Judging;
use super::names;
use super::probes;
use super::security::one_of;
use super::selectors;

pub(super) static NETWORK_POLICY: Rules = Rules {
    default: |policy| {
        let spec = object(policy, "spec");
        object(spec, "podSelector");
        let egress = spec["egress"].as_array().is_some_and(|rules| !rules.is_empty());
        empty(spec, "policyTypes", if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
        for list in ["ingress", "egress"] {
            for rule in each(spec, list) {
                each(rule, "ports").for_each(|port| unset(port, "protocol", "TCP"));
            }
        }
    },
    prepare_create: |policy| fill::generation(policy, 1),
    prepare_update: |new, old, _| fill::bump_generation(new, old, &["spec"]),
    validate: |policy| network_policy(&At::root(policy).get("spec")),
    validate_update: |new, _, _| network_policy(&At::root(new).get("spec")),
    warnings: |policy| network_policy_warnings(&At::root(policy).get("spec")),
    has_generation: true,
    counts_empties: true,
    ..Rules::DEFAULT
};

pub(super) static IP_ADDRESS: Rules = Rules {
    name: canonical_ip,
    validate: |address| parent_ref(&At::root(address).get("spec.parentRef")),
    validate_update: |new, old, _| {
        let (parent, before) = (At::root(new).get("spec.parentRef"), At::root(old).get("spec.parentRef"));
        let mut errors = parent_ref(&parent);
        if !same(parent.value, before.value) {
            errors.push(parent.invalid("field is immutable"));
        }
        errors
    },
    judging: Judging::WHOLE_THEN_CHANGE,
    ..Rules::DEFAULT
};

pub(super) static SERVICE_CIDR: Rules = Rules {
    prepare_create: |cidr| fill::remove(cidr, "status"),
    prepare_update: |new, old, subresource| {
        fill::keep(new, old, if subresource == "status" { "spec" } else { "status" });
        if subresource == "status" {
            fill::keep_metadata(new, old);
        }
    },
    validate: |cidr| service_cidr(&At::root(cidr).get("spec")),
    validate_update: |new, old, subresource| {
        if subresource == "status" {
            return ErrorList::new();
        }
        let spec = At::root(new).get("spec");
        let (new, old) = (spec.items("cidrs"), At::root(old).strings("spec.cidrs"));
        let grown = (old.len(), new.len()) == (1, 2);
        if old.len() != new.len() && !grown {
            return vec![spec.get("cidrs").invalid("field is immutable")];
        }
        let changed = new.iter().zip(old).filter(|(new, old)| new.text() != *old);
        let mut errors: ErrorList = changed.map(|(new, _)| new.invalid("field is immutable")).collect();
        if grown {
            errors.extend(service_cidr(&spec));
        }
        errors
    },
    ..Rules::DEFAULT
};

fn network_policy(spec: &At<'_>) -> ErrorList {
    let mut errors = selectors::label_selector(&spec.get("podSelector"));
    for (list, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.items(list) {
            errors.extend(rule.items("ports").iter().flat_map(policy_port));
            errors.extend(rule.items(peers).iter().flat_map(peer));
        }
    }
    let types = spec.strings("policyTypes");
    if types.len() > 2 {
        errors.push(spec.get("policyTypes").invalid("may not specify more than two policyTypes"));
        return errors;
    }
    for kind in spec.items("policyTypes") {
        errors.extend(one_of(&kind, &["Ingress", "Egress"]));
    }
    errors
}

/// Networks that are not written as they should be.
fn network_policy_warnings(spec: &At<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    for (list, peers) in [("ingress", "from"), ("egress", "to")] {
        for peer in spec.items(list).iter().flat_map(|rule| rule.items(peers)) {
            let block = peer.get("ipBlock");
            warnings.extend(addresses::cidr_warning(&block.get("cidr")));
            warnings.extend(block.items("except").iter().filter_map(addresses::cidr_warning));
        }
    }
    warnings
}

fn policy_port(port: &At<'_>) -> ErrorList {
    let mut errors: ErrorList = one_of(&port.get("protocol"), &["TCP", "UDP", "SCTP"]).into_iter().collect();
    let (number, end) = (port.get("port"), port.get("endPort"));
    if number.value.is_string() && end.is_set() {
        errors.push(end.invalid("may not be specified when `port` is non-numeric"));
    }
    if number.is_set() {
        errors.extend(probes::port(&number));
    }
    let Some(last) = end.value.as_i64() else { return errors };
    match number.value {
        Value::Null => errors.push(end.invalid("may not be specified when `port` is not specified")),
        Value::String(_) => {}
        first => {
            if first.as_i64().is_some_and(|first| last < first) {
                errors.push(end.invalid_as(first.clone(), "must be greater than or equal to `port`"));
            }
            errors.extend(end.faults(names::port_number(last)));
        }
    }
    errors
}

fn peer(peer: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for selector in ["podSelector", "namespaceSelector"] {
        if peer.has(selector) {
            errors.extend(selectors::label_selector(&peer.get(selector)));
        }
    }
    let selected = peer.has("podSelector") || peer.has("namespaceSelector");
    let block = peer.get("ipBlock");
    if block.is_set() {
        errors.extend(ip_block(&block));
        if selected {
            errors.push(peer.forbidden("may not specify both ipBlock and another peer"));
        }
    } else if !selected {
        errors.push(peer.required("must specify a peer"));
    }
    errors
}

fn ip_block(block: &At<'_>) -> ErrorList {
    let cidr = block.get("cidr");
    if cidr.text().is_empty() {
        return vec![cidr.required("")];
    }
    let mut errors = addresses::cidr(&cidr);
    let Ok(whole) = cidr.text().parse::<IpNet>() else { return errors };
    for except in block.items("except") {
        errors.extend(addresses::cidr(&except));
        if let Ok(part) = except.text().parse::<IpNet>()
            && (!whole.contains(&part) || part.prefix_len() <= whole.prefix_len())
        {
            errors.push(except.invalid("must be a strict subset of `cidr`"));
        }
    }
    errors
}

fn canonical_ip(name: &str, _prefix: bool) -> Vec<String> {
    let value = json!(name);
    let faults = addresses::ip(&At::root(&value));
    if let Some(fault) = faults.into_iter().next() {
        return vec![fault.detail];
    }
    match name.parse::<std::net::IpAddr>() {
        Ok(address) if address.to_string() != name => vec![format!("must be in canonical form (\"{address}\")")],
        _ => Vec::new(),
    }
}

fn parent_ref(parent: &At<'_>) -> ErrorList {
    if !parent.is_set() {
        return vec![parent.required("")];
    }
    let mut errors = ErrorList::new();
    let (group, namespace) = (parent.get("group"), parent.get("namespace"));
    if !group.text().is_empty() {
        errors.extend(group.faults(names::dns1123_subdomain(group.text())));
    }
    for field in ["resource", "name"] {
        let part = parent.get(field);
        if part.text().is_empty() {
            errors.push(part.required(""));
        } else {
            errors.extend(part.faults(names::path_segment_name(part.text(), false)));
        }
    }
    if !namespace.text().is_empty() {
        errors.extend(namespace.faults(names::path_segment_name(namespace.text(), false)));
    }
    errors
}

fn service_cidr(spec: &At<'_>) -> ErrorList {
    let list = spec.get("cidrs");
    let cidrs = spec.items("cidrs");
    if cidrs.is_empty() {
        return vec![list.required("at least one CIDR required")];
    }
    if cidrs.len() > 2 {
        let shown = knarr_types::Shown::Printed(knarr_types::go_json(format!("{{\"CIDRs\":{}}}", list.value)));
        return vec![list.invalid_as(shown, "may only hold up to 2 values")];
    }
    let mut errors = ErrorList::new();
    let parsed: Vec<IpNet> = cidrs.iter().filter_map(|cidr| cidr.text().parse().ok()).collect();
    if let [first, second] = parsed.as_slice()
        && first.addr().is_ipv4() == second.addr().is_ipv4()
    {
        let message = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(list.invalid(message));
    }
    for cidr in &cidrs {
        let faults = addresses::cidr(cidr);
        if faults.is_empty()
            && let Ok(net) = cidr.text().parse::<IpNet>()
            && net.to_string() != cidr.text()
        {
            errors.push(cidr.invalid(format!("must be in canonical form (\"{net}\")")));
        }
        errors.extend(faults);
    }
    errors
}

#[cfg(test)]
mod tests {
    use knarr_types::Object;

    use super::*;

    #[test]
    fn policies_apply_to_egress_only_where_they_say_so() {
        let mut policy: Object = json!({"spec": {"egress": [{}]}});
        (NETWORK_POLICY.default)(&mut policy);
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    }
}
