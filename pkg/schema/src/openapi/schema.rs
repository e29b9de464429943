// SPDX-License-Identifier: Apache-2.0
//! Types as OpenAPI schemas. A published type is a schema of its own that others refer to.

use std::collections::BTreeMap;

use knarr_types::tree::{Map, Value, json};

use super::{custom_schema, descriptions};
use crate::builtin_types::{self, NamedType};
use crate::crd::Custom;
use crate::field_table::{Field, ListMerge, Struct, Type, TypeRef};
use crate::kinds::Kind;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Which OpenAPI is spoken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Swagger 2.0.
    V2,
    /// OpenAPI 3.0.
    V3,
}

/// The schemas of a document, grown as they are referred to.
pub(super) struct Schemas {
    pub dialect: Dialect,
    done: BTreeMap<String, Value>,
    waiting: Vec<&'static NamedType>,
}

impl Schemas {
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, done: BTreeMap::new(), waiting: Vec::new() }
    }

    /// A schema that refers to a kind's type; makes one of its own for a CRD's.
    pub fn kind(&mut self, kind: &Kind) -> Value {
        match &kind.ty {
            TypeRef::Named(named) => self.refer(named),
            TypeRef::Inline(ty) => {
                let name = custom_name(kind);
                if !self.done.contains_key(&name) {
                    let mut schema = match &kind.custom {
                        Some(custom) => self.of_custom(custom),
                        None => self.of(ty),
                    };
                    schema["x-kubernetes-group-version-kind"] =
                        json!([{ "group": kind.group, "version": kind.version, "kind": kind.kind }]);
                    selectable(&mut schema, kind);
                    self.done.insert(name.clone(), schema);
                }
                self.reference(&name)
            }
        }
    }

    /// A schema that refers to the published list of a kind's objects, if there is one; makes one of its
    /// own for a CRD's.
    pub fn list(&mut self, kind: &Kind) -> Option<Value> {
        let TypeRef::Named(named) = &kind.ty else { return Some(self.custom_list(kind)) };
        self.published(&format!("{}List", named.name()))
    }

    fn custom_list(&mut self, kind: &Kind) -> Value {
        let name = format!("{}List", custom_name(kind));
        if !self.done.contains_key(&name) {
            let (item, metadata) = (self.kind(kind), self.published(&format!("{META}.ListMeta")));
            let mut schema = json!({
                "type": "object", "required": ["items"],
                "properties": {
                    "apiVersion": { "type": "string" }, "kind": { "type": "string" }, "metadata": metadata,
                    "items": { "type": "array", "items": item },
                },
                "x-kubernetes-group-version-kind":
                    [{ "group": kind.group, "version": kind.version, "kind": kind.list_kind }],
            });
            selectable(&mut schema, kind);
            self.done.insert(name.clone(), schema);
        }
        self.reference(&name)
    }

    /// The schema of a CRD as it says it, with what every resource has.
    fn of_custom(&mut self, custom: &Custom) -> Value {
        let mut schema = custom.here().published.clone();
        let v2 = self.dialect == Dialect::V2;
        // Clients would refuse fields that are not listed.
        if !schema.is_object() || (v2 && schema["x-kubernetes-preserve-unknown-fields"] == true) {
            schema = json!({ "type": "object" });
        } else {
            let metadata = self.metadata();
            custom_schema::unfold(&mut schema);
            if v2 {
                custom_schema::only_v2(&mut schema);
            }
            custom_schema::embedded(&mut schema, &metadata, v2);
            custom_schema::resource(&mut schema, &metadata);
        }
        schema
    }

    /// A custom resource's metadata.
    fn metadata(&mut self) -> Value {
        let mut reference = self.published(OBJECT_META).unwrap_or_default();
        describe(&mut reference, descriptions::METADATA, self.dialect);
        reference
    }

    /// A reference to the published type of that full name, if there is one.
    pub fn published(&mut self, name: &str) -> Option<Value> {
        builtin_types::find(name).map(|named| self.refer(named))
    }

    /// All schemas, with all that they refer to.
    pub fn finish(mut self) -> BTreeMap<String, Value> {
        while let Some(named) = self.waiting.pop() {
            if !self.done.contains_key(named.name()) {
                let mut schema = self.of(named.get());
                if named.name() == OBJECT_META {
                    for (name, field) in schema["properties"].as_object_mut().into_iter().flatten() {
                        if let Some(text) = descriptions::of_metadata(name) {
                            describe(field, text, self.dialect);
                        }
                    }
                }
                let kinds: Vec<Value> = named
                    .kinds()
                    .map(|(group, version, kind)| json!({ "group": group, "version": version, "kind": kind }))
                    .collect();
                if !kinds.is_empty() {
                    schema["x-kubernetes-group-version-kind"] = Value::Array(kinds);
                }
                self.done.insert(named.name().to_owned(), schema);
            }
        }
        self.done
    }

    fn refer(&mut self, named: &'static NamedType) -> Value {
        if !self.done.contains_key(named.name()) {
            self.waiting.push(named);
        }
        self.reference(named.name())
    }

    fn reference(&self, name: &str) -> Value {
        let folder = if self.dialect == Dialect::V2 { "#/definitions" } else { "#/components/schemas" };
        json!({ "$ref": format!("{folder}/{name}") })
    }

    fn of_ref(&mut self, ty: &TypeRef) -> Value {
        match ty {
            TypeRef::Named(named) => self.refer(named),
            TypeRef::Inline(ty) => self.of(ty),
        }
    }

    fn of(&mut self, ty: &Type) -> Value {
        let v3 = self.dialect == Dialect::V3;
        match ty {
            Type::Any => json!({ "type": "object" }),
            Type::Boolean => json!({ "type": "boolean" }),
            Type::Integer { bits } => json!({ "type": "integer", "format": format!("int{bits}") }),
            Type::Number => json!({ "type": "number", "format": "double" }),
            Type::String | Type::Duration => json!({ "type": "string" }),
            Type::IntOrString if v3 => {
                json!({ "format": "int-or-string", "oneOf": [{ "type": "integer" }, { "type": "string" }] })
            }
            Type::IntOrString => json!({ "type": "string", "format": "int-or-string" }),
            Type::Quantity if v3 => json!({ "oneOf": [{ "type": "string" }, { "type": "number" }] }),
            Type::Quantity => json!({ "type": "string" }),
            Type::Time | Type::MicroTime => json!({ "type": "string", "format": "date-time" }),
            Type::Bytes => json!({ "type": "string", "format": "byte" }),
            Type::List { item, merge } => {
                let mut schema = json!({ "type": "array", "items": self.of_ref(item) });
                list_merge(&mut schema, merge);
                schema
            }
            Type::Map { value, atomic } => {
                let mut schema = json!({ "type": "object", "additionalProperties": self.of_ref(value) });
                if *atomic {
                    schema["x-kubernetes-map-type"] = json!("atomic");
                }
                schema
            }
            Type::Struct(fields) => self.of_struct(fields),
        }
    }

    fn of_struct(&mut self, fields: &Struct) -> Value {
        let mut schema = json!({ "type": "object" });
        if !fields.fields.is_empty() {
            let properties: Map =
                fields.fields.iter().map(|field| (field.name.to_string(), self.of_field(field))).collect();
            schema["properties"] = Value::Object(properties);
        }
        let required: Vec<&str> = fields.fields.iter().filter(|f| f.required).map(|f| &*f.name).collect();
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        for (set, name, value) in [
            (fields.atomic, "x-kubernetes-map-type", json!("atomic")),
            (fields.preserve_unknown, "x-kubernetes-preserve-unknown-fields", json!(true)),
            (fields.embedded, "x-kubernetes-embedded-resource", json!(true)),
        ] {
            if set {
                schema[name] = value;
            }
        }
        schema
    }

    fn of_field(&mut self, field: &Field) -> Value {
        let mut extra = Map::new();
        if let Some(default) = &field.default {
            extra.insert("default", default.clone());
        }
        if !field.values.is_empty() {
            extra.insert("enum", json!(field.values));
        }
        let strategies = [(field.patch.merge, "merge"), (field.patch.retain_keys, "retainKeys")];
        let strategies: Vec<&str> = strategies.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
        if !strategies.is_empty() {
            extra.insert("x-kubernetes-patch-strategy", strategies.join(",").into());
        }
        if let Some(key) = &field.patch.merge_key {
            extra.insert("x-kubernetes-patch-merge-key", json!(key));
        }
        let mut schema = self.of_ref(&field.ty);
        // Beside a reference OpenAPI 3.0 allows nothing.
        if !extra.is_empty() && self.dialect == Dialect::V3 && schema.get("$ref").is_some() {
            schema = json!({ "allOf": [schema] });
        }
        if let Some(schema) = schema.as_object_mut() {
            schema.append(&mut extra);
        }
        schema
    }
}

