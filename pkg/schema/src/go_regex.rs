// SPDX-License-Identifier: Apache-2.0
//! Regular expressions as Go reads them: its syntax is checked in its words, and written as the crate `regex`
//! has it. There `\d`, `\w`, `\s` and `\b` know more than ASCII, classes nest, and `{` is never plain text.
//! <https://pkg.go.dev/regexp/syntax>

use regex::{Regex, RegexBuilder};

/// How often something may be asked to repeat.
const MOST_REPEATS: u32 = 1000;
/// What one compiled expression may take.
const MAX_BYTES: usize = 8 << 20;

/// The classes that are named in brackets: `[[:alpha:]]`.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// Compiles an expression.
///
/// # Errors
/// What Go says: ``error parsing regexp: missing closing ]: `[a` ``.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let written = translate(pattern)?;
    let built = RegexBuilder::new(&written).size_limit(MAX_BYTES).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => said("expression too large", pattern),
        _ => said("invalid character class range", pattern),
    })
}

fn said(what: &str, shown: &str) -> String {
    format!("error parsing regexp: {what}: `{shown}`")
}

/// The expression in the syntax of the crate `regex`.
fn translate(pattern: &str) -> Result<String, String> {
    let mut reader = Reader { whole: pattern, rest: pattern, out: String::new(), open: 0, argument: vec![false] };
    let mut repeated: Option<&str> = None;
    while let Some(c) = reader.rest.chars().next() {
        repeated = reader.item(c, repeated)?;
    }
    if reader.open > 0 {
        return Err(said("missing closing )", pattern));
    }
    Ok(reader.out)
}

struct Reader<'p> {
    whole: &'p str,
    rest: &'p str,
    out: String,
    /// How many groups are open.
    open: usize,
    /// For each of them, and for the whole, whether there is something that could repeat.
    argument: Vec<bool>,
}

impl<'p> Reader<'p> {
    /// The next item; gives where it began if it was a repetition.
    fn item(&mut self, c: char, repeated: Option<&'p str>) -> Result<Option<&'p str>, String> {
        let before = self.rest;
        match c {
            '(' => return self.group().map(|()| None),
            ')' if self.open == 0 => return Err(said("unexpected )", self.whole)),
            ')' => {
                self.open -= 1;
                self.argument.pop();
                self.copy(1);
            }
            '|' => {
                self.copy(1);
                self.set_argument(false);
                return Ok(None);
            }
            '*' | '+' | '?' => return self.repeat(1, before, repeated).map(Some),
            '{' => match counted(before) {
                Some((least, most, length)) => {
                    if least > MOST_REPEATS || most.is_some_and(|most| most > MOST_REPEATS || most < least) {
                        return Err(said("invalid repeat count", &before[..length]));
                    }
                    return self.repeat(length, before, repeated).map(Some);
                }
                None => {
                    self.out.push_str("\\{");
                    self.rest = &before[1..];
                }
            },
            '[' => self.class()?,
            '\\' => self.escape()?,
            c => self.copy(c.len_utf8()),
        }
        self.set_argument(true);
        Ok(None)
    }

    fn copy(&mut self, bytes: usize) {
        self.out.push_str(&self.rest[..bytes]);
        self.rest = &self.rest[bytes..];
    }

    fn set_argument(&mut self, there: bool) {
        if let Some(argument) = self.argument.last_mut() {
            *argument = there;
        }
    }

    fn repeat(&mut self, length: usize, before: &'p str, repeated: Option<&'p str>) -> Result<&'p str, String> {
        let lazy = usize::from(before[length..].starts_with('?'));
        if let Some(first) = repeated {
            let end = first.len() - before.len() + length + lazy;
            return Err(said("invalid nested repetition operator", &first[..end]));
        }
        if self.argument.last() != Some(&true) {
            return Err(said("missing argument to repetition operator", &before[..length + lazy]));
        }
        self.copy(length + lazy);
        Ok(before)
    }

    fn group(&mut self) -> Result<(), String> {
        let start = self.rest;
        if let Some(rest) = start.strip_prefix("(?P<").or_else(|| start.strip_prefix("(?<")) {
            let bad = |shown: &str| Err(said("invalid named capture", shown));
            let Some(end) = rest.find('>') else { return bad(start) };
            let is_name = end > 0 && rest[..end].chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !is_name {
                return bad(&start[..start.len() - rest.len() + end + 1]);
            }
            // Nothing asks for groups by name.
            self.out.push('(');
            self.rest = &rest[end + 1..];
        } else if start.starts_with("(?") {
            if !self.flags()? {
                return Ok(());
            }
        } else {
            self.copy(1);
        }
        self.open += 1;
        self.argument.push(false);
        // To those around, a group is something that could repeat once it is closed.
        let around = self.argument.len() - 2;
        self.argument[around] = true;
        Ok(())
    }

