// SPDX-License-Identifier: Apache-2.0
//! Whether a schema is structural: every value has one type, said outside of `allOf` and the like.
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>

use knarr_types::ErrorList;
use knarr_types::tree::{Map, Value};

use crate::go_regex;
use crate::rules::at::At;

/// Where a node stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What keeps a schema from being structural, sorted as upstream does.
pub(super) fn check(schema: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    node(schema, Level::Root, &mut errors);
    complete(schema, schema, &mut errors);
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

/// A field of a node; names of fields may have dots and slashes.
fn below<'a>(at: &At<'a>, field: &str) -> Option<At<'a>> {
    at.value.get(field).filter(|value| value.is_object()).map(|value| At::new(value, at.path.child(field)))
}

/// The known fields of a node.
pub(super) fn properties<'a>(at: &At<'a>) -> Vec<(&'a str, At<'a>)> {
    let path = at.path.child("properties");
    let fields = at.value.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::iter);
    fields.map(|(name, value)| (name.as_str(), At::new(value, path.key(name)))).collect()
}

fn flag(at: &At<'_>, name: &str) -> bool {
    at.value[name] == true
}

fn ty<'a>(at: &At<'a>) -> &'a str {
    at.value["type"].as_str().unwrap_or_default()
}

fn node(at: &At<'_>, level: Level, errors: &mut ErrorList) {
    if ty(at) == "array" && below(at, "items").is_none() {
        errors.push(at.get("items").required("must be specified"));
    }
    if let Some(items) = below(at, "items") {
        node(&items, Level::Item, errors);
    }
    for (_, property) in properties(at) {
        node(&property, Level::Field, errors);
    }
    let additional = at.get("additionalProperties");
    if additional.is_set() {
        if level == Level::Root {
            errors.push(additional.forbidden("must not be used at the root"));
        }
        if additional.value.is_object() {
            node(&additional, Level::Field, errors);
        }
    }
    extensions(at, errors);
    value_checks(at, is_int_or_string(at.value), errors);
    typed(at, level, errors);
    metadata(at, level, errors);
    if flag(at, "x-kubernetes-embedded-resource")
        && !flag(at, "x-kubernetes-preserve-unknown-fields")
        && properties(at).is_empty()
    {
        let why =
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(at.get("properties").required(why));
    }
}

fn extensions(at: &At<'_>, errors: &mut ErrorList) {
    if !flag(at, "x-kubernetes-int-or-string") {
        return;
    }
    for name in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if flag(at, name) {
            errors.push(at.get(name).invalid("must be false if x-kubernetes-int-or-string is true"));
        }
    }
}

fn typed(at: &At<'_>, level: Level, errors: &mut ErrorList) {
    let place = at.get("type");
    let embedded = flag(at, "x-kubernetes-embedded-resource");
    if embedded && ty(at) != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if ty(at).is_empty() { place.required(why) } else { place.invalid(why) });
    } else if ty(at).is_empty()
        && !flag(at, "x-kubernetes-int-or-string")
        && !flag(at, "x-kubernetes-preserve-unknown-fields")
    {
        errors.push(place.required(match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        }));
    }
    if embedded && at.has("additionalProperties") {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(at.get("additionalProperties").forbidden(why));
    }
    if level == Level::Root && !matches!(ty(at), "" | "object") {
        errors.push(place.invalid("must be object at the root"));
    }
}

/// What every resource has must be said as it is, or not at all.
fn metadata(at: &At<'_>, level: Level, errors: &mut ErrorList) {
    let resource = level == Level::Root || flag(at, "x-kubernetes-embedded-resource");
    for (name, property) in properties(at) {
        match name {
            "kind" | "apiVersion" if resource && ty(&property) != "string" => {
                errors.push(property.get("type").invalid_as(ty(&property), "must be string"));
            }
            "metadata" => {
                if resource && ty(&property) != "object" {
                    errors.push(property.get("type").invalid_as(ty(&property), "must be object"));
                }
                if level == Level::Root && says_more_than_names(&property) {
                    let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
                    errors.push(property.forbidden(why));
                }
            }
            _ => {}
        }
    }
}

