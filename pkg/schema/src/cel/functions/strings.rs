// SPDX-License-Identifier: Apache-2.0
//! Texts. Places in them are counted in characters.

use super::{Function, Outcome, format, none};
use crate::cel::eval::Fault;
use crate::cel::value::{List, Value};

pub(super) fn find(name: &str) -> Option<Function> {
    testing(name).or_else(|| searching(name)).or_else(|| making(name)).or_else(|| cutting(name))
}

fn testing(name: &str) -> Option<Function> {
    Some(match name {
        "contains" => |args| test(args, |text, part| text.contains(part)),
        "startsWith" => |args| test(args, |text, part| text.starts_with(part)),
        "endsWith" => |args| test(args, |text, part| text.ends_with(part)),
        _ => return None,
    })
}

fn searching(name: &str) -> Option<Function> {
    Some(match name {
        "charAt" => |args| match args {
            [Value::String(text), Value::Int(at)] => char_at(text, *at),
            _ => none(),
        },
        "indexOf" => |args| match args {
            [Value::String(text), Value::String(part)] => index_of(text, part, 0),
            [Value::String(text), Value::String(part), Value::Int(from)] => index_of(text, part, *from),
            [Value::List(list), wanted] => position(list.iter().position(|e| e.equals(wanted))),
            _ => none(),
        },
        "lastIndexOf" => |args| match args {
            [Value::String(text), Value::String(part)] => last_index_of(text, part, None),
            [Value::String(text), Value::String(part), Value::Int(to)] => last_index_of(text, part, Some(*to)),
            [Value::List(list), wanted] => {
                position((0..list.len()).rev().find(|at| list.get(*at).is_some_and(|e| e.equals(wanted))))
            }
            _ => none(),
        },
        _ => return None,
    })
}

fn making(name: &str) -> Option<Function> {
    Some(match name {
        "lowerAscii" => |args| change(args, |text| text.to_ascii_lowercase()),
        "upperAscii" => |args| change(args, |text| text.to_ascii_uppercase()),
        "trim" => |args| change(args, |text| text.trim().to_owned()),
        "strings.quote" => |args| change(args, quote),
        "jsonpatch.escapeKey" => |args| change(args, |text| text.replace('~', "~0").replace('/', "~1")),
        "join" => |args| match args {
            [Value::List(list)] => join(list, ""),
            [Value::List(list), Value::String(separator)] => join(list, separator),
            _ => none(),
        },
        "format" => |args| match args {
            [Value::String(text), Value::List(list)] => format::format(text, list).map(Value::text),
            _ => none(),
        },
        _ => return None,
    })
}

fn cutting(name: &str) -> Option<Function> {
    Some(match name {
        "replace" => |args| match args {
            [Value::String(text), Value::String(from), Value::String(to)] => replace(text, from, to, -1),
            [Value::String(text), Value::String(from), Value::String(to), Value::Int(times)] => {
                replace(text, from, to, *times)
            }
            _ => none(),
        },
        "split" => |args| match args {
            [Value::String(text), Value::String(separator)] => Ok(split(text, separator, -1)),
            [Value::String(text), Value::String(separator), Value::Int(limit)] => Ok(split(text, separator, *limit)),
            _ => none(),
        },
        "substring" => |args| match args {
            [Value::String(text), Value::Int(start)] => substring(text, *start, None),
            [Value::String(text), Value::Int(start), Value::Int(end)] => substring(text, *start, Some(*end)),
            _ => none(),
        },
        _ => return None,
    })
}

fn test<'a>(args: &[Value<'a>], f: fn(&str, &str) -> bool) -> Outcome<'a> {
    match args {
        [Value::String(text), Value::String(part)] => Ok(Value::Bool(f(text, part))),
        _ => none(),
    }
}

fn change<'a>(args: &[Value<'a>], f: fn(&str) -> String) -> Outcome<'a> {
    match args {
        [Value::String(text)] => Ok(Value::text(f(text))),
        _ => none(),
    }
}

fn out_of_range<'a>(at: i64) -> Outcome<'a> {
    Err(Fault::Error(format!("index out of range: {at}")))
}

