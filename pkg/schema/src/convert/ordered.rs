// SPDX-License-Identifier: Apache-2.0
//! JSON text with the fields of an object in a given order, as Go's structs print them. Annotations
//! hold such text, and clients compare it.

use knarr_types::tree::Value;

/// An object's fields, each as JSON text; those that are `None` are left out.
pub(super) fn object(fields: &[(&str, Option<String>)]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| format!("{}:{value}", Value::from(*name))))
        .collect();
    format!("{{{}}}", fields.join(","))
}

/// A list of JSON texts.
pub(super) fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(","))
}

/// The value at a path as JSON text; `None` where there is none.
pub(super) fn at(value: &Value, path: &str) -> Option<String> {
    value.pointer(path).filter(|value| !value.is_null()).map(Value::to_string)
}

/// The same, with Go's `null` where there is none.
pub(super) fn at_or_null(value: &Value, path: &str) -> Option<String> {
    Some(at(value, path).unwrap_or_else(|| "null".into()))
}
