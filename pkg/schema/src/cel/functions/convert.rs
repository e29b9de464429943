// SPDX-License-Identifier: Apache-2.0
//! Conversions between types, and sizes.

use std::borrow::Cow;

use super::{Function, Outcome, none, time};
use crate::cel::eval::Fault;
use crate::cel::operators;
use crate::cel::value::Value;

pub(super) fn find(name: &str) -> Option<Function> {
    Some(match name {
        "size" => |args| match args {
            [value] => value.size().map_or_else(none, |n| Ok(Value::Int(n as i64))),
            _ => none(),
        },
        "type" => |args| match args {
            [value] => Ok(Value::Type(Cow::Owned(value.type_name().to_owned()))),
            _ => none(),
        },
        "bool" => |args| one(args, to_bool),
        "int" => |args| one(args, to_int),
        "uint" => |args| one(args, to_uint),
        "double" => |args| one(args, to_double),
        "string" => |args| one(args, to_string),
        "bytes" => |args| one(args, to_bytes),
        "duration" => |args| one(args, to_duration),
        "timestamp" => |args| one(args, to_timestamp),
        _ => return None,
    })
}

fn one<'a>(args: &[Value<'a>], convert: fn(&Value<'a>) -> Outcome<'a>) -> Outcome<'a> {
    match args {
        [value] => convert(value),
        _ => none(),
    }
}

fn no_conversion<'a>(text: &str, to: &str) -> Outcome<'a> {
    Err(Fault::Error(format!("type conversion error from '{text}' to '{to}'")))
}

fn to_bool<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Bool(value) => Ok(Value::Bool(*value)),
        Value::String(text) => match text.as_ref() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => no_conversion("string", "bool"),
        },
        _ => none(),
    }
}

fn to_int<'a>(value: &Value<'a>) -> Outcome<'a> {
    let overflow = || Fault::new("integer overflow");
    match value {
        Value::Int(n) => Ok(Value::Int(*n)),
        Value::Uint(n) => i64::try_from(*n).map(Value::Int).map_err(|_| overflow()),
        Value::Double(n) if *n > -9_223_372_036_854_775_808.0 && *n < 9_223_372_036_854_775_807.0 => {
            Ok(Value::Int(*n as i64))
        }
        Value::Double(_) => Err(overflow()),
        Value::Duration(n) => Ok(Value::Int(*n)),
        Value::Timestamp(n, _) => Ok(Value::Int(n.div_euclid(1_000_000_000) as i64)),
        Value::String(text) => text.parse().map(Value::Int).or_else(|_| no_conversion("string", "int")),
        _ => none(),
    }
}

fn to_uint<'a>(value: &Value<'a>) -> Outcome<'a> {
    let overflow = || Fault::new("unsigned integer overflow");
    match value {
        Value::Uint(n) => Ok(Value::Uint(*n)),
        Value::Int(n) => u64::try_from(*n).map(Value::Uint).map_err(|_| overflow()),
        Value::Double(n) if *n >= 0.0 && *n < 18_446_744_073_709_551_615.0 => Ok(Value::Uint(*n as u64)),
        Value::Double(_) => Err(overflow()),
        Value::String(text) => text.parse().map(Value::Uint).or_else(|_| no_conversion("string", "uint")),
        _ => none(),
    }
}

fn to_double<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Double(n) => Ok(Value::Double(*n)),
        Value::Int(n) => Ok(Value::Double(*n as f64)),
        Value::Uint(n) => Ok(Value::Double(*n as f64)),
        Value::String(text) => text.parse().map(Value::Double).or_else(|_| no_conversion("string", "double")),
        _ => none(),
    }
}

fn to_string<'a>(value: &Value<'a>) -> Outcome<'a> {
    match (to_text(value), value) {
        (Some(text), _) => Ok(Value::text(text)),
        (None, Value::Bytes(_)) => Err(Fault::new("invalid UTF-8 in bytes, cannot convert to string")),
        (None, _) => none(),
    }
}

fn to_bytes<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Bytes(bytes) => Ok(Value::Bytes(bytes.clone())),
        Value::String(text) => Ok(Value::Bytes(text.as_bytes().into())),
        _ => none(),
    }
}

fn to_duration<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Duration(n) => Ok(Value::Duration(*n)),
        Value::Int(_) => no_conversion("int", "google.protobuf.Duration"),
        Value::String(text) => time::parse_duration(text)
            .map(Value::Duration)
            .map_or_else(|| no_conversion("string", "google.protobuf.Duration"), Ok),
        _ => none(),
    }
}

fn to_timestamp<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Timestamp(n, zone) => Ok(Value::Timestamp(*n, *zone)),
        Value::Int(n) => operators::timestamp(i128::from(*n) * 1_000_000_000, 0),
        Value::String(text) => {
            let parsed = time::parse_timestamp(text);
            parsed.map_or_else(
                || no_conversion("string", "google.protobuf.Timestamp"),
                |(nanos, zone)| operators::timestamp(nanos, zone),
            )
        }
        _ => none(),
    }
}

/// As `string()` writes it; nothing where there is no such conversion.
pub(in crate::cel) fn to_text(value: &Value<'_>) -> Option<String> {
    Some(match value {
        Value::String(text) => text.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        Value::Double(n) => double_text(*n),
        Value::Bytes(bytes) => String::from_utf8(bytes.to_vec()).ok()?,
        Value::Duration(n) => time::duration_text(*n),
        Value::Timestamp(n, zone) => time::timestamp_text(*n, *zone),
        Value::Type(name) => name.to_string(),
        Value::Opaque(of) => of.to_text()?,
        _ => return None,
    })
}

/// The shortest text, with an exponent from a million on and for what is very small, as Go's `%g`.
pub(super) fn double_text(n: f64) -> String {
    if n.is_nan() {
        return "NaN".to_owned();
    }
    if n.is_infinite() {
        return if n > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let exponent = format!("{n:e}");
    let Some((digits, power)) = exponent.split_once('e') else { return exponent };
    match power.parse::<i32>() {
        Ok(power) if (-4..6).contains(&power) => format!("{n}"),
        Ok(power) => format!("{digits}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs()),
        Err(_) => exponent,
    }
}
