// SPDX-License-Identifier: Apache-2.0

//! Nodes (`pkg/registry/core/node/strategy.go`, ValidateNode).

use ipnet::IpNet;
use knarr_types::tree::{Value, json};
use knarr_types::{ErrorList, FieldError, Object};

use super::Rules;
use super::addresses;
use super::at::At;
use super::fill;
use super::go_print;
use super::judging::Judging;
use super::names;
use super::resources;
use super::scheduling;

const FEATURE_FORM: &str = "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., \
     MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes";

pub(super) static NODE: Rules = Rules {
    default,
    prepare_create: |node| {
        drop_field(node, "spec", "configSource");
        drop_field(node, "status", "config");
    },
    prepare_update: |new, old, subresource| {
        // Where nodes get their configuration from is a feature that is gone.
        if subresource == "status" {
            fill::keep(new, old, "spec");
            if old["status"]["config"].is_null() {
                drop_field(new, "status", "config");
            }
        } else {
            fill::keep(new, old, "status");
            if old["spec"]["configSource"].is_null() {
                drop_field(new, "spec", "configSource");
            }
        }
    },
    validate: |node| validate(&At::root(node)),
    validate_update,
    warnings,
    fields: |node| vec![("spec.unschedulable", At::root(node).flag("spec.unschedulable").to_string())],
    judging: Judging::WHOLE_THEN_CHANGE,
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

fn drop_field(node: &mut Object, part: &str, field: &str) {
    if let Some(part) = fill::at(node, part) {
        fill::remove(part, field);
    }
}

fn warnings(node: &Object) -> Vec<String> {
    let spec = At::root(node).get("spec");
    let mut warnings = Vec::new();
    if spec.has("configSource") {
        warnings.push("spec.configSource: the feature is removed".to_owned());
    }
    if !spec.str("externalID").is_empty() {
        warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
    }
    warnings.extend(spec.items("podCIDRs").iter().filter_map(addresses::cidr_warning));
    warnings
}

fn validate(node: &At<'_>) -> ErrorList {
    let mut errors = avoided_pods(node);
    errors.extend(taints(node));
    errors.extend(amounts(node));
    let swap = node.get("status.nodeInfo.swap.capacity");
    if swap.value.as_i64().is_some_and(|bytes| bytes <= 0) {
        let path = node.get("metadata").path.child("nodeSwapStatus").child("capacity");
        errors.push(swap.named(path).invalid("must be greater than zero"));
    }
    errors.extend(declared_features(node));
    errors.extend(pod_cidrs(node));
    errors
}

/// What is wrong with the annotation that names controllers whose pods should go elsewhere.
fn avoided_pods(node: &At<'_>) -> ErrorList {
    const KEY: &str = "scheduler.alpha.kubernetes.io/preferAvoidPods";
    let annotations = node.get("metadata.annotations");
    let text = annotations.value.get(KEY).and_then(Value::as_str).unwrap_or_default();
    // What is no JSON is told in the words of Go's parser; they are not known here.
    let avoided: Value = serde_json::from_str(text).unwrap_or_default();
    let list = annotations.path.child(KEY);
    let mut errors = ErrorList::new();
    for (index, entry) in avoided["preferAvoidPods"].as_array().into_iter().flatten().enumerate() {
        let signature = At::new(&entry["podSignature"], list.index(index).child("PodSignature"));
        let controller = signature.get("podController");
        if !controller.is_set() {
            errors.push(signature.required(""));
        } else if !controller.flag("controller") {
            let path = signature.path.child("PodController").child("Controller");
            errors.push(FieldError::invalid(&path, false, "must point to a controller"));
        }
    }
    errors
}

/// What is wrong with how much of each resource there is.
fn amounts(node: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for list in ["capacity", "allocatable"] {
        let all = node.get("status").get(list);
        for (name, amount) in all.entries_here() {
            errors.extend(resources::quantity(name, &amount.named(all.path.child(name))));
        }
    }
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
    let mut errors = if subresource.is_empty() { validate(&node) } else { ErrorList::new() };
    errors.extend(avoided_pods(&node));
    errors.extend(amounts(&node));
    errors.extend(declared_features(&node));
    errors.extend(addresses_once(&node));
    for (field, shown) in [("podCIDRs", "podCIDR"), ("providerID", "providerID")] {
        let (now, was) = (node.get("spec").get(field), before.get("spec").get(field));
        let was_set = !was.text().is_empty() || before.get("spec").len(field) > 0;
        if was_set && now.value != was.value {
            let all = now.value.as_array().zip(was.value.as_array());
            let changed = all.filter(|(new, old)| new.len() == old.len());
            let changed = changed.map_or(1, |(new, old)| new.iter().zip(old).filter(|(new, old)| new != old).count());
            let told = now.forbidden(format!("node updates may not change {shown} except from \"\" to valid"));
            errors.extend(std::iter::repeat_n(told, changed));
        }
    }
    errors.extend(taints(&node));
    if node.str("spec.externalID") != before.str("spec.externalID") {
        errors.push(node.get("spec.externalID").forbidden("may not be updated"));
    }
    errors
}

/// What the node says it can do: names in order, each once.
fn declared_features(node: &At<'_>) -> ErrorList {
    let features = node.items("status.declaredFeatures");
    let mut errors = ErrorList::new();
    for (index, feature) in features.iter().enumerate() {
        let name = feature.text();
        let letters = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if name.len() > 253 {
            let message = format!("invalid feature name {name:?}: must be no more than 253 characters");
            errors.push(feature.invalid(message));
        } else if !name.starts_with(|c: char| c.is_ascii_uppercase()) || !name.split('/').all(letters) {
            errors.push(feature.invalid(format!("invalid feature name {name:?}: {FEATURE_FORM}")));
        }
        let Some(next) = features.get(index + 1) else { continue };
        if next.text() == name {
            errors.push(next.duplicate());
        } else if next.text() < name {
            errors.push(next.invalid("list must be sorted alphabetically"));
        }
    }
    errors
}

fn addresses_once(node: &At<'_>) -> ErrorList {
    let addresses = node.items("status.addresses");
    let mut errors = ErrorList::new();
    for (index, address) in addresses.iter().enumerate() {
        let key = |address: &At<'_>| (address.str("type").to_owned(), address.str("address").to_owned());
        if addresses[..index].iter().any(|other| key(other) == key(address)) {
            let shown = go_print::structure(address.value, &[("Type", "type$"), ("Address", "address$")]);
            errors.push(FieldError::duplicate(&address.path, shown));
        }
    }
    errors
}
