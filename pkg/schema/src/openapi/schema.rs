// SPDX-License-Identifier: Apache-2.0
//! Types as OpenAPI schemas. A published type is a schema of its own that others refer to.

use std::collections::BTreeMap;

use knarr_types::tree::{Map, Value, json};

use super::words::{self, Words};
use super::{custom_schema, extras, versions};
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
    /// How the document is written.
    encode: fn(&Value) -> Vec<u8>,
    words: Words,
    /// The versions that the document is about, where it is not about all.
    about: About,
    done: BTreeMap<String, Vec<u8>>,
    waiting: Vec<&'static NamedType>,
}

/// What a document is about.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum About {
    /// All groups.
    All,
    /// A version of a built-in group.
    Version(String, String),
    /// A version of custom resources.
    Custom,
}

impl Schemas {
    pub fn new(dialect: Dialect, about: About, encode: fn(&Value) -> Vec<u8>) -> Self {
        Self { dialect, encode, words: Words::unpack(), about, done: BTreeMap::new(), waiting: Vec::new() }
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
                    self.done.insert(name.clone(), (self.encode)(&schema));
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
        const CONVENTIONS: &str =
            "More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";
        let name = format!("{}.{}", custom_package(kind), kind.list_kind);
        if !self.done.contains_key(&name) {
            let item = self.kind(kind);
            let metadata = self.published(&format!("{META}.ListMeta")).unwrap_or_default();
            let [api_version, own_kind] = self.words_of_resources();
            let mut schema = json!({
                "type": "object", "required": ["items"],
                "description": format!("{} is a list of {}", kind.list_kind, kind.kind),
                "properties": {
                    "items": {
                        "type": "array", "items": item,
                        "description": format!("List of {}. {CONVENTIONS}", kind.resource),
                    },
                },
                "x-kubernetes-group-version-kind":
                    [{ "group": kind.group, "version": kind.version, "kind": kind.list_kind }],
            });
            let metadata = self.described(metadata, words::LIST_METADATA);
            custom_schema::resource(&mut schema, &metadata, &api_version, &own_kind);
            selectable(&mut schema, kind);
            self.done.insert(name.clone(), (self.encode)(&schema));
        }
        self.reference(&name)
    }

    /// The schema of a CRD as it says it, with what every resource has.
    fn of_custom(&mut self, custom: &Custom) -> Value {
        let mut schema = custom.here().published.clone();
        let v2 = self.dialect == Dialect::V2;
        // Clients would refuse fields that are not listed.
        if !schema.is_object() || (v2 && schema["x-kubernetes-preserve-unknown-fields"] == true) {
            return json!({ "type": "object" });
        }
        let metadata = self.published(OBJECT_META).unwrap_or_default();
        let metadata = self.described(metadata, words::METADATA);
        custom_schema::unfold(&mut schema);
        if v2 {
            custom_schema::only_v2(&mut schema);
        }
        custom_schema::embedded(&mut schema, &metadata, v2);
        let [api_version, kind] = self.words_of_resources();
        custom_schema::resource(&mut schema, &metadata, &api_version, &kind);
        schema
    }

    /// What `apiVersion` and `kind` say in every resource.
    fn words_of_resources(&self) -> [String; 2] {
        ["apiVersion", "kind"].map(|field| self.words.of_field("*", field).unwrap_or_default())
    }

    /// A reference to the published type of that full name, if there is one.
    pub fn published(&mut self, name: &str) -> Option<Value> {
        builtin_types::find(name).map(|named| self.refer(named))
    }

    /// All schemas as they are written, with all that they refer to.
    pub fn finish(mut self) -> BTreeMap<String, Vec<u8>> {
        while let Some(named) = self.waiting.pop() {
            if !self.done.contains_key(named.name()) {
                let schema = self.of_named(named);
                self.done.insert(named.name().to_owned(), (self.encode)(&schema));
            }
        }
        self.done
    }

    fn of_named(&mut self, named: &'static NamedType) -> Value {
        let mut schema = if named.is_free() { json!({}) } else { self.of(named.get()) };
        extras::add(&mut schema, named.name(), "");
        if let Some(text) = self.words.of_type(named.name()) {
            schema["description"] = text.into();
        }
        let group_version =
            |(group, version): &(&str, &str), kind: &str| json!({ "group": group, "version": version, "kind": kind });
        let kinds: Vec<Value> = match named.name().rsplit('.').next().unwrap_or_default() {
            kind @ ("WatchEvent" | "DeleteOptions") => {
                versions::of_all_kinds(&self.about).iter().map(|version| group_version(version, kind)).collect()
            }
            _ => named.kinds().map(|(group, version, kind)| group_version(&(group, version), kind)).collect(),
        };
        if !kinds.is_empty() {
            schema["x-kubernetes-group-version-kind"] = Value::Array(kinds);
        }
        schema
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
            // It is of several types, and OpenAPI has no word for that.
            Type::SchemaOr { .. } => json!({}),
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
            Type::List { item, .. } => json!({ "type": "array", "items": self.of_ref(item) }),
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
                fields.fields.iter().map(|field| (field.name.to_string(), self.of_field(fields, field))).collect();
            schema["properties"] = Value::Object(properties);
        }
        let is_required = |name: &&str| fields.field(name).is_some_and(|field| field.required);
        let required: Vec<&str> = builtin_types::written_order(&fields.name).filter(is_required).collect();
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

    fn of_field(&mut self, owner: &Struct, field: &Field) -> Value {
        let mut extra = Map::new();
        if let Some(text) = self.words.of_field(&owner.name, &field.name) {
            extra.insert("description", text.into());
        }
        // Version 2 has none: clients would put them into what they send.
        if let Some(default) = field.default.as_ref().filter(|_| self.dialect == Dialect::V3) {
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
        if let (Type::List { merge, .. }, Some(_)) = (field.ty.get(), builtin_types::merge(&owner.name, &field.name)) {
            list_merge(&mut schema, merge);
        }
        if !extra.is_empty() {
            schema = self.beside_reference(schema);
        }
        if let Some(schema) = schema.as_object_mut() {
            schema.append(&mut extra);
        }
        extras::add(&mut schema, &owner.name, &field.name);
        schema
    }

    /// Beside a reference OpenAPI 3.0 allows nothing.
    fn beside_reference(&self, schema: Value) -> Value {
        if self.dialect == Dialect::V3 && schema.get("$ref").is_some() { json!({ "allOf": [schema] }) } else { schema }
    }

    /// The schema with words.
    fn described(&self, schema: Value, text: &str) -> Value {
        let mut schema = self.beside_reference(schema);
        schema["description"] = text.into();
        schema
    }
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
    format!("{}.{}", custom_package(kind), kind.kind)
}

fn custom_package(kind: &Kind) -> String {
    let parts: Vec<&str> = kind.group.split('.').rev().chain([&*kind.version]).collect();
    parts.join(".")
}
