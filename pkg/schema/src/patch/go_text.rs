// SPDX-License-Identifier: Apache-2.0
//! Values as Go prints them in error messages.

use knarr_types::tree::{Number, Value};

use crate::typed;

/// As `%v` prints it: `map[a:1 b:[x y]]`.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(members) => {
            let members: Vec<_> = members.iter().map(|(name, value)| format!("{name}:{}", plain(value))).collect();
            format!("map[{}]", members.join(" "))
        }
        Value::Number(number) => plain_number(number),
        Value::Bool(flag) => flag.to_string(),
    }
}

/// As `%#v` prints it: `map[string]interface {}{"a":1}`.
pub(crate) fn in_go(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(text) => format!("{text:?}"),
        Value::Array(items) => {
            format!("[]interface {{}}{{{}}}", items.iter().map(in_go).collect::<Vec<_>>().join(", "))
        }
        Value::Object(members) => {
            let members: Vec<_> = members.iter().map(|(name, value)| format!("{name:?}:{}", in_go(value))).collect();
            format!("map[string]interface {{}}{{{}}}", members.join(", "))
        }
        other => plain(other),
    }
}

/// As `%#v` prints what go-yaml reads: its maps have keys of any type.
pub(crate) fn in_yaml(value: &Value) -> String {
    in_go(value).replace("map[string]interface {}", "map[interface {}]interface {}")
}

/// A number as Go prints it, which has those that are no 64-bit integers as floats: `1`, `1.5`, `1e+06`.
fn plain_number(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.as_i64().is_none() => plain_float(float),
        _ => number.to_string(),
    }
}

/// As `%v` prints a float: the shortest digits, with an exponent from a million on and below 0.0001.
fn plain_float(float: f64) -> String {
    let scientific = format!("{float:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return format!("{float}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// As `%s` prints it: what is no text is marked as such.
pub(super) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        Value::Null => "%!s(<nil>)".to_owned(),
        Value::Bool(_) | Value::Number(_) => format!("%!s({}={})", go_type(value), plain(value)),
        nested => plain(nested),
    }
}

/// The type that Go's decoder gives it.
pub(super) fn go_type(value: &Value) -> &'static str {
    if value.is_null() { "%!s(<nil>)" } else { typed::go_type(value) }
}

/// What JSON calls it, in the words of Go's decoder.
#[must_use]
pub fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn values_are_printed_as_go_prints_them() {
        for (value, want, in_go_want) in [
            (json!(1000.0), "1000", "1000"),
            (json!(1_234_567.0), "1.234567e+06", "1.234567e+06"),
            (json!(1_234_567), "1234567", "1234567"),
            (json!(9_223_372_036_854_775_808_u64), "9.223372036854776e+18", "9.223372036854776e+18"),
            (json!(0.0001), "0.0001", "0.0001"),
            (json!(-1e-7), "-1e-07", "-1e-07"),
            (json!([1, "x", null]), "[1 x <nil>]", "[]interface {}{1, \"x\", interface {}(nil)}"),
            (
                json!({"a": {"b": true}}),
                "map[a:map[b:true]]",
                r#"map[string]interface {}{"a":map[string]interface {}{"b":true}}"#,
            ),
        ] {
            assert_eq!((plain(&value).as_str(), in_go(&value).as_str()), (want, in_go_want), "{value}");
        }
    }
}
