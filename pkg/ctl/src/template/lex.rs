// SPDX-License-Identifier: Apache-2.0
//! A template's text and, between its braces, words.

use serde_json::Value;

/// A stretch of a template.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Action(Vec<Token>),
}

/// A word between the braces.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Word(String),
    Literal(Value),
    /// `.a.b`, or `.` alone.
    Dot(Vec<String>),
    /// `$x.a.b`
    Variable(String, Vec<String>),
    Open,
    /// `)` and the fields of what it closes.
    Close(Vec<String>),
    Pipe,
    Declare,
    Assign,
    Comma,
}

/// Takes a template apart.
pub(super) fn pieces(template: &str) -> Result<Vec<Piece>, String> {
    let (mut pieces, mut rest, mut trim) = (Vec::new(), template, false);
    while let Some(start) = rest.find("{{") {
        let inside = &rest[start + 2..];
        let (text, inside) = match inside.strip_prefix('-').filter(|after| after.starts_with(char::is_whitespace)) {
            Some(after) => (rest[..start].trim_end(), after),
            None => (&rest[..start], inside),
        };
        push_text(&mut pieces, text, trim);
        let inside = inside.trim_start();
        let (tokens, after) = if inside.starts_with("/*") { comment(inside)? } else { words(inside)? };
        if !tokens.is_empty() || !inside.starts_with("/*") {
            pieces.push(Piece::Action(tokens));
        }
        (trim, rest) = after;
    }
    push_text(&mut pieces, rest, trim);
    Ok(pieces)
}

fn push_text(pieces: &mut Vec<Piece>, text: &str, trim: bool) {
    let text = if trim { text.trim_start() } else { text };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// The words of an action; whether blanks after it go, and what follows.
type Action<'a> = (Vec<Token>, (bool, &'a str));

/// The end of an action, if the text begins with it.
fn end(text: &str) -> Option<(bool, &str)> {
    let trimmed = text.trim_start();
    let by_dash = trimmed.strip_prefix("-}}").filter(|_| trimmed.len() < text.len()).map(|rest| (true, rest));
    by_dash.or_else(|| trimmed.strip_prefix("}}").map(|rest| (false, rest)))
}

fn comment(text: &str) -> Result<Action<'_>, String> {
    let after = text.find("*/").map(|at| &text[at + 2..]).ok_or("unclosed comment")?;
    let end = end(after).ok_or("a comment must be alone in its braces")?;
    Ok((Vec::new(), end))
}

fn words(mut text: &str) -> Result<Action<'_>, String> {
    let mut tokens = Vec::new();
    loop {
        if let Some(end) = end(text) {
            return Ok((tokens, end));
        }
        text = text.trim_start();
        let first = text.chars().next().ok_or("unclosed action: }} is missing")?;
        let (token, rest) = match first {
            '"' | '`' | '\'' => quoted(text)?,
            '(' => (Token::Open, &text[1..]),
            ')' => {
                let (fields, rest) = fields(&text[1..]);
                (Token::Close(fields), rest)
            }
            '|' => (Token::Pipe, &text[1..]),
            ',' => (Token::Comma, &text[1..]),
            ':' if text.starts_with(":=") => (Token::Declare, &text[2..]),
            '=' => (Token::Assign, &text[1..]),
            '.' if !text[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let (fields, rest) = fields(text);
                (Token::Dot(fields), if rest.len() == text.len() { &text[1..] } else { rest })
            }
            '$' => {
                let (name, rest) = name(&text[1..]);
                let (fields, rest) = fields(rest);
                (Token::Variable(format!("${name}"), fields), rest)
            }
            '+' | '-' | '.' | '0'..='9' => number(text)?,
            c if c.is_alphabetic() || c == '_' => {
                let (name, rest) = name(text);
                (word(name), rest)
            }
            other => return Err(format!("unexpected {other:?} in action")),
        };
        tokens.push(token);
        text = rest;
    }
}

fn word(name: &str) -> Token {
    match name {
        "true" | "false" => Token::Literal(Value::Bool(name == "true")),
        "nil" => Token::Literal(Value::Null),
        other => Token::Word(other.to_owned()),
    }
}

/// A name at the beginning of a text, and what follows.
fn name(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len()))
}

/// `.a.b` at the beginning of a text, and what follows.
fn fields(mut text: &str) -> (Vec<String>, &str) {
    let mut fields = Vec::new();
    while let Some(after) = text.strip_prefix('.') {
        let (field, rest) = name(after);
        if field.is_empty() {
            break;
        }
        fields.push(field.to_owned());
        text = rest;
    }
    (fields, text)
}

fn number(text: &str) -> Result<(Token, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"+-._".contains(c)).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let number = digits.parse::<i64>().map(Value::from).or_else(|_| digits.parse::<f64>().map(Value::from));
    Ok((Token::Literal(number.map_err(|_| format!("bad number syntax: {digits:?}"))?), rest))
}

/// A text in quotes, a raw one, or a character, which is its number.
fn quoted(text: &str) -> Result<(Token, &str), String> {
    let quote = text.chars().next().unwrap_or('"');
    let (mut value, mut characters) = (String::new(), text.char_indices().skip(1));
    while let Some((at, c)) = characters.next() {
        match c {
            c if c == quote => {
                let rest = &text[at + 1..];
                let mut all = value.chars();
                let token = match (quote, all.next(), all.next()) {
                    ('\'', Some(only), None) => Token::Literal(u32::from(only).into()),
                    ('\'', ..) => return Err("a character constant holds one character".to_owned()),
                    _ => Token::Literal(value.into()),
                };
                return Ok((token, rest));
            }
            '\\' if quote != '`' => value.push(match characters.next() {
                Some((_, 'n')) => '\n',
                Some((_, 't')) => '\t',
                Some((_, 'r')) => '\r',
                Some((_, c @ ('\\' | '"' | '\''))) => c,
                Some((_, c)) => return Err(format!("the escape \\{c} is not known here")),
                None => break,
            }),
            '\n' if quote != '`' => break,
            c => value.push(c),
        }
    }
    Err(format!("a {quote} that is not closed: unterminated quote"))
}
