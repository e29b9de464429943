// SPDX-License-Identifier: Apache-2.0

//! Upstream's own structs as its messages print them: Go's field names, in Go's order.

use knarr_types::Shown;
use serde_json::Value;

/// A struct: pairs of Go's and the published field name. An absent field prints as its zero value:
/// `null`, or empty text where the published name ends in `$`, 0 where it ends in `#`.
pub fn structure(value: &Value, fields: &[(&str, &str)]) -> Shown {
    let shown: Vec<_> = fields
        .iter()
        .map(|(go, published)| {
            let (name, zero) = match published.strip_suffix('$') {
                Some(name) => (name, "\"\""),
                None => published.strip_suffix('#').map_or((*published, "null"), |name| (name, "0")),
            };
            let field = value.get(name).filter(|field| !field.is_null());
            format!("\"{go}\":{}", field.map_or_else(|| zero.to_owned(), capitalised))
        })
        .collect();
    Shown::Printed(format!("{{{}}}", shown.join(",")))
}

/// Nested structs print with capitals too.
fn capitalised(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let fields: Vec<_> =
                map.iter().map(|(key, value)| format!("\"{}\":{}", go_name(key), capitalised(value))).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(capitalised).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

fn go_name(published: &str) -> String {
    let mut letters = published.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A struct whose fields print as they are published, such as selectors.
pub fn structure_of_values(value: &Value, fields: &[(&str, &str)]) -> Shown {
    let shown: Vec<_> = fields
        .iter()
        .map(|(go, published)| format!("\"{go}\":{}", value.get(*published).unwrap_or(&Value::Null)))
        .collect();
    Shown::Printed(format!("{{{}}}", shown.join(",")))
}
