// SPDX-License-Identifier: Apache-2.0
//! An object with what another one says laid over it.

use std::collections::BTreeMap;

use knarr_types::tree::{Map, Value};

use super::Shape;
use super::elements::element_of;
use crate::field_set::Element;
use crate::field_table::{Type, TypeRef};

/// Lays a configuration over an object: its scalars and atomic values win, all else is merged.
/// Elements of lists come in the configuration's order, those it does not name where they were.
#[must_use]
pub fn merge(live: &Value, config: &Value, ty: &Type) -> Value {
    values(Some(live), Some(config), Shape::of_type(ty)).unwrap_or(Value::Null)
}

fn values(live: Option<&Value>, config: Option<&Value>, shape: Shape<'_>) -> Option<Value> {
    let config = match config {
        None => return live.cloned(),
        Some(config) => config,
    };
    match (shape, live, config) {
        (Shape::List { item, keys }, Some(Value::Array(live)), Value::Array(config)) => {
            if live.is_empty() && config.is_empty() {
                return Some(Value::Array(Vec::new()));
            }
            Some(Value::Array(lists(live, config, item, keys)))
        }
        (Shape::List { .. }, Some(Value::Array(live)), Value::Null) if !live.is_empty() => {
            Some(Value::Array(live.clone()))
        }
        (shape, Some(Value::Object(live)), Value::Object(config)) if shape.by_key() => {
            Some(Value::Object(objects(live, config, shape)))
        }
        (shape, Some(Value::Object(live)), Value::Null) if shape.by_key() && !live.is_empty() => {
            Some(Value::Object(live.clone()))
        }
        (_, _, config) => Some(config.clone()),
    }
}

fn objects(live: &Map, config: &Map, shape: Shape<'_>) -> Map {
    let mut merged = Map::new();
    for (name, value) in live {
        if let Some(value) = values(Some(value), config.get(name), shape.field(name)) {
            merged.insert(name.clone(), value);
        }
    }
    for (name, value) in config {
        if !live.contains_key(name) {
            merged.insert(name.clone(), value.clone());
        }
    }
    merged
}

/// Where elements are in a list, by what tells them apart; several of one key count as none.
struct Index<'v> {
    keys: Vec<Element<'static>>,
    values: BTreeMap<Element<'static>, Option<&'v Value>>,
    all: Vec<&'v Value>,
}

impl<'v> Index<'v> {
    fn of(list: &'v [Value], item: &TypeRef, keys: &[String]) -> Self {
        let mut index = Self { keys: Vec::new(), values: BTreeMap::new(), all: Vec::new() };
        for value in list {
            let Ok(element) = element_of(value, item, keys) else { continue };
            index.values.entry(element.clone()).and_modify(|value| *value = None).or_insert(Some(value));
            index.keys.push(element);
            index.all.push(value);
        }
        index
    }

    fn has(&self, element: &Element<'static>) -> bool {
        self.values.contains_key(element)
    }

    fn get(&self, element: &Element<'static>) -> Option<&'v Value> {
        self.values.get(element).copied().flatten()
    }
}

/// Walks both lists at once: an element that only the live list has comes before the next one that
/// both have.
fn lists(live: &[Value], config: &[Value], item: &TypeRef, keys: &[String]) -> Vec<Value> {
    let (live, config) = (Index::of(live, item, keys), Index::of(config, item, keys));
    let merged = |key: &Element<'static>| values(live.get(key), config.get(key), Shape::of(item));
    let mut shared = config.keys.iter().filter(|key| live.has(key));
    let mut next_shared = shared.next();
    let mut done = std::collections::BTreeSet::new();
    let mut out = Vec::with_capacity(live.keys.len().max(config.keys.len()));
    let (mut l, mut r) = (0, 0);
    while l < live.keys.len() || r < config.keys.len() {
        if let (Some(left), Some(right)) = (live.keys.get(l), config.keys.get(r)) {
            if left == right {
                done.insert(left.clone());
                out.extend(merged(left));
                (l, r) = (l + 1, r + 1);
                next_shared = shared.next();
                continue;
            }
            if config.has(left) && next_shared.is_some_and(|next| next != left) {
                // Both have it, but another one comes first.
                l += 1;
                continue;
            }
        }
        if let Some(left) = live.keys.get(l) {
            if !config.has(left) {
                out.push(live.all[l].clone());
                l += 1;
                continue;
            }
            if done.contains(left) {
                l += 1;
            }
        }
        if let Some(right) = config.keys.get(r) {
            done.insert(right.clone());
            out.extend(merged(right));
            r += 1;
            if next_shared == Some(right) {
                next_shared = shared.next();
            }
        }
    }
    out
}
