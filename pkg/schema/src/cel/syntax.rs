// SPDX-License-Identifier: Apache-2.0
//! What upstream's parser misses at a place of the source: what closes the innermost bracket, choice or entry that is
//! open there.

/// What is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Round,
    Square,
    /// Before the colon of an entry.
    Key,
    /// After it.
    Entry,
    /// Between `?` and `:`.
    Choice,
}

/// The token that is missed after this much of an expression, once an operand is complete.
pub(super) fn missed(before: &str) -> &'static str {
    match open(before).last() {
        None => "<EOF>",
        Some(Open::Round) => "')'",
        Some(Open::Square) => "']'",
        Some(Open::Entry) => "'}'",
        Some(Open::Key | Open::Choice) => "':'",
    }
}

fn open(text: &str) -> Vec<Open> {
    let mut stack = Vec::new();
    let mut rest = text;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '"' | '\'' => quoted(rest, matches!(before, 'r' | 'R')),
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            _ => {
                turn(&mut stack, c, before);
                c.len_utf8()
            }
        };
        rest = rest.get(length..).unwrap_or_default();
        before = c;
    }
    stack
}

fn turn(stack: &mut Vec<Open>, c: char, before: char) {
    match c {
        '(' => stack.push(Open::Round),
        '[' => stack.push(Open::Square),
        '{' => stack.push(Open::Key),
        ')' => close(stack, &[Open::Round]),
        ']' => close(stack, &[Open::Square]),
        '}' => close(stack, &[Open::Key, Open::Entry]),
        // Of optional fields, elements and entries.
        '?' if matches!(before, '.' | '[' | '{' | ',') => {}
        '?' => stack.push(Open::Choice),
        ':' => match stack.last_mut() {
            Some(Open::Choice) => drop(stack.pop()),
            Some(entry @ Open::Key) => *entry = Open::Entry,
            _ => {}
        },
        ',' => {
            if let Some(entry @ Open::Entry) = stack.last_mut() {
                *entry = Open::Key;
            }
        }
        _ => {}
    }
}

fn close(stack: &mut Vec<Open>, of: &[Open]) {
    if let Some(at) = stack.iter().rposition(|open| of.contains(open)) {
        stack.truncate(at);
    }
}

/// How long the text is that begins here; one that does not end is a quote alone.
fn quoted(rest: &str, raw: bool) -> usize {
    let quote = &rest[..1];
    let long = quote.repeat(3);
    let (end, opened) = if rest.starts_with(&long) { (long.as_str(), 3) } else { (quote, 1) };
    let mut at = opened;
    while let Some(c) = rest.get(at..).and_then(|left| left.chars().next()) {
        if rest[at..].starts_with(end) {
            return at + end.len();
        }
        let escaped = if c == '\\' && !raw { rest[at + 1..].chars().next().map_or(0, char::len_utf8) } else { 0 };
        at += c.len_utf8() + escaped;
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missed_closes_what_is_open() {
        for (before, want) in [
            ("a ", "<EOF>"),
            ("f('x(')", "<EOF>"),
            ("f(a, [b", "']'"),
            ("f(a, [b]", "')'"),
            ("a ? b", "':'"),
            ("a ? b : c", "<EOF>"),
            ("{a", "':'"),
            ("{?a: b", "'}'"),
            ("{a: b, c", "':'"),
            ("x[?0].?y", "<EOF>"),
            ("r'\\' + (a // )\n", "')'"),
            ("'''a'(''' + [", "']'"),
        ] {
            assert_eq!(missed(before), want, "{before}");
        }
    }
}
