// SPDX-License-Identifier: Apache-2.0

//! Where a pod may run: affinity, tolerations, topology spread.

use knarr_types::{ErrorList, FieldError};

use super::at::At;
use super::names;
use super::security::one_of;
use super::selectors;

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// What is wrong with affinities.
pub fn affinity(affinity: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let nodes = affinity.get("nodeAffinity");
    if nodes.has(REQUIRED) {
        errors.extend(selectors::node_selector(&nodes.get(REQUIRED)));
    }
    for term in nodes.items(PREFERRED) {
        errors.extend(weight(&term));
        errors.extend(selectors::node_selector_term(&term.get("preference"), false));
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pods = affinity.get(kind);
        for term in pods.items(REQUIRED) {
            errors.extend(pod_affinity_term(&term));
        }
        for term in pods.items(PREFERRED) {
            errors.extend(weight(&term));
            errors.extend(pod_affinity_term(&term.get("podAffinityTerm")));
        }
    }
    errors
}

fn weight(term: &At<'_>) -> Option<FieldError> {
    let weight = term.int("weight");
    (!(1..=100).contains(&weight)).then(|| term.get("weight").invalid_as(weight, "must be in the range 1-100"))
}

fn pod_affinity_term(term: &At<'_>) -> ErrorList {
    let mut errors = selectors::label_selector(&term.get("labelSelector"));
    errors.extend(selectors::label_selector(&term.get("namespaceSelector")));
    let namespace = term.get("namespace");
    for name in term.strings("namespaces") {
        errors.extend(names::dns1123_label(name).into_iter().map(|fault| namespace.invalid_as(name, fault)));
    }
    errors.extend(matched_labels(term, true));
    let topology_key = term.get("topologyKey");
    if topology_key.text().is_empty() {
        errors.push(topology_key.required("can not be empty"));
    }
    errors.extend(topology_key.faults(names::qualified_name(topology_key.text())));
    errors
}

/// What is wrong with the labels that pods must or must not have in common.
fn matched_labels(term: &At<'_>, may_mismatch: bool) -> ErrorList {
    let selected = term.has("labelSelector");
    let mut errors = label_keys(&term.get("matchLabelKeys"), selected);
    if may_mismatch {
        errors.extend(label_keys(&term.get("mismatchLabelKeys"), selected));
    }
    let matched = term.strings("matchLabelKeys");
    let mut seen: Vec<&str> = term.entries("labelSelector.matchLabels").iter().map(|(key, _)| *key).collect();
    for requirement in term.items("labelSelector.matchExpressions") {
        let key = requirement.str("key");
        if let Some(index) = matched.iter().rposition(|other| *other == key).filter(|_| seen.contains(&key)) {
            let path = term.path.index(index);
            errors.push(FieldError::invalid(&path, key, "exists in both matchLabelKeys and labelSelector"));
        }
        seen.push(key);
    }
    let mismatched = if may_mismatch { term.strings("mismatchLabelKeys") } else { Vec::new() };
    for key in term.items("matchLabelKeys").iter().filter(|key| mismatched.contains(&key.text())) {
        errors.push(key.invalid("exists in both matchLabelKeys and mismatchLabelKeys"));
    }
    errors
}

fn label_keys(keys: &At<'_>, has_selector: bool) -> ErrorList {
    let listed = keys.value.as_array().map(Vec::as_slice).unwrap_or_default();
    if !listed.is_empty() && !has_selector {
        return vec![keys.forbidden("must not be specified when labelSelector is not set")];
    }
    let mut errors = ErrorList::new();
    for (index, key) in listed.iter().enumerate() {
        let key = At::new(key, keys.path.index(index));
        errors.extend(key.faults(names::qualified_name(key.text())));
    }
    errors
}

/// What is wrong with tolerations.
pub fn tolerations(holder: &At<'_>) -> ErrorList {
    holder.items("tolerations").iter().flat_map(toleration).collect()
}

fn toleration(toleration: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let (key, operator) = (toleration.get("key"), toleration.get("operator"));
    let (value, effect) = (toleration.str("value"), toleration.get("effect"));
    if !key.text().is_empty() {
        errors.extend(key.faults(names::qualified_name(key.text())));
    } else if operator.text() != "Exists" {
        let message = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(operator.invalid_as(operator.text(), message));
    }
    if toleration.has("tolerationSeconds") && effect.text() != "NoExecute" {
        errors.push(effect.invalid_as(effect.text(), "effect must be 'NoExecute' when `tolerationSeconds` is set"));
    }
    match operator.text() {
        "" | "Equal" => {
            let faults = names::label_value(value);
            if !faults.is_empty() {
                errors.push(operator.invalid_as(value, faults.join(";")));
            }
        }
        "Exists" => {
            if !value.is_empty() {
                errors.push(operator.invalid_as(value, "value must be empty when `operator` is 'Exists'"));
            }
        }
        // Known, but switched off.
        "Lt" | "Gt" => errors.push(operator.not_supported(&["Equal", "Exists", "Lt", "Gt"])),
        _ => errors.push(operator.not_supported(&["Equal", "Exists"])),
    }
    if !effect.text().is_empty() {
        errors.extend(one_of(&effect, EFFECTS));
    }
    errors
}

/// What is wrong with the effect of a taint.
pub fn taint_effect(effect: &At<'_>) -> Option<FieldError> {
    if effect.text().is_empty() { Some(effect.required("")) } else { one_of(effect, EFFECTS) }
}

/// What is wrong with topology spread constraints.
pub fn topology_spread(spec: &At<'_>) -> ErrorList {
    let constraints = spec.items("topologySpreadConstraints");
    let mut errors = ErrorList::new();
    for (index, constraint) in constraints.iter().enumerate() {
        errors.extend(spread_constraint(constraint, &constraints[index + 1..]));
    }
    errors
}

fn spread_constraint(constraint: &At<'_>, later: &[At<'_>]) -> ErrorList {
    let mut errors = ErrorList::new();
    if constraint.int("maxSkew") <= 0 {
        errors.push(constraint.get("maxSkew").invalid_as(constraint.int("maxSkew"), "must be greater than zero"));
    }
    let (topology_key, when) = (constraint.get("topologyKey"), constraint.get("whenUnsatisfiable"));
    if topology_key.text().is_empty() {
        errors.push(topology_key.required("can not be empty"));
    }
    if !["DoNotSchedule", "ScheduleAnyway"].contains(&when.text()) {
        errors.push(when.not_supported(&["DoNotSchedule", "ScheduleAnyway"]));
    }
    let same = |other: &At<'_>| {
        other.str("topologyKey") == topology_key.text() && other.str("whenUnsatisfiable") == when.text()
    };
    if later.iter().any(same) {
        let pair = format!("{{{}, {}}}", topology_key.text(), when.text());
        errors.push(FieldError::duplicate(&constraint.path.child("{topologyKey, whenUnsatisfiable}"), pair));
    }
    let domains = constraint.get("minDomains");
    if domains.value.as_i64().is_some_and(|domains| domains <= 0) {
        errors.push(domains.invalid("must be greater than zero"));
    }
    if domains.is_set() && when.text() != "DoNotSchedule" {
        let message = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}", when.text());
        errors.push(domains.invalid(message));
    }
    for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
        errors.extend(one_of(&constraint.get(policy), &["Honor", "Ignore"]));
    }
    errors.extend(matched_labels(constraint, false));
    errors.extend(selectors::label_selector(&constraint.get("labelSelector")));
    errors
}
