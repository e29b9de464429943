// SPDX-License-Identifier: Apache-2.0
//! YAML as kubectl writes it: the style of Go's yaml.v2, so that files and diffs of both agree.
//!
//! Keys in order, lists not indented, strings bare where they stay strings, double-quoted where they would
//! not, lines folded after 80 columns.

use serde_json::{Map, Value};

/// A line is folded at the first blank after so many columns.
const WIDTH: usize = 80;

/// The document, with a line end.
pub(crate) fn document(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => mapping(map, 0, false, &mut text),
        Value::Array(items) if !items.is_empty() => sequence(items, 0, &mut text),
        other => {
            scalar(other, 0, &mut text);
            text.push('\n');
        }
    }
    text
}

/// `inline`: the first key goes on the line that is begun, after `- `.
fn mapping(map: &Map<String, Value>, indent: usize, inline: bool, out: &mut String) {
    let mut keys: Vec<&String> = map.keys().collect();
    keys.sort();
    for (index, key) in keys.into_iter().enumerate() {
        if index > 0 || !inline {
            out.extend(std::iter::repeat_n(' ', indent));
        }
        out.push_str(&one_line(key));
        out.push(':');
        match &map[key] {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                mapping(inner, indent + 2, false, out);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                sequence(items, indent, out);
            }
            other => {
                out.push(' ');
                scalar(other, indent + 2, out);
                out.push('\n');
            }
        }
    }
}

fn sequence(items: &[Value], indent: usize, out: &mut String) {
    for item in items {
        out.extend(std::iter::repeat_n(' ', indent));
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => mapping(map, indent + 2, true, out),
            Value::Array(inner) if !inner.is_empty() => {
                let mut below = String::new();
                sequence(inner, indent + 2, &mut below);
                out.push_str(below.trim_start_matches(' '));
            }
            other => {
                scalar(other, indent + 2, out);
                out.push('\n');
            }
        }
    }
}

/// What fits behind a key or a dash; further lines are indented.
fn scalar(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::String(text) if text.contains('\n') && fits_a_block(text) => block(text, indent, out),
        Value::String(text) => fold(&one_line(text), indent, out),
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        other => out.push_str(&other.to_string()),
    }
}

/// A string on one line: bare, in single quotes, or in double quotes.
fn one_line(text: &str) -> String {
    let odd = |c: char| c.is_control() || matches!(c, '\u{feff}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    if text.chars().any(odd) || is_something_else(text) {
        return double_quoted(text);
    }
    let spaced = text.starts_with(' ') || text.ends_with(' ');
    if spaced || has_indicators(text) { format!("'{}'", text.replace('\'', "''")) } else { text.to_owned() }
}

fn double_quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            '\0' => quoted.push_str("\\0"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            '\u{1b}' => quoted.push_str("\\e"),
            '\u{85}' => quoted.push_str("\\N"),
            '\u{2028}' => quoted.push_str("\\L"),
            '\u{2029}' => quoted.push_str("\\P"),
            c if c.is_control() => quoted.push_str(&format!("\\x{:02X}", u32::from(c))),
            '\u{feff}' => quoted.push_str("\\uFEFF"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether bare text would be read as null, a truth value, a number, a date, or a merge.
fn is_something_else(text: &str) -> bool {
    const WORDS: [&str; 11] = ["y", "yes", "on", "n", "no", "off", "true", "false", "null", "~", "<<"];
    let lower = text.to_lowercase();
    let as_written = [lower.clone(), text.to_uppercase(), capitalized(&lower)].contains(&text.to_owned());
    text.is_empty()
        || (as_written && WORDS.contains(&lower.as_str()))
        || is_number(text)
        || is_base_60(text)
        || is_date(text)
}

fn capitalized(lower: &str) -> String {
    let mut characters = lower.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

fn is_number(text: &str) -> bool {
    let plain = text.replace('_', "");
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(&plain);
    let digits = |text: &str, radix: u32| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    for (prefix, radix) in [("0x", 16), ("0X", 16), ("0o", 8), ("0b", 2)] {
        if let Some(rest) = unsigned.strip_prefix(prefix) {
            return digits(rest, radix);
        }
    }
    if [".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"].contains(&unsigned) {
        return true;
    }
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let all_digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    (!whole.is_empty() || !fraction.is_empty()) && all_digits(whole) && all_digits(fraction) && digits(exponent, 10)
}

/// `1:30` is a number to old readers.
fn is_base_60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = unsigned.split(':');
    let first = parts.next().unwrap_or_default();
    let starts =
        first.starts_with(|c: char| c.is_ascii_digit()) && first.chars().all(|c| c.is_ascii_digit() || c == '_');
    let mut count = 0;
    let sixtieths = parts.all(|part| {
        count += 1;
        let whole = part.split('.').next().unwrap_or_default();
        let small =
            (1..=2).contains(&whole.len()) && (whole.len() == 1 || whole.starts_with(|c| ('0'..='5').contains(&c)));
        small && part.chars().all(|c| c.is_ascii_digit() || c == '.')
    });
    starts && count > 0 && sixtieths
}

/// `2006-01-02`, alone or with a time behind it.
fn is_date(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(rest)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let number = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
    };
    let day_end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (day, time) = rest.split_at(day_end);
    let has_time = time.is_empty() || (time.starts_with(['T', 't', ' ']) && time.contains(':'));
    number(year, 4..=4) && number(month, 1..=2) && number(day, 1..=2) && has_time
}

/// Whether bare text would begin, or hold, something that YAML gives a meaning.
fn has_indicators(text: &str) -> bool {
    let mut characters = text.chars();
    let first = characters.next().unwrap_or(' ');
    let second_is_blank = characters.next().is_none_or(|c| c == ' ');
    "#,[]{}&*!|>'\"%@`".contains(first)
        || ("-?:".contains(first) && second_is_blank)
        || text.starts_with("---")
        || text.starts_with("...")
        || text.contains(": ")
        || text.ends_with(':')
        || text.contains(" #")
}

fn fits_a_block(text: &str) -> bool {
    let odd = |c: char| (c.is_control() && c != '\n' && c != '\t') || c == '\u{feff}';
    !text.chars().any(odd) && !text.contains(" \n") && !text.ends_with(' ') && !text.contains('\t')
}

/// A literal block: `|`, how it begins and ends, and its lines.
fn block(text: &str, indent: usize, out: &mut String) {
    out.push('|');
    if text.starts_with([' ', '\n']) {
        out.push('2');
    }
    if !text.ends_with('\n') {
        out.push('-');
    } else if text == "\n" || text.ends_with("\n\n") {
        out.push('+');
    }
    let body = text.strip_suffix('\n').unwrap_or(text);
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent));
            out.push_str(line);
        }
    }
}

