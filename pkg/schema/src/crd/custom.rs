// SPDX-License-Identifier: Apache-2.0
//! What a custom kind is beyond a built-in one: the versions of its definition with their schemas.

use std::collections::BTreeMap;
use std::sync::Arc;

use knarr_types::tree::Value;
use knarr_types::{FieldError, FieldPath, Object};

use super::field_type::object_type;
use super::json_path::JsonPath;
use super::prune::{default, drop_nulls, prune};
use super::structural::StructuralSchema;
use crate::cel::rules::Validator;
use crate::field_table::TypeRef;
use crate::normalize::normalize;

/// One version of a custom kind, with those that it is converted from and to.
#[derive(Debug)]
pub struct Custom {
    /// The name of its definition: `widgets.example.com`.
    pub definition: Arc<str>,
    /// The definition's `metadata.uid`.
    pub uid: Arc<str>,
    /// The definition's `metadata.generation`.
    pub generation: i64,
    /// This version's place in `versions`.
    pub version: Arc<str>,
    /// All versions, served or not, by name.
    pub versions: Arc<BTreeMap<Arc<str>, Version>>,
    /// Objects are no longer created: the definition is being deleted.
    pub terminating: bool,
    /// How objects come from one version into another.
    pub conversion: Conversion,
}

/// What a definition says about a version.
#[derive(Debug, Default)]
pub struct Version {
    /// Its schema.
    pub schema: StructuralSchema,
    /// The schema as the definition has it, for the published documents.
    pub published: Value,
    /// The rules of the schema, where it has any.
    pub rules: Option<Validator>,
    /// It has a status of its own.
    pub status: bool,
    /// It has a scale.
    pub scale: Option<Scale>,
    /// The fields that selectors may name, and where they are.
    pub selectable: Vec<(Arc<str>, JsonPath)>,
    /// What every answer about it warns of.
    pub deprecation: Option<String>,
}

impl Version {
    /// The type of an object of this version, as owners of its fields see it.
    #[must_use]
    pub fn object_type(&self) -> TypeRef {
        TypeRef::of(object_type(&self.schema))
    }
}

/// Where the replicas of a custom object are.
#[derive(Clone, Debug, Default)]
pub struct Scale {
    /// `.spec.replicas`
    pub spec_replicas: String,
    /// `.status.replicas`
    pub status_replicas: String,
    /// `.status.selector`; empty for none.
    pub label_selector: String,
}

impl Scale {
    /// How many are wanted, if the object says so.
    #[must_use]
    pub fn wanted(&self, object: &Object) -> Option<i64> {
        at(object, &self.spec_replicas).and_then(Value::as_i64)
    }

    /// How many there are, and the selector that finds them.
    #[must_use]
    pub fn status(&self, object: &Object) -> (i64, String) {
        let there = at(object, &self.status_replicas).and_then(Value::as_i64).unwrap_or_default();
        let selector = at(object, &self.label_selector).and_then(Value::as_str).unwrap_or_default();
        (there, selector.to_owned())
    }

    /// Makes an object want that many.
    pub fn set(&self, object: &mut Object, replicas: i64) {
        let mut place = object;
        for field in self.spec_replicas.trim_start_matches('.').split('.') {
            if !place.is_object() {
                *place = Value::Object(knarr_types::tree::Map::new());
            }
            place = &mut place[field];
        }
        *place = replicas.into();
    }
}

/// The value at a path in dot notation.
fn at<'a>(object: &'a Object, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return None;
    }
    path.trim_start_matches('.').split('.').try_fold(object, |value, field| value.get(field))
}

/// How objects come from one version into another.
#[derive(Clone, Debug, Default)]
pub enum Conversion {
    /// Only their `apiVersion` changes.
    #[default]
    None,
    /// A webhook is asked: `spec.conversion.webhook` of the definition.
    Webhook(Arc<Value>),
}

impl Custom {
    /// What is said about this version.
    ///
    /// # Panics
    /// Never: a kind is made from a version of `versions`.
    #[must_use]
    pub fn here(&self) -> &Version {
        self.versions.get(&self.version).expect("a custom kind is one of its versions")
    }

