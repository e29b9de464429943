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

    /// Whether values of all of `given` can stand where those of `wanted` do; learns what that says of
    /// unknown types, and nothing where they cannot.
    pub fn assign_all(&mut self, wanted: &[Type], given: &[Type]) -> bool {
        let before = self.known.clone();
        let fits = wanted.len() == given.len() && wanted.iter().zip(given).all(|(w, g)| self.unify(w, g));
        if !fits {
            self.known = before;
        }
        fits
    }

    /// The same for one.
    pub fn assign(&mut self, wanted: &Type, given: &Type) -> bool {
        self.assign_all(std::slice::from_ref(wanted), std::slice::from_ref(given))
    }

    fn unify(&mut self, wanted: &Type, given: &Type) -> bool {
        let (wanted, given) = (self.resolve(wanted), self.resolve(given));
        match (&wanted, &given) {
            (Type::Var(a), Type::Var(b)) if a == b => true,
            (Type::Var(number), other) | (other, Type::Var(number)) => {
                let new = !mentions(other, *number);
                if new {
                    self.known.insert(*number, other.clone());
                }
                new
            }
            (Type::Dyn | Type::Error, _) | (_, Type::Dyn | Type::Error) => true,
            (Type::Struct(_) | Type::Opaque(_) | Type::Duration | Type::Timestamp, Type::Null) => true,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.unify(a, b),
            (Type::TypeOf(_), Type::TypeOf(_)) => true,
            (Type::Map(ak, av), Type::Map(bk, bv)) => self.unify(ak, bk) && self.unify(av, bv),
            (Type::Struct(a), Type::Struct(b)) => a.name == b.name,
            (a, b) => a == b,
        }
    }
}

fn mentions(of: &Type, number: u32) -> bool {
    match of {
        Type::Var(other) => *other == number,
        Type::List(inner) | Type::Optional(inner) | Type::TypeOf(inner) => mentions(inner, number),
        Type::Map(key, value) => mentions(key, number) || mentions(value, number),
        _ => false,
    }
}

/// The more general of two types that go together.
pub(super) fn most_general(a: Type, b: Type) -> Type {
    match (&a, &b) {
        (Type::Dyn | Type::Var(_), _) => a,
        (_, Type::Dyn) => b,
        (Type::Null, Type::Struct(_) | Type::Opaque(_) | Type::Duration | Type::Timestamp) => b,
        _ => a,
    }
}
