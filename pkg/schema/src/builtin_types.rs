// SPDX-License-Identifier: Apache-2.0
//! The published types of Kubernetes, read from `data/types.tsv` one at a time, when first reached.
//!
//! `scripts/generate-schema.py` makes that file and says what its lines hold.

use std::fmt;
use std::sync::{LazyLock, OnceLock};

use crate::field_table::{Emission, Field, ListMerge, PatchStrategy, SchemaOr, Struct, Type, TypeRef};
use crate::protobuf::Message;

/// A published type, before and after it was read.
pub struct NamedType {
    name: &'static str,
    flags: &'static str,
    kinds: &'static str,
    rows: &'static str,
    ty: OnceLock<Type>,
    message: OnceLock<Message>,
}

/// Every published type, in the order of their names.
static TYPES: LazyLock<Vec<NamedType>> = LazyLock::new(|| index(include_str!("../data/types.tsv")));

/// Types that the server answers with and no document describes. Written by hand.
static UNPUBLISHED: LazyLock<Vec<NamedType>> = LazyLock::new(|| index(include_str!("../data/unpublished.tsv")));

/// The type of that full name: `io.k8s.api.core.v1.Pod`.
#[must_use]
pub fn find(name: &str) -> Option<&'static NamedType> {
    let find = |types: &'static [NamedType]| types.binary_search_by(|t| t.name.cmp(name)).ok().map(|i| &types[i]);
    find(&TYPES).or_else(|| find(&UNPUBLISHED))
}

/// The type of objects of that kind.
#[must_use]
pub fn of_kind(group: &str, version: &str, kind: &str) -> Option<&'static NamedType> {
    let types: &'static [NamedType] = &TYPES;
    let unpublished: &'static [NamedType] = &UNPUBLISHED;
    types.iter().chain(unpublished).find(|ty| ty.kinds().any(|it| it == (group, version, kind)))
}

/// What there are types of, as (group, version, kind).
pub fn kinds() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let types: &'static [NamedType] = &TYPES;
    types.iter().flat_map(NamedType::kinds)
}

/// The full names of all published types, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    TYPES.iter().map(|t| t.name)
}

/// The Go type of a field (`v1.ResourceList`) where it has a name of its own; read from the file
/// each time, as only error messages need it.
#[must_use]
pub fn go_type(name: &str, field: &str) -> Option<&'static str> {
    column(name, field, 8)
}

/// The structs that Go embeds around a field, from the outside in (`RuleWithOperations.Rule`), where there
/// are any.
pub(crate) fn embedded(name: &str, field: &str) -> Option<&'static str> {
    column(name, field, 9)
}

/// How a field is published to merge, where it is: lists that say nothing are atomic all the same.
#[must_use]
pub fn merge(name: &str, field: &str) -> Option<&'static str> {
    column(name, field, 5)
}

fn column(name: &str, field: &str, number: usize) -> Option<&'static str> {
    let row = find(name)?.rows.lines().find(|row| row.split('\t').next() == Some(field))?;
    row.split('\t').nth(number).filter(|text| !text.is_empty())
}

/// The fields of a published type in the order in which upstream writes them; none of a type that is not
/// published. Read from the file each time, as only error messages need it.
pub(crate) fn written_order(name: &str) -> impl Iterator<Item = &'static str> + use<> {
    find(name).into_iter().flat_map(|named| named.rows.lines()).filter_map(|row| row.split('\t').next())
}

impl NamedType {
    /// Its full name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The kinds that it is the type of, as (group, version, kind).
    pub fn kinds(&self) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> + use<> {
        self.kinds.split(' ').filter_map(|text| {
            let mut parts = text.split('/');
            Some((parts.next()?, parts.next()?, parts.next()?))
        })
    }

    /// It is anything, of any form.
    pub(crate) fn is_free(&self) -> bool {
        self.flags == "any" && matches!(self.get(), Type::Any)
    }

    /// What it is; read on the first call.
    pub fn get(&self) -> &Type {
        self.ty.get_or_init(|| read_type(self))
    }

    /// How it is written in protobuf; read on the first call.
    pub fn message(&self) -> &Message {
        self.message.get_or_init(|| Message::of(self))
    }

    /// The fields that protobuf has, with their numbers as the file has them.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = (&'static str, &'static str)> + use<> {
        self.rows.lines().filter_map(|row| {
            let mut columns = row.split('\t');
            let (name, number) = (columns.next()?, columns.nth(1)?);
            (!number.is_empty()).then_some((name, number))
        })
    }
}

