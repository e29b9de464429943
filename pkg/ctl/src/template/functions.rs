// SPDX-License-Identifier: Apache-2.0
//! What templates can call: Go's functions that are about values, and kubectl's.
//! <https://pkg.go.dev/text/template#hdr-Functions>

use std::borrow::Cow;
use std::cmp::Ordering;

use base64::Engine as _;
use serde_json::Value;

use crate::go_text;

const KNOWN: [&str; 17] = [
    "and",
    "or",
    "not",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "len",
    "index",
    "slice",
    "print",
    "printf",
    "println",
    "exists",
    "base64decode",
];

/// Whether there is a function of this name.
pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}

/// Whether a condition holds: what is empty does not.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// Calls a function.
pub(super) fn call<'a>(name: &str, arguments: Vec<Cow<'a, Value>>) -> Result<Cow<'a, Value>, String> {
    let failed = |reason: String| format!("error calling {name}: {reason}");
    let few = || failed("wrong number of args".to_owned());
    let value: Value = match (name, &arguments[..]) {
        // The earlier ones have not decided it.
        ("and" | "or", [.., last]) => return Ok(last.clone()),
        ("not", [value]) => (!is_true(value)).into(),
        ("eq", [first, others @ ..]) if !others.is_empty() => {
            let mut equal = false;
            for other in others {
                equal |= compare(first, other).map_err(failed)? == Ordering::Equal;
            }
            equal.into()
        }
        ("ne", [one, other]) => (compare(one, other).map_err(failed)? != Ordering::Equal).into(),
        ("lt", [one, other]) => compare(one, other).map_err(failed)?.is_lt().into(),
        ("le", [one, other]) => compare(one, other).map_err(failed)?.is_le().into(),
        ("gt", [one, other]) => compare(one, other).map_err(failed)?.is_gt().into(),
        ("ge", [one, other]) => compare(one, other).map_err(failed)?.is_ge().into(),
        ("len", [value]) => length(value).map_err(failed)?.into(),
        ("index", [value, keys @ ..]) => {
            keys.iter().try_fold(value.clone().into_owned(), |value, key| index(value, key)).map_err(failed)?
        }
        ("slice", [value, bounds @ ..]) => slice(value, bounds).map_err(failed)?,
        ("print", all) => print(all).into(),
        ("println", all) => {
            let words: Vec<_> = all.iter().map(|value| go_text::value(value)).collect();
            format!("{}\n", words.join(" ")).into()
        }
        ("printf", [format, all @ ..]) => {
            let format = format.as_str().ok_or_else(|| failed("the format must be a text".to_owned()))?;
            go_text::formatted(format, all).map_err(failed)?.into()
        }
        ("exists", [value, keys @ ..]) => exists(value, keys).into(),
        ("base64decode", [value]) => decoded(value).map_err(failed)?.into(),
        _ => return Err(few()),
    };
    Ok(Cow::Owned(value))
}

fn compare(one: &Value, other: &Value) -> Result<Ordering, String> {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.as_f64().unwrap_or_default(), other.as_f64().unwrap_or_default());
            Ok(one.total_cmp(&other))
        }
        (Value::String(one), Value::String(other)) => Ok(one.cmp(other)),
        (Value::Bool(one), Value::Bool(other)) => Ok(one.cmp(other)),
        (Value::Null, Value::Null) => Ok(Ordering::Equal),
        // What is not there differs from all that is.
        (Value::Null, Value::String(_) | Value::Number(_) | Value::Bool(_)) => Ok(Ordering::Less),
        (Value::String(_) | Value::Number(_) | Value::Bool(_), Value::Null) => Ok(Ordering::Greater),
        _ => Err("incompatible types for comparison".to_owned()),
    }
}

fn length(value: &Value) -> Result<usize, String> {
    match value {
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(map) => Ok(map.len()),
        other => Err(format!("len of {}", go_text::value(other))),
    }
}

fn index(value: Value, key: &Value) -> Result<Value, String> {
    match (value, key) {
        (Value::Array(mut items), Value::Number(at)) => {
            let at = at.as_u64().and_then(|at| usize::try_from(at).ok()).filter(|at| *at < items.len());
            at.map(|at| items.swap_remove(at)).ok_or_else(|| format!("index out of range: {key}"))
        }
        (Value::Object(mut map), Value::String(key)) => Ok(map.remove(key).unwrap_or_default()),
        (Value::Null, _) => Err("index of untyped nil".to_owned()),
        (other, key) => Err(format!("can't index {} with {}", go_text::value(&other), go_text::value(key))),
    }
}

fn slice(value: &Value, bounds: &[Cow<'_, Value>]) -> Result<Value, String> {
    let length = length(value)?;
    let bound = |at: usize, default: usize| match bounds.get(at) {
        None => Ok(default),
        Some(bound) => {
            let bound = bound.as_u64().and_then(|bound| usize::try_from(bound).ok()).filter(|bound| *bound <= length);
            bound.ok_or_else(|| "index out of range".to_owned())
        }
    };
    let (start, end) = (bound(0, 0)?, bound(1, length)?);
    match value {
        _ if start > end => Err(format!("invalid slice index: {start} > {end}")),
        Value::String(text) => text.get(start..end).map(Into::into).ok_or_else(|| "inside a character".to_owned()),
        Value::Array(items) => Ok(items[start..end].to_vec().into()),
        other => Err(format!("can't slice {}", go_text::value(other))),
    }
}

/// As Go's `Sprint`: a blank between two of which none is a text.
fn print(all: &[Cow<'_, Value>]) -> String {
    let mut text = String::new();
    for (i, value) in all.iter().enumerate() {
        if i > 0 && !value.is_string() && !all[i - 1].is_string() {
            text.push(' ');
        }
        text.push_str(&go_text::value(value));
    }
    text
}

fn exists(value: &Value, keys: &[Cow<'_, Value>]) -> bool {
    let mut found = Some(value);
    for key in keys {
        found = found.and_then(|value| match key.as_ref() {
            Value::String(key) => value.get(key),
            Value::Number(at) => value.get(usize::try_from(at.as_u64()?).ok()?),
            _ => None,
        });
    }
    found.is_some()
}

fn decoded(value: &Value) -> Result<String, String> {
    let text = value.as_str().ok_or("it is no text")?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
