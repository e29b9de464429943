// SPDX-License-Identifier: Apache-2.0
//! A template at work: what it prints for an object.

use std::borrow::Cow;

use serde_json::Value;

use super::{Branches, Node, Operand, Pipeline, functions};
use crate::go_text;

/// The name of what the template was given.
const ROOT: &str = "$";

/// A value: a part of the object, or one that was computed.
type Part<'a> = Cow<'a, Value>;

/// Runs a template over an object.
pub(super) fn render(nodes: &[Node], object: &Value) -> Result<String, String> {
    let root = Cow::Borrowed(object);
    let mut run = Run { variables: vec![(ROOT.to_owned(), root.clone())], text: String::new() };
    run.list(nodes, &root)?;
    Ok(run.text)
}

struct Run<'a> {
    /// The newest last.
    variables: Vec<(String, Part<'a>)>,
    text: String,
}

/// How a list of nodes ended.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

impl<'a> Run<'a> {
    fn list(&mut self, nodes: &[Node], dot: &Part<'a>) -> Result<Flow, String> {
        let scope = self.variables.len();
        let mut flow = Flow::On;
        for node in nodes {
            flow = self.node(node, dot)?;
            if flow != Flow::On {
                break;
            }
        }
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn node(&mut self, node: &Node, dot: &Part<'a>) -> Result<Flow, String> {
        match node {
            Node::Text(text) => self.text.push_str(text),
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                match &pipeline.variables[..] {
                    [] => self.text.push_str(&go_text::printed(&value)),
                    [name] => self.set(name, value, pipeline.assigns)?,
                    _ => return Err("two variables are for {{range}} alone".to_owned()),
                }
            }
            Node::If(branches) => return self.branch(branches, dot, false),
            Node::With(branches) => return self.branch(branches, dot, true),
            Node::Range(branches) => return self.range(branches, dot),
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    /// `if`, and `with`, which moves the dot.
    fn branch(&mut self, branches: &Branches, dot: &Part<'a>, moves: bool) -> Result<Flow, String> {
        let scope = self.variables.len();
        for (condition, nodes) in &branches.arms {
            let value = self.pipeline(condition, dot)?;
            if let [name] = &condition.variables[..] {
                self.set(name, value.clone(), condition.assigns)?;
            }
            if functions::is_true(&value) {
                let flow = self.list(nodes, if moves { &value } else { dot });
                self.variables.truncate(scope);
                return flow;
            }
        }
        let flow = self.list(&branches.otherwise, dot);
        self.variables.truncate(scope);
        flow
    }

    fn range(&mut self, branches: &Branches, dot: &Part<'a>) -> Result<Flow, String> {
        let Some((over, nodes)) = branches.arms.first() else { return Ok(Flow::On) };
        let value = self.pipeline(over, dot)?;
        let items = items(value)?;
        if items.is_empty() {
            return self.list(&branches.otherwise, dot);
        }
        for (key, item) in items {
            let scope = self.variables.len();
            match &over.variables[..] {
                [] => {}
                [name] => self.set(name, item.clone(), over.assigns)?,
                [index, name, ..] => {
                    self.set(index, Cow::Owned(key), over.assigns)?;
                    self.set(name, item.clone(), over.assigns)?;
                }
            }
            let flow = self.list(nodes, &item)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn set(&mut self, name: &str, value: Part<'a>, assigns: bool) -> Result<(), String> {
        if !assigns {
            self.variables.push((name.to_owned(), value));
            return Ok(());
        }
        let found = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        found.ok_or_else(|| format!("undefined variable {name:?}"))?.1 = value;
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Part<'a>) -> Result<Part<'a>, String> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last, dot)?);
        }
        last.ok_or_else(|| "missing value for command".to_owned())
    }

    fn command(&mut self, command: &[Operand], last: Option<Part<'a>>, dot: &Part<'a>) -> Result<Part<'a>, String> {
        let [first, rest @ ..] = command else { return Err("missing value for command".to_owned()) };
        let Operand::Function(name) = first else {
            if rest.is_empty() && last.is_none() {
                return self.operand(first, dot);
            }
            return Err("can't give argument to non-function".to_owned());
        };
        let mut arguments: Vec<Part<'a>> = Vec::new();
        for operand in rest {
            let value = self.operand(operand, dot)?;
            // These two look no further than they must.
            let decided = match name.as_str() {
                "and" => !functions::is_true(&value),
                "or" => functions::is_true(&value),
                _ => false,
            };
            if decided {
                return Ok(value);
            }
            arguments.push(value);
        }
        arguments.extend(last);
        functions::call(name, arguments)
    }

    fn operand(&mut self, operand: &Operand, dot: &Part<'a>) -> Result<Part<'a>, String> {
        let (value, fields) = match operand {
            Operand::Literal(value) => return Ok(Cow::Owned(value.clone())),
            Operand::Function(name) => return functions::call(name, Vec::new()),
            Operand::Dot(fields) => (dot.clone(), fields),
            Operand::Variable(name, fields) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                (found.ok_or_else(|| format!("undefined variable {name:?}"))?.1.clone(), fields)
            }
            Operand::Group(pipeline, fields) => (self.pipeline(pipeline, dot)?, fields),
        };
        fields.iter().try_fold(value, |value, field| part(value, field))
    }
}

/// A field of a value; what is not there has none.
fn part<'a>(value: Part<'a>, field: &str) -> Result<Part<'a>, String> {
    match value {
        Cow::Borrowed(Value::Object(map)) => Ok(map.get(field).map_or(Cow::Owned(Value::Null), Cow::Borrowed)),
        Cow::Owned(Value::Object(mut map)) => Ok(Cow::Owned(map.remove(field).unwrap_or_default())),
        other if other.is_null() => Ok(other),
        other => Err(format!("can't evaluate field {field} in {}", go_text::printed(&other))),
    }
}

/// What a loop goes over, with index or key.
fn items(value: Part<'_>) -> Result<Vec<(Value, Part<'_>)>, String> {
    Ok(match value {
        Cow::Borrowed(Value::Array(items)) => {
            items.iter().enumerate().map(|(i, item)| (i.into(), Cow::Borrowed(item))).collect()
        }
        Cow::Owned(Value::Array(items)) => {
            items.into_iter().enumerate().map(|(i, item)| (i.into(), Cow::Owned(item))).collect()
        }
        Cow::Borrowed(Value::Object(map)) => {
            let mut all: Vec<_> = map.iter().collect();
            all.sort_by_key(|(key, _)| *key);
            all.into_iter().map(|(key, item)| (key.clone().into(), Cow::Borrowed(item))).collect()
        }
        Cow::Owned(Value::Object(map)) => {
            let mut all: Vec<_> = map.into_iter().collect();
            all.sort_by(|(one, _), (other, _)| one.cmp(other));
            all.into_iter().map(|(key, item)| (key.into(), Cow::Owned(item))).collect()
        }
        other if other.is_null() => Vec::new(),
        other => return Err(format!("range can't iterate over {}", go_text::printed(&other))),
    })
}
