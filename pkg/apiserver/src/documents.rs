// SPDX-License-Identifier: Apache-2.0
//! What the server publishes about itself: discovery, OpenAPI, its version.

mod openapi;

use std::collections::BTreeSet;

use bytes::Bytes;
use http::header::{ETAG, HeaderValue, VARY};
use http::{HeaderMap, Method};
use knarr_schema::{Registry, discovery};
use knarr_types::Status;
use knarr_types::tree::{Value, json};

use crate::app::App;
use crate::body::{self, Response};
use crate::negotiate::{MEDIA_TYPES, OBJECT_ROUTE, encoding, not_acceptable, routed};
use crate::request::RequestContext;
use crate::{health, route, serve_object};

/// The version of Kubernetes whose API this is.
pub const KUBERNETES_MINOR: u32 = 36;

/// Answers a request for a document; `None` where the path is none.
#[must_use]
pub fn serve(
    app: &App,
    context: &RequestContext,
    method: &Method,
    headers: &HeaderMap,
) -> Option<Result<Response, Status>> {
    let registry = app.registry.load();
    if let Some(answer) = openapi::serve(&registry, context, headers) {
        return Some(Ok(answer));
    }
    let path = context.info.path.trim_matches('/');
    let parts: Vec<&str> = path.split('/').collect();
    let served = match parts.as_slice() {
        [""] => Served::Json(index(&registry)),
        ["version"] => match routed(&context.accept, &["application/json"]) {
            Ok(()) => Served::Json(version()),
            Err(status) => Served::Ready(Err(status)),
        },
        ["api"] => discovery(&registry, context, headers, true, discovery::api_versions(&app.settings.address)),
        ["apis"] => discovery(&registry, context, headers, false, discovery::group_list(&registry)),
        ["api", version] => Served::of(discovery::resource_list(&registry, "", version)),
        ["apis", group] => Served::of(discovery::group(&registry, group)),
        ["apis", group, version] => Served::of(discovery::resource_list(&registry, group, version)),
        [".well-known", "openid-configuration"] => Served::Json(openid(app)),
        ["openid", "v1", "jwks"] => Served::Json(app.authenticator.keys().jwks().into()),
        _ => return None,
    };
    // The groups are served without a router: with any method, and whatever is accepted of the rest.
    let by_group = matches!(parts.as_slice(), ["apis"] | ["apis", _]);
    Some(served.answer(&registry, context, method, !by_group))
}

/// What a path has.
enum Served {
    /// A document that has one form.
    Json(Value),
    /// A document of a published kind, in what the client accepts.
    Negotiated(Value),
    /// An answer.
    Ready(Result<Response, Status>),
    /// Nothing.
    Nothing,
}

impl Served {
    fn of(document: Option<Value>) -> Self {
        document.map_or(Self::Nothing, Self::Negotiated)
    }

    fn answer(
        self,
        registry: &Registry,
        context: &RequestContext,
        method: &Method,
        router: bool,
    ) -> Result<Response, Status> {
        if router && *method != Method::GET && !matches!(self, Self::Nothing) {
            return Err(route::method_not_allowed());
        }
        match self {
            Self::Json(document) => Ok(body::json(200, &document)),
            Self::Negotiated(document) => {
                if router {
                    routed(&context.accept, &OBJECT_ROUTE)?;
                }
                let encoding = encoding(&context.accept).ok_or_else(|| not_acceptable(MEDIA_TYPES))?;
                Ok(body::bytes(200, encoding.media_type(), serve_object::in_encoding(&document, encoding)))
            }
            Self::Ready(answer) => answer,
            Self::Nothing => route::missing(registry, &context.info.path),
        }
    }
}

/// Discovery in the form that the client asks for: of all groups at once, or one at a time.
fn discovery(registry: &Registry, context: &RequestContext, headers: &HeaderMap, core: bool, one: Value) -> Served {
    if wants_aggregated(&context.accept) {
        return Served::Ready(aggregated(registry, core, headers));
    }
    Served::Negotiated(one)
}

/// What `/` says: the paths that there are, but for those of objects.
fn index(registry: &Registry) -> Value {
    const OTHERS: [&str; 7] = [
        "/.well-known/openid-configuration",
        "/api",
        "/apis",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/version",
    ];
    let mut paths: BTreeSet<String> = health::paths().chain(OTHERS.map(str::to_owned)).collect();
    for kind in registry.iter() {
        if kind.group.is_empty() {
            paths.insert(format!("/api/{}", kind.version));
        } else {
            paths.extend([format!("/apis/{}", kind.group), format!("/apis/{}", kind.api_version())]);
        }
    }
    let paths: Vec<Value> = paths.into_iter().map(Value::from).collect();
    json!({ "paths": paths })
}

/// What `/version` says.
pub fn version() -> Value {
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

fn wants_aggregated(accept: &str) -> bool {
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

/// The document with a tag of its content; 304 where the client has it already.
fn with_etag(document: &Value, headers: &HeaderMap) -> Response {
    let bytes = Bytes::from(serde_json::to_vec(document).unwrap_or_default());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    let tag = format!("\"{}\"", hex::encode_upper(&digest.as_ref()[..32]));
    let same = openapi::is_known(headers, &tag);
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
