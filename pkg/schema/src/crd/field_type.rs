// SPDX-License-Identifier: Apache-2.0
//! The field table of a custom kind, for apply and managed fields.
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy>

use super::structural::{ListType, StructuralSchema};
use crate::field_table::{Emission, Field, ListMerge, PatchStrategy, Struct, Type, TypeRef};

/// The type of a whole object of that schema.
#[must_use]
pub fn object_type(schema: &StructuralSchema) -> Type {
    let mut known = known_fields(schema, true);
    known.preserve_unknown = schema.preserve_unknown_fields;
    Type::Struct(known)
}

fn type_of(schema: &StructuralSchema) -> Type {
    match schema.ty.as_str() {
        _ if schema.int_or_string => Type::IntOrString,
        "object" if schema.embedded_resource => {
            let mut known = known_fields(schema, true);
            known.preserve_unknown = schema.preserve_unknown_fields;
            Type::Struct(known)
        }
        "object" => object(schema),
        "array" => list(schema),
        "string" => Type::String,
        "integer" => Type::Integer { bits: if schema.format == "int32" { 32 } else { 64 } },
        "number" => Type::Number,
        "boolean" => Type::Boolean,
        _ => Type::Any,
    }
}

fn object(schema: &StructuralSchema) -> Type {
    if let Some(value) = schema.additional.schema() {
        return Type::Map { value: TypeRef::of(type_of(value)), atomic: schema.map_atomic };
    }
    if schema.properties.is_empty() && schema.additional.is_open() {
        return Type::Map { value: TypeRef::of(Type::Any), atomic: schema.map_atomic };
    }
    Type::Struct(known_fields(schema, false))
}

fn list(schema: &StructuralSchema) -> Type {
    let item = schema.items.as_deref().map_or(Type::Any, type_of);
    let merge = match schema.list_type {
        ListType::Set => ListMerge::Set,
        ListType::Map => ListMerge::Map { keys: schema.list_map_keys.clone() },
        ListType::Atomic | ListType::Unset => ListMerge::Atomic,
    };
    Type::List { item: TypeRef::of(item), merge }
}

fn known_fields(schema: &StructuralSchema, resource: bool) -> Struct {
    let mut fields: Vec<Field> = schema
        .properties
        .iter()
        .filter(|(name, _)| !resource || !matches!(name.as_str(), "apiVersion" | "kind" | "metadata"))
        .map(|(name, schema)| Field { default: schema.default.clone(), ..field(name, TypeRef::of(type_of(schema))) })
        .collect();
    if resource {
        fields.push(field("apiVersion", TypeRef::of(Type::String)));
        fields.push(field("kind", TypeRef::of(Type::String)));
        let metadata = TypeRef::named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
        fields.push(field("metadata", metadata.unwrap_or_else(|| TypeRef::of(Type::Any))));
    }
    Struct {
        fields: fields.into(),
        atomic: schema.map_atomic,
        preserve_unknown: schema.preserve_unknown_fields || schema.additional.is_open(),
        embedded: schema.embedded_resource,
        ..Struct::default()
    }
}

fn field(name: &str, ty: TypeRef) -> Field {
    Field {
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
