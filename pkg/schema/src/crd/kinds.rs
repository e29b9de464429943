// SPDX-License-Identifier: Apache-2.0
//! The kinds of an established CustomResourceDefinition.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use knarr_types::tree::Value;
use knarr_types::{Object, ResourceId};

use super::custom::{Conversion, Custom, Scale, Version};
use super::json_path::JsonPath;
use super::structural::StructuralSchema;
use crate::cel::rules::Validator;
use crate::discovery::by_version_priority;
use crate::field_table::TypeRef;
use crate::kinds::{Column, Kind, Subresource};
use crate::rules;

const VERBS: [&str; 8] = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/// The kinds that a definition serves, one a served version; none while it is not established.
#[must_use]
pub fn kinds_of(definition: &Object) -> Vec<Arc<Kind>> {
    if !condition(definition, "Established") {
        return Vec::new();
    }
    let spec = &definition["spec"];
    let listed = spec["versions"].as_array().map_or(&[][..], Vec::as_slice);
    let versions: Arc<BTreeMap<Arc<str>, Version>> =
        Arc::new(listed.iter().map(|v| (text(v, "name"), version(definition, v))).collect());
    let storage = listed.iter().find(|v| v["storage"] == true).map(|v| text(v, "name")).unwrap_or_default();
    let served = listed.iter().filter(|v| v["served"] == true);
    served.map(|v| Arc::new(kind(definition, v, &versions, &storage))).collect()
}

fn kind(definition: &Object, listed: &Value, versions: &Arc<BTreeMap<Arc<str>, Version>>, storage: &str) -> Kind {
    let (spec, names) = (&definition["spec"], &definition["status"]["acceptedNames"]);
    let (group, version, resource) = (text(spec, "group"), text(listed, "name"), text(names, "plural"));
    let terminating = condition(definition, "Terminating");
    let here = versions.get(&version);
    let mut selectable: Vec<Arc<str>> = vec!["metadata.name".into()];
    if spec["scope"] == "Namespaced" {
        selectable.push("metadata.namespace".into());
    }
    selectable.extend(here.into_iter().flat_map(|v| &v.selectable).map(|(name, _)| name.clone()));
    let ty = here.map_or(TypeRef::of(crate::field_table::Type::Any), Version::object_type);
    Kind {
        group: group.clone(),
        version: version.clone(),
        kind: text(names, "kind"),
        list_kind: text(names, "listKind"),
        resource: resource.clone(),
        singular: text(names, "singular"),
        short_names: texts(&names["shortNames"]),
        categories: texts(&names["categories"]),
        namespaced: spec["scope"] == "Namespaced",
        verbs: VERBS.map(Arc::from).to_vec(),
        subresources: subresources(listed, &group, &version, &text(names, "kind")),
        ty,
        columns: columns(&listed["additionalPrinterColumns"]),
        selectable,
        storage: ResourceId { group: group.clone(), resource },
        storage_version: format!("{group}/{storage}").into(),
        rules: rules::for_kind(&group, ""),
        custom: Some(Arc::new(Custom {
            definition: text(&definition["metadata"], "name"),
            uid: text(&definition["metadata"], "uid"),
            generation: definition["metadata"]["generation"].as_i64().unwrap_or(1),
            version,
            versions: Arc::clone(versions),
            terminating,
            conversion: conversion(spec),
        })),
    }
}

fn conversion(spec: &Value) -> Conversion {
    match spec["conversion"]["strategy"].as_str() {
        Some("Webhook") => Conversion::Webhook(Arc::new(spec["conversion"]["webhook"].clone())),
        _ => Conversion::None,
    }
}

