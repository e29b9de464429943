// SPDX-License-Identifier: Apache-2.0

//! The ports of a Service, one by one and together.

use knarr_types::tree::json;
use knarr_types::{ErrorList, FieldError};

use super::at::At;
use super::containers::required_one_of;
use super::go_print;
use super::names;
use super::probes;

/// What is wrong with each port.
pub fn each_port(spec: &At<'_>) -> ErrorList {
    let ports = spec.items("ports");
    let mut errors = ErrorList::new();
    let mut seen = Vec::new();
    for port in &ports {
        let name = port.get("name");
        if !name.text().is_empty() {
            errors.extend(name.faults(names::dns1123_label(name.text())));
            if seen.contains(&name.text()) {
                errors.push(name.duplicate());
            }
            seen.push(name.text());
        } else if ports.len() > 1 {
            errors.push(name.required(""));
        }
        let faults = names::port_number(port.int("port"));
        errors.extend(faults.into_iter().map(|fault| port.get("port").invalid_as(port.int("port"), fault)));
        errors.extend(required_one_of(&port.get("protocol"), &["SCTP", "TCP", "UDP"]));
        errors.extend(probes::port(&port.get("targetPort")));
        let protocol = port.get("appProtocol");
        if protocol.is_set() {
            errors.extend(protocol.faults(names::qualified_name(protocol.text())));
        }
    }
    errors
}

/// What is wrong with the ports beside each other. Two ports of a new Service on one node port are refused
/// when that is given out.
pub fn together(spec: &At<'_>, is_new: bool) -> ErrorList {
    const FIELDS: &[(&str, &str)] = &[
        ("Name", "name$"),
        ("Protocol", "protocol$"),
        ("AppProtocol", "appProtocol"),
        ("Port", "port#"),
        ("TargetPort", "targetPort#"),
        ("NodePort", "nodePort#"),
    ];
    let ports = spec.items("ports");
    let mut errors = ErrorList::new();
    if spec.str("type") == "ClusterIP" {
        for port in ports.iter().filter(|port| port.int("nodePort") != 0) {
            errors.push(port.get("nodePort").forbidden("may not be used when `type` is 'ClusterIP'"));
        }
    }
    let mut node_ports = Vec::new();
    for port in ports.iter().filter(|port| port.int("nodePort") != 0) {
        let key = (port.str("protocol"), port.int("nodePort"));
        let node_port = port.get("nodePort");
        let before = node_ports.iter().find(|(of, _)| *of == key);
        if let Some((_, number)) = before {
            let taken = "provided port is already allocated";
            // For ports of one number a node port is given out once.
            let is_taken = is_new && *number != port.int("port");
            errors.push(if is_taken { node_port.invalid(taken) } else { node_port.duplicate() });
        }
        node_ports.push((key, port.int("port")));
    }
    let mut numbers = Vec::new();
    for port in &ports {
        let key = (port.str("protocol"), port.int("port"));
        if numbers.contains(&key) {
            let shown = go_print::structure(&json!({"protocol": key.0, "port": key.1}), FIELDS);
            errors.push(FieldError::duplicate(&port.path, shown));
        }
        numbers.push(key);
    }
    errors
}
