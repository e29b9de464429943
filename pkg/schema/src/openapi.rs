// SPDX-License-Identifier: Apache-2.0
//! The OpenAPI documents of the kinds, made when they are asked for and not kept.
//!
//! They are made from the tables of kinds, types, parameters and words; no document is stored. A document is written
//! path by path and schema by schema, so that only its bytes are in memory as a whole.

mod custom_schema;
mod extras;
mod gnostic;
mod names;
mod operation;
mod parameters;
mod paths;
mod plain_paths;
mod schema;
mod versions;
mod words;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use knarr_types::tree::{Map, Value, json};
use sha2::{Digest as _, Sha512};

use crate::kinds::{Kind, Registry};
use operation::{Route, Shared};
use schema::{About, Dialect, Schemas};

/// What stays the same for all registries of one build.
static BUILD_HASH: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut hasher = Sha512::new();
    hasher.update(env!("CARGO_PKG_VERSION"));
    hasher.update(include_str!("../data/types.tsv"));
    hasher.update(include_str!("../data/openapi-parameters.tsv"));
    hasher.update(include_str!("../data/openapi-extras.tsv"));
    hasher.update(words::COMPRESSED);
    hasher.finalize().to_vec()
});

/// What a document of version 3 is about, by its name in the index.
enum Place<'n> {
    /// `version`, `openid/v1/jwks`: one path.
    Alone(&'n str),
    /// `apis`.
    Groups,
    /// `api` and `apis/apps`.
    Group(&'n str),
    /// `api/v1` and `apis/apps/v1`.
    Version(&'n str, &'n str),
}

/// `GET /openapi/v3`: where the documents are, with a hash that changes when they do.
#[must_use]
pub fn index(registry: &Registry) -> Value {
    let mut names: Vec<String> = plain_paths::alone().map(str::to_owned).collect();
    names.push("apis".to_owned());
    for kind in registry.iter() {
        let root = root(&kind.group, &kind.version);
        names.push(root[1..].to_owned());
        // Groups of custom resources alone have no document of their own.
        if kind.custom.is_none() {
            names.extend(root[1..].rsplit_once('/').map(|(group, _)| group.to_owned()));
        }
    }
    names.sort();
    names.dedup();
    let entry = |name: String| {
        let hash = document_hash(registry, &name);
        let url = format!("/openapi/v3/{name}?hash={hash}");
        (name, json!({ "serverRelativeURL": url }))
    };
    let paths: Map = names.into_iter().map(entry).collect();
    json!({ "paths": paths })
}

/// The hash in the index of the document of that name, for answers that may be cached for good.
#[must_use]
pub fn document_hash(registry: &Registry, name: &str) -> String {
    match Place::of(name) {
        Place::Version(group, version) => hash(name, &registry.of_version(group, version)),
        _ => hash(name, &[]),
    }
}

/// Whether the index has that name.
#[must_use]
pub fn has_document(registry: &Registry, name: &str) -> bool {
    let mut builtin = registry.iter().filter(|kind| kind.custom.is_none());
    match Place::of(name) {
        Place::Version(group, version) => !registry.of_version(group, version).is_empty(),
        Place::Group(group) => builtin.any(|kind| *kind.group == *group),
        Place::Groups => true,
        Place::Alone(name) => plain_paths::alone().any(|known| known == name),
    }
}

/// The hash of the document of version 2.
#[must_use]
pub fn document_v2_hash(registry: &Registry) -> String {
    hash("", &registry.iter().collect::<Vec<_>>())
}

/// The JSON of `GET /openapi/v3/NAME`; `None` where the index does not have that name.
#[must_use]
pub fn document(registry: &Registry, name: &str) -> Option<Vec<u8>> {
    let parts = Parts::of(registry, name, json_of, json_of)?;
    let mut components = Vec::new();
    if !parts.schemas.is_empty() {
        components.push(("schemas", object(parts.schemas)));
    }
    if !parts.custom {
        components.push(("securitySchemes", json_of(&json!({ "BearerToken": bearer_token() }))));
    }
    Some(object([
        ("openapi", json_of(&"3.0.0".into())),
        ("info", json_of(&if parts.custom { custom_info() } else { info() })),
        ("paths", object(parts.paths)),
        ("components", object(components)),
    ]))
}

/// The same document in protobuf, for clients that ask for nothing else.
#[must_use]
pub fn document_protobuf(registry: &Registry, name: &str) -> Option<Vec<u8>> {
    let parts = Parts::of(registry, name, gnostic::v3::path_item, gnostic::v3::schema)?;
    let security = (!parts.custom).then(|| json!({ "BearerToken": bearer_token() }));
    let info = if parts.custom { custom_info() } else { info() };
    Some(gnostic::v3::document(&info, &parts.paths, &parts.schemas, security.as_ref()))
}

/// What a document of version 3 is made of, written already.
struct Parts {
    /// It is one of custom resources.
    custom: bool,
    paths: BTreeMap<String, Vec<u8>>,
    schemas: BTreeMap<String, Vec<u8>>,
}

impl Parts {
    /// The parts of the document of that name; `None` where the index does not have it.
    fn of(registry: &Registry, name: &str, path: fn(&Value) -> Vec<u8>, schema: fn(&Value) -> Vec<u8>) -> Option<Self> {
        if !has_document(registry, name) {
            return None;
        }
        let place = Place::of(name);
        let kinds = match place {
            Place::Version(group, version) => registry.of_version(group, version),
            _ => Vec::new(),
        };
        let custom = kinds.iter().any(|kind| kind.custom.is_some());
        let about = match place {
            Place::Version(group, version) if !custom => About::Version(group.to_owned(), version.to_owned()),
            _ => About::Custom,
        };
        let mut schemas = Schemas::new(Dialect::V3, about, schema);
        let mut routes: Vec<Route> = kinds.iter().flat_map(|kind| paths::of_kind(kind, &mut schemas)).collect();
        match place {
            Place::Alone(name) => routes.extend(plain_paths::of_name(name, &mut schemas)),
            Place::Groups => routes.push(plain_paths::of_groups(&mut schemas)),
            Place::Group(group) => routes.push(plain_paths::of_group(group, &mut schemas)),
            Place::Version(group, version) if !custom => {
                routes.push(plain_paths::of_version(group, version, &mut schemas))
            }
            Place::Version(..) => {}
        }
        let paths = written(routes, Dialect::V3, path, &mut Shared::default());
        Some(Self { custom, paths, schemas: schemas.finish() })
    }
}

/// The JSON of `GET /openapi/v2`: all kinds in one Swagger document.
#[must_use]
pub fn document_v2(registry: &Registry) -> Vec<u8> {
    let mut schemas = Schemas::new(Dialect::V2, About::All, json_of);
    let mut shared = Shared::default();
    let paths = written(all_routes(registry, &mut schemas), Dialect::V2, json_of, &mut shared);
    let parameters = shared.0.iter().map(|(name, parameter)| (name, json_of(parameter)));
    object([
        ("swagger", json_of(&"2.0".into())),
        ("info", json_of(&info())),
        ("paths", object(paths)),
        ("definitions", object(schemas.finish())),
        ("parameters", object(parameters)),
        ("securityDefinitions", json_of(&json!({ "BearerToken": bearer_token() }))),
        ("security", json_of(&asked())),
    ])
}

/// The same document in protobuf, for clients that ask for nothing else.
#[must_use]
pub fn document_v2_protobuf(registry: &Registry) -> Vec<u8> {
    let mut schemas = Schemas::new(Dialect::V2, About::All, gnostic::v2::schema);
    let mut shared = Shared::default();
    let paths = written(all_routes(registry, &mut schemas), Dialect::V2, gnostic::v2::path_item, &mut shared);
    let parameters = shared.0.into_iter().map(|(name, one)| (name, gnostic::v2::parameter(&one))).collect();
    let security = [&asked(), &json!({ "BearerToken": bearer_token() })];
    gnostic::v2::document(&info(), [&paths, &schemas.finish(), &parameters], security)
}

impl<'n> Place<'n> {
    fn of(name: &'n str) -> Self {
        let mut parts = name.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("apis"), Some(group), Some(version)) => Self::Version(group, version),
            (Some("apis"), Some(group), None) => Self::Group(group),
            (Some("apis"), None, None) => Self::Groups,
            (Some("api"), Some(version), None) => Self::Version("", version),
            (Some("api"), None, None) => Self::Group(""),
            _ => Self::Alone(name),
        }
    }
}

