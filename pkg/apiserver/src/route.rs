// SPDX-License-Identifier: Apache-2.0
//! What the router of built-in kinds says of a request before its handler sees it: there is no such
//! path, not with this method, not of this media type, or not in what the client accepts.

use http::Method;
use knarr_schema::{Kind, Registry};
use knarr_types::{Reason, Status, StatusDetails, go_quoted};

use crate::body::{self, Response};
use crate::negotiate::{COLLECTION_ROUTE, LOG_ROUTE, OBJECT_ROUTE, routed};
use crate::request::RequestContext;

/// What a patch may be.
const PATCH_TYPES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// Lets a request for a built-in kind on, or says why there is no route for it. Custom resources have
/// no routes of their own.
///
/// # Errors
/// 404, 405, 415 or 406, in upstream's words.
pub fn check(context: &RequestContext, kind: &Kind, method: &Method) -> Result<(), Status> {
    if kind.message().is_none() {
        return Ok(());
    }
    let info = &context.info;
    let verbs = verbs(context, kind);
    if verbs.is_empty() {
        return Err(no_such_route());
    }
    // A proxy passes all methods on, and bodies of any kind.
    let proxied = info.below() == "proxy";
    if !proxied && (*method == Method::HEAD || !verbs.contains(&info.verb)) {
        return Err(method_not_allowed());
    }
    if let Some(why) = bad_name(&info.name) {
        let name = go_quoted(&info.name);
        return Err(Status::bad_request(format!("Name parameter invalid: {name}: {why}")));
    }
    // Upstream's storage refuses what would lead out of the place of the resource.
    if matches!(&*info.namespace, "." | "..") && info.verb != "create" {
        let name = if info.name.is_empty() { String::new() } else { format!("/{}", info.name) };
        let key = go_quoted(&format!("/{}/{}{name}", info.resource, info.namespace));
        return Err(Status::new(500, Reason::Unknown, format!("invalid key: {key}")));
    }
    let content_type = context.content_type.split(';').next().unwrap_or_default().trim();
    if !proxied && info.verb == "patch" && !PATCH_TYPES.contains(&content_type) {
        let message = "415: Unsupported Media Type";
        return Err(plain(415, Reason::UnsupportedMediaType, message));
    }
    match (info.below(), info.verb) {
        ("log", _) => routed(&context.accept, &LOG_ROUTE),
        // What these answer with is not an object.
        ("exec" | "attach" | "portforward" | "proxy", _) => Ok(()),
        ("", "list" | "watch") => routed(&context.accept, &COLLECTION_ROUTE),
        _ => routed(&context.accept, &OBJECT_ROUTE),
    }
}

/// What keeps a name from being a part of a path.
fn bad_name(name: &str) -> Option<&'static str> {
    match name {
        "." => Some("may not be '.'"),
        ".." => Some("may not be '..'"),
        _ if name.contains('/') => Some("may not contain '/'"),
        _ if name.contains('%') => Some("may not contain '%'"),
        _ => None,
    }
}

/// What may be done at a path; nothing where there is none.
fn verbs<'k>(context: &RequestContext, kind: &'k Kind) -> Vec<&'k str> {
    let info = &context.info;
    let own = |wanted: &[&str]| -> Vec<&'k str> {
        kind.verbs.iter().map(|verb| &**verb).filter(|verb| wanted.contains(verb)).collect()
    };
    let namespaced = !info.namespace.is_empty() && (info.resource != "namespaces" || info.namespace != info.name);
    if namespaced && !kind.namespaced {
        return Vec::new();
    }
    let everywhere = kind.namespaced && !namespaced;
    match (info.name.is_empty(), info.below()) {
        (true, _) if everywhere => own(&["list", "watch"]),
        (true, _) => own(&["list", "watch", "create", "deletecollection"]),
        (false, _) if everywhere => Vec::new(),
        (false, "") => own(&["get", "update", "patch", "delete", if info.verb == "watch" { "watch" } else { "" }]),
        (false, below) => {
            let sub = kind.subresource(below);
            sub.map(|sub| sub.verbs.iter().map(|verb| &**verb).collect()).unwrap_or_default()
        }
    }
}

