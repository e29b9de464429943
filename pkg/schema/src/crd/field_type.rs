// SPDX-License-Identifier: Apache-2.0
//! The field table of a custom kind, for apply and managed fields.
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy>

use super::structural::{Additional, ListType, StructuralSchema};
use crate::field_table::{Field, ListMerge, Struct, Type, TypeRef};

/// The type of a whole object of that schema.
#[must_use]
pub fn object_type(schema: &StructuralSchema) -> Type {
    resource(schema, schema.preserve_unknown_fields)
}

/// What preserves unknown fields does so for all that is below it (`open`).
fn type_of(schema: &StructuralSchema, open: bool) -> Type {
    let open = open || schema.preserve_unknown_fields;
    match schema.ty.as_str() {
        // What has no type may be anything, lists and objects too, until it is validated.
        _ if schema.int_or_string => Type::Any,
        "object" if schema.embedded_resource => resource(schema, open),
        "object" => object(schema, open),
        "array" => list(schema, open),
        // A text with a format may be any scalar.
        "string" if !matches!(schema.format.as_str(), "" | "byte") => Type::IntOrString,
        "string" => Type::String,
        "integer" => Type::Integer { bits: if schema.format == "int32" { 32 } else { 64 } },
        "number" => Type::Number,
        "boolean" => Type::Boolean,
        _ => Type::Any,
    }
}

fn resource(schema: &StructuralSchema, open: bool) -> Type {
    Type::Struct(Struct { preserve_unknown: open, ..known_fields(schema, true, open) })
}

fn object(schema: &StructuralSchema, open: bool) -> Type {
    if let Some(value) = schema.additional.schema() {
        return Type::Map { value: TypeRef::of(type_of(value, open)), atomic: schema.map_atomic };
    }
    if schema.properties.is_empty() && !matches!(schema.additional, Additional::Allowed(false)) {
        return Type::Map { value: TypeRef::of(Type::Any), atomic: schema.map_atomic };
    }
    Type::Struct(known_fields(schema, false, open))
}

fn list(schema: &StructuralSchema, open: bool) -> Type {
    let item = schema.items.as_deref().map_or(Type::Any, |items| type_of(items, open));
    let merge = match schema.list_type {
        ListType::Set => ListMerge::Set,
        ListType::Map => ListMerge::Map { keys: schema.list_map_keys.clone() },
        ListType::Atomic | ListType::Unset => ListMerge::Atomic,
    };
    Type::List { item: TypeRef::of(item), merge }
}

fn known_fields(schema: &StructuralSchema, resource: bool, open: bool) -> Struct {
    let mut fields: Vec<Field> = schema
        .properties
        .iter()
        .filter(|(name, _)| !resource || !matches!(name.as_str(), "apiVersion" | "kind" | "metadata"))
        .map(|(name, schema)| Field {
            default: schema.default.clone(),
            ..Field::optional(name, TypeRef::of(type_of(schema, open)))
        })
        .collect();
    if resource {
        fields.push(Field::optional("apiVersion", TypeRef::of(Type::String)));
        fields.push(Field::optional("kind", TypeRef::of(Type::String)));
        let metadata = TypeRef::named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
        fields.push(Field::optional("metadata", metadata.unwrap_or_else(|| TypeRef::of(Type::Any))));
    }
    let preserve_unknown = match schema.additional {
        Additional::Unset => open,
        Additional::Allowed(allowed) => allowed,
        Additional::Schema(_) => true,
    };
    Struct {
        fields: fields.into(),
        atomic: schema.map_atomic,
        preserve_unknown,
        embedded: schema.embedded_resource,
        ..Struct::default()
    }
}
