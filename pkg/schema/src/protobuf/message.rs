// SPDX-License-Identifier: Apache-2.0
//! How the fields of a published type are written in protobuf: their numbers and the form of each.

use crate::builtin_types::{self, NamedType};
use crate::field_table::{Emission, Type, TypeRef};
use crate::rules::go_names;

/// A published type as protobuf has it.
#[derive(Debug)]
pub struct Message {
    /// The published type's full name.
    name: &'static str,
    /// Sorted by name.
    fields: Vec<WireField>,
    /// Sorted by number.
    slots: Vec<Slot>,
}

/// A field that protobuf has.
#[derive(Debug)]
pub(super) struct WireField {
    /// As in JSON.
    pub name: &'static str,
    /// Its number, behind those of the messages around it: structs that Go embeds are flat in JSON
    /// and messages of their own in protobuf.
    pub path: Vec<u32>,
    /// How its value is written.
    pub codec: Codec,
    /// A pointer in Go: its zero value is not the same as none.
    pub pointer: bool,
}

impl WireField {
    /// Its own number, within the message that it lies in.
    pub(super) fn number(&self) -> u32 {
        self.path.last().copied().unwrap_or_default()
    }
}

/// What a number stands for.
#[derive(Debug)]
pub(super) struct Slot {
    pub number: u32,
    pub what: What,
}

/// What is behind a number.
#[derive(Debug)]
pub(super) enum What {
    /// The field at that place of `fields`.
    Field(usize),
    /// An embedded message, whose fields are those of the object itself.
    Embedded(Vec<Slot>),
}

/// How a value is written.
#[derive(Debug)]
pub(super) enum Codec {
    Boolean,
    /// A whole number of this many bits.
    Integer(u8),
    Double,
    Text,
    /// Base64 in JSON.
    Bytes,
    /// Seconds since 1970.
    Time,
    /// Seconds since 1970 and nanoseconds.
    MicroTime,
    Quantity,
    IntOrString,
    /// JSON as it is, in a message of its own: RawExtension, FieldsV1, JSON.
    Raw,
    /// A schema, or what else a field of a schema may hold.
    SchemaOr(Or),
    Message(&'static NamedType),
    /// Repeated.
    List(Box<Codec>),
    /// Entries with a key and a value.
    Map(Box<Codec>),
    /// A list in a message of its own.
    Wrapped(Box<Codec>),
}

/// What a field of a schema may hold instead of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Or {
    /// Several schemas.
    Schemas,
    /// Whether anything goes.
    Boolean,
    /// Names of fields.
    Names,
}

/// The type of schemas inside CustomResourceDefinitions.
pub(super) const SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

impl Message {
    /// Reads what the file of types says about one.
    pub(crate) fn of(named: &NamedType) -> Self {
        let mut fields = Vec::new();
        if let Type::Struct(shape) = named.get() {
            for (name, number) in named.numbers() {
                let Some(field) = shape.field(name) else { continue };
                let (path, wrapped) = number.strip_suffix('w').map_or((number, false), |path| (path, true));
                let codec = codec(&field.ty, wrapped);
                // What is always written, `null` where unset, is a pointer but for those three.
                let pointer = match field.emission {
                    Emission::OmitUnset => true,
                    Emission::Null => !matches!(codec, Codec::Time | Codec::MicroTime | Codec::Raw),
                    Emission::OmitEmpty | Emission::Always => false,
                };
                let path = path.split('.').filter_map(|n| n.parse().ok()).collect();
                fields.push(WireField { name, path, codec, pointer });
            }
        }
        fields.sort_unstable_by_key(|field| field.name);
        let mut slots = Vec::new();
        for (at, field) in fields.iter().enumerate() {
            place(&mut slots, &field.path, at);
        }
        Self { name: named.name(), fields, slots }
    }

