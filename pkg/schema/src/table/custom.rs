// SPDX-License-Identifier: Apache-2.0
//! Cells from the JSON paths of a CRD's printer columns; without any, the name and the age.

use jiff::Timestamp;
use knarr_types::tree::{Value, json};
use knarr_types::{go_float, go_json};

use super::fields::Fields;
use crate::crd::json_path::JsonPath;
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
        (path, _) => {
            let path = JsonPath::parse(path).unwrap_or_default();
            path.find(object.object).map_or(Value::Null, |value| typed(&value, &column.ty, object))
        }
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
        "date" => value.as_str().map_or(Value::Null, |text| date(text, object).into()),
        _ => match value {
            Value::Null => json!("<no value>"),
            Value::String(text) => json!(text),
            Value::Number(number) if number.is_f64() => json!(go_float(number.as_f64().unwrap_or_default())),
            Value::Bool(set) => json!(set.to_string()),
            // As Go's encoder writes what is in a document for the web.
            other => json!(go_json(other.to_string())),
        },
    }
}

/// How long ago that was.
fn date(text: &str, object: Fields<'_>) -> String {
    match text.parse::<Timestamp>() {
        _ if text.is_empty() || text == "null" => "<unknown>".into(),
        Err(_) => "<invalid>".into(),
        Ok(_) => super::age::since(text, object.now),
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a cell of whole numbers shows no fraction")]
fn whole(number: f64) -> i64 {
    number as i64
}
