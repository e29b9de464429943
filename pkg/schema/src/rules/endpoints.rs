// SPDX-License-Identifier: Apache-2.0

//! Endpoints and EndpointSlices (`pkg/registry/core/endpoint`, `pkg/registry/discovery/endpointslice`).

use knarr_types::{ErrorList, FieldError, Object};

use super::Rules;
use super::addresses;
use super::at::{At, same};
use super::containers::required_one_of;
use super::fill::{self, each, empty, unset};
use super::judging::Judging;
use super::metadata;
use super::names;

pub(super) static ENDPOINTS: Rules = Rules {
    default: |endpoints| {
        for subset in each(endpoints, "subsets") {
            each(subset, "ports").for_each(|port| empty(port, "protocol", "TCP"));
        }
    },
    validate: |endpoints| subsets(&At::root(endpoints)),
    // Older versions took what is wrong today.
    validate_update: |new, old, _| match same(&new["subsets"], &old["subsets"]) {
        true => ErrorList::new(),
        false => subsets(&At::root(new)),
    },
    warnings: subset_warnings,
    deprecation: Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
    allow_create_on_update: true,
    judging: Judging::CHANGE_THEN_WHOLE,
    ..Rules::DEFAULT
};

pub(super) static ENDPOINT_SLICE: Rules = Rules {
    default: |slice| {
        for port in each(slice, "ports") {
            unset(port, "name", "");
            unset(port, "protocol", "TCP");
        }
    },
    prepare_create: |slice| {
        drop_topology(slice);
        fill::generation(slice, 1);
    },
    prepare_update: |new, old, _| {
        if !same(&new["endpoints"], &old["endpoints"]) {
            drop_topology(new);
        }
        fill::bump_generation(new, old, &["endpoints", "ports", "addressType"]);
        if !same(&new["metadata"]["labels"], &old["metadata"]["labels"]) {
            let before = old["metadata"]["generation"].as_i64().unwrap_or_default();
            fill::generation(new, before + 1);
        }
    },
    validate: |slice| endpoint_slice(&At::root(slice), false),
    validate_update: |new, old, _| {
        let slice = At::root(new);
        let mut errors = endpoint_slice(&slice, same(&new["endpoints"], &old["endpoints"]));
        errors.extend(metadata::immutable(&slice.get("addressType"), &At::root(old).get("addressType")));
        errors
    },
    warnings: slice_warnings,
    has_generation: true,
    judging: Judging::WHOLE,
    ..Rules::DEFAULT
};

/// The controller of these endpoints writes addresses as they should be.
fn is_of_controller(object: &Object, label: &str, controllers: &[&str]) -> bool {
    let by = object["metadata"]["labels"][label].as_str();
    by.is_some_and(|by| controllers.contains(&by))
}

