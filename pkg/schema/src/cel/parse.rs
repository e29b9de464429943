// SPDX-License-Identifier: Apache-2.0
//! From text to a tree: the grammar is the `cel` crate's, the macros that it does not have are expanded here.

use cel::common::ast::{self as parsed, EntryExpr, LiteralValue, SourceInfo};
use cel::parser::Parser;

use super::ast::{
    ACCUMULATOR, Call, Comprehension, Element, Entry, Expr, Field, Kind, Literal, SORTED, Select, StructLiteral,
};
use super::declarations::Declarations;
use super::functions;
use super::syntax;

/// As upstream's parser has it.
const MAX_CHARACTERS: usize = 100_000;
/// As upstream's parser has it: how deep brackets may be nested.
const MAX_RECURSION: u16 = 250;
/// How deep the tree may be: what walks it afterwards has an ordinary stack. Chains of `&&` and `||` are balanced and
/// stay flat, so only what nobody writes is deeper.
const MAX_DEPTH: usize = 300;
/// How many nodes macros may make: some double what they are given.
const MAX_NODES: usize = 200_000;
/// How many operators an expression may have: they bound what the parser takes of its stack.
const MAX_OPERATORS: usize = 20_000;
/// The parser is recursive, and needs some 20 KiB for a bracket and 2 KiB for an operator.
const PARSER_STACK_BYTES: usize = 96 << 20;

/// A complaint about a place in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Issue {
    /// From 1.
    pub line: usize,
    /// From 0.
    pub column: usize,
    pub message: String,
}

/// A tree and where its nodes stand in the source.
#[derive(Debug)]
pub(super) struct Parsed {
    pub root: Expr,
    /// Line from 1 and column from 0, by the node's number.
    pub places: Vec<(usize, usize)>,
}

/// Parses an expression; `declared` tells functions in a namespace from methods.
pub(super) fn parse(source: &str, declared: &Declarations) -> Result<Parsed, Vec<Issue>> {
    let refuse = |message: String| Err(vec![Issue { line: 1, column: 0, message }]);
    let size = source.chars().count();
    if size > MAX_CHARACTERS {
        return refuse(format!("expression code point size exceeds limit: size: {size}, limit {MAX_CHARACTERS}"));
    }
    if source.matches(|c: char| c.is_ascii_punctuation() && c != '_' && c != '"' && c != '\'').count() > MAX_OPERATORS {
        return refuse(format!("expression has more than {MAX_OPERATORS} operators"));
    }
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("cel-parser".to_owned()).stack_size(PARSER_STACK_BYTES);
        match builder.spawn_scoped(scope, || parse_here(source, declared)).map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(parsed)) => parsed,
            _ => refuse("expression cannot be parsed".to_owned()),
        }
    })
}

fn parse_here(source: &str, declared: &Declarations) -> Result<Parsed, Vec<Issue>> {
    let lines = Lines::of(source);
    let parser =
        Parser::new().enable_optional_syntax(true).enable_ident_escape_syntax(true).max_recursion_depth(MAX_RECURSION);
    let (root, info) = parser.parse_with_source_info(source).map_err(|errors| issues(source, &errors.errors))?;
    let mut lowering = Lowering { info: &info, lines, places: Vec::new(), declared, issues: Vec::new() };
    let root = lowering.expr(&root);
    if lowering.issues.is_empty() && root.depth() > MAX_DEPTH {
        let message = format!("expression recursion limit exceeded: {MAX_DEPTH}");
        lowering.issues.push(Issue { line: 1, column: 0, message });
    }
    match lowering.issues.is_empty() {
        true => Ok(Parsed { root, places: lowering.places }),
        false => Err(lowering.issues),
    }
}

/// All complaints as clients read them.
pub(super) fn show(source: &str, issues: &[Issue]) -> String {
    let mut sorted = issues.to_vec();
    sorted.sort_by_key(|issue| (issue.line, issue.column));
    let shown: Vec<String> = sorted.iter().take(100).map(|issue| show_one(source, issue)).collect();
    shown.join("\n")
}

