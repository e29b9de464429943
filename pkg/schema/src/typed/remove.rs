// SPDX-License-Identifier: Apache-2.0
//! An object without some paths.

use knarr_types::tree::Value;

use super::elements::element_of;
use super::{Shape, field};
use crate::field_set::FieldSet;
use crate::field_table::Type;

/// The object without the paths of the set. What is left empty by that is `null`, or left out where
/// `tidy` is set.
#[must_use]
pub fn remove(object: &Value, paths: &FieldSet<'_>, ty: &Type, tidy: bool) -> Value {
    without(object, paths, Shape::of_type(ty), tidy).unwrap_or(Value::Null)
}

fn without(value: &Value, paths: &FieldSet<'_>, shape: Shape<'_>, tidy: bool) -> Option<Value> {
    match (shape, value) {
        (shape, Value::Object(object)) if shape.by_key() => {
            let mut left = knarr_types::tree::Map::new();
            for (name, value) in object {
                let element = field(name);
                if paths.has(&element) {
                    continue;
                }
                let value = match paths.below(&element) {
                    None => Some(value.clone()),
                    Some(below) => without(value, below, shape.field(name), tidy),
                };
                match value {
                    Some(value) => left.insert(name.clone(), value),
                    None if tidy => None,
                    None => left.insert(name.clone(), Value::Null),
                };
            }
            (!left.is_empty()).then_some(Value::Object(left))
        }
        (Shape::List { item, keys }, Value::Array(items)) => {
            let mut left = Vec::new();
            for value in items {
                let Ok(element) = element_of(value, item, keys) else {
                    left.push(value.clone());
                    continue;
                };
                if paths.has(&element) {
                    continue;
                }
                match paths.below(&element) {
                    None => left.push(value.clone()),
                    Some(below) => left.extend(without(value, below, Shape::of(item), tidy)),
                }
            }
            (!left.is_empty()).then_some(Value::Array(left))
        }
        (_, Value::Object(_) | Value::Array(_)) => None,
        (_, scalar) => Some(scalar.clone()),
    }
}
