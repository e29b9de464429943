// SPDX-License-Identifier: Apache-2.0
//! What is left of a strategic merge patch when it was applied: upstream takes its directives out as it meets them,
//! and shows what remains where the result cannot be read.

use knarr_types::tree::{Map, Text, Value};

use super::{DELETE_FROM_LIST, DIRECTIVE, ELEMENT_ORDER, Known, RETAIN_KEYS};
use crate::field_table::Type;

/// The patch without the directives that were met when it was applied to the object.
#[must_use]
pub fn spent_patch(object: &Value, patch: &Value, ty: &Type) -> Value {
    let mut patch = patch.clone();
    if let Value::Object(members) = &mut patch {
        spend(object, members, Known { ty: Some(ty), depth: 0 });
    }
    patch
}

fn spend(original: &Value, patch: &mut Map, known: Known<'_>) {
    if let Some(directive) = patch.get(DIRECTIVE) {
        if *directive == "replace" {
            patch.remove(DIRECTIVE);
        }
        return;
    }
    patch.remove(RETAIN_KEYS);
    let orders: Vec<String> =
        patch.keys().filter(|name| name.starts_with(ELEMENT_ORDER)).map(Text::to_string).collect();
    for order in orders {
        patch.remove(&order);
        if let Some(list) = order.strip_prefix(ELEMENT_ORDER).and_then(|rest| rest.strip_prefix('/')) {
            patch.remove(list);
        }
    }
    let names: Vec<String> =
        patch.keys().filter(|name| !name.starts_with(DELETE_FROM_LIST)).map(Text::to_string).collect();
    for name in names {
        let Some(value) = patch.get_mut(&name) else { continue };
        match (original.get(&name), value) {
            (Some(before @ Value::Object(_)), Value::Object(patch)) => {
                if let Some((known, _)) = known.field(&name).ok().filter(|(_, strategy)| !strategy.replace) {
                    spend(before, patch, known);
                }
            }
            (Some(Value::Array(before)), Value::Array(patch)) => {
                if let Some((known, strategy)) = known.items(&name).ok().filter(|(_, strategy)| strategy.merge) {
                    spend_elements(before, patch, known, strategy.merge_key.as_deref().unwrap_or_default());
                }
            }
            (_, value) => strip(value),
        }
    }
}

/// Elements are merged into those of their key.
fn spend_elements(before: &[Value], patch: &mut [Value], known: Known<'_>, key: &str) {
    for element in patch {
        let of_key = before.iter().find(|old| !old[key].is_null() && old[key] == element[key]);
        match (of_key, element) {
            (Some(old), Value::Object(patch)) => spend(old, patch, known),
            (None, new) => strip(new),
            _ => {}
        }
    }
}

/// What is new has no directives any more, but for what is not added for having one.
fn strip(value: &mut Value) {
    match value {
        Value::Object(members) if !members.contains_key(DIRECTIVE) => {
            members.retain(|name, _| {
                name != RETAIN_KEYS && !name.starts_with(DELETE_FROM_LIST) && !name.starts_with(ELEMENT_ORDER)
            });
            members.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn directives_that_were_met_are_gone() {
        let ty = crate::builtin_types::find("io.k8s.api.core.v1.Service").unwrap().get();
        let object = json!({"spec": {"selector": {"a": "b"}, "ports": [{"name": "x", "port": 80}]}});
        for (patch, want) in [
            (json!({"$patch": "replace", "spec": {"$patch": "replace"}}), json!({"spec": {"$patch": "replace"}})),
            (json!({"$retainKeys": ["spec"], "spec": {"type": 1}}), json!({"spec": {"type": 1}})),
            (json!({"spec": {"$setElementOrder/ports": [], "ports": []}}), json!({"spec": {}})),
            (
                json!({"spec": {"ports": [{"port": 80, "$patch": "replace"}, {"port": 81, "$retainKeys": []}]}}),
                json!({"spec": {"ports": [{"port": 80}, {"port": 81}]}}),
            ),
            (json!({"spec": {"$deleteFromPrimitiveList/x": []}}), json!({"spec": {"$deleteFromPrimitiveList/x": []}})),
        ] {
            assert_eq!(spent_patch(&object, &patch, ty), want, "{patch}");
        }
    }
}
