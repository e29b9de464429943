// SPDX-License-Identifier: Apache-2.0
//! From a value along a path to others. `None` is a path that cannot be followed.

use std::borrow::Cow;
use std::cmp::Ordering;

use knarr_types::tree::Value;

use super::{Filter, JsonPath, Step, To};

type Values<'a> = Vec<Cow<'a, Value>>;

/// All that the path leads to from any of the values.
pub(super) fn path<'a>(path: &JsonPath, from: Values<'a>) -> Option<Values<'a>> {
    path.0.iter().try_fold(from, |values, step| follow(step, values))
}

fn follow<'a>(step: &Step, values: Values<'a>) -> Option<Values<'a>> {
    match step {
        Step::Field(name) => Some(values.into_iter().filter_map(|value| member(value, name)).collect()),
        Step::All => Some(values.into_iter().flat_map(children).collect()),
        Step::Below => {
            let mut found = Vec::new();
            values.into_iter().for_each(|value| below(value, &mut found));
            Some(found)
        }
        Step::Constant(constant) => Some(values.iter().map(|_| Cow::Owned(constant.clone())).collect()),
        Step::Word(_) => None,
        Step::Union(paths) => {
            let found = paths.iter().map(|one| path(one, values.clone()));
            Some(found.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect())
        }
        Step::Slice { from, to, step } => {
            let mut found = Vec::new();
            for value in values.into_iter().filter(|value| !value.is_null()) {
                let items = items(value)?;
                let chosen = chosen(items.len(), *from, *to, *step)?;
                found.extend(items.into_iter().enumerate().filter(|(at, _)| chosen.contains(at)).map(|(_, item)| item));
            }
            Some(found)
        }
        Step::Where(filter) => {
            let mut found = Vec::new();
            for value in values {
                for item in items(value)? {
                    if holds(filter, &item)? {
                        found.push(item);
                    }
                }
            }
            Some(found)
        }
    }
}

fn member<'a>(value: Cow<'a, Value>, name: &str) -> Option<Cow<'a, Value>> {
    match value {
        Cow::Borrowed(value) => value.as_object()?.get(name).map(Cow::Borrowed),
        Cow::Owned(value) => value.as_object()?.get(name).cloned().map(Cow::Owned),
    }
}

fn items<'a>(value: Cow<'a, Value>) -> Option<Values<'a>> {
    match value {
        Cow::Borrowed(value) => Some(value.as_array()?.iter().map(Cow::Borrowed).collect()),
        Cow::Owned(value) => Some(value.as_array()?.iter().cloned().map(Cow::Owned).collect()),
    }
}

/// What is directly in a value; of a text its bytes.
fn children<'a>(value: Cow<'a, Value>) -> Values<'a> {
    match value {
        Cow::Borrowed(Value::Array(items)) => items.iter().map(Cow::Borrowed).collect(),
        Cow::Borrowed(Value::Object(fields)) => fields.values().map(Cow::Borrowed).collect(),
        Cow::Borrowed(Value::String(text)) => text.bytes().map(|byte| Cow::Owned(Value::from(byte))).collect(),
        Cow::Owned(value) => {
            children(Cow::Borrowed(&value)).into_iter().map(|child| Cow::Owned(child.into_owned())).collect()
        }
        Cow::Borrowed(_) => Vec::new(),
    }
}

/// A value that has something in it, and all below it that do.
fn below<'a>(value: Cow<'a, Value>, found: &mut Values<'a>) {
    let inner = children(value.clone());
    if !inner.is_empty() {
        found.push(value);
        inner.into_iter().for_each(|value| below(value, found));
    }
}

/// The places that a slice names in a list of that length; nothing where a bound is outside of it.
fn chosen(length: usize, from: Option<i64>, to: To, step: Option<i64>) -> Option<Vec<usize>> {
    let length = i64::try_from(length).ok()?;
    let place = |bound: i64| if bound < 0 { bound + length } else { bound };
    let start = place(from.unwrap_or(0));
    let end = match to {
        To::End => length,
        To::Given(bound) => place(bound),
        // One after the element as it was written: after the last one comes the end.
        To::Next => match from.unwrap_or(0) + 1 {
            0 => length,
            bound => place(bound),
        },
    };
    if start == end {
        return Some(Vec::new());
    }
    let inside = (0..length).contains(&start) && (0..=length).contains(&end) && start <= end;
    let step = step.unwrap_or(1);
    if !inside || step <= 0 {
        return None;
    }
    let step = usize::try_from(step).ok()?;
    Some((usize::try_from(start).ok()?..usize::try_from(end).ok()?).step_by(step).collect())
}

fn holds(filter: &Filter, item: &Value) -> Option<bool> {
    let left = path(&filter.left, vec![Cow::Borrowed(item)]);
    let Some((sign, right)) = &filter.compared else {
        return Some(left.is_some_and(|found| !found.is_empty()));
    };
    let (left, right) = (left?, path(right, vec![Cow::Borrowed(item)])?);
    match (&left[..], &right[..]) {
        ([left], [right]) => compare(left, sign, right),
        ([], _) | ([_], []) => Some(false),
        _ => None,
    }
}

/// Values of one kind compare: texts, whole numbers, fractions; flags are the same or not.
fn compare(left: &Value, sign: &str, right: &Value) -> Option<bool> {
    let order = match (left, right) {
        (Value::String(left), Value::String(right)) => left.as_str().cmp(right.as_str()),
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => left.cmp(&right),
            (None, None) => left.as_f64()?.partial_cmp(&right.as_f64()?)?,
            _ => return None,
        },
        (Value::Bool(left), Value::Bool(right)) if matches!(sign, "==" | "!=") => left.cmp(right),
        _ => return None,
    };
    Some(match sign {
        "==" => order == Ordering::Equal,
        "!=" => order != Ordering::Equal,
        "<" => order == Ordering::Less,
        "<=" => order != Ordering::Greater,
        ">" => order == Ordering::Greater,
        ">=" => order != Ordering::Less,
        _ => return None,
    })
}
