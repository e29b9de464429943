// SPDX-License-Identifier: Apache-2.0
//! OpenAPI v2 as protobuf, for clients that ask for nothing else: an outline without paths and definitions.
//!
//! kubectl looks here for kinds that it does not find in OpenAPI v3. Those do not exist, and an
//! outline says so; what exists is described in v3, and in v2 as JSON.

use http::HeaderMap;
use http::header::ACCEPT;

/// The media type as it is sent, in a spelling that parsers of headers take.
pub const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// As clients ask for it.
const ASKED: [&str; 2] = ["application/com.github.proto-openapi.spec.v2@v1.0+protobuf", PROTOBUF];

/// Whether the client reads this alone.
#[must_use]
pub fn wants_protobuf(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| ASKED.contains(&accept.trim()))
}

/// `Document { swagger: 1, info: 2 }` with `Info { title: 1, version: 2 }`, as `openapi.v2` numbers the fields.
#[must_use]
pub fn outline(version: &str) -> Vec<u8> {
    let info = [field(1, b"Kubernetes"), field(2, version.as_bytes())].concat();
    [field(1, b"2.0"), field(2, &info)].concat()
}

/// A field of bytes; shorter than 128, so that its length is one byte.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    const LENGTH_DELIMITED: u8 = 2;
    debug_assert!(bytes.len() < 128 && number < 16, "both fit in a byte each");
    let length = u8::try_from(bytes.len()).unwrap_or(127);
    let mut field = vec![number << 3 | LENGTH_DELIMITED, length];
    field.extend(&bytes[..usize::from(length)]);
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outline_has_the_fields_numbers() {
        let want = b"\x0a\x032.0\x12\x13\x0a\x0aKubernetes\x12\x05v1.36";
        assert_eq!(outline("v1.36"), want);
    }

    #[test]
    fn only_those_who_read_nothing_else_get_it() {
        let wants = |accept: &'static str| {
            wants_protobuf(&HeaderMap::from_iter([(ACCEPT, http::HeaderValue::from_static(accept))]))
        };
        assert!(ASKED.into_iter().all(wants));
        assert!(!wants("application/json") && !wants("*/*") && !wants_protobuf(&HeaderMap::new()));
    }
}