    /// Its name in Go, without its package.
    pub(super) fn go_name(&self) -> &'static str {
        last(self.name)
    }

    /// The name that the field of that published name has in Go.
    pub(super) fn field_go_name(&self, field: &str) -> String {
        match (self.go_name(), field) {
            (list, "metadata") if self.position("items").is_some() && list.ends_with("List") => "ListMeta".into(),
            ("Status", "metadata") => "ListMeta".into(),
            (_, "metadata") => "ObjectMeta".into(),
            ("StatusCause", "reason") => "Type".into(),
            ("PodSpec", "serviceAccount") => "DeprecatedServiceAccount".into(),
            ("SubjectAccessReviewSpec", "group") => "Groups".into(),
            (_, "$ref") => "Ref".into(),
            (_, "$schema") => "Schema".into(),
            ("JSONSchemaProps", "id") => "ID".into(),
            ("JSONSchemaProps", extension) if extension.starts_with("x-kubernetes-") => {
                extension.split('-').filter(|word| *word != "kubernetes").map(go_names::go_name).collect()
            }
            (_, field) => go_names::of_field(self.name, field),
        }
    }

    /// The struct around a field, by how deep it is embedded.
    pub(super) fn embedded(&self, field: &str, depth: usize) -> &'static str {
        builtin_types::embedded(self.name, field).and_then(|path| path.split('.').nth(depth)).map_or("", last)
    }

    /// The type with a name of its own that a field of lists has.
    pub(super) fn list_type(&self, field: &str) -> &'static str {
        builtin_types::go_type(self.name, field).map_or("", last)
    }

    /// Every field.
    pub(super) fn fields(&self) -> &[WireField] {
        &self.fields
    }

    /// Where in `fields` the field of that name is.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.fields.binary_search_by(|field| field.name.cmp(name)).ok()
    }

    /// What its numbers stand for.
    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }
}

fn last(name: &'static str) -> &'static str {
    name.rsplit('.').next().unwrap_or_default()
}

/// Puts a field where its numbers say.
fn place(slots: &mut Vec<Slot>, path: &[u32], at: usize) {
    let [number, rest @ ..] = path else { return };
    let index = slots.partition_point(|slot| slot.number < *number);
    if rest.is_empty() {
        slots.insert(index, Slot { number: *number, what: What::Field(at) });
        return;
    }
    if slots.get(index).is_none_or(|slot| slot.number != *number) {
        slots.insert(index, Slot { number: *number, what: What::Embedded(Vec::new()) });
    }
    if let What::Embedded(below) = &mut slots[index].what {
        place(below, rest, at);
    }
}

fn codec(ty: &TypeRef, wrapped: bool) -> Codec {
    match ty.get() {
        Type::List { item, .. } => {
            let list = Codec::List(Box::new(codec(item, false)));
            if wrapped { Codec::Wrapped(Box::new(list)) } else { list }
        }
        Type::Map { value, .. } => Codec::Map(Box::new(codec(value, wrapped))),
        Type::Boolean => Codec::Boolean,
        Type::Integer { bits } => Codec::Integer(*bits),
        Type::Number => Codec::Double,
        // The text of a duration has no message in any kind that is served.
        Type::String | Type::Duration => Codec::Text,
        Type::Bytes => Codec::Bytes,
        Type::Time => Codec::Time,
        Type::MicroTime => Codec::MicroTime,
        Type::Quantity => Codec::Quantity,
        Type::IntOrString => Codec::IntOrString,
        Type::Any | Type::SchemaOr { .. } => any(ty),
        Type::Struct(_) => match ty {
            TypeRef::Named(named) => Codec::Message(named),
            TypeRef::Inline(_) => Codec::Raw,
        },
    }
}

fn any(ty: &TypeRef) -> Codec {
    let TypeRef::Named(named) = ty else { return Codec::Raw };
    match named.name().strip_prefix(SCHEMA) {
        Some("OrArray") => Codec::SchemaOr(Or::Schemas),
        Some("OrBool") => Codec::SchemaOr(Or::Boolean),
        Some("OrStringArray") => Codec::SchemaOr(Or::Names),
        _ => Codec::Raw,
    }
}
