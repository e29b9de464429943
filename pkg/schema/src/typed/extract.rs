// SPDX-License-Identifier: Apache-2.0
//! Which paths an object has.

use knarr_types::tree::Value;

use super::elements::element_of;
use super::{Shape, field};
use crate::field_set::{Element, FieldSet};
use crate::field_table::{Struct, Type, TypeRef};
use crate::patch::go_text::{in_go, plain};

/// The paths that an applied object claims.
#[must_use]
pub fn extract<'a>(object: &'a Value, ty: &Type) -> FieldSet<'a> {
    below(object, Shape::of_type(ty)).1
}

/// Whether the value itself is claimed, and what is claimed below it.
fn below<'a>(value: &'a Value, shape: Shape<'_>) -> (bool, FieldSet<'a>) {
    match (shape, value) {
        (_, Value::Null) => (true, FieldSet::default()),
        (shape, Value::Object(object)) if shape.by_key() => {
            let mut set = FieldSet::default();
            for (name, value) in object {
                let (claimed, below) = below(value, shape.field(name));
                set.push(field(name), claimed || !shape.names(name), below);
            }
            (object.is_empty(), set)
        }
        (Shape::List { item, keys }, Value::Array(items)) => (false, below_list(items, item, keys)),
        _ => (true, FieldSet::default()),
    }
}

fn below_list<'a>(items: &'a [Value], item: &TypeRef, keys: &[String]) -> FieldSet<'a> {
    let mut elements: Vec<(Element<'a>, &'a Value)> =
        items.iter().filter_map(|value| Some((element_of(value, item, keys).ok()?, value))).collect();
    elements.sort_by(|a, b| a.0.cmp(&b.0));
    let mut set = FieldSet::default();
    let mut rest = elements.into_iter().peekable();
    while let Some((element, value)) = rest.next() {
        let mut twice = false;
        while rest.next_if(|(other, _)| *other == element).is_some() {
            twice = true;
        }
        let inner = if twice { FieldSet::default() } else { below(value, Shape::of(item)).1 };
        set.push(element, true, inner);
    }
    set
}

/// The set with every named field that has something below it.
#[must_use]
pub fn name_fields<'a>(set: &FieldSet<'a>, ty: &Type) -> FieldSet<'a> {
    named(set, Shape::of_type(ty))
}

fn named<'a>(set: &FieldSet<'a>, shape: Shape<'_>) -> FieldSet<'a> {
    set.map(&mut |element, member, below| match element {
        Element::Field(name) => (member || (!below.is_empty() && shape.names(name)), named(below, shape.field(name))),
        Element::Item(_) => {
            let inner = if let Shape::List { item, .. } = shape { Shape::of(item) } else { Shape::Deduced };
            (member, named(below, inner))
        }
    })
}

/// What makes an object no object of its type for apply: unknown fields, elements of a list that
/// cannot be told apart. Upstream's words; `None` where nothing does.
#[must_use]
pub fn validate(object: &Value, ty: &Type) -> Option<String> {
    faults_of(object, ty, false)
}

/// As [`validate`] of an object that is no configuration: elements of a list may be alike.
#[must_use]
pub fn validate_stored(object: &Value, ty: &Type) -> Option<String> {
    faults_of(object, ty, true)
}

fn faults_of(object: &Value, ty: &Type, alike: bool) -> Option<String> {
    let mut found = Faults { alike, all: Vec::new() };
    check(object, ty, &mut String::new(), &mut found);
    match found.all.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("errors:\n  {}", many.join("\n  "))),
    }
}

struct Faults {
    /// Elements of a list may be alike.
    alike: bool,
    all: Vec<String>,
}

impl Faults {
    fn push(&mut self, fault: String) {
        self.all.push(fault);
    }
}

fn check(value: &Value, ty: &Type, path: &mut String, faults: &mut Faults) {
    match (ty, value) {
        (_, Value::Null) => {}
        (Type::Struct(known), Value::Object(object)) => {
            for (name, value) in object {
                match known.field(name) {
                    Some(known) => nested(&format!(".{name}"), value, known.ty.get(), path, faults),
                    None if allows(known, name) => {}
                    None => return faults.push(format!("{path}.{name}: field not declared in schema")),
                }
            }
        }
        (Type::Map { value: inner, .. }, Value::Object(object)) => {
            object.iter().for_each(|(name, value)| nested(&format!(".{name}"), value, inner.get(), path, faults));
        }
        (Type::List { item, .. }, Value::Array(items)) => check_items(items, item, ty, path, faults),
        _ => {
            if let Some(message) = mismatch(value, ty) {
                faults.push(if path.is_empty() { message } else { format!("{path}: {message}") });
            }
        }
    }
}

/// A field that the type does not list may be there all the same.
fn allows(known: &Struct, name: &str) -> bool {
    known.preserve_unknown || (known.embedded && matches!(name, "apiVersion" | "kind" | "metadata"))
}

/// A value of another type than the schema's.
fn mismatch(value: &Value, ty: &Type) -> Option<String> {
    let nested = value.is_object() || value.is_array();
    Some(match ty {
        Type::Struct(_) | Type::Map { .. } => format!("expected map, got {}", go_value(value)),
        Type::List { .. } => format!("expected list, got {}", go_value(value)),
        Type::Boolean if !value.is_boolean() => format!("expected boolean, got {}", go_value(value)),
        Type::Integer { .. } | Type::Number if !value.is_number() => {
            format!("expected numeric (int or float), got {}", go_type(value))
        }
        Type::String | Type::Bytes if !value.is_string() => format!("expected string, got {}", go_struct(value)),
        Type::IntOrString | Type::Quantity | Type::Time | Type::MicroTime if nested => {
            format!("expected any scalar, got {}", go_value(value))
        }
        _ => return None,
    })
}

fn check_items(items: &[Value], item: &TypeRef, list: &Type, path: &mut String, faults: &mut Faults) {
    let Shape::List { keys, .. } = Shape::of_type(list) else {
        for (index, value) in items.iter().enumerate() {
            nested(&format!("[{index}]"), value, item.get(), path, faults);
        }
        return;
    };
    let mut seen = std::collections::BTreeSet::new();
    for (index, value) in items.iter().enumerate() {
        let element = match element_of(value, item, keys) {
            Ok(element) => element,
            Err(message) => return faults.push(format!("{path}: element {index}: {message}")),
        };
        let shown = element.to_string();
        if !seen.insert(element) && !faults.alike {
            faults.push(format!("{path}: duplicate entries for key {shown}"));
        }
        nested(&shown, value, item.get(), path, faults);
    }
}

fn nested(step: &str, value: &Value, ty: &Type, path: &mut String, faults: &mut Faults) {
    let length = path.len();
    path.push_str(step);
    check(value, ty, path, faults);
    path.truncate(length);
}

/// A value as upstream's message shows it: its wrapper, printed by Go.
fn go_value(value: &Value) -> String {
    format!("&{{{}}}", plain(value))
}

/// The type that Go decodes a value to where no struct says another.
#[must_use]
pub fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.as_i64().is_none() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn go_struct(value: &Value) -> String {
    format!("&value.valueUnstructured{{Value:{}}}", in_go(value))
}
