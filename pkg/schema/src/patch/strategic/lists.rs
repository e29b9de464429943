// SPDX-License-Identifier: Apache-2.0
//! Lists that merge: of scalars as sets, of objects by a key; and the order of their elements.

use knarr_types::tree::Value;

use super::super::PatchError;
use super::{
    DIRECTIVE, ELEMENT_ORDER, Known, Outcome, expected, failed, merge_members, no_merge_key, plain, unknown_directive,
};

/// Merges a patch's list into another; `deletes` takes the patch's scalars out instead.
pub(super) fn merge_lists(
    original: Vec<Value>,
    patch: Vec<Value>,
    known: Known<'_>,
    key: &str,
    deletes: bool,
) -> Outcome<Vec<Value>> {
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    if !of_objects(&original, &patch)? {
        if deletes {
            return Ok(original.into_iter().filter(|value| !patch.contains(value)).collect());
        }
        let both = without_duplicates(original.iter().chain(&patch).cloned().collect());
        return ordered(both, &patch, &original, key);
    }
    if key.is_empty() {
        return failed("cannot merge lists without merge key for struct");
    }
    let (original, patch) = take_directives(original, patch, key)?;
    let merged = merge_objects(original.clone(), &patch, known, key)?;
    ordered(merged, &patch, &original, key)
}

/// Whether the elements are objects; all must be of one type.
fn of_objects(original: &[Value], patch: &[Value]) -> Outcome<bool> {
    let mut all = original.iter().chain(patch);
    let Some(first) = all.next() else { return failed("no elements in any of the given slices") };
    if first.is_array() {
        return Err(PatchError::NotApplicable("lists of lists are not supported".into()));
    }
    let kind = super::go_type(first);
    if all.any(|value| super::go_type(value) != kind) {
        let lists = [original, patch].map(|list| plain(&Value::Array(list.to_vec()))).join(" ");
        return failed(format!("list element types are not identical: [{lists}]"));
    }
    Ok(first.is_object())
}

/// Carries out the elements of a patch that are directives: deletes elements, or replaces the list.
fn take_directives(mut original: Vec<Value>, patch: Vec<Value>, key: &str) -> Outcome<(Vec<Value>, Vec<Value>)> {
    let mut plain_elements = Vec::new();
    let mut replace = false;
    for element in patch {
        match element.get(DIRECTIVE) {
            None => plain_elements.push(element),
            Some(directive) => match directive.as_str() {
                Some("delete") => {
                    let Some(value) = element.get(key) else { return no_merge_key(&element, key) };
                    original.retain(|other| other.get(key) != Some(value));
                }
                Some("replace") => replace = true,
                Some("merge") => return failed("merging lists cannot yet be specified in the patch"),
                _ => {
                    let directive = directive.clone();
                    let Value::Object(members) = element else { return expected("map[string]interface {}", &element) };
                    return unknown_directive(&directive, members);
                }
            },
        }
    }
    Ok(if replace { (plain_elements, Vec::new()) } else { (original, plain_elements) })
}

/// Merges each element of the patch into the one of its key, or adds it.
fn merge_objects(mut merged: Vec<Value>, patch: &[Value], known: Known<'_>, key: &str) -> Outcome<Vec<Value>> {
    for element in patch {
        let Some(value) = element.get(key) else { return no_merge_key(element, key) };
        match merged.iter_mut().find(|other| other.get(key) == Some(value)) {
            Some(Value::Object(before)) => {
                let Value::Object(element) = element.clone() else {
                    return expected("map[string]interface {}", element);
                };
                *before = merge_members(std::mem::take(before), element, known)?;
            }
            _ => merged.push(element.clone()),
        }
    }
    Ok(merged)
}

/// Takes each value that came before out, moving the last one into its place, as upstream does.
fn without_duplicates(mut values: Vec<Value>) -> Vec<Value> {
    let mut at = 0;
    while at < values.len() {
        let mut other = at + 1;
        while other < values.len() {
            if values[at] == values[other] {
                values.swap_remove(other);
            } else {
                other += 1;
            }
        }
        at += 1;
    }
    values
}

