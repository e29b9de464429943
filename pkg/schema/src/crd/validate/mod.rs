// SPDX-License-Identifier: Apache-2.0
//! What is wrong with a custom object: its schema, its scale, resources embedded in it, its lists.
//! The words are those of upstream's validator (`k8s.io/kube-openapi/pkg/validation`).

mod embedded;
mod formats;
mod list_types;
mod scalars;
mod scale;
mod value;

use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldPath, Object};

use super::custom::Custom;
use super::structural::StructuralSchema;

pub(crate) use embedded::{below as embedded, root as resource};
pub(crate) use formats::fits as fits_format;
pub(crate) use list_types::check as list_types;

/// The schema's format is none, or one that values are checked against.
pub(crate) fn is_known_format(schema: &StructuralSchema) -> bool {
    match schema.ty.as_str() {
        "integer" => matches!(schema.format.as_str(), "int32" | "int64"),
        "number" => matches!(schema.format.as_str(), "float" | "double"),
        _ => formats::known(schema),
    }
}

/// What a value lacks of its schema. `old` is what it was before: what it got wrong then and has not
/// changed is tolerated.
pub(crate) fn schema(value: &Value, old: Option<&Value>, schema: &StructuralSchema, at: &FieldPath) -> ErrorList {
    value::check(value, old, schema).into_iter().map(|fault| fault.at(at)).collect()
}

/// What a default lacks of its schema.
pub(crate) fn default(value: &Value, schema: &StructuralSchema, at: &FieldPath) -> ErrorList {
    value::check_default(value, schema).into_iter().map(|fault| fault.at(at)).collect()
}

impl Custom {
    /// All that is wrong with a new object, metadata aside.
    #[must_use]
    pub fn validate(&self, object: &Object) -> ErrorList {
        let here = self.here();
        let mut errors = schema(object, None, &here.schema, &FieldPath::root());
        errors.extend(here.scale.iter().flat_map(|scale| scale::all(scale, object)));
        errors.extend(embedded::check(object, &here.schema));
        errors.extend(list_types(object, &here.schema, &FieldPath::root()));
        errors.extend(self.rule_errors(object, None, &errors));
        errors
    }

    /// All that is wrong with a change, metadata aside.
    #[must_use]
    pub fn validate_update(&self, new: &Object, old: &Object, subresource: &str) -> ErrorList {
        let here = self.here();
        let mut errors = ErrorList::new();
        if subresource == "status" {
            if let Some(status) = new.get("status") {
                let node = here.schema.field("status");
                let before = old.get("status");
                errors.extend(node.into_iter().flat_map(|s| schema(status, before, s, &FieldPath::new("status"))));
            }
            errors.extend(here.scale.iter().flat_map(|scale| scale::status(scale, new)));
        } else {
            errors.extend(schema(new, Some(old), &here.schema, &FieldPath::root()));
            errors.extend(here.scale.iter().flat_map(|scale| scale::all(scale, new)));
            errors.extend(embedded::check(new, &here.schema));
        }
        if list_types(old, &here.schema, &FieldPath::root()).is_empty() {
            errors.extend(list_types(new, &here.schema, &FieldPath::root()));
        }
        errors.extend(self.rule_errors(new, Some(old), &errors));
        errors
    }
}

#[cfg(test)]
mod tests;
