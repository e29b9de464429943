// SPDX-License-Identifier: Apache-2.0
//! The nodes of a YAML document, and go-yaml's words for text that is none.

use std::collections::HashMap;
use std::rc::Rc;

use libyaml_safer::{Error, ErrorKind, EventData, Parser};

use super::traps::Safe;

/// A value with its place.
#[derive(Debug)]
pub(super) struct Node {
    /// From 1 on.
    pub line: u64,
    /// Empty where none was written.
    pub tag: String,
    pub kind: Kind,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Kind {
    /// Text; plain where nothing says that it is one.
    Scalar { text: String, plain: bool },
    /// A list.
    Sequence(Vec<Rc<Node>>),
    /// Keys and values.
    Mapping(Vec<(Rc<Node>, Rc<Node>)>),
    /// A value of before, by its name.
    Alias { name: String, target: Option<Rc<Node>> },
}

/// The first document of a text; `None` where it has none.
///
/// # Errors
/// Where it is not YAML.
pub(super) fn first(text: &str) -> Result<Option<Rc<Node>>, String> {
    let safe = Safe::new(text)?;
    let mut input = safe.text.as_bytes();
    let mut parser = Parser::new();
    parser.set_input_string(&mut input);
    let mut document = Composer { parser, safe: &safe, anchors: HashMap::new() };
    loop {
        match document.next()? {
            (EventData::StreamStart { .. }, _) => {}
            (EventData::DocumentStart { .. }, _) => {
                let root = document.root()?;
                document.next()?;
                return Ok(Some(root));
            }
            _ => return Ok(None),
        }
    }
}

struct Composer<'r, 'b> {
    parser: Parser<&'r mut &'b [u8]>,
    safe: &'r Safe<'b>,
    /// Those that a name was given to. A name of a value that is not whole yet has none.
    anchors: HashMap<String, Option<Rc<Node>>>,
}

/// A collection that is being read.
struct Open {
    line: u64,
    tag: String,
    anchor: Option<String>,
    items: Vec<Rc<Node>>,
    mapping: bool,
}

impl Open {
    fn close(self) -> (Option<String>, Node) {
        let kind = if self.mapping {
            let mut items = self.items.into_iter();
            let pairs = std::iter::from_fn(|| Some((items.next()?, items.next()?)));
            Kind::Mapping(pairs.collect())
        } else {
            Kind::Sequence(self.items)
        };
        (self.anchor, Node { line: self.line, tag: self.tag, kind })
    }
}

impl Composer<'_, '_> {
    fn next(&mut self) -> Result<(EventData, u64), String> {
        let event = self.parser.parse().map_err(|error| in_go_words(&error))?;
        let mut data = event.data;
        if let EventData::Scalar { value, style, .. } = &mut data {
            *value = self.safe.scalar(std::mem::take(value), *style, event.end_mark.index);
        }
        Ok((data, event.start_mark.line + 1))
    }

    /// The value of the document. Without recursion: the depth is the client's.
    fn root(&mut self) -> Result<Rc<Node>, String> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            let (event, line) = self.next()?;
            let (anchor, node) = match event {
                EventData::Scalar { anchor, tag, value, plain_implicit, .. } => {
                    let tag = tag.unwrap_or_default();
                    (anchor, Node { line, tag, kind: Kind::Scalar { text: value, plain: plain_implicit } })
                }
                EventData::Alias { anchor: name } => {
                    let Some(target) = self.anchors.get(&name).cloned() else {
                        return Err(format!("yaml: unknown anchor '{name}' referenced"));
                    };
                    (None, Node { line, tag: String::new(), kind: Kind::Alias { name, target } })
                }
                EventData::SequenceStart { anchor, tag, .. } => {
                    self.begin(&mut open, line, anchor, tag, false);
                    continue;
                }
                EventData::MappingStart { anchor, tag, .. } => {
                    self.begin(&mut open, line, anchor, tag, true);
                    continue;
                }
                _ => match open.pop() {
                    Some(whole) => whole.close(),
                    None => return Err("yaml: attempted to go past the end of stream; corrupted value?".into()),
                },
            };
            let node = Rc::new(node);
            if let Some(anchor) = anchor {
                self.anchors.insert(anchor, Some(Rc::clone(&node)));
            }
            match open.last_mut() {
                Some(holder) => holder.items.push(node),
                None => return Ok(node),
            }
        }
    }

    fn begin(&mut self, open: &mut Vec<Open>, line: u64, anchor: Option<String>, tag: Option<String>, mapping: bool) {
        if let Some(anchor) = &anchor {
            self.anchors.insert(anchor.clone(), None);
        }
        open.push(Open { line, tag: tag.unwrap_or_default(), anchor, items: Vec::new(), mapping });
    }
}

impl Drop for Node {
    /// Without recursion: the depth is the client's.
    fn drop(&mut self) {
        let mut waiting = Vec::new();
        take_inner(&mut self.kind, &mut waiting);
        while let Some(node) = waiting.pop() {
            if let Some(mut node) = Rc::into_inner(node) {
                take_inner(&mut node.kind, &mut waiting);
            }
        }
    }
}

fn take_inner(kind: &mut Kind, into: &mut Vec<Rc<Node>>) {
    match kind {
        Kind::Scalar { .. } => {}
        Kind::Sequence(items) => into.append(items),
        Kind::Mapping(pairs) => into.extend(pairs.drain(..).flat_map(|(key, value)| [key, value])),
        Kind::Alias { target, .. } => into.extend(target.take()),
    }
}

/// go-yaml gives no column, no context, and the line only where it is not the first: for the
/// scanner the line itself, for the parser the one before it.
pub(super) fn in_go_words(error: &Error) -> String {
    let line = |mark: Option<libyaml_safer::Mark>| mark.map_or(0, |mark| mark.line);
    match (line(error.problem_mark()), error.kind()) {
        (0, _) => said(line(error.context_mark()), error.problem()),
        (line, ErrorKind::Scanner) => problem(line, error.problem()),
        (line, _) => said(line, error.problem()),
    }
}

/// A problem that the scanner has with a line, counted from 0.
pub(super) fn problem(line: u64, problem: &str) -> String {
    said(if line == 0 { 0 } else { line + 1 }, problem)
}

fn said(line: u64, problem: &str) -> String {
    if line == 0 { format!("yaml: {problem}") } else { format!("yaml: line {line}: {problem}") }
}
