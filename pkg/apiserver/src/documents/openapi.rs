// SPDX-License-Identifier: Apache-2.0
//! `/openapi/v2` and `/openapi/v3`: which document is meant, in which form, and whether the client has it already.
//!
//! As with upstream, no router is before them: they answer any method. The tag of a document is a hash of what it is
//! made from, so one that a client has is not made again.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, EXPIRES, HeaderName, HeaderValue, IF_NONE_MATCH, LOCATION,
    VARY,
};
use http::{HeaderMap, StatusCode};
use knarr_schema::{Registry, openapi};

use super::with_etag;
use crate::body::{self, Response};
use crate::negotiate::prefers;
use crate::request::RequestContext;

const JSON: &str = "application/json";
/// Version 2 in protobuf, in a spelling that parsers of headers take.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// Version 2 in protobuf, as clients ask for it.
const PROTOBUF_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// Version 3 in protobuf, in both spellings.
const PROTOBUF_3: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";
const PROTOBUF_3_ASKED: &str = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";

/// Answers for a path below `/openapi/`; `None` where there is none.
pub fn serve(registry: &Registry, context: &RequestContext, headers: &HeaderMap) -> Option<Response> {
    match context.info.path.strip_prefix("/openapi/")? {
        "v2" => Some(version_2(registry, context, headers)),
        // Upstream dates its index, by the second; a tag does not miss a second change.
        "v3" => Some(with_etag("text/plain; charset=utf-8", openapi::index(registry).to_string().into(), headers)),
        below => below.strip_prefix("v3/").map(|name| version_3(registry, name, context, headers)),
    }
}

fn version_2(registry: &Registry, context: &RequestContext, headers: &HeaderMap) -> Response {
    let Some(form) = prefers(&context.accept, &[JSON, PROTOBUF_ASKED, PROTOBUF]) else {
        return with(empty(StatusCode::NOT_ACCEPTABLE), [(VARY, "Accept-Encoding, Accept")]);
    };
    let tag = format!("\"{}\"", openapi::document_v2_hash(registry));
    let own = [(ETAG, tag.as_str()), (VARY, "Accept-Encoding, Accept")];
    if is_known(headers, &tag) {
        return with(empty(StatusCode::NOT_MODIFIED), own);
    }
    let (form, document): (_, Vec<u8>) = match form {
        JSON => (JSON, openapi::document_v2(registry)),
        _ => (PROTOBUF, openapi::document_v2_protobuf(registry)),
    };
    if !context.gzip {
        return with(body::bytes(200, form, document), own);
    }
    with(body::bytes(200, form, gzipped(&document)), own.into_iter().chain([(CONTENT_ENCODING, "gzip")]))
}

fn version_3(registry: &Registry, name: &str, context: &RequestContext, headers: &HeaderMap) -> Response {
    if !openapi::has_document(registry, name) {
        return empty(StatusCode::NOT_FOUND);
    }
    let Some(form) = prefers(&context.accept, &[JSON, PROTOBUF_3_ASKED, PROTOBUF_3]) else {
        return with(empty(StatusCode::NOT_ACCEPTABLE), [(VARY, "Accept")]);
    };
    let is_json = form == JSON;
    let form = if is_json { JSON } else { PROTOBUF_3 };
    let hash = openapi::document_hash(registry, name);
    let tag = format!("\"{hash}\"");
    let own = [(ETAG, tag.as_str()), (VARY, "Accept")];
    let asked = context.query.filled("hash");
    if asked.is_some_and(|asked| asked != hash) {
        let location = format!("/openapi/v3/{name}?hash={hash}");
        let own = own.into_iter().chain([(LOCATION, location.as_str()), (CONTENT_TYPE, form)]);
        return with(empty(StatusCode::MOVED_PERMANENTLY), own);
    }
    // What a hash names never changes.
    let year = jiff::SignedDuration::from_hours(365 * 24);
    let expiry = jiff::Timestamp::now().saturating_add(year).unwrap_or(jiff::Timestamp::MAX);
    let expiry = expiry.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string();
    let lasting = [(CACHE_CONTROL, "public, immutable"), (EXPIRES, expiry.as_str())];
    let own = own.into_iter().chain(lasting.into_iter().filter(|_| asked.is_some()));
    if is_known(headers, &tag) {
        return with(empty(StatusCode::NOT_MODIFIED), own);
    }
    let document = if is_json { openapi::document(registry, name) } else { openapi::document_protobuf(registry, name) };
    with(body::bytes(200, form, document.unwrap_or_default()), own)
}

