// SPDX-License-Identifier: Apache-2.0
//! A value against its schema.
//!
//! Beside its faults a check counts how much fitted: where none of several schemas fits, the faults of
//! the one that fitted best are told.

use knarr_types::tree::{Map, Text, Value};
use knarr_types::{FieldError, FieldPath, Shown, go_quoted};

use super::{formats, scalars};
use crate::crd::structural::{Additional, ListType, StructuralSchema};

/// One fault; the path is as the validator names it: `spec.items[0]`, `.a` below the root.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    pub path: String,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    /// It is not there.
    Required,
    /// It is none of these.
    NotOneOf(Value, Vec<String>),
    /// It has more bytes than that.
    TooLong(i64),
    /// It has so many elements, which is more than that.
    TooMany(usize, i64),
    /// It is of another type: the one that it is, and what is said.
    Type(Value, String),
    /// It breaks a rule.
    Invalid(Value, String),
    /// Something is said that names the place itself.
    Said(String),
}

impl Fault {
    /// As an error of the field, below the place where the schema is.
    pub fn at(self, base: &FieldPath) -> FieldError {
        // A key may be empty: only the dot before the first is none of it.
        let name = self.path.strip_prefix('.').unwrap_or(&self.path);
        let path = if name.is_empty() { base.clone() } else { base.child(name) };
        match self.what {
            What::Required => FieldError::required(&path, ""),
            What::NotOneOf(value, allowed) => {
                let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
                FieldError::not_supported(&path, value, &allowed)
            }
            What::TooLong(most) => match usize::try_from(most) {
                Ok(most) => FieldError::too_long(&path, most),
                Err(_) => FieldError { detail: "value is too long".to_owned(), ..FieldError::too_long(&path, 0) },
            },
            What::TooMany(count, most) => match usize::try_from(most) {
                Ok(most) => FieldError::too_many(&path, count, most),
                Err(_) => {
                    FieldError { detail: "has too many items".to_owned(), ..FieldError::too_many(&path, count, 0) }
                }
            },
            What::Type(value, said) => FieldError::type_invalid(&path, value, said),
            What::Invalid(value, said) => FieldError::invalid(&path, Shown::Value(value), said),
            What::Said(said) => FieldError::invalid(base, "", said),
        }
    }
}

/// The outcome of a check.
#[derive(Default)]
struct Outcome {
    faults: Vec<Fault>,
    fitted: usize,
}

impl Outcome {
    fn add(&mut self, fault: Fault) {
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    fn merge(&mut self, other: Self) {
        self.fitted += other.fitted;
        other.faults.into_iter().for_each(|fault| self.add(fault));
    }
}

/// A value on its way through the schema, with the same place of the object before.
#[derive(Clone, Copy)]
struct Node<'a> {
    value: &'a Value,
    old: Option<&'a Value>,
    /// The schema of the place, which says how lists are told apart: partial schemas do not.
    place: &'a StructuralSchema,
    /// What may be a number or a text may be anything.
    any_or: bool,
    path: &'a str,
}

pub(super) fn check(value: &Value, old: Option<&Value>, schema: &StructuralSchema) -> Vec<Fault> {
    tolerant(Node { value, old, place: schema, any_or: false, path: "" }, schema).faults
}

/// The check of a default, for which upstream's schema says nothing of the types that int-or-string stands for.
pub(super) fn check_default(value: &Value, schema: &StructuralSchema) -> Vec<Fault> {
    tolerant(Node { value, old: None, place: schema, any_or: true, path: "" }, schema).faults
}

/// The check of a place: faults of a value that did not change are forgiven.
fn tolerant(node: Node<'_>, schema: &StructuralSchema) -> Outcome {
    let mut outcome = whole(node, schema);
    let name = node.path;
    if !outcome.faults.is_empty() && !matches!(name, "kind" | "apiVersion") {
        let unchanged = node.old.is_some_and(|old| unchanged(node.value, old, Some(node.place)));
        if unchanged {
            outcome.faults.clear();
        }
    }
    outcome
}

/// Whether a value is as it was. What the schema does not know can not be found again, and counts as changed.
fn unchanged(new: &Value, old: &Value, schema: Option<&StructuralSchema>) -> bool {
    match (new, old) {
        (Value::Array(new), Value::Array(was)) => {
            let keyed = schema.filter(|schema| schema.list_type == ListType::Map && schema.items.is_some());
            let Some(schema) = keyed else { return new == was };
            let same = |item: &Value| {
                same_element(was, item, schema).is_some_and(|old| unchanged(item, old, schema.items.as_deref()))
            };
            new.len() == was.len() && new.iter().all(same)
        }
        (Value::Object(new), Value::Object(old)) => {
            let same = |(name, new): (&Text, &Value)| {
                let known = schema.and_then(|schema| schema.field(name));
                known.is_some() && old.get(name).is_some_and(|old| unchanged(new, old, known))
            };
            new.len() == old.len() && new.iter().all(same)
        }
        _ => new == old,
    }
}

