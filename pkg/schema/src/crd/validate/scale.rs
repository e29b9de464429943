// SPDX-License-Identifier: Apache-2.0
//! The replicas and the selector of a custom object that can be scaled.

use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldError, FieldPath, Object, go_float};

use crate::crd::custom::Scale;

/// What is wrong with what is wanted and with what is there.
pub(super) fn all(scale: &Scale, object: &Object) -> ErrorList {
    let mut errors: ErrorList = replicas(&scale.spec_replicas, object).into_iter().collect();
    errors.extend(status(scale, object));
    errors
}

/// What is wrong with what is there.
pub(super) fn status(scale: &Scale, object: &Object) -> ErrorList {
    let mut errors: ErrorList = replicas(&scale.status_replicas, object).into_iter().collect();
    if !scale.label_selector.is_empty() {
        let path = FieldPath::new(&scale.label_selector);
        match nested(object, &scale.label_selector) {
            Ok(None | Some(Value::String(_))) => {}
            Ok(Some(other)) => {
                let why = accessor(&scale.label_selector, other, "string");
                errors.push(FieldError::invalid(&path, "", why));
            }
            Err(why) => errors.push(FieldError::invalid(&path, "", why)),
        }
    }
    errors
}

fn replicas(path: &str, object: &Object) -> Option<FieldError> {
    let at = FieldPath::new(path);
    let number = match nested(object, path) {
        Ok(None) => return None,
        Ok(Some(value)) => match value.as_i64() {
            Some(number) => number,
            None => return Some(FieldError::invalid(&at, 0, accessor(path, value, "int64"))),
        },
        Err(why) => return Some(FieldError::invalid(&at, 0, why)),
    };
    let why = match number {
        ..0 => "should be a non-negative integer".to_owned(),
        n if n > i64::from(i32::MAX) => format!("should be less than or equal to {}", i32::MAX),
        _ => return None,
    };
    Some(FieldError::invalid(&at, number, why))
}

/// The value at a path in dot notation.
fn nested<'a>(object: &'a Object, path: &str) -> Result<Option<&'a Value>, String> {
    let mut value = object;
    let fields: Vec<&str> = path.trim_start_matches('.').split('.').collect();
    for (i, field) in fields.iter().enumerate() {
        let Some(tree) = value.as_object() else {
            let walked = fields[..=i].join(".");
            return Err(accessor(&walked, value, "map[string]interface {}"));
        };
        match tree.get(field) {
            Some(next) => value = next,
            None => return Ok(None),
        }
    }
    Ok(Some(value))
}

fn accessor(path: &str, value: &Value, wanted: &str) -> String {
    let dotted = path.trim_start_matches('.');
    let (shown, ty) = match value {
        Value::Null => ("<nil>".to_owned(), "<nil>"),
        Value::Bool(set) => (set.to_string(), "bool"),
        Value::Number(number) if number.is_f64() => (go_float(number.as_f64().unwrap_or_default()), "float64"),
        Value::Number(number) => (number.to_string(), "int64"),
        Value::String(text) => (text.to_string(), "string"),
        Value::Array(_) => (value.to_string(), "[]interface {}"),
        Value::Object(_) => (value.to_string(), "map[string]interface {}"),
    };
    format!(".{dotted} accessor error: {shown} is of the type {ty}, expected {wanted}")
}
