// SPDX-License-Identifier: Apache-2.0
//! What a scalar of YAML 1.1 is, by go-yaml's rules: `yes` is a boolean, `0777` a number in base 8, `1_000` one in
//! base 10, and what looks like a date is text.

use std::sync::LazyLock;

use knarr_types::tree::{Number, Value};
use regex::Regex;

const LONG: &str = "tag:yaml.org,2002:";

static FLOAT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$").expect("the pattern is a constant")
});

/// The value of a scalar.
///
/// # Errors
/// Where it is not what its tag says, or has no form in JSON.
pub(super) fn resolve(tag: &str, text: &str, plain: bool) -> Result<Value, String> {
    let tag = tag.strip_prefix(LONG).map_or_else(|| tag.to_owned(), |short| format!("!!{short}"));
    if tag.is_empty() && !plain {
        return Ok(text.into());
    }
    match tag.as_str() {
        "!!binary" => return binary(text),
        "" | "!!str" | "!!bool" | "!!int" | "!!float" | "!!null" | "!!timestamp" => {}
        // A tag of its own says nothing.
        _ => return Ok(text.into()),
    }
    if tag == "!!str" {
        return Ok(text.into());
    }
    let (found, value) = by_form(text, &tag);
    match (tag.as_str(), found) {
        ("!!float", "!!int") => {}
        (tag, found) if tag.is_empty() || tag == found => {}
        (tag, found) => return Err(format!("yaml: cannot decode {found} `{text}` as a {tag}")),
    }
    match value {
        Some(Found::Value(value)) => Ok(value),
        Some(Found::Unsupported(what)) => Err(format!("json: unsupported value: {what}")),
        None => Ok(text.into()),
    }
}

enum Found {
    Value(Value),
    /// A number that JSON does not have.
    Unsupported(&'static str),
}

/// What text without quotes is, and its short tag.
fn by_form(text: &str, tag: &str) -> (&'static str, Option<Found>) {
    let value = |value: Value| Some(Found::Value(value));
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return ("!!bool", value(true.into()));
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return ("!!bool", value(false.into()));
        }
        "" | "~" | "null" | "Null" | "NULL" => return ("!!null", value(Value::Null)),
        ".nan" | ".NaN" | ".NAN" => return ("!!float", Some(Found::Unsupported("NaN"))),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return ("!!float", Some(Found::Unsupported("+Inf"))),
        "-.inf" | "-.Inf" | "-.INF" => return ("!!float", Some(Found::Unsupported("-Inf"))),
        _ => {}
    }
    let float = |text: &str| text.parse().ok().and_then(Number::from_f64).map(|number| Value::Number(whole(number)));
    match text.as_bytes().first() {
        Some(b'.') if FLOAT.is_match(text) => match float(text) {
            Some(number) => ("!!float", value(number)),
            None => ("!!str", None),
        },
        Some(b'0'..=b'9' | b'+' | b'-') => {
            if matches!(tag, "" | "!!timestamp") && is_timestamp(text) {
                return ("!!timestamp", None);
            }
            let plain = text.replace('_', "");
            if let Some(number) = integer(&plain) {
                return ("!!int", value(Value::Number(number)));
            }
            match float(&plain).filter(|_| FLOAT.is_match(&plain)) {
                Some(number) => ("!!float", value(number)),
                None => ("!!str", None),
            }
        }
        _ => ("!!str", None),
    }
}

/// A float that is a whole number goes into JSON without a fraction.
fn whole(number: Number) -> Number {
    match crate::decode::shortest(number) {
        Value::Number(number) => number,
        _ => 0.into(),
    }
}

/// A whole number with the base that its front names, as Go reads it.
fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    if !digits.bytes().all(|byte| char::from(byte).is_digit(base)) {
        return None;
    }
    let size = u64::from_str_radix(digits, base).ok()?;
    // What has a sign fits into 64 bits with one.
    match i64::try_from(size) {
        Ok(size) => Some(if negative { -size } else { size }.into()),
        Err(_) if negative => (size == 1 << 63).then(|| i64::MIN.into()),
        Err(_) => (!text.starts_with('+')).then(|| size.into()),
    }
}

/// A date, with or without a time; which is kept as it is written.
fn is_timestamp(text: &str) -> bool {
    static FORM: LazyLock<Regex> = LazyLock::new(|| {
        let date = r"^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}";
        let time = r"[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}([.,][0-9]+)?";
        Regex::new(&format!(r"{date}(|[Tt]{time}(Z|[-+][0-9]{{2}}:[0-9]{{2}})| {time})$"))
            .expect("the pattern is a constant")
    });
    FORM.is_match(text)
}

fn binary(text: &str) -> Result<Value, String> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let compact: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    match STANDARD.decode(compact) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).as_ref().into()),
        Err(_) => Err("yaml: !!binary value contains invalid base64 data".into()),
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn plain_text_is_what_yaml_1_1_says() {
        for (text, want) in [
            ("yes", json!(true)),
            ("Off", json!(false)),
            ("~", Value::Null),
            ("0777", json!(511)),
            ("0o17", json!(15)),
            ("0b11", json!(3)),
            ("-0x10", json!(-16)),
            ("1_000", json!(1000)),
            ("089", json!(89)),
            ("1e3", json!(1000)),
            (".5", json!(0.5)),
            ("1.0", json!(1)),
            ("18446744073709551615", json!(u64::MAX)),
            ("2020-01-01", json!("2020-01-01")),
            ("2020-01-01T00:00:00Z", json!("2020-01-01T00:00:00Z")),
            ("1:30", json!("1:30")),
            ("0x", json!("0x")),
            ("1.2.3", json!("1.2.3")),
            ("nope", json!("nope")),
            ("-", json!("-")),
        ] {
            assert_eq!(resolve("", text, true).unwrap(), want, "{text}");
            assert_eq!(resolve("", text, false).unwrap(), json!(text));
        }
    }

    #[test]
    fn a_tag_says_what_it_is_or_is_wrong() {
        assert_eq!(resolve("tag:yaml.org,2002:str", "5", true).unwrap(), json!("5"));
        assert_eq!(resolve("tag:yaml.org,2002:float", "5", true).unwrap(), json!(5));
        assert_eq!(resolve("tag:yaml.org,2002:binary", "aGk=", true).unwrap(), json!("hi"));
        assert_eq!(resolve("!own", "5", true).unwrap(), json!("5"));
        let wrong = resolve("tag:yaml.org,2002:int", "x", true).unwrap_err();
        assert_eq!(wrong, "yaml: cannot decode !!str `x` as a !!int");
        assert_eq!(resolve("", ".inf", true).unwrap_err(), "json: unsupported value: +Inf");
    }
}
