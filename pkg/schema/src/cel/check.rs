// SPDX-License-Identifier: Apache-2.0
//! The type check: what each part of an expression gives, and what is wrong with it, in the words of
//! upstream's checker.

use std::collections::HashMap;
use std::sync::Arc;

use super::ast::{Call, Comprehension, Element, Entry, Expr, Kind, Literal, Select, StructLiteral};
use super::declarations::{self, Declarations, Overload};
use super::format_check;
use super::parse::Issue;
use super::shape::unescaped;
use super::types::{Struct, Substitution, Type, most_general};

/// What the check found out.
#[derive(Debug)]
pub(super) struct Checked {
    /// By the node's number.
    pub types: Vec<Type>,
    /// The overloads that a call may mean, by the node's number.
    pub overloads: HashMap<usize, Vec<Arc<Overload>>>,
    /// What the whole gives.
    pub output: Type,
}

/// What an expression can name.
pub(super) struct Names<'a> {
    pub variables: &'a [(String, Type)],
    /// Types whose literals it can write, by name.
    pub structs: &'a [Type],
    pub functions: &'a Declarations,
}

/// Checks a parsed expression.
pub(super) fn check(root: &Expr, places: &[(usize, usize)], names: &Names<'_>) -> Result<Checked, Vec<Issue>> {
    let types = vec![Type::Error; places.len()];
    let mut checker = Checker {
        names,
        places,
        types,
        overloads: HashMap::new(),
        known: Substitution::default(),
        scopes: Vec::new(),
        issues: Vec::new(),
    };
    checker.expr(root);
    if checker.issues.is_empty() {
        checker.literals(root, false);
    }
    if !checker.issues.is_empty() {
        return Err(checker.issues);
    }
    let types: Vec<Type> = checker.types.iter().map(|t| checker.known.resolve_or_dyn(t)).collect();
    let output = types[root.id].clone();
    Ok(Checked { types, overloads: checker.overloads, output })
}

struct Checker<'a> {
    names: &'a Names<'a>,
    places: &'a [(usize, usize)],
    types: Vec<Type>,
    overloads: HashMap<usize, Vec<Arc<Overload>>>,
    known: Substitution,
    /// Variables of loops, innermost last.
    scopes: Vec<(String, Type)>,
    issues: Vec<Issue>,
}

