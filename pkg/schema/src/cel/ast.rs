// SPDX-License-Identifier: Apache-2.0
//! Parsed expressions, with every macro expanded and every node numbered.

use super::functions::Function;

/// A node and its number, by which its place in the source and its type are found.
#[derive(Clone, Debug)]
pub(super) struct Expr {
    pub id: usize,
    pub kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Literal(Literal),
    Ident(String),
    Select(Box<Select>),
    Call(Call),
    List(Vec<Element>),
    Map(Vec<Entry>),
    Struct(StructLiteral),
    Comprehension(Box<Comprehension>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
}

#[derive(Clone, Debug)]
pub(super) struct Select {
    pub operand: Expr,
    pub field: String,
    /// `has(operand.field)`.
    pub test: bool,
}

/// A call of a function, or of an operator by its inner name.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub function: String,
    /// The first argument stands before the dot.
    pub member: bool,
    pub args: Vec<Expr>,
    /// What runs it, where it is no operator of the language itself.
    pub run: Option<Function>,
}

#[derive(Clone, Debug)]
pub(super) struct Element {
    pub value: Expr,
    pub optional: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: Expr,
    pub value: Expr,
    pub optional: bool,
}

#[derive(Clone, Debug)]
pub(super) struct StructLiteral {
    pub name: String,
    pub fields: Vec<Field>,
}

#[derive(Clone, Debug)]
pub(super) struct Field {
    pub id: usize,
    pub name: String,
    pub value: Expr,
    pub optional: bool,
}

/// A loop over a list or a map.
#[derive(Clone, Debug)]
pub(super) struct Comprehension {
    pub range: Expr,
    pub var: String,
    pub var2: Option<String>,
    pub accumulator: String,
    pub init: Expr,
    pub condition: Expr,
    pub step: Expr,
    pub result: Expr,
}

impl Comprehension {
    /// It only gives a value a name.
    pub fn is_bind(&self) -> bool {
        self.accumulator != ACCUMULATOR && matches!(&self.range.kind, Kind::List(elements) if elements.is_empty())
    }
}

/// The name of what a loop gathers; no user can write it.
pub(super) const ACCUMULATOR: &str = "@result";

/// The name of a list that is sorted by keys; no user can write it.
pub(super) const SORTED: &str = "@__sortBy_input__";

impl Expr {
    /// The nodes right below.
    pub fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            Kind::Literal(_) | Kind::Ident(_) => Vec::new(),
            Kind::Select(select) => vec![&select.operand],
            Kind::Call(call) => call.args.iter().collect(),
            Kind::List(elements) => elements.iter().map(|e| &e.value).collect(),
            Kind::Map(entries) => entries.iter().flat_map(|e| [&e.key, &e.value]).collect(),
            Kind::Struct(literal) => literal.fields.iter().map(|f| &f.value).collect(),
            Kind::Comprehension(c) => vec![&c.range, &c.init, &c.condition, &c.step, &c.result],
        }
    }

    /// How many nodes are below each other.
    pub fn depth(&self) -> usize {
        1 + self.children().iter().map(|child| child.depth()).max().unwrap_or_default()
    }

    /// Whether this node or one below names the variable.
    pub fn mentions(&self, name: &str) -> bool {
        matches!(&self.kind, Kind::Ident(ident) if ident == name) || self.children().iter().any(|c| c.mentions(name))
    }
}
