// SPDX-License-Identifier: Apache-2.0
//! What a schema says about how lists and maps are shared by writers.

use knarr_types::tree::Value;
use knarr_types::{ErrorList, Shown};

use super::internal;
use super::structural::properties;
use crate::rules::at::At;

/// The list and map types of a node.
pub(super) fn check(at: &At<'_>, errors: &mut ErrorList) {
    if at.raw("x-kubernetes-preserve-unknown-fields") == &Value::Bool(false) {
        errors.push(at.get("x-kubernetes-preserve-unknown-fields").invalid("must be true or undefined"));
    }
    let (map, list) = (at.get("x-kubernetes-map-type"), at.get("x-kubernetes-list-type"));
    if map.is_set() {
        must_be(at, "object", "must be object if x-kubernetes-map-type is specified", errors);
        if !matches!(map.text(), "atomic" | "granular") {
            errors.push(map.not_supported(&["atomic", "granular"]));
        }
    }
    if list.is_set() {
        if at.str("type") == "array" {
            set_of_atoms(at, errors);
        }
        must_be(at, "array", "must be array if x-kubernetes-list-type is specified", errors);
        if !matches!(list.text(), "atomic" | "set" | "map") {
            errors.push(list.not_supported(&["atomic", "set", "map"]));
        }
    }
    if at.len("x-kubernetes-list-map-keys") > 0 && list.text() != "map" {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        errors.push(if list.is_set() { list.invalid(why) } else { list.required(why) });
    }
    if list.text() == "map" {
        keys(at, errors);
    }
    if matches!(list.text(), "set" | "map") {
        not_nullable(at, list.text(), errors);
    }
}

fn must_be(at: &At<'_>, wanted: &str, why: &str, errors: &mut ErrorList) {
    let ty = at.get("type");
    if ty.text() != wanted {
        errors.push(if ty.text().is_empty() { ty.required(why) } else { ty.invalid(why) });
    }
}

/// The elements of a set are told apart as wholes.
fn set_of_atoms(at: &At<'_>, errors: &mut ErrorList) {
    let items = at.get("items");
    if at.str("x-kubernetes-list-type") != "set" || !items.is_set() {
        return;
    }
    let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let (list, map) = (items.get("x-kubernetes-list-type"), items.get("x-kubernetes-map-type"));
    match items.str("type") {
        "array" if list.is_set() && list.text() != "atomic" => errors.push(list.invalid(why)),
        "object" if map.text() != "atomic" => errors.push(map.invalid_as(list.value.clone(), why)),
        _ => {}
    }
}

fn keys(at: &At<'_>, errors: &mut ErrorList) {
    let (keys, items) = (at.get("x-kubernetes-list-map-keys"), at.get("items"));
    let names = at.strings("x-kubernetes-list-map-keys");
    if names.is_empty() {
        errors.push(keys.required("must not be empty if x-kubernetes-list-type is map"));
    }
    if !items.is_set() {
        errors.push(items.required("must have a schema if x-kubernetes-list-type is map"));
        return;
    }
    if let Some(schemas) = items.value.as_array() {
        let schemas: Vec<String> = schemas.iter().map(internal::schema).collect();
        let shown = format!("{{\"Schema\":null,\"JSONSchemas\":[{}]}}", schemas.join(","));
        let why = "must only have a single schema if x-kubernetes-list-type is map";
        errors.push(items.invalid_as(Shown::Printed(shown), why));
        return;
    }
    if items.str("type") != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(items.get("type").invalid_as(items.str("type"), why));
        return;
    }
    let known = properties(&items);
    for (i, name) in names.iter().enumerate() {
        match known.iter().find(|(other, _)| other == name) {
            None => errors.push(keys.invalid("entries must all be names of item properties")),
            Some((_, property)) if matches!(property.str("type"), "array" | "object") => {
                let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                errors.push(property.get("type").invalid_as(items.str("type"), why));
            }
            Some(_) => {}
        }
        if names[..i].contains(name) {
            errors.push(keys.invalid("must not contain duplicate entries"));
        }
    }
}

/// What tells elements apart is always there.
fn not_nullable(at: &At<'_>, ty: &str, errors: &mut ErrorList) {
    let items = at.get("items");
    if items.flag("nullable") {
        errors.push(items.get("nullable").forbidden(format!("cannot be nullable when x-kubernetes-list-type is {ty}")));
    }
    if ty != "map" {
        return;
    }
    let required = items.strings("required");
    let known = properties(&items);
    for name in at.strings("x-kubernetes-list-map-keys") {
        let Some((_, property)) = known.iter().find(|(other, _)| *other == name) else { continue };
        let why = "this property is in x-kubernetes-list-map-keys, so it";
        if !required.contains(&name) && !property.has("default") {
            let why = format!("{why} must have a default or be a required property");
            errors.push(property.get("default").required(&why));
        }
        if property.flag("nullable") {
            errors.push(property.get("nullable").forbidden(format!("{why} cannot be nullable")));
        }
    }
}
