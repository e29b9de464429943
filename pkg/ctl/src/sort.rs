// SPDX-License-Identifier: Apache-2.0
//! `--sort-by`: objects in the order of a field, as kubectl compares it.

use std::cmp::Ordering;

use knarr_types::quantity::Quantity;
use serde_json::Value;

use crate::error::CtlError;
use crate::jsonpath::JsonPath;

/// Sorts `items` by what `path` finds in the object that `object` gives of each; those where it finds nothing come
/// first.
///
/// # Errors
/// A path that makes no sense, or finds nothing in any.
pub(crate) fn sort<T>(items: &mut [T], path: &str, object: impl Fn(&T) -> &Value) -> Result<(), CtlError> {
    let expression = JsonPath::expression(path.trim_start_matches('{').trim_end_matches('}'));
    let found = |item: &T| -> Result<Option<Value>, CtlError> {
        Ok(expression.find(object(item))?.first().map(|value| (*value).clone()))
    };
    let keys = items.iter().map(found).collect::<Result<Vec<_>, _>>()?;
    if !items.is_empty() && keys.iter().all(Option::is_none) {
        let path = path.trim_start_matches('{').trim_end_matches('}');
        let path = if path.starts_with('.') { path.to_owned() } else { format!(".{path}") };
        return Err(CtlError::usage(format!(
            "couldn't find any field with path \"{{{path}}}\" in the list of objects"
        )));
    }
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by(|a, b| compare(keys[*a].as_ref(), keys[*b].as_ref()));
    // `order[i]` is the place of what comes to `i`: each is swapped to where it belongs.
    for i in 0..order.len() {
        let mut from = order[i];
        while from < i {
            from = order[from];
        }
        items.swap(i, from);
    }
    Ok(())
}

fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => {
            a.as_f64().unwrap_or_default().total_cmp(&b.as_f64().unwrap_or_default())
        }
        (Some(Value::String(a)), Some(Value::String(b))) => compare_texts(a, b),
        (Some(Value::Bool(a)), Some(Value::Bool(b))) => a.cmp(b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

/// Amounts by how much they are, other texts as people count: `a2` before `a10`.
fn compare_texts(a: &str, b: &str) -> Ordering {
    if let (Ok(a), Ok(b)) = (a.parse::<Quantity>(), b.parse::<Quantity>()) {
        return a.nanos().cmp(&b.nanos());
    }
    let (mut a, mut b) = (a, b);
    while !a.is_empty() && !b.is_empty() {
        let (one, other) = (number(a), number(b));
        let order = match (one.is_empty(), other.is_empty()) {
            (false, false) => {
                let (x, y) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
                x.len().cmp(&y.len()).then(x.cmp(y)).then(one.len().cmp(&other.len()))
            }
            _ => a.chars().next().cmp(&b.chars().next()),
        };
        if order != Ordering::Equal {
            return order;
        }
        let step = |text: &str, number: &str| match number.len() {
            0 => text.chars().next().map_or(0, char::len_utf8),
            len => len,
        };
        (a, b) = (&a[step(a, one)..], &b[step(b, other)..]);
    }
    a.len().cmp(&b.len())
}

/// The digits that a text begins with.
fn number(text: &str) -> &str {
    &text[..text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_compared_as_what_they_are() {
        for (values, want) in [
            (json!([3, 1, 2, 10]), json!([1, 2, 3, 10])),
            (json!(["web-10", "web-9", "web-09", "api"]), json!(["api", "web-9", "web-09", "web-10"])),
            (json!(["1Gi", "500Mi", "2Ki"]), json!(["2Ki", "500Mi", "1Gi"])),
            (json!(["b", null, "a"]), json!([null, "a", "b"])),
            (json!([true, false]), json!([false, true])),
        ] {
            let object = |value: &Value| if value.is_null() { json!({}) } else { json!({"a": {"b": value}}) };
            let mut items: Vec<Value> = values.as_array().unwrap().iter().map(object).collect();
            sort(&mut items, "{.a.b}", |item| item).unwrap();
            let got: Vec<Value> = items.iter().map(|item| item["a"]["b"].clone()).collect();
            assert_eq!(json!(got), want);
        }
        let error = sort(&mut [json!({"a": 1})], "b.c", |item| item).unwrap_err().to_string();
        assert_eq!(error, "couldn't find any field with path \"{.b.c}\" in the list of objects");
    }
}