fn position<'a>(found: Option<usize>) -> Outcome<'a> {
    Ok(Value::Int(found.map_or(-1, |at| at as i64)))
}

fn char_at<'a>(text: &str, at: i64) -> Outcome<'a> {
    let length = text.chars().count();
    match usize::try_from(at) {
        Ok(n) if n <= length => Ok(Value::text(text.chars().nth(n).map(String::from).unwrap_or_default())),
        _ => out_of_range(at),
    }
}

fn index_of<'a>(text: &str, part: &str, from: i64) -> Outcome<'a> {
    let Ok(start) = usize::try_from(from) else { return out_of_range(from) };
    let (text, part): (Vec<char>, Vec<char>) = (text.chars().collect(), part.chars().collect());
    if part.is_empty() {
        return if start > text.len() { out_of_range(from) } else { Ok(Value::Int(from)) };
    }
    if start >= text.len() {
        return Ok(Value::Int(-1));
    }
    position(text[start..].windows(part.len()).position(|window| window == part).map(|at| at + start))
}

fn last_index_of<'a>(text: &str, part: &str, to: Option<i64>) -> Outcome<'a> {
    let (text, part): (Vec<char>, Vec<char>) = (text.chars().collect(), part.chars().collect());
    let Ok(end) = to.map_or(Ok(text.len()), usize::try_from) else { return out_of_range(to.unwrap_or_default()) };
    if part.is_empty() {
        return if end > text.len() { out_of_range(end as i64) } else { position(Some(end)) };
    }
    if part.len() > text.len() {
        return Ok(Value::Int(-1));
    }
    let last = end.min(text.len() - part.len());
    position((0..=last).rev().find(|at| text[*at..*at + part.len()] == part[..]))
}

/// Quotes as a text of Go's source, with what cannot be shown escaped.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn join<'a>(list: &List<'a>, separator: &str) -> Outcome<'a> {
    let mut joined = String::new();
    for (index, element) in list.iter().enumerate() {
        let Value::String(text) = element else {
            let shown = format::show(&element);
            return Err(Fault::Error(format!("join: invalid input: {shown}")));
        };
        if index > 0 {
            joined.push_str(separator);
        }
        joined.push_str(&text);
    }
    Ok(Value::text(joined))
}

/// What a replacement may grow to: a longer text costs more than any expression may.
const MAX_TEXT: usize = 10_000_000;

fn replace<'a>(text: &str, from: &str, to: &str, times: i64) -> Outcome<'a> {
    let times = usize::try_from(times).unwrap_or(usize::MAX);
    let count = if from.is_empty() { text.chars().count() + 1 } else { text.matches(from).count() };
    if count.min(times).saturating_mul(to.len()) > MAX_TEXT {
        return Err(Fault::Cost);
    }
    Ok(Value::text(text.replacen(from, to, times)))
}

fn split<'a>(text: &str, separator: &str, limit: i64) -> Value<'a> {
    let parts: Vec<String> = match (usize::try_from(limit), separator) {
        (Ok(0), _) => Vec::new(),
        (Ok(limit), "") => {
            let mut chars: Vec<String> = text.chars().take(limit - 1).map(String::from).collect();
            let rest: String = text.chars().skip(limit - 1).collect();
            chars.extend((!rest.is_empty()).then_some(rest));
            chars
        }
        (Err(_), "") => text.chars().map(String::from).collect(),
        (Ok(limit), separator) => text.splitn(limit, separator).map(str::to_owned).collect(),
        (Err(_), separator) => text.split(separator).map(str::to_owned).collect(),
    };
    Value::list(parts.into_iter().map(Value::text).collect())
}

fn substring<'a>(text: &str, start: i64, end: Option<i64>) -> Outcome<'a> {
    let length = text.chars().count();
    if let Some(end) = end
        && start > end
    {
        return Err(Fault::Error(format!("invalid substring range. start: {start}, end: {end}")));
    }
    let within = |at: i64| usize::try_from(at).ok().filter(|at| *at <= length);
    let Some(from) = within(start) else { return out_of_range(start) };
    let Some(to) = end.map_or(Some(length), within) else { return out_of_range(end.unwrap_or_default()) };
    Ok(Value::text(text.chars().skip(from).take(to - from).collect::<String>()))
}
