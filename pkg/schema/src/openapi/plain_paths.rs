// SPDX-License-Identifier: Apache-2.0
//! The operations that are on no objects: discovery, the version, and what others need to trust the server's tokens.

use knarr_types::tree::{Value, json};

use super::names::{api_name, tag};
use super::operation::{Operation, Route};
use super::paths::OBJECT;
use super::schema::Schemas;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const JSON: &[&str] = &["application/json"];

/// The documents that are on one path each: its name in the index, name, tag, description, media type and the type of
/// the answer, which is text where there is none.
const ALONE: [[&str; 6]; 3] = [
    [
        ".well-known/openid-configuration",
        "getServiceAccountIssuerOpenIDConfiguration",
        "WellKnown",
        "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'",
        "application/json",
        "",
    ],
    [
        "openid/v1/jwks",
        "getServiceAccountIssuerOpenIDKeyset",
        "openid",
        "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)",
        "application/jwk-set+json",
        "",
    ],
    [
        "version",
        "getCodeVersion",
        "version",
        "get the version information for this server",
        "application/json",
        "io.k8s.apimachinery.pkg.version.Info",
    ],
];

/// The names in the index of the documents that are about no group.
pub(super) fn alone() -> impl Iterator<Item = &'static str> {
    ALONE.iter().map(|row| row[0])
}

/// The one path of the document of that name in the index.
pub(super) fn of_name(name: &str, schemas: &mut Schemas) -> Option<Route> {
    let [path, id, tag, description, media_type, ty] = ALONE.iter().find(|row| row[0] == name)?;
    let answer = schemas.published(ty).unwrap_or_else(|| json!({ "type": "string" }));
    let produces: &[&str] = if *media_type == JSON[0] { JSON } else { &["application/jwk-set+json"] };
    let consumes = if ty.is_empty() { &[][..] } else { JSON };
    let operation = get((*id).to_owned(), tag, description, answer);
    Some(Route { path: format!("/{path}/"), operations: vec![Operation { consumes, produces, ..operation }] })
}

/// The path that tells the resources of a version.
pub(super) fn of_version(group: &str, version: &str, schemas: &mut Schemas) -> Route {
    let answer = meta("APIResourceList", schemas);
    let id = format!("get{}APIResources", api_name(group, version));
    let operation = get(id, &tag(group, version), "get available resources", answer);
    Route { path: format!("{}/", super::root(group, version)), operations: vec![operation] }
}

/// The path that tells the versions of a group.
pub(super) fn of_group(group: &str, schemas: &mut Schemas) -> Route {
    let (path, id, name, description) = match group {
        "" => ("/api/".to_owned(), "getCoreAPIVersions".to_owned(), "APIVersions", "get available API versions"),
        _ => {
            let id = format!("get{}APIGroup", api_name(group, ""));
            (format!("/apis/{group}/"), id, "APIGroup", "get information of a group")
        }
    };
    let answer = meta(name, schemas);
    Route { path, operations: vec![get(id, &tag(group, ""), description, answer)] }
}

/// The path that tells the groups.
pub(super) fn of_groups(schemas: &mut Schemas) -> Route {
    let answer = meta("APIGroupList", schemas);
    let operation = get("getAPIVersions".to_owned(), "apis", "get available API versions", answer);
    Route { path: "/apis/".to_owned(), operations: vec![operation] }
}

fn get(id: String, tag: &str, description: &str, answer: Value) -> Operation {
    Operation {
        method: "get",
        id,
        tag: tag.into(),
        description: description.to_owned(),
        action: None,
        parameters: Vec::new(),
        body: None,
        consumes: OBJECT,
        produces: OBJECT,
        codes: &[200],
        answer,
    }
}

fn meta(name: &str, schemas: &mut Schemas) -> Value {
    schemas.published(&format!("{META}.{name}")).unwrap_or_else(|| json!({ "type": "object" }))
}