fn show_one(source: &str, issue: &Issue) -> String {
    let head = format!("ERROR: <input>:{}:{}: {}", issue.line, issue.column + 1, issue.message);
    let Some(line) = issue.line.checked_sub(1).and_then(|n| source.split('\n').nth(n)) else { return head };
    let line = line.replace('\t', " ");
    let before: String = line.chars().take(issue.column).map(|c| if c.is_ascii() { '.' } else { '．' }).collect();
    let beyond = ".".repeat(issue.column.saturating_sub(line.chars().count()));
    let mark = if line.chars().nth(issue.column).is_none_or(|c| c.is_ascii()) { '^' } else { '＾' };
    format!("{head}\n | {line}\n | {before}{beyond}{mark}")
}

/// The parser's complaints; those that only follow from another one are left out.
fn issues(source: &str, errors: &[cel::ParseError]) -> Vec<Issue> {
    let place = |n: isize| usize::try_from(n).unwrap_or_default();
    let all = errors.iter().filter(|error| !error.msg.starts_with("Incomplete ") && !error.msg.is_empty());
    let issues: Vec<Issue> = all
        .map(|error| {
            let (line, column) = (place(error.pos.0), place(error.pos.1).saturating_sub(1));
            worded(source, line, column, &error.msg)
        })
        .collect();
    match issues.is_empty() {
        true => vec![Issue { line: 1, column: 0, message: "Syntax error: not an expression".to_owned() }],
        false => issues,
    }
}

/// A complaint in upstream's words.
fn worded(source: &str, line: usize, column: usize, message: &str) -> Issue {
    if message.contains("OtherError") {
        return Issue { line, column, message: format!("expression recursion limit exceeded: {MAX_RECURSION}") };
    }
    let text = source.split('\n').nth(line.saturating_sub(1)).unwrap_or_default();
    if message == "argument must be a simple name" {
        // The place of a macro's argument is counted in bytes.
        let before = text.get(..column).unwrap_or(text);
        let called = before.rsplit_once('(').map_or(before, |(called, _)| called).trim_end();
        let maps = called.ends_with(".map") || called.ends_with(".filter");
        let message = if maps { "argument is not an identifier" } else { message };
        return Issue { line, column: before.chars().count(), message: message.to_owned() };
    }
    if message == "invalid int literal" || message == "invalid uint literal" || message == "invalid double literal" {
        // The sign belongs to the number.
        let signed = column > 0 && text.chars().nth(column - 1) == Some('-');
        return Issue { line, column: column - usize::from(signed), message: message.to_owned() };
    }
    let lines: usize = source.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let within: usize = text.chars().take(column).map(char::len_utf8).sum();
    let before = source.get(..lines + within).unwrap_or(source);
    Issue { line, column, message: expecting(message, before) }
}

/// Once an operand is complete, upstream's parser leaves the rule and misses only what closes it, not the operators
/// that could have followed.
fn expecting(message: &str, before: &str) -> String {
    const SET: &str = " expecting {";
    let whole = || message.to_owned();
    let Some((head, set)) = message.rsplit_once(SET).filter(|(head, _)| head.contains("mismatched input")) else {
        return whole();
    };
    let wanted: Vec<&str> = set.strip_suffix('}').unwrap_or(set).split(", ").collect();
    if !wanted.contains(&"'+'") {
        return whole();
    }
    format!("{head} expecting {}", syntax::missed(before))
}

/// Where lines begin in the source, in bytes.
struct Lines<'a> {
    source: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(source: &'a str) -> Self {
        let breaks = source.match_indices('\n').map(|(at, _)| at + 1);
        Self { source, starts: std::iter::once(0).chain(breaks).collect() }
    }

    /// The line from 1 and the column in characters from 0 of a byte.
    fn place(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line.saturating_sub(1)];
        let before = self.source.get(start..offset).map_or(offset - start, |text| text.chars().count());
        (line, before)
    }
}

struct Lowering<'a> {
    info: &'a SourceInfo,
    lines: Lines<'a>,
    places: Vec<(usize, usize)>,
    declared: &'a Declarations,
    issues: Vec<Issue>,
}

