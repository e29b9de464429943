// SPDX-License-Identifier: Apache-2.0
//! The types of expressions, how they are written in messages, and how the unknown ones among them
//! are found.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

/// What an expression is known to give.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// It was already complained about.
    Error,
    /// Anything: known when it is evaluated.
    Dyn,
    /// `null`.
    Null,
    /// `bool`.
    Bool,
    /// `int`.
    Int,
    /// `uint`.
    Uint,
    /// `double`.
    Double,
    /// `string`.
    String,
    /// `bytes`.
    Bytes,
    /// A span of time.
    Duration,
    /// A point in time.
    Timestamp,
    /// Elements of one type.
    List(Arc<Type>),
    /// Keys and values of one type each.
    Map(Arc<Type>, Arc<Type>),
    /// A value or none.
    Optional(Arc<Type>),
    /// A type as a value.
    TypeOf(Arc<Type>),
    /// Fields by name.
    Struct(Arc<Struct>),
    /// A type of one of Kubernetes' libraries, by its name.
    Opaque(&'static str),
    /// A type that is not known yet, by its number.
    Var(u32),
    /// Stands for any type in the declaration of a function.
    Param(char),
}

/// A type with named fields.
#[derive(Debug, PartialEq)]
pub struct Struct {
    /// What messages call it.
    pub name: String,
    /// By their escaped names; none where any name goes and gives `dyn`.
    pub fields: Option<BTreeMap<String, Type>>,
}

impl Type {
    /// A list of these.
    #[must_use]
    pub fn list(element: Type) -> Self {
        Self::List(Arc::new(element))
    }

    /// A map from these to those.
    #[must_use]
    pub fn map(key: Type, value: Type) -> Self {
        Self::Map(Arc::new(key), Arc::new(value))
    }

    /// Maybe one of these.
    #[must_use]
    pub fn optional(value: Type) -> Self {
        Self::Optional(Arc::new(value))
    }

    /// A type whose fields are not known.
    #[must_use]
    pub fn open_struct(name: &str) -> Self {
        Self::Struct(Arc::new(Struct { name: name.to_owned(), fields: None }))
    }

    /// What is known of a variable of a policy whose expression gives this: nothing of objects and of what the
    /// libraries make.
    #[must_use]
    pub fn as_variable(&self) -> Self {
        match self {
            Self::Struct(_) | Self::Opaque(_) | Self::Optional(_) | Self::TypeOf(_) | Self::Error => Self::Dyn,
            Self::List(element) => Self::list(element.as_variable()),
            Self::Map(key, value) => Self::map(key.as_variable(), value.as_variable()),
            other => other.clone(),
        }
    }

    /// The same type: those with names by their names.
    pub(super) fn is_same(&self, other: &Type) -> bool {
        match (self, other) {
            (Self::Struct(a), Self::Struct(b)) => a.name == b.name,
            (Self::List(a), Self::List(b))
            | (Self::Optional(a), Self::Optional(b))
            | (Self::TypeOf(a), Self::TypeOf(b)) => a.is_same(b),
            (Self::Map(ak, av), Self::Map(bk, bv)) => ak.is_same(bk) && av.is_same(bv),
            (a, b) => a == b,
        }
    }

    fn is_no_more_specific(&self, other: &Type) -> bool {
        match (self, other) {
            (Self::Dyn | Self::Var(_), _) => true,
            (_, Self::Dyn | Self::Var(_)) => false,
            (Self::List(a), Self::List(b)) | (Self::Optional(a), Self::Optional(b)) => a.is_no_more_specific(b),
            (Self::Map(ak, av), Self::Map(bk, bv)) => ak.is_no_more_specific(bk) && av.is_no_more_specific(bv),
            (Self::TypeOf(_), Self::TypeOf(_)) => true,
            (a, b) => a.is_same(b),
        }
    }

    fn takes_null(&self) -> bool {
        matches!(
            self,
            Self::Null | Self::Struct(_) | Self::Opaque(_) | Self::Optional(_) | Self::Duration | Self::Timestamp
        )
    }

    /// It has named fields upstream, which nothing there can resolve.
    pub(super) fn is_closed_object(&self) -> bool {
        matches!(self, Self::Opaque(name) if name.starts_with("kubernetes."))
    }

    /// Of a size that does not depend on the value.
    #[must_use]
    pub fn is_scalar(&self) -> bool {
        match self {
            Self::Bool | Self::Double | Self::Duration | Self::Int | Self::Timestamp | Self::Uint => true,
            Self::Optional(inner) => inner.is_scalar(),
            _ => false,
        }
    }

