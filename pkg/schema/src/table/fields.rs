// SPDX-License-Identifier: Apache-2.0
//! Reading an object's fields for cells: what is not there is empty.

use jiff::Timestamp;
use knarr_types::Object;
use knarr_types::tree::{Map, Value, json};

use super::age;

/// An object, or a part of one, and the moment of the table. Paths are JSON pointers.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub object: &'a Object,
    pub now: Timestamp,
}

impl<'a> Fields<'a> {
    pub fn at(self, path: &str) -> Option<&'a Value> {
        self.object.pointer(path).filter(|value| !value.is_null())
    }

    pub fn text(self, path: &str) -> &'a str {
        self.at(path).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn text_or(self, path: &str, other: &'static str) -> &'a str {
        Some(self.text(path)).filter(|text| !text.is_empty()).unwrap_or(other)
    }

    pub fn int(self, path: &str) -> i64 {
        self.at(path).and_then(Value::as_i64).unwrap_or_default()
    }

    pub fn flag(self, path: &str) -> bool {
        self.at(path).and_then(Value::as_bool).unwrap_or_default()
    }

    pub fn list(self, path: &str) -> &'a [Value] {
        self.at(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    pub fn items(self, path: &str) -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator + use<'a> {
        let now = self.now;
        self.list(path).iter().map(move |object| Self { object, now })
    }

    pub fn map(self, path: &str) -> Option<&'a Map> {
        self.at(path).and_then(Value::as_object)
    }

    pub fn texts(self, path: &str) -> Vec<&'a str> {
        self.list(path).iter().filter_map(Value::as_str).collect()
    }

    pub fn name(self) -> Value {
        self.text("/metadata/name").into()
    }

    /// Since the object was made.
    pub fn age(self) -> Value {
        self.since("/metadata/creationTimestamp").into()
    }

    pub fn since(self, path: &str) -> String {
        age::since(self.text(path), self.now)
    }

    pub fn is_deleted(self) -> bool {
        self.at("/metadata/deletionTimestamp").is_some()
    }

    /// The condition of that type.
    pub fn condition(self, ty: &str) -> Option<Self> {
        self.items("/status/conditions").find(|condition| condition.text("/type") == ty)
    }

    /// The condition of that type is `True`.
    pub fn is_condition(self, ty: &str) -> bool {
        self.condition(ty).is_some_and(|condition| condition.text("/status") == "True")
    }

    /// The names and the images of a template's containers.
    pub fn containers(self, template_spec: &str) -> [Value; 2] {
        let containers = format!("{template_spec}/containers");
        ["/name", "/image"].map(|field| {
            let texts: Vec<&str> = self.items(&containers).map(|container| container.text(field)).collect();
            texts.join(",").into()
        })
    }

    /// Labels as a selector: `a=b,c=d`.
    pub fn labels(self, path: &str) -> Value {
        let labels = self.map(path).into_iter().flatten();
        let pairs: Vec<String> = labels.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
        or_none(pairs.join(","))
    }

    /// A label selector in one line: `a=b,c in (d,e)`.
    pub fn selector(self, path: &str) -> Value {
        let labels = self.map(&format!("{path}/matchLabels")).into_iter().flatten();
        let mut parts: Vec<(&str, String)> =
            labels.map(|(k, v)| (k.as_str(), format!("{k}={}", v.as_str().unwrap_or_default()))).collect();
        for requirement in self.items(&format!("{path}/matchExpressions")) {
            let key = requirement.text("/key");
            let mut values = requirement.texts("/values");
            values.sort_unstable();
            let values = values.join(",");
            let text = match requirement.text("/operator") {
                "In" => format!("{key} in ({values})"),
                "NotIn" => format!("{key} notin ({values})"),
                "Exists" => key.to_owned(),
                "DoesNotExist" => format!("!{key}"),
                _ => return "<error>".into(),
            };
            parts.push((key, text));
        }
        parts.sort_by_key(|(key, _)| *key);
        let parts: Vec<String> = parts.into_iter().map(|(_, text)| text).collect();
        or_none(parts.join(","))
    }

    /// What was created when, for kinds without columns of their own.
    pub fn created_at(self) -> Value {
        json!(self.text("/metadata/creationTimestamp"))
    }
}

/// The text, or `<none>` where it is empty.
pub(super) fn or_none(text: String) -> Value {
    if text.is_empty() { "<none>".into() } else { text.into() }
}

/// The first of them, and how many more there are.
pub(super) fn shortened(all: &[String], shown: usize) -> String {
    let head = all[..all.len().min(shown)].join(",");
    if all.len() > shown { format!("{head} + {} more...", all.len() - shown) } else { head }
}
