// SPDX-License-Identifier: Apache-2.0
//! Objects of which nothing more is known: all of their fields, by name.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::page::Page;

/// Fields of `metadata` that are not shown, or not here.
const HIDDEN: [&str; 5] = ["managedFields", "name", "namespace", "labels", "annotations"];

pub(super) fn page(object: &Value) -> Page {
    let meta = &object["metadata"];
    let text = |key: &str| meta[key].as_str().unwrap_or_default();
    let mut page = Page::default();
    page.field(0, "Name", text("name"));
    page.field(0, "Namespace", text("namespace"));
    page.labels("Labels", map(&meta["labels"]).as_ref());
    page.annotations("Annotations", map(&meta["annotations"]).as_ref());
    let mut object = object.as_object().cloned().unwrap_or_default();
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.retain(|key, _| !HIDDEN.contains(&key.as_str()));
    }
    fields(&mut page, 0, &object);
    page
}

fn fields(page: &mut Page, depth: usize, object: &Map<String, Value>) {
    let sorted: BTreeMap<_, _> = object.iter().collect();
    for (key, value) in sorted {
        match value {
            Value::Object(inner) => {
                page.line(depth, format_args!("{}:", title(key)));
                fields(page, depth + 1, inner);
            }
            Value::Array(items) => {
                page.line(depth, format_args!("{}:", title(key)));
                for item in items {
                    match item {
                        Value::Object(inner) => fields(page, depth + 1, inner),
                        other => page.line(depth + 1, words(other)),
                    }
                }
            }
            scalar => page.field(depth, &title(key), words(scalar)),
        }
    }
}

/// A map of texts, such as labels.
pub(super) fn map(pairs: &Value) -> Option<BTreeMap<String, String>> {
    serde_json::from_value(pairs.clone()).ok()
}

/// A text; empty where it is none.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The elements of a list; none where it is none.
pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A value as Go prints it.
pub(super) fn words(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(words).collect::<Vec<_>>().join(" ")),
        other => other.to_string(),
    }
}

/// `containerPort` as `Container Port`; a name with other characters than letters and `-` stays.
fn title(key: &str) -> String {
    if key.chars().any(|c| !c.is_alphabetic() && c != '-') {
        return key.to_owned();
    }
    let mut words: Vec<String> = Vec::new();
    let mut parts = parts(key).into_iter().peekable();
    while let Some(part) = parts.next() {
        // The plural of an abbreviation: `IP` and `Ps` of `podIPs` belong together where it has two letters before.
        let capitals = part.len() >= 2 && part.chars().all(|c| !c.is_alphabetic() || c.is_uppercase());
        match parts.next_if(|next| capitals && next.starts_with(char::is_uppercase)) {
            Some(next) => words.push(part + &next),
            None => words.push(part),
        }
    }
    words.iter().map(|word| capitalized(word)).collect::<Vec<_>>().join(" ")
}

fn capitalized(word: &str) -> String {
    if ["API", "URL", "UID", "GUID"].contains(&word.to_uppercase().as_str()) {
        return word.to_uppercase();
    }
    let mut letters = word.chars();
    match letters.next() {
        Some(first) if word.to_lowercase() == word => first.to_uppercase().chain(letters).collect(),
        _ => word.to_owned(),
    }
}

/// Splits camel case: runs of one kind of letter, the last capital of a run going with the small ones after it.
fn parts(key: &str) -> Vec<String> {
    let letters: Vec<char> = key.chars().collect();
    let class = |c: &char| (c.is_uppercase(), c.is_lowercase());
    let mut runs: Vec<String> = letters.chunk_by(|a, b| class(a) == class(b)).map(|run| run.iter().collect()).collect();
    for i in 1..runs.len() {
        let small = runs[i].starts_with(char::is_lowercase);
        if small
            && runs[i - 1].ends_with(char::is_uppercase)
            && let Some(capital) = runs[i - 1].pop()
        {
            runs[i].insert(0, capital);
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_become_titles() {
        for (key, want) in [
            ("containerPort", "Container Port"),
            ("podIP", "Pod IP"),
            ("spec", "Spec"),
            ("apiVersion", "API Version"),
            ("uid", "UID"),
            ("clusterIPs", "Cluster I Ps"),
            ("HTTPServer", "HTTPServer"),
            ("a.b/c", "a.b/c"),
            ("port2", "port2"),
        ] {
            assert_eq!(title(key), want, "{key}");
        }
    }

    #[test]
    fn all_fields_are_shown_in_order() {
        let object = json!({
            "kind": "Toy", "apiVersion": "x/v1",
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "managedFields": [{}]},
            "spec": {"size": 5, "parts": [{"b": true, "a": null}], "tags": ["x", ["y", 1]]},
        });
        let want = "Name:         a\nNamespace:    n\nLabels:       <none>\nAnnotations:  <none>\nAPI Version:  x/v1\n\
                    Kind:         Toy\nMetadata:\n  UID:  u\nSpec:\n  Parts:\n    A:   <nil>\n    B:   true\n  Size:  5\n  \
                    Tags:\n    x\n    [y 1]\n";
        assert_eq!(page(&object).finish(), want);
    }
}
