// SPDX-License-Identifier: Apache-2.0

//! Endpoints and EndpointSlices (`pkg/registry/core/endpoint`, `pkg/registry/discovery/endpointslice`).

use knarr_types::{ErrorList, FieldError, Object};

use super::Rules;
use super::addresses;
use super::at::{At, same};
use super::containers::required_one_of;
use super::fill::{self, each, empty, unset};
use super::metadata;
use super::names;

pub(super) static ENDPOINTS: Rules = Rules {
    default: |endpoints| {
        for subset in each(endpoints, "subsets") {
            each(subset, "ports").for_each(|port| empty(port, "protocol", "TCP"));
        }
    },
    validate: |endpoints| subsets(&At::root(endpoints)),
    validate_update: |new, _, _| subsets(&At::root(new)),
    deprecation: Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
    allow_create_on_update: true,
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
        let mut labels = (new["metadata"]["labels"].clone(), old["metadata"]["labels"].clone());
        for labels in [&mut labels.0, &mut labels.1] {
            fill::remove(labels, "service.kubernetes.io/headless");
        }
        fill::bump_generation(new, old, &["endpoints", "ports", "addressType"]);
        if !same(&labels.0, &labels.1) {
            let before = old["metadata"]["generation"].as_i64().unwrap_or_default();
            fill::generation(new, before + 1);
        }
    },
    validate: |slice| endpoint_slice(&At::root(slice)),
    validate_update: |new, old, _| {
        let slice = At::root(new);
        let mut errors = endpoint_slice(&slice);
        errors.extend(metadata::immutable(&slice.get("addressType"), &At::root(old).get("addressType")));
        errors
    },
    warnings: |slice| match At::root(slice).str("addressType") {
        "FQDN" => vec!["spec.addressType: FQDN endpoints are deprecated".to_owned()],
        _ => Vec::new(),
    },
    has_generation: true,
    ..Rules::DEFAULT
};

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

fn endpoint_slice(slice: &At<'_>) -> ErrorList {
    let kind = slice.get("addressType");
    let mut errors: ErrorList = required_one_of(&kind, &["FQDN", "IPv4", "IPv6"]).into_iter().collect();
    if slice.len("endpoints") > 1000 {
        errors.push(FieldError::too_many(&slice.get("endpoints").path, slice.len("endpoints"), 1000));
        return errors;
    }
    for endpoint in slice.items("endpoints") {
        errors.extend(slice_addresses(&endpoint, kind.text()));
        errors.extend(slice_endpoint(&endpoint));
    }
    errors.extend(slice_ports(slice));
    errors
}

fn slice_addresses(endpoint: &At<'_>, kind: &str) -> ErrorList {
    let list = endpoint.get("addresses");
    if endpoint.len("addresses") == 0 {
        return vec![list.required("must contain at least 1 address")];
    }
    if endpoint.len("addresses") > 100 {
        return vec![FieldError::too_many(&list.path, endpoint.len("addresses"), 100)];
    }
    let mut errors = ErrorList::new();
    for address in endpoint.items("addresses") {
        match kind {
            "IPv4" | "IPv6" => errors.extend(slice_ip(&list, &address, kind)),
            "FQDN" => {
                let faults = names::dns1123_subdomain(address.text());
                if faults.is_empty() && !address.text().contains('.') {
                    let message = "should be a domain with at least two segments separated by dots";
                    errors.push(address.invalid(message));
                }
                errors.extend(address.faults(faults));
            }
            _ => {}
        }
    }
    errors
}

fn slice_ip(list: &At<'_>, address: &At<'_>, kind: &str) -> ErrorList {
    let faults = addresses::ip(address);
    if !faults.is_empty() {
        return faults;
    }
    let right_family = if kind == "IPv4" { addresses::is_ipv4 } else { addresses::is_ipv6 };
    if !right_family(address.text()) {
        return vec![list.invalid_as(address.text(), format!("must be an {kind} address"))];
    }
    addresses::not_special(address)
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
    for list in ["hints.forZones", "hints.forNodes"] {
        if endpoint.len(list) > 8 {
            errors.push(FieldError::too_many(&endpoint.get(list).path, endpoint.len(list), 8));
            continue;
        }
        let mut seen = Vec::new();
        for hint in endpoint.items(list) {
            let name = hint.get("name");
            if seen.contains(&name.text()) {
                errors.push(name.duplicate());
            } else if list.ends_with("Zones") {
                errors.extend(name.faults(names::label_value(name.text())));
            } else {
                errors.extend(name.faults(names::dns1123_subdomain(name.text())));
            }
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
