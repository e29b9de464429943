// SPDX-License-Identifier: Apache-2.0
//! A patched object as upstream shows it in errors: the text that its patch libraries leave behind. They
//! open only what a patch reaches into, and write that with sorted keys; the rest stays as it was written
//! before, in the order of the structs.

use std::collections::BTreeMap;

use knarr_types::go_json;
use knarr_types::tree::Value;
use serde_json::value::RawValue;

use crate::builtin_types::written_order;
use crate::field_table::Type;

/// What the operations of a JSON patch reach into, by key or index.
#[derive(Debug, Default)]
pub struct Opened {
    below: BTreeMap<String, Opened>,
    origin: Option<Origin>,
}

/// Where a value comes from that an operation put there.
#[derive(Debug)]
enum Origin {
    /// Out of the patch, as it was written there.
    Patch(String),
    /// From another place in the object.
    Place(Vec<String>),
}

impl Opened {
    /// What the paths of these operations lead through, and what they put there.
    #[must_use]
    pub fn by_operations(patch: &str) -> Self {
        let mut root = Self::default();
        for operation in serde_json::from_str::<Vec<BTreeMap<String, &RawValue>>>(patch).unwrap_or_default() {
            let text = |name: &str| serde_json::from_str::<String>(operation.get(name)?.get()).ok();
            let (path, from) = (text("path").map(|path| steps(&path)), text("from").map(|from| steps(&from)));
            if let Some((_, above)) = from.as_ref().and_then(|from| from.split_last()) {
                root.at(above);
            }
            let Some(path) = path else { continue };
            let Some((last, above)) = path.split_last() else { continue };
            let origin = match (text("op").as_deref(), operation.get("value"), from) {
                (Some("add" | "replace"), Some(value), _) => Some(Origin::Patch(compact(value.get()))),
                (Some("move" | "copy"), _, Some(from)) => Some(Origin::Place(from)),
                _ => None,
            };
            let above = root.at(above);
            if origin.is_some() {
                above.below.insert(last.clone(), Self { origin, ..Self::default() });
            }
        }
        root
    }

    fn at(&mut self, path: &[String]) -> &mut Self {
        path.iter().fold(self, |at, step| at.below.entry(step.clone()).or_default())
    }

    fn item(&self, at: usize, length: usize) -> Option<&Self> {
        self.below.get(&at.to_string()).or_else(|| self.below.get("-").filter(|_| at + 1 == length))
    }
}

fn steps(path: &str) -> Vec<String> {
    path.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
}

/// The text of what a merge patch makes of `before`: what the patch brings stands as it was written there, but for
/// spaces, and for objects that are opened to be merged or to have their nulls taken out.
#[must_use]
pub fn as_merged(before: &Value, patch: &RawValue, ty: &Type) -> String {
    let mut text = String::new();
    merged(&mut text, Some(before), patch, built_in(ty));
    go_json(text)
}

fn merged(text: &mut String, before: Option<&Value>, patch: &RawValue, ty: Option<&Type>) {
    let raw = patch.get();
    if let Ok(patch) = serde_json::from_str::<BTreeMap<String, &RawValue>>(raw) {
        let old = before.and_then(Value::as_object);
        let kept = old.into_iter().flatten().filter(|(name, _)| !patch.contains_key(name.as_str()));
        let mut members: BTreeMap<&str, Option<&RawValue>> = kept.map(|(name, _)| (name.as_str(), None)).collect();
        let brought = patch.iter().filter(|(_, value)| value.get() != "null");
        members.extend(brought.map(|(name, value)| (name.as_str(), Some(*value))));
        return list(text, '{', '}', members.into_iter(), |text, (name, value)| {
            key(text, name);
            let before = old.and_then(|old| old.get(name));
            match value {
                Some(value) => merged(text, before, value, field(ty, name)),
                None => as_written(text, before.unwrap_or(&Value::Null), field(ty, name)),
            }
        });
    }
    match serde_json::from_str::<Vec<&RawValue>>(raw) {
        Ok(items) if !before.is_some_and(Value::is_object) => {
            list(text, '[', ']', items.into_iter(), |text, value| merged(text, None, value, None));
        }
        Ok(_) => text.push_str(&compact(raw)),
        Err(_) => text.push_str(raw),
    }
}

/// A custom resource is a tree without structs: its keys are sorted everywhere.
fn built_in(ty: &Type) -> Option<&Type> {
    Some(ty).filter(|ty| !matches!(ty, Type::Struct(shape) if shape.name.is_empty()))
}

/// JSON without the spaces between its parts.
fn compact(json: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    let keep = |c: &char| {
        let kept = inside || !c.is_ascii_whitespace();
        match c {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            _ => {}
        }
        kept
    };
    json.chars().filter(keep).collect()
}

