// SPDX-License-Identifier: Apache-2.0
//! The text of label selectors, with upstream's words for what is wrong.

use std::collections::BTreeSet;
use std::fmt;

use super::{Operator, Requirement, names};
use crate::FieldPath;

/// A selector that cannot be read. `Display` gives upstream's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectorError(String);

impl SelectorError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl std::error::Error for SelectorError {}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A piece of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    End,
    Comma,
    Open,
    Close,
    Not,
    Compare(Operator),
    /// `in` and `notin` are words too, where no operator can be.
    Word,
    /// Special characters that are no operator.
    Bad,
}

struct Tokens<'t> {
    all: Vec<(Token, &'t str)>,
    at: usize,
}

const SPECIAL: &[u8] = b"=!(),><";
const SYMBOLS: [(&str, Token); 9] = [
    (")", Token::Close),
    (",", Token::Comma),
    ("!", Token::Not),
    ("==", Token::Compare(Operator::DoubleEquals)),
    ("=", Token::Compare(Operator::Equals)),
    (">", Token::Compare(Operator::GreaterThan)),
    ("<", Token::Compare(Operator::LessThan)),
    ("!=", Token::Compare(Operator::NotEquals)),
    ("(", Token::Open),
];

/// The conditions of a selector.
pub(super) fn labels(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut tokens = Tokens { all: scan(text), at: 0 };
    let mut requirements = Vec::new();
    loop {
        match tokens.peek() {
            (Token::Word | Token::Not, _) => {
                let found = tokens.requirement();
                requirements.push(found.map_err(|e| SelectorError(format!("unable to parse requirement: {e}")))?);
                match tokens.next() {
                    (Token::End, _) => return Ok(requirements),
                    (Token::Comma, _) => {
                        let (token, text) = tokens.peek();
                        if !matches!(token, Token::Word | Token::Not) {
                            return Err(found_instead(text, ", expected: identifier after ','"));
                        }
                    }
                    (_, text) => return Err(found_instead(text, ", expected: ',' or 'end of string'")),
                }
            }
            (Token::End, _) => return Ok(requirements),
            (_, text) => return Err(found_instead(text, ", expected: !, identifier, or 'end of string'")),
        }
    }
}

fn found_instead(found: &str, wanted: &str) -> SelectorError {
    SelectorError(format!("found '{found}'{wanted}"))
}

fn scan(text: &str) -> Vec<(Token, &str)> {
    // Upstream's scanner reads a zero byte as the end.
    let mut rest = text.split('\0').next().unwrap_or_default();
    let mut all = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let Some(first) = rest.as_bytes().first() else { break };
        let (token, length) = if SPECIAL.contains(first) {
            let fits = |length: usize| SYMBOLS.iter().find(|(text, _)| rest.get(..length) == Some(*text));
            fits(2).or_else(|| fits(1)).map_or((Token::Bad, 1), |(text, token)| (token.clone(), text.len()))
        } else {
            let ends = |c: char| c.is_ascii() && (SPECIAL.contains(&(c as u8)) || " \t\r\n".contains(c));
            (Token::Word, rest.find(ends).unwrap_or(rest.len()))
        };
        let (piece, tail) = rest.split_at(length);
        all.push((token, piece));
        rest = tail;
    }
    all.push((Token::End, ""));
    all
}

impl<'t> Tokens<'t> {
    fn peek(&self) -> (Token, &'t str) {
        self.all.get(self.at).cloned().unwrap_or((Token::End, ""))
    }

    fn next(&mut self) -> (Token, &'t str) {
        let next = self.peek();
        self.at += 1;
        next
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let (mut token, mut key) = self.next();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.next();
        }
        if token != Token::Word {
            return Err(found_instead(key, ", expected: identifier"));
        }
        if let Some(fault) = names::key_fault(key, &FieldPath::root()) {
            return Err(SelectorError(fault.to_string()));
        }
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, []);
        }
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Requirement::new(key, Operator::Exists, []);
        }
        let operator = match self.next() {
            (Token::Compare(operator), _) => operator,
            (Token::Word, "in") => Operator::In,
            (Token::Word, "notin") => Operator::NotIn,
            (_, text) => return Err(found_instead(text, ", expected: in, notin, =, ==, !=, gt, lt")),
        };
        let values = if matches!(operator, Operator::In | Operator::NotIn) { self.values()? } else { self.value()? };
        Requirement::new(key, operator, values)
    }

    fn value(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok([String::new()].into());
        }
        match self.next() {
            (Token::Word, text) => Ok([text.to_owned()].into()),
            (_, text) => Err(found_instead(text, ", expected: identifier")),
        }
    }

    fn values(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        let (token, text) = self.next();
        if token != Token::Open {
            return Err(found_instead(text, " expected: '('"));
        }
        match self.peek() {
            (Token::Word | Token::Comma, first) => {
                let values = self.list()?;
                match self.next().0 {
                    Token::Close => Ok(values),
                    _ => Err(found_instead(first, ", expected: ')'")),
                }
            }
            (Token::Close, _) => {
                self.next();
                Ok([String::new()].into())
            }
            (_, text) => Err(found_instead(text, ", expected: ',', ')' or identifier")),
        }
    }

    /// Values up to the closing parenthesis; a missing one is the empty value.
    fn list(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        let mut values = BTreeSet::new();
        loop {
            match self.next() {
                (Token::Word, text) => {
                    values.insert(text.to_owned());
                    match self.peek() {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(values),
                        (_, text) => return Err(found_instead(text, ", expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    let next = self.peek().0;
                    if values.is_empty() || matches!(next, Token::Close | Token::Comma) {
                        values.insert(String::new());
                    }
                    if next == Token::Close {
                        return Ok(values);
                    }
                }
                (_, text) => return Err(found_instead(text, ", expected: ',', or identifier")),
            }
        }
    }
}
