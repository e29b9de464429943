// SPDX-License-Identifier: Apache-2.0

//! What workloads share: selectors that must match the template, numbers, parts of a rollout.

use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldError, Object};

use super::at::{At, same};
use super::disabled;
use super::fill;
use super::metadata::NOT_NEGATIVE;
use super::names;
use super::pod_defaults;
use super::pod_spec;
use super::selectors;

/// Defaults of the pod template at `spec.template`.
pub fn template_defaults(spec: &mut Value) {
    let template = fill::object(spec, "template");
    pod_defaults::pod_spec(fill::object(template, "spec"));
}

/// A new workload: no status, first generation, and nothing in its template that is switched off.
pub fn prepare_create(workload: &mut Object) {
    disabled::drop_from_template(workload);
    fill::first_generation(workload);
}

/// A changed one: see [`fill::spec_and_status`].
pub fn prepare_update(new: &mut Object, old: &Object, subresource: &str) {
    disabled::drop_from_template(new);
    fill::spec_and_status(new, old, subresource);
}

/// These numbers must not be negative, where they are set.
pub fn not_negative(holder: &At<'_>, fields: &[&str]) -> ErrorList {
    fields
        .iter()
        .map(|field| holder.get(field))
        .filter(|number| number.value.as_i64().is_some_and(|number| number < 0))
        .map(|number| number.invalid(NOT_NEGATIVE))
        .collect()
}

/// The selector must be there and have a requirement.
pub fn required_selector(spec: &At<'_>, what: &str) -> ErrorList {
    let selector = spec.get("selector");
    if !selector.is_set() {
        return vec![selector.required("")];
    }
    let mut errors = selectors::label_selector(&selector);
    if selectors::is_empty(&selector) {
        errors.push(selectors::empty(&selector, what));
    }
    errors
}

/// The template must be valid and the selector match its labels; `what` is how messages name the kind.
pub fn template(spec: &At<'_>, what: &str) -> ErrorList {
    let selector = spec.get("selector");
    if !selectors::label_selector(&selector).is_empty() {
        return vec![selector.invalid_as(selectors::shown(&selector), "invalid label selector")];
    }
    let template = spec.get("template");
    let mut errors = ErrorList::new();
    let selects_all = selector.is_set() && selectors::is_empty(&selector);
    let labels = template.get("metadata.labels");
    if !selects_all && (!selector.is_set() || !selectors::matches(&selector, &labels)) {
        errors.push(labels.invalid("`selector` does not match template `labels`"));
    }
    errors.extend(pod_spec::template(&template));
    errors.extend(always_restarting(&template, what));
    errors
}

/// Pods of a workload that never ends are restarted and have no deadline.
pub fn always_restarting(template: &At<'_>, what: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    let policy = template.get("spec.restartPolicy");
    if policy.text() != "Always" {
        errors.push(policy.not_supported(&["Always"]));
    }
    let deadline = template.get("spec.activeDeadlineSeconds");
    if deadline.is_set() {
        errors.push(deadline.forbidden(format!("activeDeadlineSeconds in {what} is not Supported")));
    }
    errors
}

/// A number of pods or a share of them.
pub fn int_or_percent(value: &At<'_>) -> ErrorList {
    match value.value {
        Value::String(text) => value.faults(names::percent(text)),
        Value::Number(number) if number.as_i64().is_some_and(|number| number < 0) => {
            vec![value.invalid(NOT_NEGATIVE)]
        }
        _ => ErrorList::new(),
    }
}

/// A share must not be more than all.
pub fn at_most_all(value: &At<'_>) -> Option<FieldError> {
    let percent: i64 = value.text().strip_suffix('%')?.parse().ok()?;
    (percent > 100).then(|| value.invalid("must not be greater than 100%"))
}

/// The number in it, be it a share or not.
pub fn plain_number(value: &At<'_>) -> i64 {
    match value.value {
        Value::String(text) => text.strip_suffix('%').unwrap_or(text).parse().unwrap_or_default(),
        other => other.as_i64().unwrap_or_default(),
    }
}

/// It may only grow.
pub fn not_decremented(new: &At<'_>, old: &At<'_>, field: &str) -> Option<FieldError> {
    let (now, was) = (new.get(field), old.opt_int(field)?);
    let value = now.value.as_i64();
    (value.is_none_or(|value| value < was)).then(|| now.invalid_as(value.unwrap_or_default(), "cannot be decremented"))
}

/// `fields` of a status must not exceed `status.replicas`.
pub fn within_replicas(status: &At<'_>, fields: &[&str]) -> ErrorList {
    let replicas = status.int("replicas");
    fields
        .iter()
        .filter(|field| status.int(field) > replicas)
        .map(|field| status.get(field).invalid_as(status.int(field), "cannot be greater than status.replicas"))
        .collect()
}

/// A selector must stay as it is.
pub fn immutable_selector(new: &Object, old: &Object) -> Option<FieldError> {
    let (new, old) = (At::root(new).get("spec.selector"), At::root(old).get("spec.selector"));
    (!same(new.value, old.value)).then(|| match new.value.is_null() {
        true => new.invalid("field is immutable"),
        false => new.invalid_as(selectors::shown(&new), "field is immutable"),
    })
}
