// SPDX-License-Identifier: Apache-2.0
//! The OpenAPI documents of the kinds, made when they are asked for and not kept.
//!
//! They hold what kubectl and other clients look for: the types with their merge rules, which kind
//! each is, and the operations with their query parameters. Descriptions are left out but for what every
//! custom resource has.

mod custom_schema;
mod descriptions;
mod paths;
mod schema;

use std::sync::{Arc, LazyLock};

use knarr_types::tree::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::kinds::{Kind, Registry};
use schema::{Dialect, Schemas};

/// What stays the same for all registries of one build.
static BUILD_HASH: LazyLock<String> = LazyLock::new(|| {
    let types = Sha256::digest(include_str!("../data/types.tsv"));
    format!("{}{}", env!("CARGO_PKG_VERSION"), hex::encode(types))
});

/// `GET /openapi/v3`: where the documents are, with a hash that changes when they do.
#[must_use]
pub fn index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    for (group, version) in group_versions(registry) {
        let path = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
        let hash = hash(&kinds_of(registry, &group, &version));
        let url = format!("/openapi/v3/{path}?hash={hash}");
        paths.insert(path, json!({ "serverRelativeURL": url }));
    }
    json!({ "paths": paths })
}

/// The hash in the index of that group and version, for answers that may be cached for good.
#[must_use]
pub fn document_hash(registry: &Registry, group: &str, version: &str) -> String {
    hash(&kinds_of(registry, group, version))
}

/// `GET /openapi/v3/api/v1` and `GET /openapi/v3/apis/GROUP/VERSION`; `None` where there is no such version.
#[must_use]
pub fn document(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let kinds = kinds_of(registry, group, version);
    if kinds.is_empty() {
        return None;
    }
    let mut schemas = Schemas::new(Dialect::V3);
    let paths = paths::of_kinds(&kinds, &mut schemas);
    Some(json!({
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": "v1.36.0" },
        "paths": paths,
        "components": { "schemas": schemas.finish() },
    }))
}

/// `GET /openapi/v2`: all kinds in one Swagger document.
#[must_use]
pub fn document_v2(registry: &Registry) -> Value {
    let kinds: Vec<&Arc<Kind>> = registry.iter().collect();
    let mut schemas = Schemas::new(Dialect::V2);
    let paths = paths::of_kinds(&kinds, &mut schemas);
    json!({
        "swagger": "2.0",
        "info": { "title": "Kubernetes", "version": "v1.36.0" },
        "paths": paths,
        "definitions": schemas.finish(),
    })
}

fn group_versions(registry: &Registry) -> Vec<(Arc<str>, Arc<str>)> {
    let mut all: Vec<_> = registry.iter().map(|kind| (kind.group.clone(), kind.version.clone())).collect();
    all.sort();
    all.dedup();
    all
}

fn kinds_of<'a>(registry: &'a Registry, group: &str, version: &str) -> Vec<&'a Arc<Kind>> {
    registry.iter().filter(|kind| &*kind.group == group && &*kind.version == version).collect()
}

/// Of what the document is made from, which is cheaper than the document.
fn hash(kinds: &[&Arc<Kind>]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(BUILD_HASH.as_bytes());
    for kind in kinds {
        hasher.update(format!("{} {:?} {:?} ", kind.resource, kind.verbs, kind.subresources));
        match &kind.custom {
            Some(custom) => hasher.update(format!("{} {}", custom.uid, custom.generation)),
            None => hasher.update(format!("{:?}", kind.ty)),
        }
    }
    hex::encode_upper(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refs(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| match value.as_str() {
                Some(text) if name == "$ref" => found.push(text.to_owned()),
                _ => refs(value, found),
            }),
            Value::Array(items) => items.iter().for_each(|item| refs(item, found)),
            _ => {}
        }
    }

    fn assert_whole(document: &Value) {
        let mut found = Vec::new();
        refs(document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_document_holds_what_it_refers_to() {
        let registry = Registry::builtin();
        let index = index(&registry);
        assert_eq!(index["paths"].as_object().unwrap().len(), group_versions(&registry).len());
        for (group, version) in group_versions(&registry) {
            assert_whole(&document(&registry, &group, &version).unwrap());
        }
        assert_whole(&document_v2(&registry));
    }

    #[test]
    fn kubectl_finds_the_kind_its_merge_rules_and_field_validation() {
        let document = document(&Registry::builtin(), "apps", "v1").unwrap();
        let deployment = &document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"];
        let gvk = json!([{"group": "apps", "version": "v1", "kind": "Deployment"}]);
        assert_eq!(deployment["x-kubernetes-group-version-kind"], gvk);
        let containers = &document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
        let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"], gvk[0]);
        let names: Vec<_> = patch["parameters"].as_array().unwrap().iter().map(|p| p["name"].clone()).collect();
        assert!(names.contains(&json!("fieldValidation")), "{names:?}");
    }

    /// kubectl sends a strategic merge patch wherever one is listed.
    #[test]
    fn custom_objects_list_no_strategic_merge_patch() {
        let names = json!({"plural": "certs", "singular": "cert", "kind": "Cert", "listKind": "CertList"});
        let schema = json!({"openAPIV3Schema": {"type": "object"}});
        let versions = json!([{"name": "v1", "served": true, "storage": true, "schema": schema}]);
        let definition = json!({
            "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": versions},
            "status": {"acceptedNames": names, "conditions": [{"type": "Established", "status": "True"}]},
        });
        let registry = Registry::builtin().with(crate::crd::kinds_of(&definition));
        let forms = |group: &str, path: &str| {
            let document = document(&registry, group, "v1").unwrap();
            let content = &document["paths"][path]["patch"]["requestBody"]["content"];
            content.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        };
        let custom = forms("example.com", "/apis/example.com/v1/namespaces/{namespace}/certs/{name}");
        assert_eq!(custom.len(), 3, "{custom:?}");
        assert!(!custom.iter().any(|form| form.contains("strategic")), "{custom:?}");
        assert_eq!(forms("apps", "/apis/apps/v1/namespaces/{namespace}/deployments/{name}").len(), 4);
    }

    #[test]
    fn a_hash_changes_with_its_kinds_alone() {
        let registry = Registry::builtin();
        let mut kind = (**registry.by_kind("apps", "v1", "Deployment").unwrap()).clone();
        kind.resource = "others".into();
        let more = registry.with([Arc::new(kind)]);
        assert_ne!(document_hash(&registry, "apps", "v1"), document_hash(&more, "apps", "v1"));
        assert_eq!(document_hash(&registry, "", "v1"), document_hash(&more, "", "v1"));
    }
}
