// SPDX-License-Identifier: Apache-2.0
//! What tells the elements of a list apart.

use std::borrow::Cow;

use knarr_types::go_json;
use knarr_types::tree::{Map, Value};

use super::Shape;
use crate::field_set::Element;
use crate::field_table::{Type, TypeRef};

/// The path element of a list's element; keys that are not set count with their default.
///
/// # Errors
/// Where nothing tells it apart, in upstream's words.
pub(crate) fn element_of(value: &Value, item: &TypeRef, keys: &[String]) -> Result<Element<'static>, String> {
    if keys.is_empty() {
        return match value {
            Value::Object(_) => Err("associative list without keys has an element that's a map type".into()),
            Value::Array(_) => Err("not supported: associative list with lists as elements".into()),
            Value::Null => Err("associative list without keys has an element that's an explicit null".into()),
            scalar => Ok(Element::value(scalar)),
        };
    }
    let object = match value {
        Value::Object(object) => object,
        Value::Null => return Err("associative list with keys may not have a null element".into()),
        _ => return Err("associative list with keys may not have non-map elements".into()),
    };
    match keyed(object, item, keys) {
        Some(text) => Ok(Element::Item(Cow::Owned(text))),
        None => Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            keys.iter().map(|key| format!("{key:?}")).collect::<Vec<_>>().join(" ")
        )),
    }
}

/// Whether there is something in each element of the lists in an object that tells it apart.
#[must_use]
pub fn tells_apart(object: &Value, ty: &Type) -> bool {
    tells_apart_as(object, Shape::of_type(ty))
}

/// The same for a value of that shape.
pub(crate) fn tells_apart_as(value: &Value, shape: Shape<'_>) -> bool {
    match (shape, value) {
        // It was told apart when it was written: else the object has no owners, and nobody asks.
        (_, Value::Object(members)) if members.as_stored().is_some() => true,
        (Shape::Struct(_) | Shape::Map(_), Value::Object(members)) => {
            members.iter().all(|(name, value)| tells_apart_as(value, shape.field(name)))
        }
        (Shape::List { item, keys }, Value::Array(items)) => {
            items.iter().all(|value| has_key(value, item, keys) && tells_apart_as(value, Shape::of(item)))
        }
        _ => true,
    }
}

fn has_key(value: &Value, item: &TypeRef, keys: &[String]) -> bool {
    match value {
        Value::Null => false,
        Value::Object(object) => keys.iter().any(|key| object.contains_key(key) || default_of(item, key).is_some()),
        Value::Array(_) => false,
        _ => keys.is_empty(),
    }
}

/// The published form, keys sorted: `k:{"containerPort":80,"protocol":"TCP"}`.
fn keyed(object: &Map, item: &TypeRef, keys: &[String]) -> Option<String> {
    let mut found: Vec<(&str, &Value)> = keys
        .iter()
        .filter_map(|key| Some((key.as_str(), object.get(key).or_else(|| default_of(item, key))?)))
        .collect();
    if found.is_empty() {
        return None;
    }
    if found.len() > 1 {
        found.sort_unstable_by_key(|(key, _)| *key);
    }
    let mut text = String::with_capacity(32);
    for (key, value) in found {
        text.push_str(if text.is_empty() { "k:{" } else { "," });
        push_text(&mut text, key);
        text.push(':');
        match value {
            Value::String(value) => push_text(&mut text, value),
            other => text.push_str(&other.to_string()),
        }
    }
    text.push('}');
    Some(text)
}

/// Appends text as JSON.
fn push_text(to: &mut String, text: &str) {
    let is_plain = |byte| (0x20..0x80).contains(&byte) && !b"\"\\<>&".contains(&byte);
    if text.bytes().all(is_plain) {
        to.push('"');
        to.push_str(text);
        to.push('"');
    } else {
        to.push_str(&go_json(Value::from(text).to_string()));
    }
}

fn default_of<'t>(item: &'t TypeRef, key: &str) -> Option<&'t Value> {
    let Type::Struct(known) = item.get() else { return None };
    known.field(key)?.default.as_ref()
}