/// `fitted` counts as upstream's validators do: each counts itself where it applies, some also what fits.
fn whole(node: Node<'_>, schema: &StructuralSchema) -> Outcome {
    let mut outcome = Outcome::default();
    let Node { value, path, .. } = node;
    type_of(&mut outcome, node, schema);
    if value.is_null() {
        enumeration(&mut outcome, value, schema, path);
        return outcome;
    }
    logic(&mut outcome, node, schema);
    match value {
        Value::String(text) => {
            scalars::text(text, schema, path)
                .into_iter()
                .for_each(|what| outcome.add(Fault { path: path.into(), what }));
            if let Some(what) = formats::check(text, schema, path) {
                outcome.add(Fault { path: path.into(), what });
            }
            outcome.fitted += 1 + usize::from(formats::known(schema));
        }
        Value::Number(number) => {
            for what in scalars::number(number, schema, path) {
                outcome.add(Fault { path: path.into(), what });
            }
            outcome.fitted += 2;
        }
        Value::Array(items) => list(&mut outcome, node, items, schema),
        _ => {}
    }
    enumeration(&mut outcome, value, schema, path);
    if let Value::Object(fields) = value {
        object(&mut outcome, node, fields, schema);
    }
    outcome.fitted += 2;
    outcome
}

/// The type as the schema has it: `integer,string` for int-or-string.
fn wanted(schema: &StructuralSchema, any_or: bool) -> Vec<&str> {
    match schema.ty.as_str() {
        _ if schema.int_or_string && !any_or => vec!["integer", "string"],
        "" => Vec::new(),
        ty => vec![ty],
    }
}

/// The type of a value, as messages name it.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn type_of(outcome: &mut Outcome, node: Node<'_>, schema: &StructuralSchema) {
    let Node { value, path, any_or, .. } = node;
    let wanted = wanted(schema, any_or);
    let known = match wanted[..] {
        ["integer"] => matches!(schema.format.as_str(), "int32" | "int64"),
        ["number"] => matches!(schema.format.as_str(), "float" | "double"),
        _ => formats::known(schema),
    };
    // Of a default also formats count that nobody knows.
    let format = if known || any_or { schema.format.as_str() } else { "" };
    if value.is_null() {
        if wanted.is_empty() || schema.nullable {
            outcome.fitted += 1;
        } else {
            outcome.add(wrong_type(path, &wanted.join(","), "null".into()));
        }
        return;
    }
    if wanted.is_empty() && format.is_empty() {
        return;
    }
    outcome.fitted += 1;
    let is = type_name(value);
    let may_be = |ty: &str| wanted.contains(&ty);
    let whole = value.as_f64().is_some_and(|number| number.fract() == 0.0);
    let fits = may_be(is) || (is == "number" && whole && may_be("integer")) || (is == "integer" && may_be("number"));
    let has_format = match is {
        "integer" => "int64",
        "number" => "float64",
        _ => "",
    };
    let of_text = matches!(value, Value::String(_) | Value::Array(_));
    if !of_text && !format.is_empty() && !fits && format != has_format {
        outcome.add(wrong_type(path, format, has_format.into()));
    } else if fits || (of_text && !format.is_empty() && !may_be("number") && !may_be("integer")) {
        outcome.fitted += 1;
    } else {
        outcome.add(wrong_type(path, &wanted.join(","), is.into()));
    }
}

/// A value that is not of that type or format.
pub(super) fn wrong_type(path: &str, wanted: &str, value: Value) -> Fault {
    let said = format!("{path} in body must be of type {wanted}: {}", go_quoted(value.as_str().unwrap_or_default()));
    Fault { path: path.into(), what: What::Type(value, said) }
}

fn enumeration(outcome: &mut Outcome, value: &Value, schema: &StructuralSchema, path: &str) {
    let values = &schema.checks.values;
    if !values.is_empty() && !values.iter().any(|allowed| scalars::is_allowed(allowed, value)) {
        let allowed = values.iter().map(crate::crd::json_path::printed).collect();
        outcome.add(Fault { path: path.into(), what: What::NotOneOf(value.clone(), allowed) });
    }
}

fn list(outcome: &mut Outcome, node: Node<'_>, items: &[Value], schema: &StructuralSchema) {
    let checks = &schema.checks;
    if let Some(item_schema) = &schema.items {
        for (i, item) in items.iter().enumerate() {
            let path = format!("{}[{i}]", node.path);
            let place = node.place.items.as_deref().unwrap_or(item_schema);
            let below = Node { value: item, old: before(node, item), place, path: &path, ..node };
            outcome.merge(tolerant(below, item_schema));
        }
    }
    let path = node.path;
    let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
    if let Some(least) = checks.min_items.filter(|least| count < *least) {
        let said = format!("{path} in body should have at least {least} items");
        outcome.add(Fault { path: path.into(), what: What::Invalid(count.into(), said) });
    }
    if let Some(most) = checks.max_items.filter(|most| count > *most) {
        outcome.add(Fault { path: path.into(), what: What::TooMany(items.len(), most) });
    }
    if checks.unique_items && items.iter().enumerate().any(|(i, item)| items[..i].contains(item)) {
        let said = format!("{path} in body shouldn't contain duplicates");
        outcome.add(Fault { path: path.into(), what: What::Invalid("".into(), said) });
    }
    outcome.fitted += 2;
}

