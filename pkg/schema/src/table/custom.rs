// SPDX-License-Identifier: Apache-2.0
//! Cells from the JSON paths of a CRD's printer columns; without any, the name and the age.

use serde_json::{Value, json};

use super::fields::Fields;
use crate::kinds::Column;

pub(super) fn cells(columns: &[Column], object: Fields<'_>) -> Vec<Value> {
    columns.iter().map(|column| cell(column, object)).collect()
}

fn cell(column: &Column, object: Fields<'_>) -> Value {
    match (&*column.json_path, &*column.name) {
        ("", "Name") => object.name(),
        ("", "Age") => object.age(),
        ("", _) if &*column.ty == "date" => object.created_at(),
        ("", _) => json!(""),
        (path, _) => find(object.object, path).map_or(Value::Null, |value| typed(value, &column.ty, object)),
    }
}

/// The value as its column's type; null where it is of another.
fn typed(value: &Value, ty: &str, object: Fields<'_>) -> Value {
    match ty {
        "integer" => value.as_i64().or_else(|| value.as_f64().map(whole)).map_or(Value::Null, Value::from),
        "number" => {
            if value.is_number() {
                value.clone()
            } else {
                Value::Null
            }
        }
        "boolean" => {
            if value.is_boolean() {
                value.clone()
            } else {
                Value::Null
            }
        }
        "date" => value.as_str().map_or(Value::Null, |text| super::age::since(text, object.now).into()),
        _ => match value {
            Value::Null => Value::Null,
            Value::String(text) => json!(text),
            other => json!(other.to_string()),
        },
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a cell of whole numbers shows no fraction")]
fn whole(number: f64) -> i64 {
    number as i64
}

/// Follows a simple JSON path: `.spec.names[0]['a.b'].x[?(@.type=="Ready")].status`.
fn find<'a>(root: &'a Value, path: &str) -> Option<&'a Value> {
    let mut value = root;
    let mut rest = path.trim_start_matches(['{', '$']).trim_end_matches('}');
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let end = bracket_end(inside)?;
            value = step(value, &inside[..end])?;
            rest = &inside[end + 1..];
        } else {
            let field = rest.strip_prefix('.').unwrap_or(rest);
            let end = field.char_indices().find(|(i, c)| ends_field(field, *i, *c)).map_or(field.len(), |(i, _)| i);
            if end > 0 {
                value = value.get(field[..end].replace("\\.", "."))?;
            } else if !field.starts_with('[') {
                return None;
            }
            rest = &field[end..];
        }
    }
    Some(value)
}

fn ends_field(text: &str, at: usize, c: char) -> bool {
    c == '[' || (c == '.' && !text[..at].ends_with('\\'))
}

/// Where the bracket closes, with quoted text skipped.
fn bracket_end(text: &str) -> Option<usize> {
    let mut quote = None;
    text.char_indices().find_map(|(i, c)| {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, ']') => return Some(i),
            _ => {}
        }
        None
    })
}

/// What is in brackets: an index, a quoted name, or a filter by one field.
fn step<'a>(value: &'a Value, inside: &str) -> Option<&'a Value> {
    if let Some(filter) = inside.strip_prefix("?(@.").and_then(|f| f.strip_suffix(')')) {
        let (field, wanted) = filter.split_once("==")?;
        let wanted = unquoted(wanted.trim());
        return value.as_array()?.iter().find(|item| find(item, field.trim()).and_then(Value::as_str) == Some(wanted));
    }
    match inside.parse::<usize>() {
        Ok(index) => value.get(index),
        Err(_) => value.get(unquoted(inside)),
    }
}

fn unquoted(text: &str) -> &str {
    text.trim_matches(['\'', '"'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_printer_columns_are_followed() {
        let object = json!({"spec": {"a.b": 1, "list": ["x", {"y": 2}]}, "status": {"conditions": [
            {"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]}});
        for (path, want) in [
            (".spec.list[0]", Some(json!("x"))),
            (".spec.list[1].y", Some(json!(2))),
            (".spec['a.b']", Some(json!(1))),
            (".spec.a\\.b", Some(json!(1))),
            ("{.status.conditions[?(@.type==\"Ready\")].status}", Some(json!("True"))),
            (".status.conditions[?(@.type=='None')].status", None),
            (".spec.none", None),
            (".spec.list[9]", None),
            ("..", None),
            ("[", None),
        ] {
            assert_eq!(find(&object, path).cloned(), want, "{path}");
        }
    }
}