fn version(definition: &Object, listed: &Value) -> Version {
    let props = &listed["schema"]["openAPIV3Schema"];
    let scale = &listed["subresources"]["scale"];
    let path = |name: &str| scale[name].as_str().unwrap_or_default().to_owned();
    let selectable = listed["selectableFields"].as_array().into_iter().flatten().filter_map(|field| {
        let path = field["jsonPath"].as_str()?;
        Some((Arc::from(path.trim_start_matches('.')), JsonPath::parse(path).ok()?))
    });
    let schema = StructuralSchema::parse(props);
    Version {
        rules: Validator::new(&schema),
        schema,
        published: props.clone(),
        status: listed["subresources"]["status"].is_object(),
        scale: scale.is_object().then(|| Scale {
            spec_replicas: path("specReplicasPath"),
            status_replicas: path("statusReplicasPath"),
            label_selector: path("labelSelectorPath"),
        }),
        selectable: selectable.collect(),
        deprecation: (listed["deprecated"] == true).then(|| deprecation(definition, listed)),
    }
}

/// What the definition says, or which version to use instead: the first stable one that is served.
fn deprecation(definition: &Object, listed: &Value) -> String {
    if let Some(warning) = listed["deprecationWarning"].as_str() {
        return warning.to_owned();
    }
    let spec = &definition["spec"];
    let (group, kind, version) = (text(spec, "group"), text(&spec["names"], "kind"), text(listed, "name"));
    let mut better: Vec<Arc<str>> = spec["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|v| v["served"] == true && v["deprecated"] != true)
        .map(|v| text(v, "name"))
        .filter(|other| by_version_priority(other, &version).is_lt())
        .collect();
    better.sort_by(|a, b| by_version_priority(a, b));
    let said = format!("{group}/{version} {kind} is deprecated");
    better.first().map_or(said.clone(), |better| format!("{said}; use {group}/{better} {kind}"))
}

fn subresources(listed: &Value, group: &str, version: &str, kind: &str) -> Vec<Subresource> {
    let below = |name: &str, group: &str, version: &str, kind: &str| Subresource {
        name: name.into(),
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
        verbs: ["get", "patch", "update"].map(Arc::from).to_vec(),
    };
    let mut all = Vec::new();
    if listed["subresources"]["status"].is_object() {
        all.push(below("status", group, version, kind));
    }
    if listed["subresources"]["scale"].is_object() {
        all.push(below("scale", "autoscaling", "v1", "Scale"));
    }
    all
}

const NAME_DESCRIPTION: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
const CREATED_DESCRIPTION: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// The name, and what the definition says; without anything said, the age.
fn columns(listed: &Value) -> Vec<Column> {
    let column = |name: &str, ty: &str, format: &str, priority, description: String, path: &str| Column {
        name: name.to_owned().into(),
        ty: ty.to_owned().into(),
        format: format.to_owned().into(),
        priority,
        description: Cow::Owned(description),
        json_path: path.to_owned().into(),
    };
    let mut columns = vec![column("Name", "string", "name", 0, NAME_DESCRIPTION.into(), "")];
    let listed = listed.as_array().map_or(&[][..], Vec::as_slice);
    // The first path that cannot be read ends the table.
    let readable = listed.iter().take_while(|c| JsonPath::parse(&text(c, "jsonPath")).is_ok());
    columns.extend(readable.map(|c| {
        let (path, said) = (text(c, "jsonPath"), text(c, "description"));
        let unsaid = || format!("Custom resource definition column (in JSONPath format): {path}");
        let said = if said.is_empty() { unsaid() } else { said.to_string() };
        let priority = c["priority"].as_u64().and_then(|p| u32::try_from(p).ok()).unwrap_or_default();
        column(&text(c, "name"), &text(c, "type"), &text(c, "format"), priority, said, &path)
    }));
    if listed.is_empty() {
        columns.push(column("Age", "date", "", 0, CREATED_DESCRIPTION.into(), ".metadata.creationTimestamp"));
    }
    columns
}

/// Whether a condition of the definition is true.
#[must_use]
pub fn condition(definition: &Object, ty: &str) -> bool {
    let conditions = definition["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == ty && c["status"] == "True")
}

fn text(value: &Value, name: &str) -> Arc<str> {
    value[name].as_str().unwrap_or_default().into()
}

fn texts(list: &Value) -> Vec<Arc<str>> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(Arc::from).collect()
}