/// The answer for a path that nothing is at: below the core and the built-in groups a Status, elsewhere
/// text.
///
/// # Errors
/// The Status.
pub fn missing(registry: &Registry, path: &str) -> Result<Response, Status> {
    let mut parts = path.trim_start_matches('/').split('/');
    // What is below a document that has a router of its own.
    let own = ["/version/", "/openid/v1/jwks/", "/.well-known/openid-configuration/"];
    let routed = match (parts.next(), parts.next()) {
        _ if path.starts_with("//") => false,
        _ if own.iter().any(|document| path.starts_with(document)) => true,
        (Some("api"), Some(_)) => true,
        (Some("apis"), Some(group)) => registry.iter().any(|kind| *kind.group == *group && kind.message().is_some()),
        _ => false,
    };
    if routed { Err(no_such_route()) } else { Ok(body::text(404, "404 page not found\n")) }
}

/// There is no such path below a known group and version.
#[must_use]
pub fn no_such_route() -> Status {
    plain(404, Reason::NotFound, "the server could not find the requested resource")
}

/// There is the path, but not with that method.
#[must_use]
pub fn method_not_allowed() -> Status {
    plain(405, Reason::MethodNotAllowed, "the server does not allow this method on the requested resource")
}

fn plain(code: u16, reason: Reason, message: &str) -> Status {
    Status::new(code, reason, message).with_details(StatusDetails::default())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use knarr_auth::UserInfo;

    use super::*;
    use crate::query::Query;
    use crate::request::RequestInfo;

    fn code(request: &str, content_type: &str, accept: &str) -> u16 {
        let (method, path) = request.split_once(' ').unwrap();
        let method: Method = method.parse().unwrap();
        let info = RequestInfo::parse(&method, path, &Query::default());
        let registry = Registry::builtin();
        let kind = registry.by_resource(&info.group, &info.version, &info.resource).unwrap();
        let context = RequestContext {
            user: UserInfo::anonymous(),
            info,
            query: Query::default(),
            user_agent: String::new(),
            accept: accept.into(),
            content_type: content_type.into(),
            gzip: false,
            deadline: Instant::now(),
        };
        check(&context, kind, &method).map_or_else(|status| status.code, |()| 200)
    }

    #[test]
    fn a_path_has_its_methods() {
        for (request, want) in [
            ("GET /api/v1/namespaces/n/configmaps", 200),
            ("GET /api/v1/configmaps", 200),
            ("POST /api/v1/configmaps", 405),
            ("DELETE /api/v1/configmaps", 405),
            ("PUT /api/v1/namespaces/n/configmaps", 405),
            ("POST /api/v1/namespaces/n/configmaps/a", 405),
            ("HEAD /api/v1/namespaces/n/configmaps/a", 405),
            ("GET /api/v1/configmaps/a", 404),
            ("GET /api/v1/namespaces/n/nodes", 404),
            ("GET /api/v1/nodes/a", 200),
            ("GET /api/v1/namespaces/n", 200),
            ("PUT /api/v1/namespaces/n/finalize", 200),
            ("PUT /api/v1/namespaces/n/bindings/x", 404),
            ("POST /api/v1/namespaces/n/bindings", 200),
            ("POST /api/v1/bindings", 404),
            ("POST /apis/authorization.k8s.io/v1/localsubjectaccessreviews", 404),
            ("POST /api/v1/namespaces/n/pods/p/eviction", 200),
            ("GET /api/v1/namespaces/n/pods/p/eviction", 405),
            ("GET /api/v1/namespaces/n/pods/p/nothing", 404),
            ("POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", 200),
            ("HEAD /api/v1/namespaces/n/pods/p/proxy/x", 200),
            ("OPTIONS /api/v1/namespaces/n/services/s/proxy", 200),
            ("PATCH /api/v1/nodes/n/proxy", 200),
            ("OPTIONS /api/v1/namespaces/n/pods/p", 405),
            ("PATCH /api/v1/namespaces/n/configmaps/c/proxy", 404),
        ] {
            assert_eq!(code(request, "", ""), want, "{request}");
        }
    }

    #[test]
    fn media_types_are_looked_at_behind_the_method() {
        let object = "/api/v1/namespaces/n/configmaps/a";
        assert_eq!(code(&format!("PATCH {object}"), "application/json", "text/html"), 415);
        assert_eq!(code(&format!("PATCH {object}"), "application/merge-patch+json", "text/html"), 406);
        assert_eq!(code(&format!("GET {object}"), "", "text/html"), 406);
        assert_eq!(code("GET /api/v1/namespaces/n/pods/p/log", "", "text/html"), 406);
        assert_eq!(code("GET /api/v1/namespaces/n/pods/p/log", "", "text/plain"), 200);
        assert_eq!(code("GET /api/v1/namespaces/n/pods/p/exec", "", "text/html"), 200);
    }
}
