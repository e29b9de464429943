// SPDX-License-Identifier: Apache-2.0
//! Strategic merge patch: merge patch that knows from a type which lists merge, and by what key, with
//! directives for the rest. The steps, their order and their words follow upstream's.

use knarr_types::Object;
use knarr_types::tree::{Map, Text, Value};

use super::PatchError;
use super::go_text::{as_text, go_type, plain};
use crate::field_table::{PatchStrategy, Type};

mod lists;
mod spent;

use lists::{merge_lists, ordered};
pub use spent::spent_patch;

type Members = Map;
type Outcome<T> = Result<T, PatchError>;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";
const ELEMENT_ORDER: &str = "$setElementOrder";
/// Deeper patches are refused; no type of ours nests as deep.
const MAX_DEPTH: usize = 200;

/// Applies a strategic merge patch to an object of that type.
///
/// # Errors
/// Where the patch is no object, or does not fit the object or its type.
pub fn strategic_merge_patch(object: Object, patch: &Value, ty: &Type) -> Outcome<Object> {
    match (object, patch.clone()) {
        (Value::Object(object), Value::Object(patch)) => {
            merge_members(object, patch, Known { ty: Some(ty), depth: 0 }).map(Value::Object)
        }
        // No patch at all changes nothing.
        (object, Value::Null) => Ok(object),
        (_, patch) => Err(PatchError::Malformed(super::not_an_object(&patch))),
    }
}

fn failed<T>(text: impl Into<String>) -> Outcome<T> {
    Err(PatchError::Strategic(text.into()))
}

/// A directive that says nothing: the patch is no patch. Anything else that does not fit is [`failed`].
fn malformed<T>(text: &str) -> Outcome<T> {
    Err(PatchError::Malformed(text.into()))
}

fn no_merge_key<T>(element: &Value, key: &str) -> Outcome<T> {
    failed(format!("map: {} does not contain declared merge key: {key}", plain(element)))
}

fn expected<T>(wanted: &str, found: &Value) -> Outcome<T> {
    failed(format!("expected a {wanted}, but received a {}", go_type(found)))
}

fn unknown_directive<T>(directive: &Value, patch: Members) -> Outcome<T> {
    failed(format!("unknown patch type: {} in map: {}", as_text(directive), plain(&Value::Object(patch))))
}

/// What is known of the objects at one place.
#[derive(Clone, Copy)]
struct Known<'t> {
    ty: Option<&'t Type>,
    depth: usize,
}

impl<'t> Known<'t> {
    /// What is known of a field's value, and how it merges.
    fn field(self, name: &str) -> Outcome<(Self, PatchStrategy)> {
        let depth = self.depth + 1;
        if depth > MAX_DEPTH {
            return failed("the patch nests too deep");
        }
        let unknown =
            |kind: &str| failed(format!("unable to find api field in struct {kind} for the json field {name:?}"));
        match self.ty {
            Some(Type::Struct(known)) => match known.field(name) {
                Some(field) => Ok((Self { ty: Some(field.ty.get()), depth }, field.patch.clone())),
                None if known.preserve_unknown => Ok((Self { ty: None, depth }, PatchStrategy::default())),
                None => unknown(known.name.rsplit('.').next().unwrap_or_default()),
            },
            Some(Type::Map { value, .. }) => Ok((Self { ty: Some(value.get()), depth }, PatchStrategy::default())),
            Some(Type::Any | Type::SchemaOr { .. }) => unknown("RawExtension"),
            Some(_) => failed("merging an object in json but data type is not struct"),
            None => Ok((Self { ty: None, depth }, PatchStrategy::default())),
        }
    }

    /// What is known of a list's elements, and how the list merges.
    fn items(self, name: &str) -> Outcome<(Self, PatchStrategy)> {
        let (list, strategy) = self.field(name)?;
        match list.ty {
            Some(Type::List { item, .. }) => Ok((Self { ty: Some(item.get()), ..list }, strategy)),
            None => Ok((list, strategy)),
            Some(_) => failed("expected slice or array type, but got: struct"),
        }
    }
}

/// Merges the members of a patch into those of an object.
fn merge_members(mut original: Members, mut patch: Members, known: Known<'_>) -> Outcome<Members> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(DIRECTIVE);
                Ok(patch)
            }
            Some("delete") => Ok(Members::new()),
            _ => {
                let directive = directive.clone();
                unknown_directive(&directive, patch)
            }
        };
    }
    retain_keys(&mut original, &mut patch)?;
    set_element_orders(&mut original, &mut patch, known)?;
    for (name, value) in patch {
        let (name, deletes) = match name.strip_prefix(DELETE_FROM_LIST) {
            None => (name.as_str(), false),
            Some(rest) => match rest.strip_prefix('/') {
                Some(list) => (list, true),
                None => return malformed("invalid patch format of primitive list"),
            },
        };
        merge_member(&mut original, name, value, deletes, known)?;
    }
    Ok(original)
}

