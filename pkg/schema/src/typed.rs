// SPDX-License-Identifier: Apache-2.0
//! Objects walked beside their type, for apply: which paths an object has, which differ between two,
//! the merge of two, and an object without some paths.
//!
//! The rules are those of upstream's structured-merge-diff: free and known fields merge one by one,
//! lists by their keys or values, atomic ones and scalars as a whole.

mod compare;
mod elements;
mod extract;
mod merge;
mod reconcile;
mod remove;

use std::borrow::Cow;

use knarr_types::tree::Value;

use crate::field_set::Element;
use crate::field_table::{Emission, Field, ListMerge, Struct, Type, TypeRef};

pub(crate) use compare::told_apart;
pub use compare::{Comparison, compare};
pub use elements::tells_apart;
pub(crate) use elements::tells_apart_as;
pub use extract::{extract, go_type, name_fields, validate, validate_stored};
pub use merge::merge;
pub use reconcile::reconcile;
pub use remove::remove;

/// How a value is walked.
#[derive(Clone, Copy)]
pub(crate) enum Shape<'t> {
    /// As a whole.
    Leaf,
    /// By known fields.
    Struct(&'t Struct),
    /// By free keys.
    Map(&'t TypeRef),
    /// By keys or values of the elements.
    List { item: &'t TypeRef, keys: &'t [String] },
    /// By what it is: objects by key, all else as a whole.
    Deduced,
}

impl<'t> Shape<'t> {
    pub(crate) fn of(ty: &'t TypeRef) -> Self {
        match (ty, ty.get()) {
            // A type without a name that says nothing is a custom resource's.
            (TypeRef::Inline(_), Type::Any) => Self::Deduced,
            (_, ty) => Self::of_type(ty),
        }
    }

    pub(crate) fn of_type(ty: &'t Type) -> Self {
        match ty {
            Type::Struct(known) if !known.atomic => Self::Struct(known),
            Type::Map { value, atomic: false } => Self::Map(value),
            Type::List { item, merge: ListMerge::Map { keys } } => Self::List { item, keys },
            Type::List { item, merge: ListMerge::Set } => Self::List { item, keys: &[] },
            _ => Self::Leaf,
        }
    }

    /// How the value of a field is walked.
    pub(crate) fn field(self, name: &str) -> Self {
        match self {
            Self::Struct(known) => known.field(name).map_or(Self::Deduced, Self::of_field),
            Self::Map(value) => Self::of(value),
            _ => Self::Deduced,
        }
    }

    /// The same for fields whose names come in order.
    pub(crate) fn fields(self) -> impl FnMut(&str) -> Self {
        let known = if let Self::Struct(known) = self { Some(known) } else { None };
        let mut position = known.map(|known| (known, known.fields.positions()));
        move |name| match &mut position {
            Some((known, position)) => position(name).map_or(Self::Deduced, |at| Self::of_field(&known.fields[at])),
            None => self.field(name),
        }
    }

    fn of_field(field: &'t Field) -> Self {
        match field.ty.get() {
            Type::Struct(known) if field.granular => Self::Struct(known),
            _ => Self::of(&field.ty),
        }
    }

    /// The type names that field.
    pub(crate) fn names(self, field: &str) -> bool {
        matches!(self, Self::Struct(known) if known.field(field).is_some())
    }

    /// Objects of it are walked by key.
    pub(crate) fn by_key(self) -> bool {
        matches!(self, Self::Struct(_) | Self::Map(_) | Self::Deduced)
    }
}

/// The element of a field.
pub(crate) fn field(name: &str) -> Element<'_> {
    Element::Field(Cow::Borrowed(name))
}

/// An object of the type in which nothing was set: the fields that are always written.
#[must_use]
pub fn empty(ty: &Type) -> Value {
    let Type::Struct(known) = ty else { return zero(ty) };
    let written = known.fields.iter().filter_map(|field| match field.emission {
        Emission::Always => Some((field.name.to_string(), zero(field.ty.get()))),
        Emission::Null => Some((field.name.to_string(), Value::Null)),
        Emission::OmitEmpty | Emission::OmitUnset => None,
    });
    Value::Object(written.collect())
}

fn zero(ty: &Type) -> Value {
    match ty {
        Type::Struct(_) => empty(ty),
        Type::Boolean => Value::Bool(false),
        Type::Integer { .. } | Type::Number | Type::IntOrString => Value::from(0),
        Type::Quantity => Value::from("0"),
        Type::String | Type::Bytes | Type::Duration => Value::from(""),
        Type::Any | Type::SchemaOr { .. } | Type::Time | Type::MicroTime | Type::List { .. } | Type::Map { .. } => {
            Value::Null
        }
    }
}

#[cfg(test)]
mod tests;
