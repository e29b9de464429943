// SPDX-License-Identifier: Apache-2.0
//! The interpreter: walks a checked expression, and counts what it costs as upstream does, so that a rule that is
//! refused there for its cost is refused here too.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::ast::{
    ACCUMULATOR, Call, Comprehension, Element, Entry, Expr, Kind, Literal, SORTED, Select, StructLiteral,
};
use super::value::{List, Map, StructValue, Value};
use super::{check, cost, declarations, operators};

/// Why an expression gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It cannot be computed, for this reason.
    #[error("{0}")]
    Error(String),
    /// It costs more than it may.
    #[error("operation cancelled: actual cost limit exceeded")]
    Cost,
}

impl Fault {
    /// A reason.
    pub fn new(message: impl Into<String>) -> Self {
        Self::Error(message.into())
    }

    pub(super) fn no_overload() -> Self {
        Self::new("no such overload")
    }

    pub(super) fn no_key(key: &str) -> Self {
        Self::Error(format!("no such key: {key}"))
    }
}

/// What variables an expression finds.
pub trait Activation<'a> {
    /// The variable of this name.
    fn variable(&self, name: &str) -> Option<Value<'a>>;

    /// A member of a variable that is computed when it is asked for.
    fn member(&self, _variable: &str, _member: &str) -> Option<Result<Value<'a>, Fault>> {
        None
    }
}

/// Computes an expression; gives what it gave and what that cost.
pub(super) fn evaluate<'a>(
    root: &'a Expr,
    variables: &dyn Activation<'a>,
    limit: u64,
) -> (Result<Value<'a>, Fault>, u64) {
    let mut run = Run { variables, scopes: Vec::new(), cost: 0, limit };
    let result = run.expr(root);
    (result, run.cost)
}

type Outcome<'a> = Result<Value<'a>, Fault>;

struct Run<'a, 'b> {
    variables: &'b dyn Activation<'a>,
    /// Variables of loops, innermost last; a loop goes on past a fault that a later round may make irrelevant.
    scopes: Vec<(&'a str, Outcome<'a>)>,
    cost: u64,
    limit: u64,
}

