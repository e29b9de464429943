// SPDX-License-Identifier: Apache-2.0

//! Filling in what a client left out: the verbs of defaults and strategies.

use knarr_types::tree::{Map, Value};

use super::at::same;

/// The object at `field`, made where it is absent.
pub fn object<'a>(value: &'a mut Value, field: &str) -> &'a mut Value {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let slot = &mut value[field];
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    slot
}

/// The object at a dotted path, where there is one.
pub fn at<'a>(value: &'a mut Value, fields: &str) -> Option<&'a mut Value> {
    fields.split(['.']).try_fold(value, |value, field| value.get_mut(field)).filter(|value| !value.is_null())
}

/// The elements of the list at `field`.
pub fn each<'a>(value: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> + use<'a> {
    value.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Sets `field` where it was never set: a pointer in Go.
pub fn unset(value: &mut Value, field: &str, default: impl Into<Value>) {
    let slot = &mut value[field];
    if slot.is_null() {
        *slot = default.into();
    }
}

/// Sets `field` where it has its type's zero value.
pub fn empty(value: &mut Value, field: &str, default: impl Into<Value>) {
    let slot = &mut value[field];
    let zero = match slot {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) => false,
    };
    if zero {
        *slot = default.into();
    }
}

/// Takes `field` away.
pub fn remove(value: &mut Value, field: &str) {
    if let Some(map) = value.as_object_mut() {
        map.remove(field);
    }
}

/// Makes `field` of `new` what it is in `old`. Mostly it is that already, and a look costs less than a copy.
pub fn keep(new: &mut Value, old: &Value, field: &str) {
    match old.get(field) {
        Some(value) if new.get(field) == Some(value) => {}
        Some(value) => new[field] = value.clone(),
        None => remove(new, field),
    }
}

/// Makes of the metadata of `new` what a write of the status may not touch what they are in `old`.
pub fn keep_metadata(new: &mut Value, old: &Value) {
    const FIELDS: [&str; 6] =
        ["labels", "annotations", "finalizers", "ownerReferences", "generation", "deletionTimestamp"];
    let metadata = object(new, "metadata");
    FIELDS.iter().for_each(|field| keep(metadata, &old["metadata"], field));
}

/// A new object: no status, first generation.
pub fn first_generation(object: &mut Value) {
    remove(object, "status");
    generation(object, 1);
}

/// Sets `metadata.generation`.
pub fn generation(object: &mut Value, generation: i64) {
    self::object(object, "metadata")["generation"] = Value::from(generation);
}

/// Raises the generation above `old`'s when one of these fields differs.
pub fn bump_generation(new: &mut Value, old: &Value, fields: &[&str]) {
    let before = old["metadata"]["generation"].as_i64().unwrap_or_default();
    let changed = fields.iter().any(|field| !same(&new[*field], &old[*field]));
    if changed {
        generation(new, before + 1);
    } else {
        keep(object(new, "metadata"), &old["metadata"], "generation");
    }
}

/// The strategy of most kinds that have a spec and a status: a status write touches only the
/// status, any other write everything but the status, and a changed spec raises the generation.
pub fn spec_and_status(new: &mut Value, old: &Value, subresource: &str) {
    if subresource == "status" {
        keep(new, old, "spec");
        keep(object(new, "metadata"), &old["metadata"], "generation");
    } else {
        keep(new, old, "status");
        bump_generation(new, old, &["spec"]);
    }
}

/// The same where a status write leaves the metadata alone, too.
pub fn spec_and_bare_status(new: &mut Value, old: &Value, subresource: &str) {
    spec_and_status(new, old, subresource);
    if subresource == "status" {
        keep_metadata(new, old);
    }
}