    /// The records of its objects may differ from what clients get: they were written in another
    /// version, or before the schema last changed, or without the status that is filled in when they are read.
    #[must_use]
    pub fn rewrites(&self, storage_version: &str) -> bool {
        self.fills_in() || storage_version.rsplit('/').next() != Some(&*self.version)
    }

    /// Something may be filled in where an object is read: defaults that the schema did not always have, or the
    /// status, which new objects are stored without.
    #[must_use]
    pub fn fills_in(&self) -> bool {
        let here = self.here();
        let status = here.schema.properties.get("status").filter(|_| here.status);
        self.generation > 1 || status.is_some_and(|status| status.default.is_some())
    }

    /// A number that tells the bytes of this version's objects from those of others.
    #[must_use]
    pub fn number(&self) -> u64 {
        let place = self.versions.keys().position(|v| *v == self.version).unwrap_or_default();
        (u64::try_from(self.generation).unwrap_or_default() << 8) | (place as u64 & 0xff)
    }

    /// An object as its schema has it after it was read from a client or a webhook: without unknown
    /// fields, without nulls that the schema refuses. Gives the paths of unknown fields.
    ///
    /// # Errors
    /// Where the metadata, of the object or of one embedded in it, are none.
    pub fn coerce(&self, object: &mut Object) -> Result<Vec<String>, String> {
        let Some(version) = self.version_of(object) else {
            return Ok(prune(object, &StructuralSchema::default()));
        };
        coerce(object, &version.schema)
    }

    /// As [`Custom::coerce`] for what an apply made, whose nulls stay to be judged. Gives whether anything went that a
    /// generation counts: what `additionalProperties: true` lets in is applied, and pruned once it is compared.
    ///
    /// # Errors
    /// As [`Custom::coerce`].
    pub fn coerce_applied(&self, object: &mut Object) -> Result<bool, String> {
        let gone = match self.version_of(object) {
            Some(version) => coerce_but(object, &version.schema, Nulls::Kept)?,
            None => self.coerce(object)?,
        };
        let counts = |path: &String| {
            let member = path.split(['.', '[']).next().unwrap_or_default();
            member != "metadata" && !(member == "status" && self.here().status)
        };
        Ok(gone.iter().any(counts))
    }

    /// Fills in the defaults of the object's version.
    pub fn default(&self, object: &mut Object) {
        if let Some(version) = self.version_of(object) {
            default(object, &version.schema);
        }
    }

    /// The webhook that brings objects into other versions: `spec.conversion.webhook` of the definition.
    #[must_use]
    pub const fn webhook(&self) -> Option<&Arc<Value>> {
        match &self.conversion {
            Conversion::None => None,
            Conversion::Webhook(webhook) => Some(webhook),
        }
    }

    /// A stored object, with the `apiVersion` in which it was written, brought into this version.
    pub fn read(&self, api_version: &str, object: &mut Object) {
        let _ = self.coerce(object);
        self.default(object);
        self.relabel(api_version, object);
    }

    /// An object of any version as one of `api_version`, where conversion does nothing.
    pub fn relabel(&self, api_version: &str, object: &mut Object) {
        if object["apiVersion"] != *api_version {
            object["apiVersion"] = api_version.into();
            let _ = self.coerce(object);
        }
    }

    /// The values of the fields that selectors may name, of any version.
    #[must_use]
    pub fn fields(&self, object: &Object) -> Vec<(Arc<str>, String)> {
        let mut all: Vec<_> = self.versions.values().flat_map(|version| &version.selectable).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.dedup_by(|a, b| a.0 == b.0);
        let found = |path: &JsonPath| {
            path.find(object).filter(|value| !value.is_null()).map(|value| super::json_path::printed(&value))
        };
        let value = |path: &JsonPath| found(path).unwrap_or_default();
        all.into_iter().map(|(name, path)| (name.clone(), value(path))).collect()
    }

