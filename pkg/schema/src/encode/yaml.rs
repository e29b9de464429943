// SPDX-License-Identifier: Apache-2.0
//! A tree as YAML, laid out as upstream does: sorted keys, lists not indented, and quotes around all
//! text that YAML 1.1 would take for something else (`yes`, `1:20`, `2024-01-01`).

use knarr_types::tree::{Map, Value};

/// The document, with a newline at its end.
#[must_use]
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(tree) if !tree.is_empty() => mapping(&mut out, tree, 0),
        Value::Array(items) if !items.is_empty() => sequence(&mut out, items, 0),
        // A block needs an indent, which the document itself has not.
        Value::String(string) => text(&mut out, string, None),
        other => scalar(&mut out, other, 0),
    }
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

fn mapping(out: &mut String, tree: &Map, indent: usize) {
    for (i, (key, value)) in tree.iter().enumerate() {
        if i > 0 {
            new_line(out, indent);
        }
        text(out, key, None);
        out.push(':');
        match value {
            Value::Object(tree) if !tree.is_empty() => {
                new_line(out, indent + 2);
                mapping(out, tree, indent + 2);
            }
            Value::Array(items) if !items.is_empty() => {
                new_line(out, indent);
                sequence(out, items, indent);
            }
            other => {
                out.push(' ');
                scalar(out, other, indent + 2);
            }
        }
    }
}

fn sequence(out: &mut String, items: &[Value], indent: usize) {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            new_line(out, indent);
        }
        out.push_str("- ");
        match item {
            Value::Object(tree) if !tree.is_empty() => mapping(out, tree, indent + 2),
            Value::Array(items) if !items.is_empty() => sequence(out, items, indent + 2),
            other => scalar(out, other, indent + 2),
        }
    }
}

/// A literal block has ended its last line already.
fn new_line(out: &mut String, indent: usize) {
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out.extend(std::iter::repeat_n(' ', indent));
}

fn scalar(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::String(string) => text(out, string, Some(indent)),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
        other => out.push_str(&other.to_string()),
    }
}

/// Text in the plainest style that keeps it; a block, or more lines than one, only where there is an
/// indent for it.
fn text(out: &mut String, text: &str, indent: Option<usize>) {
    if text.contains('\n') {
        match indent.filter(|_| fits_block(text)) {
            Some(indent) => block(out, text, indent),
            None => double_quoted(out, text, indent),
        }
    } else if is_other_type(text) || text.chars().any(is_special) {
        double_quoted(out, text, indent);
    } else if fits_plain(text) {
        folded(out, text, indent, Style::Plain);
    } else {
        out.push('\'');
        folded(out, &text.replace('\'', "''"), indent, Style::Single);
        out.push('\'');
    }
}

fn double_quoted(out: &mut String, text: &str, indent: Option<usize>) {
    // JSON's quoting is YAML's, but for characters that only YAML minds.
    let mut quoted = String::new();
    for c in Value::from(text).to_string().chars() {
        if is_special(c) {
            quoted.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            quoted.push(c);
        }
    }
    out.push('"');
    folded(out, &quoted[1..quoted.len() - 1], indent, Style::Double);
    out.push('"');
}

/// How a scalar that may go over several lines is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
}

/// Writes words; past the best width a space becomes the end of a line, where reading gives it back.
fn folded(out: &mut String, text: &str, indent: Option<usize>, style: Style) {
    const BEST_WIDTH: usize = 80;
    let Some(indent) = indent else { return out.push_str(text) };
    let mut column = out.chars().rev().take_while(|c| *c != '\n').count();
    let mut chars = text.char_indices().peekable();
    let mut spaces = false;
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, c)| *c);
        let inside = at > 0 && next.is_some();
        let may = match style {
            Style::Plain => next != Some(' '),
            Style::Single => inside && next != Some(' '),
            Style::Double => inside,
        };
        if c == ' ' && !spaces && column > BEST_WIDTH && may {
            new_line(out, indent);
            column = indent;
            if next == Some(' ') {
                out.push('\\');
                column += 1;
            }
        } else {
            out.push(c);
            column += 1;
        }
        spaces = c == ' ';
    }
}

fn block(out: &mut String, text: &str, indent: usize) {
    let body = text.trim_end_matches('\n');
    out.push_str(match text.len() - body.len() {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent));
            out.push_str(line);
        }
    }
    out.push('\n');
}

fn fits_block(text: &str) -> bool {
    !text.starts_with([' ', '\n'])
        && !text.contains(" \n")
        && !text.ends_with(' ')
        && !text.chars().any(|c| c != '\n' && is_special(c))
}