impl<'a> Run<'a, '_> {
    fn charge(&mut self, cost: u64) -> Result<(), Fault> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(Fault::Cost) } else { Ok(()) }
    }

    fn expr(&mut self, expr: &'a Expr) -> Outcome<'a> {
        match self.any(expr) {
            Ok(Value::Unfit(why)) => Err(Fault::new(&*why)),
            outcome => outcome,
        }
    }

    fn any(&mut self, expr: &'a Expr) -> Outcome<'a> {
        match &expr.kind {
            Kind::Literal(literal) => Ok(value_of(literal)),
            Kind::Ident(name) => {
                self.charge(cost::SELECT)?;
                self.ident(name)
            }
            Kind::Select(select) => self.select(select),
            Kind::Call(call) => self.call(call),
            Kind::List(elements) => self.list(elements),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct(literal) => self.structure(literal),
            Kind::Comprehension(comprehension) => self.comprehension(comprehension),
        }
    }

    fn ident(&self, name: &str) -> Outcome<'a> {
        if let Some((_, outcome)) = self.scopes.iter().rev().find(|(n, _)| *n == name) {
            return outcome.clone();
        }
        if let Some(value) = self.variables.variable(name) {
            return Ok(value);
        }
        let named = declarations::type_by_name(name.strip_prefix('.').unwrap_or(name));
        let of_type = named.map(|t| Value::Type(Cow::Owned(type_name(&t))));
        of_type.ok_or_else(|| Fault::Error(format!("no such attribute(s): {name}")))
    }

    fn select(&mut self, select: &'a Select) -> Outcome<'a> {
        if let Some(name) = check::dotted(&select.operand, &select.field)
            && let Some(named) = declarations::type_by_name(&name)
        {
            return Ok(Value::Type(Cow::Owned(type_name(&named))));
        }
        if let Kind::Ident(variable) = &select.operand.kind
            && !self.scopes.iter().any(|(n, _)| n == variable)
            && let Some(member) = self.variables.member(variable, &select.field)
        {
            self.charge(2 * cost::SELECT)?;
            return if select.test { member.map(|_| Value::Bool(true)) } else { member };
        }
        let operand = self.expr(&select.operand)?;
        if select.test {
            return operators::has(&operand, &select.field).map(Value::Bool);
        }
        self.charge(cost::SELECT)?;
        operators::select(&operand, &select.field)
    }

    fn call(&mut self, call: &'a Call) -> Outcome<'a> {
        match (call.function.as_str(), call.args.as_slice()) {
            ("_&&_", [a, b]) => self.logical(a, b, false),
            ("_||_", [a, b]) => self.logical(a, b, true),
            ("_?_:_", [condition, yes, no]) => match self.expr(condition)? {
                Value::Bool(true) => self.expr(yes),
                Value::Bool(false) => self.expr(no),
                _ => Err(Fault::no_overload()),
            },
            ("@not_strictly_false", [condition]) => {
                let outcome = self.expr(condition);
                self.charge(1)?;
                match outcome {
                    Err(Fault::Cost) => Err(Fault::Cost),
                    outcome => Ok(Value::Bool(!matches!(outcome, Ok(Value::Bool(false))))),
                }
            }
            ("_+_", [Expr { kind: Kind::Ident(name), .. }, b]) if name == ACCUMULATOR => self.gather(b),
            // Upstream knows the answer before it runs.
            ("@in", [_, Expr { kind: Kind::List(elements), .. }]) if elements.is_empty() => Ok(Value::Bool(false)),
            ("cel.@mapInsert", [_, rest @ ..]) => self.insert(rest),
            ("_[_]", [operand, index]) => {
                let (operand, index) = (self.expr(operand)?, self.expr(index)?);
                self.charge(cost::SELECT)?;
                operators::index(&operand, &index)
            }
            _ => self.strict(call),
        }
    }

    /// A function of all its arguments.
    fn strict(&mut self, call: &'a Call) -> Outcome<'a> {
        let mut args = Vec::with_capacity(call.args.len());
        for (index, arg) in call.args.iter().enumerate() {
            match self.expr(arg) {
                Ok(value) => args.push(value),
                Err(fault) => {
                    let others = if call.args.len() == 2 { &call.args[index + 1..] } else { &[] };
                    return Err(self.worst(uncounted(fault, &call.function), others));
                }
            }
        }
        let result = match call.run {
            Some(function) => function(&args),
            None => operators::apply(&call.function, &args),
        };
        self.charge(cost::of_call(&call.function, call.member, &args, result.as_ref().ok()))?;
        result.map_err(|fault| named(fault, call, &args))
    }

    /// Of two arguments the other is computed too, upstream: the cost that they run into counts, and where counting fails.
    fn worst(&mut self, fault: Fault, rest: &'a [Expr]) -> Fault {
        let fatal = |fault: &Fault| *fault == Fault::Cost || fault.to_string() == UNCOUNTED;
        if fatal(&fault) {
            return fault;
        }
        let worse = rest.iter().find_map(|arg| self.expr(arg).err().filter(fatal));
        worse.unwrap_or(fault)
    }

    /// A fault of one side does not count where the other decides.
    fn logical(&mut self, a: &'a Expr, b: &'a Expr, decides: bool) -> Outcome<'a> {
        let first = self.expr(a);
        match &first {
            Ok(Value::Bool(value)) if *value == decides => return first,
            Err(Fault::Cost) => return first,
            _ => {}
        }
        let second = self.expr(b);
        match (&first, &second) {
            (_, Ok(Value::Bool(value))) if *value == decides => second,
            (_, Err(Fault::Cost)) | (Ok(Value::Bool(_)), Ok(Value::Bool(_)) | Err(_)) => second,
            (Err(_), _) => first,
            _ => Err(Fault::no_overload()),
        }
    }

    /// Adds to what a loop gathers; that is taken out of its scope first, so that a list grows in place.
    fn gather(&mut self, added: &'a Expr) -> Outcome<'a> {
        let added = self.expr(added)?;
        self.charge(2 * cost::SELECT)?;
        match (self.take_accumulator()?, added) {
            (Value::List(List::Owned(mut list)), Value::List(more)) => {
                Rc::make_mut(&mut list).extend(more.iter());
                Ok(Value::List(List::Owned(list)))
            }
            (gathered, added) => operators::apply("_+_", &[gathered, added]),
        }
    }

    fn insert(&mut self, rest: &'a [Expr]) -> Outcome<'a> {
        let rest: Vec<Value<'a>> = rest.iter().map(|arg| self.expr(arg)).collect::<Result<_, _>>()?;
        self.charge(2 * cost::SELECT)?;
        let entries = match rest.as_slice() {
            [Value::Map(map)] => map.entries(),
            [key, value] => vec![(key.clone(), value.clone())],
            _ => return Err(Fault::no_overload()),
        };
        let Value::Map(Map::Owned(mut map)) = self.take_accumulator()? else { return Err(Fault::no_overload()) };
        for (key, value) in entries {
            let Some(key) = key.key() else { return Err(Fault::no_overload()) };
            if Rc::make_mut(&mut map).insert(key.clone(), value).is_some() {
                return Err(Fault::Error(format!("insert failed: key {} already exists", show_key(&key.value()))));
            }
        }
        Ok(Value::Map(Map::Owned(map)))
    }

    fn take_accumulator(&mut self) -> Outcome<'a> {
        let slot = self.scopes.iter_mut().rev().find(|(name, _)| *name == ACCUMULATOR);
        slot.map_or_else(|| Err(Fault::no_overload()), |(_, outcome)| std::mem::replace(outcome, Ok(Value::Null)))
    }

    fn list(&mut self, elements: &'a [Element]) -> Outcome<'a> {
        let mut made = Vec::with_capacity(elements.len());
        for element in elements {
            let value = self.expr(&element.value)?;
            made.extend(given(value, element.optional)?);
        }
        self.charge(cost::LIST)?;
        Ok(Value::list(made))
    }

    fn map(&mut self, entries: &'a [Entry]) -> Outcome<'a> {
        let mut made = BTreeMap::new();
        for entry in entries {
            let key = self.expr(&entry.key)?;
            let value = self.expr(&entry.value)?;
            let Some(value) = given(value, entry.optional)? else { continue };
            let found = key.key().ok_or_else(|| Fault::Error(format!("unsupported key type: {}", key.type_name())))?;
            if made.insert(found, value).is_some() {
                return Err(Fault::Error(format!("Failed with repeated key: {}", show_key(&key))));
            }
        }
        self.charge(cost::MAP)?;
        Ok(Value::Map(Map::Owned(Rc::new(made))))
    }

    fn structure(&mut self, literal: &'a StructLiteral) -> Outcome<'a> {
        let mut fields = BTreeMap::new();
        for field in &literal.fields {
            let value = self.expr(&field.value)?;
            if let Some(value) = given(value, field.optional)? {
                fields.insert(field.name.clone(), value);
            }
        }
        self.charge(cost::STRUCT)?;
        Ok(Value::Struct(Rc::new(StructValue { name: literal.name.clone(), fields })))
    }

    fn comprehension(&mut self, of: &'a Comprehension) -> Outcome<'a> {
        let range = self.expr(&of.range)?;
        let sorts = of.accumulator == SORTED;
        let init = self.expr(&of.init).map_err(|fault| if sorts { uncounted(fault, "sort") } else { fault })?;
        let depth = self.scopes.len();
        self.scopes.push((&of.accumulator, Ok(init)));
        let outcome = self.rounds(of, &range, depth).and_then(|()| self.expr(&of.result));
        self.scopes.truncate(depth);
        outcome
    }

    fn rounds(&mut self, of: &'a Comprehension, range: &Value<'a>, depth: usize) -> Result<(), Fault> {
        match range {
            Value::List(list) => {
                for (index, element) in list.iter().enumerate() {
                    let first = if of.var2.is_some() { Value::Int(index as i64) } else { element.clone() };
                    if !self.round(of, depth, first, element)? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (key, value) in map.entries() {
                    if !self.round(of, depth, key, value)? {
                        break;
                    }
                }
            }
            _ => return Err(Fault::no_overload()),
        }
        Ok(())
    }

    /// One round; false once the loop is done.
    fn round(
        &mut self,
        of: &'a Comprehension,
        depth: usize,
        first: Value<'a>,
        second: Value<'a>,
    ) -> Result<bool, Fault> {
        self.scopes.push((&of.var, Ok(first)));
        if let Some(name) = &of.var2 {
            self.scopes.push((name, Ok(second)));
        }
        let goes_on = matches!(self.expr(&of.condition), Ok(Value::Bool(true)));
        if goes_on {
            let stepped = self.expr(&of.step);
            if matches!(stepped, Err(Fault::Cost)) {
                return Err(Fault::Cost);
            }
            self.scopes[depth].1 = stepped;
        }
        self.scopes.truncate(depth + 1);
        if self.cost > self.limit { Err(Fault::Cost) } else { Ok(goes_on) }
    }
}

/// What an entry adds: with `?` nothing where there is none.
fn given(value: Value<'_>, optional: bool) -> Result<Option<Value<'_>>, Fault> {
    match (optional, value) {
        (false, value) => Ok(Some(value)),
        (true, Value::Optional(inner)) => Ok(inner.map(|inner| Value::clone(&inner))),
        (true, _) => Err(Fault::no_overload()),
    }
}

pub(super) const UNCOUNTED: &str =
    "internal error: interface conversion: *types.Err is not traits.Lister: missing method Add";

/// Upstream counts what sorting costs before it looks whether there is a list, and reports that it cannot.
fn uncounted(fault: Fault, function: &str) -> Fault {
    match (fault, function) {
        (Fault::Error(_), "sort" | "distinct" | "@sortByAssociatedKeys") => Fault::new(UNCOUNTED),
        (fault, _) => fault,
    }
}

fn show_key(key: &Value<'_>) -> String {
    super::functions::to_text(key).unwrap_or_default()
}

/// A function that has no overload for its arguments says for which.
fn named(fault: Fault, call: &Call, args: &[Value<'_>]) -> Fault {
    if call.run.is_some() && fault == Fault::no_overload() {
        let types: Vec<&str> = args.iter().map(Value::type_name).collect();
        return Fault::Error(format!("no such overload: {}({})", call.function, types.join(", ")));
    }
    fault
}

/// A constant as it is written.
pub(super) fn value_of(literal: &Literal) -> Value<'_> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(value) => Value::String(Cow::Borrowed(value)),
        Literal::Bytes(value) => Value::Bytes(value.as_slice().into()),
    }
}

/// Without the types of elements, which values do not know.
fn type_name(of: &super::types::Type) -> String {
    let name = of.to_string();
    name.split('(').next().unwrap_or_default().to_owned()
}
