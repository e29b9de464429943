// SPDX-License-Identifier: Apache-2.0

//! Nodes (`pkg/registry/core/node/strategy.go`, ValidateNode).

use ipnet::IpNet;
use knarr_types::{ErrorList, FieldError, Object};
use serde_json::json;

use super::Rules;
use super::addresses;
use super::at::At;
use super::fill;
use super::go_print;
use super::names;
use super::resources;
use super::scheduling;

pub(super) static NODE: Rules = Rules {
    default,
    prepare_update: |new, old, subresource| {
        fill::keep(new, old, if subresource == "status" { "spec" } else { "status" })
    },
    validate: |node| validate(&At::root(node)),
    validate_update,
    fields: |node| vec![("spec.unschedulable", At::root(node).flag("spec.unschedulable").to_string())],
    ..Rules::DEFAULT
};

fn default(node: &mut Object) {
    let first = node["spec"]["podCIDRs"][0].as_str().map(str::to_owned);
    let single = node["spec"]["podCIDR"].as_str().filter(|cidr| !cidr.is_empty()).map(str::to_owned);
    match (single, first) {
        (Some(single), first) if first.as_ref() != Some(&single) => node["spec"]["podCIDRs"] = json!([single]),
        (None, Some(first)) => node["spec"]["podCIDR"] = json!(first),
        _ => {}
    }
    if node["status"]["capacity"].is_object() && node["status"]["allocatable"].is_null() {
        node["status"]["allocatable"] = node["status"]["capacity"].clone();
    }
}

fn validate(node: &At<'_>) -> ErrorList {
    let mut errors = taints(node);
    for list in ["capacity", "allocatable"] {
        for (name, amount) in node.get("status").entries(list) {
            errors.extend(resources::quantity(name, &amount));
        }
    }
    errors.extend(pod_cidrs(node));
    errors
}

fn taints(node: &At<'_>) -> ErrorList {
    const FIELDS: &[(&str, &str)] =
        &[("Key", "key$"), ("Value", "value$"), ("Effect", "effect$"), ("TimeAdded", "timeAdded")];
    let mut errors = ErrorList::new();
    let mut seen = Vec::new();
    let list = node.get("metadata").path.child("taints");
    for (index, taint) in node.items("spec.taints").iter().enumerate() {
        let taint = taint.named(list.index(index));
        let (key, value) = (taint.get("key"), taint.get("value"));
        errors.extend(key.faults(names::qualified_name(key.text())));
        let faults = names::label_value(value.text());
        if !faults.is_empty() {
            errors.push(value.invalid(faults.join(";")));
        }
        errors.extend(scheduling::taint_effect(&taint.get("effect")));
        let pair = (key.text(), taint.str("effect"));
        if seen.contains(&pair) {
            let mut error = FieldError::duplicate(&taint.path, go_print::structure(taint.value, FIELDS));
            error.detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(error);
        }
        seen.push(pair);
    }
    errors
}

fn pod_cidrs(node: &At<'_>) -> ErrorList {
    let cidrs = node.items("spec.podCIDRs");
    let mut errors: ErrorList = cidrs.iter().flat_map(addresses::cidr).collect();
    if cidrs.len() > 1 {
        let six = cidrs.iter().filter(|cidr| matches!(cidr.text().parse(), Ok(IpNet::V6(_)))).count();
        if cidrs.len() > 2 || six != 1 {
            let message = "may specify no more than one CIDR for each IP family";
            errors.push(node.get("spec.podCIDRs").invalid(message));
        }
    }
    errors
}

fn validate_update(new: &Object, old: &Object, subresource: &str) -> ErrorList {
    let (node, before) = (At::root(new), At::root(old));
    let mut errors = validate(&node);
    if subresource.is_empty() {
        errors.extend(taints(&node));
    }
    for (field, shown) in [("podCIDRs", "podCIDR"), ("providerID", "providerID")] {
        let (now, was) = (node.get("spec").get(field), before.get("spec").get(field));
        let was_set = !was.text().is_empty() || before.get("spec").len(field) > 0;
        if was_set && now.value != was.value {
            errors.push(now.forbidden(format!("node updates may not change {shown} except from \"\" to valid")));
        }
    }
    errors
}
