// SPDX-License-Identifier: Apache-2.0
//! The rows of nodes, namespaces and the small kinds of the core group.

use knarr_types::tree::Value;

use super::fields::{Fields, or_none};

pub(super) fn cells(kind: &str, object: Fields<'_>) -> Option<Vec<Value>> {
    let entries = |field: &str| object.map(field).map_or(0, knarr_types::tree::Map::len);
    Some(match kind {
        "Node" => node(object),
        "Namespace" => vec![object.name(), object.text("/status/phase").into(), object.age()],
        "ConfigMap" => vec![object.name(), (entries("/data") + entries("/binaryData")).into(), object.age()],
        "Secret" => vec![object.name(), object.text("/type").into(), entries("/data").into(), object.age()],
        "ServiceAccount" => vec![object.name(), object.age()],
        _ => return None,
    })
}

fn node(node: Fields<'_>) -> Vec<Value> {
    let ready = match node.condition("Ready") {
        Some(condition) if condition.text("/status") == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = if node.flag("/spec/unschedulable") { ",SchedulingDisabled" } else { "" };
    let address = |ty: &str| {
        let found = node.items("/status/addresses").find(|address| address.text("/type") == ty);
        Value::from(found.map_or("<none>", |address| address.text("/address")))
    };
    let info = |field: &str| node.text_or(&format!("/status/nodeInfo/{field}"), "<unknown>");
    let kernel = match (info("kernelVersion"), node.text("/status/nodeInfo/architecture")) {
        (kernel, "") => kernel.to_owned(),
        (kernel, architecture) => format!("{kernel} ({architecture})"),
    };
    vec![
        node.name(),
        format!("{ready}{cordoned}").into(),
        or_none(roles(node).join(",")),
        node.age(),
        node.text("/status/nodeInfo/kubeletVersion").into(),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage").into(),
        kernel.into(),
        info("containerRuntimeVersion").into(),
    ]
}

/// Roles are labels: `node-role.kubernetes.io/ROLE` and the older `kubernetes.io/role=ROLE`.
fn roles(node: Fields<'_>) -> Vec<&str> {
    let labels = node.map("/metadata/labels").into_iter().flatten();
    let mut roles: Vec<&str> = labels
        .filter_map(|(name, value)| match name.as_str() {
            "kubernetes.io/role" => value.as_str(),
            name => name.strip_prefix("node-role.kubernetes.io/"),
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    roles
}
