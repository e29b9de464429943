// SPDX-License-Identifier: Apache-2.0
//! What Go's JSON scanner says about text that is not JSON. Only run once a body was refused.

/// Deeper nesting than this is refused.
const MAX_DEPTH: usize = 10_000;

/// What comes next.
#[derive(Clone, Copy, PartialEq)]
enum Expect {
    Value,
    FirstValue,
    FirstKey,
    Key,
    Colon,
    End,
}

/// The words for the first fault; `None` where the text is JSON.
pub(super) fn syntax_error(text: &str) -> Option<String> {
    Scanner { text, at: 0 }.scan().err()
}

/// The first number of a JSON text that prints as that one, as the text has it: `1e3` for `1000.0`.
pub(super) fn literal(text: &str, printed: &str) -> Option<String> {
    let wanted: f64 = printed.parse().ok()?;
    let mut scanner = Scanner { text, at: 0 };
    while let Some(next) = scanner.peek() {
        let start = scanner.at;
        match next {
            '"' => scanner.string().ok()?,
            '-' | '0'..='9' => {
                scanner.number().ok()?;
                let literal = &text[start..scanner.at];
                if literal.parse::<f64>() == Ok(wanted) {
                    return Some(literal.to_owned());
                }
            }
            _ => scanner.at += next.len_utf8(),
        }
    }
    None
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl Scanner<'_> {
    fn scan(&mut self) -> Result<(), String> {
        let mut open: Vec<char> = Vec::new();
        let mut expect = Expect::Value;
        loop {
            self.skip_space();
            if open.is_empty() && expect == Expect::End {
                return if self.peek().is_none() { Ok(()) } else { Err(self.unexpected("after top-level value")) };
            }
            let Some(next) = self.peek() else { return Err("unexpected end of JSON input".into()) };
            expect = match (expect, next) {
                (Expect::FirstValue, ']') | (Expect::FirstKey, '}') => self.close(&mut open),
                (Expect::Value | Expect::FirstValue, _) => self.value(next, &mut open)?,
                (Expect::Key | Expect::FirstKey, '"') => {
                    self.string()?;
                    Expect::Colon
                }
                (Expect::Key | Expect::FirstKey, _) => {
                    return Err(self.unexpected("looking for beginning of object key string"));
                }
                (Expect::Colon, ':') => self.step(Expect::Value),
                (Expect::Colon, _) => return Err(self.unexpected("after object key")),
                (Expect::End, _) => match (open.last(), next) {
                    (Some('{'), ',') => self.step(Expect::Key),
                    (Some('{'), '}') | (Some('['), ']') => self.close(&mut open),
                    (Some('{'), _) => return Err(self.unexpected("after object key:value pair")),
                    (_, ',') => self.step(Expect::Value),
                    _ => return Err(self.unexpected("after array element")),
                },
            };
        }
    }

    fn value(&mut self, next: char, open: &mut Vec<char>) -> Result<Expect, String> {
        match next {
            '{' | '[' => {
                if open.len() == MAX_DEPTH {
                    return Err("exceeded max depth".into());
                }
                open.push(next);
                return Ok(self.step(if next == '{' { Expect::FirstKey } else { Expect::FirstValue }));
            }
            '"' => self.string()?,
            't' => self.literal("true")?,
            'f' => self.literal("false")?,
            'n' => self.literal("null")?,
            '-' | '0'..='9' => self.number()?,
            _ => return Err(self.unexpected("looking for beginning of value")),
        }
        Ok(Expect::End)
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        while let Some(c) = self.peek() {
            match c {
                '"' => {
                    self.at += 1;
                    return Ok(());
                }
                '\\' => {
                    self.at += 1;
                    self.escape()?;
                }
                '\0'..='\x1f' => return Err(self.unexpected("in string literal")),
                _ => self.at += c.len_utf8(),
            }
        }
        Err("unexpected end of JSON input".into())
    }

    fn escape(&mut self) -> Result<(), String> {
        match self.peek() {
            Some('b' | 'f' | 'n' | 'r' | 't' | '\\' | '/' | '"') => self.at += 1,
            Some('u') => {
                self.at += 1;
                for _ in 0..4 {
                    match self.peek() {
                        Some(c) if c.is_ascii_hexdigit() => self.at += 1,
                        Some(_) => return Err(self.unexpected("in \\u hexadecimal character escape")),
                        None => return Err("unexpected end of JSON input".into()),
                    }
                }
            }
            Some(_) => return Err(self.unexpected("in string escape code")),
            None => return Err("unexpected end of JSON input".into()),
        }
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        for (i, expected) in word.char_indices() {
            match self.peek() {
                Some(c) if c == expected => self.at += 1,
                Some(_) if i > 0 => {
                    return Err(self.unexpected(&format!("in literal {word} (expecting {})", quote(expected))));
                }
                _ => return Err("unexpected end of JSON input".into()),
            }
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        if self.peek() == Some('-') {
            self.at += 1;
            self.some_digit("in numeric literal")?;
        }
        if self.peek() == Some('0') {
            self.at += 1;
        } else {
            self.digits();
        }
        if self.peek() == Some('.') {
            self.at += 1;
            self.some_digit("after decimal point in numeric literal")?;
            self.digits();
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            self.at += 1;
            if matches!(self.peek(), Some('+' | '-')) {
                self.at += 1;
            }
            self.some_digit("in exponent of numeric literal")?;
            self.digits();
        }
        Ok(())
    }

    fn some_digit(&self, context: &str) -> Result<(), String> {
        match self.peek() {
            Some('0'..='9') => Ok(()),
            Some(_) => Err(self.unexpected(context)),
            None => Err("unexpected end of JSON input".into()),
        }
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some('0'..='9')) {
            self.at += 1;
        }
    }

    fn close(&mut self, open: &mut Vec<char>) -> Expect {
        open.pop();
        self.step(Expect::End)
    }

    fn step(&mut self, next: Expect) -> Expect {
        self.at += 1;
        next
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\r' | '\n')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn unexpected(&self, context: &str) -> String {
        // Go's scanner goes byte by byte; a byte above ASCII is shown as the Latin-1 character.
        let byte = self.text.as_bytes()[self.at];
        format!("invalid character {} {context}", quote(char::from(byte)))
    }
}

fn quote(c: char) -> String {
    match c {
        '\'' => r"'\''".into(),
        '"' => "'\"'".into(),
        '\\' => r"'\\'".into(),
        '\n' => r"'\n'".into(),
        '\r' => r"'\r'".into(),
        '\t' => r"'\t'".into(),
        c if c.is_control() => format!("'\\x{:02x}'", u32::from(c)),
        c => format!("'{c}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_go() {
        for (text, want) in [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            ("{\"a\":}", "invalid character '}' looking for beginning of value"),
            ("{broken", "invalid character 'b' looking for beginning of object key string"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("trux", "invalid character 'x' in literal true (expecting 'e')"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.", "unexpected end of JSON input"),
            ("01", "invalid character '1' after top-level value"),
        ] {
            assert_eq!(syntax_error(text).as_deref(), Some(want), "{text}");
        }
        for text in ["{}", " [1, 2.5e-3, \"\\u00e9\", null, true]", "\"ü\"", "-0"] {
            assert_eq!(syntax_error(text), None, "{text}");
        }
    }

    #[test]
    fn deep_nesting_ends() {
        assert_eq!(syntax_error(&"[".repeat(20_000)).as_deref(), Some("exceeded max depth"));
    }
}
