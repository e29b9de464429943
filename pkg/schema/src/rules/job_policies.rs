// SPDX-License-Identifier: Apache-2.0

//! When a job has failed, when it has succeeded, and when its pods are replaced.

use knarr_types::{ErrorList, FieldError};

use super::at::At;
use super::containers;
use super::job::without_value;
use super::job_indexes;
use super::names;
use super::security::one_of;

const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];

/// What is wrong with the failure policy.
pub fn failure(spec: &At<'_>) -> ErrorList {
    let rules = spec.items("podFailurePolicy.rules");
    let mut errors = ErrorList::new();
    if rules.len() > 20 {
        errors.push(FieldError::too_many(&spec.get("podFailurePolicy.rules").path, rules.len(), 20));
    }
    for rule in rules {
        errors.extend(action(spec, &rule));
        let (codes, conditions) = (rule.get("onExitCodes"), rule.items("onPodConditions"));
        if codes.is_set() {
            errors.extend(exit_codes(spec, &codes));
        }
        if conditions.len() > 20 {
            errors.push(FieldError::too_many(&rule.get("onPodConditions").path, conditions.len(), 20));
        }
        errors.extend(conditions.iter().flat_map(condition));
        match (codes.is_set(), conditions.is_empty()) {
            (true, false) => {
                let message = "specifying both OnExitCodes and OnPodConditions is not supported";
                errors.push(without_value(&rule, message));
            }
            (false, true) => {
                errors.push(without_value(&rule, "specifying one of OnExitCodes and OnPodConditions is required"));
            }
            _ => {}
        }
    }
    errors
}

fn action(spec: &At<'_>, rule: &At<'_>) -> Option<FieldError> {
    let action = rule.get("action");
    match action.text() {
        "" => Some(action.required("valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]")),
        "FailIndex" if !spec.has("backoffLimitPerIndex") => {
            Some(action.invalid("requires the backoffLimitPerIndex to be set"))
        }
        _ => one_of(&action, ACTIONS),
    }
}

fn condition(condition: &At<'_>) -> ErrorList {
    let (kind, status) = (condition.get("type"), condition.get("status"));
    let mut errors = kind.faults(names::qualified_name(kind.text()));
    if status.text().is_empty() {
        errors.push(status.required("valid values: [\"False\" \"True\" \"Unknown\"]"));
    } else {
        errors.extend(one_of(&status, &["False", "True", "Unknown"]));
    }
    errors
}

fn exit_codes(spec: &At<'_>, codes: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let operator = codes.get("operator");
    if operator.text().is_empty() {
        errors.push(operator.required("valid values: [\"In\" \"NotIn\"]"));
    } else {
        errors.extend(one_of(&operator, &["In", "NotIn"]));
    }
    let container = codes.get("containerName");
    let known = containers::all(&spec.get("template.spec")).iter().any(|other| other.str("name") == container.text());
    if container.is_set() && !known {
        let message = "must be one of the container or initContainer names in the pod template";
        errors.push(container.invalid(message));
    }
    let (list, values) = (codes.get("values"), codes.items("values"));
    if values.is_empty() {
        errors.push(list.invalid("at least one value is required"));
    } else if values.len() > 255 {
        errors.push(FieldError::too_many(&list.path, values.len(), 255));
    }
    let numbers: Vec<i64> = values.iter().map(|value| value.value.as_i64().unwrap_or_default()).collect();
    for (index, value) in values.iter().enumerate() {
        if operator.text() == "In" && numbers[index] == 0 {
            errors.push(value.invalid("must not be 0 for the In operator"));
        }
        if numbers[..index].contains(&numbers[index]) {
            errors.push(value.duplicate());
        }
    }
    if !numbers.is_sorted() {
        errors.push(list.invalid("must be ordered"));
    }
    errors
}

/// What is wrong with the success policy.
pub fn success(spec: &At<'_>) -> ErrorList {
    let policy = spec.get("successPolicy");
    if !policy.is_set() {
        return ErrorList::new();
    }
    if spec.str("completionMode") != "Indexed" {
        return vec![policy.invalid("requires indexed completion mode")];
    }
    let list = policy.get("rules");
    let mut errors = ErrorList::new();
    match policy.len("rules") {
        0 => errors.push(list.required("at least one rules must be specified when the successPolicy is specified")),
        count if count > 20 => errors.push(FieldError::too_many(&list.path, count, 20)),
        _ => {}
    }
    for rule in policy.items("rules") {
        let count = rule.get("succeededCount");
        if !count.is_set() && !rule.has("succeededIndexes") {
            let message = "at least one of succeededCount or succeededIndexes must be specified";
            errors.push(rule.required(message));
        }
        errors.extend(succeeded(&rule, spec.int("completions")));
    }
    errors
}

/// How many and which indexes make a job succeed.
fn succeeded(rule: &At<'_>, completions: i64) -> ErrorList {
    let mut errors = ErrorList::new();
    let (count, indexes) = (rule.get("succeededCount"), rule.get("succeededIndexes"));
    if indexes.text().len() > 64 * 1024 {
        errors.push(FieldError::too_long(&indexes.path, 64 * 1024));
    }
    let named = job_indexes::count(indexes.text(), completions);
    if let Err(error) = &named {
        errors.push(indexes.invalid(format!("error parsing succeededIndexes: {error}")));
    }
    let Some(number) = count.value.as_i64() else { return errors };
    if number < 0 {
        errors.push(count.invalid(super::metadata::NOT_NEGATIVE));
    }
    let total = named.unwrap_or_default();
    for (limit, what, applies) in [
        (completions, "the number of specified completions", true),
        (total, "the number of indexes in the specified succeededIndexes field", indexes.is_set()),
    ] {
        if applies && number > limit {
            errors.push(count.invalid(format!("must be less than or equal to {limit} ({what})")));
        }
    }
    errors
}

/// What is wrong with when pods are replaced.
pub fn replacement(spec: &At<'_>) -> Option<FieldError> {
    let valid: &[&str] = if spec.has("podFailurePolicy") { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    one_of(&spec.get("podReplacementPolicy"), valid)
}
