// SPDX-License-Identifier: Apache-2.0
//! `'%s is %d'.format([...])`.

use super::convert::{double_text, to_text};
use super::strings;
use crate::cel::eval::Fault;
use crate::cel::types::Type;
use crate::cel::value::{List, Value};

/// Longer numbers cost more than any expression may.
const MAX_PRECISION: usize = 1000;

/// A part of the text that says what goes in: a `%`, a precision, a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cel) struct Clause {
    verb: char,
    precision: Option<usize>,
}

/// Fills in the elements of the list one after another.
pub(super) fn format(text: &str, list: &List<'_>) -> Result<String, Fault> {
    let mut made = String::with_capacity(text.len());
    read(text, list.len(), |part| {
        match part {
            Part::Text(c) => made.push(c),
            Part::Clause(clause, index) => {
                let value = list.get(index).unwrap_or(Value::Null);
                let shown = fill(clause, &value);
                made.push_str(&shown.map_err(|why| Fault::Error(format!("error during formatting: {why}")))?);
            }
        }
        Ok(())
    })?;
    Ok(made)
}

/// The clauses of a text for so many arguments, in order.
///
/// # Errors
/// What `check` says, or what is wrong with the text itself.
pub(in crate::cel) fn check_clauses<E: From<Fault>>(
    text: &str,
    count: usize,
    mut check: impl FnMut(Clause, usize) -> Result<(), E>,
) -> Result<usize, E> {
    let mut used = 0;
    read(text, count, |part| match part {
        Part::Text(_) => Ok(()),
        Part::Clause(clause, index) => {
            used = index + 1;
            check(clause, index)
        }
    })?;
    Ok(used)
}

enum Part {
    Text(char),
    /// And the place of its argument.
    Clause(Clause, usize),
}

fn read<E: From<Fault>>(text: &str, count: usize, mut each: impl FnMut(Part) -> Result<(), E>) -> Result<(), E> {
    let mut chars = text.chars().peekable();
    let mut next = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            each(Part::Text(c))?;
        } else if chars.next_if_eq(&'%').is_some() {
            each(Part::Text('%'))?;
        } else if next >= count {
            return Err(Fault::Error(format!("index {next} out of range")).into());
        } else {
            each(Part::Clause(clause(&mut chars)?, next))?;
            next += 1;
        }
    }
    Ok(())
}

