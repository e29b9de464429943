// SPDX-License-Identifier: Apache-2.0
//! The shape of objects as data: what each field is, how it merges, when it is written.
//!
//! Built-in kinds get theirs from the published schema of Kubernetes (`scripts/` makes the rows),
//! custom resources from their CRD. Decoding, pruning, defaults, patches, apply, protobuf and
//! OpenAPI all read these types and nothing else about a kind's shape.

mod fields;

use std::borrow::Cow;
use std::sync::Arc;

use knarr_types::tree::Value;

use crate::builtin_types::NamedType;
pub use fields::Fields;

/// A type, shared by all that use it.
#[derive(Clone, Debug)]
pub enum TypeRef {
    /// A type of its own.
    Inline(Arc<Type>),
    /// A published type, read when it is first reached: most are never used, and types may contain
    /// themselves (`JSONSchemaProps`).
    Named(&'static NamedType),
}

impl TypeRef {
    /// A type of its own.
    #[must_use]
    pub fn of(ty: Type) -> Self {
        Self::Inline(Arc::new(ty))
    }

    /// The published type of that full name (`io.k8s.api.core.v1.Pod`).
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        crate::builtin_types::find(name).map(Self::Named)
    }

    /// The type itself.
    #[must_use]
    pub fn get(&self) -> &Type {
        match self {
            Self::Inline(ty) => ty,
            Self::Named(named) => named.get(),
        }
    }
}

/// What a value may be.
#[derive(Debug)]
pub enum Type {
    /// Anything: RawExtension, JSON, a CRD field that preserves unknown fields and says no more.
    Any,
    /// `true` or `false`.
    Boolean,
    /// A whole number of this many bits, 32 or 64.
    Integer {
        /// 32 or 64.
        bits: u8,
    },
    /// Any number.
    Number,
    /// Text.
    String,
    /// Text or a whole number (`IntOrString`).
    IntOrString,
    /// A resource amount; text or number on input, canonical text in storage.
    Quantity,
    /// RFC 3339 to the second; `null` where it is not set.
    Time,
    /// RFC 3339 to the microsecond.
    MicroTime,
    /// A Go duration: `1h0m0s`.
    Duration,
    /// Base64 text.
    Bytes,
    /// A list.
    List {
        /// What its elements are.
        item: TypeRef,
        /// How two writers share it.
        merge: ListMerge,
    },
    /// An object with free keys.
    Map {
        /// What its values are.
        value: TypeRef,
        /// Owned as a whole by one writer.
        atomic: bool,
    },
    /// An object with known fields.
    Struct(Struct),
    /// A JSON schema, or something else in its place. Like [`Type::Any`] it has one owner and no shape that is
    /// published, but it is read and written as what it is.
    SchemaOr {
        /// The schema.
        schema: TypeRef,
        /// What may stand in its place.
        or: SchemaOr,
    },
}

/// What may stand in the place of a JSON schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaOr {
    /// A list of schemas.
    List,
    /// `true` or `false`.
    Boolean,
    /// A list of names.
    Names,
}

/// How two writers share a list (`x-kubernetes-list-type`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListMerge {
    /// As a whole.
    Atomic,
    /// Element by element; elements are scalars and unique.
    Set,
    /// Element by element, told apart by these fields.
    Map {
        /// The fields, in the published order.
        keys: Vec<String>,
    },
}

/// An object with known fields.
#[derive(Debug, Default)]
pub struct Struct {
    /// The published full name, empty for the objects inside a CRD.
    pub name: Cow<'static, str>,
    /// Its fields.
    pub fields: Fields,
    /// Owned as a whole by one writer (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
    /// Fields that are not listed stay (`x-kubernetes-preserve-unknown-fields`).
    pub preserve_unknown: bool,
    /// It has an apiVersion, kind and metadata of its own (`x-kubernetes-embedded-resource`).
    pub embedded: bool,
    /// A union's discriminator and members, for apply; empty for most.
    pub unions: Vec<Vec<String>>,
}

/// One field of an object.
#[derive(Debug)]
pub struct Field {
    /// As in JSON.
    pub name: Cow<'static, str>,
    /// What its value is.
    pub ty: TypeRef,
    /// It must be there.
    pub required: bool,
    /// When it is written.
    pub emission: Emission,
    /// The published default.
    pub default: Option<Value>,
    /// How a strategic merge patch treats it.
    pub patch: PatchStrategy,
    /// The values it may have, where they are listed.
    pub values: Vec<String>,
    /// Its struct, atomic elsewhere, has owners by field here.
    pub granular: bool,
}

impl Field {
    /// A field that may be unset, without a default.
    pub(crate) fn optional(name: &str, ty: TypeRef) -> Self {
        Self {
            name: name.to_owned().into(),
            ty,
            required: false,
            emission: Emission::OmitUnset,
            default: None,
            patch: PatchStrategy::default(),
            values: Vec::new(),
            granular: false,
        }
    }
}

/// When a field is written, after Go's `omitempty` and pointers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emission {
    /// Left out when it holds its type's zero value.
    OmitEmpty,
    /// Left out only when it was never set: a pointer, so zero and empty are kept.
    OmitUnset,
    /// Always there, its zero value where it was not set.
    Always,
    /// Always there, `null` where it was not set (times, required lists).
    Null,
}

/// How a strategic merge patch treats a field (`x-kubernetes-patch-strategy`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    /// Lists merge by element instead of being replaced.
    pub merge: bool,
    /// Objects are replaced instead of being merged.
    pub replace: bool,
    /// Keys of the patch's object are all that stay.
    pub retain_keys: bool,
    /// The field that tells elements apart; `None` for lists of scalars.
    pub merge_key: Option<String>,
}

impl Struct {
    /// The field of that name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.position(name).map(|i| &self.fields[i])
    }

    /// Where in `fields` the field of that name is.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.fields.position(name)
    }
}
