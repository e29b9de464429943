// SPDX-License-Identifier: Apache-2.0
//! What the server publishes about itself: discovery, OpenAPI, its version.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use knarr_schema::{Registry, discovery, openapi};
use knarr_types::Status;
use serde_json::{Value, json};

use crate::app::App;
use crate::body::{self, Response};
use crate::query::Query;

/// The version of Kubernetes whose API this is.
pub const KUBERNETES_MINOR: u32 = 36;

/// Answers a GET of a document; `None` where the path is none.
#[must_use]
pub fn serve(app: &App, path: &str, query: &Query, headers: &HeaderMap) -> Option<Result<Response, Status>> {
    let registry = app.registry.load();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let document = match parts.as_slice() {
        ["version"] => version(),
        ["api"] if wants_aggregated(headers) => return Some(aggregated(&registry, true, headers)),
        ["apis"] if wants_aggregated(headers) => return Some(aggregated(&registry, false, headers)),
        ["api"] => discovery::api_versions(&app.settings.address),
        ["apis"] => discovery::group_list(&registry),
        ["api", version] => return found(discovery::resource_list(&registry, "", version)),
        ["apis", group] => return found(discovery::group(&registry, group)),
        ["apis", group, version] => return found(discovery::resource_list(&registry, group, version)),
        ["openapi", "v2"] => return Some(Ok(with_etag(&openapi::document_v2(&registry), headers))),
        ["openapi", "v3"] => openapi::index(&registry),
        ["openapi", "v3", "api", version] => return Some(openapi_v3(&registry, "", version, query, headers)),
        ["openapi", "v3", "apis", group, version] => {
            return Some(openapi_v3(&registry, group, version, query, headers));
        }
        [".well-known", "openid-configuration"] => openid(app),
        ["openid", "v1", "jwks"] => app.authenticator.keys().jwks(),
        _ => return None,
    };
    Some(Ok(body::json(200, &document)))
}

/// `None` becomes the plain 404 of a path that is not there.
fn found(document: Option<Value>) -> Option<Result<Response, Status>> {
    Some(Ok(document.map_or_else(crate::pipeline::no_such_path, |d| body::json(200, &d))))
}

fn version() -> Value {
    json!({
        "major": "1", "minor": KUBERNETES_MINOR.to_string(),
        "emulationMajor": "1", "emulationMinor": KUBERNETES_MINOR.to_string(),
        "minCompatibilityMajor": "1", "minCompatibilityMinor": (KUBERNETES_MINOR - 1).to_string(),
        "gitVersion": format!("v1.{KUBERNETES_MINOR}.0+knarr{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "", "compiler": "rustc", "platform": format!("linux/{}", architecture()),
    })
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

fn wants_aggregated(headers: &HeaderMap) -> bool {
    let accept = headers.get(http::header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let clause = |clause: &str| {
        let parts: Vec<_> = clause.split(';').map(str::trim).collect();
        parts.first() == Some(&"application/json")
            && ["g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"].iter().all(|p| parts.contains(p))
    };
    accept.split(',').any(clause)
}

fn aggregated(registry: &Registry, core: bool, headers: &HeaderMap) -> Result<Response, Status> {
    let mut response = with_etag(&discovery::aggregated(registry, core), headers);
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(AGGREGATED));
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

fn openapi_v3(
    registry: &Registry,
    group: &str,
    version: &str,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Response, Status> {
    let Some(document) = openapi::document(registry, group, version) else {
        return Ok(crate::pipeline::no_such_path());
    };
    let mut response = with_etag(&document, headers);
    if query.filled("hash").is_some_and(|hash| hash == openapi::document_hash(registry, group, version)) {
        let for_ever = HeaderValue::from_static("public, immutable");
        response.headers_mut().insert(http::header::CACHE_CONTROL, for_ever);
    }
    Ok(response)
}

/// The document with a tag of its content; 304 where the client has it already.
fn with_etag(document: &Value, headers: &HeaderMap) -> Response {
    let bytes = Bytes::from(serde_json::to_vec(document).unwrap_or_default());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    let tag = format!("\"{}\"", hex::encode_upper(&digest.as_ref()[..32]));
    let same = headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = body::bytes(200, "application/json", if same { Bytes::new() } else { bytes });
    if same {
        *response.status_mut() = http::StatusCode::NOT_MODIFIED;
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

fn openid(app: &App) -> Value {
    let issuer = app.authenticator.issuer();
    json!({
        "issuer": issuer,
        "jwks_uri": format!("https://{}/openid/v1/jwks", app.settings.address),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}
