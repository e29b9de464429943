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
    let text = if normalize { normalized(text) } else { Ok(text.to_string()) };
    Ok(text.and_then(|text| Version::parse(&text).map_err(|_| fault(&text))))
}

/// What is wrong, in the words and the order of upstream's parser.
fn fault(text: &str) -> String {
    let parts: Vec<&str> = text.splitn(3, '.').collect();
    let [major, minor, rest] = parts.as_slice() else {
        return if text.is_empty() { "Version string empty" } else { "No Major.Minor.Patch elements found" }.to_owned();
    };
    let (rest, build) = rest.split_once('+').map_or((*rest, None), |(rest, build)| (rest, Some(build)));
    let (patch, pre) = rest.split_once('-').map_or((rest, None), |(patch, pre)| (patch, Some(pre)));
    let numbers = [("Major", *major), ("Minor", *minor), ("Patch", patch)];
    numbers
        .into_iter()
        .find_map(|(name, number)| number_fault(name, number))
        .or_else(|| pre.into_iter().flat_map(|pre| pre.split('.')).find_map(pre_release_fault))
        .or_else(|| build.into_iter().flat_map(|build| build.split('.')).find_map(build_fault))
        .unwrap_or_else(|| format!("Invalid version {text:?}"))
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

fn is_word(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn number_fault(name: &str, number: &str) -> Option<String> {
    if !is_number(number) {
        return Some(format!("Invalid character(s) found in {} number {number:?}", name.to_lowercase()));
    }
    if number.len() > 1 && number.starts_with('0') {
        return Some(format!("{name} number must not contain leading zeroes {number:?}"));
    }
    let why = if number.is_empty() { "invalid syntax" } else { "value out of range" };
    number.parse::<u64>().is_err().then(|| format!("strconv.ParseUint: parsing {number:?}: {why}"))
}

fn pre_release_fault(part: &str) -> Option<String> {
    match part {
        "" => Some("Prerelease is empty".to_owned()),
        part if is_number(part) && part.len() > 1 && part.starts_with('0') => {
            Some(format!("Numeric PreRelease version must not contain leading zeroes {part:?}"))
        }
        part => (!is_word(part)).then(|| format!("Invalid character(s) found in prerelease {part:?}")),
    }
}

fn build_fault(part: &str) -> Option<String> {
    match part {
        "" => Some("Build meta data is empty".to_owned()),
        part => (!is_word(part)).then(|| format!("Invalid character(s) found in build meta data {part:?}")),
    }
}

/// Without a leading `v` and leading zeros, and with what is missing of three numbers.
fn normalized(text: &str) -> Result<String, String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let trim = |part: &str| match part {
        part if part.len() < 2 => part.to_owned(),
        part => {
            let rest = part.trim_start_matches('0');
            if rest.starts_with(|c: char| c.is_ascii_digit()) { rest.to_owned() } else { format!("0{rest}") }
        }
    };
    let mut parts: Vec<String> = text.splitn(3, '.').map(trim).collect();
    if parts.len() < 3 && parts.last().is_some_and(|last| last.contains(['+', '-'])) {
        return Err("short version cannot contain PreRelease/Build meta data".to_owned());
    }
    parts.resize(3, "0".to_owned());
    Ok(parts.join("."))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_version_is_told_in_order() {
        for (text, want) in [
            ("", "Version string empty"),
            ("1.0", "No Major.Minor.Patch elements found"),
            ("v1.2.3", "Invalid character(s) found in major number \"v1\""),
            ("01.2.3", "Major number must not contain leading zeroes \"01\""),
            ("1.x.3", "Invalid character(s) found in minor number \"x\""),
            ("1.2.3.4", "Invalid character(s) found in patch number \"3.4\""),
            ("1.2.3-01", "Numeric PreRelease version must not contain leading zeroes \"01\""),
            ("1.2.3-", "Prerelease is empty"),
            ("1.2.3+", "Build meta data is empty"),
            ("..", "strconv.ParseUint: parsing \"\": invalid syntax"),
        ] {
            assert!(Version::parse(text).is_err(), "{text}");
            assert_eq!(fault(text), want, "{text}");
        }
    }

    #[test]
    fn a_loose_version_becomes_a_strict_one() {
        for (text, want) in [
            ("v1", Ok("1.0.0")),
            ("01.02", Ok("1.2.0")),
            ("1.2.00-rc", Ok("1.2.0-rc")),
            ("1-rc", Err("short version cannot contain PreRelease/Build meta data")),
        ] {
            assert_eq!(normalized(text), want.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }
}