fn merge_member(original: &mut Members, name: &str, value: Value, deletes: bool, known: Known<'_>) -> Outcome<()> {
    if value.is_null() {
        original.remove(name);
        return Ok(());
    }
    let merged = match (original.remove(name), value) {
        (Some(Value::Object(before)), Value::Object(patch)) => {
            let (known, strategy) = known.field(name)?;
            Some(Value::Object(if strategy.replace { patch } else { merge_members(before, patch, known)? }))
        }
        (Some(Value::Array(before)), Value::Array(patch)) => {
            let (known, strategy) = known.items(name)?;
            Some(Value::Array(merge_or_replace(before, patch, known, &strategy, deletes)?))
        }
        (before, _) if deletes => before,
        (_, value) => without_directives(without_nulls(value)),
    };
    if let Some(merged) = merged {
        original.insert(name.to_owned(), merged);
    }
    Ok(())
}

fn merge_or_replace(
    before: Vec<Value>,
    patch: Vec<Value>,
    known: Known<'_>,
    strategy: &PatchStrategy,
    deletes: bool,
) -> Outcome<Vec<Value>> {
    if strategy.merge || deletes {
        merge_lists(before, patch, known, strategy.merge_key.as_deref().unwrap_or_default(), deletes)
    } else {
        Ok(patch)
    }
}

/// `$retainKeys`: members of the object that are not in the list go.
fn retain_keys(original: &mut Members, patch: &mut Members) -> Outcome<()> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let bad = "invalid patch format of retainKeys";
    let Value::Array(keys) = keys else { return malformed(bad) };
    let kept = |name: &str| keys.iter().any(|key| key.as_str() == Some(name));
    let counts = |(name, value): &(&Text, &Value)| {
        !value.is_null() && !name.starts_with(DELETE_FROM_LIST) && !name.starts_with(ELEMENT_ORDER)
    };
    if !patch.iter().filter(counts).all(|(name, _)| kept(name)) {
        return malformed(bad);
    }
    original.retain(|name, _| kept(name));
    Ok(())
}

/// `$setElementOrder/<list>`: merges the list and brings it into that order.
fn set_element_orders(original: &mut Members, patch: &mut Members, known: Known<'_>) -> Outcome<()> {
    let orders: Vec<String> =
        patch.keys().filter(|name| name.starts_with(ELEMENT_ORDER)).map(Text::to_string).collect();
    for directive in orders {
        let order = match patch.remove(&directive) {
            Some(Value::Array(order)) => order,
            other => return expected("[]interface {}", &other.unwrap_or_default()),
        };
        let Some(name) = directive.strip_prefix(ELEMENT_ORDER).and_then(|rest| rest.strip_prefix('/')) else {
            return malformed("invalid patch format of setElementOrder list");
        };
        let list = |value: Option<Value>| match value {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => expected("[]interface {}", &other),
        };
        let (before, patched) = (list(original.get(name).cloned())?, list(patch.get(name).cloned())?);
        let (items, strategy) = known.items(name)?;
        let key = strategy.merge_key.as_deref().unwrap_or_default();
        lists::check_order(patched.as_deref().unwrap_or_default(), &order, key)?;
        let is_list = before.is_some() || patched.is_some();
        let server_order = before.clone().unwrap_or_default();
        let merged = match (before, patched) {
            (Some(before), Some(patched)) => merge_or_replace(before, patched, items, &strategy, false)?,
            (None, Some(patched)) => patched.into_iter().filter_map(without_directives).collect(),
            (before, None) => before.unwrap_or_default(),
        };
        if is_list {
            original.insert(name.to_owned(), Value::Array(ordered(merged, &order, &server_order, key)?));
            patch.remove(name);
        }
    }
    Ok(())
}

/// What a patch adds, without the `null`s in it.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(members.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// What a patch adds; objects with a directive are not added.
fn without_directives(value: Value) -> Option<Value> {
    Some(match value {
        Value::Object(members) => {
            if members.contains_key(DIRECTIVE) {
                return None;
            }
            let members = members.into_iter();
            Value::Object(members.filter_map(|(name, value)| Some((name, without_directives(value)?))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().filter_map(without_directives).collect()),
        other => other,
    })
}
