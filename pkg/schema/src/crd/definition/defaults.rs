// SPDX-License-Identifier: Apache-2.0
//! The defaults of a schema must fit it themselves.

use knarr_types::{ErrorList, FieldError, FieldPath};
use serde_json::Value;

use crate::crd::structural::StructuralSchema;
use crate::crd::{prune, validate};

/// What is wrong with the defaults of a schema and of all below it.
pub(super) fn check(schema: &StructuralSchema, at: &FieldPath) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(default) = &schema.default {
        errors.extend(one(default, schema, &at.child("default")));
    }
    if let Some(items) = &schema.items {
        errors.extend(check(items, &at.child("items")));
    }
    for (name, property) in &schema.properties {
        errors.extend(check(property, &at.child("properties").key(name)));
    }
    if let Some(values) = schema.additional.schema() {
        errors.extend(check(values, &at.child("additionalProperties")));
    }
    errors
}

fn one(default: &Value, schema: &StructuralSchema, at: &FieldPath) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut pruned = default.clone();
    prune::prune_value(&mut pruned, schema);
    if pruned != *default {
        errors.push(FieldError::invalid(at, default.clone(), "must not have unknown fields"));
    }
    errors.extend(validate::schema(default, None, schema, at));
    errors
}
