// SPDX-License-Identifier: Apache-2.0
//! A patched object as upstream shows it in errors: the text that its patch libraries leave behind. They
//! open only what a patch reaches into, and write that with sorted keys; the rest stays as it was written
//! before, in the order of the structs.

use std::collections::BTreeMap;

use knarr_types::tree::Value;

use crate::builtin_types::written_order;
use crate::field_table::Type;

/// What a patch reaches into, by key or index.
#[derive(Debug, Default)]
pub struct Opened(BTreeMap<String, Opened>);

impl Opened {
    /// By a merge patch: objects that it merges.
    #[must_use]
    pub fn by_merge(patch: &Value) -> Self {
        let members = patch.as_object().into_iter().flatten().filter(|(_, value)| value.is_object());
        Self(members.map(|(name, value)| (name.to_string(), Self::by_merge(value))).collect())
    }

    /// By the operations of a JSON patch: what their paths lead through.
    #[must_use]
    pub fn by_operations(patch: &Value) -> Self {
        let mut root = Self::default();
        for operation in patch.as_array().into_iter().flatten() {
            for path in ["path", "from"].iter().filter_map(|name| operation.get(*name)?.as_str()) {
                let mut at = &mut root;
                let steps = path.rsplit_once('/').map_or("", |(above, _)| above);
                for step in steps.split('/').skip(1) {
                    at = at.0.entry(step.replace("~1", "/").replace("~0", "~")).or_default();
                }
            }
        }
        root
    }
}

/// The text of `after`, which a patch has made of `before`.
#[must_use]
pub fn as_patched(before: &Value, after: &Value, ty: &Type, opened: &Opened) -> String {
    let mut text = String::new();
    write(&mut text, Some(before), after, Some(ty), Some(opened));
    // As Go's encoder: none of these stands outside of a text.
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn write(text: &mut String, before: Option<&Value>, after: &Value, ty: Option<&Type>, opened: Option<&Opened>) {
    match (after, opened) {
        (Value::Object(members), Some(opened)) => list(text, '{', '}', members.iter(), |text, (name, value)| {
            key(text, name);
            let before = before.and_then(|b| b.get(name));
            write(text, before, value, field(ty, name), opened.0.get(name.as_str()));
        }),
        (Value::Array(items), Some(opened)) => list(text, '[', ']', items.iter().enumerate(), |text, (at, value)| {
            let before = before.and_then(|b| b.get(at));
            write(text, before, value, item(ty), opened.0.get(&at.to_string()));
        }),
        (value, _) if before == Some(value) => as_written(text, value, ty),
        (value, _) => text.push_str(&value.to_string()),
    }
}

/// A value as upstream's encoder writes it.
fn as_written(text: &mut String, value: &Value, ty: Option<&Type>) {
    match (value, ty) {
        (Value::Object(members), Some(Type::Struct(shape))) => {
            let order: Vec<&str> = written_order(&shape.name).collect();
            let place = |name: &str| order.iter().position(|known| *known == name).unwrap_or(usize::MAX);
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| place(name));
            list(text, '{', '}', members.into_iter(), |text, (name, value)| {
                key(text, name);
                as_written(text, value, field(ty, name));
            });
        }
        (Value::Object(members), Some(_)) => list(text, '{', '}', members.iter(), |text, (name, value)| {
            key(text, name);
            as_written(text, value, field(ty, name));
        }),
        (Value::Array(items), Some(_)) => {
            list(text, '[', ']', items.iter(), |text, value| as_written(text, value, item(ty)));
        }
        (value, _) => text.push_str(&value.to_string()),
    }
}

fn list<T>(
    text: &mut String,
    open: char,
    close: char,
    items: impl Iterator<Item = T>,
    mut each: impl FnMut(&mut String, T),
) {
    text.push(open);
    for (at, item) in items.enumerate() {
        if at > 0 {
            text.push(',');
        }
        each(text, item);
    }
    text.push(close);
}

fn key(text: &mut String, name: &str) {
    text.push_str(&Value::from(name).to_string());
    text.push(':');
}

fn field<'t>(ty: Option<&'t Type>, name: &str) -> Option<&'t Type> {
    match ty? {
        Type::Struct(shape) => shape.field(name).map(|field| field.ty.get()),
        Type::Map { value, .. } => Some(value.get()),
        _ => None,
    }
}

fn item(ty: Option<&Type>) -> Option<&Type> {
    match ty? {
        Type::List { item, .. } => Some(item.get()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    fn deployment() -> &'static Type {
        crate::builtin_types::find("io.k8s.api.apps.v1.Deployment").unwrap().get()
    }

    fn object() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"uid": "u", "name": "d", "namespace": "n"},
            "spec": {"replicas": 1, "strategy": {"rollingUpdate": {}, "type": "RollingUpdate"}}})
    }

    #[test]
    fn what_a_merge_reaches_into_is_sorted_and_the_rest_stays_in_the_order_of_structs() {
        let patch = json!({"spec": {"replicas": "<x>"}});
        let after = crate::patch::merge_patch(object(), &patch).unwrap();
        assert_eq!(
            as_patched(&object(), &after, deployment(), &Opened::by_merge(&patch)),
            "{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"d\",\"namespace\":\"n\",\
             \"uid\":\"u\"},\"spec\":{\"replicas\":\"\\u003cx\\u003e\",\"strategy\":{\"type\":\"RollingUpdate\",\
             \"rollingUpdate\":{}}}}"
        );
    }

    #[test]
    fn what_the_paths_of_operations_lead_through_is_sorted() {
        let patch = json!([{"op": "add", "path": "/metadata/labels", "value": {"a~b": 1}}]);
        let after = crate::patch::json_patch(object(), &patch).unwrap();
        let text = as_patched(&object(), &after, deployment(), &Opened::by_operations(&patch));
        assert!(
            text.contains("\"metadata\":{\"labels\":{\"a~b\":1},\"name\":\"d\",\"namespace\":\"n\",\"uid\":\"u\"}"),
            "{text}"
        );
    }
}