/// Whether the client has what that tag names.
pub fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get(IF_NONE_MATCH).and_then(|known| known.to_str().ok()).unwrap_or_default();
    known.split(',').map(|one| one.trim().trim_start_matches("W/")).any(|one| one == tag || one == "*")
}

/// Nothing but a code.
pub fn empty(code: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = code;
    response
}

fn with<'v>(mut response: Response, headers: impl IntoIterator<Item = (HeaderName, &'v str)>) -> Response {
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn gzipped(document: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing into memory cannot fail.
    let _ = encoder.write_all(document);
    encoder.finish().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use http::Method;
    use knarr_auth::UserInfo;

    use super::*;
    use crate::query::Query;
    use crate::request::RequestInfo;

    fn answer(uri: &str, accept: &str, known: &str) -> Option<Response> {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let query = Query::parse(query);
        let context = RequestContext {
            user: UserInfo::anonymous(),
            info: RequestInfo::parse(&Method::GET, path, &query),
            query,
            user_agent: String::new(),
            accept: accept.into(),
            content_type: String::new(),
            gzip: false,
            deadline: Instant::now(),
        };
        let headers = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_str(known).unwrap())]);
        serve(&Registry::builtin(), &context, &headers)
    }

    #[test]
    fn documents_are_told_as_upstream_tells_them() {
        let hash = openapi::document_hash(&Registry::builtin(), "version");
        for (uri, accept, known, want) in [
            ("/openapi/v3", "text/html", "", 200),
            ("/openapi/v3", "", "*", 304),
            ("/openapi/v3/", "", "", 404),
            ("/openapi/v3/version", "", "", 200),
            ("/openapi/v3/version/", "", "", 404),
            ("/openapi/v3/apis/none/v1", "", "", 404),
            ("/openapi/v3/version", "text/html", "", 406),
            ("/openapi/v3/version", "", &*format!("\"x\", W/\"{hash}\""), 304),
            ("/openapi/v3/version?hash=x", "", "", 301),
            (&*format!("/openapi/v3/version?hash={hash}"), "", "", 200),
            ("/openapi/v2", "text/html", "", 406),
            ("/openapi/v2", "", "*", 304),
        ] {
            assert_eq!(answer(uri, accept, known).unwrap().status(), want, "{uri}");
        }
        let index = answer("/openapi/v3", "", "").unwrap();
        let again = answer("/openapi/v3", "", index.headers()[ETAG].to_str().unwrap()).unwrap();
        assert_eq!((again.status().as_u16(), again.headers().get(CONTENT_TYPE)), (304, None));
        assert!(answer("/openapi/v2/", "", "").is_none() && answer("/openapi", "", "").is_none());
    }

    #[test]
    fn what_a_hash_names_may_be_kept() {
        let hash = openapi::document_hash(&Registry::builtin(), "version");
        let kept = |uri: &str| {
            let response = answer(uri, "", "").unwrap();
            response.headers().get(CACHE_CONTROL).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(kept(&format!("/openapi/v3/version?hash={hash}")).as_deref(), Some("public, immutable"));
        assert_eq!(kept("/openapi/v3/version"), None);
        let moved = answer("/openapi/v3/version?hash=x", "", "").unwrap();
        assert_eq!(moved.headers()[LOCATION], format!("/openapi/v3/version?hash={hash}"));
    }

    #[test]
    fn documents_are_written_as_asked() {
        for (accept, want) in [("", JSON), (PROTOBUF_ASKED, PROTOBUF), (PROTOBUF, PROTOBUF), ("application/*", JSON)] {
            assert_eq!(answer("/openapi/v2", accept, "").unwrap().headers()[CONTENT_TYPE], want, "{accept}");
        }
        let forms = [("", JSON), (PROTOBUF_3_ASKED, PROTOBUF_3), (PROTOBUF_3, PROTOBUF_3), ("application/*", JSON)];
        for (accept, want) in forms {
            let answer = answer("/openapi/v3/version", accept, "").unwrap();
            assert_eq!(answer.headers()[CONTENT_TYPE], want, "{accept}");
        }
    }
}