impl Checker<'_> {
    fn complain(&mut self, id: usize, message: String) -> Type {
        let (line, column) = self.places[id];
        let issue = Issue { line, column, message };
        if !self.issues.contains(&issue) {
            self.issues.push(issue);
        }
        Type::Error
    }

    fn undeclared(&mut self, id: usize, name: &str) -> Type {
        self.complain(id, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn mismatch(&mut self, id: usize, wanted: &Type, given: &Type) -> Type {
        let (wanted, given) = (self.known.resolve(wanted), self.known.resolve(given));
        let message = format!("expected type '{}' but found '{}'", wanted.checked_name(), given.checked_name());
        self.complain(id, message)
    }

    fn expr(&mut self, expr: &Expr) -> Type {
        let found = match &expr.kind {
            Kind::Literal(literal) => of_literal(literal),
            Kind::Ident(name) => self.variable(name).unwrap_or_else(|| self.undeclared(expr.id, name)),
            Kind::Select(select) => self.select(expr.id, select),
            Kind::Call(call) => self.call(expr.id, call),
            Kind::List(elements) => self.list(elements),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct(literal) => self.structure(expr.id, literal),
            Kind::Comprehension(comprehension) => self.comprehension(comprehension),
        };
        self.types[expr.id] = found.clone();
        found
    }

    fn variable(&self, name: &str) -> Option<Type> {
        let local = self.scopes.iter().rev().find(|(n, _)| n == name).map(|(_, t)| t.clone());
        let global = || self.names.variables.iter().find(|(n, _)| n == name).map(|(_, t)| t.clone());
        let name = name.strip_prefix('.').unwrap_or(name);
        let of_type = || declarations::type_by_name(name).map(|t| Type::TypeOf(Arc::new(t)));
        local.or_else(global).or_else(of_type)
    }

    fn select(&mut self, id: usize, select: &Select) -> Type {
        if let Some(name) = dotted(&select.operand, &select.field).filter(|_| !select.test) {
            if let Some((_, found)) = self.names.variables.iter().find(|(n, _)| *n == name) {
                return found.clone();
            }
            if let Some(named) = declarations::type_by_name(&name) {
                return Type::TypeOf(Arc::new(named));
            }
        }
        let found = self.field(id, &select.operand, &select.field, false);
        if select.test { Type::Bool } else { self.known.resolve(&found) }
    }

    fn field(&mut self, id: usize, operand: &Expr, field: &str, optional: bool) -> Type {
        let operand = self.expr(operand);
        let operand = self.known.resolve(&operand);
        let (target, is_optional) = match operand {
            Type::Optional(inner) => (self.known.resolve(&inner), true),
            other => (other, false),
        };
        let found = match &target {
            Type::Map(_, value) => Type::clone(value),
            Type::Struct(of) => self.struct_field(id, of, field),
            Type::Var(_) => {
                self.known.assign(&Type::Dyn, &target);
                Type::Dyn
            }
            Type::Dyn | Type::Error => Type::Dyn,
            other if other.is_closed_object() => {
                self.complain(id, format!("unexpected failed resolution of '{other}'"))
            }
            other => {
                let message = format!("type '{}' does not support field selection", other.checked_name());
                self.complain(id, message);
                Type::Dyn
            }
        };
        if optional || is_optional { Type::optional(found) } else { found }
    }

    fn struct_field(&mut self, id: usize, of: &Struct, field: &str) -> Type {
        match &of.fields {
            None => Type::Dyn,
            Some(fields) => match fields.get(field) {
                Some(found) => found.clone(),
                None => match unescaped(field).and_then(|escaped| fields.get(&escaped)) {
                    Some(found) => found.clone(),
                    None => self.complain(id, format!("undefined field '{field}'")),
                },
            },
        }
    }

    fn call(&mut self, id: usize, call: &Call) -> Type {
        if call.function == "_?._"
            && let [operand, Expr { kind: Kind::Literal(Literal::String(field)), .. }] = call.args.as_slice()
        {
            let found = self.field(id, operand, field, true);
            return self.known.resolve(&found);
        }
        // The arguments are looked at before what stands before the dot, so their faults come first.
        let (target, rest) = call.args.split_at(usize::from(call.member));
        let rest: Vec<Type> = rest.iter().map(|arg| self.expr(arg)).collect();
        let mut given: Vec<Type> = target.iter().map(|arg| self.expr(arg)).collect();
        given.extend(rest);
        if !self.names.functions.has_function(&call.function) {
            return self.undeclared(id, &call.function);
        }
        if matches!(call.function.as_str(), "_&&_" | "_||_") {
            return self.logical(id, call, &given);
        }
        self.resolve_overload(id, call, &given)
    }

    fn logical(&mut self, id: usize, call: &Call, given: &[Type]) -> Type {
        for (arg, found) in call.args.iter().zip(given) {
            if !self.known.assign(found, &Type::Bool) {
                self.mismatch(arg.id, &Type::Bool, found);
            }
        }
        self.overloads.insert(id, self.names.functions.overloads(&call.function).to_vec());
        Type::Bool
    }

    fn resolve_overload(&mut self, id: usize, call: &Call, given: &[Type]) -> Type {
        let mut result: Option<Type> = None;
        let mut chosen = Vec::new();
        for overload in self.names.functions.overloads(&call.function) {
            if overload.member != call.member || overload.args.len() != given.len() {
                continue;
            }
            let (args, gives) = self.instance(overload);
            if !self.known.assign_all(given, &args) {
                continue;
            }
            chosen.push(Arc::clone(overload));
            let gives = self.known.resolve(&gives);
            result = Some(match result {
                None => gives,
                Some(before) if before == Type::Dyn || before.is_same(&gives) => before,
                Some(_) => Type::Dyn,
            });
        }
        let Some(result) = result else {
            let names: Vec<String> = given.iter().map(|t| self.known.resolve_or_dyn(t).checked_name()).collect();
            let signature = match call.member {
                true => format!("{}.({})", names[0], names[1..].join(", ")),
                false => format!("({})", names.join(", ")),
            };
            let message = format!("found no matching overload for '{}' applied to '{signature}'", call.function);
            return self.complain(id, message);
        };
        self.overloads.insert(id, chosen);
        result
    }

    /// The overload with new unknown types in the place of its parameters.
    fn instance(&mut self, overload: &Overload) -> (Vec<Type>, Type) {
        let (a, b) = (self.known.fresh(), self.known.fresh());
        let args = overload.args.iter().map(|t| instantiate(t, &a, &b)).collect();
        (args, instantiate(&overload.result, &a, &b))
    }

    fn list(&mut self, elements: &[Element]) -> Type {
        let mut joined = None;
        for element in elements {
            let found = self.expr(&element.value);
            let found = self.unwrapped(&element.value, found, element.optional);
            joined = Some(self.join(joined, found));
        }
        Type::list(joined.unwrap_or_else(|| self.known.fresh()))
    }

    fn map(&mut self, entries: &[Entry]) -> Type {
        let (mut keys, mut values) = (None, None);
        for entry in entries {
            let key = self.expr(&entry.key);
            keys = Some(self.join(keys, key));
            let found = self.expr(&entry.value);
            let found = self.unwrapped(&entry.value, found, entry.optional);
            values = Some(self.join(values, found));
        }
        let keys = keys.unwrap_or_else(|| self.known.fresh());
        Type::map(keys, values.unwrap_or_else(|| self.known.fresh()))
    }

    /// What an entry written with `?` adds.
    fn unwrapped(&mut self, at: &Expr, found: Type, optional: bool) -> Type {
        match (optional, self.known.resolve(&found)) {
            (false, _) => found,
            (true, Type::Optional(inner)) => Type::clone(&inner),
            (true, Type::Dyn) => found,
            (true, other) => {
                self.mismatch(at.id, &Type::optional(other.clone()), &other);
                other
            }
        }
    }

    /// The type of elements that stand together: upstream complains where they differ, but only once all is typed.
    fn join(&mut self, before: Option<Type>, now: Type) -> Type {
        let Some(before) = before else { return now };
        if self.known.assign(&before, &now) {
            return most_general(before, now);
        }
        Type::Dyn
    }

    fn structure(&mut self, id: usize, literal: &StructLiteral) -> Type {
        let of = self.struct_type(&literal.name);
        let of = of.unwrap_or_else(|| self.undeclared(id, &literal.name));
        for field in &literal.fields {
            let given = self.expr(&field.value);
            let given = self.unwrapped(&field.value, given, field.optional);
            let Type::Struct(structure) = &of else { continue };
            // Upstream looks only at what a field that is not there should be, and finds nothing.
            let wanted = match &structure.fields {
                None => Some(Type::Dyn),
                Some(fields) => fields.get(&field.name).cloned(),
            };
            if wanted.as_ref().is_some_and(|wanted| self.known.assign(wanted, &given)) {
                continue;
            }
            let given = self.known.resolve(&given).checked_name();
            let wanted = wanted.map(|wanted| wanted.checked_name()).unwrap_or_default();
            let message =
                format!("expected type of field '{}' is '{wanted}' but provided type is '{given}'", field.name);
            self.complain(field.id, message);
        }
        of
    }

    /// `Object` and all below it have any fields; others are declared.
    fn struct_type(&self, name: &str) -> Option<Type> {
        let declared = self.names.structs.iter().find(|t| t.to_string() == name).cloned();
        let has_object = self.names.structs.iter().any(|t| t.to_string() == "Object");
        declared.or_else(|| (has_object && name.starts_with("Object.")).then(|| Type::open_struct(name)))
    }

    fn comprehension(&mut self, of: &Comprehension) -> Type {
        let range = self.expr(&of.range);
        let accumulated = self.expr(&of.init);
        let (first, second) = self.loop_variables(&of.range, &range, of.var2.is_some());
        let depth = self.scopes.len();
        self.scopes.push((of.accumulator.clone(), accumulated.clone()));
        self.scopes.push((of.var.clone(), first));
        if let Some(name) = &of.var2 {
            self.scopes.push((name.clone(), second));
        }
        for (part, wanted) in [(&of.condition, Type::Bool), (&of.step, accumulated)] {
            let found = self.expr(part);
            if !self.known.assign(&wanted, &found) {
                self.mismatch(part.id, &wanted, &found);
            }
        }
        self.scopes.truncate(depth + 1);
        let result = self.expr(&of.result);
        self.scopes.truncate(depth);
        self.known.resolve(&result)
    }

    fn loop_variables(&mut self, at: &Expr, range: &Type, two: bool) -> (Type, Type) {
        match self.known.resolve(range) {
            Type::List(element) if two => (Type::Int, Type::clone(&element)),
            Type::List(element) => (Type::clone(&element), Type::Error),
            Type::Map(key, value) => (Type::clone(&key), Type::clone(&value)),
            unknown @ (Type::Dyn | Type::Error | Type::Var(_)) => {
                self.known.assign(&Type::Dyn, &unknown);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let message = format!(
                    "expression of type '{}' cannot be range of a comprehension (must be list, map, or dynamic)",
                    other.checked_name()
                );
                self.complain(at.id, message);
                (Type::Error, Type::Error)
            }
        }
    }

    /// Texts in the source that can be seen to be no regular expression, duration or time, and elements of different
    /// types outside of what is `formatted`.
    fn literals(&mut self, expr: &Expr, formatted: bool) {
        let mut formatted = formatted;
        match &expr.kind {
            Kind::Call(call) => {
                formatted |= call.function == "format";
                let index = if call.function == "matches" { usize::from(call.member) } else { 0 };
                if let Some(Expr { id, kind: Kind::Literal(literal) }) = call.args.get(index)
                    && let Some(kind) = bad_literal(&call.function, literal)
                {
                    self.complain(*id, format!("invalid {kind} argument"));
                }
                let ty = |expr: &Expr| self.known.resolve_or_dyn(&self.types[expr.id]);
                if let Some(misfit) = format_check::check(call, &ty) {
                    self.complain(misfit.at.unwrap_or(expr.id), misfit.why);
                }
            }
            Kind::List(elements) if !formatted => self.same_type(elements.iter().map(|e| (&e.value, e.optional)), true),
            Kind::Map(entries) if !formatted => {
                self.same_type(entries.iter().map(|e| (&e.key, false)), false);
                self.same_type(entries.iter().map(|e| (&e.value, e.optional)), false);
            }
            _ => {}
        }
        for child in expr.children() {
            self.literals(child, formatted);
        }
    }

    /// Each that is not of the first one's type is complained of; in a list only the first of them.
    fn same_type<'e>(&mut self, values: impl Iterator<Item = (&'e Expr, bool)>, once: bool) {
        let mut first: Option<Type> = None;
        for (value, optional) in values {
            let found = match (self.known.resolve_or_dyn(&self.types[value.id]), optional) {
                (Type::Optional(inner), true) => Type::clone(&inner),
                (found, _) => found,
            };
            match &first {
                None => first = Some(found),
                Some(wanted) if wanted.is_same(&found) => {}
                Some(wanted) => {
                    self.mismatch(value.id, &wanted.clone(), &found);
                    if once {
                        return;
                    }
                }
            }
        }
    }
}