/// Appends a scalar and breaks it at single blanks beyond the width.
fn fold(text: &str, indent: usize, out: &mut String) {
    let mut column = out.chars().rev().take_while(|c| *c != '\n').count();
    let characters: Vec<char> = text.chars().collect();
    let quoted = text.starts_with('"') && text.len() > 1;
    for (index, c) in characters.iter().enumerate() {
        let inner = index > usize::from(quoted) && index + 1 < characters.len() - usize::from(quoted);
        let single =
            *c == ' ' && characters.get(index + 1) != Some(&' ') && characters[index - usize::from(index > 0)] != ' ';
        if column > WIDTH && inner && single {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else {
            out.push(*c);
            column += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn strings_are_quoted_where_they_would_be_something_else() {
        for (text, written) in [
            ("plain text", "plain text"),
            ("", "\"\""),
            ("1", "\"1\""),
            ("1.5e3", "\"1.5e3\""),
            ("0x1F", "\"0x1F\""),
            ("1_000", "\"1_000\""),
            ("1.2.3", "1.2.3"),
            ("true", "\"true\""),
            ("Yes", "\"Yes\""),
            ("yEs", "yEs"),
            ("null", "\"null\""),
            ("2026-11-21T11:26:00Z", "\"2026-11-21T11:26:00Z\""),
            ("2026-11-21", "\"2026-11-21\""),
            ("12:30:45", "\"12:30:45\""),
            ("a: b", "'a: b'"),
            ("a:b", "a:b"),
            ("- x", "'- x'"),
            ("-x", "-x"),
            ("*", "'*'"),
            ("it's", "it's"),
            ("'it", "'''it'"),
            (" x", "' x'"),
            ("a #b", "'a #b'"),
            ("{x}", "'{x}'"),
            ("tab\there", "\"tab\\there\""),
            ("100m", "100m"),
            ("e1", "e1"),
            (".", "."),
        ] {
            assert_eq!(document(&json!(text)), format!("{written}\n"), "{text:?}");
        }
    }

    #[test]
    fn documents_are_laid_out_as_kubectl_does() {
        let object = json!({
            "spec": {"list": [{"b": 1, "a": "x"}, "s", [1, [2]], {}], "none": {}, "empty": [], "null": null},
            "data": {"script": "one\n two\n", "end": "no\nend", "more": "x\n\n", "lead": " a\nb", "trail": "a \nb"},
        });
        let expected = "data:\n  end: |-\n    no\n    end\n  lead: |2-\n     a\n    b\n  more: |+\n    x\n\n  script: |\n    \
                        one\n     two\n  trail: \"a \\nb\"\nspec:\n  empty: []\n  list:\n  - a: x\n    b: 1\n  - s\n  \
                        - - 1\n    - - 2\n  - {}\n  none: {}\n  \"null\": null\n";
        assert_eq!(document(&object), expected);
    }

    #[test]
    fn long_lines_are_folded_at_blanks() {
        let words = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints";
        let text = document(&json!({"a": {"description": words}}));
        assert_eq!(
            text,
            "a:\n  description: Contains a CA bundle that can be used to verify the kube-apiserver\n    \
             when using internal endpoints\n"
        );
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        for value in [
            json!({"a": ["x: y", "#", "~", "0", "", "\n", "a\n\n\nb\n", "é", "\u{1}", "x".repeat(200), "w ".repeat(99)]}),
            json!({"k v": {"1": true, "true": [[], {}]}, "m": "---\na: b\n", "c": "last:", "d": "a\\b\"c"}),
        ] {
            let read: Value = serde_norway::from_str(&document(&value)).unwrap();
            assert_eq!(read, value, "{}", document(&value));
        }
    }
}
