// SPDX-License-Identifier: Apache-2.0

//! Label and node selectors inside objects (`k8s.io/apimachinery/pkg/apis/meta/v1/validation`).

use knarr_types::{ErrorList, FieldError, Shown, go_json};

use super::at::At;
use super::metadata::{faults, labels};
use super::names;

const VALUES_REQUIRED: &str = "must be specified when `operator` is 'In' or 'NotIn'";
const VALUES_FORBIDDEN: &str = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
const NOT_AN_OPERATOR: &str = "not a valid selector operator";

/// What is wrong with a label selector; none at all is fine.
pub fn label_selector(selector: &At<'_>) -> ErrorList {
    let mut errors = labels(&selector.get("matchLabels"));
    for requirement in selector.items("matchExpressions") {
        errors.extend(operator(&requirement, false));
        errors.extend(key_and_values(&requirement));
    }
    errors
}

/// The selector as messages print it: labels first, and nothing of what is empty.
pub fn shown(selector: &At<'_>) -> Shown {
    let fields = ["matchLabels", "matchExpressions"];
    let parts: Vec<_> = fields
        .iter()
        .filter(|field| selector.len(field) > 0)
        .map(|field| format!("\"{field}\":{}", selector.raw(field)))
        .collect();
    Shown::Printed(go_json(format!("{{{}}}", parts.join(","))))
}

/// The selector selects everything: it has no requirement.
pub fn is_empty(selector: &At<'_>) -> bool {
    selector.len("matchLabels") == 0 && selector.len("matchExpressions") == 0
}

/// What is said of a selector without a requirement: it prints as nothing, whatever it has of empty maps.
pub fn empty(selector: &At<'_>, what: &str) -> FieldError {
    selector.invalid_as(Shown::Printed("{}".to_owned()), format!("empty selector is invalid for {what}"))
}

/// The selector, as far as it is valid, matches these labels.
pub fn matches(selector: &At<'_>, labels: &At<'_>) -> bool {
    selector.entries("matchLabels").iter().all(|(key, value)| labels.value.get(*key) == Some(value.value))
        && selector.items("matchExpressions").iter().all(|requirement| {
            let value = labels.value.get(requirement.str("key")).and_then(knarr_types::tree::Value::as_str);
            let listed = value.is_some_and(|value| requirement.strings("values").contains(&value));
            match requirement.str("operator") {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                _ => value.is_none(),
            }
        })
}

/// What is wrong with a node selector that must have a term.
pub fn node_selector(selector: &At<'_>) -> ErrorList {
    let terms = selector.items("nodeSelectorTerms");
    if terms.is_empty() {
        let list = selector.get("nodeSelectorTerms");
        return vec![list.required("must have at least one node selector term")];
    }
    terms.iter().flat_map(|term| node_selector_term(term, true)).collect()
}

/// What is wrong with one term; a preference may name values that no label can have.
pub fn node_selector_term(term: &At<'_>, check_values: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    for requirement in term.items("matchExpressions") {
        errors.extend(operator(&requirement, true));
        errors.extend(faults(
            &requirement.get("key").path,
            requirement.str("key"),
            names::qualified_name(requirement.str("key")),
        ));
        if check_values {
            errors.extend(values(&requirement));
        }
    }
    for requirement in term.items("matchFields") {
        errors.extend(node_field_requirement(&requirement));
    }
    errors
}

fn operator(requirement: &At<'_>, of_nodes: bool) -> Option<FieldError> {
    let (values, given) = (requirement.get("values"), requirement.len("values"));
    let operator = requirement.get("operator");
    match operator.text() {
        "In" | "NotIn" => (given == 0).then(|| values.required(VALUES_REQUIRED)),
        "Exists" | "DoesNotExist" => (given > 0).then(|| values.forbidden(VALUES_FORBIDDEN)),
        "Gt" | "Lt" if of_nodes => {
            (given != 1).then(|| values.required("must be specified single value when `operator` is 'Lt' or 'Gt'"))
        }
        other => Some(operator.invalid_as(other, NOT_AN_OPERATOR)),
    }
}

fn key_and_values(requirement: &At<'_>) -> ErrorList {
    let key = requirement.get("key");
    let mut errors = faults(&key.path, key.text(), names::qualified_name(key.text()));
    errors.extend(values(requirement));
    errors
}

fn values(requirement: &At<'_>) -> ErrorList {
    requirement.items("values").iter().flat_map(|value| value.faults(names::label_value(value.text()))).collect()
}

fn node_field_requirement(requirement: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let operator = requirement.get("operator");
    if !["In", "NotIn"].contains(&operator.text()) {
        errors.push(operator.invalid_as(operator.text(), NOT_AN_OPERATOR));
    } else if requirement.len("values") != 1 {
        let message = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
        errors.push(requirement.get("values").required(message));
    }
    let key = requirement.get("key");
    if key.text() == "metadata.name" {
        for value in requirement.items("values") {
            errors.extend(value.faults(names::dns1123_subdomain(value.text())));
        }
    } else {
        errors.push(key.invalid_as(key.text(), "not a valid field selector key"));
    }
    errors
}
