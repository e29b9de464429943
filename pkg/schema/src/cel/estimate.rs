// SPDX-License-Identifier: Apache-2.0
//! The most that a rule can cost, from its text and the bounds of the schema alone, as upstream estimates it:
//! a rule that could cost too much is refused when its CRD is written.

use std::collections::HashMap;

use super::ast::{ACCUMULATOR, Call, Comprehension, Expr, Kind, Literal, Select};
use super::check::Checked;
use super::cost::{AUTHORIZATION, CHARACTER, LIST, MAP, REGEX_CHARACTER, STRUCT};
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
    let mut coster = Coster { checked, bounds, paths: HashMap::new(), sizes: HashMap::new(), locals: Vec::new() };
    coster.expr(root).max
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

/// A name that a loop gives: where its value stands in the object, and how large it is.
struct Local<'a> {
    name: &'a str,
    path: Option<Vec<String>>,
    size: Option<Range>,
}

struct Coster<'a> {
    checked: &'a Checked,
    bounds: &'a dyn Bounds,
    /// Where in the object a node looks, by its number.
    paths: HashMap<usize, Vec<String>>,
    /// How large what a node gives is, by its number.
    sizes: HashMap<usize, Range>,
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
                inner.plus(Range::fixed(LIST))
            }
            Kind::Map(entries) => {
                let inner = entries.iter().map(|e| self.expr(&e.key).plus(self.expr(&e.value)));
                inner.fold(NOTHING, Range::plus).plus(Range::fixed(MAP))
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

    fn bind(&mut self, expr: &Expr, of: &'a Comprehension) -> Range {
        let cost = self.expr(&of.range).plus(self.expr(&of.init));
        let local = Local { name: &of.accumulator, path: self.path(&of.init), size: self.known_size(&of.init) };
        self.locals.push(local);
        let cost = cost.plus(self.expr(&of.result));
        if let Some(size) = self.known_size(&of.result) {
            self.sizes.insert(expr.id, size);
        }
        self.locals.pop();
        cost
    }

    fn comprehension(&mut self, expr: &Expr, of: &'a Comprehension) -> Range {
        let mut cost = self.expr(&of.range).plus(self.expr(&of.init));
        let depth = self.locals.len();
        self.locals.push(Local { name: &of.accumulator, path: None, size: None });
        let is_list = matches!(self.ty(&of.range), Type::List(_));
        let (key, value) = if is_list { ("@indices", "@items") } else { ("@keys", "@values") };
        let first = if of.var2.is_none() && is_list { value } else { key };
        self.push_variable(&of.var, &of.range, first);
        if let Some(name) = &of.var2 {
            self.push_variable(name, &of.range, value);
        }
        let round = self.expr(&of.condition).plus(self.expr(&of.step));
        self.locals.truncate(depth + 1);
        cost = cost.plus(self.expr(&of.result));
        self.locals.truncate(depth);
        let rounds = self.size(&of.range);
        let size = match &of.init.kind {
            Kind::List(_) | Kind::Map(_) => Some(rounds),
            _ => self.known_size(&of.init),
        };
        if let Some(size) = size {
            self.sizes.insert(expr.id, size);
        }
        cost.plus(rounds.times(round))
    }

    fn push_variable(&mut self, name: &'a str, range: &Expr, step: &str) {
        let path = self.path(range).map(|mut path| {
            path.push(step.to_owned());
            path
        });
        let size = matches!(&range.kind, Kind::List(_)).then(|| self.element_size(range)).flatten();
        self.locals.push(Local { name, path, size });
    }

    /// What the elements of a written list can be.
    fn element_size(&self, list: &Expr) -> Option<Range> {
        let Kind::List(elements) = &list.kind else { return None };
        elements.iter().map(|e| self.size(&e.value)).reduce(Range::or)
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
                return costs[0].plus(costs[1].or(costs[2]));
            }
            "_[_]" => {
                let step = if matches!(self.ty(&call.args[0]), Type::List(_)) { "@items" } else { "@values" };
                self.step(expr, &call.args[0], step);
            }
            _ => {}
        }
        let sizes: Vec<Range> = call.args.iter().map(|arg| self.size(arg)).collect();
        if let Some(size) = result_size(call, &sizes) {
            self.sizes.insert(expr.id, size);
        }
        let overloads = self.checked.overloads.get(&expr.id).map(Vec::as_slice).unwrap_or_default();
        let by_overload = overloads.iter().map(|overload| self.function(call, &overload.args, &sizes));
        sum.plus(by_overload.reduce(Range::or).unwrap_or(ONE))
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
            "url"
            | "jsonpatch.escapeKey"
            | "lowerAscii"
            | "upperAscii"
            | "substring"
            | "trim"
            | "cidr"
            | "isIP"
            | "isCIDR"
            | "quantity"
            | "isQuantity"
            | "semver"
            | "isSemver"
            | "strings.quote"
            | "format" => of(0).scaled(CHARACTER),
            "ip" if is_text => of(0).scaled(CHARACTER),
            "replace" | "split" | "ip.isCanonical" => of(0).scaled(2.0 * CHARACTER),
            "join" => result_size(call, sizes).unwrap_or(UNKNOWN).scaled(CHARACTER),
            "find" | "findAll" | "matches" => of(0).plus(ONE).scaled(CHARACTER).times(of(1).scaled(REGEX_CHARACTER)),
            "contains" => of(0).scaled(CHARACTER).times(of(1).scaled(CHARACTER)),
            "startsWith" | "endsWith" => of(1).scaled(CHARACTER),
            "containsIP" | "containsCIDR" => Range { min: 1, max: 7 }
                .plus(if matches!(types.get(1), Some(Type::String)) { of(1).scaled(CHARACTER) } else { NOTHING }),
            "validate" => of(1).scaled(CHARACTER).scaled(128.0 * REGEX_CHARACTER),
            "bytes" if types == [Type::String] => of(0).scaled(CHARACTER),
            "string" if types == [Type::Bytes] => of(0).scaled(CHARACTER),
            "@in" if matches!(types.get(1), Some(Type::List(_))) => of(1),
            "_+_" if is_text => of(0).plus(of(1)).scaled(CHARACTER),
            "_<_" | "_<=_" | "_>_" | "_>=_" if is_text => smaller(of(0), of(1)),
            "_==_" | "_!=_" if matches!(self.ty(&call.args[0]), Type::Opaque(_)) => ONE,
            "_==_" | "_!=_" => smaller(of(0), of(1)),
            "sets.contains" | "sets.intersects" => of(0).times(of(1)).plus(ONE),
            "sets.equivalent" => of(0).times(of(1)).scaled(2.0).plus(ONE),
            "distinct" | "sort" | "@sortByAssociatedKeys" => of(0).times(of(0)).plus(ONE),
            "flatten" | "reverse" | "slice" | "lists.range" => of(0).plus(ONE),
            _ => ONE,
        }
    }

    /// Comparing every element of a list once.
    fn traversal(&self, call: &Call, elements: Range) -> Range {
        let Some(list) = call.args.first() else { return ONE };
        let each = match self.ty(list) {
            Type::List(element) if matches!(element.as_ref(), Type::String | Type::Bytes) => {
                let path = self.path(list).map(|mut path| {
                    path.push("@items".to_owned());
                    path
                });
                let size = path.and_then(|path| self.declared_size(&path)).or_else(|| self.element_size(list));
                ONE.plus(size.unwrap_or(UNKNOWN).scaled(CHARACTER))
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

/// How large what a function gives can be, where its arguments are this large.
fn result_size(call: &Call, sizes: &[Range]) -> Option<Range> {
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
        ("join", arguments) => {
            let separators = Range { min: of(0).min.saturating_sub(1), max: of(0).max.saturating_sub(1) };
            let between = if arguments > 1 { of(1).times(separators) } else { NOTHING };
            UNKNOWN.times(of(0)).plus(between)
        }
        ("find" | "findAll", _) => Range { min: 0, max: of(0).max },
        ("bytes", _) => Range { min: of(0).min, max: of(0).max.saturating_mul(4) },
        ("strings.quote", _) => Range { min: of(0).min + 2, max: of(0).max.saturating_mul(2).saturating_add(2) },
        ("_+_", 2) => of(0).plus(of(1)),
        ("distinct" | "sort" | "reverse" | "slice" | "@sortByAssociatedKeys", _) => of(0),
        _ => return None,
    })
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