/// The text of `after`, which a JSON patch has made of `before`.
#[must_use]
pub fn as_patched(before: &Value, after: &Value, ty: &Type, opened: &Opened) -> String {
    let mut text = String::new();
    Patched { ty }.write(&mut text, Some(before), after, built_in(ty), Some(opened));
    go_json(text)
}

/// The type of the whole object.
struct Patched<'t> {
    ty: &'t Type,
}

impl Patched<'_> {
    fn write(
        &self,
        text: &mut String,
        before: Option<&Value>,
        after: &Value,
        ty: Option<&Type>,
        opened: Option<&Opened>,
    ) {
        let origin = opened.filter(|opened| opened.below.is_empty()).and_then(|opened| opened.origin.as_ref());
        match (after, opened) {
            (value, _) if let Some(written) = origin.and_then(|origin| self.written(value, origin)) => {
                text.push_str(&written);
            }
            (Value::Object(members), Some(opened)) => list(text, '{', '}', members.iter(), |text, (name, value)| {
                key(text, name);
                let before = before.and_then(|b| b.get(name));
                self.write(text, before, value, field(ty, name), opened.below.get(name.as_str()));
            }),
            (Value::Array(items), Some(opened)) => {
                list(text, '[', ']', items.iter().enumerate(), |text, (at, value)| {
                    let before = before.and_then(|b| b.get(at));
                    self.write(text, before, value, item(ty), opened.item(at, items.len()));
                });
            }
            (value, _) if before == Some(value) => as_written(text, value, ty),
            (value, _) => text.push_str(&value.to_string()),
        }
    }

    /// A value as it was written where it comes from, if it is that still.
    fn written(&self, value: &Value, origin: &Origin) -> Option<String> {
        match origin {
            Origin::Patch(text) => {
                serde_json::from_str::<Value>(text).is_ok_and(|sent| sent == *value).then(|| text.clone())
            }
            Origin::Place(path) => {
                let ty = path.iter().try_fold(self.ty, |ty, step| item(Some(ty)).or_else(|| field(Some(ty), step)));
                let mut text = String::new();
                as_written(&mut text, value, ty);
                Some(text)
            }
        }
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
        let patch = serde_json::from_str(r#"{"spec": {"replicas": "<x>"}}"#).unwrap();
        assert_eq!(
            as_merged(&object(), patch, deployment()),
            "{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"d\",\"namespace\":\"n\",\
             \"uid\":\"u\"},\"spec\":{\"replicas\":\"\\u003cx\\u003e\",\"strategy\":{\"type\":\"RollingUpdate\",\
             \"rollingUpdate\":{}}}}"
        );
    }

    #[test]
    fn what_a_merge_brings_stands_as_it_was_written() {
        let before = json!({"a": {"x": 1}, "b": [1], "c": "d"});
        for (patch, want) in [
            (r#"{"a": [ {"z": 1, "b": "\u00e9 \" x"} ]}"#, r#"{"a":[{"z":1,"b":"\u00e9 \" x"}],"b":[1],"c":"d"}"#),
            (r#"{"b": [ {"z": 1, "b": null} ], "c": 1.50}"#, r#"{"a":{"x":1},"b":[{"z":1}],"c":1.50}"#),
            (r#"{"c": {"z": 1, "b": {"y": null}}, "a": null}"#, r#"{"b":[1],"c":{"b":{},"z":1}}"#),
        ] {
            let raw = serde_json::from_str(patch).unwrap();
            assert_eq!(as_merged(&before, raw, &Type::Any), want, "{patch}");
        }
    }

    #[test]
    fn what_the_paths_of_operations_lead_through_is_sorted() {
        let patched = |patch: &str| {
            let after = crate::patch::json_patch(object(), &serde_json::from_str(patch).unwrap()).unwrap();
            as_patched(&object(), &after, deployment(), &Opened::by_operations(patch))
        };
        let text = patched(r#"[{"op": "add", "path": "/metadata/labels", "value": {"b": 2, "a~b": 1}}]"#);
        assert!(
            text.contains(
                "\"metadata\":{\"labels\":{\"b\":2,\"a~b\":1},\"name\":\"d\",\"namespace\":\"n\",\"uid\":\"u\"}"
            ),
            "{text}"
        );
        // What is copied keeps the order of its struct, what is opened loses it.
        let text = patched(
            r#"[{"op": "copy", "from": "/spec/strategy", "path": "/spec/paused"},
                {"op": "add", "path": "/spec/strategy/x", "value": 1}]"#,
        );
        assert!(text.contains(r#""paused":{"type":"RollingUpdate","rollingUpdate":{}}"#), "{text}");
        assert!(text.contains(r#""strategy":{"rollingUpdate":{},"type":"RollingUpdate","x":1}"#), "{text}");
    }
}