/// `/api/v1` and `/apis/apps/v1`.
fn root(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

/// The paths of all documents.
fn all_routes(registry: &Registry, schemas: &mut Schemas) -> Vec<Route> {
    let mut routes: Vec<Route> = registry.iter().flat_map(|kind| paths::of_kind(kind, schemas)).collect();
    let mut versions: Vec<_> =
        registry.iter().filter(|kind| kind.custom.is_none()).map(|kind| (&kind.group, &kind.version)).collect();
    versions.sort();
    versions.dedup();
    routes.extend(versions.iter().map(|(group, version)| plain_paths::of_version(group, version, schemas)));
    versions.dedup_by_key(|(group, _)| *group);
    routes.extend(versions.iter().map(|(group, _)| plain_paths::of_group(group, schemas)));
    routes.push(plain_paths::of_groups(schemas));
    routes.extend(plain_paths::alone().filter_map(|name| plain_paths::of_name(name, schemas)));
    routes
}

/// The paths as the document has them, sorted.
fn written(
    routes: Vec<Route>,
    dialect: Dialect,
    encode: fn(&Value) -> Vec<u8>,
    shared: &mut Shared,
) -> BTreeMap<String, Vec<u8>> {
    routes.into_iter().map(|route| (route.path.clone(), encode(&route.write(dialect, shared)))).collect()
}

fn info() -> Value {
    json!({ "title": "Kubernetes", "version": "1.36" })
}

/// That of documents of custom resources.
fn custom_info() -> Value {
    json!({ "title": "Kubernetes CRD Swagger", "version": "v0.1.0" })
}

/// What clients have to show.
fn asked() -> Value {
    json!([{ "BearerToken": [] }])
}

fn bearer_token() -> Value {
    json!({ "description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header" })
}

fn json_of(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// The JSON of an object of what is JSON already.
fn object<N: AsRef<str>>(members: impl IntoIterator<Item = (N, Vec<u8>)>) -> Vec<u8> {
    let mut text = vec![b'{'];
    for (name, value) in members {
        if text.len() > 1 {
            text.push(b',');
        }
        text.extend(json_of(&name.as_ref().into()));
        text.push(b':');
        text.extend(value);
    }
    text.push(b'}');
    text
}

/// Of what the document is made from, which is cheaper than the document.
fn hash(name: &str, kinds: &[&Arc<Kind>]) -> String {
    let mut hasher = Sha512::new();
    hasher.update(&*BUILD_HASH);
    hasher.update(name);
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

    fn read(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    fn assert_whole(document: &Value) {
        let mut found = Vec::new();
        refs(document, &mut found);
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_document_holds_what_it_refers_to() {
        let registry = Registry::builtin();
        let index = index(&registry);
        for name in index["paths"].as_object().unwrap().keys() {
            assert_whole(&read(&document(&registry, name).unwrap()));
        }
        assert!(document(&registry, "apis/apps/v9").is_none() && document(&registry, "none").is_none());
        assert_whole(&read(&document_v2(&registry)));
    }

    #[test]
    fn kubectl_finds_the_kind_its_merge_rules_and_field_validation() {
        let document = read(&document(&Registry::builtin(), "apis/apps/v1").unwrap());
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
            let document = read(&document(&registry, &format!("apis/{group}/v1")).unwrap());
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
        assert_ne!(document_hash(&registry, "apis/apps/v1"), document_hash(&more, "apis/apps/v1"));
        assert_eq!(document_hash(&registry, "api/v1"), document_hash(&more, "api/v1"));
    }
}
