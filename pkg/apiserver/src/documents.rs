// SPDX-License-Identifier: Apache-2.0
//! What the server publishes about itself: discovery, OpenAPI, its version.

mod openapi;

use std::collections::BTreeSet;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG, HeaderValue, VARY};
use http::{HeaderMap, Method};
use knarr_schema::{Registry, discovery};
use knarr_types::Status;
use knarr_types::tree::{Value, json};

use crate::app::App;
use crate::body::{self, Response};
use crate::negotiate::{Encoding, MEDIA_TYPES, OBJECT_ROUTE, aggregated_discovery, encoding, not_acceptable, routed};
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
    let path = context.info.path.strip_prefix('/')?.trim_end_matches('/');
    let parts: Vec<&str> = path.split('/').collect();
    let served = match parts.as_slice() {
        [""] | ["index.html"] if matches!(&*context.info.path, "/" | "/index.html") => Served::Json(index(&registry)),
        ["version"] => match routed(&context.accept, &["application/json"]) {
            Ok(()) => Served::Json(version()),
            Err(status) => Served::Ready(Err(status)),
        },
        ["api"] => discovery(&registry, context, headers, true, discovery::api_versions(&app.settings.address)),
        ["apis"] => discovery(&registry, context, headers, false, discovery::group_list(&registry)),
        ["api", version] => Served::of(discovery::resource_list(&registry, "", version)),
        ["apis", group] => Served::of(discovery::group(&registry, group)),
        ["apis", group, version] => Served::of(discovery::resource_list(&registry, group, version)),
        [".well-known", "openid-configuration"] => {
            Served::Ready(openid(context, "application/json", &openid_document(app)))
        }
        ["openid", "v1", "jwks"] => {
            Served::Ready(openid(context, "application/jwk-set+json", &app.authenticator.keys().jwks().into()))
        }
        _ => return None,
    };
    Some(served.answer(&registry, context, method, is_routed(&registry, &parts)))
}

/// Whether a router looks at the method and at what is accepted first: not for the index, the groups, and the versions
/// of custom resources.
fn is_routed(registry: &Registry, parts: &[&str]) -> bool {
    match parts {
        [""] | ["index.html"] | ["apis"] | ["apis", _] => false,
        ["apis", group, _] => registry.iter().any(|kind| *kind.group == **group && kind.custom.is_none()),
        _ => true,
    }
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
            Self::Json(document) => Ok(body::bytes(200, "application/json", for_people(&document))),
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
    if let Some(encoding) = aggregated_discovery(&context.accept) {
        return Served::Ready(Ok(aggregated(registry, core, encoding, headers)));
    }
    Served::Negotiated(one)
}

/// What `/` says: the paths that there are, but for those of objects.
fn index(registry: &Registry) -> Value {
    const OTHERS: [&str; 9] = [
        "/.well-known/openid-configuration",
        "/api",
        "/apis",
        "/apis/",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
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
        "goVersion": "", "compiler": "rustc", "platform": format!("linux/{}", knarr_types::architecture()),
    })
}

/// All groups at once, for clients that may keep them for as long as the tag is the same.
fn aggregated(registry: &Registry, core: bool, encoding: Encoding, headers: &HeaderMap) -> Response {
    let document = serve_object::in_encoding(&discovery::aggregated(registry, core), encoding);
    let media_type = match encoding {
        Encoding::Json => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        Encoding::Yaml => "application/yaml;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        Encoding::Protobuf => "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    };
    let mut response = with_etag(media_type, document, headers);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}

/// JSON in lines, as it is read by people.
fn for_people(document: &Value) -> Vec<u8> {
    serde_json::to_vec_pretty(document).unwrap_or_default()
}

/// The document with a tag of its content; 304 where the client has it already.
fn with_etag(media_type: &'static str, bytes: Bytes, headers: &HeaderMap) -> Response {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, &bytes);
    let tag = format!("\"{}\"", hex::encode_upper(digest.as_ref()));
    let mut response = if openapi::is_known(headers, &tag) {
        openapi::empty(http::StatusCode::NOT_MODIFIED)
    } else {
        body::bytes(200, media_type, bytes)
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// What others need to trust the server's tokens, which changes rarely.
fn openid(context: &RequestContext, media_type: &'static str, document: &Value) -> Result<Response, Status> {
    routed(&context.accept, &[media_type])?;
    let mut response = body::bytes(200, media_type, serde_json::to_vec(document).unwrap_or_default());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    Ok(response)
}

fn openid_document(app: &App) -> Value {
    let issuer = app.authenticator.issuer();
    json!({
        "issuer": issuer,
        "jwks_uri": format!("https://{}/openid/v1/jwks", app.settings.address),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}
