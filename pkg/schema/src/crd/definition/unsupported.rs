// SPDX-License-Identifier: Apache-2.0
//! What JSON schema has and a structural schema cannot be made of. A schema with any of it is not looked at further:
//! neither its structure nor its defaults nor its rules.

use knarr_types::tree::{Map, Value};

/// The first of it, in upstream's words; `None` where a structural schema can be made.
pub(super) fn first(schema: &Value) -> Option<String> {
    if let Some((_, name)) = FIELDS.iter().find(|(field, _)| is_said(&schema[*field], field)) {
        return Some(format!("OpenAPIV3Schema '{name}' is not supported"));
    }
    let parts = ["not", "allOf", "anyOf", "oneOf"].iter().flat_map(|name| match &schema[*name] {
        Value::Array(parts) => parts.iter().collect(),
        one => vec![one],
    });
    if let Some(why) = parts.filter(|part| part.is_object()).find_map(first) {
        return Some(why);
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == false {
        return Some("internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined".to_owned());
    }
    let below = match &schema["items"] {
        Value::Array(items) if !items.is_empty() => {
            return Some("OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned());
        }
        items => first_of(items),
    };
    let properties = schema["properties"].as_object().into_iter().flat_map(Map::values);
    below.or_else(|| properties.into_iter().find_map(first_of)).or_else(|| first_of(&schema["additionalProperties"]))
}

/// Fields, and what messages call them.
const FIELDS: [(&str, &str); 7] = [
    ("id", "id"),
    ("$schema", "schema"),
    ("$ref", "$ref"),
    ("patternProperties", "patternProperties"),
    ("dependencies", "dependencies"),
    ("additionalItems", "additionalItems"),
    ("definitions", "definitions"),
];

fn first_of(schema: &Value) -> Option<String> {
    if schema.is_object() { first(schema) } else { None }
}

fn is_said(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => !text.is_empty(),
        Value::Object(members) => name == "additionalItems" || !members.is_empty(),
        Value::Bool(_) => name == "additionalItems",
        _ => false,
    }
}