impl fmt::Debug for NamedType {
    /// Only the name: types may contain themselves.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Splits the file at the lines that start a type.
fn index(text: &'static str) -> Vec<NamedType> {
    let mut types: Vec<NamedType> = text
        .split('@')
        .filter_map(|block| {
            let (head, rows) = block.split_once('\n')?;
            let mut columns = head.split('\t');
            let name = columns.next()?;
            let (flags, kinds) = (columns.next().unwrap_or_default(), columns.next().unwrap_or_default());
            Some(NamedType { name, flags, kinds, rows, ty: OnceLock::new(), message: OnceLock::new() })
        })
        .collect();
    types.sort_unstable_by_key(|t| t.name);
    types
}

fn read_type(named: &NamedType) -> Type {
    match named.name.rsplit('.').next().unwrap_or_default() {
        "Quantity" => return Type::Quantity,
        "Time" => return Type::Time,
        "MicroTime" => return Type::MicroTime,
        "IntOrString" => return Type::IntOrString,
        "RawExtension" | "FieldsV1" => return Type::Any,
        "JSONSchemaPropsOrArray" => return schema_or(named.name, SchemaOr::List),
        "JSONSchemaPropsOrBool" => return schema_or(named.name, SchemaOr::Boolean),
        "JSONSchemaPropsOrStringArray" => return schema_or(named.name, SchemaOr::Names),
        _ if named.flags.starts_with("any") => return Type::Any,
        _ => {}
    }
    let fields: Vec<Field> = named.rows.lines().map(read_field).collect();
    Type::Struct(Struct {
        name: named.name.into(),
        fields: fields.into(),
        atomic: named.flags.contains("atomic"),
        ..Struct::default()
    })
}

/// The type that stands beside `JSONSchemaProps`.
fn schema_or(name: &str, or: SchemaOr) -> Type {
    let schema = name.rfind("Or").and_then(|end| TypeRef::named(&name[..end]));
    schema.map_or(Type::Any, |schema| Type::SchemaOr { schema, or })
}

fn read_field(row: &'static str) -> Field {
    let mut columns = row.split('\t');
    let mut next = || columns.next().unwrap_or_default();
    let (name, ty, _number) = (next(), next(), next());
    let (emission, default, merge, patch, values) = (next(), next(), next(), next(), next());
    Field {
        name: name.into(),
        ty: read_ref(ty, merge),
        required: emission.ends_with('!'),
        emission: match emission.as_bytes().first() {
            Some(b'A') => Emission::Always,
            Some(b'N') => Emission::Null,
            Some(b'U') => Emission::OmitUnset,
            _ => Emission::OmitEmpty,
        },
        default: if default.is_empty() { None } else { serde_json::from_str(default).ok() },
        patch: read_patch(patch),
        values: values.split(',').filter(|v| !v.is_empty()).map(str::to_owned).collect(),
        granular: merge == "granular",
    }
}

fn read_ref(text: &'static str, merge: &str) -> TypeRef {
    if let Some(item) = text.strip_prefix("[]") {
        let keys = || merge.strip_prefix("map ").map(|k| k.split(',').map(str::to_owned).collect());
        let merge = match merge {
            "set" => ListMerge::Set,
            _ => keys().map_or(ListMerge::Atomic, |keys| ListMerge::Map { keys }),
        };
        return TypeRef::of(Type::List { item: read_ref(item, ""), merge });
    }
    if let Some(value) = text.strip_prefix("map[]") {
        return TypeRef::of(Type::Map { value: read_ref(value, ""), atomic: merge == "atomic" });
    }
    TypeRef::of(match text {
        "string" => Type::String,
        "boolean" => Type::Boolean,
        "int32" => Type::Integer { bits: 32 },
        "int64" => Type::Integer { bits: 64 },
        "number" => Type::Number,
        "bytes" => Type::Bytes,
        name => return find(name).map_or_else(|| TypeRef::of(Type::Any), TypeRef::Named),
    })
}

fn read_patch(text: &str) -> PatchStrategy {
    let (strategy, key) = text.split_once(' ').unwrap_or((text, ""));
    PatchStrategy {
        merge: strategy.split(',').any(|s| s == "merge"),
        replace: strategy.split(',').any(|s| s == "replace"),
        retain_keys: strategy.split(',').any(|s| s == "retainKeys"),
        merge_key: (!key.is_empty()).then(|| key.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_published_type_reads_and_names_only_published_types() {
        for name in names() {
            let Type::Struct(s) = find(name).unwrap().get() else { continue };
            assert!(s.fields.is_sorted_by(|a, b| a.name < b.name), "{name}");
        }
    }

    #[test]
    fn a_pod_has_containers_merged_by_name() {
        let spec = TypeRef::named("io.k8s.api.core.v1.PodSpec").unwrap();
        let Type::Struct(spec) = spec.get() else { panic!("a struct") };
        let containers = spec.field("containers").unwrap();
        assert!(containers.required && containers.patch.merge);
        assert_eq!(containers.patch.merge_key.as_deref(), Some("name"));
        let Type::List { merge, .. } = containers.ty.get() else { panic!("a list") };
        assert_eq!(*merge, ListMerge::Map { keys: vec!["name".into()] });
    }
}
