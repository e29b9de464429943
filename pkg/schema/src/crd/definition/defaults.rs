// SPDX-License-Identifier: Apache-2.0
//! The defaults of a schema must fit it themselves, its rules included.

use knarr_types::tree::{Value, json};
use knarr_types::{ErrorList, FieldError, FieldPath};

use crate::cel::rules::Validator;
use crate::crd::custom::{coerce_embedded, coerce_resource};
use crate::crd::structural::StructuralSchema;
use crate::crd::{prune, validate};

/// What is wrong with the defaults of a resource's schema and of all below it.
pub(super) fn check(schema: &StructuralSchema, at: &FieldPath) -> ErrorList {
    let mut errors = ErrorList::new();
    let root = Place { resource: schema, is_resource: true, steps: Vec::new(), in_metadata: false };
    node(schema, at, &root, &mut errors);
    errors
}

/// Where a node stands in the nearest resource around it.
#[derive(Clone)]
struct Place<'a> {
    resource: &'a StructuralSchema,
    /// The node is that resource.
    is_resource: bool,
    /// The fields that lead to it; elements of lists have no name.
    steps: Vec<Option<&'a str>>,
    /// It is in what says what the resource is, or in its metadata.
    in_metadata: bool,
}

impl<'a> Place<'a> {
    fn below(&self, step: Option<&'a str>) -> Self {
        let names = matches!(step, Some("metadata" | "apiVersion" | "kind"));
        let steps = self.steps.iter().copied().chain([step]).collect();
        let in_metadata = self.in_metadata || (self.is_resource && names);
        Self { resource: self.resource, is_resource: false, steps, in_metadata }
    }

    /// A resource with nothing but a value at this place.
    fn around(&self, value: &Value) -> Value {
        let wrap = |value: Value, step: &Option<&str>| match step {
            Some(name) => json!({ *name: value }),
            None => json!([value]),
        };
        let mut resource = self.steps.iter().rev().fold(value.clone(), wrap);
        for (field, value) in [("apiVersion", "validation/v1"), ("kind", "Validation")] {
            if resource.get(field).is_none() {
                resource[field] = value.into();
            }
        }
        resource
    }
}

/// Values of maps are not looked into: defaults are not allowed there.
fn node<'a>(schema: &'a StructuralSchema, at: &FieldPath, place: &Place<'a>, errors: &mut ErrorList) {
    let embedded = Place { resource: schema, is_resource: true, steps: Vec::new(), in_metadata: false };
    let place = if schema.embedded_resource { &embedded } else { place };
    if let Some(default) = &schema.default {
        errors.extend(one(default, schema, &at.child("default"), place));
    }
    if let Some(items) = &schema.items {
        node(items, &at.child("items"), &place.below(None), errors);
    }
    for (name, property) in &schema.properties {
        node(property, &at.child("properties").key(name), &place.below(Some(name)), errors);
    }
}

fn one(default: &Value, schema: &StructuralSchema, at: &FieldPath, place: &Place<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let faults = if place.in_metadata {
        in_metadata(default, at, place)
    } else {
        metadata_of(default, schema, at, place.is_resource)
    };
    if !place.in_metadata {
        let mut pruned = default.clone();
        prune::prune_value(&mut pruned, schema, place.is_resource);
        if pruned != *default {
            errors.push(FieldError::invalid(at, default.clone(), "must not have unknown fields"));
        }
    }
    if !faults.is_empty() {
        errors.extend(faults);
        return errors;
    }
    let faults = validate::default(default, schema, at);
    if faults.is_empty()
        && let Some(rules) = Validator::of(schema, place.is_resource)
    {
        errors.extend(rules.validate_default(default, at));
    }
    errors.extend(faults);
    errors
}

/// What is wrong with the resources in a default, which may be one itself.
fn metadata_of(default: &Value, schema: &StructuralSchema, at: &FieldPath, is_resource: bool) -> ErrorList {
    let (mut coerced, mut unknown) = (default.clone(), Vec::new());
    let resource = match &mut coerced {
        Value::Object(fields) if is_resource => coerce_resource(fields, at, &mut unknown),
        _ => Ok(()),
    };
    match resource.and_then(|()| coerce_embedded(&mut coerced, schema, at, &mut unknown)) {
        Err(error) => vec![error],
        Ok(()) if is_resource && !schema.embedded_resource => validate::resource(default, schema, at),
        Ok(()) => validate::embedded(default, schema, at),
    }
}

/// What is wrong with the metadata that a default makes.
fn in_metadata(default: &Value, at: &FieldPath, place: &Place<'_>) -> ErrorList {
    let resource = place.around(default);
    let faults = metadata_of(&resource, place.resource, &FieldPath::root(), true);
    let said = match faults.as_slice() {
        [] => return ErrorList::new(),
        [one] => one.to_string(),
        many => format!("[{}]", many.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    };
    vec![FieldError::invalid(at, default.clone(), format!("must result in valid metadata: {said}"))]
}