/// The list with the elements that the patch names in the patch's order, the others in the server's, and
/// the two woven together so that the server's order holds between them where it can.
pub(super) fn ordered(list: Vec<Value>, order: &[Value], server_order: &[Value], key: &str) -> Outcome<Vec<Value>> {
    let by_key = !key.is_empty();
    if by_key {
        check_keys(&list, key)?;
        list.iter().try_for_each(|element| look_up(order, element, key))?;
        check_keys(order, key)?;
        check_keys(server_order, key)?;
    }
    let same = |a: &Value, b: &Value| if by_key { a.get(key) == b.get(key) } else { a == b };
    let place = |order: &[Value], value: &Value| order.iter().position(|other| same(value, other));
    let (mut patched, mut others): (Vec<Value>, Vec<Value>) =
        list.into_iter().partition(|value| place(order, value).is_some());
    patched.sort_by_key(|value| place(order, value));
    others.sort_by_key(|value| place(server_order, value));
    let mut woven = Vec::with_capacity(patched.len() + others.len());
    let (mut others, mut patched) = (others.into_iter().peekable(), patched.into_iter().peekable());
    while let (Some(other), Some(patch)) = (others.peek(), patched.peek()) {
        let before = match (place(server_order, other), place(server_order, patch)) {
            (Some(other), Some(patch)) => other < patch,
            _ => false,
        };
        woven.extend(if before { others.next() } else { patched.next() });
    }
    woven.extend(patched);
    woven.extend(others);
    Ok(woven)
}

/// The elements are objects that have the key.
fn check_keys(list: &[Value], key: &str) -> Outcome<()> {
    for element in list {
        match element {
            Value::Object(members) if members.contains_key(key) => {}
            Value::Object(_) => return no_merge_key(element, key),
            other => return expected("map[string]interface {}", other),
        }
    }
    Ok(())
}

/// What comes before the element in an order are objects.
fn look_up(order: &[Value], element: &Value, key: &str) -> Outcome<()> {
    let before = order.iter().take_while(|other| other.get(key).is_none_or(|value| Some(value) != element.get(key)));
    match before.enumerate().find(|(_, other)| !other.is_object()) {
        Some((at, _)) => failed(format!("value for key {at} is not a map")),
        None => Ok(()),
    }
}

/// The elements of a patch's list come in the order that the patch sets.
pub(super) fn check_order(patch: &[Value], order: &[Value], key: &str) -> Outcome<()> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut named = Vec::new();
    for element in patch {
        if !key.is_empty() && !element.is_object() {
            return expected("map[string]interface {}", element);
        }
        let deletes = !key.is_empty() && element.get(DIRECTIVE).is_some_and(|directive| directive == "delete");
        if !deletes {
            named.push(element);
        }
    }
    let mut rest = named.into_iter().peekable();
    for wanted in order {
        // Other directives have no place in the order, but must not come after its end.
        while rest.next_if(|element| element.get(DIRECTIVE).is_some()).is_some() {}
        let Some(element) = rest.peek() else { break };
        let same = if key.is_empty() {
            *element == wanted
        } else {
            if !wanted.is_object() {
                return expected("map[string]interface {}", wanted);
            }
            let Some(value) = element.get(key) else { return no_merge_key(element, key) };
            let Some(other) = wanted.get(key) else { return no_merge_key(wanted, key) };
            value == other
        };
        if same {
            rest.next();
        }
    }
    if rest.peek().is_some() {
        let (patch, order) = (plain(&Value::Array(patch.to_vec())), plain(&Value::Array(order.to_vec())));
        return failed(format!("The order in patch list:\n{patch}\n doesn't match {ELEMENT_ORDER} list:\n{order}\n"));
    }
    Ok(())
}
