// SPDX-License-Identifier: Apache-2.0
//! The operations on kinds, with the parameters that clients look for.

use std::sync::Arc;

use knarr_types::tree::{Map, Value, json};

use super::schema::{Dialect, Schemas};
use crate::kinds::{Kind, Subresource};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
/// Parameters of every write.
const WRITE: [(&str, &str); 3] = [("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
/// Parameters of lists and watches, and of deletes of collections.
const LIST: [(&str, &str); 10] = [
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const DELETE: [(&str, &str); 4] = [
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

/// The `paths` of a document, with the schemas of what they take and give.
pub(super) fn of_kinds(kinds: &[&Arc<Kind>], schemas: &mut Schemas) -> Map {
    for name in ["Status", "DeleteOptions", "WatchEvent"] {
        schemas.published(&format!("{META}.{name}"));
    }
    let mut paths = Map::new();
    for kind in kinds {
        let object = schemas.kind(kind);
        let root = if kind.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group) };
        let root = format!("{root}/{}", kind.version);
        let folder = if kind.namespaced { format!("{root}/namespaces/{{namespace}}") } else { root.clone() };
        let collection = format!("{folder}/{}", kind.resource);
        let list = schemas.list(kind).unwrap_or_else(|| json!({ "type": "object" }));
        let dialect = schemas.dialect;
        insert(&mut paths, dialect, &collection, collection_operations(kind, &object, &list, dialect));
        insert(&mut paths, dialect, &format!("{collection}/{{name}}"), object_operations(kind, &object, dialect));
        if kind.namespaced && kind.has_verb("list") {
            let everywhere = operation(kind_name(kind), "list", &LIST, None, &list, dialect);
            insert(&mut paths, dialect, &format!("{root}/{}", kind.resource), vec![("get", everywhere)]);
        }
        for sub in &kind.subresources {
            let operations = sub_operations(kind, sub, &object, schemas);
            insert(&mut paths, dialect, &format!("{collection}/{{name}}/{}", sub.name), operations);
        }
    }
    paths
}

fn insert(paths: &mut Map, dialect: Dialect, path: &str, operations: Vec<(&str, Value)>) {
    if operations.is_empty() {
        return;
    }
    let in_path = ["name", "namespace"].into_iter().filter(|name| path.contains(&format!("{{{name}}}")));
    let parameters: Vec<Value> = in_path
        .map(|name| match dialect {
            Dialect::V2 => json!({ "name": name, "in": "path", "required": true, "type": "string" }),
            Dialect::V3 => json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }),
        })
        .collect();
    let mut entry: Map = operations.into_iter().map(|(method, op)| (method.to_owned(), op)).collect();
    if !parameters.is_empty() {
        entry.insert("parameters", json!(parameters));
    }
    paths.insert(path.to_owned(), Value::Object(entry));
}

fn kind_name(kind: &Kind) -> Value {
    json!({ "group": kind.group, "version": kind.version, "kind": kind.kind })
}

fn collection_operations(kind: &Kind, object: &Value, list: &Value, dialect: Dialect) -> Vec<(&'static str, Value)> {
    let name = || kind_name(kind);
    let all = [
        ("create", "post", operation(name(), "post", &WRITE, Some(object), object, dialect)),
        ("list", "get", operation(name(), "list", &LIST, None, list, dialect)),
        ("deletecollection", "delete", operation(name(), "deletecollection", &LIST, None, list, dialect)),
    ];
    allowed(&kind.verbs, all)
}

fn object_operations(kind: &Kind, object: &Value, dialect: Dialect) -> Vec<(&'static str, Value)> {
    let op = |action, parameters, body| operation(kind_name(kind), action, parameters, body, object, dialect);
    let all = [
        ("get", "get", op("get", &[], None)),
        ("update", "put", op("put", &WRITE, Some(object))),
        ("patch", "patch", patch(kind_name(kind), object, kind.custom.is_some(), dialect)),
        ("delete", "delete", op("delete", &DELETE, None)),
    ];
    allowed(&kind.verbs, all)
}

