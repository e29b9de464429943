// SPDX-License-Identifier: Apache-2.0
//! Values as Go's fmt prints them, for templates and columns.
//! <https://pkg.go.dev/fmt>

use std::borrow::Cow;

use serde_json::{Number, Value};

/// From this exponent on Go writes a number of a template with one.
const EXPONENT_MIN: i32 = 21;

/// A value that a template shows; one that is not there says so.
pub(crate) fn printed(shown: &Value) -> String {
    if shown.is_null() { "<no value>".to_owned() } else { value(shown) }
}

/// A value as `%v` prints it: `map[a:1 b:2]`, `[x y]`.
pub(crate) fn value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => self::number(number),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(self::value).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut all: Vec<_> = map.iter().map(|(key, item)| format!("{key}:{}", self::value(item))).collect();
            all.sort();
            format!("map[{}]", all.join(" "))
        }
    }
}

fn number(number: &Number) -> String {
    if number.is_f64() { float(number.as_f64().unwrap_or_default()) } else { number.to_string() }
}

/// The shortest text of a number, with an exponent where it is large or small.
fn float(number: f64) -> String {
    let text = format!("{number:e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..EXPONENT_MIN).contains(&exponent) {
        return number.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// As `printf` does it, with the verbs v, s, d, q, t, f, g, x, a width, a precision, and `-` and `0`.
pub(crate) fn formatted(format: &str, arguments: &[Cow<'_, Value>]) -> Result<String, String> {
    let (mut text, mut rest, mut arguments) = (String::new(), format, arguments.iter());
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        let (verb, after) = verb(&rest[at + 1..])?;
        rest = after;
        if verb.letter == '%' {
            text.push('%');
            continue;
        }
        match arguments.next() {
            Some(argument) => text.push_str(&verb.apply(argument)?),
            None => text.push_str(&format!("%!{}(MISSING)", verb.letter)),
        }
    }
    text.push_str(rest);
    Ok(text)
}

/// A verb of a format.
struct Verb {
    left: bool,
    zeros: bool,
    width: usize,
    precision: Option<usize>,
    letter: char,
}

/// The widest that something is made.
const WIDTH_MAX: usize = 1000;

fn verb(text: &str) -> Result<(Verb, &str), String> {
    let flags = text.find(|c| c != '-' && c != '0').unwrap_or(text.len());
    let (flags, rest) = text.split_at(flags);
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (width, mut rest) = rest.split_at(digits(rest));
    let mut precision = None;
    if let Some(after) = rest.strip_prefix('.') {
        let (digits, after) = after.split_at(digits(after));
        precision = Some(digits.parse().unwrap_or(0).min(WIDTH_MAX));
        rest = after;
    }
    let letter = rest.chars().next().ok_or("the format ends with %")?;
    let width = width.parse().unwrap_or(0).min(WIDTH_MAX);
    let verb = Verb { left: flags.contains('-'), zeros: flags.contains('0'), width, precision, letter };
    Ok((verb, &rest[letter.len_utf8()..]))
}

impl Verb {
    fn apply(&self, argument: &Value) -> Result<String, String> {
        let text = match (self.letter, argument) {
            ('s' | 'v', Value::String(text)) => text.chars().take(self.precision.unwrap_or(usize::MAX)).collect(),
            ('q', Value::String(text)) => format!("{text:?}"),
            ('d', Value::Number(number)) if !number.is_f64() => number.to_string(),
            ('x', Value::Number(number)) if number.is_u64() => format!("{:x}", number.as_u64().unwrap_or_default()),
            ('x', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            ('f', Value::Number(number)) => {
                format!("{:.*}", self.precision.unwrap_or(6), number.as_f64().unwrap_or_default())
            }
            ('t', Value::Bool(value)) => value.to_string(),
            ('v', any) => value(any),
            ('g', Value::Number(number)) => self::number(number),
            ('s' | 'd' | 'q' | 't' | 'f' | 'g' | 'x', other) => format!("%!{}({})", self.letter, value(other)),
            (other, _) => return Err(format!("the verb %{other} is not there")),
        };
        let missing = " ".repeat(self.width.saturating_sub(text.chars().count()));
        let is_number = argument.is_number() && self.zeros;
        Ok(match self.left {
            true => text + &missing,
            false if is_number => missing.replace(' ', "0") + &text,
            false => missing + &text,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_read_as_in_go() {
        for (shown, want) in [
            (json!(null), "<nil>"),
            (json!({"b": [1, "x"], "a": {"c": true}}), "map[a:map[c:true] b:[1 x]]"),
            (json!(1.5), "1.5"),
            (json!(1e21), "1e+21"),
            (json!(0.00001), "1e-05"),
            (json!(-3), "-3"),
        ] {
            assert_eq!(value(&shown), want);
        }
    }

    #[test]
    fn formats_have_widths_and_missing_arguments() {
        let text = |format: &str, arguments: &[Value]| {
            formatted(format, &arguments.iter().map(Cow::Borrowed).collect::<Vec<_>>())
        };
        assert_eq!(
            text("%5s|%-5s|%05d|%.2f|%x", &[json!("a"), json!("b"), json!(7), json!(1), json!(255)]).unwrap(),
            "    a|b    |00007|1.00|ff"
        );
        assert_eq!(text("%s %d", &[json!("a")]).unwrap(), "a %!d(MISSING)");
        assert_eq!(text("%d", &[json!("a")]).unwrap(), "%!d(a)");
        assert!(text("%z", &[json!(1)]).is_err() && text("%", &[]).is_err());
    }
}
