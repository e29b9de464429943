// SPDX-License-Identifier: Apache-2.0
//! Lists and sets.

use std::cmp::Ordering;

use super::{Function, Outcome, none};
use crate::cel::eval::Fault;
use crate::cel::operators;
use crate::cel::value::{List, Value};

pub(super) fn find(name: &str) -> Option<Function> {
    computing(name).or_else(|| rearranging(name)).or_else(|| sets(name))
}

fn computing(name: &str) -> Option<Function> {
    Some(match name {
        "isSorted" => |args| on_list(args, is_sorted),
        "sum" => |args| on_list(args, sum),
        "min" => |args| on_list(args, |list| extreme(list, "min", Ordering::Less)),
        "max" => |args| on_list(args, |list| extreme(list, "max", Ordering::Greater)),
        "first" => |args| on_list(args, |list| Ok(list.get(0).map_or(Value::Optional(None), Value::some))),
        "last" => |args| {
            on_list(args, |list| {
                let last = list.len().checked_sub(1).and_then(|n| list.get(n));
                Ok(last.map_or(Value::Optional(None), Value::some))
            })
        },
        _ => return None,
    })
}

fn rearranging(name: &str) -> Option<Function> {
    Some(match name {
        "reverse" => |args| {
            on_list(args, |list| {
                let mut elements: Vec<Value<'_>> = list.iter().collect();
                elements.reverse();
                Ok(Value::list(elements))
            })
        },
        "distinct" => |args| on_list(args, distinct),
        "sort" => |args| on_list(args, |list| sort_by(list, list)),
        "@sortByAssociatedKeys" => |args| match args {
            [Value::List(list), Value::List(keys)] => sort_by(list, keys),
            _ => none(),
        },
        "slice" => |args| match args {
            [Value::List(list), Value::Int(start), Value::Int(end)] => slice(list, *start, *end),
            _ => none(),
        },
        "flatten" => |args| match args {
            [Value::List(list)] => Ok(Value::list(flatten(list, 1))),
            [Value::List(_), Value::Int(depth)] if *depth < 0 => Err(Fault::new("level must be non-negative")),
            [Value::List(list), Value::Int(depth)] => Ok(Value::list(flatten(list, *depth))),
            _ => none(),
        },
        "lists.range" => |args| match args {
            [Value::Int(n)] if *n > MAX_RANGE => Err(Fault::Cost),
            [Value::Int(n)] => Ok(Value::list((0..*n).map(Value::Int).collect())),
            _ => none(),
        },
        _ => return None,
    })
}

/// A longer range costs more than any expression may.
const MAX_RANGE: i64 = 1_000_000;

fn sets(name: &str) -> Option<Function> {
    Some(match name {
        "sets.contains" => |args| on_lists(args, |a, b| b.iter().all(|element| has(a, &element))),
        "sets.intersects" => |args| on_lists(args, |a, b| b.iter().any(|element| has(a, &element))),
        "sets.equivalent" => |args| {
            on_lists(args, |a, b| b.iter().all(|element| has(a, &element)) && a.iter().all(|element| has(b, &element)))
        },
        _ => return None,
    })
}

fn on_list<'a>(args: &[Value<'a>], f: fn(&List<'a>) -> Outcome<'a>) -> Outcome<'a> {
    match args {
        [Value::List(list)] => f(list),
        _ => none(),
    }
}

fn on_lists<'a>(args: &[Value<'a>], f: fn(&List<'a>, &List<'a>) -> bool) -> Outcome<'a> {
    match args {
        [Value::List(a), Value::List(b)] => Ok(Value::Bool(f(a, b))),
        _ => none(),
    }
}

fn has<'a>(list: &List<'a>, value: &Value<'a>) -> bool {
    list.iter().any(|element| element.equals(value))
}

fn is_sorted<'a>(list: &List<'a>) -> Outcome<'a> {
    let mut before: Option<Value<'a>> = None;
    for element in list.iter() {
        if let Some(before) = before {
            match before.compare(&element) {
                Some(Ordering::Greater) => return Ok(Value::Bool(false)),
                Some(_) => {}
                None => return none(),
            }
        }
        before = Some(element);
    }
    Ok(Value::Bool(true))
}

/// Nothing adds up to the number 0.
fn sum<'a>(list: &List<'a>) -> Outcome<'a> {
    let mut elements = list.iter();
    let Some(first) = elements.next() else { return Ok(Value::Int(0)) };
    if !matches!(first, Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::Duration(_)) {
        return none();
    }
    elements.try_fold(first, |total, element| operators::apply("_+_", &[total, element]))
}

fn extreme<'a>(list: &List<'a>, name: &str, wanted: Ordering) -> Outcome<'a> {
    let mut elements = list.iter();
    let first = elements.next().ok_or_else(|| Fault::Error(format!("{name} called on empty list")))?;
    elements.try_fold(first, |best, element| match element.compare(&best) {
        Some(order) if order == wanted => Ok(element),
        Some(_) => Ok(best),
        None => none(),
    })
}

fn distinct<'a>(list: &List<'a>) -> Outcome<'a> {
    let mut seen: Vec<Value<'a>> = Vec::new();
    for element in list.iter() {
        if !seen.iter().any(|s| s.equals(&element)) {
            seen.push(element);
        }
    }
    Ok(Value::list(seen))
}

/// By the keys at the same places.
fn sort_by<'a>(list: &List<'a>, keys: &List<'a>) -> Outcome<'a> {
    let mut pairs: Vec<(Value<'a>, Value<'a>)> = keys.iter().zip(list.iter()).collect();
    if pairs.first().is_some_and(|(key, _)| key.compare(key).is_none()) {
        return Err(Fault::new("list elements must be comparable"));
    }
    if pairs.windows(2).any(|pair| pair[0].0.compare(&pair[1].0).is_none()) {
        return Err(Fault::new("list elements must have the same type"));
    }
    pairs.sort_by(|(a, _), (b, _)| a.compare(b).unwrap_or(Ordering::Equal));
    Ok(Value::list(pairs.into_iter().map(|(_, element)| element).collect()))
}

fn slice<'a>(list: &List<'a>, start: i64, end: i64) -> Outcome<'a> {
    let bad = |why: &str| Err(Fault::Error(format!("cannot slice({start}, {end}), {why}")));
    let (Ok(from), Ok(to)) = (usize::try_from(start), usize::try_from(end)) else {
        return bad("negative indexes not supported");
    };
    if from > to {
        return bad("start index must be less than or equal to end index");
    }
    if to > list.len() {
        return bad(&format!("list is length {}", list.len()));
    }
    Ok(Value::list((from..to).filter_map(|index| list.get(index)).collect()))
}

fn flatten<'a>(list: &List<'a>, depth: i64) -> Vec<Value<'a>> {
    let flat = |element| match element {
        Value::List(inner) if depth > 0 => flatten(&inner, depth - 1),
        other => vec![other],
    };
    list.iter().flat_map(flat).collect()
}