    /// As messages of the type check write it; elsewhere (`Display`) times have their long names.
    pub(super) fn checked_name(&self) -> String {
        match self {
            Self::Duration => "duration".to_owned(),
            Self::Timestamp => "timestamp".to_owned(),
            Self::Null => "null".to_owned(),
            Self::List(element) => format!("list({})", element.checked_name()),
            Self::Map(key, value) => format!("map({}, {})", key.checked_name(), value.checked_name()),
            Self::Optional(value) => format!("optional_type({})", value.checked_name()),
            Self::TypeOf(value) => format!("type({})", value.checked_name()),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error => f.write_str("!error!"),
            Self::Dyn => f.write_str("dyn"),
            Self::Null => f.write_str("null_type"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Duration => f.write_str("google.protobuf.Duration"),
            Self::Timestamp => f.write_str("google.protobuf.Timestamp"),
            Self::List(element) => write!(f, "list({element})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Optional(value) => write!(f, "optional_type({value})"),
            Self::TypeOf(value) => write!(f, "type({value})"),
            Self::Struct(of) => f.write_str(&of.name),
            Self::Opaque(name) => f.write_str(name),
            Self::Var(number) => write!(f, "_var{number}"),
            Self::Param(name) => write!(f, "{name}"),
        }
    }
}

/// What is known of the types that were not known at first.
#[derive(Debug, Default)]
pub(super) struct Substitution {
    known: HashMap<u32, Type>,
    next: u32,
}

impl Substitution {
    /// A type that is not known yet.
    pub fn fresh(&mut self) -> Type {
        self.next += 1;
        Type::Var(self.next - 1)
    }

    /// This type with what is known filled in.
    pub fn resolve(&self, of: &Type) -> Type {
        match of {
            Type::Var(number) => self.known.get(number).map_or_else(|| of.clone(), |known| self.resolve(known)),
            Type::List(element) => Type::list(self.resolve(element)),
            Type::Map(key, value) => Type::map(self.resolve(key), self.resolve(value)),
            Type::Optional(value) => Type::optional(self.resolve(value)),
            Type::TypeOf(value) => Type::TypeOf(Arc::new(self.resolve(value))),
            other => other.clone(),
        }
    }

    /// The same, and what stays unknown is `dyn`.
    pub fn resolve_or_dyn(&self, of: &Type) -> Type {
        match self.resolve(of) {
            Type::Var(_) => Type::Dyn,
            Type::List(element) => Type::list(self.resolve_or_dyn(&element)),
            Type::Map(key, value) => Type::map(self.resolve_or_dyn(&key), self.resolve_or_dyn(&value)),
            Type::Optional(value) => Type::optional(self.resolve_or_dyn(&value)),
            Type::TypeOf(value) => Type::TypeOf(Arc::new(self.resolve_or_dyn(&value))),
            other => other,
        }
    }

    /// Whether these go together one by one; learns what that says of unknown types, and nothing where they do not.
    /// The order of the two counts as it does upstream: what is known of an unknown type becomes the more general of
    /// the two, and the first where neither is.
    pub fn assign_all(&mut self, first: &[Type], second: &[Type]) -> bool {
        let before = self.known.clone();
        let fits = first.len() == second.len() && first.iter().zip(second).all(|(a, b)| self.unify(a, b));
        if !fits {
            self.known = before;
        }
        fits
    }

    /// The same for one.
    pub fn assign(&mut self, first: &Type, second: &Type) -> bool {
        self.assign_all(std::slice::from_ref(first), std::slice::from_ref(second))
    }

    fn unify(&mut self, a: &Type, b: &Type) -> bool {
        if let Type::Var(number) = b {
            match self.learn(*number, a) {
                (true, _) => return true,
                (false, true) => return false,
                (false, false) => {}
            }
        }
        if let Type::Var(number) = a {
            return self.learn(*number, b).0;
        }
        match (a, b) {
            (Type::Dyn | Type::Error, _) | (_, Type::Dyn | Type::Error) => true,
            (Type::Null, other) | (other, Type::Null) => other.takes_null(),
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.unify(a, b),
            (Type::TypeOf(_), Type::TypeOf(_)) => true,
            (Type::Map(ak, av), Type::Map(bk, bv)) => self.unify(ak, bk) && self.unify(av, bv),
            (a, b) => a.is_same(b),
        }
    }

    /// Whether this may be the unknown type of that number, and whether something was known of that one.
    fn learn(&mut self, number: u32, of: &Type) -> (bool, bool) {
        if matches!(of, Type::Var(other) if *other == number) {
            return (true, true);
        }
        let Some(known) = self.known.get(&number).cloned() else {
            let free = self.is_free(number, of);
            if free {
                self.known.insert(number, of.clone());
            }
            return (free, false);
        };
        if of.is_same(&known) {
            return (true, true);
        }
        if !self.unify(of, &known) {
            return (false, true);
        }
        let general = most_general(of.clone(), known);
        if self.is_free(number, &general) {
            self.known.insert(number, general);
        }
        (true, true)
    }

    /// The unknown type of that number stands nowhere in this one.
    fn is_free(&self, number: u32, within: &Type) -> bool {
        match within {
            Type::Var(other) if *other == number => false,
            Type::Var(other) => self.known.get(other).is_none_or(|known| self.is_free(number, known)),
            Type::List(inner) | Type::Optional(inner) | Type::TypeOf(inner) => self.is_free(number, inner),
            Type::Map(key, value) => self.is_free(number, key) && self.is_free(number, value),
            _ => true,
        }
    }
}

/// The more general of two types that go together; the first where neither is.
pub(super) fn most_general(a: Type, b: Type) -> Type {
    if a.is_no_more_specific(&b) { a } else { b }
}