fn says_more_than_names(metadata: &At<'_>) -> bool {
    let names = properties(metadata);
    let only_names = names.iter().all(|(name, _)| matches!(*name, "name" | "generateName"));
    let fields = metadata.value.as_object().into_iter().flat_map(Map::keys);
    let others = fields.filter(|name| !matches!(name.as_str(), "type" | "default" | "properties")).count();
    others > 0 || (!names.is_empty() && !only_names)
}

/// `anyOf: [{type: integer}, {type: string}]`, the one place where types may stand in parts.
fn is_pattern(any_of: &Value) -> bool {
    *any_of == knarr_types::tree::json!([{"type": "integer"}, {"type": "string"}])
}

fn is_int_or_string(schema: &Value) -> (bool, bool) {
    let first = &schema["allOf"][0]["anyOf"];
    (is_pattern(&schema["anyOf"]), is_pattern(first))
}

/// The partial schemas of a node, and its pattern. `skip` is whether the types of int-or-string stand in
/// `anyOf`, or in that of the first of `allOf`.
fn value_checks(at: &At<'_>, skip: (bool, bool), errors: &mut ErrorList) {
    for field in ["anyOf", "allOf", "oneOf"] {
        if field == "anyOf" && skip.0 {
            continue;
        }
        for (i, part) in at.items(field).iter().enumerate() {
            partial(part, (field == "allOf" && i == 0 && skip.1, false), errors);
        }
    }
    if let Some(not) = below(at, "not") {
        partial(&not, (false, false), errors);
    }
    let pattern = at.get("pattern");
    if let Err(why) = go_regex::compile(pattern.text()) {
        errors.push(pattern.invalid(format!("must be a valid regular expression, but isn't: {why}")));
    }
}

/// A partial schema may check values, but not say what they are.
fn partial(at: &At<'_>, skip: (bool, bool), errors: &mut ErrorList) {
    value_checks(at, skip, errors);
    if let Some(items) = below(at, "items") {
        partial(&items, (false, false), errors);
    }
    for (_, property) in properties(at) {
        partial(&property, (false, false), errors);
    }
    let empty = "must be empty to be structural";
    let undefined = "must be undefined to be structural";
    let not_set = "must be false to be structural";
    for (name, why) in [
        ("type", empty),
        ("additionalProperties", undefined),
        ("default", undefined),
        ("title", empty),
        ("description", empty),
        ("nullable", not_set),
        ("x-kubernetes-preserve-unknown-fields", not_set),
        ("x-kubernetes-embedded-resource", not_set),
        ("x-kubernetes-int-or-string", not_set),
        ("x-kubernetes-list-map-keys", empty),
        ("x-kubernetes-list-type", undefined),
        ("x-kubernetes-map-type", undefined),
        ("x-kubernetes-validations", empty),
    ] {
        let said = match at.value.get(name) {
            None | Some(Value::Null) => false,
            Some(Value::Bool(set)) => *set,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Array(items)) => !items.is_empty(),
            Some(_) => true,
        };
        if said {
            errors.push(At::new(at.value, at.path.child(name)).forbidden(why));
        }
    }
    if let Some((_, property)) = properties(at).into_iter().find(|(name, _)| *name == "metadata") {
        errors.push(property.forbidden("must not be specified in a nested context"));
    }
}

/// What the parts of the root look into must be said by the root itself. Upstream looks at no other node.
fn complete(at: &At<'_>, whole: &At<'_>, errors: &mut ErrorList) {
    for field in ["allOf", "anyOf", "oneOf"] {
        at.items(field).iter().for_each(|part| covered(part, whole, errors));
    }
    if let Some(not) = below(at, "not") {
        covered(&not, whole, errors);
    }
}

fn covered(part: &At<'_>, whole: &At<'_>, errors: &mut ErrorList) {
    complete(part, whole, errors);
    let said = properties(whole);
    for (name, property) in properties(part) {
        match said.iter().find(|(other, _)| *other == name) {
            Some((_, whole)) => covered(&property, whole, errors),
            None => {
                let path = whole.path.child("properties").key(name);
                let why = format!("because it is defined in {}", property.path);
                errors.push(At::new(property.value, path).required(&why));
            }
        }
    }
    if let Some(items) = below(part, "items") {
        match below(whole, "items") {
            Some(whole) => covered(&items, &whole, errors),
            None => errors.push(whole.get("items").required(&format!("because it is defined in {}", items.path))),
        }
    }
}
