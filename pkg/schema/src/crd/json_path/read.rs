// SPDX-License-Identifier: Apache-2.0
//! From the text of a path to its steps.

use knarr_types::tree::{Number, Value};

use super::{Filter, JsonPath, Step, To};

/// Reads what stands in braces.
pub(super) fn path(text: &str) -> Result<JsonPath, String> {
    let mut reader = Reader { rest: text, steps: Vec::new() };
    while !reader.rest.is_empty() && !reader.rest.starts_with('}') {
        reader.step()?;
    }
    Ok(JsonPath(reader.steps))
}

struct Reader<'t> {
    rest: &'t str,
    steps: Vec<Step>,
}

impl<'t> Reader<'t> {
    fn step(&mut self) -> Result<(), String> {
        if let Some(inside) = self.rest.strip_prefix("[?(") {
            return self.filter(inside);
        }
        if let Some(rest) = self.rest.strip_prefix("..") {
            return self.descent(rest);
        }
        let Some(c) = self.rest.chars().next() else { return Ok(()) };
        let behind = &self.rest[c.len_utf8()..];
        match c {
            '\r' | '\n' => return Err("unclosed action".to_owned()),
            ' ' | '@' | '$' => self.rest = behind,
            '[' => return self.brackets(behind),
            '"' | '\'' => return self.quoted(c, behind),
            '.' => self.field(behind),
            '+' | '-' => return self.number(),
            c if c.is_numeric() => return self.number(),
            c if is_word(c) => self.word(),
            c => return Err(format!("unrecognized character in action: U+{:04X} '{c}'", u32::from(c))),
        }
        Ok(())
    }

