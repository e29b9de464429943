// SPDX-License-Identifier: Apache-2.0
//! What a call costs when it is made, in upstream's units: about one for an operation of constant time.
//! Estimates from the types alone are in `estimate.rs`.

use super::libraries::Opaque;
use super::value::Value;

/// Looking up a name or a field.
pub(super) const SELECT: u64 = 1;
/// Making a list.
pub(super) const LIST: u64 = 10;
/// Making a map.
pub(super) const MAP: u64 = 30;
/// Making a value with a type.
pub(super) const STRUCT: u64 = 40;
/// Reading a character.
pub(super) const CHARACTER: f64 = 0.1;
/// Running a character of a regular expression.
pub(super) const REGEX_CHARACTER: f64 = 0.25;
/// Asking whether somebody may do something: two such questions fit into one expression.
pub(super) const AUTHORIZATION: u64 = 350_000;

/// What this call cost.
pub(super) fn of_call(function: &str, member: bool, args: &[Value<'_>], result: Option<&Value<'_>>) -> u64 {
    let of = |index: usize| args.get(index).map_or(1, size);
    // What was read already is a value of its own type.
    let read_once = || match args.first() {
        Some(Value::Opaque(_)) => 1,
        _ => up(of(0), CHARACTER),
    };
    match function {
        "check" => AUTHORIZATION,
        "fieldSelector" | "labelSelector" => LIST + up(of(1), CHARACTER) + up(up(of(1), 0.5), (LIST + STRUCT) as f64),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => args.first().map_or(0, traversal),
        "ip" | "startsWith" | "endsWith" => read_once(),
        _ if reads_once(function) => read_once(),
        "replace" | "split" | "ip.isCanonical" => up(of(0), 2.0 * CHARACTER),
        "join" => up(result.map_or(1, size), 2.0 * CHARACTER),
        // Only the form with a receiver has a cost of its own.
        "matches" if !member => 1,
        "find" | "findAll" | "matches" => up(of(0) + 1, CHARACTER) * up(of(1), REGEX_CHARACTER),
        "contains" => up(of(0), CHARACTER) * up(of(1), CHARACTER),
        "containsIP" => up(2 * of(0), CHARACTER) + parsed(args.get(1)),
        "containsCIDR" => up(2 * of(0), CHARACTER) + up(of(0), CHARACTER) + 1 + parsed(args.get(1)),
        "validate" => {
            let pattern = args.first().and_then(Value::pattern_size).unwrap_or(1);
            up(of(1) + 1, CHARACTER) * up(pattern, REGEX_CHARACTER)
        }
        "bytes" if matches!(args, [Value::String(_)]) => up(of(0), CHARACTER),
        "string" if matches!(args, [Value::Bytes(_)]) => up(of(0), CHARACTER),
        "@in" => {
            if matches!(args.get(1), Some(Value::List(_))) {
                of(1)
            } else {
                1
            }
        }
        "_==_" | "_!=_" if matches!(args.first(), Some(Value::Opaque(_))) => 1,
        "_==_" | "_!=_" => up(of(0).min(of(1)), CHARACTER),
        "_<_" | "_<=_" | "_>_" | "_>=_" if is_text(args.first()) => up(of(0).min(of(1)), CHARACTER),
        "_+_" if is_text(args.first()) => up(of(0) + of(1), CHARACTER),
        "sets.contains" | "sets.intersects" => 1 + of(0) * of(1),
        "sets.equivalent" => 1 + 2 * of(0) * of(1),
        "distinct" | "sort" => compared(args.first()),
        "@sortByAssociatedKeys" => compared(args.get(1)),
        "flatten" => {
            let depth = if let Some(Value::Int(depth)) = args.get(1) { *depth } else { 1 };
            1 + LIST + of(0).saturating_mul(u64::try_from(depth).unwrap_or_default())
        }
        "reverse" | "slice" | "lists.range" => 1 + LIST + result.map_or(1, size),
        _ => 1,
    }
}

/// Whether a function reads its first argument, a text, once from end to end, whatever it is called with.
pub(super) fn reads_once(function: &str) -> bool {
    matches!(
        function,
        "url"
            | "lowerAscii"
            | "upperAscii"
            | "substring"
            | "trim"
            | "jsonpatch.escapeKey"
            | "cidr"
            | "isIP"
            | "isCIDR"
            | "quantity"
            | "isQuantity"
            | "semver"
            | "isSemver"
            | "strings.quote"
            | "format"
    )
}

/// Every element of a list with every other, and a list made of them.
fn compared(list: Option<&Value<'_>>) -> u64 {
    let count = list.map_or(1, size);
    let is_text = matches!(list, Some(Value::List(list)) if is_text(list.get(0).as_ref()));
    let factor = if is_text { 2.0 + CHARACTER } else { 2.0 };
    (count.saturating_mul(count) as f64 * factor) as u64 + 1 + LIST
}

/// Rounded up.
fn up(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

fn is_text(value: Option<&Value<'_>>) -> bool {
    matches!(value, Some(Value::String(_) | Value::Bytes(_)))
}

fn parsed(value: Option<&Value<'_>>) -> u64 {
    value.filter(|v| is_text(Some(v))).map_or(0, |text| up(size(text), CHARACTER))
}

fn size(value: &Value<'_>) -> u64 {
    match value {
        Value::Optional(Some(inner)) => size(inner),
        Value::Opaque(of) => match of.as_ref() {
            Opaque::Ip(ip) if ip.is_ipv4() => 4,
            Opaque::Ip(_) => 16,
            Opaque::Cidr(_, length) => u64::from(*length).div_ceil(8),
            _ => 1,
        },
        other => other.size().map_or(1, |n| n as u64),
    }
}

/// Reading all of it.
fn traversal(value: &Value<'_>) -> u64 {
    match value {
        Value::String(text) => (text.len() as f64 * CHARACTER) as u64,
        Value::Bytes(bytes) => (bytes.len() as f64 * CHARACTER) as u64,
        Value::List(list) => list.iter().map(|v| traversal(&v)).sum(),
        Value::Map(map) => map.entries().iter().map(|(k, v)| traversal(k) + traversal(v)).sum(),
        _ => 1,
    }
}
