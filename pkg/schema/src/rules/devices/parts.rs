// SPDX-License-Identifier: Apache-2.0

//! What claims, classes and slices share: bounded lists, names, configurations, tolerations.

use std::collections::BTreeSet;

use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldError};

use super::super::at::At;
use super::super::metadata;
use super::super::names;
use super::super::security::one_of;
use super::super::volumes::csi_driver_name;

/// Bytes of parameters for a driver.
pub const PARAMETER_BYTES: usize = 10 * 1024;
const POOL_NAME_BYTES: usize = 253;
const IDENTIFIER_BYTES: usize = 32;
const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

/// What is wrong with the elements of a list that has at most so many.
pub fn list<'a>(holder: &At<'a>, field: &str, most: usize, check: impl Fn(&At<'a>) -> ErrorList) -> ErrorList {
    let items = holder.items(field);
    if items.len() > most {
        return vec![FieldError::too_many(&holder.get(field).path, items.len(), most)];
    }
    items.iter().flat_map(check).collect()
}

/// The same for elements that must differ by `key`.
pub fn set<'a>(
    holder: &At<'a>,
    field: &str,
    most: usize,
    check: impl Fn(&At<'a>) -> ErrorList,
    key: impl Fn(&At<'a>) -> Value,
) -> ErrorList {
    let mut errors = list(holder, field, most, check);
    let items = holder.items(field);
    if items.len() > most {
        return errors;
    }
    let mut seen = Vec::new();
    for item in items {
        let key = key(&item);
        if seen.contains(&key) {
            errors.push(FieldError::duplicate(&item.path, key));
        } else {
            seen.push(key);
        }
    }
    errors
}

/// The name of an element.
pub fn name_of(item: &At<'_>) -> Value {
    item.str("name").into()
}

/// The text that an element is.
pub fn itself(item: &At<'_>) -> Value {
    item.text().into()
}

/// What is wrong with the name of a driver.
pub fn driver(name: &At<'_>) -> ErrorList {
    if name.text().is_empty() { vec![name.required("")] } else { csi_driver_name(name) }
}

/// What is wrong with the name of a device, a request or a counter.
pub fn label(name: &At<'_>) -> ErrorList {
    name.faults(names::dns1123_label(name.text()))
}

/// What is wrong with the name of a pool: subdomains with slashes between them.
pub fn pool_name(name: &At<'_>) -> ErrorList {
    if name.text().is_empty() {
        return vec![name.required("")];
    }
    let mut errors = ErrorList::new();
    if name.text().len() > POOL_NAME_BYTES {
        errors.push(FieldError::too_long(&name.path, POOL_NAME_BYTES));
    }
    for part in name.text().split('/') {
        let faults = names::dns1123_subdomain(part);
        errors.extend(faults.into_iter().map(|why| FieldError::invalid(&name.path, part, why)));
    }
    errors
}

/// What is wrong with the name of an attribute: `id` or `domain/id`.
pub fn qualified_name(name: &str, at: &At<'_>) -> ErrorList {
    match name.split('/').collect::<Vec<_>>().as_slice() {
        [id] => identifier(id, at),
        [domain, id] => {
            let mut errors = match *domain {
                "" => vec![at.invalid_as("", "the domain must not be empty")],
                domain => driver(&At::new(&Value::from(domain), at.path.clone())),
            };
            match *id {
                "" => errors.push(at.invalid_as("", "the name must not be empty")),
                id => errors.extend(identifier(id, at)),
            }
            errors
        }
        // Upstream says nothing of a name with more slashes.
        _ => ErrorList::new(),
    }
}

/// What is wrong with the name of an attribute that must have a domain.
pub fn fully_qualified_name(name: &At<'_>) -> ErrorList {
    let mut errors = qualified_name(name.text(), name);
    if !name.text().contains('/') {
        errors.push(name.invalid("a fully qualified name must be a domain and a name separated by a slash"));
    }
    errors
}

fn identifier(id: &str, at: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if id.len() > IDENTIFIER_BYTES {
        errors.push(FieldError::too_long(&at.path, IDENTIFIER_BYTES));
    }
    errors.extend(names::c_identifier(id).into_iter().map(|why| at.invalid_as(id, why)));
    errors
}

/// What is wrong with what a driver is told.
pub fn configuration(config: &At<'_>, stored: bool) -> ErrorList {
    let opaque = config.get("opaque");
    if !opaque.is_set() {
        return vec![opaque.required("")];
    }
    let mut errors = driver(&opaque.get("driver"));
    errors.extend(raw_object(&opaque.get("parameters"), stored, PARAMETER_BYTES));
    errors
}

/// What is wrong with an object of somebody else's making.
pub fn raw_object(raw: &At<'_>, stored: bool, most_bytes: usize) -> ErrorList {
    match raw.value {
        Value::Null => vec![raw.required("")],
        value if !stored && value.to_string().len() > most_bytes => vec![FieldError::too_long(&raw.path, most_bytes)],
        Value::Object(_) => ErrorList::new(),
        _ => vec![raw.invalid_as("<value omitted>", "must be a valid JSON object")],
    }
}

/// What is wrong with a toleration of tainted devices.
pub fn toleration(toleration: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let (key, value) = (toleration.get("key"), toleration.get("value"));
    if !key.text().is_empty() {
        errors.extend(key.faults(names::qualified_name(key.text())));
    }
    let operator = toleration.get("operator");
    match operator.text() {
        "Exists" if !value.text().is_empty() => errors.push(value.invalid("must be empty for operator `Exists`")),
        "Exists" => {}
        "Equal" => errors.extend(value.faults(names::label_value(value.text()))),
        "" => errors.push(operator.required("")),
        _ => errors.push(operator.not_supported(&["Equal", "Exists"])),
    }
    let effect = toleration.get("effect");
    if !effect.text().is_empty() {
        errors.extend(one_of(&effect, &EFFECTS));
    }
    errors
}

/// What is wrong with a taint of a device.
pub fn taint(taint: &At<'_>) -> ErrorList {
    let (key, value, effect) = (taint.get("key"), taint.get("value"), taint.get("effect"));
    let mut errors = metadata::faults(&key.path, key.text(), names::qualified_name(key.text()));
    errors.extend(value.faults(names::label_value(value.text())));
    match effect.text() {
        "" => errors.push(effect.required("")),
        _ => errors.extend(one_of(&effect, &EFFECTS)),
    }
    errors
}

/// What is wrong with the conditions that a device is bound by.
pub fn binding(holder: &At<'_>) -> ErrorList {
    const MOST: usize = 4;
    let fields = ["bindingConditions", "bindingFailureConditions"];
    let name = |at: &At<'_>| at.faults(names::qualified_name(at.text()));
    let mut errors: ErrorList = fields.iter().flat_map(|field| list(holder, field, MOST, name)).collect();
    let [conditions, failures] = fields.map(|field| holder.items(field));
    let mut seen = BTreeSet::new();
    errors.extend(conditions.iter().filter(|at| !seen.insert(at.text())).map(At::duplicate));
    let mut failed = BTreeSet::new();
    for at in &failures {
        if !failed.insert(at.text()) {
            errors.push(at.duplicate());
        }
        if seen.contains(at.text()) {
            errors.push(at.invalid("bindingFailureConditions must not overlap with bindingConditions"));
        }
    }
    let [conditions, failures] = fields.map(|field| holder.get(field));
    match (seen.is_empty(), failed.is_empty()) {
        (true, false) => {
            errors.push(conditions.invalid("bindingConditions are required to use bindingFailureConditions"));
        }
        (false, true) => {
            errors.push(failures.invalid("bindingFailureConditions are required to use bindingConditions"));
        }
        _ => {}
    }
    errors
}
