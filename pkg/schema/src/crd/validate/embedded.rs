// SPDX-License-Identifier: Apache-2.0
//! Resources inside a custom object (`x-kubernetes-embedded-resource`): they say what they are, and
//! their metadata are such.

use knarr_types::tree::{Map, Value, json};
use knarr_types::{ErrorList, FieldError, FieldPath, GroupVersion, Object};

use crate::crd::structural::StructuralSchema;
use crate::rules::{metadata, names};

/// What is wrong with the resources in an object.
pub(super) fn check(object: &Object, schema: &StructuralSchema) -> ErrorList {
    below(object, schema, &FieldPath::root())
}

/// What is wrong with a value that is a resource, and with those in it.
pub(crate) fn root(value: &Value, schema: &StructuralSchema, at: &FieldPath) -> ErrorList {
    let mut errors = value.as_object().map_or_else(ErrorList::new, |fields| resource(fields, at));
    errors.extend(below(value, schema, at));
    errors
}

/// What is wrong with the resources in a value.
pub(crate) fn below(value: &Value, schema: &StructuralSchema, at: &FieldPath) -> ErrorList {
    match value {
        Value::Object(fields) => {
            let mut errors = if schema.embedded_resource { resource(fields, at) } else { ErrorList::new() };
            for (name, value) in fields {
                match (schema.properties.get(name.as_str()), schema.additional.schema()) {
                    (Some(known), _) => errors.extend(below(value, known, &at.child(name))),
                    (None, Some(known)) => errors.extend(below(value, known, &at.key(name))),
                    (None, None) => {}
                }
            }
            errors
        }
        Value::Array(items) => {
            let known = schema.items.iter();
            known.flat_map(|s| items.iter().enumerate().flat_map(|(i, item)| below(item, s, &at.index(i)))).collect()
        }
        _ => ErrorList::new(),
    }
}

fn resource(fields: &Map, at: &FieldPath) -> ErrorList {
    let mut errors = ErrorList::new();
    for name in ["apiVersion", "kind"] {
        if !fields.contains_key(name) {
            errors.push(FieldError::required(&at.child(name), ""));
        }
    }
    for name in ["apiVersion", "kind"] {
        let Some(value) = fields.get(name) else { continue };
        let why = match (value.as_str(), name) {
            (None, _) => "must be a string".to_owned(),
            (Some(""), _) => "must not be empty".to_owned(),
            (Some(text), "apiVersion") if GroupVersion::parse(text).is_none() => {
                format!("unexpected GroupVersion string: {text}")
            }
            (Some(text), "kind") => match names::dns1035_label(&text.to_lowercase()).as_slice() {
                [] => continue,
                faults => format!("may have mixed case, but should otherwise match: {}", faults.join(",")),
            },
            _ => continue,
        };
        errors.push(FieldError::invalid(&at.child(name), value.clone(), why));
    }
    if let Some(metadata) = fields.get("metadata") {
        errors.extend(embedded_metadata(metadata, at));
    }
    errors
}

fn embedded_metadata(metadata: &Value, at: &FieldPath) -> ErrorList {
    let mut metadata = metadata.clone();
    if metadata["name"].as_str().unwrap_or_default().is_empty() {
        // Only a name that is there is looked at.
        metadata["name"] = "fakename".into();
    }
    let namespaced = !metadata["namespace"].as_str().unwrap_or_default().is_empty();
    let errors = metadata::validate_generic(&json!({ "metadata": metadata }), namespaced, names::path_segment_name);
    let moved = |error: FieldError| FieldError { path: at.child(error.path.as_str()), ..error };
    errors.into_iter().map(moved).collect()
}
