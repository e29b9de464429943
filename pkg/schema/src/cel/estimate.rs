// SPDX-License-Identifier: Apache-2.0
//! The most that a rule can cost, from its text and the bounds of the schema alone, as upstream estimates it:
//! a rule that could cost too much is refused when its CRD is written.

use std::collections::HashMap;

use super::ast::{ACCUMULATOR, Call, Comprehension, Expr, Kind, Literal, Select};
use super::check::Checked;
use super::cost::{AUTHORIZATION, CHARACTER, LIST, MAP, REGEX_CHARACTER, STRUCT, reads_once};
use super::shape::{Shape, ShapeKind};
use super::types::Type;

/// How large the data can be that an expression sees.
pub trait Bounds {
    /// The most elements, entries or characters of what stands at this path: the name of a variable, then names of
    /// fields, or `@items`, `@keys` and `@values` of lists and maps. Nothing where nothing is known of it.
    fn most(&self, path: &[String]) -> Option<u64>;
}

/// A resource, which the variables `self` and `oldSelf` have.
impl Bounds for Shape {
    fn most(&self, path: &[String]) -> Option<u64> {
        let mut at = self;
        for step in path.get(1..)? {
            at = match step.as_str() {
                "@items" | "@values" => match &at.kind {
                    ShapeKind::List(element, _) | ShapeKind::Map(element) => element,
                    _ => return None,
                },
                "@keys" if matches!(at.kind, ShapeKind::Map(_)) => return Some(0),
                "@keys" | "@indices" => return None,
                name => at.field(name)?,
            };
        }
        Some(at.max_elements)
    }
}

/// The most that the expression can cost.
pub(super) fn max_cost(root: &Expr, checked: &Checked, bounds: &dyn Bounds) -> u64 {
    let (paths, sizes, entries) = (HashMap::new(), HashMap::new(), HashMap::new());
    Coster { checked, bounds, paths, sizes, entries, locals: Vec::new() }.expr(root).max
}

/// From at least to at most; both stop at the largest number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    min: u64,
    max: u64,
}

const UNKNOWN: Range = Range { min: 0, max: u64::MAX };
const NOTHING: Range = Range::fixed(0);
const ONE: Range = Range::fixed(1);

impl Range {
    const fn fixed(n: u64) -> Self {
        Self { min: n, max: n }
    }

    fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    /// Rounded up.
    fn scaled(self, factor: f64) -> Self {
        let scale = |n: u64| (n as f64 * factor).ceil() as u64;
        Self { min: scale(self.min), max: if self.max == u64::MAX { u64::MAX } else { scale(self.max) } }
    }

    fn or(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// How large the keys and the values of a written list or map can be.
#[derive(Clone, Copy)]
struct Entries {
    is_list: bool,
    key: Range,
    value: Range,
}

impl Entries {
    fn or(self, other: Self) -> Self {
        Self { is_list: self.is_list, key: self.key.or(other.key), value: self.value.or(other.value) }
    }
}

/// A name that a loop gives: where its value stands in the object, and how large it is.
struct Local<'a> {
    name: &'a str,
    path: Option<Vec<String>>,
    size: Option<Range>,
    entries: Option<Entries>,
}

struct Coster<'a> {
    checked: &'a Checked,
    bounds: &'a dyn Bounds,
    /// Where in the object a node looks, by its number.
    paths: HashMap<usize, Vec<String>>,
    /// How large what a node gives is, by its number.
    sizes: HashMap<usize, Range>,
    /// How large what is in a list or map that a node gives is, by its number.
    entries: HashMap<usize, Entries>,
    locals: Vec<Local<'a>>,
}

impl<'a> Coster<'a> {
    fn ty(&self, expr: &Expr) -> &Type {
        &self.checked.types[expr.id]
    }

    fn path(&self, expr: &Expr) -> Option<Vec<String>> {
        self.paths.get(&expr.id).cloned()
    }

    fn step(&mut self, expr: &Expr, from: &Expr, step: &str) {
        if let Some(mut path) = self.path(from) {
            path.push(step.to_owned());
            self.paths.insert(expr.id, path);
        }
    }