    /// `(?i)` or `(?i:`; gives whether a group begins.
    fn flags(&mut self) -> Result<bool, String> {
        let start = self.rest;
        let (mut negated, mut seen) = (false, false);
        for (at, c) in start.char_indices().skip(2) {
            match c {
                'i' | 'm' | 's' | 'U' => seen = true,
                '-' if !negated => (negated, seen) = (true, false),
                ':' | ')' if seen || !negated => {
                    let empty = at == 2 && c == ')';
                    self.copy(at + 1);
                    if empty {
                        self.out.truncate(self.out.len() - 3);
                    }
                    return Ok(c == ':');
                }
                _ => return Err(said("invalid or unsupported Perl syntax", &start[..at + c.len_utf8()])),
            }
        }
        Err(said("missing closing )", self.whole))
    }

    fn escape(&mut self) -> Result<(), String> {
        let start = self.rest;
        match start[1..].chars().next() {
            Some('A' | 'z' | 'B') => self.copy(2),
            Some('b') => self.replace(2, "(?-u:\\b)"),
            Some('Q') => {
                let text = &start[2..];
                let end = text.find("\\E").unwrap_or(text.len());
                self.out.push_str(&regex::escape(&text[..end]));
                self.rest = text[end..].strip_prefix("\\E").unwrap_or_default();
            }
            Some(c) if perl(c).is_some() => self.replace(2, &format!("[{}]", perl(c).unwrap_or_default())),
            Some('p' | 'P') => self.property()?,
            _ => {
                let (c, length) = escaped(start)?;
                self.replace(length, &literal(c));
            }
        }
        Ok(())
    }

    fn replace(&mut self, bytes: usize, with: &str) {
        self.out.push_str(with);
        self.rest = &self.rest[bytes..];
    }

    /// `\pL`, `\p{Greek}`
    fn property(&mut self) -> Result<(), String> {
        let start = self.rest;
        let bad = |shown: &str| Err(said("invalid character class range", shown));
        let length = match start[2..].chars().next() {
            None => return bad(start),
            Some('{') => match start.find('}') {
                Some(end) => end + 1,
                None => return bad(start),
            },
            Some(c) => 2 + c.len_utf8(),
        };
        if Regex::new(&start[..length]).is_err() {
            return bad(&start[..length]);
        }
        self.copy(length);
        Ok(())
    }

    fn class(&mut self) -> Result<(), String> {
        let whole = self.rest;
        self.copy(1);
        if self.rest.starts_with('^') {
            self.copy(1);
        }
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            if self.rest.starts_with("[:")
                && let Some(end) = self.rest.find(":]")
            {
                let name = &self.rest[..end + 2];
                if !POSIX.contains(&name[2..end].trim_start_matches('^')) {
                    return Err(said("invalid character class range", name));
                }
                self.copy(end + 2);
                continue;
            }
            let mut next = self.rest.chars();
            match (next.next(), next.next()) {
                (Some('\\'), Some('p' | 'P')) => self.property()?,
                (Some('\\'), Some(c)) if perl(c).is_some() => {
                    self.replace(2, &format!("[{}]", perl(c).unwrap_or_default()));
                }
                _ => self.range(whole)?,
            }
        }
        self.copy(1);
        Ok(())
    }

    /// One character of a class, or all between two.
    fn range(&mut self, class: &str) -> Result<(), String> {
        let start = self.rest;
        let (low, length) = class_char(start, class)?;
        let mut end = length;
        let mut high = low;
        if start[end..].starts_with('-') && start.len() > end + 1 && !start[end + 1..].starts_with(']') {
            let (c, length) = class_char(&start[end + 1..], class)?;
            (high, end) = (c, end + 1 + length);
            if high < low {
                return Err(said("invalid character class range", &start[..end]));
            }
        }
        let written = if low == high { literal(low) } else { format!("{}-{}", literal(low), literal(high)) };
        self.replace(end, &written);
        Ok(())
    }
}

fn class_char(text: &str, class: &str) -> Result<(char, usize), String> {
    match text.chars().next() {
        None => Err(said("missing closing ]", class)),
        Some('\\') => escaped(text),
        Some(c) => Ok((c, c.len_utf8())),
    }
}

/// The class of a letter behind a backslash, without brackets.
fn perl(c: char) -> Option<&'static str> {
    Some(match c {
        'd' => "0-9",
        'D' => "^0-9",
        's' => "\\t\\n\\f\\r ",
        'S' => "^\\t\\n\\f\\r ",
        'w' => "0-9A-Za-z_",
        'W' => "^0-9A-Za-z_",
        _ => return None,
    })
}