/// Characters that only quotes with escapes can hold.
fn is_special(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Text that needs no quotes: it has nothing that starts another construct.
fn fits_plain(text: &str) -> bool {
    let indicator =
        text.starts_with(['#', ',', '[', ']', '{', '}', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`', ' ']);
    let dash = text == "-" || text == "?" || text.starts_with("- ") || text.starts_with("? ");
    let marker = text.starts_with("---") || text.starts_with("...");
    let colon = text.contains(": ") || text.ends_with(':');
    !(indicator || dash || marker || colon || text.contains(" #") || text.ends_with(' '))
}

/// Text that YAML 1.1 reads as null, a boolean, a number or a time.
fn is_other_type(text: &str) -> bool {
    const WORDS: [&str; 12] = ["", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", "<<"];
    let lower = text.to_ascii_lowercase();
    WORDS.contains(&lower.as_str()) || is_number(&lower) || is_time(text)
}

fn is_number(lower: &str) -> bool {
    let unsigned = lower.strip_prefix(['+', '-']).unwrap_or(lower);
    if matches!(unsigned, ".inf" | ".nan") {
        return true;
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    let digits = unsigned.replace('_', "");
    let based = ["0x", "0o", "0b"]
        .iter()
        .any(|prefix| digits.strip_prefix(prefix).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit())));
    based || is_of_base_sixty(&digits) || digits.parse::<f64>().is_ok()
}

/// Hours, minutes and seconds: `1:20`, `1:20:30.5`.
fn is_of_base_sixty(digits: &str) -> bool {
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let Some((whole, rest)) = digits.split_once(':') else { return false };
    let (rest, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let below_sixty = |part: &str| all_digits(part) && matches!(part.as_bytes(), [_] | [b'0'..=b'5', _]);
    all_digits(whole) && all_digits(fraction) && rest.split(':').all(below_sixty)
}

/// `2024-1-2`, alone or with a time behind it.
fn is_time(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(day)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let digits = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
    };
    let end = day.find(|c: char| !c.is_ascii_digit()).unwrap_or(day.len());
    let tail = day[end..].chars().next();
    digits(year, 4..=4)
        && digits(month, 1..=2)
        && digits(&day[..end], 1..=2)
        && matches!(tail, None | Some('T' | 't' | ' '))
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_layout_is_upstreams() {
        let object = json!({"a": "1", "b": [{"x": 1, "y": [1, [2, 3]]}, "s", [], {}], "c": {"d": {}, "f:m": {}, ".": {}},
            "e": "x\ny\n", "f": "x\ny", "t": "2024-01-01T00:00:00Z", "v": "a: b", "w": "it's", "z": null});
        let want = "a: \"1\"\nb:\n- x: 1\n  \"y\":\n  - 1\n  - - 2\n    - 3\n- s\n- []\n- {}\nc:\n  .: {}\n  d: {}\n  f:m: {}\n\
            e: |\n  x\n  y\nf: |-\n  x\n  y\nt: \"2024-01-01T00:00:00Z\"\nv: 'a: b'\nw: it's\nz: null\n";
        assert_eq!(to_yaml(&object), want);
        assert_eq!(to_yaml(&json!({})), "{}\n");
    }

    #[test]
    fn long_text_is_folded_at_a_space() {
        let words = "word ".repeat(20);
        let long = words.trim_end();
        let line = "word ".repeat(16);
        assert_eq!(to_yaml(&json!({ "m": long })), format!("m: {}\n  word word word word\n", line.trim_end()));
        let value = json!({ "m": format!("a: {long}"), "n": format!("{long}  x\u{7f} y"), "o": [long] });
        let text = to_yaml(&value);
        assert!(text.lines().all(|line| line.len() <= 88), "{text}");
        assert_eq!(crate::decode::yaml::first_document(text.as_bytes()).map(|document| document.value), Ok(value));
    }

    #[test]
    fn text_that_looks_like_another_type_is_quoted() {
        for text in [
            "yes",
            "NO",
            "1",
            "1.5",
            "0x1f",
            "1_000",
            "1:20",
            "1:20:30.5",
            "2024-01-02",
            ".5",
            "~",
            "",
            "Null",
            "+.inf",
            "1e3",
        ] {
            assert!(to_yaml(&json!(text)).starts_with('"'), "{text}");
        }
        for text in ["yess", "v1", "1.2.3", "10.0.0.1", "a-b", "1Gi", "500m", "apps/v1", "img:1", "10.0.0.1:80", "1:99"]
        {
            assert_eq!(to_yaml(&json!(text)), format!("{text}\n"));
        }
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ -~\n\té]{0,12}".prop_map(Value::from),
            "[ -~é]{70,120}".prop_map(Value::from),
            prop::sample::select(vec![
                "- a", "a:", "#x", "a #b", "---", "|", "\n", " a", "a\n b\n", "a\n\n", "? ", "%", "1:2", "é\u{7f}"
            ])
            .prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[ -~\n]{0,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in tree()) {
            let text = to_yaml(&value);
            let read = crate::decode::yaml::first_document(text.as_bytes());
            prop_assert_eq!(read.map(|document| document.value), Ok(value), "{}", text);
        }
    }
}