fn sub_operations(kind: &Kind, sub: &Subresource, own: &Value, schemas: &mut Schemas) -> Vec<(&'static str, Value)> {
    let name = json!({ "group": sub.group, "version": sub.version, "kind": sub.kind });
    let other = match &*sub.kind {
        "Scale" => schemas.published("io.k8s.api.autoscaling.v1.Scale"),
        "Eviction" => schemas.published("io.k8s.api.policy.v1.Eviction"),
        "Binding" => schemas.published("io.k8s.api.core.v1.Binding"),
        "TokenRequest" => schemas.published("io.k8s.api.authentication.v1.TokenRequest"),
        same if *same == *kind.kind => Some(own.clone()),
        _ => None,
    };
    let object = other.unwrap_or_else(|| json!({ "type": "string" }));
    let dialect = schemas.dialect;
    let op = |action, parameters, body| operation(name.clone(), action, parameters, body, &object, dialect);
    let all = [
        ("create", "post", op("post", &WRITE, Some(&object))),
        ("get", "get", op("get", &[], None)),
        ("update", "put", op("put", &WRITE, Some(&object))),
        ("patch", "patch", patch(name.clone(), &object, kind.custom.is_some(), dialect)),
    ];
    allowed(&sub.verbs, all)
}

fn allowed<const N: usize>(
    verbs: &[Arc<str>],
    all: [(&'static str, &'static str, Value); N],
) -> Vec<(&'static str, Value)> {
    let allowed = all.into_iter().filter(|(verb, _, _)| verbs.iter().any(|v| &**v == *verb));
    allowed.map(|(_, method, operation)| (method, operation)).collect()
}

/// The patch of an object. Clients choose its form by what is listed: a custom object has no strategies.
fn patch(kind: Value, object: &Value, custom: bool, dialect: Dialect) -> Value {
    let parameters = [WRITE[0], WRITE[1], WRITE[2], ("force", "boolean")];
    let mut operation = operation(kind, "patch", &parameters, None, object, dialect);
    let mut types = vec!["application/json-patch+json", "application/merge-patch+json"];
    if !custom {
        types.push("application/strategic-merge-patch+json");
    }
    types.push("application/apply-patch+yaml");
    match dialect {
        Dialect::V2 => operation["consumes"] = json!(types),
        Dialect::V3 => {
            let content: Map =
                types.iter().map(|ty| ((*ty).to_owned(), json!({ "schema": { "type": "object" } }))).collect();
            operation["requestBody"] = json!({ "required": true, "content": content });
        }
    }
    operation
}

/// One operation on a kind.
fn operation(
    kind: Value,
    action: &str,
    parameters: &[(&str, &str)],
    body: Option<&Value>,
    answer: &Value,
    dialect: Dialect,
) -> Value {
    let query = |(name, ty): &(&str, &str)| match dialect {
        Dialect::V2 => json!({ "name": name, "in": "query", "type": ty, "uniqueItems": true }),
        Dialect::V3 => json!({ "name": name, "in": "query", "schema": { "type": ty, "uniqueItems": true } }),
    };
    let mut parameters: Vec<Value> = parameters.iter().map(query).collect();
    let content = |schema: &Value| json!({ "application/json": { "schema": schema } });
    let mut operation = json!({ "x-kubernetes-action": action, "x-kubernetes-group-version-kind": kind });
    match dialect {
        Dialect::V2 => {
            if let Some(body) = body {
                parameters.push(json!({ "name": "body", "in": "body", "required": true, "schema": body }));
            }
            operation["responses"] = json!({ "200": { "description": "OK", "schema": answer } });
        }
        Dialect::V3 => {
            if let Some(body) = body {
                operation["requestBody"] = json!({ "required": true, "content": content(body) });
            }
            operation["responses"] = json!({ "200": { "description": "OK", "content": content(answer) } });
        }
    }
    if !parameters.is_empty() {
        operation["parameters"] = json!(parameters);
    }
    operation
}