impl Lowering<'_> {
    fn place(&self, id: u64) -> (usize, usize) {
        let offset = self.info.offset_for(id).map_or(0, |(start, _)| start as usize);
        self.lines.place(offset)
    }

    fn number(&mut self, id: u64) -> usize {
        let place = self.place(id);
        self.places.push(place);
        self.places.len() - 1
    }

    fn node(&mut self, at: u64, kind: Kind) -> Expr {
        Expr { id: self.number(at), kind }
    }

    fn call(&mut self, at: u64, function: &str, member: bool, args: Vec<Expr>) -> Expr {
        let run = functions::find(function);
        self.node(at, Kind::Call(Call { function: function.to_owned(), member, args, run }))
    }

    fn ident(&mut self, at: u64, name: &str) -> Expr {
        self.node(at, Kind::Ident(name.to_owned()))
    }

    fn expr(&mut self, expr: &parsed::IdedExpr) -> Expr {
        let at = expr.id;
        if self.places.len() > MAX_NODES {
            if self.issues.is_empty() {
                let message = format!("expression has more than {MAX_NODES} parts");
                self.issues.push(Issue { line: 1, column: 0, message });
            }
            return self.node(at, Kind::Literal(Literal::Null));
        }
        match &expr.expr {
            parsed::Expr::Unspecified => self.node(at, Kind::Literal(Literal::Null)),
            parsed::Expr::Literal(value) => {
                let node = self.node(at, Kind::Literal(literal(value)));
                self.with_sign(&node);
                node
            }
            parsed::Expr::Ident(name) => self.ident(at, name),
            parsed::Expr::Select(select) => {
                let operand = self.expr(&select.operand);
                let select = Select { operand, field: select.field.clone(), test: select.test };
                self.node(at, Kind::Select(Box::new(select)))
            }
            parsed::Expr::Call(call) => self.call_or_macro(at, call),
            parsed::Expr::List(list) => {
                let elements = list.elements.iter().enumerate().map(|(i, element)| Element {
                    value: self.expr(element),
                    optional: list.optional_indices.contains(&i),
                });
                let elements = elements.collect();
                self.node(at, Kind::List(elements))
            }
            parsed::Expr::Map(map) => {
                let entries = map.entries.iter().filter_map(|entry| self.entry(entry)).collect();
                self.node(at, Kind::Map(entries))
            }
            parsed::Expr::Struct(literal) => {
                let fields = literal.entries.iter().filter_map(|entry| self.field(entry)).collect();
                self.node(at, Kind::Struct(StructLiteral { name: literal.type_name.clone(), fields }))
            }
            parsed::Expr::Comprehension(inner) if self.is_unknown_macro(at, inner) => self.exists_one(at, inner),
            parsed::Expr::Comprehension(inner) => {
                let comprehension = Comprehension {
                    range: self.expr(&inner.iter_range),
                    var: inner.iter_var.clone(),
                    var2: inner.iter_var2.clone(),
                    accumulator: inner.accu_var.clone(),
                    init: self.expr(&inner.accu_init),
                    condition: self.expr(&inner.loop_cond),
                    step: self.expr(&inner.loop_step),
                    result: self.expr(&inner.result),
                };
                self.node(at, Kind::Comprehension(Box::new(comprehension)))
            }
        }
    }

    fn entry(&mut self, entry: &parsed::IdedEntryExpr) -> Option<Entry> {
        match &entry.expr {
            EntryExpr::MapEntry(e) => {
                Some(Entry { key: self.expr(&e.key), value: self.expr(&e.value), optional: e.optional })
            }
            EntryExpr::StructField(_) => None,
        }
    }

    fn field(&mut self, entry: &parsed::IdedEntryExpr) -> Option<Field> {
        match &entry.expr {
            EntryExpr::StructField(f) => {
                let id = self.number(entry.id);
                Some(Field { id, name: f.field.clone(), value: self.expr(&f.value), optional: f.optional })
            }
            EntryExpr::MapEntry(_) => None,
        }
    }

    fn call_or_macro(&mut self, at: u64, call: &parsed::CallExpr) -> Expr {
        let Some(target) = &call.target else {
            let args = call.args.iter().map(|arg| self.expr(arg)).collect();
            // A name that begins with a dot is looked up from the top, where all functions are.
            let absolute = call.func_name.strip_prefix('.').filter(|name| self.declared.has_function(name));
            return self.call(at, absolute.unwrap_or(&call.func_name), false, args);
        };
        if let Some(qualified) = qualified_name(target).map(|prefix| format!("{prefix}.{}", call.func_name))
            && self.declared.has_function(&qualified)
        {
            let args = call.args.iter().map(|arg| self.expr(arg)).collect();
            return self.call(at, &qualified, false, args);
        }
        if let Some(expanded) = self.expand(at, &call.func_name, target, &call.args) {
            return expanded;
        }
        let args = std::iter::once(target.as_ref()).chain(&call.args).map(|arg| self.expr(arg)).collect();
        self.call(at, &call.func_name, true, args)
    }

    /// The macros of the libraries: loops with two variables, and what is done with optional values.
    fn expand(&mut self, at: u64, name: &str, target: &parsed::IdedExpr, args: &[parsed::IdedExpr]) -> Option<Expr> {
        match (name, args) {
            ("optMap", [var, mapped]) => Some(self.optional_map(at, target, var, mapped, true)),
            ("sortBy", [var, key]) => Some(self.sort_by(at, target, var, key)),
            ("optFlatMap", [var, mapped]) => Some(self.optional_map(at, target, var, mapped, false)),
            (
                "all" | "exists" | "existsOne" | "exists_one" | "transformList" | "transformMap" | "transformMapEntry",
                [key, value, rest @ ..],
            ) if rest.len() == 1 || (rest.len() == 2 && name.starts_with("transform")) => {
                Some(self.two_variables(at, name, target, [key, value], rest))
            }
            _ => None,
        }
    }

    /// A number stands where its sign does.
    fn with_sign(&mut self, node: &Expr) {
        let negative = match &node.kind {
            Kind::Literal(Literal::Int(n)) => *n < 0,
            Kind::Literal(Literal::Double(n)) => n.is_sign_negative(),
            _ => false,
        };
        let (line, column) = self.places[node.id];
        let text = self.lines.source.split('\n').nth(line.saturating_sub(1)).unwrap_or_default();
        if negative && column > 0 && text.chars().nth(column - 1) == Some('-') {
            self.places[node.id] = (line, column - 1);
        }
    }

    fn refuse(&mut self, at: u64, message: impl Into<String>) {
        let (line, column) = self.place(at);
        self.issues.push(Issue { line, column, message: message.into() });
    }

    fn simple_name(&mut self, expr: &parsed::IdedExpr, otherwise: &str) -> String {
        if let parsed::Expr::Ident(name) = &expr.expr
            && name != ACCUMULATOR
        {
            return name.clone();
        }
        self.refuse(expr.id, otherwise);
        String::new()
    }

    /// `target.hasValue() ? optional.of(mapped) : optional.none()`, with the value named in `mapped`.
    fn optional_map(
        &mut self,
        at: u64,
        target: &parsed::IdedExpr,
        var: &parsed::IdedExpr,
        mapped: &parsed::IdedExpr,
        wrap: bool,
    ) -> Expr {
        let called = if wrap { "optMap" } else { "optFlatMap" };
        let name = self.simple_name(var, &format!("{called}() variable name must be a simple identifier"));
        let tested = self.expr(target);
        let condition = self.call(at, "hasValue", true, vec![tested]);
        let taken = self.expr(target);
        let bind = Comprehension {
            range: self.node(at, Kind::List(Vec::new())),
            var: "#unused".to_owned(),
            var2: None,
            accumulator: name.clone(),
            init: self.call(at, "value", true, vec![taken]),
            condition: self.node(at, Kind::Literal(Literal::Bool(false))),
            step: self.ident(at, &name),
            result: self.expr(mapped),
        };
        let bound = self.node(at, Kind::Comprehension(Box::new(bind)));
        let some = if wrap { self.call(at, "optional.of", false, vec![bound]) } else { bound };
        let none = self.call(at, "optional.none", false, Vec::new());
        self.call(at, "_?_:_", false, vec![condition, some, none])
    }

    /// Kubernetes' language has `existsOne` with two variables only; with one it is a function that is not there.
    fn is_unknown_macro(&self, at: u64, inner: &parsed::ComprehensionExpr) -> bool {
        let start = self.info.offset_for(at).map_or(0, |(start, _)| start as usize);
        let before = self.lines.source.get(..start).unwrap_or_default();
        inner.iter_var2.is_none() && before.trim_end().ends_with("existsOne")
    }

    fn exists_one(&mut self, at: u64, inner: &parsed::ComprehensionExpr) -> Expr {
        let mut args = vec![self.expr(&inner.iter_range), self.ident(at, &inner.iter_var)];
        // The variable comes after the bracket, which is where the call is.
        let (line, column) = self.place(at);
        self.places[args[1].id] = (line, column + 1);
        if let parsed::Expr::Call(step) = &inner.loop_step.expr {
            args.extend(step.args.first().map(|tested| self.expr(tested)));
        }
        self.call(at, "existsOne", true, args)
    }

    /// The list beside the keys of its elements, by which it is sorted.
    fn sort_by(&mut self, at: u64, target: &parsed::IdedExpr, var: &parsed::IdedExpr, key: &parsed::IdedExpr) -> Expr {
        if matches!(target.expr, parsed::Expr::Literal(_) | parsed::Expr::Map(_) | parsed::Expr::Struct(_)) {
            let of = "list, identifier, comprehension, call or select expression";
            self.refuse(target.id, format!("sortBy can only be applied to a {of}"));
        }
        let var = self.simple_name(var, "argument is not an identifier");
        let init = self.expr(target);
        let gathered = self.ident(at, ACCUMULATOR);
        let key = Element { value: self.expr(key), optional: false };
        let key = self.node(at, Kind::List(vec![key]));
        let keys = Comprehension {
            range: self.ident(at, SORTED),
            var,
            var2: None,
            accumulator: ACCUMULATOR.to_owned(),
            init: self.node(at, Kind::List(Vec::new())),
            condition: self.node(at, Kind::Literal(Literal::Bool(true))),
            step: self.call(at, "_+_", false, vec![gathered, key]),
            result: self.ident(at, ACCUMULATOR),
        };
        let keys = self.node(at, Kind::Comprehension(Box::new(keys)));
        let list = self.ident(at, SORTED);
        let bind = Comprehension {
            range: self.node(at, Kind::List(Vec::new())),
            var: "#unused".to_owned(),
            var2: None,
            accumulator: SORTED.to_owned(),
            init,
            condition: self.node(at, Kind::Literal(Literal::Bool(false))),
            step: self.ident(at, SORTED),
            result: self.call(at, "@sortByAssociatedKeys", true, vec![list, keys]),
        };
        self.node(at, Kind::Comprehension(Box::new(bind)))
    }

    fn two_variables(
        &mut self,
        at: u64,
        name: &str,
        target: &parsed::IdedExpr,
        vars: [&parsed::IdedExpr; 2],
        rest: &[parsed::IdedExpr],
    ) -> Expr {
        let range = self.expr(target);
        let [var, var2] = vars.map(|v| self.simple_name(v, "argument must be a simple name"));
        if var == var2 && !var.is_empty() {
            self.refuse(vars[1].id, format!("duplicate variable name: {var}"));
        }
        let body: Vec<Expr> = rest.iter().map(|arg| self.expr(arg)).collect();
        let (init, condition, step) = self.loop_parts(at, name, &var, body);
        let gathered = self.ident(at, ACCUMULATOR);
        let result = match name {
            "existsOne" | "exists_one" => {
                let one = self.node(at, Kind::Literal(Literal::Int(1)));
                self.call(at, "_==_", false, vec![gathered, one])
            }
            _ => gathered,
        };
        let accumulator = ACCUMULATOR.to_owned();
        let whole = Comprehension { range, var, var2: Some(var2), accumulator, init, condition, step, result };
        self.node(at, Kind::Comprehension(Box::new(whole)))
    }

    /// What the loop starts with, while what it goes on, and what it does.
    fn loop_parts(&mut self, at: u64, name: &str, var: &str, mut body: Vec<Expr>) -> (Expr, Expr, Expr) {
        let Some(last) = body.pop() else { unreachable!("macros are expanded with a body") };
        let gathered = self.ident(at, ACCUMULATOR);
        match name {
            "all" => {
                let tested = self.ident(at, ACCUMULATOR);
                let condition = self.call(at, "@not_strictly_false", false, vec![tested]);
                let step = self.call(at, "_&&_", false, vec![gathered, last]);
                (self.node(at, Kind::Literal(Literal::Bool(true))), condition, step)
            }
            "exists" => {
                let tested = self.ident(at, ACCUMULATOR);
                let negated = self.call(at, "!_", false, vec![tested]);
                let condition = self.call(at, "@not_strictly_false", false, vec![negated]);
                let step = self.call(at, "_||_", false, vec![gathered, last]);
                (self.node(at, Kind::Literal(Literal::Bool(false))), condition, step)
            }
            _ => {
                let condition = self.node(at, Kind::Literal(Literal::Bool(true)));
                let (init, step, filter) = self.gathering(at, name, var, gathered, last, body.pop());
                let step = match filter {
                    Some(filter) => {
                        let unchanged = self.ident(at, ACCUMULATOR);
                        self.call(at, "_?_:_", false, vec![filter, step, unchanged])
                    }
                    None => step,
                };
                (init, condition, step)
            }
        }
    }

    /// The start and the step of a loop that gathers, and the filter before the step.
    fn gathering(
        &mut self,
        at: u64,
        name: &str,
        var: &str,
        gathered: Expr,
        last: Expr,
        filter: Option<Expr>,
    ) -> (Expr, Expr, Option<Expr>) {
        match name {
            "transformList" => {
                let element = self.node(at, Kind::List(vec![Element { value: last, optional: false }]));
                let step = self.call(at, "_+_", false, vec![gathered, element]);
                (self.node(at, Kind::List(Vec::new())), step, filter)
            }
            "transformMap" => {
                let key = self.ident(at, var);
                let step = self.call(at, "cel.@mapInsert", false, vec![gathered, key, last]);
                (self.node(at, Kind::Map(Vec::new())), step, filter)
            }
            "transformMapEntry" => {
                let step = self.call(at, "cel.@mapInsert", false, vec![gathered, last]);
                (self.node(at, Kind::Map(Vec::new())), step, filter)
            }
            _ => {
                let one = self.node(at, Kind::Literal(Literal::Int(1)));
                let step = self.call(at, "_+_", false, vec![gathered, one]);
                (self.node(at, Kind::Literal(Literal::Int(0))), step, Some(last))
            }
        }
    }
}

fn qualified_name(expr: &parsed::IdedExpr) -> Option<String> {
    match &expr.expr {
        parsed::Expr::Ident(name) => Some(name.clone()),
        parsed::Expr::Select(select) if !select.test => {
            qualified_name(&select.operand).map(|prefix| format!("{prefix}.{}", select.field))
        }
        _ => None,
    }
}

fn literal(value: &LiteralValue) -> Literal {
    match value {
        LiteralValue::Null => Literal::Null,
        LiteralValue::Boolean(value) => Literal::Bool(*value.inner()),
        LiteralValue::Int(value) => Literal::Int(*value.inner()),
        LiteralValue::UInt(value) => Literal::Uint(*value.inner()),
        LiteralValue::Double(value) => Literal::Double(*value.inner()),
        LiteralValue::String(value) => Literal::String(value.inner().to_owned()),
        LiteralValue::Bytes(value) => Literal::Bytes(value.inner().to_vec()),
    }
}