    /// Takes what comes before the first character that ends a name; a backslash protects the next one.
    fn name(&mut self, from: &'t str) -> &'t str {
        let mut protected = false;
        let end = from.char_indices().find(|(_, c)| {
            let ends = !protected && ends_name(*c);
            protected = !protected && *c == '\\';
            ends
        });
        let (name, rest) = from.split_at(end.map_or(from.len(), |(at, _)| at));
        self.rest = rest;
        name
    }

    fn field(&mut self, from: &'t str) {
        let name = self.name(from);
        self.steps.push(if name == "*" { Step::All } else { Step::Field(name.replace('\\', "")) });
    }

    fn descent(&mut self, rest: &'t str) -> Result<(), String> {
        if self.steps.last() == Some(&Step::Below) {
            return Err("invalid multiple recursive descent".to_owned());
        }
        self.steps.push(Step::Below);
        self.rest = rest;
        if rest.starts_with(is_word) {
            self.field(rest);
        }
        Ok(())
    }

    fn word(&mut self) {
        let end = self.rest.find(ends_name).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.steps.push(match word {
            "true" => Step::Constant(Value::Bool(true)),
            "false" => Step::Constant(Value::Bool(false)),
            word => Step::Word(word.to_owned()),
        });
    }

    fn number(&mut self) -> Result<(), String> {
        let sign = usize::from(self.rest.starts_with(['+', '-']));
        let digits = self.rest[sign..].find(|c: char| c != '.' && !c.is_numeric());
        let (text, rest) = self.rest.split_at(digits.map_or(self.rest.len(), |at| at + sign));
        self.rest = rest;
        let whole = text.parse::<i64>().ok().map(Number::from);
        let number = whole.or_else(|| text.parse::<f64>().ok().and_then(Number::from_f64));
        let number = number.ok_or_else(|| format!("cannot parse number {text}"))?;
        self.steps.push(Step::Constant(Value::Number(number)));
        Ok(())
    }

    fn quoted(&mut self, quote: char, from: &'t str) -> Result<(), String> {
        let ends = |(at, c): &(usize, char)| *c == '\n' || (*c == quote && !from[..*at].ends_with('\\'));
        let end = from.char_indices().find(ends).filter(|(_, c)| *c == quote);
        let (end, _) = end.ok_or("unterminated quoted string")?;
        let text = unescaped(&from[..end])
            .ok_or_else(|| format!("unquote string {quote}{}{quote} error invalid syntax", &from[..end]))?;
        self.steps.push(Step::Constant(Value::from(text)));
        self.rest = &from[end + 1..];
        Ok(())
    }

    fn brackets(&mut self, from: &'t str) -> Result<(), String> {
        let end = from.find([']', '\n']).filter(|at| from[*at..].starts_with(']')).ok_or("unterminated array")?;
        let inside = &from[..end];
        self.rest = &from[end + 1..];
        if inside.contains(',') {
            let paths = inside.split(',').map(|part| path(&format!("[{}]", part.trim_matches(' '))));
            self.steps.push(Step::Union(paths.collect::<Result<_, _>>()?));
            return Ok(());
        }
        let key = inside.strip_prefix('\'').and_then(|key| key.strip_suffix('\'')).filter(|key| !key.contains('\''));
        match key {
            Some(key) => self.steps.extend(path(&format!(".{key}"))?.0),
            None => self.steps.push(slice(if inside == "*" { ":" } else { inside })?),
        }
        Ok(())
    }

    /// `@.type=="Ready")]`: brackets in the text on either side do not end it.
    fn filter(&mut self, from: &'t str) -> Result<(), String> {
        let (mut pair, mut closed, mut end) = (None, false, None);
        let mut before = '(';
        for (at, c) in from.char_indices() {
            match c {
                '\n' => break,
                '"' | '\'' if pair.is_none() => pair = Some(c),
                '"' | '\'' if before != '\\' && Some(c) == pair => closed = true,
                ')' if pair.is_some() == closed => {
                    end = Some(at);
                    break;
                }
                _ => {}
            }
            before = c;
        }
        let end = end.ok_or("unterminated filter")?;
        self.rest = from[end + 1..].strip_prefix(']').ok_or("unclosed array expect ]")?;
        self.steps.push(Step::Where(compared(&from[..end])?));
        Ok(())
    }
}

fn compared(text: &str) -> Result<Filter, String> {
    const SIGNS: [char; 4] = ['!', '<', '>', '='];
    let at = text.find(SIGNS).filter(|at| *at > 0);
    let parts = at.and_then(|at| {
        let (left, rest) = text.split_at(at);
        let end = rest.find(|c| !SIGNS.contains(&c)).unwrap_or(rest.len());
        // Something must be left for the other side: the sign gives up what it needs.
        let end = if end == rest.len() { end - 1 } else { end };
        (end > 0).then(|| (left, &rest[..end], &rest[end..]))
    });
    Ok(match parts {
        Some((left, sign, right)) => Filter { left: path(left)?, compared: Some((sign.to_owned(), path(right)?)) },
        None => Filter { left: path(text)?, compared: None },
    })
}

/// `2`, `1:`, `:-1`, `::2`
fn slice(text: &str) -> Result<Step, String> {
    let wrong = || format!("invalid array index {text}");
    let parts: Vec<&str> = text.split(':').collect();
    let read = |part: &str| match part {
        "" => Ok(None),
        "-" => Err("array index - is not a number".to_owned()),
        part => {
            let digits = part.strip_prefix('-').unwrap_or(part);
            let plain = digits.bytes().all(|b| b.is_ascii_digit());
            let parsed = plain.then(|| part.parse::<i64>());
            parsed.ok_or_else(wrong)?.map(Some).map_err(|_| format!("array index {part} is not a number"))
        }
    };
    match parts[..] {
        [from] => Ok(Step::Slice { from: read(from)?, to: To::Next, step: None }),
        [from, to] => Ok(Step::Slice { from: read(from)?, to: read(to)?.map_or(To::End, To::Given), step: None }),
        [from, to, step] => {
            Ok(Step::Slice { from: read(from)?, to: read(to)?.map_or(To::End, To::Given), step: read(step)? })
        }
        _ => Err(wrong()),
    }
}

/// A text without its backslashes; nothing where one stands before what it cannot.
fn unescaped(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'v' => '\u{b}',
                c @ ('\\' | '\'' | '"') => c,
                kind @ ('x' | 'u' | 'U') => {
                    let digits: String = chars
                        .by_ref()
                        .take(if kind == 'x' {
                            2
                        } else if kind == 'u' {
                            4
                        } else {
                            8
                        })
                        .collect();
                    char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?
                }
                _ => return None,
            },
            c => c,
        });
    }
    Some(out)
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphabetic() || c.is_numeric()
}

fn ends_name(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n' | '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}')
}
