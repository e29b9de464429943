// SPDX-License-Identifier: Apache-2.0
//! Pieces of a template, put together as Go's text/template reads them.

use std::iter::Peekable;
use std::vec::IntoIter;

use super::functions;
use super::lex::{Piece, Token};
use super::{Branches, Node, Operand, Pipeline};

/// How deep a template may be nested.
const DEPTH_MAX: usize = 100;

/// The nodes of a whole template.
pub(super) fn nodes(pieces: Vec<Piece>) -> Result<Vec<Node>, String> {
    let mut parser = Parser { pieces: pieces.into_iter(), depth: 0, ranges: 0 };
    match parser.list()? {
        (nodes, Stop::Over) => Ok(nodes),
        (_, Stop::End) => Err("unexpected {{end}}".to_owned()),
        (_, Stop::Else(_)) => Err("unexpected {{else}}".to_owned()),
    }
}

struct Parser {
    pieces: IntoIter<Piece>,
    depth: usize,
    /// Of `range`, which `break` and `continue` are about.
    ranges: usize,
}

/// Why a list of nodes ended.
enum Stop {
    Over,
    End,
    /// With the words after `else`.
    Else(Vec<Token>),
}

impl Parser {
    fn list(&mut self) -> Result<(Vec<Node>, Stop), String> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens) => tokens,
            };
            let keyword = match tokens.first() {
                Some(Token::Word(word)) => word.clone(),
                _ => String::new(),
            };
            let rest = || tokens[1..].to_vec();
            nodes.push(match keyword.as_str() {
                "end" => return Ok((nodes, Stop::End)),
                "else" => return Ok((nodes, Stop::Else(rest()))),
                "if" => Node::If(self.branches("if", rest())?),
                "with" => Node::With(self.branches("with", rest())?),
                "range" => Node::Range(self.branches("range", rest())?),
                "break" | "continue" if self.ranges == 0 => {
                    return Err(format!("{{{{{keyword}}}}} outside {{{{range}}}}"));
                }
                "break" => Node::Break,
                "continue" => Node::Continue,
                "define" | "template" | "block" => return Err(format!("{keyword}: named templates are not there")),
                _ => Node::Action(pipeline(tokens)?),
            });
        }
        Ok((nodes, Stop::Over))
    }

    /// What follows `if`, `with` or `range`, up to its `end`.
    fn branches(&mut self, keyword: &str, condition: Vec<Token>) -> Result<Branches, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("it is nested too deep".to_owned());
        }
        self.ranges += usize::from(keyword == "range");
        let (mut arms, mut condition) = (Vec::new(), condition);
        let otherwise = loop {
            let pipeline = pipeline(condition)?;
            let (nodes, stop) = self.list()?;
            arms.push((pipeline, nodes));
            match stop {
                Stop::End => break Vec::new(),
                Stop::Over => return Err(format!("{{{{{keyword}}}}} without {{{{end}}}}")),
                Stop::Else(tokens)
                    if tokens.first() == Some(&Token::Word(keyword.to_owned())) && keyword != "range" =>
                {
                    condition = tokens[1..].to_vec();
                }
                Stop::Else(tokens) if tokens.is_empty() => match self.list()? {
                    (nodes, Stop::End) => break nodes,
                    _ => return Err("{{else}} without {{end}}".to_owned()),
                },
                Stop::Else(_) => return Err(format!("{{{{else}}}} of {{{{{keyword}}}}} followed by other words")),
            }
        };
        self.ranges -= usize::from(keyword == "range");
        self.depth -= 1;
        Ok(Branches { arms, otherwise })
    }
}

type Tokens = Peekable<IntoIter<Token>>;

fn pipeline(tokens: Vec<Token>) -> Result<Pipeline, String> {
    let mut tokens = tokens.into_iter().peekable();
    let mut pipeline = Pipeline::default();
    declarations(&mut tokens, &mut pipeline);
    (pipeline.commands, _) = commands(&mut tokens, 0)?;
    Ok(pipeline)
}

/// `$x :=`, `$x =`, `$i, $e :=` in front of a pipeline.
fn declarations(tokens: &mut Tokens, pipeline: &mut Pipeline) {
    let all: Vec<Token> = tokens.clone().take(4).collect();
    let names: Vec<String> = match &all[..] {
        [Token::Variable(one, _), Token::Declare | Token::Assign, ..] => vec![one.clone()],
        [Token::Variable(one, _), Token::Comma, Token::Variable(two, _), Token::Declare | Token::Assign] => {
            vec![one.clone(), two.clone()]
        }
        _ => return,
    };
    let words = names.len() * 2;
    pipeline.assigns = all[words - 1] == Token::Assign;
    pipeline.variables = names;
    tokens.by_ref().take(words).for_each(drop);
}

/// Commands, and the fields behind the bracket that closed them, if one did.
type Commands = (Vec<Vec<Operand>>, Option<Vec<String>>);

/// Commands up to the end, or to a bracket that closes.
fn commands(tokens: &mut Tokens, depth: usize) -> Result<Commands, String> {
    if depth > DEPTH_MAX {
        return Err("it is nested too deep".to_owned());
    }
    let (mut all, mut command) = (Vec::new(), Vec::new());
    let closed = loop {
        match tokens.next() {
            None => break None,
            Some(Token::Close(fields)) => break Some(fields),
            Some(Token::Pipe) => all.push(complete(std::mem::take(&mut command))?),
            Some(Token::Open) => {
                let (inner, closed) = commands(tokens, depth + 1)?;
                let fields = closed.ok_or("unclosed left paren")?;
                let pipeline = Pipeline { commands: inner, ..Pipeline::default() };
                command.push(Operand::Group(Box::new(pipeline), fields));
            }
            Some(token) => command.push(operand(token)?),
        }
    };
    if closed.is_some() && depth == 0 {
        return Err("unexpected right paren".to_owned());
    }
    all.push(complete(command)?);
    Ok((all, closed))
}

fn operand(token: Token) -> Result<Operand, String> {
    Ok(match token {
        Token::Literal(value) => Operand::Literal(value),
        Token::Dot(fields) => Operand::Dot(fields),
        Token::Variable(name, fields) => Operand::Variable(name, fields),
        Token::Word(name) if functions::is_known(&name) => Operand::Function(name),
        Token::Word(name) => return Err(format!("function {name:?} not defined")),
        Token::Declare | Token::Assign | Token::Comma | Token::Open | Token::Close(_) | Token::Pipe => {
            return Err("unexpected punctuation in action".to_owned());
        }
    })
}

fn complete(command: Vec<Operand>) -> Result<Vec<Operand>, String> {
    if command.is_empty() { Err("missing value for command".to_owned()) } else { Ok(command) }
}
