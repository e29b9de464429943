// SPDX-License-Identifier: Apache-2.0
//! `'%s is %d'.format([...])`.

use super::convert::{double_text, to_text};
use super::strings;
use crate::cel::eval::Fault;
use crate::cel::value::{List, Value};

/// As upstream allows.
const MAX_PRECISION: usize = 1000;

/// Fills in the elements of the list one after another.
pub(super) fn format(text: &str, list: &List<'_>) -> Result<String, Fault> {
    let mut made = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut next = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            made.push(c);
            continue;
        }
        if chars.peek() == Some(&'%') {
            chars.next();
            made.push('%');
            continue;
        }
        let precision = if chars.next_if_eq(&'.').is_some() { Some(precision(&mut chars)?) } else { None };
        let verb = chars.next().ok_or_else(|| Fault::new("unexpected end of string"))?;
        let value = list.get(next).ok_or_else(|| Fault::Error(format!("index {next} out of range")))?;
        next += 1;
        made.push_str(&clause(verb, precision, &value)?);
    }
    Ok(made)
}

fn precision(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<usize, Fault> {
    let mut digits = String::new();
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    let missing = || Fault::new("error while parsing precision: could not find end of precision specifier");
    match digits.parse() {
        Ok(precision) if precision <= MAX_PRECISION => Ok(precision),
        Ok(precision) => {
            let message = format!("precision {precision} exceeds maximum allowed precision {MAX_PRECISION}");
            Err(Fault::Error(format!("error while parsing precision: {message}")))
        }
        Err(_) => Err(missing()),
    }
}

fn clause(verb: char, precision: Option<usize>, value: &Value<'_>) -> Result<String, Fault> {
    let wrong = |what: &str| {
        let given = value.type_name();
        Fault::Error(format!(
            "error during formatting: {what} clause can only be used on {}, was given {given}",
            allowed(verb)
        ))
    };
    match (verb, value) {
        ('s', value) => Ok(show(value)),
        ('d', Value::Int(n)) => Ok(n.to_string()),
        ('d', Value::Uint(n)) => Ok(n.to_string()),
        ('d', Value::Double(n)) if !n.is_finite() => Ok(double_name(*n)),
        ('d', _) => Err(wrong("decimal")),
        ('f', Value::Double(n)) if !n.is_finite() => Ok(double_name(*n)),
        ('f', Value::Double(n)) => Ok(grouped(&format!("{n:.*}", precision.unwrap_or(6)))),
        ('f', _) => Err(wrong("fixed-point")),
        ('e', value) => scientific(value, precision.unwrap_or(6)).ok_or_else(|| wrong("scientific")),
        ('b', value) => binary(value).ok_or_else(|| wrong("binary")),
        ('o', Value::Int(n)) => Ok(signed(*n, |n| format!("{n:o}"))),
        ('o', Value::Uint(n)) => Ok(format!("{n:o}")),
        ('o', _) => Err(wrong("octal")),
        ('x', value) => hex(value, false).ok_or_else(|| wrong("hex")),
        ('X', value) => hex(value, true).ok_or_else(|| wrong("hex")),
        (other, _) => Err(Fault::Error(format!("unrecognized formatting clause \"{other}\""))),
    }
}

fn allowed(verb: char) -> &'static str {
    match verb {
        'd' => "integers",
        'f' | 'e' => "doubles",
        'b' => "integers and bools",
        'o' => "integers",
        _ => "integers, byte buffers, and strings",
    }
}

fn double_name(n: f64) -> String {
    if n.is_nan() {
        "NaN"
    } else if n > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
    .to_owned()
}

fn signed(n: i64, write: fn(u64) -> String) -> String {
    format!("{}{}", if n < 0 { "-" } else { "" }, write(n.unsigned_abs()))
}

/// Thousands set apart by commas, as the printer of upstream's locale does.
fn grouped(number: &str) -> String {
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(w, f)| (w, Some(f)));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut made = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            made.push(',');
        }
        made.push(digit);
    }
    fraction.map_or(made.clone(), |fraction| format!("{made}.{fraction}"))
}

/// `1.5 × 10⁰³`, with narrow spaces, as the printer of upstream's locale does.
fn scientific(value: &Value<'_>, precision: usize) -> Option<String> {
    let Value::Double(n) = value else { return None };
    if !n.is_finite() {
        return Some(double_name(*n));
    }
    let text = format!("{n:.precision$e}");
    let (digits, power) = text.split_once('e')?;
    let power: i32 = power.parse().ok()?;
    let raised: String = format!("{:02}", power.abs()).chars().filter_map(superscript).collect();
    Some(format!("{digits}\u{202f}×\u{202f}10{}{raised}", if power < 0 { "⁻" } else { "" }))
}

fn superscript(digit: char) -> Option<char> {
    "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().nth(digit.to_digit(10)? as usize)
}

fn binary(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Int(n) => Some(signed(*n, |n| format!("{n:b}"))),
        Value::Uint(n) => Some(format!("{n:b}")),
        Value::Bool(value) => Some(if *value { "1" } else { "0" }.to_owned()),
        _ => None,
    }
}

fn hex(value: &Value<'_>, upper: bool) -> Option<String> {
    let text = match value {
        Value::Int(n) => signed(*n, |n| format!("{n:x}")),
        Value::Uint(n) => format!("{n:x}"),
        Value::String(text) => hex::encode(text.as_bytes()),
        Value::Bytes(bytes) => hex::encode(bytes),
        _ => return None,
    };
    Some(if upper { text.to_uppercase() } else { text })
}

/// As `%s` writes it.
pub(in crate::cel) fn show(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Double(n) => double_text(*n),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::List(list) => {
            let parts: Vec<String> = list.iter().map(|element| literal(&element)).collect();
            format!("[{}]", parts.join(", "))
        }
        Value::Map(map) => {
            let entries = map.entries();
            let mut parts: Vec<String> =
                entries.iter().map(|(k, v)| format!("{}:{}", literal(k), literal(v))).collect();
            parts.sort();
            format!("{{{}}}", parts.join(", "))
        }
        other => to_text(other).unwrap_or_else(|| other.type_name().to_owned()),
    }
}

/// As a value stands inside of a list or map: as an expression would write it.
fn literal(value: &Value<'_>) -> String {
    match value {
        Value::String(text) => strings::quote(text),
        Value::Bytes(_) => format!("b{}", strings::quote(&show(value))),
        Value::Double(n) if n.is_finite() => format!("{n:.6}"),
        Value::Timestamp(_) => format!("timestamp({})", strings::quote(&show(value))),
        Value::Duration(_) => format!("duration({})", strings::quote(&show(value))),
        other => show(other),
    }
}