fn slice_warnings(slice: &Object) -> Vec<String> {
    const CONTROLLERS: &[&str] = &["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];
    let at = At::root(slice);
    if at.str("addressType") == "FQDN" {
        return vec!["spec.addressType: FQDN endpoints are deprecated".to_owned()];
    }
    if is_of_controller(slice, "endpointslice.kubernetes.io/managed-by", CONTROLLERS) {
        return Vec::new();
    }
    let all = at.items("endpoints").into_iter().flat_map(|endpoint| endpoint.items("addresses"));
    all.filter_map(|address| addresses::ip_warning(&address)).collect()
}

fn subset_warnings(endpoints: &Object) -> Vec<String> {
    if is_of_controller(endpoints, "endpoints.kubernetes.io/managed-by", &["endpoint-controller"]) {
        return Vec::new();
    }
    let lists = ["addresses", "notReadyAddresses"];
    let subsets = At::root(endpoints).items("subsets");
    let all = subsets.iter().flat_map(|subset| lists.iter().flat_map(|list| subset.items(list)));
    all.filter_map(|address| addresses::ip_warning(&address.get("ip"))).collect()
}

/// This version cannot write where endpoints were said to be in older ones.
fn drop_topology(slice: &mut Object) {
    for endpoint in each(slice, "endpoints") {
        fill::remove(endpoint, "deprecatedTopology");
    }
}

fn subsets(endpoints: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for subset in endpoints.items("subsets") {
        if subset.len("addresses") + subset.len("notReadyAddresses") == 0 {
            errors.push(subset.required("must specify `addresses` or `notReadyAddresses`"));
        }
        for list in ["addresses", "notReadyAddresses"] {
            errors.extend(subset.items(list).iter().flat_map(address));
        }
        let ports = subset.items("ports");
        for port in &ports {
            let name = port.get("name");
            if name.text().is_empty() && ports.len() > 1 {
                errors.push(name.required(""));
            } else if !name.text().is_empty() {
                errors.extend(name.faults(names::dns1123_label(name.text())));
            }
            let faults = names::port_number(port.int("port"));
            errors.extend(faults.into_iter().map(|fault| port.get("port").invalid_as(port.int("port"), fault)));
            errors.extend(required_one_of(&port.get("protocol"), &["SCTP", "TCP", "UDP"]));
            errors.extend(app_protocol(port));
        }
    }
    errors
}

fn address(address: &At<'_>) -> ErrorList {
    let mut errors = addresses::ip(&address.get("ip"));
    let host = address.get("hostname");
    if !host.text().is_empty() {
        errors.extend(host.faults(names::dns1123_label(host.text())));
    }
    let node = address.get("nodeName");
    if node.is_set() {
        errors.extend(node.faults(names::dns1123_subdomain(node.text())));
    }
    errors.extend(addresses::not_special(&address.get("ip")));
    errors
}

fn app_protocol(port: &At<'_>) -> ErrorList {
    let protocol = port.get("appProtocol");
    if protocol.is_set() { protocol.faults(names::qualified_name(protocol.text())) } else { ErrorList::new() }
}

/// What is wrong with a slice; endpoints that were there before are let be, as older versions took them.
fn endpoint_slice(slice: &At<'_>, endpoints_stay: bool) -> ErrorList {
    let kind = slice.get("addressType");
    let mut errors: ErrorList = required_one_of(&kind, &["FQDN", "IPv4", "IPv6"]).into_iter().collect();
    errors.extend(slice_ports(slice));
    if endpoints_stay {
        return errors;
    }
    if slice.len("endpoints") > 1000 {
        errors.push(FieldError::too_many(&slice.get("endpoints").path, slice.len("endpoints"), 1000));
        return errors;
    }
    for endpoint in slice.items("endpoints") {
        errors.extend(slice_addresses(&endpoint, kind.text()));
        errors.extend(slice_endpoint(&endpoint));
    }
    errors
}

fn slice_addresses(endpoint: &At<'_>, kind: &str) -> ErrorList {
    let list = endpoint.get("addresses");
    let mut errors = ErrorList::new();
    match endpoint.len("addresses") {
        0 => errors.push(list.required("must contain at least 1 address")),
        1..=100 => {}
        count => errors.push(FieldError::too_many(&list.path, count, 100)),
    }
    for address in endpoint.items("addresses") {
        match kind {
            "IPv4" | "IPv6" => errors.extend(slice_ip(&list, &address, kind)),
            "FQDN" => errors.extend(qualified_domain(&address)),
            _ => {}
        }
    }
    errors
}

/// A name of at least two parts; the root behind it may be written out.
fn qualified_domain(address: &At<'_>) -> ErrorList {
    let text = address.text();
    if text.is_empty() {
        return ErrorList::from([address.required("")]);
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let invalid =
        |part: &str, faults: &[String]| ErrorList::from([FieldError::invalid(&address.path, part, faults.join(","))]);
    let faults = names::dns1123_subdomain(name);
    if !faults.is_empty() {
        return invalid(name, &faults);
    }
    if !name.contains('.') {
        return invalid(name, &["should be a domain with at least two segments separated by dots".to_owned()]);
    }
    let wrong =
        name.split('.').map(|label| (label, names::dns1123_label(label))).find(|(_, faults)| !faults.is_empty());
    wrong.map_or_else(ErrorList::new, |(label, faults)| invalid(label, &faults))
}

fn slice_ip(list: &At<'_>, address: &At<'_>, kind: &str) -> ErrorList {
    let faults = addresses::ip(address);
    if !faults.is_empty() {
        return faults;
    }
    let right_family = if kind == "IPv4" { addresses::is_ipv4 } else { addresses::is_ipv6 };
    let mut errors = ErrorList::new();
    if !right_family(address.text()) {
        errors.push(list.invalid_as(address.text(), format!("must be an {kind} address")));
    }
    errors.extend(addresses::not_special(address));
    errors
}

fn slice_endpoint(endpoint: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let node = endpoint.get("nodeName");
    if node.is_set() {
        errors.extend(node.faults(names::dns1123_subdomain(node.text())));
    }
    let host = endpoint.get("hostname");
    if host.is_set() {
        errors.extend(host.faults(names::dns1123_label(host.text())));
    }
    errors.extend(hints(endpoint));
    errors
}

/// Which zones and nodes an endpoint should serve.
fn hints(endpoint: &At<'_>) -> ErrorList {
    const LISTS: [&str; 2] = ["hints.forZones", "hints.forNodes"];
    if let Some(list) = LISTS.iter().find(|list| endpoint.len(list) > 8) {
        return vec![FieldError::too_many(&endpoint.get(list).path, endpoint.len(list), 8)];
    }
    let mut errors = ErrorList::new();
    for (list, check) in LISTS.iter().zip([names::label_value, names::dns1123_subdomain]) {
        let mut seen = Vec::new();
        for hint in endpoint.items(list) {
            let name = hint.get("name");
            if seen.contains(&name.text()) {
                errors.push(name.duplicate());
            }
            errors.extend(name.faults(check(name.text())));
            seen.push(name.text());
        }
    }
    errors
}

fn slice_ports(slice: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if slice.len("ports") > 20_000 {
        return vec![FieldError::too_many(&slice.get("ports").path, slice.len("ports"), 20_000)];
    }
    let mut seen = Vec::new();
    for port in slice.items("ports") {
        let name = port.get("name");
        if !name.text().is_empty() {
            errors.extend(name.faults(names::dns1123_label(name.text())));
        }
        if seen.contains(&name.text()) {
            errors.push(name.duplicate());
        }
        seen.push(name.text());
        errors.extend(required_one_of(&port.get("protocol"), &["SCTP", "TCP", "UDP"]));
        errors.extend(app_protocol(&port));
    }
    errors
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn addresses_that_are_not_in_their_usual_form_are_warned_of() {
        let mut slice =
            json!({"addressType": "IPv6", "endpoints": [{"addresses": ["fd00::1"]}, {"addresses": ["FD00::0:2"]}]});
        let warning = "endpoints[1].addresses[0]: IPv6 address \"FD00::0:2\" should be in RFC 5952 canonical format \
                       (\"fd00::2\")";
        assert_eq!(slice_warnings(&slice), [warning]);
        slice["metadata"] =
            json!({"labels": {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}});
        assert!(slice_warnings(&slice).is_empty());
        let endpoints = json!({"subsets": [{"notReadyAddresses": [{"ip": "FD00::1"}]}]});
        assert!(subset_warnings(&endpoints)[0].starts_with("subsets[0].notReadyAddresses[0].ip: IPv6 address"));
    }

    #[test]
    fn a_domain_has_two_parts_and_maybe_a_dot_behind() {
        let found = |text: &str| {
            let address = json!(text);
            qualified_domain(&At::root(&address)).iter().map(|e| e.body()).collect::<Vec<_>>().join("; ")
        };
        assert_eq!((found("a.b"), found("a.b.")), (String::new(), String::new()));
        for (text, want) in [
            ("", "Required value"),
            ("a.", "Invalid value: \"a\": should be a domain with at least two segments separated by dots"),
            ("A.b.", "Invalid value: \"A.b\": a lowercase RFC 1123 subdomain"),
            (&format!("a.{}", "b".repeat(64)), "must be no more than 63 characters"),
        ] {
            assert!(found(text).contains(want), "{text}: {}", found(text));
        }
    }

    #[test]
    fn hints_are_few_and_name_each_place_once() {
        let many: Vec<_> = (0..9).map(|n| json!({"name": format!("z{n}")})).collect();
        let endpoint = json!({"hints": {"forZones": many, "forNodes": [{"name": "a"}, {"name": "a"}]}});
        let found = |endpoint| hints(&At::root(&endpoint)).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found(endpoint), ["hints.forZones: Too many: 9: must have at most 8 items"]);
        let twice = json!({"hints": {"forZones": [{"name": "a"}], "forNodes": [{"name": "a"}, {"name": "a"}]}});
        assert_eq!(found(twice), ["hints.forNodes[1].name: Duplicate value: \"a\""]);
    }
}