/// Says in words what a schema is.
fn describe(schema: &mut Value, text: &str, dialect: Dialect) {
    // Beside a reference OpenAPI 3.0 allows nothing.
    if dialect == Dialect::V3 && schema.get("$ref").is_some() {
        *schema = json!({ "allOf": [schema.take()] });
    }
    schema["description"] = text.into();
}

/// The fields that selectors may name beside those of every kind.
fn selectable(schema: &mut Value, kind: &Kind) {
    let fields = kind.custom.iter().flat_map(|custom| &custom.here().selectable);
    let fields: Vec<Value> = fields.map(|(name, _)| json!({ "fieldPath": name })).collect();
    if !fields.is_empty() {
        schema["x-kubernetes-selectable-fields"] = fields.into();
    }
}

fn list_merge(schema: &mut Value, merge: &ListMerge) {
    let (name, keys) = match merge {
        ListMerge::Atomic => ("atomic", None),
        ListMerge::Set => ("set", None),
        ListMerge::Map { keys } => ("map", Some(keys)),
    };
    schema["x-kubernetes-list-type"] = json!(name);
    if let Some(keys) = keys {
        schema["x-kubernetes-list-map-keys"] = json!(keys);
    }
}

/// `com.example.v1.Widget` for `example.com/v1` and `Widget`.
fn custom_name(kind: &Kind) -> String {
    let mut parts: Vec<&str> = kind.group.split('.').rev().collect();
    parts.extend([&*kind.version, &*kind.kind]);
    parts.join(".")
}