/// The years from 1 to 9999, in seconds from 1970.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// What a constant given to this function should have been and is not. Whole numbers are declared as durations, and
/// convert to none.
fn bad_literal(function: &str, literal: &Literal) -> Option<&'static str> {
    match literal {
        Literal::String(text) => super::functions::bad_literal(function, text),
        Literal::Int(n) if function == "timestamp" => (!SECONDS.contains(n)).then_some("timestamp"),
        _ => (function == "duration").then_some("duration"),
    }
}

fn of_literal(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

fn instantiate(of: &Type, a: &Type, b: &Type) -> Type {
    match of {
        Type::Param('A') => a.clone(),
        Type::Param(_) => b.clone(),
        Type::List(inner) => Type::list(instantiate(inner, a, b)),
        Type::Optional(inner) => Type::optional(instantiate(inner, a, b)),
        Type::TypeOf(inner) => Type::TypeOf(Arc::new(instantiate(inner, a, b))),
        Type::Map(key, value) => Type::map(instantiate(key, a, b), instantiate(value, a, b)),
        other => other.clone(),
    }
}

/// `a.b.c` as one name.
pub(super) fn dotted(operand: &Expr, field: &str) -> Option<String> {
    match &operand.kind {
        Kind::Ident(name) => Some(format!("{name}.{field}")),
        Kind::Select(select) if !select.test => {
            dotted(&select.operand, &select.field).map(|prefix| format!("{prefix}.{field}"))
        }
        _ => None,
    }
}