/// The character that an escape stands for, and how long it is.
fn escaped(text: &str) -> Result<(char, usize), String> {
    let mut chars = text[1..].chars();
    let Some(c) = chars.next() else { return Err(said("trailing backslash at end of expression", "")) };
    let bad = |length: usize| Err(said("invalid escape sequence", &text[..length]));
    let digits = |from: usize, most: usize, radix: u32| {
        text[from..].chars().take(most).take_while(|c| c.is_digit(radix)).count()
    };
    let value = |from: usize, length: usize, radix: u32| {
        u32::from_str_radix(&text[from..from + length], radix).ok().and_then(char::from_u32)
    };
    match c {
        '0'..='7' => match digits(1, 3, 8) {
            1 if c != '0' => bad(2),
            length => value(1, length, 8).map_or_else(|| bad(1 + length), |c| Ok((c, 1 + length))),
        },
        'x' if text[2..].starts_with('{') => {
            let length = digits(3, 8, 16);
            let closed = text[3 + length..].starts_with('}');
            let shown = (4 + length).min(text.len());
            let c = (closed && length > 0).then(|| value(3, length, 16)).flatten();
            c.map_or_else(|| bad(shown), |c| Ok((c, 4 + length)))
        }
        'x' if digits(2, 2, 16) == 2 => value(2, 2, 16).map_or_else(|| bad(4), |c| Ok((c, 4))),
        'x' => bad((2 + digits(2, 2, 16) + 1).min(text.len())),
        'a' => Ok(('\u{7}', 2)),
        'f' => Ok(('\u{c}', 2)),
        'n' => Ok(('\n', 2)),
        'r' => Ok(('\r', 2)),
        't' => Ok(('\t', 2)),
        'v' => Ok(('\u{b}', 2)),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok((c, 2)),
        c => bad(1 + c.len_utf8()),
    }
}

fn literal(c: char) -> String {
    if c.is_alphanumeric() { c.to_string() } else { format!("\\x{{{:X}}}", u32::from(c)) }
}

/// `{2}`, `{2,}`, `{2,3}`: the bounds and the length; anything else is plain text.
fn counted(text: &str) -> Option<(u32, Option<u32>, usize)> {
    let end = text.find('}')?;
    let number = |digits: &str| {
        let plain = digits == "0" || !digits.starts_with('0');
        let digits = (plain && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then_some(digits)?;
        Some(digits.parse().unwrap_or(u32::MAX))
    };
    let inside = &text[1..end];
    let (least, most) = match inside.split_once(',') {
        None => (number(inside)?, Some(number(inside)?)),
        Some((least, "")) => (number(least)?, None),
        Some((least, most)) => (number(least)?, Some(number(most)?)),
    };
    Some((least, most, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_match_as_in_go() {
        for (pattern, yes, no) in [
            (r"^\d+$", "12", "٣"),
            (r"^\w+$", "a_1", "é"),
            (r"^\S+\s$", "a ", "a\u{a0}"),
            (r"^[^[\]]+$", "a", "[a]"),
            (r"^[a[b]$", "[", "]"),
            ("^[]a]$", "]", "b"),
            (r"^\${a}{2}$", "${a}}", "${a}"),
            (r"^a{,2}$", "a{,2}", "aa"),
            (r"^a{2}$", "aa", "a"),
            (r"^\Qa.b\E$", "a.b", "axb"),
            (r"^(?P<n>a)(?i:B)$", "ab", "aB "),
            (r"^[a&&b]+$", "&", "x"),
            (r"^[\d\-.]+$", "1-.", "a"),
            (r"^\pL[[:digit:]]\x41\101$", "é1AA", "é1AB"),
            (r"\bfoo\b", "a foo b", "afoo"),
            (r"^(|a)$", "", "b"),
            (r"^\<$", "<", "a"),
            (r"(?i)^ab$", "AB", "a"),
            (r"^[\w-]+$", "a-b", "a b"),
        ] {
            let regex = compile(pattern).unwrap_or_else(|why| panic!("{pattern}: {why}"));
            assert!(regex.is_match(yes), "{pattern} {yes}");
            assert!(!regex.is_match(no), "{pattern} {no}");
        }
    }

    #[test]
    fn faults_are_told_as_go_does() {
        for (pattern, want) in [
            ("a[b", "missing closing ]: `[b`"),
            ("(a", "missing closing ): `(a`"),
            ("a)", "unexpected ): `a)`"),
            ("*a", "missing argument to repetition operator: `*`"),
            ("(|+?)", "missing argument to repetition operator: `+?`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a+?+", "invalid nested repetition operator: `+?+`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("a{3,2}", "invalid repeat count: `{3,2}`"),
            ("a(?=b)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
            ("(?<=a)b", "invalid named capture: `(?<=a)b`"),
            ("(?P<a-b>c)", "invalid named capture: `(?P<a-b>`"),
            (r"(a)\1", r"invalid escape sequence: `\1`"),
            (r"a\Z", r"invalid escape sequence: `\Z`"),
            ("a\\", "trailing backslash at end of expression: ``"),
            ("[b-a]", "invalid character class range: `b-a`"),
            ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
            (r"\p{Foo}", r"invalid character class range: `\p{Foo}`"),
        ] {
            assert_eq!(compile(pattern).unwrap_err(), format!("error parsing regexp: {want}"), "{pattern}");
        }
    }
}