    fn local(&self, name: &str) -> Option<&Local<'a>> {
        self.locals.iter().rev().find(|local| local.name == name)
    }

    fn expr(&mut self, expr: &'a Expr) -> Range {
        match &expr.kind {
            Kind::Literal(_) => NOTHING,
            Kind::Ident(name) => {
                let path = match self.local(name) {
                    Some(local) => local.path.clone(),
                    None => Some(vec![name.clone()]),
                };
                if let Some(path) = path {
                    self.paths.insert(expr.id, path);
                }
                ONE
            }
            Kind::Select(select) => self.select(expr, select),
            Kind::Call(call) => self.call(expr, call),
            Kind::List(elements) => {
                let inner = elements.iter().map(|e| self.expr(&e.value)).fold(NOTHING, Range::plus);
                let value = self.any_of(elements.iter().map(|e| &e.value));
                self.entries.insert(expr.id, Entries { is_list: true, key: ONE, value });
                inner.plus(Range::fixed(LIST))
            }
            Kind::Map(entries) => {
                let inner = entries.iter().map(|e| self.expr(&e.key).plus(self.expr(&e.value)));
                let inner = inner.fold(NOTHING, Range::plus);
                let key = self.any_of(entries.iter().map(|e| &e.key));
                let value = self.any_of(entries.iter().map(|e| &e.value));
                self.entries.insert(expr.id, Entries { is_list: false, key, value });
                inner.plus(Range::fixed(MAP))
            }
            Kind::Struct(literal) => {
                let inner = literal.fields.iter().map(|f| self.expr(&f.value)).fold(NOTHING, Range::plus);
                inner.plus(Range::fixed(STRUCT))
            }
            Kind::Comprehension(of) if of.is_bind() => self.bind(expr, of),
            Kind::Comprehension(of) => self.comprehension(expr, of),
        }
    }

    fn select(&mut self, expr: &'a Expr, select: &'a Select) -> Range {
        let cost = self.expr(&select.operand);
        if select.test {
            return cost;
        }
        self.step(expr, &select.operand, &select.field);
        match self.ty(&select.operand) {
            Type::Map(..) | Type::Struct(_) | Type::Var(_) => cost.plus(ONE),
            _ => cost,
        }
    }

    /// From the smallest to the largest of these.
    fn any_of<'e>(&self, all: impl Iterator<Item = &'e Expr>) -> Range {
        all.map(|expr| self.size(expr)).reduce(Range::or).unwrap_or(NOTHING)
    }

    fn entries_of(&self, expr: &Expr) -> Option<Entries> {
        let local = || match &expr.kind {
            Kind::Ident(name) => self.local(name)?.entries,
            _ => None,
        };
        self.entries.get(&expr.id).copied().or_else(local)
    }

    /// `to` is as large as `from`.
    fn copy_sizes(&mut self, to: &Expr, from: &Expr) {
        if let Some(size) = self.known_size(from) {
            self.sizes.insert(to.id, size);
        }
        if let Some(entries) = self.entries_of(from) {
            self.entries.insert(to.id, entries);
        }
    }

    fn push_local(&mut self, name: &'a str, value: &Expr) {
        let (path, size) = (self.path(value), self.known_size(value));
        self.locals.push(Local { name, path, size, entries: self.entries_of(value) });
    }

    fn bind(&mut self, expr: &Expr, of: &'a Comprehension) -> Range {
        let cost = self.expr(&of.range).plus(self.expr(&of.init));
        self.push_local(&of.accumulator, &of.init);
        let cost = cost.plus(self.expr(&of.result));
        self.locals.pop();
        self.copy_sizes(expr, &of.result);
        cost
    }

    fn comprehension(&mut self, expr: &Expr, of: &'a Comprehension) -> Range {
        let mut cost = self.expr(&of.range).plus(self.expr(&of.init));
        let depth = self.locals.len();
        self.push_local(&of.accumulator, &of.init);
        let entries = self.entries_of(&of.range);
        let is_list = entries.map_or_else(|| matches!(self.ty(&of.range), Type::List(_)), |of| of.is_list);
        let (key, value) = if is_list { ("@indices", "@items") } else { ("@keys", "@values") };
        let (key_size, value_size) = (entries.map(|of| of.key), entries.map(|of| of.value));
        match &of.var2 {
            Some(second) => {
                self.push_variable(&of.var, &of.range, key, key_size);
                self.push_variable(second, &of.range, value, value_size);
            }
            None if is_list => self.push_variable(&of.var, &of.range, value, value_size),
            None => self.push_variable(&of.var, &of.range, key, key_size),
        }
        let round = self.expr(&of.condition).plus(self.expr(&of.step));
        let gathered = self.entries_of(&of.step);
        self.locals.truncate(depth + 1);
        cost = cost.plus(self.expr(&of.result));
        self.locals.truncate(depth);
        let rounds = self.size(&of.range);
        match &of.init.kind {
            Kind::List(_) | Kind::Map(_) => {
                self.sizes.insert(expr.id, rounds);
                if let Some(gathered) = gathered {
                    self.entries.insert(expr.id, gathered);
                }
            }
            Kind::Literal(_) => {
                if let Some(size) = self.known_size(&of.init) {
                    self.sizes.insert(expr.id, size);
                }
            }
            _ => {}
        }
        cost.plus(rounds.times(round))
    }

    /// What is looped over may stand nowhere in the object; upstream then looks at the object itself.
    fn push_variable(&mut self, name: &'a str, range: &Expr, step: &str, size: Option<Range>) {
        let mut path = self.path(range).unwrap_or_default();
        path.push(step.to_owned());
        self.locals.push(Local { name, path: Some(path), size, entries: None });
    }

    fn call(&mut self, expr: &'a Expr, call: &'a Call) -> Range {
        let costs: Vec<Range> = call.args.iter().map(|arg| self.expr(arg)).collect();
        let sum = costs.iter().copied().fold(NOTHING, Range::plus);
        match call.function.as_str() {
            "_&&_" | "_||_" if costs.len() == 2 => {
                return Range { min: costs[0].min, max: sum.max };
            }
            "_?_:_" if costs.len() == 3 => {
                let size = self.size(&call.args[1]).or(self.size(&call.args[2]));
                self.sizes.insert(expr.id, size);
                self.either_entries(expr, &call.args[1], &call.args[2]);
                return costs[0].plus(costs[1].or(costs[2]));
            }
            "_+_" if call.args.len() == 2 => self.either_entries(expr, &call.args[0], &call.args[1]),
            "dyn" if call.args.len() == 1 => {
                self.copy_sizes(expr, &call.args[0]);
                return sum.plus(ONE);
            }
            "_[_]" => {
                let step = if matches!(self.ty(&call.args[0]), Type::List(_)) { "@items" } else { "@values" };
                self.step(expr, &call.args[0], step);
                if let Some(entries) = self.entries_of(&call.args[0]) {
                    self.sizes.insert(expr.id, entries.value);
                }
            }
            _ => {}
        }
        let sizes: Vec<Range> = call.args.iter().map(|arg| self.size(arg)).collect();
        let size = match call.function.as_str() {
            "join" => Some(self.joined(call, &sizes)),
            "_+_" if self.ty(expr).is_scalar() => None,
            _ => result_size(call, &sizes, call.args.first().is_some_and(|arg| *self.ty(arg) == Type::String)),
        };
        if let Some(size) = size {
            self.sizes.insert(expr.id, size);
        }
        let overloads = self.checked.overloads.get(&expr.id).map(Vec::as_slice).unwrap_or_default();
        let by_overload = overloads.iter().map(|overload| self.function(call, &overload.args, &sizes));
        sum.plus(by_overload.reduce(Range::or).unwrap_or(ONE))
    }

    fn either_entries(&mut self, expr: &Expr, a: &Expr, b: &Expr) {
        if let (Some(a), Some(b)) = (self.entries_of(a), self.entries_of(b)) {
            self.entries.insert(expr.id, a.or(b));
        }
    }

    /// The text of all elements, and what stands between them.
    fn joined(&self, call: &Call, sizes: &[Range]) -> Range {
        let list = sizes.first().copied().unwrap_or(UNKNOWN);
        let between = Range { min: list.min.saturating_sub(1), max: list.max.saturating_sub(1) };
        let elements = call.args.first().map_or(UNKNOWN, |list| self.element(list));
        let separators = sizes.get(1).map_or(NOTHING, |separator| separator.times(between));
        list.times(elements).plus(separators)
    }

    /// How large the elements of a list can be, by its place in the object alone.
    fn element(&self, list: &Expr) -> Range {
        let path = self.path(list).filter(|path| path.first().is_some_and(|name| name != ACCUMULATOR));
        let declared = path.and_then(|mut path| {
            path.push("@items".to_owned());
            self.declared_size(&path)
        });
        declared.unwrap_or(UNKNOWN)
    }

    /// What the function itself costs, by one of its overloads.
    fn function(&self, call: &Call, types: &[Type], sizes: &[Range]) -> Range {
        let of = |index: usize| sizes.get(index).copied().unwrap_or(UNKNOWN);
        let is_text = matches!(types.first(), Some(Type::String | Type::Bytes));
        match call.function.as_str() {
            "check" => Range::fixed(AUTHORIZATION),
            "fieldSelector" | "labelSelector" => {
                let requirements = of(1).scaled(0.5).scaled((LIST + STRUCT) as f64);
                Range::fixed(LIST).plus(of(1).scaled(CHARACTER)).plus(requirements)
            }
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" if is_text => of(0).scaled(CHARACTER),
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => self.traversal(call, of(0)),
            name if reads_once(name) => of(0).scaled(CHARACTER),
            "ip" if is_text => of(0).scaled(CHARACTER),
            "replace" | "split" | "ip.isCanonical" => of(0).scaled(2.0 * CHARACTER),
            "join" => self.joined(call, sizes).scaled(CHARACTER),
            // Only the form with a receiver has a cost of its own.
            "matches" if !call.member => ONE,
            "find" | "findAll" | "matches" => of(0).plus(ONE).scaled(CHARACTER).times(of(1).scaled(REGEX_CHARACTER)),
            "contains" => of(0).scaled(CHARACTER).times(of(1).scaled(CHARACTER)),
            "startsWith" | "endsWith" => of(1).scaled(CHARACTER),
            "containsIP" | "containsCIDR" => {
                let compared =
                    if call.function == "containsIP" { Range { min: 1, max: 4 } } else { Range { min: 3, max: 7 } };
                let parsed = matches!(types.get(1), Some(Type::String)).then(|| of(1).scaled(CHARACTER));
                compared.plus(parsed.unwrap_or(NOTHING))
            }
            "validate" => of(1).scaled(CHARACTER).scaled(128.0 * REGEX_CHARACTER),
            "bytes" if types == [Type::String] => of(0).scaled(CHARACTER),
            "string" if types == [Type::Bytes] => of(0).scaled(CHARACTER),
            "@in" if matches!(types.get(1), Some(Type::List(_))) => of(1),
            "_+_" if is_text => of(0).plus(of(1)).scaled(CHARACTER),
            "_<_" | "_<=_" | "_>_" | "_>=_" if is_text => smaller(of(0), of(1)),
            "_==_" if *self.ty(&call.args[0]) == Type::Opaque("kubernetes.URL") => {
                let computed = call.args.get(1).and_then(|url| self.known_size(url)).unwrap_or(ONE);
                Range { min: 1, max: computed.max.max(1) }.scaled(CHARACTER)
            }
            "_==_" if matches!(self.ty(&call.args[0]), Type::Opaque(_)) => ONE,
            "_==_" | "_!=_" => smaller(of(0), of(1)),
            "sets.contains" | "sets.intersects" => of(0).times(of(1)).plus(ONE),
            "sets.equivalent" => of(0).times(of(1)).scaled(2.0).plus(ONE),
            "sort" | "@sortByAssociatedKeys" => {
                let keys = usize::from(call.function != "sort");
                let text =
                    matches!(types.get(keys), Some(Type::List(of)) if matches!(**of, Type::String | Type::Bytes));
                made(of(keys).times(of(keys)).scaled(if text { 2.0 + CHARACTER } else { 2.0 }))
            }
            "distinct" => made(of(0).times(of(0)).scaled(2.0)),
            "flatten" => made(of(0).scaled(call.args.get(1).map_or(1, |depth| written(depth, u64::MAX)) as f64)),
            "reverse" => made(of(0)),
            "slice" | "lists.range" => made(result_size(call, sizes, is_text).unwrap_or(UNKNOWN)),
            _ => ONE,
        }
    }

    /// Comparing every element of a list once.
    fn traversal(&self, call: &Call, elements: Range) -> Range {
        let Some(list) = call.args.first() else { return ONE };
        let each = match self.ty(list) {
            Type::List(element) if matches!(element.as_ref(), Type::String | Type::Bytes) => {
                ONE.plus(self.element(list).scaled(CHARACTER))
            }
            _ => ONE,
        };
        elements.times(each)
    }

    fn size(&self, expr: &Expr) -> Range {
        self.known_size(expr).unwrap_or(UNKNOWN)
    }

    fn known_size(&self, expr: &Expr) -> Option<Range> {
        let written = match &expr.kind {
            Kind::Literal(Literal::String(text)) => Some(Range::fixed(text.chars().count() as u64)),
            Kind::Literal(Literal::Bytes(bytes)) => Some(Range::fixed(bytes.len() as u64)),
            Kind::Literal(_) => Some(ONE),
            Kind::List(elements) => Some(Range::fixed(elements.len() as u64)),
            Kind::Map(entries) => Some(Range::fixed(entries.len() as u64)),
            _ => None,
        };
        let computed = self.sizes.get(&expr.id).copied();
        let declared = || self.paths.get(&expr.id).and_then(|path| self.declared_size(path));
        let scalar = || self.ty(expr).is_scalar().then_some(ONE);
        let local = || match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.size),
            _ => None,
        };
        computed.or(written).or_else(declared).or_else(scalar).or_else(local)
    }

    /// The bound that is declared for what stands at this path.
    fn declared_size(&self, path: &[String]) -> Option<Range> {
        if path.first().is_some_and(|name| name == ACCUMULATOR) {
            return None;
        }
        Some(Range { min: 0, max: self.bounds.most(path)? })
    }
}