    fn version_of(&self, object: &Object) -> Option<&Version> {
        let version = object["apiVersion"].as_str()?.rsplit('/').next()?;
        self.versions.get(version)
    }
}

/// Prunes an object and brings its metadata, and those of embedded ones, into their one form.
fn coerce(object: &mut Object, schema: &StructuralSchema) -> Result<Vec<String>, String> {
    coerce_but(object, schema, Nulls::Dropped)
}

/// What becomes of nulls that the schema does not take and has no default for.
#[derive(Clone, Copy)]
enum Nulls {
    Dropped,
    Kept,
}

fn coerce_but(object: &mut Object, schema: &StructuralSchema, nulls: Nulls) -> Result<Vec<String>, String> {
    let mut unknown = match object.get_mut("metadata") {
        Some(metadata) => coerce_metadata(metadata, "metadata")?,
        None => Vec::new(),
    };
    unknown.extend(prune(object, schema));
    if let Nulls::Dropped = nulls {
        drop_nulls(object, Some(schema));
    }
    let mut embedded = Vec::new();
    coerce_embedded(object, schema, &FieldPath::root(), &mut embedded).map_err(|error| error.to_string())?;
    embedded.sort();
    unknown.extend(embedded);
    Ok(unknown)
}

/// Gives the paths of unknown fields.
fn coerce_metadata(metadata: &mut Value, path: &str) -> Result<Vec<String>, String> {
    let Some(ty) = TypeRef::named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta") else { return Ok(Vec::new()) };
    let decoded = crate::decode::check(metadata.take(), ty.get()).map_err(|error| error.to_string())?;
    *metadata = decoded.object;
    if metadata.is_null() {
        *metadata = Value::Object(knarr_types::tree::Map::new());
    }
    normalize(metadata, ty.get());
    let field = |fault: &String| fault.split('"').nth(1).map(|field| format!("{path}.{field}"));
    Ok(decoded.faults.iter().filter_map(field).collect())
}

/// Brings the metadata of a resource into their one form.
///
/// # Errors
/// The first of what says what it is that does not.
pub(super) fn coerce_resource(
    fields: &mut knarr_types::tree::Map,
    at: &FieldPath,
    unknown: &mut Vec<String>,
) -> Result<(), FieldError> {
    if let Some(metadata) = fields.get_mut("metadata") {
        let (sent, place) = (metadata.clone(), at.child("metadata"));
        let gone = coerce_metadata(metadata, place.as_str());
        unknown.extend(gone.map_err(|why| FieldError::invalid(&place, sent, why))?);
    }
    let mut types = fields.iter().filter(|(name, _)| matches!(name.as_str(), "apiVersion" | "kind"));
    match types.find(|(_, value)| !value.is_string()) {
        Some((name, value)) => Err(FieldError::invalid(&at.child(name), value.clone(), "must be a string")),
        None => Ok(()),
    }
}

/// Brings the metadata of embedded resources into their one form; gives the paths of unknown fields.
///
/// # Errors
/// The first of them that is none.
pub(super) fn coerce_embedded(
    value: &mut Value,
    schema: &StructuralSchema,
    at: &FieldPath,
    unknown: &mut Vec<String>,
) -> Result<(), FieldError> {
    match value {
        Value::Object(fields) => {
            if schema.embedded_resource {
                coerce_resource(fields, at, unknown)?;
            }
            for (name, value) in fields {
                match (schema.properties.get(name.as_str()), schema.additional.schema()) {
                    (Some(known), _) => coerce_embedded(value, known, &at.child(name), unknown)?,
                    (None, Some(known)) => coerce_embedded(value, known, &at.key(name), unknown)?,
                    (None, None) => {}
                }
            }
        }
        Value::Array(items) => {
            let Some(known) = &schema.items else { return Ok(()) };
            for (i, item) in items.iter_mut().enumerate() {
                coerce_embedded(item, known, &at.index(i), unknown)?;
            }
        }
        _ => {}
    }
    Ok(())
}
