// SPDX-License-Identifier: Apache-2.0
//! What is wrong with the schema of a version.

use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldPath, Shown};

use super::structural::{self, properties};
use super::{defaults, internal, lists, unsupported};
use crate::cel::rules::{check_declarations, check_expressions};
use crate::crd::structural::StructuralSchema;
use crate::rules::at::At;

const ITEMS: &str = "items must be a schema object and not an array";

/// The schema at `path`, in upstream's order. With a status of its own the root may say less.
pub(super) fn check(schema: &Value, path: FieldPath, has_status: bool) -> ErrorList {
    let at = At::new(schema, path);
    let mut errors = ErrorList::new();
    if has_status {
        errors.extend(root_with_status(&at));
    }
    if at.flag("nullable") {
        errors.push(at.get("nullable").forbidden("nullable cannot be true at the root"));
    }
    let parsed = StructuralSchema::parse(schema);
    let mut found = ErrorList::new();
    node(&at, &parsed, Scope { root: true, ..Scope::default() }, &mut found);
    let unsupported = unsupported::first(schema);
    let structural = if unsupported.is_none() { structural::check(&at) } else { ErrorList::new() };
    let is_structural = unsupported.is_none() && structural.is_empty();
    let defaults = if is_structural { defaults::check(&parsed, &at.path) } else { ErrorList::new() };
    let sound = is_structural && defaults.is_empty();
    errors.extend(structural);
    errors.extend(defaults);
    let expressions = if sound { check_expressions(&parsed, &at.path, &found) } else { ErrorList::new() };
    errors.extend(found);
    errors.extend(expressions);
    // What keeps it from being read at all is mostly told by what stands where it does.
    errors.extend(unsupported.filter(|_| errors.is_empty()).map(|why| at.invalid_as("", why)));
    errors
}

/// The fields that the root may have beside a status subresource.
fn root_with_status(at: &At<'_>) -> ErrorList {
    const ALLOWED: [&str; 22] = [
        "description",
        "type",
        "format",
        "title",
        "maximum",
        "exclusiveMaximum",
        "minimum",
        "exclusiveMinimum",
        "maxLength",
        "minLength",
        "pattern",
        "maxItems",
        "minItems",
        "uniqueItems",
        "multipleOf",
        "required",
        "items",
        "properties",
        "externalDocs",
        "example",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
    ];
    let before_type = ["id", "$schema", "$ref"].iter().any(|name| !at.value[*name].is_null());
    if !before_type && !matches!(at.str("type"), "" | "object") {
        let why =
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        return vec![at.get("type").invalid(why)];
    }
    let other = at.value.as_object().into_iter().flatten().find(|(name, _)| !ALLOWED.contains(&name.as_str()));
    let why = "only [Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations] fields are allowed at the root of the schema if the status subresource is enabled";
    other.map(|_| at.invalid_as(Shown::Printed(internal::schema(at.value)), why)).into_iter().collect()
}

/// What holds for a node because of those above it.
#[derive(Clone, Copy, Default)]
struct Scope<'a> {
    root: bool,
    /// It is in the name, kind or metadata of a resource.
    in_metadata: bool,
    /// Defaults are not allowed, for this reason.
    no_default: Option<&'a str>,
}

fn node(at: &At<'_>, parsed: &StructuralSchema, scope: Scope<'_>, errors: &mut ErrorList) {
    plain(at, scope, errors);
    if at.flag("uniqueItems") {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(at.get("uniqueItems").forbidden(why));
    }
    additional(at, parsed, scope, errors);
    for (name, property) in properties(at) {
        let meta = matches!(name, "metadata" | "kind" | "apiVersion");
        let resource = scope.root || at.flag("x-kubernetes-embedded-resource");
        let reason = format!("in top-level {name}");
        let below = Scope {
            root: false,
            in_metadata: scope.in_metadata || (meta && resource),
            no_default: if meta && scope.root { Some(&reason) } else { scope.no_default },
        };
        if let Some(parsed) = parsed.properties.get(name) {
            node(&property, parsed, below, errors);
        }
    }
    let below = Scope { root: false, ..scope };
    if let (Some(value), Some(parsed)) = (at.value.get("not"), &parsed.checks.not) {
        node(&At::new(value, at.path.child("not")), parsed, below, errors);
    }
    for (field, parsed) in
        [("allOf", &parsed.checks.all_of), ("oneOf", &parsed.checks.one_of), ("anyOf", &parsed.checks.any_of)]
    {
        at.items(field).iter().zip(parsed).for_each(|(part, parsed)| node(part, parsed, below, errors));
    }
    for (name, definition) in at.entries("definitions") {
        let definition = At::new(definition.value, at.path.child("definitions").key(name));
        alone(&definition, below, errors);
    }
    if let Some(parsed) = &parsed.items {
        node(&at.get("items"), parsed, below, errors);
    }
    at.items("items").iter().for_each(|item| alone(item, below, errors));
    for (name, dependency) in at.entries("dependencies") {
        let dependency = At::new(dependency.value, at.path.child("dependencies").key(name));
        alone(&dependency, below, errors);
    }
    lists::check(at, errors);
    errors.extend(check_declarations(parsed, &at.path, unsupported::first(at.value).is_none()));
}

/// A schema that no structural schema has.
fn alone(at: &At<'_>, scope: Scope<'_>, errors: &mut ErrorList) {
    if at.value.is_object() {
        node(at, &StructuralSchema::parse(at.value), scope, errors);
    }
}

fn additional(at: &At<'_>, parsed: &StructuralSchema, scope: Scope<'_>, errors: &mut ErrorList) {
    let values = at.get("additionalProperties");
    if !values.is_set() {
        return;
    }
    if !properties(at).is_empty() && *values.value != true {
        errors.push(values.forbidden("additionalProperties and properties are mutual exclusive"));
    }
    if let Some(parsed) = parsed.additional.schema() {
        let reason = "inside additionalProperties applying to object metadata";
        let no_default = if scope.in_metadata { Some(reason) } else { scope.no_default };
        node(&values, parsed, Scope { root: false, no_default, ..scope }, errors);
    }
}

/// What JSON schema has and Kubernetes does not take.
fn plain(at: &At<'_>, scope: Scope<'_>, errors: &mut ErrorList) {
    const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
    let ty = at.get("type");
    if !ty.text().is_empty() && !TYPES.contains(&ty.text()) {
        errors.push(ty.not_supported(&TYPES));
    }
    let default = at.get("default");
    if let Some(reason) = scope.no_default.filter(|_| default.is_set()) {
        errors.push(default.forbidden(format!("must not be set {reason}")));
    }
    for name in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        let field = At::new(at.raw(name), at.path.child(name));
        let may_be_empty = !matches!(name, "dependencies" | "additionalItems");
        let empty = may_be_empty && field.value.as_object().is_some_and(knarr_types::tree::Map::is_empty);
        if field.is_set() && !empty && (name != "id" || *field.value != "") {
            errors.push(field.forbidden(format!("{name} is not supported")));
        }
    }
    if ty.text() == "null" {
        errors.push(ty.forbidden("type cannot be set to null, use nullable as an alternative"));
    }
    if at.raw("items").is_array() {
        errors.push(at.get("items").forbidden(ITEMS));
    }
    if scope.in_metadata && at.flag("x-kubernetes-embedded-resource") {
        let why = "must not be used inside of resource meta";
        errors.push(at.get("x-kubernetes-embedded-resource").forbidden(why));
    }
}