fn smaller(a: Range, b: Range) -> Range {
    let max = a.max.min(b.max);
    Range { min: u64::from(max > 0), max }.scaled(CHARACTER)
}

/// How large what a function gives can be, where its arguments are this large; `of_text` where the first is a text.
fn result_size(call: &Call, sizes: &[Range], of_text: bool) -> Option<Range> {
    let of = |index: usize| sizes.get(index).copied().unwrap_or(UNKNOWN);
    Some(match (call.function.as_str(), call.args.len()) {
        ("url" | "jsonpatch.escapeKey" | "lowerAscii" | "upperAscii" | "substring" | "trim", _) => of(0),
        ("replace", 3 | 4) => replaced(of(0), of(1), of(2)),
        ("split", _) => {
            let limit = match call.args.get(2).map(|arg| &arg.kind) {
                Some(Kind::Literal(Literal::Int(limit))) => u64::try_from(*limit).unwrap_or(u64::MAX),
                _ => of(0).max,
            };
            Range { min: 0, max: limit }
        }
        ("find" | "findAll", _) => Range { min: 0, max: of(0).max },
        ("bytes", 1) if of_text => Range { min: of(0).min, max: of(0).max.saturating_mul(4) },
        ("strings.quote", _) => Range { min: of(0).min + 2, max: of(0).max.saturating_mul(2).saturating_add(2) },
        ("_+_", 2) => of(0).plus(of(1)),
        ("reverse" | "flatten", _) => of(0),
        ("distinct" | "sort", _) => of(0).times(of(0)),
        ("@sortByAssociatedKeys", _) => of(1).times(of(1)),
        ("slice", 3) => {
            let start = written(&call.args[1], 0);
            Range::fixed(written(&call.args[2], of(0).max).wrapping_sub(start))
        }
        ("lists.range", 1) => Range::fixed(written(&call.args[0], u64::MAX)),
        _ => return None,
    })
}

/// A call that makes a list.
fn made(work: Range) -> Range {
    work.plus(ONE).plus(Range::fixed(LIST))
}

/// A number as it is written; `other` where it is computed.
fn written(expr: &Expr, other: u64) -> u64 {
    match &expr.kind {
        Kind::Literal(Literal::Int(number)) => u64::try_from(*number).unwrap_or_default(),
        _ => other,
    }
}

/// The longest and the shortest that replacing can make of a text.
fn replaced(text: Range, from: Range, to: Range) -> Range {
    let (mut count, mut kept) = (NOTHING, NOTHING);
    if from.min == 0 {
        count.max = text.max.saturating_add(1);
        kept.max = text.max;
    } else if to.max <= from.min {
        kept.max = text.max;
    } else {
        count.max = text.max.div_ceil(from.min);
    }
    if from.max == 0 {
        count.min = text.min.saturating_add(1);
        kept.min = text.min;
    } else if from.max <= to.min {
        kept.min = text.min;
    } else {
        count.min = text.min.div_ceil(from.max);
    }
    count.times(to).plus(kept)
}