fn clause(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Clause, Fault> {
    let unparsed = |why: String| Fault::Error(format!("could not parse formatting clause: {why}"));
    if chars.peek().is_none() {
        return Err(Fault::new("unexpected end of string"));
    }
    let precision = match chars.next_if_eq(&'.') {
        Some(_) => Some(precision(chars).map_err(|why| unparsed(format!("error while parsing precision: {why}")))?),
        None => None,
    };
    match chars.next() {
        Some(verb @ ('s' | 'd' | 'f' | 'e' | 'b' | 'x' | 'X' | 'o')) => Ok(Clause { verb, precision }),
        other => {
            Err(unparsed(format!("unrecognized formatting clause \"{}\"", other.map(String::from).unwrap_or_default())))
        }
    }
}

fn precision(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<usize, String> {
    let mut digits = String::new();
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    if chars.peek().is_none() {
        return Err("could not find end of precision specifier".to_owned());
    }
    let why = if digits.is_empty() { "invalid syntax" } else { "value out of range" };
    let wrong = |_| format!("error while converting precision to integer: strconv.Atoi: parsing {digits:?}: {why}");
    digits.parse().map_err(wrong)
}

impl Clause {
    /// What it says of an argument that it does not take.
    pub(in crate::cel) fn refuses(self, given: &str) -> String {
        let what = match self.verb {
            's' => {
                "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, \
                 and timestamps"
            }
            'd' => "decimal clause can only be used on integers",
            'f' => "fixed-point clause can only be used on doubles",
            'e' => "scientific clause can only be used on doubles",
            'b' => "only integers and bools can be formatted as binary",
            'o' => "octal clause can only be used on integers",
            _ => "only integers, byte buffers, and strings can be formatted as hex",
        };
        format!("{what}, was given {given}")
    }

    /// It shows anything that can be shown, and what is within lists and maps.
    pub(in crate::cel) fn is_text(self) -> bool {
        self.verb == 's'
    }

    /// An argument of this type may do; texts may name numbers that have no digits.
    pub(in crate::cel) fn takes(self, ty: &Type) -> bool {
        match (self.verb, ty) {
            (_, Type::Dyn) => true,
            ('s', Type::Struct(_) | Type::Opaque(_) | Type::Optional(_) | Type::Error) => false,
            ('s', _) | ('d' | 'o' | 'b' | 'x' | 'X', Type::Int | Type::Uint) => true,
            ('f' | 'e', Type::Double | Type::String) | ('b', Type::Bool) => true,
            ('x' | 'X', Type::String | Type::Bytes) => true,
            _ => false,
        }
    }
}

fn fill(clause: Clause, value: &Value<'_>) -> Result<String, String> {
    let refuse = || clause.refuses(value.type_name());
    let precision = clause.precision.unwrap_or(6).min(MAX_PRECISION);
    match (clause.verb, value) {
        ('s', value) => try_show(value),
        ('d', Value::Int(n)) => Ok(n.to_string()),
        ('d', Value::Uint(n)) => Ok(n.to_string()),
        ('f' | 'e', Value::String(text)) => match text.as_ref() {
            "NaN" => Ok("NaN".to_owned()),
            "Infinity" | "-Infinity" => Ok(text.replace("Infinity", "∞")),
            _ => Err(refuse()),
        },
        ('f', Value::Double(n)) if !n.is_finite() => Ok(double_name(*n)),
        ('f', Value::Double(n)) => Ok(grouped(&format!("{n:.precision$}"))),
        ('e', value) => scientific(value, precision).ok_or_else(refuse),
        ('b', value) => binary(value).ok_or_else(refuse),
        ('o', Value::Int(n)) => Ok(signed(*n, |n| format!("{n:o}"))),
        ('o', Value::Uint(n)) => Ok(format!("{n:o}")),
        ('x', value) => hex(value, false).ok_or_else(refuse),
        ('X', value) => hex(value, true).ok_or_else(refuse),
        _ => Err(refuse()),
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

/// As `%s` writes it; what has no such form is named.
pub(in crate::cel) fn show(value: &Value<'_>) -> String {
    try_show(value).unwrap_or_else(|_| to_text(value).unwrap_or_else(|| value.type_name().to_owned()))
}

fn try_show(value: &Value<'_>) -> Result<String, String> {
    let refused = || Err(Clause { verb: 's', precision: None }.refuses(value.type_name()));
    match value {
        Value::Null => Ok("null".to_owned()),
        Value::Double(n) => Ok(double_text(*n)),
        Value::Bytes(bytes) => String::from_utf8(bytes.to_vec()).map_err(|_| {
            "could not convert argument \"invalid UTF-8 in bytes, cannot convert to string\" to string".to_owned()
        }),
        Value::List(list) => {
            let parts: Vec<String> = list.iter().map(|element| literal(&element)).collect::<Result<_, _>>()?;
            Ok(format!("[{}]", parts.join(", ")))
        }
        Value::Map(map) => {
            let entry = |(key, value): &(Value<'_>, Value<'_>)| Ok(format!("{}:{}", key_text(key)?, literal(value)?));
            let mut parts = map.entries().iter().map(entry).collect::<Result<Vec<_>, String>>()?;
            parts.sort();
            Ok(format!("{{{}}}", parts.join(", ")))
        }
        Value::Opaque(_) | Value::Optional(_) | Value::Struct(_) => refused(),
        other => to_text(other).map_or_else(refused, Ok),
    }
}

fn key_text(key: &Value<'_>) -> Result<String, String> {
    match key {
        Value::Double(_) => Err("no formatting function for map key of type double".to_owned()),
        key => literal(key),
    }
}

/// As a value stands inside of a list or map: as an expression would write it.
fn literal(value: &Value<'_>) -> Result<String, String> {
    Ok(match value {
        Value::String(text) => strings::quote(text),
        Value::Bytes(_) => format!("b{}", strings::quote(&try_show(value)?)),
        Value::Double(n) if n.is_finite() => format!("{n:.6}"),
        Value::Double(n) => strings::quote(&double_text(*n)),
        Value::Timestamp(..) => format!("timestamp({})", strings::quote(&try_show(value)?)),
        Value::Duration(_) => format!("duration({})", strings::quote(&try_show(value)?)),
        Value::Opaque(_) | Value::Optional(_) | Value::Struct(_) => {
            return Err(format!("no formatting function for {}", value.type_name()));
        }
        other => try_show(other)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_shown_is_refused_in_words() {
        let one = |text: &str, value: Value<'_>| {
            let Value::List(list) = Value::list(vec![value]) else { unreachable!() };
            format(text, &list).map_err(|fault| fault.to_string())
        };
        for (text, value, want) in [
            ("%s", Value::Double(1e18), Ok("1e+18")),
            ("%s", Value::list(vec![Value::Double(f64::INFINITY)]), Ok("[\"+Inf\"]")),
            (
                "%d",
                Value::Double(1.0),
                Err("error during formatting: decimal clause can only be used on integers, was given double"),
            ),
            (
                "%x",
                Value::Bool(true),
                Err(
                    "error during formatting: only integers, byte buffers, and strings can be formatted as hex, was given bool",
                ),
            ),
            ("%z", Value::Null, Err("could not parse formatting clause: unrecognized formatting clause \"z\"")),
            ("%", Value::Null, Err("unexpected end of string")),
            ("%s %s", Value::Null, Err("index 1 out of range")),
            (
                "%.s",
                Value::Null,
                Err(
                    "could not parse formatting clause: error while parsing precision: error while converting precision to integer: strconv.Atoi: parsing \"\": invalid syntax",
                ),
            ),
            (
                "%.2",
                Value::Null,
                Err(
                    "could not parse formatting clause: error while parsing precision: could not find end of precision specifier",
                ),
            ),
        ] {
            assert_eq!(one(text, value), want.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }
}
