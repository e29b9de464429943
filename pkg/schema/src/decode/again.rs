// SPDX-License-Identifier: Apache-2.0
//! A field that comes a second time: Go's decoder reads it into what the first time left.

use knarr_types::tree::{Map, Value};

use crate::field_table::{Emission, Field, Struct, Type};

/// Puts what was read of a field into a tree that may hold it already; `None` is `null`, or what its type
/// does not take.
pub(super) fn read_again(holder: &Struct, field: &Field, read: Option<Value>, tree: &mut Map) {
    // What has no name in Go is free-form there, and the last one counts.
    let in_place = !holder.name.is_empty();
    match read {
        Some(value) => {
            let value = match tree.get_mut(&field.name) {
                Some(before) if in_place => over(std::mem::take(before), value, field.ty.get()),
                _ => value,
            };
            tree.insert(&*field.name, value);
        }
        None if in_place && keeps(field) => {}
        None => drop(tree.remove(&field.name)),
    }
}

/// `null` changes nothing: no pointer, list, or map, and no reader of its own.
fn keeps(field: &Field) -> bool {
    let plain =
        matches!(field.ty.get(), Type::Struct(_) | Type::String | Type::Integer { .. } | Type::Number | Type::Boolean);
    plain && field.emission != Emission::OmitUnset
}

/// What a value is when `after` is read into `before`.
fn over(before: Value, after: Value, ty: &Type) -> Value {
    match (ty, before, after) {
        (Type::Struct(fields), Value::Object(mut before), Value::Object(after)) => {
            for (name, value) in after {
                match fields.field(&name) {
                    Some(field) => read_again(fields, field, Some(value), &mut before),
                    None => drop(before.insert(name, value)),
                }
            }
            Value::Object(before)
        }
        (Type::Map { .. }, Value::Object(mut before), Value::Object(after)) => {
            before.extend(after);
            Value::Object(before)
        }
        (Type::List { item, .. }, Value::Array(before), Value::Array(after)) => {
            let mut before = before.into_iter();
            let read = |value| match before.next() {
                Some(before) => over(before, value, item.get()),
                None => value,
            };
            Value::Array(after.into_iter().map(read).collect())
        }
        (_, _, after) => after,
    }
}
