// SPDX-License-Identifier: Apache-2.0
//! Versions: `semver('1.2.3').isLessThan(semver('1.3.0'))`.

use std::cmp::Ordering;

use semver::Version;

use super::Opaque;
use crate::cel::eval::Fault;
use crate::cel::functions::{Function, Outcome, none};
use crate::cel::value::Value;

pub(super) fn find(name: &str) -> Option<Function> {
    Some(match name {
        "semver" => |args| match parse(args)? {
            Ok(version) => Ok(Value::opaque(Opaque::Semver(version))),
            Err(message) => Err(Fault::Error(message)),
        },
        "isSemver" => |args| Ok(Value::Bool(parse(args)?.is_ok())),
        "major" => |args| part(args, |version| version.major),
        "minor" => |args| part(args, |version| version.minor),
        "patch" => |args| part(args, |version| version.patch),
        _ => return None,
    })
}

/// The version, or what is wrong with it.
fn parse(args: &[Value<'_>]) -> Result<Result<Version, String>, Fault> {
    let (text, normalize) = match args {
        [Value::String(text)] => (text, false),
        [Value::String(text), Value::Bool(normalize)] => (text, *normalize),
        _ => return Err(Fault::no_overload()),
    };
    let text = if normalize { normalized(text) } else { text.to_string() };
    Ok(Version::parse(&text).map_err(|_| fault(&text)))
}

fn fault(text: &str) -> String {
    match text {
        "" => "Version string empty".to_owned(),
        text if text.splitn(3, '.').count() != 3 => "No Major.Minor.Patch elements found".to_owned(),
        text => {
            let number = text.splitn(3, '.').find(|part| !part.bytes().all(|b| b.is_ascii_digit()));
            format!("Invalid character(s) found in major number {:?}", number.unwrap_or(text))
        }
    }
}

/// Without a leading `v` and leading zeros, and with what is missing of three numbers.
fn normalized(text: &str) -> String {
    let text = text.trim_start_matches('v');
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let trim = |part: &str| match part.trim_start_matches('0') {
        "" => "0".to_owned(),
        part => part.to_owned(),
    };
    let mut parts: Vec<String> = numbers.splitn(3, '.').map(trim).collect();
    parts.resize(3, "0".to_owned());
    format!("{}{rest}", parts.join("."))
}

fn version<'v>(value: &'v Value<'_>) -> Option<&'v Version> {
    match value {
        Value::Opaque(of) => match of.as_ref() {
            Opaque::Semver(version) => Some(version),
            _ => None,
        },
        _ => None,
    }
}

fn part<'a>(args: &[Value<'a>], f: fn(&Version) -> u64) -> Outcome<'a> {
    match args {
        [value] => version(value).map_or_else(none, |v| Ok(Value::Int(f(v).try_into().unwrap_or(i64::MAX)))),
        _ => none(),
    }
}

/// The order of two versions; what they were built from does not count.
pub(super) fn compare(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    Some(version(a)?.cmp_precedence(version(b)?))
}
