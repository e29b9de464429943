// SPDX-License-Identifier: Apache-2.0
//! Lists whose elements must be unique: sets, and lists told apart by keys.

use knarr_types::tree::{Map, Value};
use knarr_types::{ErrorList, FieldError, FieldPath};

use crate::crd::structural::{ListType, StructuralSchema};

/// The second occurrences of what may be once.
pub(crate) fn check(value: &Value, schema: &StructuralSchema, at: &FieldPath) -> ErrorList {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match (schema.properties.get(name.as_str()), schema.additional.schema()) {
                (Some(known), _) => check(value, known, &at.child(name)),
                (None, Some(known)) => check(value, known, &at.key(name)),
                (None, None) => ErrorList::new(),
            })
            .collect(),
        Value::Array(items) => {
            let mut errors = match schema.list_type {
                ListType::Set => duplicates(items.iter().cloned(), at),
                ListType::Map => told_apart(items, &schema.list_map_keys, at),
                ListType::Atomic | ListType::Unset => ErrorList::new(),
            };
            if let Some(known) = &schema.items {
                errors.extend(items.iter().enumerate().flat_map(|(i, item)| check(item, known, &at.index(i))));
            }
            errors
        }
        _ => ErrorList::new(),
    }
}

fn told_apart(items: &[Value], keys: &[String], at: &FieldPath) -> ErrorList {
    if let Some((i, item)) = items.iter().enumerate().find(|(_, item)| !item.is_null() && !item.is_object()) {
        let why = "must be an object for an array of list-type map";
        return vec![FieldError::invalid(&at.index(i), item.clone(), why)];
    }
    let key = |item: &Value| -> Value {
        let found = keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
        Value::Object(found.collect::<Map>())
    };
    duplicates(items.iter().map(key), at)
}

/// Tells each value that comes again, once.
fn duplicates(values: impl Iterator<Item = Value>, at: &FieldPath) -> ErrorList {
    let mut seen: Vec<(Value, usize)> = Vec::new();
    let mut errors = ErrorList::new();
    for (i, value) in values.enumerate() {
        match seen.iter_mut().find(|(other, _)| *other == value) {
            None => seen.push((value, 1)),
            Some((_, times)) => {
                *times += 1;
                if *times == 2 {
                    errors.push(FieldError::duplicate(&at.index(i), value));
                }
            }
        }
    }
    errors
}