/// The element of the list before that this one was, where lists are told apart by keys.
fn before<'a>(node: Node<'a>, item: &Value) -> Option<&'a Value> {
    if node.place.list_type != ListType::Map {
        return None;
    }
    same_element(node.old?.as_array()?, item, node.place)
}

fn same_element<'a>(old: &'a [Value], item: &Value, list: &StructuralSchema) -> Option<&'a Value> {
    old.iter().find(|old| list.list_map_keys.iter().all(|key| old.get(key) == item.get(key)))
}

fn object(outcome: &mut Outcome, node: Node<'_>, fields: &Map, schema: &StructuralSchema) {
    let (checks, path) = (&schema.checks, node.path);
    outcome.fitted += 1;
    let count = i64::try_from(fields.len()).unwrap_or(i64::MAX);
    if let Some(least) = checks.min_properties.filter(|least| count < *least) {
        let said = format!("{path} in body should have at least {least} properties");
        outcome.add(Fault { path: path.into(), what: What::Invalid(count.into(), said) });
    }
    if let Some(most) = checks.max_properties.filter(|most| count > *most) {
        outcome.add(Fault { path: path.into(), what: What::TooMany(fields.len(), most) });
    }
    for (name, value) in fields {
        let below = join(path, name);
        match (schema.properties.get(name.as_str()), &schema.additional) {
            (Some(known), _) => outcome.merge(field(node, name, value, known, &below)),
            (None, Additional::Schema(known)) => {
                outcome.merge(field(node, name, value, known, &format!("{path}.{name}")))
            }
            (None, Additional::Allowed(false)) => {
                let said = format!("{path}.{name} in body is a forbidden property");
                outcome.add(Fault { path: path.into(), what: What::Invalid(name.as_str().into(), said) });
            }
            (None, _) => {}
        }
    }
    for name in checks.required.iter().filter(|name| !fields.contains_key(name)) {
        outcome.add(Fault { path: format!("{path}.{name}"), what: What::Required });
    }
}

fn field(node: Node<'_>, name: &str, value: &Value, schema: &StructuralSchema, path: &str) -> Outcome {
    let place = node.place.field(name);
    // What the schema of the place does not know cannot be found before.
    let old = place.and_then(|_| node.old?.get(name));
    tolerant(Node { value, old, place: place.unwrap_or(schema), path, ..node }, schema)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// `anyOf`, `oneOf`, `allOf` and `not`.
fn logic(outcome: &mut Outcome, node: Node<'_>, schema: &StructuralSchema) {
    // Within these nothing is forgiven for what it was before.
    let node = Node { old: None, ..node };
    let checks = &schema.checks;
    let say = |words: &str| Fault { path: String::new(), what: What::Said(format!("{:?} {words}", node.path)) };
    if !checks.any_of.is_empty() {
        let (fits, best) = best_of(node, &checks.any_of, true);
        if fits == 0 {
            outcome.add(say("must validate at least one schema (anyOf)"));
        }
        outcome.merge(best);
    }
    if !checks.one_of.is_empty() {
        let (fits, best) = best_of(node, &checks.one_of, false);
        match fits {
            0 => outcome.add(say("must validate one and only one schema (oneOf). Found none valid")),
            1 => {}
            many => outcome
                .add(say(&format!("must validate one and only one schema (oneOf). Found {many} valid alternatives"))),
        }
        if fits < 2 {
            outcome.merge(best);
        }
    }
    let mut fits = 0;
    for schema in &checks.all_of {
        let found = whole(node, schema);
        fits += usize::from(found.faults.is_empty());
        outcome.merge(found);
    }
    if fits != checks.all_of.len() {
        let none = if fits == 0 { ". None validated" } else { "" };
        outcome.add(say(&format!("must validate all the schemas (allOf){none}")));
    }
    if checks.not.as_ref().is_some_and(|not| whole(node, not).faults.is_empty()) {
        outcome.add(say("must not validate the schema (not)"));
    }
    outcome.fitted += 2;
}

/// How many of the schemas fit (`first`: stop at one), and the outcome of the one that fits best.
fn best_of(node: Node<'_>, schemas: &[StructuralSchema], first: bool) -> (usize, Outcome) {
    let (mut fits, mut best): (usize, Option<Outcome>) = (0, None);
    for schema in schemas {
        let found = whole(node, schema);
        if found.faults.is_empty() {
            fits += 1;
            if fits == 1 {
                best = Some(found);
            }
            if first {
                break;
            }
        } else if fits == 0 && best.as_ref().is_none_or(|best| found.fitted > best.fitted) {
            best = Some(found);
        }
    }
    (fits, best.unwrap_or_default())
}
