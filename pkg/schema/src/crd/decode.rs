// SPDX-License-Identifier: Apache-2.0
//! From the bytes of a request to a custom object. Types are not looked at here: validation tells what
//! does not fit, with the rest of what is wrong.

use knarr_types::tree::Value;
use knarr_types::{FieldError, FieldPath, Object, Status};

use super::custom::Custom;
use crate::decode::{MediaType, decode_strictly, shortest, yaml};
use crate::kinds::Kind;

/// A body as a tree, and what comes twice in it, in the order of the body.
pub(crate) struct Parsed {
    /// The tree.
    pub object: Value,
    /// `duplicate field "spec.a"`
    pub duplicates: Vec<String>,
}

/// Reads a body without a type.
///
/// # Errors
/// Where it is not of that media type, in upstream's words.
pub(crate) fn parse(body: &[u8], media: MediaType) -> Result<Parsed, String> {
    if media == MediaType::Yaml {
        let document = yaml::first_document(body)?;
        return Ok(Parsed { object: document.value, duplicates: document.duplicates.into_iter().collect() });
    }
    let (object, duplicates) = decode_strictly(body, shortest).map_err(|error| error.to_string())?;
    Ok(Parsed { object, duplicates })
}

/// What is wrong with a tree before it is looked at as an object of the kind.
///
/// # Errors
/// It says it is of another version or of no kind.
pub(crate) fn check_head(kind: &Kind, object: &Value, body: &str, summary: &str) -> Result<(), Status> {
    let text = |name: &str| object[name].as_str().unwrap_or_default();
    if text("kind").is_empty() {
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing in '{body}' ({summary})",
            kind.kind,
        )));
    }
    let sent = text("apiVersion");
    if sent != kind.api_version() {
        return Err(Status::bad_request(format!(
            "the API version in the data ({sent}) does not match the expected API version ({})",
            kind.api_version()
        )));
    }
    let sent = text("kind");
    if sent != &*kind.kind {
        let why = format!("must be {}", kind.kind);
        let errors = vec![FieldError::invalid(&FieldPath::new("kind"), sent, why)];
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        return Err(Status::invalid(&kind.group, sent, name, &errors));
    }
    Ok(())
}

/// Brings a tree into the form of its schema; gives what a strict decoder minds.
///
/// # Errors
/// Where metadata are of a wrong type.
pub(crate) fn coerce(custom: &Custom, parsed: Parsed) -> Result<(Object, Vec<String>), String> {
    let Parsed { mut object, duplicates } = parsed;
    let unknown = custom.coerce(&mut object)?;
    let unknown = unknown.into_iter().map(|path| format!("unknown field {path:?}"));
    Ok((object, duplicates.into_iter().chain(unknown).collect()))
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let parsed = parse(b"{\"spec\": {\"a\": \"x\xffy\", \"a\": 1.0}}", MediaType::Json).unwrap();
        assert_eq!(parsed.object, json!({"spec": {"a": 1}}));
        assert_eq!(parsed.duplicates, ["duplicate field \"spec.a\""]);
        assert_eq!(parse(b"[\"x\xffy\"]", MediaType::Json).unwrap().object, json!(["x\u{fffd}y"]));
        assert_eq!(
            parse(b"{\"a\" \"\xff\"}", MediaType::Json).err().unwrap(),
            "invalid character '\"' after object key"
        );
    }
}
